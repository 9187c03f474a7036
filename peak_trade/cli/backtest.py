"""`peak-trade backtest`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from peak_trade.cli import deprecated, options, output
from peak_trade.cli.equal_runs import shared
from peak_trade.cli.verbs import verb_app

if TYPE_CHECKING:
    from peak_trade.engine.result import BacktestResult
    from peak_trade.engine.second_opinion import Opinion

app = verb_app()


@app.command()
@shared
def backtest(
    strategy: options.StrategyName,
    symbol: Annotated[
        list[str],
        typer.Option(help="Symbol as base/quote, for example BTC/USDT. Repeat for several, which share the cash."),
    ],
    timeframe: options.TimeframeText = "1h",
    start: options.Start = None,
    end: options.End = None,
    cold: options.Cold = False,
    exchange: options.StoredExchange = None,
    parameter: options.Parameters = None,
    config: options.RunFile = None,
    cash: options.Cash = None,
    fees: Annotated[str | None, typer.Option(help="Published fee schedule: binance or kraken.")] = None,
    fee_bps: options.FeeBps = None,
    slippage_bps: options.SlippageBps = None,
    second_opinion: options.SecondOpinion = False,
    causality_check: options.CausalityCheck = True,
    open_holdout: options.OpenHoldout = False,
    record: options.Record = True,
    as_json: options.AsJson = False,
) -> None:
    """Run a strategy over stored bars.

    A decision at the close of a bar fills at the open of the next bar, with fee and slippage. The table compares the
    strategy with buying and holding; `peak-trade runs list` shows the recorded runs.

    \b
    Example:
        peak-trade backtest --strategy ma_crossover --symbol BTC/USDT --timeframe 1h -p fast=10 -p slow=30

    Exits 0 when the run is done, 1 when the second opinion or a record of the same run
    id differs, 2 on bad input.
    """
    from peak_trade.engine.second_opinion import second_opinion as opinion_of
    from peak_trade.studies import by_name, recording

    result = by_name.backtest(
        strategy,
        options.pairs(parameter),
        symbol,
        by_name.Span(timeframe, exchange, start, end, cold),
        run_file=config,
        overrides=by_name.overriding_settings(cash, fees, fee_bps, slippage_bps),
        causality_check=causality_check,
    )

    def show(opinion: Opinion | None = None) -> None:
        output.show(result, as_json, lambda result: _page(result, opinion), lambda result: _content(result, opinion))

    with output.result_first(show):
        opinion = opinion_of(result) if second_opinion else None
    show(opinion)
    if record:
        recording.record(result)
    if opinion is not None and not opinion.agrees:
        raise typer.Exit(1)


def _page(result: BacktestResult, opinion: Opinion | None) -> output.Page:
    from peak_trade.studies.trials import trials_sentence

    stats, held = result.stats().to_text(), result.benchmark.stats().to_text()
    series = f"{', '.join(result.market.symbols)} ({result.exchange}), {result.market.timeframe}"
    yield output.Table(
        ("measure", "strategy", "buy and hold"),
        [(name.replace("_", " "), text, held[name]) for name, text in stats.items()],
        f"{', '.join(result.strategies)} on {series}, {len(result.market):,} bars",
        right=("strategy", "buy and hold"),
    )
    yield output.selection_table(result)
    if result.best_intrabar is not None:
        best = result.best_intrabar.stats().to_text()["total_return"]
        yield (
            f"{result.n_ambiguous:,} bars do not show the order of stop and target: total return "
            f"{stats['total_return']} with the stop first, {best} with the target first."
        )
    sentences = (
        *result.remarks,
        result.risk_status,
        result.no_trade_reason,
        *result.cut_short,
        "" if opinion is None else f"{opinion}.",
    )
    yield from (sentence for sentence in sentences if sentence)
    yield trials_sentence(result.digests)
    yield f"run {result.run_id}, events {result.content_digest[:16]}"


def _content(result: BacktestResult, opinion: Opinion | None) -> dict[str, Any]:
    from peak_trade.studies.trials import deflated

    counted, chosen = deflated(result)
    content = {
        "run_id": result.run_id,
        "strategies": list(result.strategies),
        "symbols": list(result.market.symbols),
        "timeframe": str(result.market.timeframe),
        "n_bars": len(result.market),
        "stats": result.stats().to_dict(),
        "benchmark": result.benchmark.stats().to_dict(),
        "measures": result.stats().to_measures(),
        "selection": {name: each.to_dict() for name, each in chosen.items()},
        "benchmark_measures": result.benchmark.stats().to_measures(),
        "digests": result.digests,
        "content_digest": result.content_digest,
        "n_ambiguous_bars": result.n_ambiguous,
        **result.trading_facts(),
        "trials": None if counted is None else counted.to_dict(),
        "second_opinion": None if opinion is None else str(opinion),
    }
    return deprecated.with_former_keys(content, deprecated.RUN_KEYS)
