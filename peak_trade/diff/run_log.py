"""Log of a run: what a recording holds in the form that a diff compares, and its reader."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from peak_trade.core.values import Side
from peak_trade.diff.order_histories import (
    NO_ENTRY,
    BarValues,
    CashFlow,
    DuplicateEvent,
    Entry,
    Holding,
    OrderFill,
    OrderHistory,
    Signal,
    Sleeve,
    StateChange,
)
from peak_trade.diff.packed import BarTable
from peak_trade.diff.recording import Recording
from peak_trade.journal import events
from peak_trade.journal.events import Event, OrderEvent, OrderEventKind


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
    bars: dict[str, BarTable] = field(default_factory=dict)
    close_times: array[int] = field(default_factory=lambda: array("q"))
    """Closes of the bars on which the run could trade, ns UTC."""

    equity: array[float] = field(default_factory=lambda: array("d"))
    """Equity at each of `close_times`, quote currency."""

    holdings: dict[Sleeve, list[Holding]] = field(default_factory=dict)
    """What a sleeve holds after each of its fills."""

    requests: dict[tuple[Sleeve, str], list[OrderHistory]] = field(default_factory=dict)
    """Orders of a sleeve with a reason, in order of their requests."""

    initial_cash: float = 0.0
    starts_at: int = 0
    """Close of the first bar on which the run could trade."""

    def target_at(self, sleeve: Sleeve, close_time: int) -> float:
        """Return the target after the decisions on the bar that closed at `close_time`."""
        known = self.signals.get(sleeve, [])
        n_known = bisect_right(known, close_time, key=lambda signal: signal.close_time)
        return known[n_known - 1].exposure if n_known else 0.0

    def signals_between(self, sleeve: Sleeve, first: int, last: int) -> list[Signal]:
        """Return the signals of a sleeve on the bars with a close in [first, last]."""
        return _between(self.signals.get(sleeve, []), first, last)

    def requests_between(self, sleeve: Sleeve, reason: str, first: int, last: int) -> list[OrderHistory]:
        """Return the orders of a sleeve with a reason that were requested at a close in [first, last]."""
        return _between(self.requests.get((sleeve, reason), []), first, last)

    def holdings_between(self, sleeve: Sleeve, first: int, last: int) -> list[Holding]:
        """Return what a sleeve held after its fills in the bars with a close in [first, last]."""
        return _between(self.holdings.get(sleeve, []), first, last)

    def holding_at(self, sleeve: Sleeve, close_time: int) -> Holding:
        """Return what a sleeve holds after the fills in the bar that closed at `close_time`."""
        path = self.holdings.get(sleeve, [])
        n_known = bisect_right(path, close_time, key=lambda holding: holding.close_time)
        return path[n_known - 1] if n_known else Holding(0, 0.0, NO_ENTRY)

    def position_at(self, sleeve: Sleeve, close_time: int) -> float:
        """Return the position after the fills in the bar that closed at `close_time`, base units."""
        return self.holding_at(sleeve, close_time).position

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
        self._entries: dict[Sleeve, Entry] = {}
        self._cash_correction = 0.0
        self._marks: dict[str, float] = {}
        self._close_time = 0
        self._is_trading = not any(
            isinstance(event, events.SessionEvent) and event.phase is events.SessionPhase.STARTED
            for event in recording.events
        )
        self._seen: set[Event] = set()

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
        if event.symbol not in self.log.bars:
            self.log.bars[event.symbol] = BarTable()
        self.log.bars[event.symbol].put(close_time, values)
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
        traded = event.last_quantity * event.side.sign - event.fee_in_base
        if self._is_known(event):
            duplicate = DuplicateEvent(
                event, index, self._close_time, event.symbol, traded, event.last_price, event.fee
            )
            self.log.duplicates.append(duplicate)
        else:
            self._extend(self._history(event), event, index)
        if traded:
            history = self.log.histories[event.order_id]
            self._trade(history, traded, event.last_price, event.fee, event.ts_event - self._event_shift)
            self._correct(history, event)

    def _is_known(self, event: OrderEvent) -> bool:
        history = self.log.histories.get(event.order_id)
        if history is None:
            return False
        step = (event.event, event.ts_event - self._event_shift)
        indices = [n for n, known in zip(history.event_indices, history.event_times, strict=True) if known == step]
        return any(self.log.recording.events[index] == event for index in indices)

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
                entry=self._entries.get(sleeve, NO_ENTRY),
            )
            self.log.requests.setdefault((sleeve, event.reason), []).append(history)
        return history

    def _extend(self, history: OrderHistory, event: OrderEvent, index: int) -> None:
        time = event.ts_event - self._event_shift
        history.event_indices += (index,)
        history.event_times += ((event.event, time),)
        if event.last_quantity > 0.0:
            signed = event.last_quantity * event.side.sign
            history.cash_before_last_fill = self._cash + self._cash_correction
            history.arrival_price = event.arrival_price
            fill = OrderFill(time, self._close_time, signed, event.last_price, event.fee, event.fee_in_base)
            history.fills.append(fill)
        if event.event in events.TERMINAL:
            history.outcome, history.end_cause, history.end_reason = event.event, event.cause, event.reason

    def _trade(self, history: OrderHistory, signed: float, price: float, fee: float, now: int) -> None:
        self._cash -= signed * price + fee
        sleeve = history.sleeve
        held = self._corrected_positions.get(sleeve, 0.0)
        for positions in (self._positions, self._corrected_positions):
            position = positions.get(sleeve, 0.0) + signed
            positions[sleeve] = 0.0 if abs(position) < 1e-12 * abs(signed) else position
        position = self._corrected_positions[sleeve]
        entry = self._entries.get(sleeve, NO_ENTRY)
        if position == 0.0:
            entry = NO_ENTRY
        elif held * position <= 0.0:
            entry = Entry(price, now, history.close_time)
        elif abs(position) > abs(held):
            entry = Entry((entry.price * held + price * signed) / position, now, entry.since)
        self._hold(history, position, entry)

    def _hold(self, history: OrderHistory, position: float, entry: Entry) -> None:
        self._corrected_positions[history.sleeve], self._entries[history.sleeve] = position, entry
        holding = Holding(self._close_time, position, entry, history.order_id)
        self.log.holdings.setdefault(history.sleeve, []).append(holding)

    def _correct(self, history: OrderHistory, event: OrderEvent) -> None:
        """Set the position to zero after a complete exit; a remainder stems from a wrong fill earlier in the log."""
        remainder = self._corrected_positions[history.sleeve]
        is_exit = history.is_protective or (history.follows_target and history.target == 0.0)
        if remainder and is_exit and event.event is OrderEventKind.FILLED:
            self._cash_correction += remainder * event.last_price
            self._hold(history, 0.0, NO_ENTRY)

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
            end_cause=events.EndCause.BANKRUPT,
            end_reason="bankrupt",
            cash_before_last_fill=self._cash,
            fills=[OrderFill(time, self._close_time, -position, mark, 0.0)],
            event_times=((OrderEventKind.FILLED, time),),
            event_indices=(index,),
            is_liquidation=True,
        )
        self.log.histories[history.order_id] = history
        self._trade(history, -position, mark, 0.0, time)


class _Dated(Protocol):
    @property
    def close_time(self) -> int: ...


T = TypeVar("T", bound=_Dated)


def _between(known: list[T], first: int, last: int) -> list[T]:
    n_before = bisect_left(known, first, key=lambda each: each.close_time)
    return known[n_before : bisect_right(known, last, key=lambda each: each.close_time)]
