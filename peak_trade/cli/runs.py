"""`peak-trade runs`: list, show, compare, make again, verify, export and write to MLflow recorded runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from peak_trade.cli import options, output
from peak_trade.cli.verbs import verb_app
from peak_trade.core.errors import ConfigError
from peak_trade.core.time import parse_utc

if TYPE_CHECKING:
    import pandas as pd

    from peak_trade.studies.rerun import Rerun
    from peak_trade.tracking.pending import RunEntry

LISTED_TAGS = ("run_id", "recorded_at", "status", "run_type", "strategy", "symbol", "timeframe", "start", "end")

app = verb_app()


@app.command("list")
def list_(
    run_type: Annotated[
        str | None, typer.Option("--type", help="Only runs of this type, for example backtest, sweep or paper.")
    ] = None,
    strategy: Annotated[str | None, typer.Option(help="Only runs of this strategy.")] = None,
    symbol: Annotated[str | None, typer.Option(help="Only runs on this symbol.")] = None,
    timeframe: Annotated[str | None, typer.Option(help="Only runs on this bar length.")] = None,
    since: Annotated[str | None, typer.Option(help="Only runs recorded at or after this date or time in UTC.")] = None,
    until: Annotated[str | None, typer.Option(help="Only runs recorded before this date or time in UTC.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1_000_000, help="Number of runs to list.")] = 20,
    as_json: options.AsJson = False,
) -> None:
    """List recorded runs, newest first.

    A run is listed when it matches every given option. One whose recording at a server was stopped is unfinished;
    recording it again completes it.

    \b
    Example:
        peak-trade runs list --type backtest --symbol BTC/USDT --since 2024-06-01

    Exits 0, even if no run matches; 2 on bad input.
    """
    from peak_trade.tracking.entries import list_entries

    first = parse_utc(since, "--since") if since else None
    after = parse_utc(until, "--until") if until else None
    filters = (run_type, strategy, symbol, timeframe, first, after)
    output.show(list_entries(*filters, limit), as_json, lambda runs: _list_page(runs, any(filters)), _list_content)


@app.command()
def show(
    run_id: options.RunId,
    as_json: options.AsJson = False,
) -> None:
    """Show the tags, digests, parameters and metrics of a run.

    \b
    Example:
        peak-trade runs show 3f9c1a

    Exits 0, or 2 when no run has that id; the error names the most similar one.
    """
    from peak_trade.tracking import show_run

    output.show(show_run(run_id), as_json, _page, _content)


@app.command()
def compare(
    run_ids: Annotated[list[str], typer.Argument(metavar="RUN", help="Two or more run ids or beginnings of ids.")],
    differences: Annotated[
        bool,
        typer.Option("--differences", help="Show only what differs, without the run ids and the times of recording."),
    ] = False,
    as_json: options.AsJson = False,
) -> None:
    """Compare the tags, digests, parameters and metrics of runs.

    \b
    Example:
        peak-trade runs compare 3f9c1a 77b2e0 --differences

    Exits 0, or 2 when a run is not recorded or fewer than two are named.
    """
    from peak_trade.tracking import compare_runs

    if len(run_ids) < 2:
        raise ConfigError(f"compare was given {run_ids[0]} alone: name two runs or more, or use `runs show`.")
    runs = compare_runs(run_ids)
    if len(runs.columns) < 2:
        raise ConfigError(f"{' and '.join(run_ids)} are one run, {runs.columns[0]}: name two runs or more.")
    if differences:
        runs = _differences(runs)
    output.show(runs, as_json, _page, _content)


@app.command()
def rerun(
    run_id: options.RunOrBundle,
    accept_changes: options.AcceptChanges = False,
    open_holdout: options.OpenHoldout = False,
    as_json: options.AsJson = False,
) -> None:
    """Make a recorded run again and show both results.

    Settings, limits and instruments are those of the record, bars are those of the store. A session is replayed from
    its journal. A module of your own that is not here, or was changed, comes from the record. Nothing is recorded. With
    changed inputs it is another evaluation, which counts as a trial.

    \b
    Example:
        peak-trade runs rerun 3f9c1a

    Exits 0 when every event is equal to the recorded one, 1 when they differ, with the first difference, 2 when the
    run can not be made again as recorded: the error names the input that is gone or was changed.
    """
    _show_rerun(run_id, accept_changes, as_json, _rerun_page)


@app.command()
def verify(
    run_id: options.RunOrBundle,
    accept_changes: options.AcceptChanges = False,
    open_holdout: options.OpenHoldout = False,
    as_json: options.AsJson = False,
) -> None:
    """Check that a recorded run gives equal events again.

    The run is made again as by `runs rerun`, and only the verdict is shown.

    \b
    Example:
        peak-trade runs verify 3f9c1a

    Exits 0 when every event is equal to the recorded one, 1 when they differ, with the first difference, 2 when the
    run can not be made again as recorded: the error names the input that is gone or was changed.
    """
    _show_rerun(run_id, accept_changes, as_json, _verdict)


@app.command()
def sync(as_json: options.AsJson = False) -> None:
    """Write the runs that are recorded in the workspace to MLflow.

    A command records its runs in the workspace, because MLflow takes seconds, and every list shows them at once. Give
    this before another program reads MLflow, for example `mlflow ui`. It can be stopped at any time and given again. If
    MLFLOW_TRACKING_URI is set, the runs are those that its registry did not take when they were recorded.

    \b
    Example:
        peak-trade runs sync

    Exits 0 when MLflow has all runs, 2 when it can not take one, which stays in the workspace.
    """
    from peak_trade.tracking.record import sync_runs

    synced = sync_runs()
    output.show(synced, as_json, lambda synced: [f"Wrote {output.count(synced.n_written, 'run')} to MLflow."], asdict)
    if synced.failures:
        raise ConfigError(
            f"{output.count(len(synced.failures), 'run')} could not be written to MLflow: {' '.join(synced.failures)}"
        )


@app.command()
def export(
    run_id: options.RunId,
    to: Annotated[Path, typer.Option("--to", metavar="DIR", help="Folder to create. It must be new or empty.")],
    open_holdout: options.OpenHoldout = False,
    as_json: options.AsJson = False,
) -> None:
    """Export a recorded run with all its inputs to a folder.

    The folder has the bars that the run knew, its settings, sources, environment and events, and its executed notebook
    and page if there are any. `peak-trade runs verify DIR` verifies it on another machine.

    \b
    Example:
        peak-trade runs export 3f9c1a --to bundle

    Exits 0 when the folder is written, 2 when the run can not be made again, an input is gone or was changed, or DIR is
    not empty.
    """
    from peak_trade.studies.bundle import export_run

    record = export_run(run_id, to, _report_files)
    output.show(
        record,
        as_json,
        lambda record: [f"Exported run {record.run_id} to {to}. Verify it with `peak-trade runs verify {to}`."],
        lambda record: {"run_id": record.run_id, "folder": to},
    )


def _report_files(run_id: str) -> dict[str, Path]:
    """Return the executed notebook of a run and its page, as far as there are any, by their names in a bundle."""
    from peak_trade.reports.notebooks import list_report_runs

    for report in list_report_runs():
        if report.run_id == run_id:
            page = Path("reports/site") / f"{report.slug}.html"
            return {"notebook.ipynb": report.path} | ({"page.html": page} if page.is_file() else {})
    return {}


def _show_rerun(run_id: str, accept_changes: bool, as_json: bool, page: Callable[[Rerun], output.Page]) -> None:
    from peak_trade.studies.rerun import rerun as make_again

    again = make_again(run_id, accept_changes=accept_changes)
    output.show(again, as_json, page, _rerun_content)
    if not again.is_equal:
        raise typer.Exit(1)


def _rerun_page(again: Rerun) -> output.Page:
    if again.result is not None:
        recorded, now = again.record.measures(), again.result.stats().to_text()
        yield output.Table(
            ("measure", "recorded", "now"),
            [(name.replace("_", " "), recorded.get(name, ""), text) for name, text in now.items()],
            f"{again.record.tags['run_type']} of {again.record.tags['strategy']} on {again.record.tags['symbol']}",
            right=("recorded", "now"),
        )
    yield from _verdict(again)


def _verdict(again: Rerun) -> output.Page:
    difference, record = again.first_difference, again.record
    yield from (*again.changes, *again.notes)
    if difference is None:
        equity = "" if again.result is None else " and the recorded equity"
        yield f"Equal: run {record.run_id} has the {again.n_events:,} recorded events{equity}."
        return
    yield f"Different: run {record.run_id} differs from its record, first at event {difference.index:,}."
    yield f"recorded {difference.recorded}"
    yield f"now      {difference.now}"


def _rerun_content(again: Rerun) -> dict[str, Any]:
    difference = again.first_difference
    return {
        "run_id": again.record.run_id,
        "run_type": again.record.tags["run_type"],
        "is_equal": again.is_equal,
        "first_difference": None if difference is None else asdict(difference),
        "events_digest": {"recorded": again.record.events_digest, "now": again.events_digest},
        "n_events": {"recorded": len(again.record.events), "now": again.n_events},
        "run_id_now": again.run_id,
        "changes": again.changes,
        "notes": again.notes,
        "stats": None if again.result is None else again.result.stats().to_dict(),
    }


def _differences(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the rows whose values differ, without those that differ in any two runs."""
    has_difference = runs.ne(runs.iloc[:, 0], axis=0).any(axis=1)
    is_own = runs.index.isin([("tag", "run_id"), ("tag", "recorded_at")])
    return runs[has_difference & ~is_own]


