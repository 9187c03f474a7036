"""State of the governance of a workspace, folded from the entries of its log."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from peak_trade.core.errors import GovernanceError
from peak_trade.governance.policy import PolicyFile, check_adoption
from peak_trade.journal.codec import Line
from peak_trade.journal.events import GovernanceAction, GovernanceEvent


@dataclass(frozen=True, slots=True)
class GovernanceState:
    """Sum of the entries of a governance log.

    Parameters
    ----------
    log_id : str
        Digest of the log's manifest, which no other log has; empty before the first entry.
    policy : PolicyFile or None
        The policy in force.
    used : mapping of str
        Session of each approval that was used.
    revoked : frozenset of str
        Ids of revoked approvals, those of the policy included.
    clock_floor : int
        Latest time of an entry, ns UTC: the clock of the machine never shows less.
    drilled : int
        Time at which the kill switch was exercised with success the last time, ns UTC; 0 if never.
    n_entries : int
    head : str
        Hash of the last entry.

    """

    log_id: str = ""
    policy: PolicyFile | None = None
    used: Mapping[str, str] = field(default_factory=dict)
    revoked: frozenset[str] = frozenset()
    clock_floor: int = 0
    drilled: int = 0
    n_entries: int = 0
    head: str = ""


def fold(state: GovernanceState, lines: Iterable[Line]) -> GovernanceState:
    """Return the state after more entries; GovernanceError for an entry that may not follow."""
    for line in lines:
        state = _after(state, line)
    return state


def _after(state: GovernanceState, line: Line) -> GovernanceState:
    event = line.event
    if not isinstance(event, GovernanceEvent):
        raise GovernanceError(f"entry {line.sequence}: a {event.kind} event is no entry of a governance log.")
    floor = max(state.clock_floor, line.ts_recorded)
    if line.ts_recorded < state.clock_floor:
        raise GovernanceError(f"entry {line.sequence}: it is dated before the entry that it follows.")
    state = replace(state, clock_floor=floor, n_entries=line.sequence, head=line.hash)
    match event.action:
        case GovernanceAction.POLICY_ADOPTED:
            return _after_adoption(state, event, line.sequence)
        case GovernanceAction.APPROVAL_USED:
            if event.subject in state.used or event.subject in state.revoked:
                raise GovernanceError(f"entry {line.sequence}: approval {event.subject} was used or revoked before.")
            return replace(state, used={**state.used, event.subject: json.loads(event.content)["session_id"]})
        case GovernanceAction.APPROVAL_REVOKED:
            return replace(state, revoked=state.revoked | {event.subject})
        case GovernanceAction.DRILLED:
            return replace(state, drilled=line.ts_recorded if event.subject == "passed" else state.drilled)
        case GovernanceAction.DECIDED:
            return state


def _after_adoption(state: GovernanceState, event: GovernanceEvent, sequence: int) -> GovernanceState:
    record = json.loads(event.content)
    new, envelope = PolicyFile(record["policy"].encode()), record["envelope"]
    try:
        check_adoption(new, state.policy, None if envelope is None else envelope.encode())
    except GovernanceError as error:
        raise GovernanceError(f"entry {sequence}: the policy should not have been adopted: {error}") from None
    return replace(state, policy=new, revoked=state.revoked | frozenset(new.policy.revoked))
