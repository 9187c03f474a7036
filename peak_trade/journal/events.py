"""The closed set of events. Times are ns UTC, money is in quote currency, quantities are in base units.

Every event has `ts_event`, the time at which it happened. Its position (`sequence`) and the time of
writing (`ts_recorded`) belong to the line of the journal, so equal runs have equal events.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import ClassVar, NamedTuple

from peak_trade.core.values import Denial, OrderType, Side, TimeInForce, TradingState, Value
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


class EndCause(StrEnum):
    """Cause of the end of a session, or of an order that is not filled.

    The causes from `feed_ended` on end a session; the orders that are open then have the same cause.
    """

    TARGET_CHANGED = "target_changed"
    OTHER_FILLED = "other_filled"
    TRADING_STATE = "trading_state"
    TIME_IN_FORCE = "time_in_force"
    CASH = "cash"
    EXCHANGE = "exchange"
    NOT_SENT = "not_sent"
    FEED_ENDED = "feed_ended"
    DURATION = "duration"
    STOPPED = "stopped"
    KILLED = "killed"
    BALANCE_MISMATCH = "balance_mismatch"
    BANKRUPT = "bankrupt"


class Ending(NamedTuple):
    """The cause of the end of a session or an order, and its text for readers."""

    cause: EndCause
    reason: str


class TradingStateCause(StrEnum):
    """Cause of a change of the trading state, of its ramp or of its disabled strategies."""

    DRAWDOWN = "drawdown"
    DAILY_LOSS = "daily_loss"
    EQUITY_UNREADABLE = "equity_unreadable"
    STALE_FEED = "stale_feed"
    KILL = "kill"
    RECOVERY = "recovery"
    RAMP = "ramp"
    STRATEGY_DISABLED = "strategy_disabled"
    STRATEGY_ENABLED = "strategy_enabled"
    APPROVAL_LAPSED = "approval_lapsed"


class SignalEvent(Value, frozen=True):
    """A change of a strategy's target exposure at a close."""

    kind: ClassVar[str] = "signal"
    ts_event: int
    strategy: str
    symbol: str
    exposure: float


class OrderEvent(Value, frozen=True):
    """One step in the lifecycle of an order.

    `decision_price` is the close on which the order was decided. `arrival_price` is the open at which it reached the
    market, and equals the decision price until that open is known. `last_price` and `last_quantity` are the trade of
    this event, 0.0 without one. `cumulative` is the quantity traded so far, `leaves` the quantity still open. `fee` is
    in quote currency, NaN if it is unknown. `fee_in_base` is a fee that the exchange charged in base units; `fee` is
    then its value at `last_price`. `fee_paid` is a fee in another currency, `fee_currency`: neither cash nor position
    pays it, and it is not part of `fee`. `fee_value` is its value in quote currency at a price series that the manifest
    names, 0.0 while it is not converted. `cause` is set on the last event of an order that is not filled, except by a
    denial: `reason` then has the codes of its gates. Elsewhere `reason` is a text for readers.
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
    cause: EndCause | None = None
    fee_paid: float = 0.0
    fee_currency: str = ""
    fee_value: float = 0.0

    @property
    def ord_status(self) -> str:
        """FIX OrdStatus."""
        return FIX[self.event][0]

    @property
    def exec_type(self) -> str:
        """FIX ExecType."""
        return FIX[self.event][1]


class DecisionEvent(Value, frozen=True):
    """The decision of the gates about one order; `inputs` holds everything that is needed to recompute it."""

    kind: ClassVar[str] = "decision"
    ts_event: int
    order_id: str
    is_approved: bool
    denials: tuple[Denial, ...]
    inputs: DecisionInputs | str
    """Order, account view, market view and limits, as canonical JSON in a journal. Empty on pass-through limits."""


class CashFlowEvent(Value, frozen=True):
    """A cash flow without a fill: funding, borrow cost or a write-off. Negative amounts are paid."""

    kind: ClassVar[str] = "cash_flow"
    ts_event: int
    strategy: str
    symbol: str
    reason: str
    amount: float


class AllocationEvent(Value, frozen=True):
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


class TradingStateEvent(Value, frozen=True):
    """A change of the account's trading state, of its ramp or of its disabled strategies.

    `strategy` is the strategy that was disabled or enabled, empty for other causes.
    """

    kind: ClassVar[str] = "trading_state"
    ts_event: int
    state: TradingState
    reason: str
    observed: float
    limit: float
    actor: str = ""
    cause: TradingStateCause | None = None
    strategy: str = ""


class BankruptcyEvent(Value, frozen=True):
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
    INCOMPLETE = "incomplete"


class CommandKind(StrEnum):
    """Kind of operator command; REDUCE is given by the session itself when its approval has lapsed."""

    KILL = "kill"
    RECOVER = "recover"
    ENABLE = "enable"
    REDUCE = "reduce"


class AlertLevel(StrEnum):
    """Urgency of an alert."""

    WARNING = "warning"
    CRITICAL = "critical"


class BarEvent(Value, frozen=True):
    """A closed bar that the session received; `ts_event` is its close time."""

    kind: ClassVar[str] = "bar"
    ts_event: int
    symbol: str
    open: float
    high: float
    low: float
    close: float
    volume: float


class SessionEvent(Value, frozen=True):
    """Start, resumption (after an interruption without a seal) or stop of the session, with the equity at that time.

    `cause` is set on a stop, `strategies` and `symbols` on a start.
    """

    kind: ClassVar[str] = "session"
    ts_event: int
    phase: SessionPhase
    mode: str
    reason: str
    equity: float
    cause: EndCause | None = None
    strategies: tuple[str, ...] = ()
    symbols: tuple[str, ...] = ()


class FeedFaultEvent(Value, frozen=True):
    """A fault of the feed. The bar at fault was not used; `n_bars` is the number of bars affected.

    The `ts_event` of a stale feed is a time of the exchange's clock; the age of the feed is `ts_event` − close time of
    the newest bar. Of an incomplete close, `symbol` names all symbols without a bar at it, and `n_bars` is their
    number: the session decides on the close without them.
    """

    kind: ClassVar[str] = "feed_fault"
    ts_event: int
    symbol: str
    fault: FeedFault
    n_bars: int
    detail: str


Levels = tuple[tuple[float, float], ...]
"""One side of an order book, best first: (price, quantity) in quote currency and base units."""


class SnapshotEvent(Value, frozen=True):
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


class CommandEvent(Value, frozen=True):
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


class ClockOffsetEvent(Value, frozen=True):
    """Offset of a source's clock, source − local in ms, and the round-trip time of the measurement."""

    kind: ClassVar[str] = "clock_offset"
    ts_event: int
    source: str
    offset_ms: float
    round_trip_ms: float


