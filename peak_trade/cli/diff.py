"""`peak-trade diff`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from peak_trade.cli import deprecated, options, output
from peak_trade.cli.verbs import verb_app
from peak_trade.diff.tolerances import TOLERANCE_BPS, TOLERANCE_MS

if TYPE_CHECKING:
    from peak_trade.diff.result import DiffResult

SHOWN_ROOTS = 25

app = verb_app()


@app.command()
def diff(
    shadow: Annotated[
        str,
        typer.Argument(
            metavar="SHADOW", help="Session id, the beginning of one, a folder, the id of a run, or an imported log."
        ),
    ],
    live: Annotated[
        str | None,
        typer.Argument(
            metavar="LIVE",
            help="The session, run or imported log to compare with. Without it, SHADOW is an imported log that is "
            "compared with a backtest of --strategy, or with its own orders filled on stored bars.",
            show_default=False,
        ),
    ] = None,
    strategy: Annotated[
        str | None, typer.Option(help="Strategy to backtest over the span of a log: a name or package.module:Class.")
    ] = None,
    parameter: options.Parameters = None,
    config: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Run file of the backtest of --strategy, otherwise the settings of the log."),
    ] = None,
    cash: Annotated[
        float | None,
        typer.Option(
            help="Initial cash of a log in quote currency.",
            show_default="that of --config, of the log, or of the other run",
        ),
    ] = None,
    timeframe: Annotated[
        str | None,
        typer.Option(
            help="Timeframe of the bars for a log without a run.", show_default="the log's, or the finest held"
        ),
    ] = None,
    exchange: options.StoredExchange = None,
    tolerance_bps: Annotated[
        float, typer.Option(min=0.0, help="Largest difference of two fill prices that counts as equal, basis points.")
    ] = TOLERANCE_BPS,
    tolerance_ms: Annotated[
        float, typer.Option(min=0.0, help="Largest difference of two times that counts as equal, milliseconds.")
    ] = TOLERANCE_MS,
    open_holdout: options.OpenHoldout = False,
    as_json: options.AsJson = False,
) -> None:
    """Compare two sessions, backtests or imported logs.

    A usual pair is a shadow session and the live session that it followed. Orders are matched by id, otherwise by
    side, symbol and time. Every difference is traced to a root with one cause, and the PnL of each cause is shown from
    shadow to live.

    An imported log of `peak-trade audit import` can be either of them. Its orders are matched by symbol, side, time and
    quantity, on the bars of the other run or of the store.

    \b
    Examples:
        peak-trade diff 20251221_220016_shadow 20251221_220003_paper --tolerance-bps 5
        peak-trade diff 20240101_000000_imported_trades --strategy ma_crossover -p fast=10 -p slow=30

    Exits 0 when they agree, 1 when they differ, 2 when they cannot be compared.
    """
    from peak_trade.studies.diff import compare
    from peak_trade.studies.log_diff import LogStatements

    stated = LogStatements(config, cash, exchange, timeframe)
    result = compare(
        shadow,
        live,
        strategy=strategy,
        parameters=options.pairs(parameter),
        stated=stated,
        tolerance_bps=tolerance_bps,
        tolerance_ms=tolerance_ms,
    )
    output.show(result, as_json, _page, _content)
    if not result.is_equal:
        raise typer.Exit(1)


def _content(result: DiffResult) -> dict[str, Any]:
    from peak_trade.diff import export

    deprecated.note_former_keys(export.DEPRECATED_KEYS)
    return export.as_json(result)


def _page(result: DiffResult) -> output.Page:
    from peak_trade.diff.export import sentence

    yield f"shadow {result.shadow.recording.name}"
    yield f"live   {result.live.recording.name}"
    yield result.verdict
    if result.advice:
        yield result.advice
    yield from (f"{note[:1].upper()}{note[1:]}." for note in result.notes)
    if not result.is_equal:
        roots = sorted(result.roots, key=lambda each: -abs(each.total_pnl))
        yield output.Table(
            ("root", "cause", "difference", "consequences", "PnL"),
            [
                (str(each.number), str(each.cause), sentence(each), each.n_follow, f"{each.total_pnl:+,.2f}")
                for each in roots[:SHOWN_ROOTS]
            ]
            + [("", "within tolerance", result.tolerated_text, "", f"{result.tolerated_pnl:+,.2f}")],
            "Roots, largest PnL first",
            right=("root", "consequences", "PnL"),
        )
        if len(roots) > SHOWN_ROOTS:
            yield f"{len(roots) - SHOWN_ROOTS:,} more; --json prints all"
    if result.differences or result.n_tolerated:
        yield output.Table(
            ("PnL", "quote currency"),
            [
                (step, f"{amount:,.2f}" if step in ("shadow", "live") else f"{amount:+,.2f}")
                for step, amount in result.waterfall.itertuples(index=False)
            ],
            "From shadow to live",
            right=("quote currency",),
        )
    score = result.pnl_attribution
    text = score.note if score.zone == "none" else f"Spearman {score.spearman:.4f}, KS {score.ks:.4f}. {score.note}"
    yield f"P&L attribution: {score.zone}. {text}"
