"""`peak-trade audit …`: verify, prove, export and tidy journals."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from peak_trade.cli.verbs import verb_app

app = verb_app()

SessionName = Annotated[str, typer.Argument(help="A session id or its beginning, or a session's folder.")]


@app.command()
def verify(
    session: SessionName,
    key: Annotated[
        str | None, typer.Option(help="Public key, 64 hex digits, of the workspace that wrote it; this one's if left.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say whether a session's journal is what was written: chain, signatures, seal.

    The verdict is intact, unsealed (it runs or was killed), edited, inserted, deleted, reordered, truncated,
    rewritten, or forged (a checkpoint).

    \b
    Example:
        peak-trade audit verify 20251221_220016

    Exits 0 when intact or unsealed, 1 otherwise, 2 on bad input.
    """
    from peak_trade.core.errors import ConfigError
    from peak_trade.journal.keys import is_public_key
    from peak_trade.journal.verify import verify as verify_journal
    from peak_trade.sessions.store import check_journal, find_session

    if key is not None and not is_public_key(key):
        raise ConfigError(f"key was {key!r}: write 64 hex digits, as in keys/journal.pub of the workspace.")
    folder = find_session(session)
    verdict = check_journal(folder) if key is None else verify_journal(folder, key.lower())
    if as_json:
        import json
        from dataclasses import asdict

        typer.echo(json.dumps(asdict(verdict) | {"session_id": folder.name, "is_intact": verdict.is_intact}))
    else:
        typer.echo(f"{folder.name}: {verdict.finding}. {verdict.message}")
    if not verdict.is_intact:
        raise typer.Exit(1)


@app.command()
def prove(
    session: SessionName,
    sequence: Annotated[int | None, typer.Argument(help="The event's number, as the trail has it.")] = None,
    since: Annotated[
        int | None, typer.Option(help="Prove instead that the first N events are still what they were.")
    ] = None,
    output: Annotated[Path | None, typer.Option(help="A file for the proof; standard output if left out.")] = None,
) -> None:
    """Write a proof that one event is in the journal, or that the journal only grew; it holds without the session.

    The proof is JSON: a Merkle root over all lines (RFC 9162), and the path to it. Keep roots where the owner of the
    journal can't write: a proof is worth what its root is worth.

    \b
    Example:
        peak-trade audit prove 20251221_220016 12 --output proof.json

    Exits 0, 2 on bad input or when the journal does not verify.
    """
    from peak_trade.core.errors import ConfigError, SessionError
    from peak_trade.journal.proofs import prove_consistency, prove_inclusion
    from peak_trade.sessions.store import check_journal, find_session

    if (sequence is None) == (since is None):
        raise ConfigError("name either the number of an event, or --since N.")
    folder = find_session(session)
    verdict = check_journal(folder)
    if not verdict.is_intact:
        raise SessionError(f"{folder.name}: the journal is {verdict.finding} ({verdict.message}); it proves nothing.")
    proof = prove_inclusion(folder, sequence) if sequence is not None else prove_consistency(folder, since or 0)
    text = proof.model_dump_json(indent=1)
    if output is None:
        typer.echo(text)
        return
    try:
        output.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"output was {output}: it could not be written ({error.strerror}).") from None
    typer.echo(f"{output}: {proof.claim()}.")


@app.command()
def check(
    proof: Annotated[Path, typer.Argument(help="A file that `audit prove` wrote.")],
    root: Annotated[
        str | None, typer.Option(help="The root that was kept elsewhere, 64 hex digits; the proof's must be it.")
    ] = None,
) -> None:
    """Say whether a proof holds; the session is not needed.

    \b
    Example:
        peak-trade audit check proof.json

    Exits 0 when it holds, 1 when it does not, 2 on bad input.
    """
    from peak_trade.core.errors import ConfigError
    from peak_trade.journal.keys import is_public_key as is_hex
    from peak_trade.journal.proofs import read_proof

    if root is not None and not is_hex(root):
        raise ConfigError(f"root was {root!r}: write 64 hex digits, as in a proof.")
    claim = read_proof(proof)
    if root is not None and claim.root != root.lower():
        typer.echo(f"{proof}: its root is {claim.root}, not {root.lower()}.")
        raise typer.Exit(1)
    if not claim.is_valid():
        typer.echo(f"{proof}: does not hold: not shown that {claim.claim()}.")
        raise typer.Exit(1)
    typer.echo(f"{proof}: holds: {claim.claim()}.")