def _list_page(runs: Sequence[RunEntry], is_filtered: bool) -> output.Page:
    from peak_trade.core.measures import measure_formats
    from peak_trade.tracking.gaps import ledger_sentence

    if not runs:
        yield "No run matches." if is_filtered else "No run has been recorded. `peak-trade backtest` records one."
        return
    formats = {name: text for name, text in measure_formats("runs").items() if any(name in run.metrics for run in runs)}
    rows = [[*_listed(run), *(output.cell(run.metrics.get(name), formats[name]) for name in formats)] for run in runs]
    names = [name.replace("_", " ") for name in (*LISTED_TAGS, *formats)]
    yield output.Table(names, rows, right=names[len(LISTED_TAGS) :])
    yield output.count(len(runs), "run")
    yield ledger_sentence()


def _listed(run: RunEntry) -> Iterator[str]:
    """Yield the cells of a run under LISTED_TAGS."""
    recorded = run.recorded.strftime("%Y-%m-%d %H:%M")
    shown = run.tags | {
        "run_id": run.run_id[:12],
        "recorded_at": recorded,
        "status": run.status,
        "start": run.tags.get("start", "")[:10],
        "end": run.tags.get("end", "")[:10],
    }
    yield from (shown.get(name, "") for name in LISTED_TAGS)


def _list_content(runs: Sequence[RunEntry]) -> list[dict[str, Any]]:
    """Return one mapping per run with every metric that one of them has, None where a run has none."""
    from peak_trade.tracking.entries import TAGS

    metrics = sorted({name for run in runs for name in run.metrics})
    return [
        {
            "recorded_at": run.recorded,
            **{name: run.tags.get(name, "") for name in TAGS},
            "status": run.status,
            **{name: run.metrics.get(name) for name in metrics},
        }
        for run in runs
    ]


def _page(runs: pd.DataFrame) -> output.Page:
    if runs.empty:
        yield "The runs do not differ."
        return
    yield output.frame_table(runs.rename(columns=lambda run_id: str(run_id)[:12]).reset_index())


def _content(runs: pd.DataFrame) -> dict[str, Any]:
    content: dict[str, dict[str, dict[str, object]]] = {}
    for run_id in runs.columns:
        for (kind, name), value in zip(runs.index.tolist(), runs[run_id].tolist(), strict=True):
            content.setdefault(run_id, {}).setdefault(kind, {})[name] = value
    return content
