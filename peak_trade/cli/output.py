"""Print the result of a verb, as text with tables or as JSON.

Results go to standard output. Notes and progress go to standard error, so that a pipe reads results only.
"""

from __future__ import annotations

import io
import json
import math
import os
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields, is_dataclass
from datetime import timedelta
from enum import Enum
from itertools import islice
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

import msgspec
import typer

from peak_trade.core.errors import one_line
from peak_trade.core.progress import progress_shown

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console
    from rich.table import Table as RichTable

    from peak_trade.engine.result import BacktestResult

Result = TypeVar("Result")
NO_VALUE = "–"
PIPE_WIDTH = 1_000
"""Columns of the output of a pipe without COLUMNS: no table is folded."""


LONG_WORD = 16
"""Letters of a word, for example a digest, from which it may be folded in a table."""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of cells under the names of their columns; the columns in `right` are aligned to the right."""

    columns: Sequence[str]
    rows: Sequence[Sequence[object]]
    title: str = ""
    right: Collection[str] = ()
    max_rows: int | None = None
    """Most rows that are printed; a line after the table counts the others."""


Page = Iterable[str | Table]


_notes: list[str] = []
"""Notes that wait for the run to start."""
_copies: list[io.StringIO] = []
"""Streams that also take what is written on standard output."""


def show(result: Result, as_json: bool, page: Callable[[Result], Page], content: Callable[[Result], object]) -> None:
    """Print a result: the lines and tables of its page, or its content as JSON."""
    text = _json_text(content(result)) if as_json else _page_text(page(result))
    show_notes()
    write(text)


def show_page(page: Page) -> None:
    """Print lines and tables."""
    write(_page_text(page))


@contextmanager
def result_first(show_result: Callable[[], None]) -> Iterator[None]:
    """Print a result before an error that is raised after its run, for example when a file cannot be written."""
    try:
        yield
    except Exception:
        show_result()
        raise


def write(text: str) -> None:
    """Print text on standard output; exit 141, as after SIGPIPE, when its reader is gone, for example `head`."""
    for copy in _copies:
        copy.write(text)
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        raise typer.Exit(141) from None
    except OSError as error:
        raise OSError(error.errno, error.strerror, "standard output") from None


@contextmanager
def copied() -> Iterator[io.StringIO]:
    """Yield a stream that also takes what is written on standard output while the block runs."""
    copy = io.StringIO()
    _copies.append(copy)
    try:
        yield copy
    finally:
        _copies.remove(copy)


def prepare_streams() -> None:
    """Let the standard streams take any text: characters that they cannot encode are escaped."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed by the shell
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def settle(stream: TextIO) -> None:
    """Point a stream that cannot be written to the null device, so that its buffer does not fail again at exit."""
    with suppress(OSError):
        stream.flush()
        return
    with suppress(OSError, ValueError), open(os.devnull, "w") as null:
        os.dup2(null.fileno(), stream.fileno())


def _json_text(content: object) -> str:
    pieces = json.JSONEncoder(indent=2, allow_nan=False).iterencode(plain(content))
    blocks = []
    while block := "".join(islice(pieces, 10_000)):  # all pieces at once take many times the memory of the text
        blocks.append(block)
    return "".join([*blocks, "\n"])


def _page_text(page: Page) -> str:
    """Return lines as they are and tables folded to the terminal; an empty line separates a table from other blocks."""
    from rich.console import Console

    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console = Console(highlight=False, markup=False, emoji=False, width=PIPE_WIDTH)
    is_first, is_after_table = True, False
    with console.capture() as captured:
        for block in page:
            is_table = isinstance(block, Table)
            if not is_first and (is_table or is_after_table):
                console.print()
            if isinstance(block, Table):
                _show_table(console, block)
            else:
                console.print(block, soft_wrap=True)
            is_first, is_after_table = False, is_table
    return captured.get()


def count(number: int, noun: str) -> str:
    """Return a number with its noun in the singular or plural.

    Examples
    --------
    >>> count(1, "session"), count(1_200, "event")
    ('1 session', '1,200 events')

    """
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def note(text: str) -> None:
    """Print a note on standard error once the run has started; an error before that is printed alone."""
    _notes.append(text)


def show_notes() -> None:
    """Print the notes that wait: the run has started, or has ended."""
    while _notes:
        error(f"note: {_notes.pop(0)}")


def forget_notes() -> None:
    """Drop the notes that wait: the run has not started."""
    _notes.clear()


def error(text: str) -> None:
    """Print an error on standard error, as one line."""
    with suppress(OSError):
        sys.stderr.write(f"peak-trade: {one_line(text)}\n")
    settle(sys.stderr)


