"""Page of all runs: executed notebooks and runs of the registry, with filters that need no server."""

from __future__ import annotations

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
from peak_trade.reports.markup import raw_html, render
from peak_trade.reports.notebooks import ReportRun, read_json, results
from peak_trade.reports.project import read_cache

MAX_RUNS = 500
"""Largest number of runs of the registry on the page; the newest are taken."""
METRICS = measures_in("runs")


@dataclass(frozen=True, slots=True)
class IndexRow:
    """One run on the page. Metrics are formatted; `page` is the file name of its report, empty when there is none."""

    recorded_at: str
    run_type: str
    strategy: str
    symbol: str
    timeframe: str
    status: str
    run_id: str
    page: str
    metrics: tuple[str, ...]

    @property
    def when(self) -> str:
        """The time at which the run was recorded, as a page shows it."""
        return self.recorded_at.replace("T", " ").removesuffix("Z")


def index_rows(runs: Sequence[ReportRun], root: Path) -> list[IndexRow]:
    """Return one row per executed notebook and one per recorded run that no notebook shows, newest first."""
    recorded = {row.run_id: row for row in _registry_rows(root)}
    rows = [_report_row(run, recorded.get(run.run_id)) for run in runs]
    shown = {run.run_id for run in runs}
    rows += [row for run_id, row in recorded.items() if run_id not in shown]
    return sorted(rows, key=lambda row: (row.recorded_at, row.page, row.run_id), reverse=True)


def index_page(rows: Sequence[IndexRow]) -> str:
    """Return the Markdown of the page of runs."""
    front = "---\ntitle: Runs\ntoc: false\npage-layout: full\n---\n\n"
    if not rows:
        return front + "There are no runs yet. Run a notebook: `peak-trade report run strategy_backtest`.\n"
    n_failed = sum(row.status == "failed" for row in rows)
    failed = f"; {n_failed:,} failed" if n_failed else ""
    return (
        f"{front}{len(rows):,} run{'s' if len(rows) > 1 else ''}, newest first{failed}.\n\n{raw_html(_table(rows))}\n"
    )


def _report_row(run: ReportRun, recorded: IndexRow | None) -> IndexRow:
    about = {
        name: str(run.parameters.get(name) or (getattr(recorded, name) if recorded else ""))
        for name in ("strategy", "symbol", "timeframe")
    }
    return IndexRow(
        recorded_at=run.executed_at,
        run_type=recorded.run_type if recorded else run.notebook,
        **about,
        status="failed" if run.is_failed else "done",
        run_id=run.run_id,
        page=f"{run.slug}.html",
        metrics=recorded.metrics if recorded else _headline(run),
    )


def _headline(run: ReportRun) -> tuple[str, ...]:
    for result in results(read_json(run.path)):
        if result["name"] == "headline" and result["kind"] == "table":
            named = {row[0]: row[1] for row in result["rows"]}
            return tuple(_metric(name, named.get(name)) for name in METRICS)
    return ("",) * len(METRICS)


def _registry_rows(root: Path) -> list[IndexRow]:
    stamp = _registry_stamp()
    path = root / "reports/pages/.registry.json"
    cached = read_cache(path)
    if stamp and cached.get("stamp") == stamp:
        return [IndexRow(**row | {"metrics": tuple(row["metrics"])}) for row in cached["rows"]]
    from peak_trade.tracking import list_runs

    rows = [_registry_row(run) for run in list_runs(limit=MAX_RUNS).to_dict("records")]
    write_text(path, json.dumps({"stamp": stamp, "rows": [asdict(row) for row in rows]}))
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


FILTERS = ("run_type", "strategy", "symbol", "status")


def _table(rows: Sequence[IndexRow]) -> str:
    choices = {name: sorted({getattr(row, name) for row in rows} - {""}) for name in FILTERS}
    return render("runs.html.j2", rows=rows, choices=choices, metrics=METRICS)
