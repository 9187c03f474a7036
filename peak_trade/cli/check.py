"""`peak-trade check`: hold a part against the law that it must keep."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from peak_trade.studies.causality import CausalityReport

app = typer.Typer(help="Hold a part against the law that it must keep.", no_args_is_help=True, rich_markup_mode=None)


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
    n_bars: Annotated[int, typer.Option("--bars", help="Generated hourly bars to try it on.")] = 3_000,
    seed: Annotated[int, typer.Option(help="Draws the bars, the cuts and the noise.")] = 0,
) -> None:
    """Check that a strategy never looks ahead.

    The bars after several cuts are removed, set to NaN, scaled, mirrored or overlaid with noise; every exposure up to
    the cut must stay bit-identical. A table shows how much the answer depends on where history starts.

    \b
    Example:
        peak-trade check strategy my_ideas.reversal:Reversal -p window=30

    Exits 0 when it is causal, 1 when it leaks, 2 on bad input.
    """
    from peak_trade.studies.causality import check_causality, specimen_bars
    from peak_trade.wiring.strategies import make_strategy

    report = check_causality(
        make_strategy(name, parse_parameters(parameter or [])), specimen_bars(n_bars, seed), seed=seed
    )
    for line in _lines(report):
        typer.echo(line)
    if not report.is_causal:
        raise typer.Exit(1)


def parse_parameters(texts: list[str]) -> dict[str, str]:
    """Return KEY=VALUE texts as a mapping; ConfigError on one without a key or an equals sign."""
    from peak_trade.core.errors import ConfigError

    values: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not (key and equals):
            raise ConfigError(f"-p {text}: write a parameter and its value, like -p fast=10.")
        values[key.strip()] = value.strip()
    return values


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
