"""`peak-trade portfolio`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from peak_trade.cli import deprecated, options, output
from peak_trade.cli.equal_runs import shared
from peak_trade.cli.verbs import verb_app

if TYPE_CHECKING:
    from peak_trade.engine.second_opinion import Opinion
    from peak_trade.studies.portfolio.result import PortfolioResult

app = verb_app()


@app.command()
@shared
def portfolio(
    config: Annotated[
        Path,
        typer.Option(help="Portfolio file in TOML, for example config/portfolios/multi_strategy_example.toml."),
    ],
    cold: options.Cold = False,
    second_opinion: options.SecondOpinion = False,
    causality_check: options.CausalityCheck = True,
    open_holdout: options.OpenHoldout = False,
    record: options.Record = True,
    as_json: options.AsJson = False,
) -> None:
    """Backtest several strategies and symbols with shared cash.

    The PnL of the strategies, and that of the symbols, sums to the PnL of the portfolio at every bar. Weights are
    estimated on past bars only.

    \b
    Example:
        peak-trade portfolio --config config/portfolios/multi_strategy_example.toml

    Exits 0 when the run is done, 1 when the second opinion or a record of the same run
    id differs, 2 on bad input.
    """
    from peak_trade.engine.second_opinion import second_opinion as opinion_of
    from peak_trade.studies import by_name, recording

    result = by_name.portfolio(config, is_cold=cold, causality_check=causality_check)

    def show(opinion: Opinion | None = None) -> None:
        output.show(result, as_json, lambda result: _page(result, opinion), lambda result: _content(result, opinion))

    with output.result_first(show):
        opinion = opinion_of(result.run) if second_opinion else None
    show(opinion)
    if record:
        recording.record_portfolio(result)
    if opinion is not None and not opinion.agrees:
        raise typer.Exit(1)


def _page(result: PortfolioResult, opinion: Opinion | None) -> output.Page:
    from peak_trade.reports.views import portfolio as views
    from peak_trade.studies.trials import trials_sentence

    market, n_sleeves = result.run.market, len(result.settings.strategies)
    measures = [(name.replace("_", " "), text) for name, text in result.run.stats().to_text().items()]
    yield output.Table(
        ("measure", "portfolio"),
        [*measures, ("diversification ratio", f"{result.diversification_ratio:.3f}")],
        f"{n_sleeves} strategies ({result.settings.mode}), {market.timeframe}, {len(market):,} bars",
        right=("portfolio",),
    )
    yield output.selection_table(result.run)
    yield output.frame_table(result.attribution().reset_index(), "Attribution", views.ATTRIBUTION_FORMATS)
    correlations = views.correlations(result)
    if len(correlations):
        title = "Correlation of returns, with its 95 % interval"
        yield output.frame_table(correlations, title, views.CORRELATION_FORMATS)
    run = result.run
    status = (*run.remarks, run.risk_status, run.no_trade_reason, *run.cut_short)
    sentences = (*status, "" if opinion is None else f"{opinion}.")
    yield from (sentence for sentence in sentences if sentence)
    yield trials_sentence(run.digests)
    yield f"run {run.run_id}, events {run.content_digest[:16]}"


def _content(result: PortfolioResult, opinion: Opinion | None) -> dict[str, Any]:
    from peak_trade.studies.trials import deflated

    counted, chosen = deflated(result.run)
    content = {
        "run_id": result.run.run_id,
        "mode": result.settings.mode,
        "strategies": list(result.run.strategies),
        "symbols": list(result.run.market.symbols),
        "timeframe": str(result.run.market.timeframe),
        "n_bars": len(result.run.market),
        "stats": result.run.stats().to_dict(),
        "measures": result.run.stats().to_measures(),
        "selection": {name: each.to_dict() for name, each in chosen.items()},
        "diversification_ratio": result.diversification_ratio,
        "attribution": output.records(result.attribution().reset_index()),
        "correlations": output.records(result.correlations()),
        "correlations_in_drawdown": output.records(result.drawdown_correlations()),
        "drawdowns": output.records(result.drawdowns()),
        "left_out": [event.to_dict() for event in result.left_out],
        "trimmed_weights": None if result.trimmed is None else result.trimmed.to_dict(),
        "digests": result.run.digests,
        "content_digest": result.run.content_digest,
        **result.run.trading_facts(),
        "trials": None if counted is None else counted.to_dict(),
        "assumptions": result.assumptions,
        "second_opinion": None if opinion is None else str(opinion),
    }
    return deprecated.with_former_keys(content, deprecated.RUN_KEYS)