class ReconciliationEvent(Value, frozen=True):
    """Comparison of an expected value of the journal with the one that the exchange reports, in base or quote units.

    The first comparison of a holding is its baseline: it takes the reported value as given.
    """

    kind: ClassVar[str] = "reconciliation"
    ts_event: int
    subject: str
    expected: float
    observed: float
    is_equal: bool
    detail: str = ""
    is_baseline: bool = False


class AlertEvent(Value, frozen=True):
    """A condition that needs the attention of an operator, with the observed value and the limit."""

    kind: ClassVar[str] = "alert"
    ts_event: int
    level: AlertLevel
    code: str
    message: str
    observed: float
    limit: float


class LatencyEvent(Value, frozen=True):
    """Duration of one step by the session's clock, in ms. Telemetry: never part of a digest."""

    kind: ClassVar[str] = "latency"
    ts_event: int
    step: str
    latency_ms: float
    order_id: str = ""


class GovernanceAction(StrEnum):
    """Kind of an entry in the governance log."""

    POLICY_ADOPTED = "policy_adopted"
    DECIDED = "decided"
    APPROVAL_USED = "approval_used"
    APPROVAL_REVOKED = "approval_revoked"
    DRILLED = "drilled"


class GovernanceEvent(Value, frozen=True):
    """An entry of the governance log of a workspace; no session has one.

    `subject` is the digest of the adopted policy or of the decision, or the id of the approval. `actor` is the person
    who acted, empty for a decision. `content` is canonical JSON: all from which the entry is checked again.
    """

    kind: ClassVar[str] = "governance"
    ts_event: int
    action: GovernanceAction
    subject: str
    actor: str
    content: str


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
    | GovernanceEvent
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
    GovernanceEvent,
)
ADDED: Mapping[type[Event], Mapping[str, int]] = {
    OrderEvent: {"fee_in_base": 1, "cause": 2, "fee_paid": 2, "fee_currency": 2, "fee_value": 4},
    TradingStateEvent: {"cause": 2, "strategy": 2},
    SessionEvent: {"cause": 2, "strategies": 2, "symbols": 2},
    ReconciliationEvent: {"is_baseline": 2},
}
"""Fields that were added later, with the version of the journal; a line omits them where they have the default."""
