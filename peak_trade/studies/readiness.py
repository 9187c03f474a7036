"""The live-execution gate: gathers the evidence of a session, decides on it, and grants what is allowed.

Every decision is recorded in the governance log with its evidence, from which it can be made again. The gate is the
only part that issues grants, and it takes no evidence from its caller.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peak_trade.core.digest import digest_of
from peak_trade.data.workspace import workspace
from peak_trade.governance.decision import Decision, decide
from peak_trade.governance.evidence import Evidence, VenueFacts
from peak_trade.governance.grant import Grant, issue
from peak_trade.governance.log import GovernanceLog
from peak_trade.governance.scope import Scope
from peak_trade.governance.signing import read_approvals
from peak_trade.governance.state import GovernanceState
from peak_trade.sessions.config import SessionConfig
from peak_trade.sessions.control.commands import workspace_state
from peak_trade.sessions.options import make_config
from peak_trade.sessions.run import SessionResult, approved_config, resume_session, run_session
from peak_trade.sessions.sandbox.admission import scope_of
from peak_trade.sessions.store import config_of, decisions_in, find_session
from peak_trade.wiring.digests import code_digest
from peak_trade.wiring.portfolio_settings import is_portfolio_file
from peak_trade.wiring.strategies import make_strategy

POLICY_FILE = Path("config/live_policies.toml")
SIMULATED = VenueFacts(place="simulated", is_sandbox=False, is_loopback=False, has_credentials=False)
_N_SESSIONS = 3
"""Number of journals that are verified without a policy."""


@dataclass(frozen=True, slots=True)
class Gate:
    """What the gate asks for a decision.

    `policy` is its file. The signed approvals are those in the workspace. `clock` returns
    now, ns UTC; any other than the machine's is emulated. `sandbox` makes the client of the exchange's
    sandbox, by default with the keys of the environment.
    """

    policy: Path = POLICY_FILE
    clock: Callable[[], int] = time.time_ns
    sandbox: Callable[[], Any] | None = None

    @property
    def log(self) -> GovernanceLog:
        """The governance log of the workspace."""
        return GovernanceLog(workspace(), self.clock)


@dataclass(frozen=True, slots=True)
class Named:
    """The session that was named: its configuration, or the scope of one of which a part was not named."""

    scope: Scope
    config: SessionConfig | None = None
    session_id: str = ""
    """Id of a session that resumes."""


def named(
    stage: str, options: Mapping[str, Any], parameters: Mapping[str, Any], cash: float | None, run_file: Path | None
) -> Named:
    """Return the session that the options of a command line name, whole or in part; errors as of `make_config`.

    A shadow is checked without the session that it follows. The file of a portfolio names its strategies and symbols.
    """
    given = {name: value for name, value in options.items() if value is not None}
    is_portfolio = run_file is not None and is_portfolio_file(run_file)
    given = given if is_portfolio else {"timeframe": "1h", "exchange": "binance"} | given
    strategy = given.get("strategy")
    if not is_portfolio and (strategy is None or "symbol" not in given):
        part = None if strategy is None else make_strategy(strategy, parameters)
        scope = Scope.parse(
            {
                "stage": stage,
                "strategies": [] if part is None else [{"name": strategy, "parameters": part.model_dump(mode="json")}],
                "symbols": [given["symbol"]] if "symbol" in given else [],
                "code": code_digest([] if part is None else [part]),
                "config": digest_of(None),
            },
            "session",
        )
        return Named(scope)
    mode = "paper" if stage == "shadow" else stage
    config = make_config(given | {"mode": mode}, parameters, cash, run_file)
    return Named(scope_of(config).model_copy(update={"stage": stage}), config)


def check(session: Named, gate: Gate) -> Decision:
    """Return the decision on a session, recorded in the governance log unless the log itself is at fault.

    Raises
    ------
    GovernanceError
        If the decision can not be recorded.

    """
    decision = _decide(session, gate)
    if not decision.evidence.governance_faults:
        gate.log.append_decision(decision)
    return decision


def admit(config: SessionConfig, gate: Gate) -> Grant | Decision:
    """Return the grant of a session that may start, or the decision that refuses it; errors as of `check`."""
    return _granted(Named(scope_of(config), config), gate)


def admit_again(name: str, gate: Gate) -> Grant | Decision:
    """Return the grant of a session that may resume, by its id, or the decision that refuses it."""
    folder = find_session(name)
    config = config_of(folder)
    return _granted(Named(scope_of(config, approved_config(folder)), config, folder.name), gate)


def start(config: SessionConfig, gate: Gate, **surroundings: Any) -> SessionResult | Decision:
    """Start a session that the gate admits, and run it to its end; else return the decision that refuses it.

    `surroundings` are the other arguments of `run_session`. Errors as of `run_session` and of `check`.
    """
    found = admit(config, gate)
    if isinstance(found, Decision):
        return found
    return run_session(config, grant=found, clock=gate.clock, sandbox=gate.sandbox, **surroundings)


def resume(name: str, gate: Gate, **surroundings: Any) -> SessionResult | Decision:
    """Resume a session that the gate admits again, and run it to its end; as `start`."""
    found = admit_again(name, gate)
    if isinstance(found, Decision):
        return found
    return resume_session(name, grant=found, clock=gate.clock, sandbox=gate.sandbox, **surroundings)


def _granted(session: Named, gate: Gate) -> Grant | Decision:
    decision = _decide(session, gate)
    if decision.evidence.governance_faults:
        return decision
    return issue(gate.log, decision)


def _decide(session: Named, gate: Gate) -> Decision:
    log = gate.log
    faults = log.verify(decisions_in(log.log_id)).faults if session.scope.stage == "testnet" else ()
    state = GovernanceState() if faults else log.state()
    evidence = _gather(session, gate, state, faults)
    approvals, unreadable = read_approvals(workspace())
    evidence = evidence.model_copy(update={"unreadable_approvals": unreadable})
    return decide(evidence, state, approvals, evidence.gathered_at)


def _gather(session: Named, gate: Gate, state: GovernanceState, faults: Sequence[str]) -> Evidence:
    scope, now = session.scope, gate.clock()
    values = {"scope": scope, "gathered_at": now, "trading_state": str(workspace_state(now).state)}
    values |= {"is_clock_emulated": gate.clock is not time.time_ns}
    evidence = Evidence.parse(values | {"session_id": session.session_id, "governance_faults": faults}, "evidence")
    if scope.stage != "testnet":
        return evidence.model_copy(update={"venue": SIMULATED})
    from peak_trade.studies import evidence as gathering  # loads what only this stage needs

    n_sessions = _N_SESSIONS if state.policy is None else state.policy.policy.n_sessions
    evidence = gathering.with_workspace(evidence, gate.policy, n_sessions)
    return (
        evidence
        if session.config is None
        else gathering.with_session(evidence, session.config, gate.clock, gate.sandbox)
    )
