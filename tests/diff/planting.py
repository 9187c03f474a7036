"""Faults that are planted into the log of a run, or into its inputs, with all consequences."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, ClassVar
from unittest.mock import patch

import pandas as pd

from peak_trade.core.bars import Bars
from peak_trade.core.values import Instrument, OrderType, Side
from peak_trade.data.sample import sample_bars
from peak_trade.diff.causes import Cause
from peak_trade.diff.recording import Recording, recording_of
from peak_trade.engine.risk_engine import RiskEngine
from peak_trade.engine.settings import BacktestSettings
from peak_trade.journal.events import BarEvent, Event, OrderEvent, OrderEventKind, SignalEvent
from peak_trade.risk.codes import DenialCode
from peak_trade.risk.gate import GateChain, Proposal, RiskGate
from peak_trade.risk.order_gates import INSTRUMENT_GATES
from peak_trade.strategies.base import Strategy
from peak_trade.strategies.ma_crossover import MaCrossover
from peak_trade.studies.backtest import backtest
from tests.replacing import replace

SYMBOL = "BTC/USDT"
INSTRUMENTS = {SYMBOL: Instrument(SYMBOL, tick_size=0.01, lot_size=1e-5, min_notional=5.0)}
STRATEGY = MaCrossover(fast=5, slow=15)
Kind = OrderEventKind


class OtherVersion(MaCrossover):
    """The same parameters with different code: it enters one bar later."""

    name: ClassVar[str] = "ma_crossover"

    def exposure(self, bars: pd.DataFrame) -> Any:
        held = super().exposure(bars)
        return pd.Series(held).rolling(2, min_periods=1).min().to_numpy()


PROTECTED = {"execution": {"stop_loss": 0.03, "take_profit": 0.06, "trailing_stop": 0.04}}
"""Settings of a run that has orders of every known reason."""
REASONS = ("target", "stop_loss", "take_profit", "trailing_stop")
"""Reasons of the orders of such a run."""
FOREIGN_REASONS = ("bankrupt", "manual", "")
"""Reasons that no order of a run has."""


@dataclass(frozen=True, slots=True)
class Planted:
    """A planted fault: cause and kind of its root, its order if it has one, and whether only one run has that order."""

    cause: Cause
    kind: str
    order_id: str = ""
    is_extra: bool = False
    is_missing: bool = False


def bars_of(seed: int, n_bars: int = 700) -> Bars:
    """Generated hourly bars."""
    whole = sample_bars(SYMBOL, n_bars=n_bars + 400 * seed)
    return Bars(whole.frame.iloc[400 * seed :], SYMBOL, whole.timeframe, whole.exchange)


def run(
    bars: Bars, settings: dict[str, Any] | None = None, strategy: Strategy = STRATEGY, name: str = "run", **options: Any
) -> Recording:
    """Recording of a backtest."""
    parsed = BacktestSettings.parse(settings or {}, "test")
    return recording_of(backtest(strategy, bars, parsed, instruments=INSTRUMENTS, **options), name)


def add_an_order(events: list[Event], reason: str, rng: random.Random, free: set[int]) -> Planted:
    """Add a filled order: at a random bar, or where a run would place one; of any size, or of that of the position.

    `free` are the indices of the events of which no order has a fault yet.
    """
    wanted = SignalEvent if reason == "target" else OrderEvent
    plausible = [
        index
        for index, event in enumerate(events)
        if isinstance(event, wanted) and (wanted is SignalEvent or event.last_quantity)
    ]
    bars = [index for index, event in enumerate(events) if isinstance(event, BarEvent)][20:-20]
    index = rng.choice([place for place in (bars if rng.random() < 0.5 else plausible[2:-2]) if place in free])
    fills = [event for event in events[: index + 1] if isinstance(event, OrderEvent) and event.last_quantity]
    known = fills or [event for event in events if isinstance(event, OrderEvent) and event.last_quantity]
    position = sum(event.last_quantity * event.side.sign for event in fills)
    close = next(event.close for event in reversed(events[: index + 1]) if isinstance(event, BarEvent))
    side = Side.SELL if position > 1e-9 else rng.choice(list(Side))
    is_whole = abs(position) > 1e-9 and rng.random() < 0.5
    quantity = abs(position) if is_whole else known[-1].quantity * rng.uniform(0.05, 1.5)
    request = replace(
        known[-1], ts_event=events[index].ts_event, order_id=f"extra-{index}-{reason}", event=Kind.REQUESTED, side=side,
        order_type=OrderType.MARKET, quantity=quantity, cumulative=0.0, leaves=quantity, decision_price=close,
        arrival_price=close, last_quantity=0.0, last_price=0.0, fee=0.0, limit_price=None, stop_price=None,
        reason=reason,
    )  # fmt: skip
    fill = replace(
        request, event=Kind.FILLED, cumulative=quantity, leaves=0.0, last_quantity=quantity,
        last_price=close * (1.0 - 0.05 * side.sign), fee=quantity * close * 1e-3,
    )  # fmt: skip
    opening = [replace(request, event=kind) for kind in (Kind.SUBMITTED, Kind.ACCEPTED)]
    events[index + 1 : index + 1] = [request, *opening, fill]
    return Planted(Cause.UNEXPLAINED, "order", request.order_id, is_extra=True)


def lose_an_order(events: list[Event], reason: str, rng: random.Random, free: set[int]) -> Planted:
    """Remove all events of an order."""
    known = [event for index, event in enumerate(events) if index in free and isinstance(event, OrderEvent)]
    ids = [event.order_id for event in known if event.reason == reason]
    chosen = rng.choice([order_id for order_id in dict.fromkeys(ids) if not order_id.startswith("extra")])
    events[:] = [event for event in events if not (isinstance(event, OrderEvent) and event.order_id == chosen)]
    return Planted(Cause.UNEXPLAINED, "order", chosen, is_missing=True)


ORDER_FAULTS: dict[str, tuple[Callable[..., Planted], str]] = {
    **{f"extra-order-{reason or 'without-reason'}": (add_an_order, reason) for reason in (*REASONS, *FOREIGN_REASONS)},
    **{f"missing-order-{reason}": (lose_an_order, reason) for reason in REASONS},
}
"""Faults that add or remove a whole order, with its reason."""


def _is_fill(event: OrderEvent) -> bool:
    return event.last_quantity > 0.0


def drop_a_fill(events: list[Event], index: int, rng: random.Random) -> Planted:
    event = events.pop(index)
    assert isinstance(event, OrderEvent)
    return Planted(Cause.PARTIAL_FILL, "filled", event.order_id)


def shift_a_stamp(events: list[Event], index: int, rng: random.Random) -> Planted:
    event = events[index]
    assert isinstance(event, OrderEvent)
    shift = rng.choice([-1, 1]) * rng.randrange(2_000, 60_000) * 1_000_000
    events[index] = replace(event, ts_event=event.ts_event + shift)
    kinds = {Kind.REQUESTED: "decision time", Kind.PARTIALLY_FILLED: "fill time", Kind.FILLED: "fill time"}
    return Planted(Cause.TIMING, kinds.get(event.event, f"time of {event.event}"), event.order_id)


def swap_a_side(events: list[Event], index: int, rng: random.Random) -> Planted:
    chosen = events[index]
    assert isinstance(chosen, OrderEvent)
    for at, event in enumerate(events):
        if isinstance(event, OrderEvent) and event.order_id == chosen.order_id:
            events[at] = replace(event, side=Side.SELL if event.side is Side.BUY else Side.BUY)
    return Planted(Cause.SIGNAL, "side", chosen.order_id)


def swap_a_fills_side(events: list[Event], index: int, rng: random.Random) -> Planted:
    event = events[index]
    assert isinstance(event, OrderEvent)
    events[index] = replace(event, side=Side.SELL if event.side is Side.BUY else Side.BUY)
    return Planted(Cause.SIGNAL, "fill side", event.order_id)


def change_a_fee(events: list[Event], index: int, rng: random.Random) -> Planted:
    event = events[index]
    assert isinstance(event, OrderEvent)
    events[index] = replace(event, fee=event.fee * rng.uniform(1.2, 3.0))
    return Planted(Cause.FEE, "fee rate", event.order_id)


def change_a_price(events: list[Event], index: int, rng: random.Random) -> Planted:
    event = events[index]
    assert isinstance(event, OrderEvent)
    factor = 1.0 + rng.choice([-1, 1]) * rng.uniform(0.002, 0.02)
    events[index] = replace(event, last_price=event.last_price * factor, fee=event.fee * factor)
    return Planted(Cause.PRICE, "fill price", event.order_id)


def duplicate_an_event(events: list[Event], index: int, rng: random.Random) -> Planted:
    event = events[index]
    assert isinstance(event, OrderEvent)
    events.insert(index + 1, event)
    return Planted(Cause.UNEXPLAINED, "event twice")


def split_a_fill(events: list[Event], index: int, rng: random.Random) -> Planted:
    event = events[index]
    assert isinstance(event, OrderEvent)
    fraction = rng.uniform(0.2, 0.8)
    part = event.last_quantity * fraction
    before = event.cumulative - event.last_quantity
    first = replace(
        event, event=Kind.PARTIALLY_FILLED, last_quantity=part, cumulative=before + part,
        leaves=event.quantity - before - part, fee=event.fee * fraction,
    )  # fmt: skip
    rest = replace(event, last_quantity=event.last_quantity - part, fee=event.fee * (1.0 - fraction))
    events[index : index + 1] = [first, rest]
    return Planted(Cause.PARTIAL_FILL, "number of fills", event.order_id)


def reject_an_order(events: list[Event], index: int, rng: random.Random) -> Planted:
    chosen = events[index]
    assert isinstance(chosen, OrderEvent)
    kept: list[Event] = []
    for event in events:
        if not (isinstance(event, OrderEvent) and event.order_id == chosen.order_id) or event.event in (
            Kind.REQUESTED,
            Kind.SUBMITTED,
        ):
            kept.append(event)
        elif event.event is Kind.ACCEPTED:
            kept.append(replace(event, event=Kind.REJECTED, leaves=0.0, reason="venue"))
    events[:] = kept
    return Planted(Cause.REJECTION, "outcome", chosen.order_id)


LOG_FAULTS: dict[str, tuple[Callable[..., Planted], Callable[[OrderEvent], bool]]] = {
    "drop-a-fill": (drop_a_fill, _is_fill),
    "shift-a-stamp": (shift_a_stamp, lambda event: True),
    "swap-a-side": (swap_a_side, _is_fill),
    "swap-a-fills-side": (swap_a_fills_side, _is_fill),
    "change-a-fee": (change_a_fee, _is_fill),
    "change-a-price": (change_a_price, _is_fill),
    "duplicate-an-event": (duplicate_an_event, lambda event: True),
    "split-a-fill": (split_a_fill, _is_fill),
    "reject-an-order": (reject_an_order, _is_fill),
}


def _stretches(events: list[Event]) -> list[int]:
    """For each event, the number of entry signals up to it: no fault removes or adds a signal."""
    return list(accumulate(isinstance(event, SignalEvent) and event.exposure != 0.0 for event in events))


def _stretch_of(events: list[Event], order_id: str) -> int:
    numbered = zip(_stretches(events), events, strict=True)
    return next(number for number, each in numbered if isinstance(each, OrderEvent) and each.order_id == order_id)


def plant(recording: Recording, faults: list[str], rng: random.Random) -> tuple[Recording, list[Planted]]:
    """Plant faults into a log, each into a different order; orders that are extra or missing into other positions.

    Without its entry, a position has no orders to lose, and a position that was not closed needs no new entry: a fault
    in the same position or the one before would explain the other one.
    """
    events = list(recording.events)
    planted: list[Planted] = []
    touched: set[str] = set()
    stretches: set[int] = set()
    for name in sorted(faults, key=lambda name: name in ORDER_FAULTS):
        before = list(events)
        if name in ORDER_FAULTS:
            change, reason = ORDER_FAULTS[name]
            numbers = enumerate(_stretches(events))
            free = {index for index, number in numbers if not stretches & {number - 1, number, number + 1}}
            planted.append(change(events, reason, rng, free))
        else:
            fault, wanted = LOG_FAULTS[name]
            orders = [(index, event) for index, event in enumerate(events) if isinstance(event, OrderEvent)]
            index, event = rng.choice([each for each in orders if wanted(each[1]) and each[1].order_id not in touched])
            touched.add(event.order_id)
            planted.append(fault(events, index, rng))
        order_id = planted[-1].order_id or event.order_id
        stretches.add(_stretch_of(events if planted[-1].is_extra else before, order_id))
    return replace(recording, events=events, name="planted"), planted


def denying(order_ids: set[str]) -> RiskEngine:
    """A risk engine without limits that also denies the orders with these ids."""

    def n_matches(proposal: Proposal) -> tuple[float, float]:
        return float(proposal.order.order_id in order_ids), 0.0

    planted = RiskGate(DenialCode.PRICE_COLLAR, "", n_matches, relieves=False)
    return RiskEngine(GateChain((*INSTRUMENT_GATES, planted)), None)


def merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Settings with the tables of `changes` merged into those of `base`."""
    return base | {name: base.get(name, {}) | table for name, table in changes.items()}


