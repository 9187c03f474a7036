"""The trading state: a pure reducer from a state and an observation to the next state and its events."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from msgspec.structs import replace

from peak_trade.core.calendar import period_of
from peak_trade.core.errors import ConfigError
from peak_trade.core.time import NS_PER_SECOND, iso
from peak_trade.core.values import TradingState, Value
from peak_trade.journal.events import Event, TradingStateCause, TradingStateEvent
from peak_trade.risk.limits import StateLimits

RAMP = (0.5, 0.75, 1.0)
"""Fractions of the size limits that are in force after a recovery, by stage."""
_RAMP_STAGE = StateLimits().ramp_stage
SEVERITY = {TradingState.ACTIVE: 0, TradingState.REDUCING: 1, TradingState.HALTED: 2}
"""Severity of each trading state."""


class Control(Value, frozen=True):
    """The trading state and the values that it depends on. Times are ns UTC, money is in quote currency.

    `peak` is the highest equity since the start or the last recovery, `equity` the last observed equity, and
    `day_start` the equity at the start of the UTC day `day`; a bar belongs to the day in which it opens.
    `changed_at` is the time of the last trigger or command. `recovered_at` is 0 unless a ramp is running, whose stages
    last `ramp_stage` seconds.
    """

    state: TradingState = TradingState.ACTIVE
    reason: str = ""
    changed_at: int = 0
    recovered_at: int = 0
    ramp: float = 1.0
    equity: float = math.nan
    peak: float = math.nan
    day: int = -1
    day_start: float = math.nan
    throttled: tuple[str, ...] = ()
    ramp_stage: float = _RAMP_STAGE


@dataclass(frozen=True, slots=True)
class AccountObserved:
    """Equity at the close of a bar, quote currency, and the UTC day in which the bar opened (default: just before)."""

    ts_event: int
    equity: float
    day: int | None = None


@dataclass(frozen=True, slots=True)
class FeedObserved:
    """Age of the newest bar at a time, seconds."""

    ts_event: int
    age: float


@dataclass(frozen=True, slots=True)
class KillSwitch:
    """A person or program, named by `actor`, stops trading at once."""

    ts_event: int
    actor: str
    reason: str = "kill switch"


@dataclass(frozen=True, slots=True)
class ApprovalLapsed:
    """The approval of a session has expired or was revoked, as `reason` says; `actor` found it."""

    ts_event: int
    actor: str
    reason: str


@dataclass(frozen=True, slots=True)
class Recovery:
    """A person, named by `actor`, resumes trading."""

    ts_event: int
    actor: str


@dataclass(frozen=True, slots=True)
class StrategyThrottled:
    """The repeated-execution gate denied an order of a strategy."""

    ts_event: int
    strategy: str


@dataclass(frozen=True, slots=True)
class StrategyEnabled:
    """A person, named by `actor`, enables a strategy that the throttle disabled."""

    ts_event: int
    strategy: str
    actor: str


Observation = (
    AccountObserved | FeedObserved | KillSwitch | ApprovalLapsed | Recovery | StrategyThrottled | StrategyEnabled
)


def advance(
    control: Control, observation: Observation, rules: StateLimits
) -> tuple[Control, tuple[TradingStateEvent, ...]]:
    """Return the control after an observation, and the events of its changes.

    Parameters
    ----------
    control : Control
    observation : Observation
    rules : StateLimits

    Returns
    -------
    (Control, tuple of TradingStateEvent)
        Only a recovery makes the state less severe. Equity that is not a finite number above zero makes it reducing.

    Raises
    ------
    ConfigError
        If a command has no actor, or a recovery comes before the cooldown has ended.

    """
    match observation:
        case AccountObserved():
            return _observe(control, observation, rules)
        case FeedObserved(now, age):
            if rules.max_feed_age is None or age <= rules.max_feed_age:
                return control, ()
            return _change(control, TradingState.REDUCING, now, TradingStateCause.STALE_FEED, age, rules.max_feed_age)
        case KillSwitch():
            _require_actor(observation.actor, "the kill switch")
            now, actor, reason = observation.ts_event, observation.actor, observation.reason
            return _change(control, TradingState.HALTED, now, TradingStateCause.KILL, 1.0, 0.0, actor, reason)
        case ApprovalLapsed(now, actor, reason):
            return _change(
                control, TradingState.REDUCING, now, TradingStateCause.APPROVAL_LAPSED, 1.0, 0.0, actor, reason
            )
        case Recovery():
            return _recover(control, observation, rules)
        case StrategyThrottled():
            if observation.strategy in control.throttled:
                return control, ()
            throttled = tuple(sorted({*control.throttled, observation.strategy}))
            return _set_throttled(control, throttled, observation, TradingStateCause.STRATEGY_DISABLED)
        case StrategyEnabled():
            _require_actor(observation.actor, "enabling a strategy")
            if observation.strategy not in control.throttled:
                raise ConfigError(f"{observation.strategy} is not disabled; there is nothing to enable.")
            throttled = tuple(name for name in control.throttled if name != observation.strategy)
            return _set_throttled(control, throttled, observation, TradingStateCause.STRATEGY_ENABLED)


def control_from_events(control: Control, events: Iterable[Event]) -> Control:
    """Return the control that recorded changes lead to: state, times, ramp and disabled strategies."""
    for event in events:
        if isinstance(event, TradingStateEvent):
            control = _apply_change(control, event)
    return control


def _apply_change(control: Control, event: TradingStateEvent) -> Control:
    if event.state is not control.state:
        is_recovery = event.state is TradingState.ACTIVE
        return replace(
            control,
            state=event.state,
            reason=event.reason,
            changed_at=event.ts_event,
            recovered_at=event.ts_event if is_recovery else 0,
            ramp=event.observed if is_recovery else 1.0,
        )
    match event.cause:
        case TradingStateCause.STRATEGY_DISABLED:
            return replace(control, throttled=tuple(sorted({*control.throttled, event.strategy})))
        case TradingStateCause.STRATEGY_ENABLED:
            return replace(control, throttled=tuple(name for name in control.throttled if name != event.strategy))
        case TradingStateCause.RAMP:
            recovered_at = control.recovered_at if event.observed < 1.0 else 0
            return replace(control, ramp=event.observed, recovered_at=recovered_at)
    return control


def control_to_dict(control: Control) -> dict[str, Any]:
    """Return a control as plain JSON values; unknown values are null."""
    return {
        "state": str(control.state),
        "reason": control.reason,
        "changed_at": control.changed_at,
        "recovered_at": control.recovered_at,
        "ramp": control.ramp,
        "equity": control.equity if math.isfinite(control.equity) else None,
        "peak": control.peak if math.isfinite(control.peak) else None,
        "day": control.day,
        "day_start": control.day_start if math.isfinite(control.day_start) else None,
        "throttled": list(control.throttled),
        "ramp_stage": control.ramp_stage,
    }


def control_from_dict(values: dict[str, Any]) -> Control:
    """Return the control of plain JSON values; unreadable values return a halted control, which needs a recovery."""
    try:
        control = Control(
            state=TradingState(values["state"]),
            reason=str(values["reason"]),
            changed_at=int(values["changed_at"]),
            recovered_at=int(values["recovered_at"]),
            ramp=float(values["ramp"]),
            equity=math.nan if values["equity"] is None else float(values["equity"]),
            peak=math.nan if values["peak"] is None else float(values["peak"]),
            day=int(values["day"]),
            day_start=math.nan if values["day_start"] is None else float(values["day_start"]),
            throttled=tuple(str(name) for name in values["throttled"]),
            ramp_stage=float(values.get("ramp_stage", _RAMP_STAGE)),
        )
    except (KeyError, TypeError, ValueError):
        return Control(state=TradingState.HALTED, reason="the recorded trading state could not be read")
    return control if control.ramp in RAMP else replace(control, ramp=RAMP[0])


def _observe(
    control: Control, seen: AccountObserved, rules: StateLimits
) -> tuple[Control, tuple[TradingStateEvent, ...]]:
    if not (math.isfinite(seen.equity) and seen.equity > 0.0):
        return _change(control, TradingState.REDUCING, seen.ts_event, TradingStateCause.EQUITY_UNREADABLE, 1.0, 0.0)
    day = period_of(seen.ts_event - 1, "day") if seen.day is None else seen.day
    day_start = control.day_start
    if day != control.day:
        day_start = seen.equity if math.isnan(control.equity) else control.equity
    peak = seen.equity if math.isnan(control.peak) else max(control.peak, seen.equity)
    control = replace(control, equity=seen.equity, peak=peak, day=day, day_start=day_start)
    fallen = max(1.0 - seen.equity / peak, 0.0)
    lost = max(1.0 - seen.equity / day_start, 0.0)
    for state, cause, observed, limit in (
        (TradingState.HALTED, TradingStateCause.DRAWDOWN, fallen, rules.halt_drawdown),
        (TradingState.HALTED, TradingStateCause.DAILY_LOSS, lost, rules.halt_daily_loss),
        (TradingState.REDUCING, TradingStateCause.DRAWDOWN, fallen, rules.reduce_drawdown),
        (TradingState.REDUCING, TradingStateCause.DAILY_LOSS, lost, rules.reduce_daily_loss),
    ):
        if limit is not None and observed >= limit and SEVERITY[state] > SEVERITY[control.state]:
            return _change(control, state, seen.ts_event, cause, observed, limit)
    climbed = climb(control, seen.ts_event)
    if climbed.ramp == control.ramp:
        return control, ()
    reason = f"ramp at {climbed.ramp:.0%}"
    return climbed, (_event(climbed, seen.ts_event, TradingStateCause.RAMP, climbed.ramp, 1.0, reason=reason),)


def climb(control: Control, now: int) -> Control:
    """Return the control with its ramp at `now`, ns UTC; the ramp never decreases."""
    if not control.recovered_at:
        return control
    waited = (now - control.recovered_at) / NS_PER_SECOND
    stage = min(int(waited // control.ramp_stage), len(RAMP) - 1) if control.ramp_stage else len(RAMP) - 1
    if stage < 0 or RAMP[stage] <= control.ramp:
        return control
    return replace(control, ramp=RAMP[stage], recovered_at=0 if RAMP[stage] == 1.0 else control.recovered_at)


def _recover(control: Control, command: Recovery, rules: StateLimits) -> tuple[Control, tuple[TradingStateEvent, ...]]:
    _require_actor(command.actor, "a recovery")
    if control.state is TradingState.ACTIVE:
        raise ConfigError("trading is active; there is nothing to recover from.")
    waited = (command.ts_event - control.changed_at) / NS_PER_SECOND
    if waited < rules.cooldown:
        until = iso(control.changed_at + int(rules.cooldown * NS_PER_SECOND))
        raise ConfigError(f"the cooldown of {rules.cooldown:g} s is not over; recover after {until}.")
    recovered = replace(
        control,
        state=TradingState.ACTIVE,
        reason="recovery",
        changed_at=command.ts_event,
        recovered_at=command.ts_event,
        ramp=RAMP[0],
        ramp_stage=rules.ramp_stage,
        peak=control.equity,
        day_start=control.equity,
    )
    cause = TradingStateCause.RECOVERY
    return recovered, (_event(recovered, command.ts_event, cause, RAMP[0], 1.0, command.actor),)


def _change(
    control: Control,
    state: TradingState,
    ts_event: int,
    cause: TradingStateCause,
    observed: float,
    limit: float,
    actor: str = "",
    reason: str = "",
) -> tuple[Control, tuple[TradingStateEvent, ...]]:
    if SEVERITY[state] <= SEVERITY[control.state]:
        return control, ()
    reason = reason or _text_of(cause)
    changed = replace(control, state=state, reason=reason, changed_at=ts_event, recovered_at=0, ramp=1.0)
    return changed, (_event(changed, ts_event, cause, observed, limit, actor, reason),)


def _set_throttled(
    control: Control,
    throttled: tuple[str, ...],
    observation: StrategyThrottled | StrategyEnabled,
    cause: TradingStateCause,
) -> tuple[Control, tuple[TradingStateEvent, ...]]:
    name, now = observation.strategy, observation.ts_event
    if isinstance(observation, StrategyThrottled):
        event = _event(control, now, cause, 1.0, 0.0, reason=f"{name} disabled", strategy=name)
    else:
        event = _event(control, now, cause, 0.0, 0.0, observation.actor, f"{name} enabled", name)
    return replace(control, throttled=throttled), (event,)


def _event(
    control: Control,
    ts_event: int,
    cause: TradingStateCause,
    observed: float,
    limit: float,
    actor: str = "",
    reason: str = "",
    strategy: str = "",
) -> TradingStateEvent:
    reason = reason or _text_of(cause)
    return TradingStateEvent(ts_event, control.state, reason, observed, limit, actor, cause, strategy)


def _text_of(cause: TradingStateCause) -> str:
    return cause.replace("_", " ")


def _require_actor(actor: str, command: str) -> None:
    if not actor.strip():
        raise ConfigError(f"{command} has no actor; give the name of the person.")
