"""`peak-trade data …`: import, fetch, list, check, resample and sample bars."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from peak_trade.cli.verbs import verb_app
from peak_trade.core.time import Timeframe, iso

if TYPE_CHECKING:
    from peak_trade.data.quality import QualityReport
    from peak_trade.data.store import Saved

app = verb_app()

MAX_ROWS = 20

Symbol = Annotated[str, typer.Option(help="Base and quote, for example BTC/USDT.")]
TimeframeName = Annotated[str, typer.Option(help="Length of a bar: 1m, 5m, 1h, 4h, 1d …")]
Stamp = Literal["open", "close"]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="A CSV or Parquet file of bars.")],
    symbol: Symbol,
    timeframe: TimeframeName,
    exchange: Annotated[str, typer.Option(help="Where the bars were traded, for example binance.")],
    stamp: Annotated[
        Stamp | None,
        typer.Option(help="What the file's times mean; may be left out when their column is open_time or close_time."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Import a CSV or Parquet file of bars into the store.

    Usual column names and time units are recognised, and how they were read is stated. All of the file is imported
    or nothing; importing it again changes nothing; what overlaps held bars must be equal to them.

    \b
    Example:
        peak-trade data import btc.csv --symbol BTC/USDT --timeframe 1h --exchange binance --stamp open

    Exits 0 when the bars are in the store, 2 on bad input (nothing is written then).
    """
    from peak_trade.data.importing import import_file

    done = import_file(file, symbol, Timeframe.parse(timeframe), exchange, stamp)
    n_missing = sum(gap.n_missing for gap in done.gaps)
    if as_json:
        _print_json(
            {
                "file": str(file),
                "n_rows": done.n_rows,
                "columns": done.columns,
                "time_unit": done.time_unit,
                "stamp": done.stamp,
                "n_gaps": len(done.gaps),
                "n_missing": n_missing,
                "gaps": [{"start": iso(g.start), "end": iso(g.end), "n_missing": g.n_missing} for g in done.gaps],
                **_saved_json(done.saved),
            }
        )
        return
    renamed = ", ".join(f"{ours} = {theirs}" for ours, theirs in done.columns.items() if ours != theirs)
    typer.echo(f"{file}: {done.n_rows:,} bars; times are {done.time_unit}, each the {done.stamp} of its bar.")
    if renamed:
        typer.echo(f"Columns: {renamed}.")
    typer.echo(_saved_line(done.saved))
    if done.gaps:
        typer.echo(f"{len(done.gaps)} gaps, {n_missing} bars missing (close times, UTC):")
        _print_gaps([(iso(gap.start), iso(gap.end), gap.n_missing) for gap in done.gaps])


@app.command()
def fetch(
    symbol: Symbol,
    timeframe: TimeframeName,
    exchange: Annotated[str, typer.Option(help="binance or kraken.")],
    start: Annotated[str, typer.Option(help="First close time, inclusive, UTC: 2024-01-01 or 2024-01-01T12:00.")],
    end: Annotated[str | None, typer.Option(help="Last close time, exclusive; now if unset.")] = None,
    base_url: Annotated[str | None, typer.Option(help="Another host that speaks the exchange's API.")] = None,
    as_json: AsJson = False,
) -> None:
    """Fetch bars of an exchange into the store.

    Takes public spot data and needs no account. Only bars that the store does not hold are asked for, so a stopped
    fetch goes on where it was; the bar that is still trading is left out. Kraken gives its latest 720 bars only.

    \b
    Example:
        peak-trade data fetch --symbol BTC/USDT --timeframe 1h --exchange binance --start 2024-01-01

    Exits 0 when the bars that the exchange has are in the store, 2 on bad input or when it can't be reached (what was
    fetched until then is kept).
    """
    from peak_trade.core.time import parse_utc
    from peak_trade.data.fetching import connect, fetch_bars

    step, first, after = Timeframe.parse(timeframe), parse_utc(start, "start"), end and parse_utc(end, "end")
    with connect(exchange, base_url) as client, _progress(f"{exchange} {symbol} {timeframe}", as_json) as on_page:
        done = fetch_bars(client, symbol, step, first, after or None, on_page)
    first_given = iso(done.first_given) if done.first_given is not None else None
    if as_json:
        _print_json(
            {
                "exchange": exchange,
                "symbol": symbol,
                "timeframe": timeframe,
                "n_requests": done.n_requests,
                "n_added": done.n_added,
                "n_missing": done.n_missing,
                "first_given": first_given,
            }
        )
        return
    typer.echo(f"{exchange} {symbol} {timeframe}: {done.n_added:,} bars added with {done.n_requests} requests.")
    if done.n_missing:
        given = f" (the first it gave closed at {first_given})" if first_given else ""
        typer.echo(
            f"{done.n_missing:,} bars of that span the exchange did not give{given}; `data check` names the gaps."
        )


