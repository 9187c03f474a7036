"""`peak-trade sweep`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from peak_trade.cli import options, output
from peak_trade.cli.equal_runs import shared
from peak_trade.cli.verbs import verb_app

if TYPE_CHECKING:
    from peak_trade.studies.sweep.result import SweepResult

app = verb_app()


@app.command()
@shared
def sweep(
    strategy: options.StrategyName,
    symbol: options.Symbol,
    parameter: Annotated[
        list[str],
        typer.Option(
            "--parameter",
            "-p",
            metavar="KEY=VALUE,VALUE",
            help="Strategy parameter and its values. Repeat for several parameters.",
        ),
    ],
    timeframe: options.TimeframeText = "1h",
    start: options.Start = None,
    end: options.End = None,
    cold: options.Cold = False,
    exchange: options.StoredExchange = None,
    fee_bps: Annotated[float, typer.Option(help="Fee per fill in basis points.")] = 10.0,
    slippage_bps: Annotated[float, typer.Option(help="Slippage per fill in basis points.")] = 5.0,
    top: Annotated[int, typer.Option(help="Combinations to print, by descending Sharpe ratio.", min=1)] = 10,
    causality_check: options.CausalityCheck = True,
    open_holdout: options.OpenHoldout = False,
    record: options.Record = True,
    as_json: options.AsJson = False,
) -> None:
    """Backtest every combination of parameter values.

    The combinations run on a fast kernel: market orders, fee and slippage, no volume limit. The one with the highest
    Sharpe ratio runs again in the event loop. Every combination counts as a trial on these bars permanently: the more
    trials there are, the less the best Sharpe ratio means.

    \b
    Example:
        peak-trade sweep --strategy ma_crossover --symbol BTC/USDT -p fast=5,10,20 -p slow=40,60,80

    Exits 0 when the event loop agrees with the kernel on the best combination, 1 when it or
    a record of the same run id differs, 2 on bad input.
    """
    from peak_trade.studies import by_name, recording

    result = by_name.sweep(
        strategy,
        options.pairs(parameter),
        symbol,
        by_name.Span(timeframe, exchange, start, end, cold),
        overrides=by_name.overriding_settings(fee_bps=fee_bps, slippage_bps=slippage_bps),
        n_best=top,
        causality_check=causality_check,
    )

    output.show(result, as_json, lambda result: _page(result, top), lambda result: _content(result, top))
    if record:
        recording.record_sweep(result)
    if not result.agrees:
        raise typer.Exit(1)


def _page(result: SweepResult, top: int) -> output.Page:
    from peak_trade.metrics import measure_formats
    from peak_trade.studies.trials import trials_sentence

    best, market = result.best(top), result.winner.market
    series = f"{', '.join(result.winner.strategies)} on {', '.join(market.symbols)}, {market.timeframe}"
    title = f"{series}, {len(market):,} bars: best {len(best):,} of {len(result.table):,} combinations"
    yield output.frame_table(best, title, measure_formats("sweep"))
    yield output.selection_table(result.winner, "The best combination as one of many trials")
    yield result.overfitting_sentence
    if result.n_skipped:
        yield f"{output.count(result.n_skipped, 'combination')} skipped because the values contradict each other."
    verdict = "agrees" if result.agrees else f"differs: {result.difference}"
    yield f"On the best combination the event loop {verdict}."
    yield trials_sentence(result.winner.digests)
    yield from filter(None, [result.ranking, result.causality_sentence])
    yield from result.winner.remarks
    yield f"sweep {result.run_id}, best run {result.winner.run_id}"


def _content(result: SweepResult, top: int) -> dict[str, Any]:
    from peak_trade.studies.trials import deflated

    counted, chosen = deflated(result.winner)
    return {
        "run_id": result.run_id,
        "n_sets": len(result.table),
        "n_skipped": result.n_skipped,
        "n_trials": result.n_trials,
        "trials": None if counted is None else counted.to_dict(),
        "best": output.records(result.best(top)),
        "winner": {
            "run_id": result.winner.run_id,
            "stats": result.winner.stats().to_dict(),
            "measures": result.winner.stats().to_measures(),
            "selection": {name: each.to_dict() for name, each in chosen.items()},
        },
        "overfitting": {name: each.to_dict() for name, each in result.overfitting_measures().items()},
        "difference": result.difference,
        "ranking": result.ranking,
        "n_checked": sum(each.verdict.value != "not checked" for each in result.causality.values()),
        "causality": [{"row": row} | each.to_dict() for row, each in result.causality.items()],
        "remarks": result.winner.remarks,
    }
