"""Evidence: what was observed before a decision. Journals, runs and the policy are named by digest.

Times are ns UTC. A part that was not gathered is None, and the requirements that need it fail.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from peak_trade.core.settings import Finite, NonNegative, Settings
from peak_trade.governance.scope import Digest, Scope

Instant = Annotated[int, Field(ge=0)]


class RiskFacts(Settings):
    """The risk limits of the session."""

    limits: dict[str, Finite]
    """Value of each limit in force, by its name in the configuration: `max_order_notional`, `state.halt_drawdown`."""

    order_window: Finite = 60.0
    """Window of `max_orders`, seconds."""

    silent: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """Limits that denied no order of the liveness check, though each was made to break one."""


class VenueFacts(Settings):
    """The venue to which orders go."""

    place: str
    """Scheme and host; `simulated` in paper and shadow."""

    is_sandbox: bool
    """Whether the host is the sandbox of the exchange, or on loopback."""

    is_loopback: bool
    has_credentials: bool


class OutOfSampleFacts(Settings):
    """The newest backtest of the same strategy, parameters and code; for a portfolio, the newest run of it."""

    run_id: str
    events: Digest
    """Digest of the run's events."""

    first: Instant
    last: Instant
    n_trades: Annotated[int, Field(ge=0)]
    sharpe: Finite | None
    """Annual Sharpe ratio; None if the sample is too small."""

    sharpe_error: NonNegative | None
    """Standard error of the Sharpe ratio."""

    deflated_sharpe: Finite | None
    """Deflated Sharpe ratio, a probability."""

    max_drawdown: Finite
    idle: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """Strategies of a portfolio that did not trade in the run: it is no evidence about them."""

    @model_serializer(mode="wrap")
    def _without_idle(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what is empty, so that earlier decisions follow from their evidence as they are stored."""
        values: dict[str, Any] = handler(self)
        if not self.idle:
            del values["idle"]
        return values


class ShadowFacts(Settings):
    """A shadow session of the same strategy, parameters, symbols and code."""

    session_id: str
    head: Digest
    """Hash of the last event of its journal."""

    verdict: str
    """Result of the verification of its journal: `intact` for a sealed one."""

    first_recorded: Instant
    last_recorded: Instant
    """`ts_recorded` of its first and last event."""

    is_clock_emulated: bool
    """Whether its clock was that of an emulator; such a session counts for a venue on loopback only."""

    is_same: bool
    """Whether strategies, parameters, symbols and code are those of the evidence's scope."""

    diff: Digest | None
    """Digest of its diff against a backtest over the same bars; None if it could not be made."""

    n_differences: Annotated[int, Field(ge=0)]
    """Number of the diff's differences outside its tolerance."""


class JournalFacts(Settings):
    """The journal of a recent session of the workspace."""

    session_id: str
    head: str
    verdict: str
    is_intact: bool


class Evidence(Settings):
    """Observations for one session at one time."""

    scope: Scope
    gathered_at: Instant
    session_id: str = ""
    """Id of a session that resumes; empty for a new one."""

    is_clock_emulated: bool = False
    """Whether the clock of the decision is not that of the machine; such a one counts for a venue on loopback only."""

    policy_file: Digest | None = None
    """Digest of the policy file that was named; None if it is unreadable or not a policy."""

    policy_fault: str = ""
    """Why the policy file could not be read."""

    trading_state: Literal["active", "reducing", "halted"] | None = None
    """Trading state of the workspace; halted while the kill switch is on."""

    risk: RiskFacts | None = None
    venue: VenueFacts | None = None
    clock_offset_ms: Finite | None = None
    """Exchange's clock − local clock, ms."""

    data_age_bars: NonNegative | None = None
    """Age of the newest bar, in bars."""

    is_causal: bool | None = None
    """Whether the strategy passed the check for look-ahead."""

    causality: str = ""
    """Result of that check as a sentence."""

    out_of_sample: OutOfSampleFacts | None = None
    shadow: ShadowFacts | None = None
    journals: Annotated[tuple[JournalFacts, ...], Field(strict=False)] = ()
    """Journals of the last sessions, newest first."""

    unreadable_approvals: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """Why files of approvals could not be read."""

    governance_faults: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """Faults of the governance log that its verification found."""
