"""Admission of a session to the sandbox of an exchange: the check of its grant, from which alone its venue is built.

A grant of the live-execution gate (see `governance.grant`) is verified against the governance log before a client
connects, is used up for the session's id before its folder is made, and is verified again while the session runs.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NewType
from weakref import WeakKeyDictionary

from peak_trade.core.errors import GovernanceError
from peak_trade.core.values import Instrument
from peak_trade.data.workspace import workspace
from peak_trade.governance.approval import Request
from peak_trade.governance.evidence import Evidence, VenueFacts
from peak_trade.governance.grant import Grant
from peak_trade.governance.log import GovernanceLog
from peak_trade.governance.scope import Scope
from peak_trade.journal.events import GovernanceAction
from peak_trade.sessions.config import SessionConfig
from peak_trade.sessions.sandbox.base import Sandbox
from peak_trade.sessions.sandbox.client import is_loopback, places_of, sandbox_fault
from peak_trade.wiring.digests import code_digest
from peak_trade.wiring.exchanges import sandbox_class
from peak_trade.wiring.portfolio import code_of
from peak_trade.wiring.venues import VENUES

AdmittedSandbox = NewType("AdmittedSandbox", Sandbox)
"""A sandbox to which a session may send orders; only `Admission.sandbox` returns one."""

_ADMITTED: WeakKeyDictionary[Sandbox, str] = WeakKeyDictionary()
"""The id of the session that was admitted to each sandbox, in this process."""


def scope_of(config: SessionConfig, config_digest: str = "") -> Scope:
    """Return what an approval of a session binds; `config_digest` is that of a session that resumes."""
    values = {
        "stage": config.mode,
        "strategies": [{"name": each.name, "parameters": dict(each.parameters)} for each in config.entries],
        "symbols": list(config.symbol_names),
        "code": code_digest(code_of(config.entries, config.portfolio)),
        "config": config_digest or config.digest(),
    }
    return Scope.parse(values, "session")


def request_of(config: SessionConfig, session_id: str, config_digest: str = "") -> Request:
    """Return what a session asks an approval for."""
    limit = None if config.risk is None else config.risk.max_order_notional
    return Request(scope_of(config, config_digest), float("inf") if limit is None else limit, session_id)


def session_of(sandbox: Sandbox) -> str:
    """Return the id of the session that was admitted to a sandbox; GovernanceError without an admission."""
    if sandbox not in _ADMITTED:
        raise GovernanceError("the venue of a sandbox is built from a grant of the live-execution gate only.")
    return _ADMITTED[sandbox]


@dataclass(frozen=True, slots=True, eq=False)
class Admission:
    """The grant of a session, what the session asks for, and the log and clock with which it is verified."""

    grant: Grant
    request: Request
    log: GovernanceLog
    clock: Callable[[], int]

    def fault(self) -> str:
        """Return why the session may trade no longer, or not at all; empty while it may."""
        return self.grant.fault(self.log, self.request, self.clock())

    def use(self) -> None:
        """Use the approval up for the session; GovernanceError if the grant does not admit it."""
        self.grant.verify(self.log, self.request, self.clock())

    def sandbox(self, exchange: str, client: Any, instruments: Sequence[Instrument]) -> AdmittedSandbox:
        """Return the sandbox to which the session may send orders.

        Raises
        ------
        GovernanceError
            If the approval is not used up for this session or lapsed, or the client sends to another place than the one
            that the gate has seen.

        """
        fault = self.fault() or self._fault_of(exchange, client)
        if fault:
            raise GovernanceError(f"{self.request.session_id}: {fault}")
        found = AdmittedSandbox(sandbox_class(exchange)(client, instruments))
        _ADMITTED[found] = self.request.session_id
        return found

    def _fault_of(self, exchange: str, client: Any) -> str:
        if self.request.session_id not in self.log.state().used.values():
            return "its approval is not used up for it."
        seen, fault = self._venue(), sandbox_fault(client, exchange)
        if self.clock is not time.time_ns and not seen.is_loopback:
            return "its clock is emulated, which is for a venue on loopback only: its approval would not expire."
        is_seen = is_loopback(client) if seen.is_loopback else places_of(client) == set(seen.place.split(", "))
        return fault or ("" if is_seen else f"the gate has seen {seen.place}, and the client sends elsewhere.")

    def _venue(self) -> VenueFacts:
        """Return the venue in the evidence of the decision from which the grant comes."""
        for entry in reversed(self.log.entries()):
            if (entry.action, entry.subject) == (GovernanceAction.DECIDED, self.grant.decision):
                evidence = Evidence.parse(json.loads(entry.content)["evidence"], "evidence")
                if evidence.venue is not None:
                    return evidence.venue
        raise GovernanceError("the decision of the grant is not in the governance log.")


def admission_of(
    config: SessionConfig, grant: Grant | None, session_id: str, clock: Callable[[], int], config_digest: str = ""
) -> Admission | None:
    """Return the admission of a session at a sandbox, verified and not used up yet; None for any other mode.

    Raises
    ------
    GovernanceError
        If there is no grant, or it does not admit the session.

    """
    if not VENUES[config.mode].is_sandbox:
        return None
    if type(grant) is not Grant:
        raise GovernanceError(
            f"mode was {config.mode!r}: a session that sends orders to an exchange's sandbox starts through the "
            "live-execution gate only. Use `peak-trade session run`, and see `peak-trade ready`."
        )
    log = GovernanceLog(workspace(), clock)
    admission = Admission(grant, request_of(config, session_id, config_digest), log, clock)
    fault = admission.fault()
    if fault:
        raise GovernanceError(f"{session_id}: {fault}")
    differing = grant.scope.differences(admission.request.scope)
    if differing:
        raise GovernanceError(f"{session_id}: the grant is for another session: {', '.join(differing)} changed.")
    return admission
