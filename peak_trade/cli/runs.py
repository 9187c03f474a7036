"""`peak-trade runs`: list, show and compare recorded runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from peak_trade.cli import options, output
from peak_trade.cli.verbs import verb_app
from peak_trade.core.errors import ConfigError
from peak_trade.core.time import parse_utc

if TYPE_CHECKING:
    import pandas as pd

LISTED_TAGS = ("run_id", "recorded_at", "run_type", "strategy", "symbol", "timeframe", "start", "end")

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
    limit: Annotated[int, typer.Option(min=1, help="Number of runs to list.")] = 20,
    as_json: options.AsJson = False,
) -> None:
    """List recorded runs, newest first.

    A run is listed when it matches every given option.

    \b
    Example:
        peak-trade runs list --type backtest --symbol BTC/USDT --since 2024-06-01

    Exits 0, even if no run matches; 2 on bad input.
    """
    from peak_trade.tracking import list_runs

    first = parse_utc(since, "--since") if since else None
    after = parse_utc(until, "--until") if until else None
    filters = (run_type, strategy, symbol, timeframe, first, after)
    output.show(list_runs(*filters, limit), as_json, lambda runs: _list_page(runs, any(filters)), output.records)


@app.command()
def show(
    run_id: Annotated[str, typer.Argument(metavar="RUN", help="Run id, or the unique beginning of one.")],
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


def _differences(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the rows whose values differ, without those that differ in any two runs."""
    has_difference = runs.ne(runs.iloc[:, 0], axis=0).any(axis=1)
    is_own = runs.index.isin([("tag", "run_id"), ("tag", "recorded_at")])
    return runs[has_difference & ~is_own]


def _list_page(runs: pd.DataFrame, is_filtered: bool) -> output.Page:
    from peak_trade.metrics import measure_formats

    if runs.empty:
        yield "No run matches." if is_filtered else "No run has been recorded. `peak-trade backtest` records one."
        return
    formats = measure_formats("runs")
    shown = runs[[*LISTED_TAGS, *(name for name in formats if name in runs)]].assign(
        run_id=runs["run_id"].str.slice(0, 12),
        recorded_at=runs["recorded_at"].dt.strftime("%Y-%m-%d %H:%M"),
        start=runs["start"].str.slice(0, 10),
        end=runs["end"].str.slice(0, 10),
    )
    yield output.frame_table(shown, formats=formats)
    yield output.count(len(runs), "run")


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
