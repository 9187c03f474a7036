"""The explorer of runs: one script file with the columns of all runs, and the page that filters and compares them.

The page needs no server: its data are a script, because a browser lets a page from a file load scripts and no JSON.
A number column is a list of numbers, a text column a list of places in its distinct texts.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from peak_trade.core.digest import digest_bytes
from peak_trade.core.files import read_bytes, read_text, write_text
from peak_trade.core.time import parse_utc
from peak_trade.metrics import MEASURES, measures_in
from peak_trade.reports.answer import DataKind, data_kind
from peak_trade.reports.markup import TEMPLATES, raw_html, render
from peak_trade.reports.notebooks import ReportRun, first_of
from peak_trade.reports.project import LIBRARY, without_folders
from peak_trade.site.sections import definitions
from peak_trade.tracking.gaps import ledger_sentence
from peak_trade.tracking.pending import RunEntry
from peak_trade.tracking.queries import count_runs, latest_entries
from peak_trade.tracking.record import GROWTH_TAG
from peak_trade.tracking.registry import is_database

MAX_RUNS = 10_000
"""Largest number of runs of the registry in the explorer; the newest are taken."""
RECENT = 500
"""Number of the newest runs that the explorer shows at first; the largest number that is read through MLflow."""
METRICS = measures_in("runs")
DATA = "runs.js"
SCRIPTS = (DATA, "explorer.js", "explorer_charts.js")
"""Scripts of the page, in this order, in the folder of the other scripts; the first one has the runs."""
FILTERS = ("run_type", "strategy", "symbol", "data", "verdict", "status")
"""Columns that the page filters by a choice of their values."""
LABELS = {"recorded_at": "run", "run_type": "type"}
SHOWN = ("recorded_at", "strategy", "symbol", "timeframe", "run_type", "verdict", "data", "growth", *METRICS)
"""Columns that the page shows at first."""
_NUMBER = re.compile(r"[-+]?\d+(\.\d+)?(e[-+]?\d+)?", flags=re.ASCII | re.IGNORECASE)
DIGITS = 8
"""Length of a digest in the explorer."""

Typed = Sequence[Mapping[str, Any]]
"""The typed results of an executed notebook, in order."""


@dataclass(frozen=True, slots=True)
class RunRow:
    """One run of the explorer: texts, numbers and settings by name. Empty texts and absent numbers are unknown.

    `page` is the file name of its report, and `growth` its equity over the first value at equal steps from `start` to
    `end`, separated by spaces. Standard errors are numbers named `<measure>_stderr`.
    """

    recorded_at: str
    run_type: str
    strategy: str
    symbol: str
    timeframe: str
    status: str
    run_id: str
    page: str = ""
    data: str = ""
    verdict: str = ""
    start: str = ""
    end: str = ""
    data_digest: str = ""
    code_digest: str = ""
    numbers: Mapping[str, float] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    growth: str = ""


TEXTS = ("strategy", "symbol", "timeframe", "run_type", "verdict", "data", "status", "run_id", "page",
         "data_digest", "code_digest")  # fmt: skip
TIMES = ("recorded_at", "start", "end")


def run_rows(runs: Sequence[tuple[ReportRun, Typed]]) -> tuple[list[RunRow], int]:
    """Return one row per executed notebook and one per recorded run that no notebook shows, newest first.

    The typed results of an executed notebook come with it. The second value is the number of recorded runs that are
    left out, because there are too many.
    """
    entries = latest_entries(MAX_RUNS if is_database() else RECENT)
    recorded = {entry.run_id: _recorded_row(entry) for entry in entries}
    n_left_out = max(0, count_runs() - len(entries))
    rows = [_report_row(run, typed, recorded.get(run.run_id)) for run, typed in runs]
    shown = {run.run_id for run, _ in runs}
    rows += [row for run_id, row in recorded.items() if run_id not in shown]
    return sorted(rows, key=lambda row: (row.recorded_at, row.page, row.run_id), reverse=True), n_left_out


def write_explorer(root: Path, stage: Path, rows: Sequence[RunRow], n_left_out: int = 0) -> str:
    """Write the scripts of the explorer into `reports/lib` of a staging folder and return the Markdown of its page.

    The page names the digest of the scripts, so that it is rendered again when one of them changes.
    """
    data = without_folders(data_script(rows, n_left_out, definitions(root)), root)
    texts = [data, *(read_text(TEMPLATES / name) for name in SCRIPTS[1:])]
    for name, text in zip(SCRIPTS, texts, strict=True):
        path = stage / LIBRARY / name
        if not path.is_file() or read_bytes(path) != text.encode():
            write_text(path, text)
    digest = digest_bytes(*(text.encode() for text in texts))[:16]
    labels = {name: _label(name) for name in FILTERS}
    markup = render("experiments.html.j2", filters=labels, n_runs=len(rows), scripts=SCRIPTS, digest=digest)
    return f"---\ntitle: Experiments\ntoc: false\npage-layout: full\n---\n\n{ledger_sentence()}\n\n{raw_html(markup)}\n"


def data_script(rows: Sequence[RunRow], n_left_out: int = 0, links: Mapping[str, str] = MappingProxyType({})) -> str:
    """Return the script file with the columns of runs; `links` are the addresses of the definitions of measures."""
    content = {
        "n": len(rows),
        "total": len(rows) + n_left_out,
        "recent": RECENT,
        "shown": SHOWN,
        "measures": METRICS,
        "columns": [column | {"link": links.get(column["name"], "")} for column in _columns(rows)],
        "growth": [row.growth for row in rows],
    }
    text = json.dumps(content, allow_nan=False, separators=(",", ":"))
    return f"window.peakTradeRuns = JSON.parse({json.dumps(text)});\n"  # faster to load than the same object literal


def _columns(rows: Sequence[RunRow]) -> Iterable[dict[str, Any]]:
    yield _times("recorded_at", rows)
    for name in TEXTS:
        yield _texts(name, "run", [getattr(row, name) for row in rows])
    for name in TIMES[1:]:
        yield _times(name, rows)
    for name, measure in MEASURES.items():
        values = [_finite(row.numbers.get(name)) for row in rows]
        if any(value is not None for value in values):
            errors = [_finite(row.numbers.get(f"{name}_stderr")) for row in rows]
            digits = int(re.findall(r"\.(\d)", measure.pattern)[0])
            yield {
                "name": name,
                "label": _label(name),
                "group": "measure",
                "kind": "number",
                "digits": digits,
                "is_percent": measure.pattern.endswith("%}"),
                "unit": measure.unit,
                "values": values,
                "errors": errors if any(error is not None for error in errors) else [],
            }
    for name in sorted({name for row in rows for name in row.settings}, key=_setting_order):
        texts = [row.settings.get(name, "") for row in rows]
        numbers = [_number(text) for text in texts]
        if any(texts) and all((number is None) == (text == "") for number, text in zip(numbers, texts, strict=True)):
            yield {"name": f"setting.{name}", "label": name, "group": "setting", "kind": "number", "values": numbers}
        else:
            yield _texts(f"setting.{name}", "setting", texts, label=name)


def _setting_order(name: str) -> tuple[bool, str]:
    """Parameters of strategies come before the settings of the run."""
    return name.startswith("settings."), name


def _texts(name: str, group: str, texts: Sequence[str], label: str = "") -> dict[str, Any]:
    places = {text: place for place, text in enumerate(dict.fromkeys(texts))}
    values: list[int] | int = [places[text] for text in texts] if len(places) > 1 else 0
    column = {"name": name, "label": label or _label(name), "group": group, "kind": "text"}
    return column | {"texts": list(places), "values": values}


def _times(name: str, rows: Sequence[RunRow]) -> dict[str, Any]:
    texts = [getattr(row, name) for row in rows]
    values = [int(parse_utc(text, "time").timestamp()) if text else None for text in texts]
    return {"name": name, "label": _label(name), "group": "run", "kind": "time", "values": values}


def _label(name: str) -> str:
    return LABELS.get(name, name.replace("_", " "))


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(f"{value:.6g}")


def _number(text: str) -> float | None:
    """Return the number of a text; None if it is none, or has more digits than a number of a browser."""
    value = float(text) if _NUMBER.fullmatch(text) else math.inf
    return value if abs(value) < 2.0**53 else None


def _recorded_row(entry: RunEntry) -> RunRow:
    tags = entry.tags
    names = ("run_type", "strategy", "symbol", "timeframe", "run_id", "start", "end")
    run_type = tags.get("run_type", "")
    return RunRow(
        recorded_at=entry.recorded.strftime("%Y-%m-%dT%H:%M:%SZ"),
        **{name: tags.get(name, "") for name in names},
        status=entry.status,
        data=_kind_of(run_type, entry.parameters.get("exchange", "")),
        data_digest=tags.get("digest.data", "")[:DIGITS],
        code_digest=tags.get("digest.code", "")[:DIGITS],
        numbers=entry.metrics,
        settings=entry.parameters,
        growth=tags.get(GROWTH_TAG, ""),
    )


def _kind_of(run_type: str, exchange: str) -> str:
    if run_type in set(DataKind):
        return run_type
    return data_kind(exchange) if exchange else ""


def _report_row(run: ReportRun, typed: Typed, recorded: RunRow | None) -> RunRow:
    known = recorded or RunRow("", run.notebook, "", "", "", "", run.run_id)
    given: Callable[[str], str] = lambda name: str(run.parameters.get(name) or getattr(known, name))  # noqa: E731
    return RunRow(
        recorded_at=run.executed_at,
        run_type=known.run_type,
        strategy=given("strategy"),
        symbol=given("symbol"),
        timeframe=given("timeframe"),
        status="failed" if run.is_failed else "done",
        run_id=run.run_id,
        page=f"{run.slug}.html",
        data=", ".join(first_of(typed, "provenance").get("data", [])),
        verdict="" if run.is_failed else first_of(typed, "answer").get("verdict", ""),
        start=known.start,
        end=known.end,
        data_digest=known.data_digest or run.digests.get("data", "")[:DIGITS],
        code_digest=known.code_digest,
        numbers=known.numbers or _headline(typed),
        settings=known.settings,
        growth=known.growth,
    )


def _headline(typed: Typed) -> dict[str, float]:
    for result in typed:
        if result["name"] == "headline" and result["kind"] == "table":
            return {row[0]: row[1] for row in result["rows"] if isinstance(row[1], int | float)}
    return {}