@dataclass(slots=True)
class Setup:
    """Inputs of the live run; a fault changes them before the run."""

    bars: Bars
    base: dict[str, Any] = field(default_factory=dict)
    """Settings of both runs."""

    settings: dict[str, Any] = field(default_factory=dict)
    strategy: Strategy = STRATEGY
    denied: set[str] = field(default_factory=set)
    is_secret: bool = False
    """Whether the recorded fee is the shadow's."""

    def recording(self) -> Recording:
        """Run the live side."""
        with patch("peak_trade.studies.backtest.make_risk_engine", lambda *args, **options: denying(self.denied)):
            made = run(self.bars, merged(self.base, self.settings), self.strategy, "live")
        stated = run(self.bars).settings["trading.costs.fee_bps"]
        return replace(made, settings={**made.settings, "trading.costs.fee_bps": stated}) if self.is_secret else made


def _requests(setup: Setup) -> list[OrderEvent]:
    """Requests of the clean run for a target."""
    events = run(setup.bars, setup.base).events
    return [event for event in events if isinstance(event, OrderEvent) and event.reason == "target"]


def _trading_bar(setup: Setup, rng: random.Random) -> int:
    """Index of a bar on which the clean run decides an order, so that a change of the bar has consequences."""
    times = [event.ts_event for event in _requests(setup) if event.event is Kind.REQUESTED]
    return int(setup.bars.times.searchsorted(rng.choice(times[2:-2])))


