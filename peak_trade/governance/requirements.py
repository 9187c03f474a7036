"""The requirements of each stage, as pure functions of evidence, the state of the governance log and approvals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from peak_trade.core.errors import ConfigError, GovernanceError, exact, listed
from peak_trade.core.time import iso
from peak_trade.governance.approval import NS_PER_DAY, Approval, Request, check_clock, verify
from peak_trade.governance.evidence import Evidence
from peak_trade.governance.policy import LivePolicy
from peak_trade.governance.state import GovernanceState

_HOUR = 3_600 * 1_000_000_000


@dataclass(frozen=True, slots=True)
class CheckLine:
    """One line of the checklist: what was observed, what is required, and what to do if it failed."""

    name: str
    passed: bool
    observed: str
    required: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Case:
    """Inputs of a decision: evidence, the state of the governance log, envelopes of approvals, and the time."""

    evidence: Evidence
    state: GovernanceState
    approvals: tuple[bytes, ...]
    now: int

    @property
    def policy(self) -> LivePolicy | None:
        """The policy in force."""
        return None if self.state.policy is None else self.state.policy.policy

    def if_named(self, text: str) -> str:
        """Return a text on a session; if its strategy or symbol was not named, that."""
        scope = self.evidence.scope
        return text if scope.strategies and scope.symbols else "not named"

    @property
    def is_portfolio(self) -> bool:
        """Whether the session runs several strategies or trades several symbols."""
        return len(self.evidence.scope.strategies) > 1 or len(self.evidence.scope.symbols) > 1

    @property
    def nothing(self) -> str:
        """What is observed where nothing was gathered."""
        return self.if_named("not gathered")

    @property
    def request(self) -> Request:
        """The session that needs an approval; without a limit on the notional of an order, no approval suffices."""
        limits = {} if self.evidence.risk is None else self.evidence.risk.limits
        return Request(self.evidence.scope, limits.get("max_order_notional", float("inf")), self.evidence.session_id)

    def approval(self) -> tuple[bytes, Approval] | str:
        """Return the first approval that admits the session with its envelope, or why none does."""
        faults = list(self.evidence.unreadable_approvals)
        for content in self.approvals:
            try:
                return content, verify(content, self.state, self.request, self.now)
            except GovernanceError as error:
                faults.append(str(error))
        return "; ".join(dict.fromkeys(faults)) or "there is none"


@dataclass(frozen=True, slots=True)
class Requirement:
    """A requirement of a stage by its name in the checklist."""

    name: str
    check: Callable[[Case], CheckLine]


def _line(name: str, is_met: bool, observed: str, required: str, remedy: str) -> CheckLine:
    return CheckLine(name, is_met, observed, required, "" if is_met else remedy)


def _policy(case: Case) -> CheckLine:
    name, required = "policy", "the policy file is complete and the one in force"
    evidence, adopted = case.evidence, case.state.policy
    adopt = "Adopt it with `peak-trade policy adopt FILE`."
    if evidence.policy_file is None:
        return _line(
            name, False, evidence.policy_fault or case.nothing, required, "Name it with --config, and correct it."
        )
    if adopted is None:
        return _line(name, False, "no policy is adopted in this workspace", required, adopt)
    is_met = evidence.policy_file == adopted.digest
    in_force = f"version {adopted.policy.version} ({adopted.digest[:12]})"
    observed = in_force if is_met else f"the file is {evidence.policy_file[:12]}, in force is {in_force}"
    return _line(name, is_met, observed, required, f"Restore the file, or sign the change. {adopt}")


def _log(case: Case) -> CheckLine:
    faults = case.evidence.governance_faults
    observed = "; ".join(faults) or "verified"
    remedy = "See `peak-trade governance verify`; restore the log."
    return _line("governance log", not faults, observed, "every entry verifies", remedy)


def _clock_floor(case: Case) -> CheckLine:
    required, remedy = "the machine's, and not before the last entry of the governance log", "Set the machine's clock."
    venue, is_emulated = case.evidence.venue, case.evidence.is_clock_emulated
    observed = f"{iso(case.now)} (EMULATED CLOCK)" if is_emulated else iso(case.now)
    if is_emulated and not (venue is not None and venue.is_loopback):
        return _line("clock", False, f"{observed}, which counts for a venue on loopback only", required, remedy)
    try:
        check_clock(case.state.clock_floor, case.now)
    except GovernanceError as error:
        return _line("clock", False, str(error), required, remedy)
    return _line("clock", True, observed, required, remedy)


def _named(case: Case) -> CheckLine:
    scope = case.evidence.scope
    missing = [name for name in ("strategies", "symbols") if not getattr(scope, name)]
    observed = " and ".join(f"{name}: not named" for name in missing)
    observed = observed or f"{listed(each.name for each in scope.strategies)} on {listed(scope.symbols)}"
    remedy = "Name them with --strategy and --symbol."
    return _line("strategy and symbol", not missing, observed, "named", remedy)


def _risk_limits(case: Case) -> CheckLine:
    name, required, remedy = "risk limits", "set, and within the caps of the policy", "Set them in the [risk] table."
    facts, policy = case.evidence.risk, case.policy
    if facts is None or policy is None:
        return _line(
            name, False, case.nothing if facts is None else "there are no caps without a policy", required, remedy
        )
    values = dict(facts.limits)
    if "max_orders" in values and facts.order_window > 0.0:
        values["max_orders_per_minute"] = values["max_orders"] * 60.0 / facts.order_window
    faults = []
    for cap, most in policy.risk.model_dump().items():
        value = values.get(cap)
        if value is None:
            faults.append(f"{cap} is not set (at most {exact(most)})")
        elif not value <= most:
            faults.append(f"{cap} is {exact(value)} (at most {exact(most)})")
    return _line(name, not faults, "; ".join(faults) or f"{len(values)} limits within the caps", required, remedy)


def _limits_alive(case: Case) -> CheckLine:
    facts = case.evidence.risk
    observed = (
        case.nothing if facts is None else listed(facts.silent) + " denied nothing" if facts.silent else "all deny"
    )
    is_met = facts is not None and bool(facts.limits) and not facts.silent
    if facts is not None and not facts.limits:
        observed = "no limit is set"
    return _line(
        "limits are live",
        is_met,
        observed,
        "every limit denies an order that breaks it",
        "See `peak-trade check limits`, and correct them.",
    )


def _kill_switch(case: Case) -> CheckLine:
    state = case.evidence.trading_state
    remedy = "See `peak-trade risk state`; a named person resumes trading with `peak-trade risk recover`."
    return _line(
        "kill switch", state == "active", f"trading is {state or 'not known'}", "armed; trading is active", remedy
    )


def _drill(case: Case) -> CheckLine:
    name, drilled, remedy = "kill switch drill", case.state.drilled, "Exercise it with `peak-trade risk drill`."
    if case.policy is None:
        return _line(name, False, "there is no policy", "within the days of the policy", remedy)
    most = case.policy.readiness.max_drill_days
    days = (case.now - drilled) / NS_PER_DAY
    observed = f"{days:.1f} days ago" if drilled else "never exercised"
    return _line(name, bool(drilled) and days <= most, observed, f"exercised within {most:g} days", remedy)


def _simulated(case: Case) -> CheckLine:
    venue = case.evidence.venue
    is_met = venue is not None and venue.place == "simulated"
    return _line(
        "venue", is_met, venue.place if venue else case.nothing, "simulated: no order leaves", "Use this mode's venue."
    )


def _sandbox(case: Case) -> CheckLine:
    venue = case.evidence.venue
    is_met = venue is not None and venue.is_sandbox
    remedy = "Orders go to the sandbox of an exchange only; use one that has one."
    return _line("venue", is_met, venue.place if venue else case.nothing, "the sandbox of the exchange", remedy)


def _credentials(case: Case) -> CheckLine:
    venue = case.evidence.venue
    is_met = venue is not None and venue.has_credentials
    remedy = "Set the sandbox's keys in the environment."
    return _line("credentials", is_met, "present" if is_met else case.if_named("missing"), "present", remedy)


def _clock_offset(case: Case) -> CheckLine:
    offset, policy = case.evidence.clock_offset_ms, case.policy
    most = None if policy is None else policy.readiness.max_clock_offset_ms
    is_met = offset is not None and most is not None and abs(offset) <= most
    observed = case.nothing if offset is None else f"{offset:+.0f} ms"
    return _line("clock offset", is_met, observed, _at_most(most, "ms"), "Synchronise the machine's clock.")


def _data(case: Case) -> CheckLine:
    age, policy = case.evidence.data_age_bars, case.policy
    most = None if policy is None else policy.readiness.max_data_bars
    is_met = age is not None and most is not None and age <= most
    observed = case.nothing if age is None else f"{age:.1f} bars old"
    return _line("fresh data", is_met, observed, _at_most(most, "bars old"), "Check the exchange and the network.")


def _causality(case: Case) -> CheckLine:
    is_causal = case.evidence.is_causal
    observed = case.evidence.causality or ("no look-ahead found" if is_causal else case.nothing)
    remedy = "Find it with `peak-trade check strategy`, and correct it."
    return _line("no look-ahead", is_causal is True, observed, "the strategy passes the check", remedy)


def _out_of_sample(case: Case) -> CheckLine:
    name, facts, policy = "out-of-sample evidence", case.evidence.out_of_sample, case.policy
    remedy = "Backtest the strategy with this code on newer bars, or choose another strategy."
    missing = "no run of this strategy, these parameters and this code"
    if case.is_portfolio:
        remedy = "Run `peak-trade portfolio` with this file and this code on newer bars, or change the portfolio."
        missing = "no run of this portfolio, these parameters and this code"
    if policy is None:
        return _line(name, False, case.if_named("there is no policy"), "as the policy states", remedy)
    rules = policy.out_of_sample
    required = (
        f"at least {rules.min_trades} trades in {rules.min_days:g} days that end within {rules.max_age_days:g} days, "
        f"Sharpe {rules.min_sharpe:g}, deflated Sharpe {rules.min_deflated_sharpe:g}; drawdown at most "
        f"{rules.max_drawdown:g}"
    )
    if facts is None:
        return _line(name, False, case.if_named(missing), required, remedy)
    days, age = (facts.last - facts.first) / NS_PER_DAY, (case.now - facts.last) / NS_PER_DAY
    observed = (
        f"run {facts.run_id[:12]}: {facts.n_trades} trades in {days:.0f} days until {age:.0f} days ago, Sharpe "
        f"{_number(facts.sharpe)} ± {_number(facts.sharpe_error)}, deflated {_number(facts.deflated_sharpe)}, drawdown "
        f"{facts.max_drawdown:.3g}"
    )
    required += "; every strategy has traded" if case.is_portfolio else ""
    observed += f"; without a trade: {listed(facts.idle)}" if facts.idle else ""
    is_met = (
        not facts.idle
        and facts.n_trades >= rules.min_trades
        and days >= rules.min_days
        and 0.0 <= age <= rules.max_age_days
        and facts.sharpe is not None
        and facts.sharpe >= rules.min_sharpe
        and facts.sharpe_error is not None
        and facts.deflated_sharpe is not None
        and facts.deflated_sharpe >= rules.min_deflated_sharpe
        and 0.0 <= facts.max_drawdown <= rules.max_drawdown
    )
    return _line(name, is_met, observed, required, remedy)


def _shadow(case: Case) -> CheckLine:
    name, facts, policy = "shadow session", case.evidence.shadow, case.policy
    remedy = (
        "Run `peak-trade session run --mode shadow` with this strategy and code, and compare with `peak-trade diff`."
    )
    if policy is None:
        return _line(name, False, case.if_named("there is no policy"), "as the policy states", remedy)
    rules = policy.shadow
    required = (
        f"{rules.min_hours:g} h of the same strategy, parameters and code, ended within {rules.max_age_days:g} days, "
        "sealed, and equal to a backtest"
    )
    if facts is None:
        return _line(name, False, case.if_named("there is none"), required, remedy)
    hours = (facts.last_recorded - facts.first_recorded) / _HOUR
    age = (case.now - facts.last_recorded) / NS_PER_DAY
    is_loopback = case.evidence.venue is not None and case.evidence.venue.is_loopback
    faults = {
        f"{hours:.1f} h": hours < rules.min_hours,
        f"ended {age:.1f} days ago": age > rules.max_age_days or (age < 0.0 and not facts.is_clock_emulated),
        "EMULATED CLOCK, which counts for a venue on loopback only": facts.is_clock_emulated and not is_loopback,
        f"its journal is {facts.verdict}": facts.verdict != "intact",
        "another strategy, parameters, symbols or code": not facts.is_same,
        "no diff against a backtest": facts.diff is None,
        f"{facts.n_differences} differences from a backtest": facts.n_differences > 0,
    }
    found = [text for text, is_fault in faults.items() if is_fault]
    clock = " (EMULATED CLOCK)" if facts.is_clock_emulated else ""
    observed = f"{facts.session_id}{clock}: " + (", ".join(found) or f"{hours:.1f} h, equal to its backtest")
    return _line(name, not found, observed, required, remedy)


def _journals(case: Case) -> CheckLine:
    name, journals, policy = "journals", case.evidence.journals, case.policy
    remedy = "See `peak-trade audit verify`."
    if policy is None:
        return _line(name, False, "there is no policy", "as the policy states", remedy)
    bad = [f"{each.session_id} is {each.verdict}" for each in journals if not each.is_intact]
    observed = "; ".join(bad) or (f"{len(journals)} verified" if journals else "there is no session")
    required = f"the journals of the last {policy.n_sessions} sessions verify"
    return _line(name, bool(journals) and not bad, observed, required, remedy)


def _approval(case: Case) -> CheckLine:
    found = case.approval()
    required = "signed for this session, and valid now"
    if isinstance(found, str):
        return _line("approval", False, found, required, "Sign one with `peak-trade approve`.")
    approval = found[1]
    observed = f"{approval.approval_id[:12]} of {listed(approval.approvers)}, until {approval.expires}"
    return _line("approval", True, observed, required, "")


def _at_most(most: float | None, unit: str) -> str:
    return "as the policy states" if most is None else f"at most {most:g} {unit}"


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3g}"


_SHORT = (Requirement("kill switch", _kill_switch), Requirement("venue", _simulated))
REQUIREMENTS: dict[str, tuple[Requirement, ...]] = {
    "paper": _SHORT,
    "shadow": _SHORT,
    "testnet": (
        Requirement("policy", _policy),
        Requirement("governance log", _log),
        Requirement("clock", _clock_floor),
        Requirement("strategy and symbol", _named),
        Requirement("risk limits", _risk_limits),
        Requirement("limits are live", _limits_alive),
        Requirement("kill switch", _kill_switch),
        Requirement("kill switch drill", _drill),
        Requirement("venue", _sandbox),
        Requirement("credentials", _credentials),
        Requirement("clock offset", _clock_offset),
        Requirement("fresh data", _data),
        Requirement("no look-ahead", _causality),
        Requirement("out-of-sample evidence", _out_of_sample),
        Requirement("shadow session", _shadow),
        Requirement("journals", _journals),
        Requirement("approval", _approval),
    ),
}
"""The requirements of each stage. Paper and shadow need neither a policy nor a key: no order leaves the machine."""


def check_requirements(case: Case) -> tuple[CheckLine, ...]:
    """Return one line per requirement of the stage; every requirement is always checked."""
    stage = case.evidence.scope.stage
    if stage not in REQUIREMENTS:
        raise ConfigError(f"stage was {stage!r}: {listed(REQUIREMENTS)} are known.")
    return tuple(requirement.check(case) for requirement in REQUIREMENTS[stage])


def failed(lines: Sequence[CheckLine]) -> tuple[CheckLine, ...]:
    """Return the lines that failed."""
    return tuple(line for line in lines if not line.passed)