@app.command()
def resample(
    symbol: Symbol,
    to: Annotated[str, typer.Option(help="Timeframe to make, a whole multiple of the held one: 4h, 1d …")],
    timeframe: TimeframeName = "1h",
    exchange: Annotated[str | None, typer.Option(help="Needed when the symbol is held from more than one.")] = None,
    as_json: AsJson = False,
) -> None:
    """Make coarse bars from fine ones that the store holds, and store them.

    A coarse bar exists once its last fine bar is there or the data has passed its close time. Bars made in spite of
    missing fine bars are named, as are the halves that the data begins and ends with (they give no bar).

    \b
    Example:
        peak-trade data resample --symbol BTC/USDT --timeframe 1h --to 4h --exchange binance

    Exits 0 when the coarse bars are in the store, 2 on bad input, such as coarse to fine.
    """
    from peak_trade.data.resampling import resample as make_coarse
    from peak_trade.data.store import load_bars, save_bars

    made = make_coarse(load_bars(symbol, timeframe, exchange), Timeframe.parse(to))
    saved = save_bars(made.bars)
    ends = [part for part in (made.unstarted, made.unfinished) if part is not None]
    if as_json:
        _print_json(
            {
                **_saved_json(saved),
                "n_fine_per_bar": made.n_fine_per_bar,
                "partial": [{"close_time": iso(part.close_time), "n_fine": part.n_fine} for part in made.partial],
                "left_out": [{"close_time": iso(part.close_time), "n_fine": part.n_fine} for part in ends],
            }
        )
        return
    typer.echo(_saved_line(saved))
    if made.partial:
        typer.echo(f"{len(made.partial)} bars were made although fine bars are missing:")
        rows = [(iso(part.close_time), f"{part.n_fine} of {made.n_fine_per_bar}") for part in made.partial]
        _print_table(("close time", "fine bars"), rows, right={"fine bars"})
    for part in ends:
        typer.echo(f"Left out: {iso(part.close_time)}, with {part.n_fine} of {made.n_fine_per_bar} fine bars.")


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """List the bars that the store holds. First and last are close times in UTC.

    \b
    Example:
        peak-trade data list

    Exits 0.
    """
    from peak_trade.data.store import bars_folder, list_bars

    held = list_bars()
    if as_json:
        _print_json(
            [
                {
                    "exchange": item.exchange,
                    "symbol": item.symbol,
                    "timeframe": str(item.timeframe),
                    "n_bars": item.n_bars,
                    "first": iso(item.first),
                    "last": iso(item.last),
                    "digest": item.digest,
                    "path": str(item.path),
                }
                for item in held
            ]
        )
        return
    if not held:
        typer.echo(f"{bars_folder()} holds no bars. Import some with `peak-trade data import FILE`, or make")
        typer.echo("sample bars with `peak-trade data sample`.")
        return
    _print_table(
        ("exchange", "symbol", "timeframe", "bars", "first close", "last close", "digest"),
        [
            (i.exchange, i.symbol, str(i.timeframe), f"{i.n_bars:,}", iso(i.first), iso(i.last), i.digest[:12])
            for i in held
        ],
        right={"bars"},
    )


@app.command()
def check(
    file: Annotated[Path | None, typer.Argument(help="A CSV or Parquet file; without it the store is checked.")] = None,
    symbol: Annotated[str | None, typer.Option(help="Only this symbol of the store.")] = None,
    timeframe: Annotated[str | None, typer.Option(help="Length of a bar; a file's commonest step if unset.")] = None,
    exchange: Annotated[str | None, typer.Option(help="Only this exchange of the store.")] = None,
    stamp: Annotated[Stamp | None, typer.Option(help="What the times of FILE mean (open if unset).")] = None,
    strict: Annotated[bool, typer.Option(help="Exit 1 on gaps, too.")] = False,
    as_json: AsJson = False,
) -> None:
    """Report gaps, duplicates, off-grid stamps, OHLC violations, stale and zero-volume runs.

    Checks a FILE before it is imported, or what the store holds. Gaps, stale runs and zero-volume runs happen in sound
    data (outages, thin markets): they are named and do not fail the check unless --strict asks that gaps do.

    \b
    Examples:
        peak-trade data check btc.csv --timeframe 1h --stamp open
        peak-trade data check --symbol BTC/USDT --strict

    Exits 0 when all bars keep the contract, 1 when some do not (duplicate, unordered, off-grid, not a number, price
    not above zero, negative volume, OHLC; with --strict also a gap), 2 on bad input.
    """
    from peak_trade.data.importing import check_file
    from peak_trade.data.quality import check_bars
    from peak_trade.data.store import load_bars, select

    step = None if timeframe is None else Timeframe.parse(timeframe)
    if file is not None:
        reports = [check_file(file, step, stamp, symbol or "")]
    else:
        chosen = select(symbol, step, exchange)
        reports = [check_bars(load_bars(item.symbol, item.timeframe, item.exchange)) for item in chosen]
    if as_json:
        _print_json([report.as_json() for report in reports])
    else:
        for report in reports:
            _print_report(report)
    if not all(report.keeps_contract and not (strict and report.gaps) for report in reports):
        raise typer.Exit(1)


