"""Order histories, bars, positions and equity of one recording, in the form that a diff compares."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from typing import NamedTuple

from peak_trade.core.values import OrderType, Side, TimeInForce
from peak_trade.diff.recording import Recording
from peak_trade.journal import events
from peak_trade.journal.events import Event, OrderEvent, OrderEventKind

Sleeve = tuple[str, str]
"""Strategy and symbol; the strategy is empty when both runs have one strategy only."""


class BarValues(NamedTuple):
    """Prices in quote currency and volume in base units of one bar."""

    open: float
    high: float
    low: float
    close: float
    volume: float


@dataclass(frozen=True, slots=True)
class OrderFill:
    """A fill of an order: signed quantity in base units, fee in quote currency.

    `close_time` is the close of the bar in which it happened. `fee_in_base` is the part of the fee that was taken from
    the position, in base units.
    """

    ts_event: int
    close_time: int
    quantity: float
    price: float
    fee: float
    fee_in_base: float = 0.0


@dataclass(slots=True, kw_only=True)
class OrderHistory:
    """Events of one order, and the account at the time of its request.

    `close_time` is the close of the last bar known at the request, `last_close` its closing price. `position` (signed
    base units), `equity` and `cash` (quote currency) and `target` are as of the request; they are corrected where an
    exit of the whole position shows that an earlier fill in the log is wrong. `event_times` are the kinds and times of
    the events, `event_indices` their indices in the recording.
    """

    order_id: str
    strategy: str
    symbol: str
    sleeve: Sleeve
    side: Side
    order_type: OrderType = OrderType.MARKET
    time_in_force: TimeInForce = TimeInForce.GTC
    quantity: float
    decided_at: int
    decision_price: float
    arrival_price: float
    limit_price: float | None = None
    stop_price: float | None = None
    reason: str = "target"
    close_time: int
    position: float
    equity: float
    cash: float
    target: float
    last_close: float
    outcome: OrderEventKind | None = None
    end_reason: str = ""
    cash_before_last_fill: float = 0.0
    fills: list[OrderFill] = field(default_factory=list)
    event_times: list[tuple[OrderEventKind, int]] = field(default_factory=list)
    event_indices: list[int] = field(default_factory=list)

    @property
    def signed_quantity(self) -> float:
        """Ordered quantity, negative for a sale, base units."""
        return self.quantity * self.side.sign

    @property
    def filled(self) -> float:
        """Filled quantity without sign, base units."""
        return sum(abs(fill.quantity) for fill in self.fills)

    @property
    def fee(self) -> float:
        """Fees paid, quote currency."""
        return sum(fill.fee for fill in self.fills)

    @property
    def price(self) -> float:
        """Average fill price; 0.0 without a fill."""
        filled = self.filled
        return sum(abs(fill.quantity) * fill.price for fill in self.fills) / filled if filled else 0.0

    @property
    def has_mixed_sides(self) -> bool:
        """Whether a fill has the opposite direction of the order."""
        return any(fill.quantity * self.side.sign < 0.0 for fill in self.fills)

    @property
    def is_protective(self) -> bool:
        """Whether the order protects a position (stop loss, take profit, trailing stop) or liquidates it."""
        return self.reason != "target"

    @property
    def was_replaced(self) -> bool:
        """Whether the order was withdrawn because the target changed."""
        return self.end_reason == "target changed"

    @property
    def ended_by_other_fill(self) -> bool:
        """Whether the order was withdrawn because another order of the position was filled."""
        return self.end_reason.endswith(" filled")


@dataclass(frozen=True, slots=True)
class Signal:
    """A change of the target at `ts_event`, on the bar that closed at `close_time`."""

    ts_event: int
    close_time: int
    exposure: float
    event_index: int


@dataclass(frozen=True, slots=True)
class CashFlow:
    """Cash that moved without a fill, with the position and the price from which it was computed.

    `amount` is in quote currency, `position` in base units.
    """

    ts_event: int
    close_time: int
    sleeve: Sleeve
    reason: str
    amount: float
    position: float
    mark: float
    event_index: int


@dataclass(frozen=True, slots=True)
class DuplicateEvent:
    """An event that a log contains twice; a duplicate fill trades `quantity` (signed) at `price` for `fee` again."""

    event: Event
    event_index: int
    close_time: int
    symbol: str
    quantity: float
    price: float
    fee: float

    def pnl(self, last_close: float) -> float:
        """Return the PnL of the duplicate fill, quote currency; 0.0 for other events."""
        return self.quantity * (last_close - self.price) - self.fee


@dataclass(frozen=True, slots=True)
class StateChange:
    """A change of the trading state, on the bar that closed at `close_time`."""

    event: events.TradingStateEvent
    event_index: int
    close_time: int


@dataclass(slots=True)
class RunLog:
    """Content of a recording in the form that a diff compares. Times are ns UTC on the shadow's clock."""

    recording: Recording
    histories: dict[str, OrderHistory] = field(default_factory=dict)
    signals: dict[Sleeve, list[Signal]] = field(default_factory=dict)
    cash_flows: list[CashFlow] = field(default_factory=list)
    duplicates: list[DuplicateEvent] = field(default_factory=list)
    state_changes: list[StateChange] = field(default_factory=list)
    decisions: dict[str, events.DecisionEvent] = field(default_factory=dict)
    bars: dict[str, dict[int, BarValues]] = field(default_factory=dict)
    close_times: list[int] = field(default_factory=list)
    """Closes of the bars on which the run could trade, ns UTC."""

    equity: list[float] = field(default_factory=list)
    """Equity at each of `close_times`, quote currency."""

    positions: dict[Sleeve, list[tuple[int, float]]] = field(default_factory=dict)
    """For each fill of a sleeve: close of its bar, and the position after it."""

    initial_cash: float = 0.0
    starts_at: int = 0
    """Close of the first bar on which the run could trade."""

    def target_at(self, sleeve: Sleeve, close_time: int) -> float:
        """Return the target after the decisions on the bar that closed at `close_time`."""
        known = self.signals.get(sleeve, [])
        n_known = bisect_right(known, close_time, key=lambda signal: signal.close_time)
        return known[n_known - 1].exposure if n_known else 0.0

    def position_at(self, sleeve: Sleeve, close_time: int) -> float:
        """Return the position after the fills in the bar that closed at `close_time`, base units."""
        path = self.positions.get(sleeve, [])
        n_known = bisect_right(path, close_time, key=lambda step: step[0])
        return path[n_known - 1][1] if n_known else 0.0

    def equity_at(self, close_time: int) -> float:
        """Return the equity at the last close up to `close_time`, quote currency."""
        n_known = bisect_right(self.close_times, close_time)
        return self.equity[n_known - 1] if n_known else self.initial_cash


