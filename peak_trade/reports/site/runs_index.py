"""The index page of runs: every executed notebook and every run of the registry, with filters that need no server."""

from __future__ import annotations

import html
import json
import math
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from peak_trade.core.files import write_text
from peak_trade.data.workspace import workspace
from peak_trade.metrics import MEASURES, measures_in
from peak_trade.reports.display import raw_html
from peak_trade.reports.notebooks import ReportRun, read_json, records
from peak_trade.reports.project import read_cache

MAX_RUNS = 500
"""Runs of the registry that the index shows, the newest ones."""
METRICS = measures_in("runs")


@dataclass(frozen=True, slots=True)
class IndexRow:
    """One line of the index. Metrics are written out; `page` is the page's file name, empty when there is none."""

    recorded_at: str
    run_type: str
    strategy: str
    symbol: str
    timeframe: str
    status: str
    run_id: str
    page: str
    metrics: tuple[str, ...]


def index_rows(runs: Sequence[ReportRun], root: Path) -> list[IndexRow]:
    """Return one row an executed notebook, and one a recorded run that none of them shows; newest first."""
    recorded = {row.run_id: row for row in _registry_rows(root)}
    rows = [_report_row(run, recorded.get(run.run_id)) for run in runs]
    shown = {run.run_id for run in runs}
    rows += [row for run_id, row in recorded.items() if run_id not in shown]
    return sorted(rows, key=lambda row: (row.recorded_at, row.page, row.run_id), reverse=True)


def index_page(rows: Sequence[IndexRow]) -> str:
    """Return the Markdown of the index page."""
    front = "---\ntitle: Runs\ntoc: false\npage-layout: full\n---\n\n"
    if not rows:
        return front + "Nothing was run yet. Run a notebook: `peak-trade report run strategy_backtest`.\n"
    n_failed = sum(row.status == "failed" for row in rows)
    failed = f"; {n_failed} of them failed" if n_failed else ""
    return (
        f"{front}{len(rows):,} run{'s' if len(rows) > 1 else ''}, newest first{failed}.\n\n{raw_html(_markup(rows))}\n"
    )


def _report_row(run: ReportRun, recorded: IndexRow | None) -> IndexRow:
    asked = {
        name: str(run.parameters.get(name) or (getattr(recorded, name) if recorded else ""))
        for name in ("strategy", "symbol", "timeframe")
    }
    return IndexRow(
        recorded_at=run.executed_at,
        run_type=recorded.run_type if recorded else run.notebook,
        **asked,
        status="failed" if run.is_failed else "done",
        run_id=run.run_id,
        page=f"{run.slug}.html",
        metrics=recorded.metrics if recorded else _headline(run),
    )


def _headline(run: ReportRun) -> tuple[str, ...]:
    for record in records(read_json(run.path)):
        if record["name"] == "headline" and record["kind"] == "table":
            named = {row[0]: row[1] for row in record["rows"]}
            return tuple(_metric(name, named.get(name)) for name in METRICS)
    return ("",) * len(METRICS)


def _registry_rows(root: Path) -> list[IndexRow]:
    stamp = _registry_stamp()
    held = root / "reports/pages/.registry.json"
    known = read_cache(held)
    if stamp and known.get("stamp") == stamp:
        return [IndexRow(**row | {"metrics": tuple(row["metrics"])}) for row in known["rows"]]
    from peak_trade.tracking import list_runs

    rows = [_registry_row(run) for run in list_runs(limit=MAX_RUNS).to_dict("records")]
    write_text(held, json.dumps({"stamp": stamp, "rows": [asdict(row) for row in rows]}))
    return rows


def _registry_stamp() -> list[Any]:
    if os.environ.get("MLFLOW_TRACKING_URI"):
        return []
    files = [workspace() / name for name in ("mlflow.db", "mlflow.db-wal")]
    return [str(files[0].resolve())] + [
        [path.name, path.stat().st_mtime_ns, path.stat().st_size] for path in files if path.is_file()
    ]