def _with_frame(setup: Setup, frame: pd.DataFrame) -> None:
    setup.bars = Bars(frame, setup.bars.symbol, setup.bars.timeframe, setup.bars.exchange)


def remove_a_bar(setup: Setup, rng: random.Random) -> Planted:
    frame = setup.bars.frame
    _with_frame(setup, frame.drop(frame.index[_trading_bar(setup, rng)]))
    return Planted(Cause.MISSED_BAR, "missing bar")


def remove_the_filling_bar(setup: Setup, rng: random.Random) -> Planted:
    frame = setup.bars.frame
    _with_frame(setup, frame.drop(frame.index[_trading_bar(setup, rng) + 1]))
    return Planted(Cause.MISSED_BAR, "missing bar")


def revise_a_bar(setup: Setup, rng: random.Random) -> Planted:
    frame = setup.bars.frame.copy()
    prices = list(frame.columns[:4])
    bar = _trading_bar(setup, rng)
    frame.loc[frame.index[bar], prices] *= 1.0 + rng.choice([-1, 1]) * rng.uniform(0.01, 0.05)
    _with_frame(setup, frame)
    return Planted(Cause.DATA_REVISION, "bar")


def deny_an_order(setup: Setup, rng: random.Random) -> Planted:
    requests = [event for event in _requests(setup) if event.event is Kind.REQUESTED]
    setup.denied.add(requests[rng.randrange(1, len(requests) - 2)].order_id)
    return Planted(Cause.DENIAL, "outcome")


