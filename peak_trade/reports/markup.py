"""HTML and Markdown of tables, figures and sentences. Every value is escaped.

All HTML comes from the Jinja templates in `templates/`. They are part of the package, not of a project's `reports/`
folder: a checkout and an installed wheel read them from the same place, and no project can lose the escaping of the
version that it runs. The look of a page is set by the style sheets in a project's `reports/styles/`.
"""

from __future__ import annotations

import json
import math
import re
import shutil
import string
import tomllib
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from peak_trade.core.digest import digest_bytes
from peak_trade.core.errors import ReportError
from peak_trade.core.extras import require
from peak_trade.core.files import read_bytes, read_text, write_bytes, write_text

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = Path(__file__).with_name("templates")
SHOWN_ROWS = 1_000
"""Largest number of rows of a table that a page shows."""
SCRIPTS = ("plotly.min.js", "charts.js", "page.js")
"""Scripts that every page loads, in this order."""
LONG_ROWS = 25
"""Number of rows above which a table scrolls in a box of its own."""
MINUS = "\u2212"
HEADINGS: Mapping[str, str] = MappingProxyType(tomllib.loads(read_text(TEMPLATES / "headings.toml")))
"""Heading of a column or measure by its name: what it is and, after a comma, its unit. Others are shown by name."""


_RAW_BLOCK = re.compile(r"^(`{3,})\{=html\}\n(.*?)\n\1$", flags=re.DOTALL | re.MULTILINE)
SPOKEN = ("model", "scenario")
"""Columns whose values are names of the code; a page shows them with spaces."""


def render(template: str, **values: Any) -> str:
    """Return a template of `templates/` with its values filled in and escaped."""
    return _environment().get_template(template).render(values)


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "allow_nan": False}
    return environment


def templates_digest() -> str:
    """Return the digest of all template files."""
    return digest_bytes(*(read_bytes(path) for path in sorted(TEMPLATES.rglob("*.*"))))


