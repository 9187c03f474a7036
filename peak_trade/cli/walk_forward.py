"""`peak-trade walk-forward`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from peak_trade.cli import options, output
from peak_trade.cli.equal_runs import shared
from peak_trade.cli.verbs import verb_app

if TYPE_CHECKING:
    from peak_trade.studies.walk_forward.result import WalkForward

app = verb_app()


@app.command("walk-forward")
@shared
def walk_forward(
    strategy: options.StrategyName,
    symbol: options.Symbol,
    train: Annotated[str, typer.Option(help="Length of a training window: bars, or a time such as 180d.")],
    test: Annotated[str, typer.Option(help="Length of a test window: bars, or a time such as 30d.")],
    scheme: Annotated[
        Literal["rolling", "anchored"],
        typer.Option(help="Training windows of one length, or all from the first bar on."),
    ] = "rolling",
    purge: Annotated[str, typer.Option(help="Bars or time left out at the end of a training window.")] = "0",
    embargo: Annotated[str, typer.Option(help="Bars or time between a training window and its test window.")] = "0",
    parameter: options.ParameterValues = None,
    constraint: options.Constraints = None,
    timeframe: options.TimeframeText = "1h",
    start: Annotated[
        str | None,
        typer.Option(help="First close time of the first training window in UTC. Earlier stored bars warm up."),
    ] = None,
    end: options.End = None,
    cold: options.Cold = False,
    exchange: options.StoredExchange = None,
    config: options.RunFile = None,
    fee_bps: options.FeeBps = None,
    slippage_bps: options.SlippageBps = None,
    top: Annotated[int, typer.Option(help="Best combinations of a window that run in the event loop.", min=1)] = 5,
    yes: options.Yes = False,
    processes: options.Processes = None,
    cluster: options.Cluster = "",
    causality_check: options.CausalityCheck = True,
    open_holdout: options.OpenHoldout = False,
    record: options.Record = True,
    as_json: options.AsJson = False,
) -> None:
    """Choose parameters on past bars, trade them on the next.

    Each window makes a sweep on its training bars and trades the best combination on the test bars that follow. All
    test windows are one run with one account: positions are carried over, and a change of the combination trades the
    difference. Every combination of every window counts as a trial on these bars permanently.

    \b
    Example:
        peak-trade walk-forward --strategy donchian --symbol BTC/USDT -p window=24,48,96 --train 180d --test 30d

    Exits 0 when the strategy is promoted or rejected, 1 when a record of the same run id differs, 2 on bad input.
    """
    from peak_trade.studies import by_name, recording

    found = by_name.walk_forward(
        strategy,
        options.pairs(parameter),
        symbol,
        by_name.Span(timeframe, exchange, start, end, cold),
        train=train,
        test=test,
        purge=purge,
        embargo=embargo,
        scheme=scheme,
        run_file=config,
        overrides=by_name.overriding_settings(fee_bps=fee_bps, slippage_bps=slippage_bps),
        constraints=constraint or (),
        n_best=top,
        is_confirmed=yes,
        n_processes=processes,
        cluster=cluster,
        causality_check=causality_check,
    )
    output.show(found, as_json, _page, _content)
    if record:
        recording.record_walk_forward(found)


def _page(found: WalkForward) -> output.Page:
    from peak_trade.studies.trials import trials_sentence
    from peak_trade.studies.walk_forward.result import seam_sentence, window_sentence

    run, market = found.result, found.result.market
    yield found.verdict
    yield f"{window_sentence(found)} {found.folds[0].engine}"
    yield output.frame_table(found.table, "Windows", WINDOW_FORMATS)
    yield output.frame_table(found.stability(), "Stability of the parameters", STABILITY_FORMATS)
    stats, held = run.stats().to_text(), run.benchmark.stats().to_text()
    yield output.Table(
        ("measure", "out of sample", "buy and hold"),
        [(name.replace("_", " "), text, held[name]) for name, text in stats.items()],
        f"{', '.join(run.strategies)} on {', '.join(market.symbols)} ({run.exchange}), {market.timeframe}, "
        f"{len(market):,} bars out of sample",
        right=("out of sample", "buy and hold"),
    )
    yield f"Sharpe ratio in sample: {found.in_sample_sharpe:.2f}, the mean of the windows."
    yield seam_sentence(found)
    yield from (each for each in (*run.remarks, run.no_trade_reason, *run.cut_short) if each)
    yield trials_sentence(run.digests)
    yield f"walk-forward {found.run_id}, {found.execution}"


WINDOW_FORMATS = {
    **dict.fromkeys(("train_from", "train_to", "test_from", "test_to"), "{:%Y-%m-%d %H:%M}"),
    **dict.fromkeys(("is_total_return", "oos_total_return", "is_max_drawdown", "oos_max_drawdown"), "{:.2%}"),
    **dict.fromkeys(("is_sharpe", "oos_sharpe"), "{:,.2f}"),
}
"""Formats of the table of windows."""
STABILITY_FORMATS = {"share": "{:.0%}", "kept": "{:.0%}"}
"""Formats of the table of parameters."""


def _content(found: WalkForward) -> dict[str, Any]:
    from peak_trade.studies.trials import deflated

    run = found.result
    counted, chosen = deflated(run)
    return {
        "run_id": found.run_id,
        "verdict": found.verdict,
        "is_promoted": found.is_promoted,
        "requirements": [asdict(each) for each in found.requirements],
        "scheme": found.scheme,
        "windows": output.records(found.table),
        "stability": output.records(found.stability()),
        "n_changes": found.n_changes,
        "in_sample_sharpe": output.plain(found.in_sample_sharpe),
        "efficiency": found.efficiency.to_dict(),
        "stats": run.stats().to_dict(),
        "measures": run.stats().to_measures(),
        "benchmark": run.benchmark.stats().to_dict(),
        "selection": {name: each.to_dict() for name, each in chosen.items()},
        "n_sets": found.folds[0].n_sets,
        "n_trials": found.n_trials,
        "trials": None if counted is None else counted.to_dict(),
        "differences": [fold.difference for fold in found.folds],
        "remarks": run.remarks,
        "execution": found.execution,
    }
