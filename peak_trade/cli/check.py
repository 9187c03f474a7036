"""`peak-trade check`: hold a part against the law that it must keep."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from peak_trade.cli.options import pairs
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
        str, typer.Argument(metavar="NAME", help="A strategy's name, or package.module:Class of your own.")
    ],
    parameter: Annotated[
        list[str] | None, typer.Option("--parameter", "-p", metavar="KEY=VALUE", help="A parameter; repeat for more.")
    ] = None,
    symbol: Annotated[str | None, typer.Option(help="Try it on bars from the store, for example BTC/USDT.")] = None,
    timeframe: Annotated[str, typer.Option(help="Length of a stored bar: 1m, 5m, 1h, 4h, 1d …")] = "1h",
    exchange: Annotated[str | None, typer.Option(help="Needed when the symbol is held from two exchanges.")] = None,
    n_bars: Annotated[
        int, typer.Option("--bars", min=1, help="Generated hourly bars, where no symbol is named.")
    ] = 3_000,
    seed: Annotated[int, typer.Option(help="Draws the bars, the cuts and the noise.")] = 0,
) -> None:
    """Check that a strategy never looks ahead.

    The bars after several cuts are removed, set to NaN, scaled, mirrored or overlaid with noise; every exposure up to
    the cut must stay bit-identical. A table shows how much the answer depends on where history starts.

    \b
    Examples:
        peak-trade check strategy ma_crossover --symbol BTC/USDT
        peak-trade check strategy my_ideas.reversal:Reversal -p window=30

    Exits 0 when it is causal, 1 when it leaks, 2 on bad input.
    """
    from peak_trade.data.store import load_bars
    from peak_trade.studies.causality import check_causality, specimen_bars
    from peak_trade.wiring.strategies import make_strategy

    part = make_strategy(name, pairs(parameter))
    bars = load_bars(symbol, timeframe, exchange) if symbol is not None else specimen_bars(n_bars, seed)
    report = check_causality(part, bars, seed=seed)
    for line in _lines(report):
        typer.echo(line)
    if not report.is_causal:
        raise typer.Exit(1)


def _lines(report: CausalityReport) -> list[str]:
    verdict = "causal" if report.is_causal else "LEAKS"
    lines = [
        f"{report.name}: {verdict}. {report.n_bars} bars, {report.n_cuts} cuts, {report.n_rewrites} rewritten futures."
    ]
    lines += [f"  {leak} ({leak.n_cuts} of {report.n_cuts} cuts)" for leak in report.leaks]
    lines += [
        f"  not tried with {refusal.kind}: it raised at {refusal.n_cuts} cuts ({refusal.error})"
        for refusal in report.refusals
    ]
    lines += ["  Warm-up drift, when history starts later:", "    bars later   compared  different    largest  settled"]
    lines += [
        f"    {row.n_dropped:10} {row.n_compared:10} {row.n_different:10} {row.largest:10.3g} {row.settled_after:8}"
        for row in report.drift
    ]
    return lines
