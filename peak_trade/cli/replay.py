"""`peak-trade replay`."""

from __future__ import annotations

from typing import Annotated

import typer

from peak_trade.cli.verbs import verb_app

app = verb_app()


@app.command()
def replay(
    session: Annotated[str, typer.Option(help="A session id or its beginning, or a session's folder.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Run a session again from its journal and compare the results.

    The recorded bars go through the recorded configuration: every signal, order, decision and fill must come out
    identical, and the ledger rebuilt from the events alone must be the replay's.

    \b
    Example:
        peak-trade replay --session 20251221_220016

    Exits 0 when identical, 1 when something differs (the first difference is named), 2 on bad input or a journal
    that does not verify.
    """
    from peak_trade.sessions.replay import replay as run_replay

    outcome = run_replay(session)
    if as_json:
        import json
        from dataclasses import asdict

        typer.echo(json.dumps(asdict(outcome) | {"is_identical": outcome.is_identical}, indent=2))
    else:
        typer.echo(
            f"{outcome.session_id}: {outcome.n_bars:,} bars, {outcome.n_signals:,} signals, {outcome.n_orders:,} "
            f"orders, {outcome.n_decisions:,} decisions, {outcome.n_fills:,} fills."
        )
        if outcome.is_identical:
            typer.echo("Identical: everything came out as it was recorded, and the ledger adds up from the events.")
        else:
            typer.echo(f"Different, first at {outcome.first_difference}. {outcome.note}".rstrip())
    if not outcome.is_identical:
        raise typer.Exit(1)
