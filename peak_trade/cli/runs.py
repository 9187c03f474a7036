"""`peak-trade runs`: look at what was run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from peak_trade.cli.verbs import verb_app

if TYPE_CHECKING:
    import pandas as pd

app = verb_app()
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


@app.command("list")
def list_(
    run_type: Annotated[str | None, typer.Option("--type", help="Only this type: backtest, sweep, paper, ...")] = None,
    strategy: Annotated[str | None, typer.Option(help="Only this strategy.")] = None,
    symbol: Annotated[str | None, typer.Option(help="Only this symbol.")] = None,
    timeframe: Annotated[str | None, typer.Option(help="Only this timeframe.")] = None,
    since: Annotated[str | None, typer.Option(help="Recorded at or after this UTC date or time.")] = None,
    until: Annotated[str | None, typer.Option(help="Recorded before this UTC date or time.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Most runs listed.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List recorded runs, newest first.

    Filters narrow the list; all that are given must match.

    \b
    Example:
        peak-trade runs list --type backtest --symbol BTC/USDT --since 2024-06-01

    Exits 0, also when nothing matches; 2 on bad input.

    """
    from peak_trade.core.time import parse_utc
    from peak_trade.metrics import measures_in
    from peak_trade.tracking import RUN_TYPES, list_runs

    if run_type is not None and run_type not in RUN_TYPES:
        from peak_trade.core.errors import ConfigError, did_you_mean

        raise ConfigError(f"--type was {run_type}. {did_you_mean(run_type, RUN_TYPES)}")
    runs = list_runs(
        run_type,
        strategy,
        symbol,
        timeframe,
        parse_utc(since, "--since") if since else None,
        parse_utc(until, "--until") if until else None,
        limit,
    )
    if as_json:
        typer.echo(runs.to_json(orient="records", date_format="iso", double_precision=15))
        return
    if runs.empty:
        typer.echo("No run matches." if any((run_type, strategy, symbol, timeframe, since, until)) else "No runs yet.")
        return
    shown = runs.drop(columns=[name for name in runs.columns[8:] if name not in measures_in("runs")])
    shown["run_id"] = shown["run_id"].str.slice(0, 12)
    shown["recorded_at"] = shown["recorded_at"].dt.strftime("%Y-%m-%d %H:%M")
    for name in ("start", "end"):
        shown[name] = shown[name].str.slice(0, 10)
    _print(shown, f"{len(runs)} run{'s' if len(runs) != 1 else ''}")


@app.command()
def show(
    run_id: Annotated[str, typer.Argument(help="Run id, or a beginning that only one run has.")],
    as_json: AsJson = False,
) -> None:
    """Show everything recorded of one run: tags, digests, parameters and metrics.

    \b
    Example:
        peak-trade runs show 3f9c1a

    Exits 0, or 2 when no run has that id; the nearest one is named.

    """
    from peak_trade.tracking import show_run

    _emit(show_run(run_id), as_json)


@app.command()
def compare(
    run_ids: Annotated[list[str], typer.Argument(help="Two or more run ids, or their beginnings.")],
    differences: Annotated[bool, typer.Option("--differences", help="Leave out what is equal in all runs.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show runs side by side: tags, digests, parameters and metrics.

    \b
    Example:
        peak-trade runs compare 3f9c1a 77b2e0 --differences

    Exits 0, or 2 when a run is not recorded or fewer than two are named.

    """
    from peak_trade.core.errors import ConfigError
    from peak_trade.tracking import compare_runs

    if len(run_ids) < 2:
        raise ConfigError(f"compare was given {run_ids[0]} alone; name two runs or more, or use `runs show`.")
    runs = compare_runs(run_ids)
    if differences:
        runs = runs[runs.ne(runs.iloc[:, 0], axis=0).any(axis=1)]
    _emit(runs, as_json)


def _emit(runs: pd.DataFrame, as_json: bool) -> None:
    import json

    if as_json:
        content: dict[str, dict[str, dict[str, object]]] = {}
        for run_id in runs.columns:
            for (kind, name), value in zip(runs.index.tolist(), runs[run_id].tolist(), strict=True):
                content.setdefault(run_id, {}).setdefault(kind, {})[name] = value
        typer.echo(json.dumps(content, indent=2))
        return
    _print(runs.rename(columns=lambda run_id: str(run_id)[:12]).reset_index())


def _print(frame: pd.DataFrame, caption: str | None = None) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    table = Table(caption=caption, caption_justify="left", box=None, pad_edge=False)
    for name in frame.columns:
        is_number = frame[name].dtype.kind in "fi"
        table.add_column(str(name), justify="right" if is_number else "left", overflow="fold")
    for row in frame.itertuples(index=False):
        table.add_row(*(_cell(value) for value in row))
    if not console.is_terminal:
        console = Console(width=400)
    console.print(table)


def _cell(value: object) -> str:
    if value is None or value != value:
        return "-"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