@contextmanager
def progress(task: str, unit: str = "bars") -> Iterator[Callable[[int, int], None]]:
    """Show a progress bar on standard error, if that is a terminal; yield a function of done and total."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn
    from rich.text import Text

    class Pace(ProgressColumn):
        """The rate of the last seconds, or of all time for slow work, and the time that is left at that rate."""

        def render(self, task: Task) -> Text:
            return Text(_pace(task.completed, task.total, task.elapsed, task.speed))

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn(unit), Pace()
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as shown:
        bar = shown.add_task(task, total=None)
        yield lambda done, total: shown.update(bar, completed=done, total=total)


def _pace(done: float, total: float | None, seconds: float | None, speed: float | None) -> str:
    """Return the rate and the time left; `speed` is that of the last seconds, which says little about slow work."""
    average = done / seconds if seconds else 0.0
    rate = speed if speed and average >= 1.0 else average
    if not rate:
        return "-:--:--"
    left = "" if total is None else f" {timedelta(seconds=math.ceil(max(total - done, 0.0) / rate))}"
    return (f"{rate:,.0f}/s" if rate >= 1.0 else f"{60.0 * rate:.2g}/min") + left


@contextmanager
def live(render: Callable[[], str | Table], is_shown: bool = True) -> Iterator[None]:
    """Redraw a line or a table on standard error, if that is a terminal, while the block runs."""
    from rich.console import Console
    from rich.live import Live

    console = Console(stderr=True)
    if not is_shown or not console.is_terminal:
        yield
        return

    def drawn() -> str | RichTable:
        block = render()
        return block if isinstance(block, str) else _rich_table(block)

    with progress_shown(None), Live(console=console, get_renderable=drawn, refresh_per_second=4):
        yield


def frame_table(frame: pd.DataFrame, title: str = "", formats: Mapping[str, str] | None = None) -> Table:
    """Return a frame as a table: each value in the format of its column, columns of numbers aligned to the right.

    Underscores in the names of columns become spaces.
    """
    formats = formats or {}
    names = {name: str(name).replace("_", " ") for name in frame.columns}
    cells = [[cell(value, formats.get(str(name), "")) for value in frame[name].tolist()] for name in names]
    right = {text for name, text in names.items() if frame[name].dtype.kind in "fiu" or str(name) in formats}
    return Table(tuple(names.values()), list(zip(*cells, strict=True)), title, right)


def selection_table(run: BacktestResult, title: str = "One of many trials") -> Table:
    """Return the deflated Sharpe ratios of a run as a table."""
    from peak_trade.reports.views.backtest import selection

    return frame_table(selection(run), title)


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return one mapping per row of a frame; None where a value is missing."""
    rows = frame.astype(object).where(frame.notna(), None).to_dict("records")
    return [{str(name): value for name, value in row.items()} for row in rows]


def cell(value: object, pattern: str = "") -> str:
    """Return the text of a value in a table: in its format, or with six digits, or as it is."""
    if value is None or value != value:
        return NO_VALUE
    if pattern:
        return pattern.format(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int) and not isinstance(value, Enum):
        return f"{value:,}"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def plain(value: object) -> Any:
    """Return a value as JSON can hold it: a float that is not finite is null, a time is ISO 8601 in UTC."""
    if value is None or (isinstance(value, bool | str) and not isinstance(value, Enum)):
        return value
    if isinstance(value, Enum):
        return plain(value.value)
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(name): plain(part) for name, part in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return {each.name: plain(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, msgspec.Struct):
        return {name: plain(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(part) for part in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if hasattr(value, "isoformat"):
        return str(value.isoformat()).replace("+00:00", "Z") if value == value else None
    return str(value)


def aligned(columns: Sequence[str], rows: Sequence[Sequence[object]], right: Collection[str] = ()) -> list[str]:
    """Return a header and one line per row with aligned columns, which no width of the terminal folds."""
    texts = [[" ".join(cell(value).split()) for value in row] for row in (columns, *rows)]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    return [
        "  ".join(
            text.rjust(width) if name in right else text.ljust(width)
            for name, text, width in zip(columns, row, widths, strict=True)
        ).rstrip()
        for row in texts
    ]


def _show_table(console: Console, table: Table) -> None:
    if table.title:
        console.print(table.title, style="bold")
    if _folded_width(table) <= console.width:
        console.print(_rich_table(table))
    else:
        _show_records(console, table)
    n_left_out = len(table.rows) - len(table.rows[: table.max_rows])
    if n_left_out:
        console.print(f"… and {n_left_out:,} more (--json shows all).")


def _folded_width(table: Table) -> int:
    """Return the width of a table whose cells are folded between words, and within words of over LONG_WORD letters."""
    widths = [0] * len(table.columns)
    for row in [table.columns, *table.rows[: table.max_rows]]:
        longest = (max(map(len, cell(value).split()), default=0) for value in row)
        widths = [max(pair) for pair in zip(widths, longest, strict=True)]
    return sum(min(width, LONG_WORD) + 2 for width in widths) - 2


def _show_records(console: Console, table: Table) -> None:
    """Print each row as lines of column and value, for a table that is too wide even with folded cells."""
    for place, row in enumerate(table.rows[: table.max_rows]):
        if place:
            console.print()
        console.print(_rich_table(Table(("", ""), list(zip(table.columns, row, strict=True)))))


def _rich_table(table: Table) -> RichTable:
    from rich.table import Table as RichTable
    from rich.text import Text

    has_header = any(table.columns)
    shown = RichTable(box=None, pad_edge=False, header_style="bold", show_header=has_header)
    for column in table.columns:
        shown.add_column(Text(column), justify="right" if column in table.right else "left", overflow="fold")
    for row in table.rows[: table.max_rows]:
        shown.add_row(*(Text(cell(value)) for value in row))
    return shown