@app.command()
def sample(
    seed: Annotated[int | None, typer.Option(help="Another seed makes another market.", min=0)] = None,
    as_json: AsJson = False,
) -> None:
    """Write sample bars into the store: two years of hourly BTC/USDT, ETH/USDT and SOL/USDT.

    They are made from a seed, with bull, sideways and bear regimes of known truth, under the exchange name `sample`.
    Calling it again changes nothing.

    \b
    Example:
        peak-trade data sample

    Exits 0 when the bars are in the store, 2 when the store holds bars of another seed.
    """
    from peak_trade.data.sample import SEED, save_samples

    saved = save_samples(SEED if seed is None else seed)
    if as_json:
        _print_json([_saved_json(item) for item in saved])
        return
    for item in saved:
        typer.echo(_saved_line(item))


@contextmanager
def _progress(task: str, is_quiet: bool) -> Iterator[Callable[[int, int], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("bars")
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), disable=is_quiet) as progress:
        bar = progress.add_task(task, total=None)
        yield lambda done, total: progress.update(bar, completed=done, total=total)


def _print_report(report: QualityReport) -> None:
    span = f"{iso(report.first)} to {iso(report.last)}"
    typer.echo(f"{report.where}: {report.n_bars:,} bars of {report.timeframe}, close times {span}")
    if report.faults:
        typer.echo(f"{len(report.faults)} faults that break the contract:")
        _print_table(
            ("row", "close time", "fault", "what it was"),
            [(str(fault.row), iso(fault.time), str(fault.kind), fault.was) for fault in report.faults],
            right={"row"},
        )
    else:
        typer.echo("Every bar keeps the contract.")
    if report.gaps:
        typer.echo(f"{len(report.gaps)} gaps, {report.n_missing} bars missing (close times, UTC):")
        _print_gaps([(iso(gap.start), iso(gap.end), gap.n_missing) for gap in report.gaps])
    else:
        typer.echo("No gaps.")
    if report.runs:
        typer.echo(f"{len(report.runs)} stale or zero-volume runs:")
        rows = [(run.kind, iso(run.start), str(run.n_bars)) for run in report.runs]
        _print_table(("run", "first close time", "bars"), rows, right={"bars"})


def _print_gaps(gaps: list[tuple[str, str, int]]) -> None:
    rows = [(start, end, str(n_missing)) for start, end, n_missing in gaps]
    _print_table(("first missing", "last missing", "missing"), rows, right={"missing"})


def _saved_line(saved: Saved) -> str:
    held = saved.held
    return (
        f"{held.exchange} {held.symbol} {held.timeframe}: {saved.n_added:,} bars added, "
        f"{saved.n_known:,} known already; "
        f"the store holds {held.n_bars:,}, {iso(held.first)} to {iso(held.last)}, digest {held.digest[:12]}."
    )


def _saved_json(saved: Saved) -> dict[str, Any]:
    held = saved.held
    return {
        "exchange": held.exchange,
        "symbol": held.symbol,
        "timeframe": str(held.timeframe),
        "n_added": saved.n_added,
        "n_known": saved.n_known,
        "n_held": held.n_bars,
        "first": iso(held.first),
        "last": iso(held.last),
        "digest": held.digest,
        "path": str(held.path),
    }


def _print_json(content: Any) -> None:
    typer.echo(json.dumps(content, indent=2))


def _print_table(columns: tuple[str, ...], rows: Sequence[tuple[str, ...]], right: set[str]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows[:MAX_ROWS]:
        table.add_row(*row)
    console = Console()
    if not console.is_terminal:
        console = Console(width=140)
    console.print(table)
    if len(rows) > MAX_ROWS:
        typer.echo(f"… and {len(rows) - MAX_ROWS:,} more (--json shows all).")
