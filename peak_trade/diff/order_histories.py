"""A recording read for comparison: the life of each order, the state of the account before it, bars and equity."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field

from peak_trade.core.values import OrderType, Side, TimeInForce
from peak_trade.diff.recording import Recording
from peak_trade.journal.events import (
    TERMINAL,
    BankruptcyEvent,
    BarEvent,
    CashFlowEvent,
    DecisionEvent,
    Event,
    OrderEvent,
    OrderEventKind,
    SessionEvent,
    SessionPhase,
    SignalEvent,
    TradingStateEvent,
)

Sleeve = tuple[str, str]
"""Strategy and symbol; the strategy is empty when both sides run one strategy only."""
BarValues = tuple[float, float, float, float, float]


@dataclass(frozen=True, slots=True)
class FillStep:
    """One execution of an order: signed quantity in base units, fee in quote currency, `row` its bar's close.

    `fee_in_base` is what the fee took of the position, base units.
    """

    ts_event: int
    row: int
    quantity: float
    price: float
    fee: float
    fee_in_base: float = 0.0


@dataclass(slots=True)
class Life:
    """One order from its request to its end, and how its account stood when it was requested.

    `held` (signed base units), `equity` and `cash` (quote currency) and `target` are as of the request, and corrected
    where a whole exit shows that an earlier fill of the log is wrong; `row` is the close of the bar then known;
    `cash_before` is the cash before the last fill. `places` are the events' places in the recording, `stamps` their
    kinds and times.
    """

    order_id: str
    strategy: str
    symbol: str
    sleeve: Sleeve
    side: Side
    order_type: OrderType
    time_in_force: TimeInForce
    quantity: float
    decided_at: int
    decision_price: float
    arrival_price: float
    limit_price: float | None
    stop_price: float | None
    reason: str
    row: int
    held: float
    equity: float
    cash: float
    target: float
    close: float
    outcome: OrderEventKind | None = None
    end_reason: str = ""
    cash_before: float = 0.0
    fills: list[FillStep] = field(default_factory=list)
    stamps: list[tuple[OrderEventKind, int]] = field(default_factory=list)
    places: list[int] = field(default_factory=list)

    @property
    def signed(self) -> float:
        """Filled quantity with its sign, base units."""
        return sum(fill.quantity for fill in self.fills)

    @property
    def filled(self) -> float:
        """Filled quantity without a sign, base units."""
        return sum(abs(fill.quantity) for fill in self.fills)

    @property
    def fee(self) -> float:
        """Fees paid, quote currency."""
        return sum(fill.fee for fill in self.fills)

    @property
    def price(self) -> float:
        """Average price of what was filled; 0.0 when nothing was."""
        filled = self.filled
        return sum(abs(fill.quantity) * fill.price for fill in self.fills) / filled if filled else 0.0

    @property
    def has_mixed_sides(self) -> bool:
        """Whether a fill went the other way than the order."""
        return any(fill.quantity * self.side.sign < 0.0 for fill in self.fills)


@dataclass(frozen=True, slots=True)
class Signal:
    """A target that changed, at `ts_event`, on the bar that closed at `row`."""

    ts_event: int
    row: int
    exposure: float
    place: int


@dataclass(frozen=True, slots=True)
class Flow:
    """Cash that moved without a fill (quote currency), the position (base units) and the mark that it was due on."""

    ts_event: int
    row: int
    sleeve: Sleeve
    reason: str
    amount: float
    held: float
    mark: float
    place: int


@dataclass(frozen=True, slots=True)
class Repeat:
    """An event that its log holds twice; a fill among them moved `quantity` (signed) at `price` for `fee` again."""

    event: Event
    place: int
    row: int
    symbol: str
    quantity: float
    price: float
    fee: float


@dataclass(slots=True)
class SideLog:
    """Everything that a recording says, in the form in which two are compared. Times are ns UTC, on one clock."""

    recording: Recording
    lives: dict[str, Life] = field(default_factory=dict)
    signals: dict[Sleeve, list[Signal]] = field(default_factory=dict)
    flows: list[Flow] = field(default_factory=list)
    repeats: list[Repeat] = field(default_factory=list)
    states: list[tuple[TradingStateEvent, int, int]] = field(default_factory=list)
    decisions: dict[str, DecisionEvent] = field(default_factory=dict)
    bars: dict[str, dict[int, BarValues]] = field(default_factory=dict)
    closes: list[int] = field(default_factory=list)
    """Close of each bar that could be traded, ns UTC."""

    equity: list[float] = field(default_factory=list)
    """Equity at each of `closes`, quote currency."""

    positions: dict[Sleeve, list[tuple[int, float]]] = field(default_factory=dict)
    """By sleeve, the close of the bar of each fill and the position after it."""

    initial_cash: float = 0.0
    starts_at: int = 0
    """Close of the first bar that could be traded."""

    def target_at(self, sleeve: Sleeve, row: int) -> float:
        """Return the target after the decisions on the bar that closed at `row`."""
        known = self.signals.get(sleeve, [])
        place = bisect_right(known, row, key=lambda signal: signal.row)
        return known[place - 1].exposure if place else 0.0

    def held_at(self, sleeve: Sleeve, row: int) -> float:
        """Return the position after the fills in the bar that closed at `row`, base units."""
        path = self.positions.get(sleeve, [])
        place = bisect_right(path, row, key=lambda step: step[0])
        return path[place - 1][1] if place else 0.0

    def equity_at(self, row: int) -> float:
        """Return equity at the last close up to `row`, quote currency."""
        place = bisect_right(self.closes, row)
        return self.equity[place - 1] if place else self.initial_cash


def read_side(recording: Recording, has_one_strategy: bool, bar_shift: int = 0, event_shift: int = 0) -> SideLog:
    """Read a recording; the shifts (ns) are taken off the times of its bars and of everything else."""
    return _Reader(recording, has_one_strategy, bar_shift, event_shift).read()


class _Reader:
    def __init__(self, recording: Recording, has_one_strategy: bool, bar_shift: int, event_shift: int) -> None:
        self.log = SideLog(recording)
        self.log.initial_cash = float(recording.settings.get("trading.initial_cash", 0.0))
        self._has_one_strategy = has_one_strategy
        self._bar_shift, self._event_shift = bar_shift, event_shift
        self._cash = self.log.initial_cash
        self._held: dict[Sleeve, float] = {}
        self._believed: dict[Sleeve, float] = {}
        self._correction = 0.0
        self._marks: dict[str, float] = {}
        self._row = 0
        self._is_traded = not any(
            isinstance(event, SessionEvent) and event.phase is SessionPhase.STARTED for event in recording.events
        )
        self._seen: set[Event] = set()
        self._order_events: dict[str, list[OrderEvent]] = {}

    def read(self) -> SideLog:
        for place, event in enumerate(self.log.recording.events):
            if isinstance(event, BarEvent):
                self._bar(event)
            elif isinstance(event, OrderEvent):
                self._order(event, place)
            elif isinstance(event, SignalEvent):
                self._signal(event, place)
            elif isinstance(event, CashFlowEvent):
                self._flow(event, place)
            elif isinstance(event, DecisionEvent):
                self.log.decisions[event.order_id] = event
            elif isinstance(event, TradingStateEvent):
                self.log.states.append((event, place, self._row))
            elif isinstance(event, BankruptcyEvent):
                self._bankruptcy(event, place)
            elif isinstance(event, SessionEvent) and event.phase is SessionPhase.STARTED:
                self._is_traded = True
        self._close_row()
        return self.log

    def _bar(self, event: BarEvent) -> None:
        close_time = event.ts_event - self._bar_shift
        if close_time != self._row:
            self._close_row()
            self._row = close_time
            if self._is_traded and not self.log.starts_at:
                self.log.starts_at = close_time
        values = (event.open, event.high, event.low, event.close, event.volume)
        self.log.bars.setdefault(event.symbol, {})[close_time] = values
        self._marks[event.symbol] = event.close

    def _close_row(self) -> None:
        if self.log.starts_at:
            self.log.closes.append(self._row)
            self.log.equity.append(self._equity())

    def _equity(self) -> float:
        held = sum(q * self._marks.get(symbol, 0.0) for (_, symbol), q in self._held.items() if q)
        return self._cash + held

    def _believed_equity(self) -> float:
        held = sum(q * self._marks.get(symbol, 0.0) for (_, symbol), q in self._believed.items() if q)
        return self._cash + self._correction + held

    def _sleeve(self, strategy: str, symbol: str) -> Sleeve:
        return ("" if self._has_one_strategy else strategy, symbol)

    def _order(self, event: OrderEvent, place: int) -> None:
        known = self._order_events.setdefault(event.order_id, [])
        moved = event.last_quantity * event.side.sign - event.fee_in_base
        if event in known:
            repeat = Repeat(event, place, self._row, event.symbol, moved, event.last_price, event.fee)
            self.log.repeats.append(repeat)
        else:
            known.append(event)
            self._step(self._life(event), event, place)
        if moved:
            self._trade(self._sleeve(event.strategy, event.symbol), moved, event.last_price, event.fee)
            self._correct(self.log.lives[event.order_id], event)

    def _life(self, event: OrderEvent) -> Life:
        life = self.log.lives.get(event.order_id)
        if life is None:
            sleeve = self._sleeve(event.strategy, event.symbol)
            targets = self.log.signals.get(sleeve)
            life = self.log.lives[event.order_id] = Life(
                event.order_id, event.strategy, event.symbol, sleeve, event.side, event.order_type, event.time_in_force,
                event.quantity, event.ts_event - self._event_shift, event.decision_price, event.arrival_price,
                event.limit_price, event.stop_price, event.reason, self._row, self._believed.get(sleeve, 0.0),
                self._believed_equity(), self._cash + self._correction, targets[-1].exposure if targets else 0.0,
                self._marks.get(event.symbol, event.decision_price),
            )  # fmt: skip
        return life

    def _step(self, life: Life, event: OrderEvent, place: int) -> None:
        stamp = event.ts_event - self._event_shift
        life.places.append(place)
        life.stamps.append((event.event, stamp))
        if event.last_quantity > 0.0:
            signed = event.last_quantity * event.side.sign
            life.cash_before = self._cash + self._correction
            life.arrival_price = event.arrival_price
            life.fills.append(FillStep(stamp, self._row, signed, event.last_price, event.fee, event.fee_in_base))
        if event.event in TERMINAL:
            life.outcome, life.end_reason = event.event, event.reason

    def _trade(self, sleeve: Sleeve, signed: float, price: float, fee: float) -> None:
        self._cash -= signed * price + fee
        held = self._held.get(sleeve, 0.0) + signed
        if abs(held) < 1e-12 * abs(signed):
            held = 0.0
        self._held[sleeve] = held
        believed = self._believed.get(sleeve, 0.0) + signed
        self._believed[sleeve] = 0.0 if abs(believed) < 1e-12 * abs(signed) else believed
        self.log.positions.setdefault(sleeve, []).append((self._row, self._believed[sleeve]))

    def _correct(self, life: Life, event: OrderEvent) -> None:
        """After a whole exit the position is zero: where a log says otherwise, one of its earlier fills is wrong."""
        believed = self._believed[life.sleeve]
        is_exit = life.target == 0.0 or life.reason != "target"
        if believed and is_exit and event.event is OrderEventKind.FILLED:
            self._correction += believed * event.last_price
            self._believed[life.sleeve] = 0.0
            self.log.positions[life.sleeve].append((self._row, 0.0))

    def _signal(self, event: SignalEvent, place: int) -> None:
        if self._is_repeat(event, place, event.symbol):
            return
        sleeve = self._sleeve(event.strategy, event.symbol)
        signal = Signal(event.ts_event - self._event_shift, self._row, event.exposure, place)
        self.log.signals.setdefault(sleeve, []).append(signal)

    def _flow(self, event: CashFlowEvent, place: int) -> None:
        self._cash += event.amount
        if self._is_repeat(event, place, event.symbol, -event.amount):
            return
        sleeve = self._sleeve(event.strategy, event.symbol)
        self.log.flows.append(
            Flow(
                event.ts_event - self._event_shift, self._row, sleeve, event.reason, event.amount,
                self._held.get(sleeve, 0.0), self._marks.get(event.symbol, 0.0), place,
            )
        )  # fmt: skip

    def _is_repeat(self, event: Event, place: int, symbol: str, fee: float = 0.0) -> bool:
        if event in self._seen:
            self.log.repeats.append(Repeat(event, place, self._row, symbol, 0.0, 0.0, fee))
            return True
        self._seen.add(event)
        return False

    def _bankruptcy(self, event: BankruptcyEvent, place: int) -> None:
        stamp = event.ts_event - self._event_shift
        for sleeve, held in list(self._held.items()):
            if held:
                mark = self._marks[sleeve[1]]
                side = Side.SELL if held > 0.0 else Side.BUY
                name = f"liquidation-{sleeve[1]}"
                life = Life(
                    name, sleeve[0], sleeve[1], sleeve, side, OrderType.MARKET, TimeInForce.GTC, abs(held),
                    stamp, mark, mark, None, None, "bankrupt", self._row, held, self._equity(), self._cash, 0.0, mark,
                    OrderEventKind.FILLED, "bankrupt", self._cash, [FillStep(stamp, self._row, -held, mark, 0.0)],
                    [(OrderEventKind.FILLED, stamp)], [place],
                )  # fmt: skip
                self.log.lives[life.order_id] = life
                self._trade(sleeve, -held, mark, 0.0)
        self.log.flows.append(Flow(stamp, self._row, ("", ""), "bankruptcy", event.written_off, 0.0, 0.0, place))
        self._cash += event.written_off
