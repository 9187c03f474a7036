"""`peak-trade governance`: show and verify the governance log."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import typer

from peak_trade.cli import options, output
from peak_trade.cli.verbs import verb_app
from peak_trade.core.time import iso
from peak_trade.data.workspace import workspace

if TYPE_CHECKING:
    from peak_trade.governance.log import GovernanceCheck, GovernanceEntry

app = verb_app()


@app.command("log")
def log(as_json: options.AsJson = False) -> None:
    """List the entries of the governance log, oldest first.

    An entry is an adopted policy, a decision on a session, a use or a revocation of an approval, or an exercise of the
    kill switch. With --json each entry has its content, such as the evidence of a decision. Nothing is verified; see
    `peak-trade governance verify`.

    \b
    Example:
        peak-trade governance log

    Exits 0.
    """
    from peak_trade.governance.log import GovernanceLog

    output.show(GovernanceLog(workspace()).entries(), as_json, _log_page, _log_content)


@app.command()
def verify(as_json: options.AsJson = False) -> None:
    """Verify the governance log.

    Checked are the hash chain, its signatures, the order of times, the signatures of each policy, that each decision
    follows from its evidence, and that the decision of every session at a sandbox is there.

    \b
    Example:
        peak-trade governance verify

    Exits 0 when the log is intact, 1 when it is not, 2 on bad input.
    """
    from peak_trade.governance.log import GovernanceLog
    from peak_trade.sessions.store import decisions_in

    log = GovernanceLog(workspace())
    check = log.verify(decisions_in(log.log_id))
    output.show(check, as_json, _verify_page, lambda check: check)
    if not check.is_intact:
        raise typer.Exit(1)


def _log_page(entries: Sequence[GovernanceEntry]) -> output.Page:
    if not entries:
        yield "There are no entries. The first one is made by `peak-trade policy adopt`."
        return
    rows = [(each.sequence, iso(each.ts_recorded), each.action, each.actor, each.summary) for each in entries]
    yield output.Table(("entry", "time", "action", "by", "summary"), rows)


def _log_content(entries: Sequence[GovernanceEntry]) -> list[dict[str, Any]]:
    return [
        {
            "sequence": each.sequence,
            "time": iso(each.ts_recorded),
            "action": each.action,
            "actor": each.actor,
            "subject": each.subject,
            "summary": each.summary,
            "hash": each.hash,
            "content": json.loads(each.content),
        }
        for each in entries
    ]


def _verify_page(check: GovernanceCheck) -> output.Page:
    yield from check.faults
    if check.is_intact:
        yield f"{check.n_entries} entries, chained and signed; every decision follows from its evidence."
    if check.n_of_other_versions:
        yield f"{check.n_of_other_versions} decisions are of another version of peak_trade; that one makes them again."
    if check.n_unsigned:
        yield f"{check.n_unsigned} lines after them are not signed and do not count; the next entry replaces them."