@app.command()
def export(
    output: Annotated[Path, typer.Option(help="A file that ends in .csv, .json or .parquet.")],
    session: Annotated[str | None, typer.Option(help="A session id or its beginning; all sessions if left out.")] = (
        None
    ),
) -> None:
    """Write the audit trail as one table: a row an event, with FIX names for the states of orders.

    \b
    Example:
        peak-trade audit export --session 20251221_220016 --output trail.csv

    Exits 0, 2 on bad input.
    """
    from peak_trade.journal.export import trail_frame, write_trail
    from peak_trade.journal.files import read_lines
    from peak_trade.sessions.store import find_session, session_ids

    folders = [find_session(name) for name in ([session] if session else session_ids())]
    n_rows = write_trail([trail_frame(folder.name, read_lines(folder)) for folder in folders], output)
    typer.echo(f"{output}: {n_rows:,} events of {len(folders):,} sessions.")


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="The log: Parquet of jesse's log lines, or a CSV of orders.")],
    form: Annotated[str, typer.Option("--format", help="jesse or orders-csv.")] = "orders-csv",
    strategy: Annotated[str, typer.Option(help="Name under which the orders are recorded.")] = "unknown",
    column: Annotated[
        list[str] | None, typer.Option(help="OURS=THEIRS, where a CSV names a column otherwise; may be repeated.")
    ] = None,
) -> None:
    """Make a session of somebody else's log of orders, chained and signed as an import.

    A CSV has a row an order and the columns order_id, time, end_time, symbol, side, type, quantity, status, executed
    and price (what it traded at, on average), and may have limit_price, stop_price and fee. Rows that can't be read
    are listed and left out.

    \b
    Example:
        peak-trade audit import orders.csv --column order_id=OrderNo --column symbol=Pair

    Exits 0, 1 when a row was refused, 2 on bad input.
    """
    import time

    from peak_trade.core.errors import ConfigError
    from peak_trade.sessions.import_log import import_log

    if form not in ("jesse", "orders-csv"):
        raise ConfigError(f"format was {form!r}: use jesse or orders-csv.")
    pairs = [pair.partition("=") for pair in column or []]
    if any(not (ours and theirs) for ours, _, theirs in pairs):
        raise ConfigError("column was not OURS=THEIRS, as in order_id=OrderNo.")
    names = {ours: theirs for ours, _, theirs in pairs}
    done = import_log(file, form, time.time_ns(), strategy, names)  # type: ignore[arg-type]
    log = done.log
    beside = ", ".join(f"{n:,} {kind}" for kind, n in sorted(log.ignored.items())) or "none"
    typer.echo(f"{done.folder.name}: {len(log.states.by_id):,} orders from {log.n_used:,} of {done.n_rows:,} rows.")
    typer.echo(f"Rows that tell of no order: {beside}. Open at the end: {len(log.states.open_orders()):,} orders.")
    for row, reason in log.refused:
        typer.echo(f"Row {row} was refused: {reason}")
    if log.refused:
        raise typer.Exit(1)


@app.command()
def tidy(
    config: Annotated[
        Path | None, typer.Option(help="Telemetry settings; config/execution_telemetry.toml if it is here.")
    ] = None,
) -> None:
    """Compress and delete sealed sessions as [retention] says; open and interrupted ones are never touched.

    \b
    Example:
        peak-trade audit tidy

    Exits 0, 2 on bad input.
    """
    import time

    from peak_trade.journal.telemetry import tidy as tidy_sessions
    from peak_trade.sessions.options import read_telemetry
    from peak_trade.sessions.store import sessions_folder

    done = tidy_sessions(sessions_folder(), read_telemetry(config).retention, time.time_ns())
    for each in done:
        typer.echo(f"{each.session_id}: {each.action}, {each.n_bytes:,} bytes freed.")
    if not done:
        typer.echo("Nothing was old enough.")


@app.command()
def spec() -> None:
    """Print the telemetry specification, made from the event classes.

    \b
    Example:
        peak-trade audit spec > docs/execution/TELEMETRY_SPEC.md

    Exits 0.
    """
    from peak_trade.journal.spec import telemetry_spec

    typer.echo(telemetry_spec(), nl=False)