def _registry_row(run: dict[Any, Any]) -> IndexRow:
    return IndexRow(
        recorded_at=run["recorded_at"].strftime("%Y-%m-%dT%H:%M:%SZ"),
        run_type=run["run_type"],
        strategy=run["strategy"],
        symbol=run["symbol"],
        timeframe=run["timeframe"],
        status="done",
        run_id=run["run_id"],
        page="",
        metrics=tuple(_metric(name, run.get(name)) for name in METRICS),
    )


def _metric(name: str, value: Any) -> str:
    if value is None or math.isnan(value):
        return ""
    return MEASURES[name].pattern.format(value)


_FILTERS = ("run_type", "strategy", "symbol", "status")
_HEADS = ("run", "run type", "strategy", "symbol", "timeframe", "status")


def _markup(rows: Sequence[IndexRow]) -> str:
    selects = "".join(_select(name, sorted({getattr(row, name) for row in rows} - {""})) for name in _FILTERS)
    dates = "".join(f'<label>{end} <input type="date" data-filter="{end}"></label>' for end in ("from", "to"))
    texts = "".join(f"<th>{name}</th>" for name in _HEADS)
    head = texts + "".join(f'<th class="pt-float">{name.replace("_", " ")}</th>' for name in METRICS)
    body = "\n".join(map(_row, rows))
    return (
        f'<form class="pt-filters" id="filters">{selects}{dates}'
        '<button type="reset">all</button> <output id="n-shown"></output></form>\n'
        '<div class="pt-table pt-runs"><table id="runs" data-quarto-disable-processing="true">\n'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>\n<script>{_SCRIPT}</script>"
    )


def _select(name: str, values: Sequence[str]) -> str:
    options = "".join(f"<option>{html.escape(value)}</option>" for value in values)
    return (
        f'<label>{name.replace("_", " ")} <select data-filter="{name}"><option value="">all</option>{options}</select>'
        "</label>"
    )


def _row(row: IndexRow) -> str:
    claims = {name: getattr(row, name) for name in _FILTERS} | {"date": row.recorded_at[:10]}
    attributes = " ".join(f'data-{name.replace("_", "-")}="{html.escape(value)}"' for name, value in claims.items())
    when = html.escape(row.recorded_at.replace("T", " ").removesuffix("Z"))
    named = f'<a href="{html.escape(row.page)}">{when}</a>' if row.page else when
    if row.run_id:
        named += f"<br><code>{html.escape(row.run_id)}</code>"
    texts = [row.run_type, row.strategy, row.symbol, row.timeframe]
    cells = "".join(f"<td>{html.escape(text)}</td>" for text in texts)
    status = f'<td class="pt-status-{row.status}">{row.status}</td>'
    numbers = "".join(f'<td class="pt-float">{html.escape(text)}</td>' for text in row.metrics)
    return f"<tr {attributes}><td>{named}</td>{cells}{status}{numbers}</tr>"


_SCRIPT = """
(function () {
  var form = document.getElementById("filters");
  var rows = Array.from(document.querySelectorAll("#runs tbody tr"));
  function narrow() {
    var asked = {};
    form.querySelectorAll("[data-filter]").forEach(function (field) { asked[field.dataset.filter] = field.value; });
    var shown = rows.filter(function (row) {
      var it = row.dataset;
      var fits = (!asked.run_type || it.runType === asked.run_type)
        && (!asked.strategy || it.strategy === asked.strategy)
        && (!asked.symbol || it.symbol === asked.symbol) && (!asked.status || it.status === asked.status)
        && (!asked.from || it.date >= asked.from) && (!asked.to || it.date <= asked.to);
      row.hidden = !fits;
      return fits;
    });
    document.getElementById("n-shown").textContent = shown.length + " of " + rows.length;
  }
  form.addEventListener("input", narrow);
  form.addEventListener("reset", function () { setTimeout(narrow, 0); });
  narrow();
})();
"""
