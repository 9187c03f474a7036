"""`peak-trade check`: check parts against the properties that they must have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from peak_trade.cli import options, output
from peak_trade.cli.verbs import verb_app

if TYPE_CHECKING:
    from peak_trade.causality.report import CausalityReport
    from peak_trade.studies.risk.liveness import LimitCheck

app = verb_app()


@app.callback()
def _check() -> None:
    pass


@app.command("strategy")
def strategy(
    name: options.StrategyArgument,
    parameter: options.Parameters = None,
    symbol: Annotated[
        list[str] | None,
        typer.Option(
            help="Symbol of the store, for example BTC/USDT. Repeat it for a panel strategy. Without it, bars are "
            "generated."
        ),
    ] = None,
    timeframe: options.TimeframeText = "1h",
    exchange: options.StoredExchange = None,
    n_bars: Annotated[int, typer.Option("--bars", min=1, help="Generated hourly bars, without --symbol.")] = 3_000,
    cuts: Annotated[int, typer.Option(min=1, help="Number of cuts; with more of them, rarer leaks are found.")] = 40,
    seed: Annotated[int, typer.Option(help="Seed of the generated bars, the cuts and the noise.")] = 0,
    open_holdout: options.OpenHoldout = False,
    as_json: options.AsJson = False,
) -> None:
    """Check that a strategy does not look ahead.

    The bars after several cuts are removed, set to NaN, scaled, mirrored or overlaid with noise; every exposure up to
    the cut must stay the same, except for rounding that changes no order. The cuts are spread over weekdays, hours,
    days of the month and rare events. Your own strategies are checked in fresh processes. A table shows how much the
    exposure depends on where the history starts. Of a panel strategy, the bars of each symbol are rewritten in turn.

    \b
    Examples:
        peak-trade check strategy ma_crossover --symbol BTC/USDT
        peak-trade check strategy pairs --symbol BTC/USDT --symbol ETH/USDT
        peak-trade check strategy my_ideas.reversal:Reversal -p window=30

    Exits 0 when the strategy is causal or differs by rounding only, 1 when it looks ahead, 2 on bad input.
    """
    from peak_trade.studies import by_name

    span = by_name.Span(timeframe, exchange)
    given = options.pairs(parameter)
    reports = by_name.causality(name, given, symbol or (), span, n_bars=n_bars, n_cuts=cuts, seed=seed)
    output.show(reports, as_json, _pages, _contents)
    if not all(report.is_causal for report in reports):
        raise typer.Exit(1)


@app.command("limits")
def limits(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Risk file in TOML, for example config/risk.toml.")],
    as_json: options.AsJson = False,
) -> None:
    """Check that every limit of a risk file is live.

    A case beyond each limit is planted, and the gates of a run with these limits must deny it. A case within the limit
    must pass.

    \b
    Example:
        peak-trade check limits config/risk.toml

    Exits 0 when every limit is live, 1 when one is not, 2 on bad input.
    """
    from peak_trade.studies.risk.liveness import check_limits
    from peak_trade.wiring.gates import read_risk_file

    checks = check_limits(read_risk_file(file))
    output.show(checks, as_json, _limits_page, lambda checks: [asdict(check) for check in checks])
    if not all(check.is_live for check in checks):
        raise typer.Exit(1)


def _limits_page(checks: Sequence[LimitCheck]) -> output.Page:
    rows = []
    for check in checks:
        observed, limit = (check.denial.observed, check.denial.limit) if check.denial is not None else (None, None)
        rows.append((check.setting, output.cell(observed, "{:.6g}"), output.cell(limit, "{:.6g}"), _verdict(check)))
    yield output.Table(("limit", "planted", "limit in force", "result"), rows, right=("planted", "limit in force"))


def _verdict(check: LimitCheck) -> str:
    if check.is_live:
        return "live"
    return "let the case pass" if check.denial is None else "denies a case within the limit"


def _pages(reports: Sequence[CausalityReport]) -> output.Page:
    for report in reports:
        yield from _page(report)


def _contents(reports: Sequence[CausalityReport]) -> Any:
    """Return the content of the report, or a list with one per symbol of a panel strategy."""
    contents = [_content(report) for report in reports]
    return contents if len(contents) > 1 else contents[0]


def _page(report: CausalityReport) -> output.Page:
    verdict = report.verdict if report.is_causal else "LOOKS AHEAD"
    yield (
        f"{report.name}: {verdict}. {report.n_bars:,} bars, {report.n_cuts} cuts, {report.n_rewrites:,} rewritten "
        "futures."
    )
    for leak in report.leaks:
        yield f"  {leak}" if leak.is_of_state else f"  {leak} ({leak.n_cuts} of {report.n_cuts} cuts)"
    for rounding in report.roundings:
        yield f"  rounding, {rounding.ulps:g} ulps at most, no order changes: {rounding}"
    yield from (f"  {write}." for write in report.writes)
    if report.kept_state:
        yield f"  keeps state between calls: {', '.join(report.kept_state)}. Each call was checked without it."
    yield from (f"  writes {place}. Each call began without that write." for place in report.files_written)
    yield from (f"  {sentence}" for sentence in report.limits)
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
    return asdict(report) | {
        "is_causal": report.is_causal,
        "verdict": report.verdict,
        "floor": report.floor,
        "limits": report.limits,
    }
