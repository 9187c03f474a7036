"""`peak-trade check`: check parts against the properties that they must have."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from peak_trade.cli import options, output
from peak_trade.cli.verbs import verb_app

if TYPE_CHECKING:
    from peak_trade.studies.causality import CausalityReport

app = verb_app()


@app.callback()
def _check() -> None:
    pass


@app.command("strategy")
def strategy(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Name of a strategy, or package.module:Class for your own.")
    ],
    parameter: options.Parameters = None,
    symbol: Annotated[
        str | None, typer.Option(help="Symbol of the store, for example BTC/USDT. Without it, bars are generated.")
    ] = None,
    timeframe: options.TimeframeText = "1h",
    exchange: options.StoredExchange = None,
    n_bars: Annotated[int, typer.Option("--bars", min=1, help="Generated hourly bars, without --symbol.")] = 3_000,
    seed: Annotated[int, typer.Option(help="Seed of the generated bars, the cuts and the noise.")] = 0,
    as_json: options.AsJson = False,
) -> None:
    """Check that a strategy does not look ahead.

    The bars after several cuts are removed, set to NaN, scaled, mirrored or overlaid with noise; every exposure up to
    the cut must stay bit-identical. A table shows how much the exposure depends on where the history starts.

    \b
    Examples:
        peak-trade check strategy ma_crossover --symbol BTC/USDT
        peak-trade check strategy my_ideas.reversal:Reversal -p window=30

    Exits 0 when the strategy is causal, 1 when it looks ahead, 2 on bad input.
    """
    from peak_trade.studies import by_name

    span = by_name.Span(timeframe, exchange)
    report = by_name.causality(name, options.pairs(parameter), symbol, span, n_bars=n_bars, seed=seed)
    output.show(report, as_json, _page, _content)
    if not report.is_causal:
        raise typer.Exit(1)


def _page(report: CausalityReport) -> output.Page:
    verdict = "causal" if report.is_causal else "LOOKS AHEAD"
    yield (
        f"{report.name}: {verdict}. {report.n_bars:,} bars, {report.n_cuts} cuts, {report.n_rewrites:,} rewritten "
        "futures."
    )
    for leak in report.leaks:
        yield f"  {leak} ({leak.n_cuts} of {report.n_cuts} cuts)"
    for refusal in report.failed_rewrites:
        yield f"  not tested with {refusal.kind}: the strategy raised at {refusal.n_cuts} cuts ({refusal.error})"
    columns = ("bars later", "compared", "different", "largest", "settled")
    yield output.Table(
        columns,
        [
            (row.n_dropped, row.n_compared, row.n_different, f"{row.largest:.3g}", row.settled_after)
            for row in report.drift
        ],
        "Warm-up drift when the history starts later",
        right=columns,
    )


def _content(report: CausalityReport) -> dict[str, Any]:
    return asdict(report) | {"is_causal": report.is_causal}
