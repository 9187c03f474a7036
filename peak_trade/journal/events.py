"""The closed set of events. Times are ns UTC, money is in quote currency, quantities are in base units.

Every event has `ts_event`, the time at which it happened. Its position (`sequence`) and the time of
writing (`ts_recorded`) belong to the line of the journal, so equal runs have equal events.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from peak_trade.core.values import Denial, OrderType, Side, TimeInForce, TradingState, equal_values
from peak_trade.journal.inputs import DecisionInputs


class OrderEventKind(StrEnum):
    """Kind of an order event."""

    REQUESTED = "REQUESTED"
    DENIED = "DENIED"
    SUBMITTED = "SUBMITTED"
    ACCEPTED = "ACCEPTED"
    PARTIALLY_FILLED = "PARTIALLY_FILLED"
    FILLED = "FILLED"
    CANCELED = "CANCELED"
    REJECTED = "REJECTED"
    EXPIRED = "EXPIRED"


TERMINAL = frozenset(
    {
        OrderEventKind.DENIED,
        OrderEventKind.FILLED,
        OrderEventKind.CANCELED,
        OrderEventKind.REJECTED,
        OrderEventKind.EXPIRED,
    }
)

FIX = {
    OrderEventKind.REQUESTED: ("PendingNew", "PendingNew"),
    OrderEventKind.DENIED: ("Rejected", "Rejected"),
    OrderEventKind.SUBMITTED: ("PendingNew", "PendingNew"),
    OrderEventKind.ACCEPTED: ("New", "New"),
    OrderEventKind.PARTIALLY_FILLED: ("PartiallyFilled", "Trade"),
    OrderEventKind.FILLED: ("Filled", "Trade"),
    OrderEventKind.CANCELED: ("Canceled", "Canceled"),
    OrderEventKind.REJECTED: ("Rejected", "Rejected"),
    OrderEventKind.EXPIRED: ("Expired", "Expired"),
}
"""FIX 5.0 OrdStatus (tag 39) and ExecType (tag 150) of each kind of order event."""


@dataclass(frozen=True, slots=True)
class SignalEvent:
    """A change of a strategy's target exposure at a close."""

    kind: ClassVar[str] = "signal"
    ts_event: int
    strategy: str
    symbol: str
    exposure: float


@dataclass(frozen=True, slots=True)
class OrderEvent:
    """One step in the lifecycle of an order.

    `decision_price` is the close on which the order was decided. `arrival_price` is the open at which it reached the
    market, and equals the decision price until that open is known. `last_price` and `last_quantity` are the trade of
    this event, 0.0 without one. `cumulative` is the quantity traded so far, `leaves` the quantity still open. `fee` is
    in quote currency. `fee_in_base` is a fee that the exchange charged in base units; `fee` is then its value at
    `last_price`. The field is written only where it is not 0.0.
    """

    kind: ClassVar[str] = "order"
    ts_event: int
    order_id: str
    strategy: str
    symbol: str
    event: OrderEventKind
    side: Side
    order_type: OrderType
    time_in_force: TimeInForce
    quantity: float
    cumulative: float
    leaves: float
    decision_price: float
    arrival_price: float
    last_quantity: float = 0.0
    last_price: float = 0.0
    fee: float = 0.0
    limit_price: float | None = None
    stop_price: float | None = None
    reason: str = ""
    fee_in_base: float = 0.0

    @property
    def ord_status(self) -> str:
        """FIX OrdStatus."""
        return FIX[self.event][0]

    @property
    def exec_type(self) -> str:
        """FIX ExecType."""
        return FIX[self.event][1]


@dataclass(frozen=True, slots=True)
class DecisionEvent:
    """The decision of the gates about one order; `inputs` holds everything that is needed to recompute it."""

    kind: ClassVar[str] = "decision"
    ts_event: int
    order_id: str
    is_approved: bool
    denials: tuple[Denial, ...]
    inputs: DecisionInputs | str
    """Order, account view, market view and limits, as canonical JSON in a journal. Empty on pass-through limits."""


@dataclass(frozen=True, slots=True)
class CashFlowEvent:
    """A cash flow without a fill: funding, borrow cost or a write-off. Negative amounts are paid."""

    kind: ClassVar[str] = "cash_flow"
    ts_event: int
    strategy: str
    symbol: str
    reason: str
    amount: float


@dataclass(frozen=True, slots=True)
class AllocationEvent:
    """Allocation of a netted fill or flow to one strategy: signed base units at a price, and its part of the costs.

    The allocations of an order sum to its fills. `order_id` is empty where strategies traded with each other inside the
    account without an order (`quantity` is the change of the strategy's position) and where a flow is allocated
    (`quantity` is 0.0). A negative cost is received.
    """

    kind: ClassVar[str] = "share"
    ts_event: int
    order_id: str
    strategy: str
    symbol: str
    quantity: float
    price: float
    cost: float


@dataclass(frozen=True, slots=True)
class TradingStateEvent:
    """A change of the account's trading state."""

    kind: ClassVar[str] = "trading_state"
    ts_event: int
    state: TradingState
    reason: str
    observed: float
    limit: float
    actor: str = ""

    __eq__ = equal_values


@dataclass(frozen=True, slots=True)
class BankruptcyEvent:
    """Equity at or below zero: all positions are closed at the marks and the run ends."""

    kind: ClassVar[str] = "bankruptcy"
    ts_event: int
    equity: float
    written_off: float


