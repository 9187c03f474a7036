"""The closed set of events. Times are ns UTC; money is in quote currency; quantities are base units.

Every event has `ts_event`, when it happened. Its `sequence` is its place in the journal, and `ts_recorded` (when it was
written) belongs to the journal's line, never to the event: so equal runs have equal events.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from peak_trade.core.values import Denial, OrderType, Side, TimeInForce, TradingState
from peak_trade.journal.inputs import DecisionInputs


class OrderEventKind(StrEnum):
    """What happened to an order."""

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
"""FIX 5.0 OrdStatus (tag 39) and ExecType (tag 150) of each order event."""


@dataclass(frozen=True, slots=True)
class SignalEvent:
    """A strategy's target exposure changed at a close."""

    kind: ClassVar[str] = "signal"
    ts_event: int
    strategy: str
    symbol: str
    exposure: float


@dataclass(frozen=True, slots=True)
class OrderEvent:
    """One step in the life of an order.

    `decision_price` is the close it was decided on, `arrival_price` the open it met (NaN-free: the decision price until
    it is known), `last_price` and `last_quantity` what this event traded (0.0 when nothing), `cumulative` and `leaves`
    what has traded and what is still open. `fee` is in quote currency. `fee_in_base` is what an exchange took of the
    position instead, in base units; `fee` is then its worth at `last_price`. A line has it only where it is not 0.0.
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
    """The gates' answer to one order: everything needed to compute it again stands in `inputs`."""

    kind: ClassVar[str] = "decision"
    ts_event: int
    order_id: str
    is_approved: bool
    denials: tuple[Denial, ...]
    inputs: DecisionInputs | str
    """Order, account view, market view and limits; in a journal their canonical JSON. Empty on pass-through limits."""


@dataclass(frozen=True, slots=True)
class CashFlowEvent:
    """Cash that moved without a fill: funding, borrow cost or a write-off; negative is paid."""

    kind: ClassVar[str] = "cash_flow"
    ts_event: int
    strategy: str
    symbol: str
    reason: str
    amount: float


@dataclass(frozen=True, slots=True)
class AllocationEvent:
    """What one strategy got of a netted fill or flow: signed base units at a price, and its part of the costs.

    The shares of an order sum to its fills. `order_id` is empty where strategies crossed inside the account without an
    order, or where a flow was shared; `quantity` is then their change, or 0.0 for a flow. A negative cost is received.
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
    """The account's trading state changed."""

    kind: ClassVar[str] = "trading_state"
    ts_event: int
    state: TradingState
    reason: str
    observed: float
    limit: float
    actor: str = ""


@dataclass(frozen=True, slots=True)
class BankruptcyEvent:
    """Equity reached zero or below: everything was closed at the marks and the run ended."""

    kind: ClassVar[str] = "bankruptcy"
    ts_event: int
    equity: float
    written_off: float


class SessionPhase(StrEnum):
    """Where a session stands: each started one is stopped once, after any number of resumptions."""

    STARTED = "started"
    RESUMED = "resumed"
    STOPPED = "stopped"


class FeedFault(StrEnum):
    """What a feed did that a bar contract does not allow."""

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
    """What a named person did to a session."""

    KILL = "kill"
    RECOVER = "recover"
    ENABLE = "enable"


class AlertLevel(StrEnum):
    """How soon somebody should look."""

    WARNING = "warning"
    CRITICAL = "critical"


@dataclass(frozen=True, slots=True)
class BarEvent:
    """A closed bar that the session saw: prices in quote currency, volume in base units, `ts_event` its close."""

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
    """The session started, resumed after a stop without a seal, or stopped; `equity` is the mark at that moment."""

    kind: ClassVar[str] = "session"
    ts_event: int
    phase: SessionPhase
    mode: str
    reason: str
    equity: float


@dataclass(frozen=True, slots=True)
class FeedFaultEvent:
    """The feed broke the bar contract; the bar at fault was not used. `n_bars` counts the bars concerned.

    A stale one has `ts_event` by the exchange's clock: its age is that less the close of the newest bar.
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
    """What the gates see beside the next bar; recorded only where a limit needs it.

    `ts_event` is the decision's instant by the exchange's clock, `feed_age` that less the bar's close, seconds.
    `book_time` is when the book was asked for (0: there is none, and `detail` says why where one was wanted).
    """

    kind: ClassVar[str] = "snapshot"
    ts_event: int
    symbol: str
    feed_age: float
    book_time: int = 0
    bids: Levels = ()
    asks: Levels = ()
    detail: str = ""


@dataclass(frozen=True, slots=True)
class CommandEvent:
    """What a named person did to the session: an input like a bar, taken at `ts_event` of the session's clock.

    `given_at` is when the person did it by the machine's clock, `strategy` the one that is enabled, else empty. An
    `act_id` is taken once.
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
    """The source's clock less ours in ms (positive: the source is ahead), and the round trip that measured it."""

    kind: ClassVar[str] = "clock_offset"
    ts_event: int
    source: str
    offset_ms: float
    round_trip_ms: float


@dataclass(frozen=True, slots=True)
class ReconciliationEvent:
    """One comparison of what the journal expects with what the exchange reports, in base or quote units."""

    kind: ClassVar[str] = "reconciliation"
    ts_event: int
    subject: str
    expected: float
    observed: float
    is_equal: bool
    detail: str = ""


@dataclass(frozen=True, slots=True)
class AlertEvent:
    """Something that a person should look at; `observed` and `limit` are what made it so."""

    kind: ClassVar[str] = "alert"
    ts_event: int
    level: AlertLevel
    code: str
    message: str
    observed: float
    limit: float


@dataclass(frozen=True, slots=True)
class LatencyEvent:
    """How long one step took by the session's own clock, in ms: telemetry, never part of a digest."""

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
