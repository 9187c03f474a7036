"""`peak-trade diff`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

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
        str, typer.Argument(metavar="SHADOW", help="Session id, the beginning of one, a folder, or the id of a run.")
    ],
    live: Annotated[str, typer.Argument(metavar="LIVE", help="The session or run to compare with.")],
    tolerance_bps: Annotated[
        float, typer.Option(min=0.0, help="Largest difference of two fill prices that counts as equal, basis points.")
    ] = TOLERANCE_BPS,
    tolerance_ms: Annotated[
        float, typer.Option(min=0.0, help="Largest difference of two times that counts as equal, milliseconds.")
    ] = TOLERANCE_MS,
    open_holdout: options.OpenHoldout = False,
    as_json: options.AsJson = False,
) -> None:
    """Compare two sessions or backtests.

    A usual pair is a shadow session and the live session that it followed. Orders are matched by id, otherwise by
    side, symbol and time. Every difference is traced to a root with one cause, and the PnL of each cause is shown from
    shadow to live.

    \b
    Example:
        peak-trade diff 20251221_220016_shadow 20251221_220003_paper --tolerance-bps 5

    Exits 0 when they agree, 1 when they differ, 2 when they cannot be compared.
    """
    from peak_trade.diff import export
    from peak_trade.studies.diff import diff_runs

    result = diff_runs(shadow, live, tolerance_bps, tolerance_ms)
    if as_json:
        deprecated.note_former_keys(export.DEPRECATED_KEYS)
    output.show(result, as_json, _page, export.as_json)
    if not result.is_equal:
        raise typer.Exit(1)


def _page(result: DiffResult) -> output.Page:
    from peak_trade.diff.export import sentence

    yield f"shadow {result.shadow.recording.name}"
    yield f"live   {result.live.recording.name}"
    yield result.verdict
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