class SessionPhase(StrEnum):
    """Phase of a session: it starts once, may resume any number of times, and stops once."""

    STARTED = "started"
    RESUMED = "resumed"
    STOPPED = "stopped"


class FeedFault(StrEnum):
    """Kind of fault in a feed."""

    GAP = "gap"
    DUPLICATE = "duplicate"
    OUT_OF_ORDER = "out_of_order"
    MALFORMED = "malformed"
    FROZEN = "frozen"
    DISCONNECTED = "disconnected"
    RECONNECTED = "reconnected"
    BACK_FILLED = "back_filled"
    STALE = "stale"


class CommandKind(StrEnum):
    """Kind of operator command."""

    KILL = "kill"
    RECOVER = "recover"
    ENABLE = "enable"


class AlertLevel(StrEnum):
    """Urgency of an alert."""

    WARNING = "warning"
    CRITICAL = "critical"


@dataclass(frozen=True, slots=True)
class BarEvent:
    """A closed bar that the session received; `ts_event` is its close time."""

    kind: ClassVar[str] = "bar"
    ts_event: int
    symbol: str
    open: float
    high: float
    low: float
    close: float
    volume: float


@dataclass(frozen=True, slots=True)
class SessionEvent:
    """Start, resumption (after an interruption without a seal) or stop of the session, with the equity at that time."""

    kind: ClassVar[str] = "session"
    ts_event: int
    phase: SessionPhase
    mode: str
    reason: str
    equity: float

    __eq__ = equal_values


@dataclass(frozen=True, slots=True)
class FeedFaultEvent:
    """A fault of the feed. The bar at fault was not used; `n_bars` is the number of bars affected.

    The `ts_event` of a stale feed is a time of the exchange's clock; the age of the feed is `ts_event` − close time of
    the newest bar.
    """

    kind: ClassVar[str] = "feed_fault"
    ts_event: int
    symbol: str
    fault: FeedFault
    n_bars: int
    detail: str


Levels = tuple[tuple[float, float], ...]
"""One side of an order book, best first: (price, quantity) in quote currency and base units."""


@dataclass(frozen=True, slots=True)
class SnapshotEvent:
    """Market data that gates use in addition to the bars; recorded only where a limit needs it.

    `ts_event` is the time of the decision by the exchange's clock; `feed_age` is `ts_event` − close time of the bar, in
    seconds. `book_time` is the time at which the order book was requested, 0 without a book; `detail` then holds the
    reason, if a book was needed.
    """

    kind: ClassVar[str] = "snapshot"
    ts_event: int
    symbol: str
    feed_age: float
    book_time: int = 0
    bids: Levels = ()
    asks: Levels = ()
    detail: str = ""

    __eq__ = equal_values


@dataclass(frozen=True, slots=True)
class CommandEvent:
    """A command of a named operator: an input of the session, applied at `ts_event` of the session's clock.

    `given_at` is the time at which the operator gave it, by the machine's clock. `strategy` is the strategy to enable,
    empty for other commands. A command with the same `act_id` is applied once.
    """

    kind: ClassVar[str] = "act"
    ts_event: int
    act_id: str
    act: CommandKind
    actor: str
    reason: str
    strategy: str
    given_at: int


@dataclass(frozen=True, slots=True)
class ClockOffsetEvent:
    """Offset of a source's clock, source − local in ms, and the round-trip time of the measurement."""

    kind: ClassVar[str] = "clock_offset"
    ts_event: int
    source: str
    offset_ms: float
    round_trip_ms: float


@dataclass(frozen=True, slots=True)
class ReconciliationEvent:
    """Comparison of an expected value of the journal with the one that the exchange reports, in base or quote units."""

    kind: ClassVar[str] = "reconciliation"
    ts_event: int
    subject: str
    expected: float
    observed: float
    is_equal: bool
    detail: str = ""

    __eq__ = equal_values


@dataclass(frozen=True, slots=True)
class AlertEvent:
    """A condition that needs the attention of an operator, with the observed value and the limit."""

    kind: ClassVar[str] = "alert"
    ts_event: int
    level: AlertLevel
    code: str
    message: str
    observed: float
    limit: float

    __eq__ = equal_values


@dataclass(frozen=True, slots=True)
class LatencyEvent:
    """Duration of one step by the session's clock, in ms. Telemetry: never part of a digest."""

    kind: ClassVar[str] = "latency"
    ts_event: int
    step: str
    latency_ms: float
    order_id: str = ""


Event = (
    SignalEvent
    | OrderEvent
    | DecisionEvent
    | CashFlowEvent
    | AllocationEvent
    | TradingStateEvent
    | BankruptcyEvent
    | BarEvent
    | SessionEvent
    | FeedFaultEvent
    | SnapshotEvent
    | CommandEvent
    | ClockOffsetEvent
    | ReconciliationEvent
    | AlertEvent
    | LatencyEvent
)
EVENT_CLASSES: tuple[type[Event], ...] = (
    SignalEvent,
    OrderEvent,
    DecisionEvent,
    CashFlowEvent,
    AllocationEvent,
    TradingStateEvent,
    BankruptcyEvent,
    BarEvent,
    SessionEvent,
    FeedFaultEvent,
    SnapshotEvent,
    CommandEvent,
    ClockOffsetEvent,
    ReconciliationEvent,
    AlertEvent,
    LatencyEvent,
)