def read_run_log(recording: Recording, has_one_strategy: bool, bar_shift: int = 0, event_shift: int = 0) -> RunLog:
    """Return the log of a recording; the shifts (ns) are subtracted from the times of bars and of other events."""
    return _Reader(recording, has_one_strategy, bar_shift, event_shift).read()


class _Reader:
    def __init__(self, recording: Recording, has_one_strategy: bool, bar_shift: int, event_shift: int) -> None:
        self.log = RunLog(recording)
        self.log.initial_cash = float(recording.settings.get("trading.initial_cash", 0.0))
        self._has_one_strategy = has_one_strategy
        self._bar_shift, self._event_shift = bar_shift, event_shift
        self._cash = self.log.initial_cash
        self._positions: dict[Sleeve, float] = {}
        self._corrected_positions: dict[Sleeve, float] = {}
        self._cash_correction = 0.0
        self._marks: dict[str, float] = {}
        self._close_time = 0
        self._is_trading = not any(
            isinstance(event, events.SessionEvent) and event.phase is events.SessionPhase.STARTED
            for event in recording.events
        )
        self._seen: set[Event] = set()
        self._order_events: dict[str, list[OrderEvent]] = {}

    def read(self) -> RunLog:
        for index, event in enumerate(self.log.recording.events):
            if isinstance(event, events.BarEvent):
                self._read_bar(event)
            elif isinstance(event, OrderEvent):
                self._read_order(event, index)
            elif isinstance(event, events.SignalEvent):
                self._read_signal(event, index)
            elif isinstance(event, events.CashFlowEvent):
                self._read_cash_flow(event, index)
            elif isinstance(event, events.DecisionEvent):
                self.log.decisions[event.order_id] = event
            elif isinstance(event, events.TradingStateEvent):
                self.log.state_changes.append(StateChange(event, index, self._close_time))
            elif isinstance(event, events.BankruptcyEvent):
                self._read_bankruptcy(event, index)
            elif isinstance(event, events.SessionEvent) and event.phase is events.SessionPhase.STARTED:
                self._is_trading = True
        self._end_bar()
        return self.log

    def _read_bar(self, event: events.BarEvent) -> None:
        close_time = event.ts_event - self._bar_shift
        if close_time != self._close_time:
            self._end_bar()
            self._close_time = close_time
            if self._is_trading and not self.log.starts_at:
                self.log.starts_at = close_time
        values = BarValues(event.open, event.high, event.low, event.close, event.volume)
        self.log.bars.setdefault(event.symbol, {})[close_time] = values
        self._marks[event.symbol] = event.close

    def _end_bar(self) -> None:
        if self.log.starts_at:
            self.log.close_times.append(self._close_time)
            self.log.equity.append(self._cash + self._value_of(self._positions))

    def _value_of(self, positions: dict[Sleeve, float]) -> float:
        return sum(quantity * self._marks.get(symbol, 0.0) for (_, symbol), quantity in positions.items() if quantity)

    def _sleeve(self, strategy: str, symbol: str) -> Sleeve:
        return ("" if self._has_one_strategy else strategy, symbol)

    def _read_order(self, event: OrderEvent, index: int) -> None:
        known = self._order_events.setdefault(event.order_id, [])
        traded = event.last_quantity * event.side.sign - event.fee_in_base
        if event in known:
            duplicate = DuplicateEvent(
                event, index, self._close_time, event.symbol, traded, event.last_price, event.fee
            )
            self.log.duplicates.append(duplicate)
        else:
            known.append(event)
            self._extend(self._history(event), event, index)
        if traded:
            self._trade(self._sleeve(event.strategy, event.symbol), traded, event.last_price, event.fee)
            self._correct(self.log.histories[event.order_id], event)

    def _history(self, event: OrderEvent) -> OrderHistory:
        history = self.log.histories.get(event.order_id)
        if history is None:
            sleeve = self._sleeve(event.strategy, event.symbol)
            signals = self.log.signals.get(sleeve)
            cash = self._cash + self._cash_correction
            history = self.log.histories[event.order_id] = OrderHistory(
                order_id=event.order_id,
                strategy=event.strategy,
                symbol=event.symbol,
                sleeve=sleeve,
                side=event.side,
                order_type=event.order_type,
                time_in_force=event.time_in_force,
                quantity=event.quantity,
                decided_at=event.ts_event - self._event_shift,
                decision_price=event.decision_price,
                arrival_price=event.arrival_price,
                limit_price=event.limit_price,
                stop_price=event.stop_price,
                reason=event.reason,
                close_time=self._close_time,
                position=self._corrected_positions.get(sleeve, 0.0),
                equity=cash + self._value_of(self._corrected_positions),
                cash=cash,
                target=signals[-1].exposure if signals else 0.0,
                last_close=self._marks.get(event.symbol, event.decision_price),
            )
        return history

    def _extend(self, history: OrderHistory, event: OrderEvent, index: int) -> None:
        time = event.ts_event - self._event_shift
        history.event_indices.append(index)
        history.event_times.append((event.event, time))
        if event.last_quantity > 0.0:
            signed = event.last_quantity * event.side.sign
            history.cash_before_last_fill = self._cash + self._cash_correction
            history.arrival_price = event.arrival_price
            fill = OrderFill(time, self._close_time, signed, event.last_price, event.fee, event.fee_in_base)
            history.fills.append(fill)
        if event.event in events.TERMINAL:
            history.outcome, history.end_reason = event.event, event.reason

    def _trade(self, sleeve: Sleeve, signed: float, price: float, fee: float) -> None:
        self._cash -= signed * price + fee
        for positions in (self._positions, self._corrected_positions):
            position = positions.get(sleeve, 0.0) + signed
            positions[sleeve] = 0.0 if abs(position) < 1e-12 * abs(signed) else position
        self.log.positions.setdefault(sleeve, []).append((self._close_time, self._corrected_positions[sleeve]))

    def _correct(self, history: OrderHistory, event: OrderEvent) -> None:
        """Set the position to zero after a complete exit; a remainder stems from a wrong fill earlier in the log."""
        remainder = self._corrected_positions[history.sleeve]
        is_exit = history.target == 0.0 or history.is_protective
        if remainder and is_exit and event.event is OrderEventKind.FILLED:
            self._cash_correction += remainder * event.last_price
            self._corrected_positions[history.sleeve] = 0.0
            self.log.positions[history.sleeve].append((self._close_time, 0.0))

    def _read_signal(self, event: events.SignalEvent, index: int) -> None:
        if self._is_duplicate(event, index, event.symbol):
            return
        sleeve = self._sleeve(event.strategy, event.symbol)
        signal = Signal(event.ts_event - self._event_shift, self._close_time, event.exposure, index)
        self.log.signals.setdefault(sleeve, []).append(signal)

    def _read_cash_flow(self, event: events.CashFlowEvent, index: int) -> None:
        self._cash += event.amount
        if self._is_duplicate(event, index, event.symbol, -event.amount):
            return
        sleeve = self._sleeve(event.strategy, event.symbol)
        flow = CashFlow(
            ts_event=event.ts_event - self._event_shift,
            close_time=self._close_time,
            sleeve=sleeve,
            reason=event.reason,
            amount=event.amount,
            position=self._positions.get(sleeve, 0.0),
            mark=self._marks.get(event.symbol, 0.0),
            event_index=index,
        )
        self.log.cash_flows.append(flow)

    def _is_duplicate(self, event: Event, index: int, symbol: str, fee: float = 0.0) -> bool:
        if event in self._seen:
            self.log.duplicates.append(DuplicateEvent(event, index, self._close_time, symbol, 0.0, 0.0, fee))
            return True
        self._seen.add(event)
        return False

    def _read_bankruptcy(self, event: events.BankruptcyEvent, index: int) -> None:
        time = event.ts_event - self._event_shift
        for sleeve, position in list(self._positions.items()):
            if position:
                self._liquidate(sleeve, position, time, index)
        flow = CashFlow(time, self._close_time, ("", ""), "bankruptcy", event.written_off, 0.0, 0.0, index)
        self.log.cash_flows.append(flow)
        self._cash += event.written_off

    def _liquidate(self, sleeve: Sleeve, position: float, time: int, index: int) -> None:
        strategy, symbol = sleeve
        mark = self._marks[symbol]
        history = OrderHistory(
            order_id=f"liquidation-{symbol}",
            strategy=strategy,
            symbol=symbol,
            sleeve=sleeve,
            side=Side.SELL if position > 0.0 else Side.BUY,
            quantity=abs(position),
            decided_at=time,
            decision_price=mark,
            arrival_price=mark,
            reason="bankrupt",
            close_time=self._close_time,
            position=position,
            equity=self._cash + self._value_of(self._positions),
            cash=self._cash,
            target=0.0,
            last_close=mark,
            outcome=OrderEventKind.FILLED,
            end_reason="bankrupt",
            cash_before_last_fill=self._cash,
            fills=[OrderFill(time, self._close_time, -position, mark, 0.0)],
            event_times=[(OrderEventKind.FILLED, time)],
            event_indices=[index],
        )
        self.log.histories[history.order_id] = history
        self._trade(sleeve, -position, mark, 0.0)