def skew_the_clock(setup: Setup, rng: random.Random) -> Planted:
    shift = pd.Timedelta(milliseconds=rng.choice([-1, 1]) * rng.randrange(20, 90_000))
    _with_frame(setup, setup.bars.frame.set_axis(setup.bars.frame.index + shift, axis=0))
    return Planted(Cause.CLOCK_SKEW, "clock")


def _other_cost(setup: Setup, **costs: float) -> None:
    setup.settings = setup.settings | {"costs": setup.settings.get("costs", {}) | costs}


def other_fee(setup: Setup, rng: random.Random) -> Planted:
    _other_cost(setup, fee_bps=rng.uniform(12.0, 40.0))
    return Planted(Cause.FEE, "setting")


def other_fee_of_the_venue(setup: Setup, rng: random.Random) -> Planted:
    """The venue charges another fee than both configurations state."""
    _other_cost(setup, fee_bps=rng.uniform(12.0, 40.0))
    setup.is_secret = True
    return Planted(Cause.FEE, "fee rate")


def other_parameter(setup: Setup, rng: random.Random) -> Planted:
    setup.strategy = MaCrossover(fast=rng.randrange(6, 10), slow=15)
    return Planted(Cause.CONFIGURATION, "setting")


def other_code(setup: Setup, rng: random.Random) -> Planted:
    setup.strategy = OtherVersion(fast=5, slow=15)
    return Planted(Cause.CODE_VERSION, "code")


