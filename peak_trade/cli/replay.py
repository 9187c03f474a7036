"""`peak-trade replay`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from peak_trade.cli import options, output
from peak_trade.cli.verbs import verb_app

if TYPE_CHECKING:
    from peak_trade.sessions.replay import Replay

app = verb_app()


@app.command()
def replay(
    session: Annotated[str, typer.Option(help="Session id, the beginning of one, or the folder of a session.")],
    open_holdout: options.OpenHoldout = False,
    as_json: options.AsJson = False,
) -> None:
    """Run a session again from its journal and compare results.

    The recorded bars run through the recorded configuration. Every signal, order, decision and fill must be identical
    to the recorded one, and the ledger computed from the events alone must equal that of the replay.

    \b
    Example:
        peak-trade replay --session 20251221_220016

    Exits 0 when the results are identical, 1 when they differ, with the first difference, 2 on bad input or when the
    journal does not verify.
    """
    from peak_trade.sessions.replay import replay as run_replay

    outcome = run_replay(session)
    output.show(outcome, as_json, _page, lambda outcome: asdict(outcome) | {"is_identical": outcome.is_identical})
    if not outcome.is_identical:
        raise typer.Exit(1)


def _page(outcome: Replay) -> output.Page:
    yield (
        f"{outcome.session_id}: {outcome.n_bars:,} bars, {outcome.n_signals:,} signals, {outcome.n_orders:,} orders, "
        f"{outcome.n_decisions:,} decisions, {outcome.n_fills:,} fills."
    )
    if outcome.is_identical:
        yield "Identical: every event equals the recorded one, and the ledger agrees with the events."
    else:
        yield f"Different, first at {outcome.first_difference}. {outcome.note}".rstrip()