def raw_html(markup: str) -> str:
    """Return HTML as a Markdown block that Pandoc passes through unchanged."""
    longest = max((len(run) for run in re.findall("`+", markup)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{{=html}}\n{markup}\n{fence}"


_ENTITIES = str.maketrans({mark: f"&#{ord(mark)};" for mark in string.punctuation})


def markdown_text(text: str) -> str:
    """Return text as Markdown that shows the text literally, on one line.

    Punctuation is written as character references, so that no Markdown or YAML reader interprets it. White space and
    control characters become single spaces.

    >>> markdown_text("a_b *c*")
    'a&#95;b &#42;c&#42;'
    """
    line = re.sub(r"[\s\x00-\x1f\x7f-\x9f]+", " ", text).strip()
    return without_shortcodes(line).translate(_ENTITIES)


def without_shortcodes(text: str) -> str:
    """Return text in which Quarto finds no shortcode: an invisible word joiner splits each `{{<` and `>}}`.

    Quarto looks for shortcodes in titles and in code, too, after it has read quotes and character references.
    """
    return text.replace("{{<", "{{\u2060<").replace(">}}", ">\u2060}}")


def figure_html(figure: Any, div_id: str, text: str = "") -> str:
    """Return a plotly figure as HTML that draws itself with the page's shared scripts; `text` says what it shows."""
    return render("figure.html.j2", div_id=div_id, figure=plotly_json(figure), text=text or div_id)


def plotly_json(figure: Any) -> Any:
    """Return a plotly figure as JSON values, without the whole series of its traces."""
    content = json.loads(figure.to_json())
    for trace in content["data"]:
        if not trace.get("meta", True):
            del trace["meta"]
    return content


def table_html(frame: pd.DataFrame, name: str, formats: Mapping[str, str] | None = None) -> str:
    """Return a table as HTML. Of more than `SHOWN_ROWS` rows, it holds the last ones and a note that says so.

    Raises
    ------
    ReportError
        If formats names a column that the table does not have.

    """
    formats = formats or {}
    unknown = [column for column in formats if column not in frame.columns]
    if unknown:
        raise ReportError(
            f"{name}: formats names {unknown[0]}; the table's columns are {', '.join(map(str, frame.columns))}."
        )
    shown = frame.tail(SHOWN_ROWS)
    shown = shown.assign(**{name: shown[name].map(_spoken) for name in SPOKEN if name in shown.columns})
    kinds = [kind_of(frame[column]) for column in frame.columns]
    patterns = [
        formats.get(str(column)) or _pattern_of(shown[column], kind)
        for column, kind in zip(frame.columns, kinds, strict=True)
    ]
    headings = [heading(str(column), str(frame.attrs.get("quote", ""))) for column in frame.columns]
    return render(
        "table.html.j2",
        name=name,
        columns=list(zip(kinds, headings, strict=True)),
        rows=[
            [(kind, _cell(value, pattern, kind)) for kind, value, pattern in zip(kinds, row, patterns, strict=True)]
            for row in shown.itertuples(index=False, name=None)
        ],
        n_rows=len(frame),
        is_long=len(shown) > LONG_ROWS,
    )


def heading(name: str, quote: str = "") -> tuple[str, str]:
    """Return the heading of a column, and its unit or an empty text; `quote` names the quote currency.

    >>> heading("exit_price", "USDT")
    ('exit price', 'USDT')
    """
    if name not in HEADINGS:  # a comma in a name that a user chose does not start a unit
        return name.replace("_", " "), ""
    text = HEADINGS[name]
    what, _, unit = text.rpartition(", ")
    unit = quote if quote and unit == "quote currency" else unit
    return (what, unit) if what else (text, "")


def _spoken(name: Any) -> Any:
    return name.replace("_", " ") if isinstance(name, str) else name


def _pattern_of(column: Any, kind: str) -> str | None:
    """Return one format for all numbers of a column, so that its decimals line up: 2 from 100 on, else 4 digits."""
    if kind != "float":
        return None
    sizes = np.abs(column.to_numpy(dtype=np.float64))
    known = sizes[np.isfinite(sizes) & (sizes > 0.0)]
    largest = float(known.max()) if known.size else 1.0
    decimals = 2 if largest >= 100.0 else min(3 - math.floor(math.log10(largest)), 8)
    return f"{{:,.{decimals}f}}"


def sentences_html(sentences: Sequence[str]) -> str:
    """Return sentences as an HTML list, a single sentence as a paragraph."""
    return render("sentences.html.j2", sentences=sentences)


def preformatted_html(text: str, style: str) -> str:
    """Return text as an HTML block with its spaces and line breaks kept; `style` is `stream` or `traceback`."""
    return render("preformatted.html.j2", text=text, style=style)


def write_figure_page(figure: Any, title: str, path: Path) -> None:
    """Write a figure as an HTML page that works offline, with its scripts in the same folder."""
    copy_scripts(path.parent)
    write_text(
        path, render("figure_page.html.j2", title=title, div_id="figure", figure=plotly_json(figure), text=title)
    )


def copy_scripts(folder: Path) -> None:
    """Copy the scripts of pages into a folder, where they are not there already.

    Raises
    ------
    ReportError
        If plotly is not installed.

    """
    from importlib.util import find_spec

    spec = find_spec("plotly")
    if spec is None or spec.origin is None:
        raise ReportError("plotly is not installed. Install the packages of the lock file: make env.")
    folder.mkdir(parents=True, exist_ok=True)
    plotly = Path(spec.origin).parent / "package_data" / SCRIPTS[0]
    target = folder / plotly.name
    if not target.is_file() or target.stat().st_size != plotly.stat().st_size:
        shutil.copyfile(plotly, target)
    for name in SCRIPTS[1:]:
        script = read_bytes(TEMPLATES / name)
        if not (folder / name).is_file() or read_bytes(folder / name) != script:
            write_bytes(folder / name, script)


def kind_of(column: Any) -> str:
    """Return the kind of a column's values: float, int, bool, time or text."""
    return {"f": "float", "i": "int", "u": "int", "b": "bool", "M": "time"}.get(column.dtype.kind, "text")


def value_text(value: Any) -> str:
    """Return a value as a page shows it when no format is given."""
    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else "no"
    if isinstance(value, (int, np.integer)):
        return f"{value:,}"
    if isinstance(value, (float, np.floating)):
        return f"{value:,.2f}" if abs(float(value)) >= 100.0 else f"{value:.4g}"
    return value.strftime("%Y-%m-%d %H:%M") if isinstance(value, datetime) else str(value)


def _cell(value: Any, pattern: str | None, kind: str) -> str:
    if value is None or value is pd.NaT or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return "–"
    text = pattern.format(value) if pattern else value_text(value)
    return text.replace("-", MINUS) if kind in ("float", "int") else text


def markdown_html(text: str) -> str:
    """Return Markdown as HTML. Its raw HTML blocks stay as they are."""
    require("text in Markdown", "nbconvert")
    from nbconvert.filters.markdown_mistune import markdown2html_mistune

    parts: list[str] = []
    end = 0
    for block in _RAW_BLOCK.finditer(text):
        parts += [markdown2html_mistune(text[end : block.start()]), block[2]]
        end = block.end()
    parts.append(markdown2html_mistune(text[end:]) if text[end:].strip() else "")
    return "\n".join(parts)