def other_funding(setup: Setup, rng: random.Random) -> Planted:
    _other_cost(setup, funding_bps_per_8h=rng.uniform(0.5, 3.0))
    return Planted(Cause.FUNDING, "setting")


def other_order_type(setup: Setup, rng: random.Random) -> Planted:
    setup.settings = setup.settings | {"execution": {"order_type": "limit"}}
    return Planted(Cause.ORDER_TYPE, "setting")


def other_size(setup: Setup, rng: random.Random) -> Planted:
    setup.settings = setup.settings | {"sizing": {"kind": "fraction_of_equity", "fraction": rng.uniform(0.3, 0.9)}}
    return Planted(Cause.SIZE, "setting")


SIMULATED_FAULTS: dict[str, Callable[[Setup, random.Random], Planted]] = {
    "remove-a-bar": remove_a_bar,
    "remove-the-filling-bar": remove_the_filling_bar,
    "revise-a-bar": revise_a_bar,
    "deny-an-order": deny_an_order,
    "skew-the-clock": skew_the_clock,
    "other-fee": other_fee,
    "other-fee-of-the-venue": other_fee_of_the_venue,
    "other-parameter": other_parameter,
    "other-code": other_code,
    "other-funding": other_funding,
    "other-order-type": other_order_type,
    "other-size": other_size,
}


def simulate(
    bars: Bars, faults: list[str], rng: random.Random, base: dict[str, Any] | None = None
) -> tuple[Recording, list[Planted]]:
    """Plant faults into the inputs of a run, and run."""
    setup = Setup(bars, base or {})
    planted = [SIMULATED_FAULTS[name](setup, rng) for name in faults]
    return setup.recording(), planted
