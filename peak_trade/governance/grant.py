"""Grants: only from one is the venue of a sandbox built, and only the live-execution gate makes them."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from inspect import currentframe
from typing import Any, NoReturn, final
from weakref import WeakKeyDictionary

from peak_trade.core.errors import GovernanceError, listed
from peak_trade.governance.approval import Request, check_clock, verify
from peak_trade.governance.decision import Decision
from peak_trade.governance.log import GovernanceLog
from peak_trade.governance.scope import Scope

GATE = "peak_trade.studies.readiness"
"""The one module that issues grants: it gathers the evidence itself."""

_SEAL = object()


@final
@dataclass(frozen=True, slots=True, init=False, eq=False, weakref_slot=True)
class Grant:
    """The permission of the live-execution gate for one session.

    Only `issue` creates one; it can be neither copied nor pickled. `decision` is the digest of the recorded decision,
    `log_id` the governance log that holds it. `envelope` is the signed approval, None for a stage that needs none.
    """

    scope: Scope
    decision: str
    log_id: str
    envelope: bytes | None

    def __init__(self, scope: Scope, decision: str, log_id: str, envelope: bytes | None, seal: object) -> None:
        if seal is not _SEAL:
            raise TypeError("a Grant comes from the gate only")
        for name, value in (("scope", scope), ("decision", decision), ("log_id", log_id), ("envelope", envelope)):
            object.__setattr__(self, name, value)
        _ISSUED[self] = (scope.digest(), decision, log_id, envelope)

    def verify(self, log: GovernanceLog, request: Request, now: int) -> None:
        """Check that this grant admits a session now, and use its approval up.

        Parameters
        ----------
        log : GovernanceLog
            Of the workspace in which the session is.
        request : Request
            What the session is: its scope as it starts, the notional of its largest order, and its id. The id may be
            that of the session that used the approval, which resumes.
        now : int
            Time of the machine's clock, ns UTC.

        Raises
        ------
        GovernanceError
            If the gate did not make it, or it is for another session, log or time; also if its approval does not verify
            any more, was revoked or was used by another session.

        """
        self._check_genuine()
        differing = self.scope.differences(request.scope)
        if differing:
            raise GovernanceError(f"the grant is for another session: {listed(differing)} changed after the check.")
        state = log.state()
        if self.log_id != state.log_id:
            raise GovernanceError("the grant is of another workspace, or its governance log was replaced.")
        if self.envelope is None:
            check_clock(state.clock_floor, now)
            return
        if not request.session_id:
            raise GovernanceError("a session without an id can not use an approval up.")
        approval = verify(self.envelope, state, request, now)
        log.use_approval(approval.approval_id, request.session_id)

    def fault(self, log: GovernanceLog, request: Request, now: int) -> str:
        """Return why a running session may trade no longer, such as an expiry or a revocation; empty while it may."""
        try:
            self._check_genuine()
            if self.envelope is not None:
                verify(self.envelope, log.state(), request, now)
        except GovernanceError as error:
            return str(error)
        return ""

    def _check_genuine(self) -> None:
        try:
            is_genuine = type(self) is Grant and _ISSUED.get(self) == (
                self.scope.digest(),
                self.decision,
                self.log_id,
                self.envelope,
            )
        except AttributeError:
            is_genuine = False
        if not is_genuine:
            raise GovernanceError("this grant was not made by the gate, or was changed.")

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Grant can not be pickled or copied")

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TypeError("a Grant can not be pickled or copied")


_ISSUED: WeakKeyDictionary[Grant, tuple[str, str, str, bytes | None]] = WeakKeyDictionary()
"""The grants that were issued in this process, with what they hold."""


def issue(log: GovernanceLog, decision: Decision) -> Grant | Decision:
    """Append a decision to the log; return the grant if it is allowed, else the decision.

    Parameters
    ----------
    log : GovernanceLog
    decision : Decision
        Made by `decide` of evidence that the gate has gathered.

    Raises
    ------
    TypeError
        If another module than the gate calls it: evidence that was built by hand does not count.
    GovernanceError
        If the decision can not be recorded, or does not follow from its evidence.

    """
    gate, frame = sys.modules.get(GATE), currentframe()
    caller = None if frame is None else frame.f_back
    if gate is None or caller is None or caller.f_globals is not vars(gate):
        raise TypeError(f"only the gate, {GATE}, issues grants")
    log.append_decision(decision)
    if not decision.is_allowed:
        return decision
    return Grant(decision.evidence.scope, decision.digest(), log.log_id, decision.envelope, _SEAL)
