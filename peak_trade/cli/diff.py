"""`peak-trade diff`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from peak_trade.cli.verbs import verb_app
from peak_trade.diff.tolerances import TOLERANCE_BPS, TOLERANCE_MS

if TYPE_CHECKING:
    from peak_trade.diff.result import DiffResult

SHOWN_ROOTS = 25

app = verb_app()


@app.command()
def diff(
    shadow: Annotated[str, typer.Argument(metavar="SHADOW", help="A session, or the run id of a backtest.")],
    live: Annotated[str, typer.Argument(metavar="LIVE", help="The run to compare with: a session or a run id.")],
    tolerance_bps: Annotated[
        float, typer.Option(min=0.0, help="Fill prices this close are equal, bps.")
    ] = TOLERANCE_BPS,
    tolerance_ms: Annotated[float, typer.Option(min=0.0, help="Times this close are equal, ms.")] = TOLERANCE_MS,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Compare two sessions or backtests.

    A usual pair is a shadow session and the live session that it followed. Orders are matched by id, else by side,
    symbol and time. Every difference is traced to a root with one cause, and the PnL of each cause is shown from
    shadow to live. A session is named by its id, the beginning of its id or its folder.

    \b
    Example:
        peak-trade diff 20251221_220016_shadow 20251221_220003_paper --tolerance-bps 5

    Exits 0 when they agree, 1 when they differ, 2 when they cannot be compared.
    """
    import json

    from peak_trade.diff import export as diff_json
    from peak_trade.studies.diff import diff_runs

    result = diff_runs(shadow, live, tolerance_bps, tolerance_ms)
    if as_json:
        typer.echo(json.dumps(diff_json.as_json(result), indent=2))
    else:
        _print_tables(result)
    if not result.is_equal:
        raise typer.Exit(1)


def _print_tables(result: DiffResult) -> None:
    from rich.console import Console
    from rich.table import Table

    from peak_trade.diff.export import sentence

    console = Console()
    names = result.shadow.recording.name, result.live.recording.name
    console.print(f"shadow {names[0]}\nlive   {names[1]}\n{result.verdict}", highlight=False)
    if not result.is_equal:
        roots = sorted(result.roots, key=lambda each: -abs(each.total_pnl))
        table = Table("", "cause", "difference", "consequences", "PnL", title="Roots, largest PnL first")
        for each in roots[:SHOWN_ROOTS]:
            table.add_row(
                str(each.number), str(each.cause), sentence(each), f"{each.n_follow:,}", f"{each.total_pnl:+,.2f}"
            )
        console.print(table)
        if len(roots) > SHOWN_ROOTS:
            console.print(f"The first {SHOWN_ROOTS} of {len(roots):,}; --json lists all.")
        table = Table("PnL", "quote currency", title="From shadow to live")
        for step, amount in result.waterfall.itertuples(index=False):
            is_total = step in ("shadow", "live")
            table.add_row(step, f"{amount:,.2f}" if is_total else f"{amount:+,.2f}")
        console.print(table)
    score = result.pnl_attribution
    text = score.note if score.zone == "none" else f"Spearman {score.spearman:.4f}, KS {score.ks:.4f}. {score.note}"
    console.print(f"P&L attribution: {score.zone}. {text}", highlight=False)
