"""The table of all metrics: what each is called, its labels, its unit and the events of the journal it comes from.

The names follow the rules of Prometheus: the prefix of the project, base units as suffix, `_total` on counters. The
labels of a metric are bounded: every value comes from the settings of a session or from a closed list.

References
----------
https://prometheus.io/docs/practices/naming/ and https://prometheus.io/docs/instrumenting/writing_exporters/

"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from peak_trade.core.values import Side, TradingState
from peak_trade.journal.events import TERMINAL, EndCause, TradingStateCause
from peak_trade.risk.codes import DenialCode

PREFIX = "peak_trade_"

SESSION_LABELS = ("mode", "strategy", "symbol")
"""Labels of every metric of a session, before the labels of the metric itself."""

SESSION_LABEL = "session"
"""Label of the session's id; only with `--label-session`, as the number of ids has no bound."""

OTHER = "other"
"""Value of a label in place of one that is not in its list."""


class MetricKind(StrEnum):
    """Type of a metric in the exposition format."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Merge(StrEnum):
    """How the values of sessions with equal labels become one: their sum, the largest or the smallest."""

    SUM = "sum"
    MAX = "max"
    MIN = "min"


@dataclass(frozen=True, slots=True, eq=False)
class Metric:
    """A metric: its name without the prefix, its kind, a sentence on its value, its unit and its events.

    Each is one object and equal to itself only.

    `labels` are those after SESSION_LABELS. `unit` is empty for counts, states and flags. `buckets` are the upper
    bounds of a histogram.
    """

    short_name: str
    kind: MetricKind
    help: str
    event: str
    labels: tuple[str, ...] = ()
    unit: str = ""
    merge: Merge = Merge.SUM
    buckets: tuple[float, ...] = ()
    is_of_session: bool = True

    @property
    def name(self) -> str:
        """Name of the metric with the prefix of the project."""
        return PREFIX + self.short_name

    @property
    def all_labels(self) -> tuple[str, ...]:
        """Names of all labels, without that of the session's id."""
        return (*SESSION_LABELS, *self.labels) if self.is_of_session else self.labels


ORDERS = Metric(
    "orders_total",
    MetricKind.COUNTER,
    "Orders by side and last status. An order counts once, at its terminal event.",
    "order: DENIED, FILLED, CANCELED, REJECTED, EXPIRED",
    labels=("side", "status"),
)
ORDERS_OPEN = Metric(
    "orders_open",
    MetricKind.GAUGE,
    "Orders without a terminal event.",
    "order: REQUESTED, and its terminal event",
)
ORDER_DENIALS = Metric(
    "order_denials_total",
    MetricKind.COUNTER,
    "Denied orders by gate. An order that several gates denied counts for each of them.",
    "order: DENIED",
    labels=("code",),
)
ORDER_REJECTIONS = Metric(
    "order_rejections_total",
    MetricKind.COUNTER,
    "Orders that the venue rejected, by cause.",
    "order: REJECTED",
    labels=("reason",),
)
FILLS = Metric(
    "fills_total",
    MetricKind.COUNTER,
    "Fills; an order may have several.",
    "order: PARTIALLY_FILLED, FILLED",
    labels=("side",),
)
TRADED_NOTIONAL = Metric(
    "traded_notional_quote_total",
    MetricKind.COUNTER,
    "Quantity times price of all fills, in quote currency.",
    "order: PARTIALLY_FILLED, FILLED",
    labels=("side",),
    unit="quote",
)
FEES = Metric(
    "fees_quote_total",
    MetricKind.COUNTER,
    "Fees paid, in quote currency. Rebates and unknown fees are left out.",
    "order: PARTIALLY_FILLED, FILLED",
    unit="quote",
)
EQUITY = Metric(
    "equity_quote",
    MetricKind.GAUGE,
    "Cash plus positions at the last close, in quote currency.",
    "order, cash_flow and bar: the ledger; session: stopped",
    unit="quote",
)
PNL = Metric(
    "pnl_quote",
    MetricKind.GAUGE,
    "Profit and loss since the start, in quote currency. Realised is net of fees and cash flows; the two kinds sum to "
    "equity minus initial cash.",
    "order, cash_flow and bar: the ledger",
    labels=("kind",),
    unit="quote",
)
DRAWDOWN = Metric(
    "drawdown_ratio",
    MetricKind.GAUGE,
    "Fraction of the highest equity since the start or the last recovery that is lost.",
    "bar: the ledger at each close; trading_state: a recovery",
    unit="ratio",
    merge=Merge.MAX,
)
DAILY_LOSS = Metric(
    "daily_loss_ratio",
    MetricKind.GAUGE,
    "Loss since the start of the UTC day as a fraction of the equity at that time; 0 for a profit.",
    "bar: the ledger at each close; trading_state: a recovery",
    unit="ratio",
    merge=Merge.MAX,
)
EXPOSURE = Metric(
    "exposure_ratio",
    MetricKind.GAUGE,
    "Sum of the notional of the positions as a fraction of equity: unsigned (gross), or signed (net).",
    "order, cash_flow and bar: the ledger",
    labels=("kind",),
    unit="ratio",
    merge=Merge.MAX,
)
LIMIT_USAGE = Metric(
    "limit_usage_ratio",
    MetricKind.GAUGE,
    "Observed value of a limit that is set, as a fraction of the limit in force; 1 is the limit.",
    "order, cash_flow and bar: the ledger; trading_state: the ramp",
    labels=("limit",),
    unit="ratio",
    merge=Merge.MAX,
)
ORDER_LATENCY = Metric(
    "order_latency_seconds",
    MetricKind.HISTOGRAM,
    "Time from the decision about a market order to its first fill.",
    "order: REQUESTED, and its first PARTIALLY_FILLED or FILLED",
    unit="seconds",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0),
)
SLIPPAGE = Metric(
    "slippage_bps",
    MetricKind.HISTOGRAM,
    "Distance of a fill from the arrival price, in basis points of it; positive is worse, for both sides. Negative "
    "values are observed, so the histogram has buckets only.",
    "order: PARTIALLY_FILLED, FILLED",
    unit="bps",
    buckets=(-50.0, -20.0, -10.0, -5.0, -2.0, -1.0, 0.0, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0),
)
FEED_AGE = Metric(
    "feed_age_seconds",
    MetricKind.GAUGE,
    "Time since the newest bar closed or the feed reconnected; of a recording, since the bar was recorded. Absent once "
    "the session is sealed.",
    "bar; feed_fault: gap, duplicate, out_of_order, malformed, reconnected, back_filled",
    unit="seconds",
    merge=Merge.MAX,
)
FEED_CONNECTED = Metric(
    "feed_connected",
    MetricKind.GAUGE,
    "1 while the feed is connected, 0 from a disconnection to the reconnection. Absent once the session is sealed.",
    "feed_fault: disconnected, reconnected; bar",
    merge=Merge.MIN,
)
CLOCK_OFFSET = Metric(
    "clock_offset_seconds",
    MetricKind.GAUGE,
    "Last measured offset of the exchange's clock, exchange minus machine. Absent before a measurement.",
    "clock_offset",
    unit="seconds",
    merge=Merge.MAX,
)
TRADING_STATE = Metric(
    "trading_state",
    MetricKind.GAUGE,
    "1 for the trading state of the session, 0 for the other states.",
    "trading_state",
    labels=("state",),
    merge=Merge.MAX,
)
STATE_CHANGES = Metric(
    "trading_state_changes_total",
    MetricKind.COUNTER,
    "Changes of the trading state, of its ramp and of the disabled strategies, by cause.",
    "trading_state",
    labels=("cause",),
)
ALERTS = Metric(
    "alerts_total",
    MetricKind.COUNTER,
    "Alerts to the operator, by code.",
    "alert",
    labels=("code",),
)
POSITION_MISMATCH = Metric(
    "position_mismatch",
    MetricKind.GAUGE,
    "Holdings that the venue reports otherwise than the journal in the last comparison; 0 without a difference.",
    "reconciliation",
)
JOURNAL_VERIFIED = Metric(
    "journal_verified",
    MetricKind.GAUGE,
    "1 while every line follows from the one before and is what the checkpoints signed, 0 once the journal is "
    "truncated, rewritten or unreadable.",
    "hash of every line, and the signed checkpoints",
    merge=Merge.MIN,
)
LAST_BAR = Metric(
    "last_bar_timestamp_seconds",
    MetricKind.GAUGE,
    "Close time of the newest bar, seconds since 1970. Absent before the first bar.",
    "bar",
    unit="seconds",
    merge=Merge.MIN,
)
TIMEFRAME = Metric(
    "timeframe_seconds",
    MetricKind.GAUGE,
    "Length of the session's bars.",
    "manifest: the configuration",
    unit="seconds",
    merge=Merge.MAX,
)
SESSION_RUNNING = Metric(
    "session_running",
    MetricKind.GAUGE,
    "1 while a process runs the session, 0 after an interruption. Absent once the session is sealed.",
    "lock and seal of the session",
    merge=Merge.MIN,
)
BUILD = Metric(
    "build_info",
    MetricKind.GAUGE,
    "Always 1; the labels are the versions of the exporter, of Python and of the journals that it reads.",
    "none: the exporter itself",
    labels=("version", "python", "journal_version"),
    is_of_session=False,
)

METRICS = (
    ORDERS,
    ORDERS_OPEN,
    ORDER_DENIALS,
    ORDER_REJECTIONS,
    FILLS,
    TRADED_NOTIONAL,
    FEES,
    EQUITY,
    PNL,
    DRAWDOWN,
    DAILY_LOSS,
    EXPOSURE,
    LIMIT_USAGE,
    ORDER_LATENCY,
    SLIPPAGE,
    FEED_AGE,
    FEED_CONNECTED,
    CLOCK_OFFSET,
    TRADING_STATE,
    STATE_CHANGES,
    ALERTS,
    POSITION_MISMATCH,
    JOURNAL_VERIFIED,
    LAST_BAR,
    TIMEFRAME,
    SESSION_RUNNING,
    BUILD,
)
"""Every metric of the exporter, in the order in which it shows them."""

LEDGER_LIMITS = (
    "max_orders",
    "max_symbol_exposure",
    "max_gross_exposure",
    "max_net_exposure",
    "max_concentration",
    "max_open_orders",
    "max_daily_loss",
    "max_daily_loss_fraction",
    "max_drawdown",
    "state.reduce_drawdown",
    "state.halt_drawdown",
    "state.reduce_daily_loss",
    "state.halt_daily_loss",
)
"""Limits whose use follows from the ledger; the other limits are about one order and its market."""

ALERT_CODES = ("exit_refused", "balance_mismatch", "open_orders", "act_refused", "sink_dropped", OTHER)
"""Codes of alerts; a code that is not in the list counts as `other`."""

LABEL_VALUES: dict[str, tuple[str, ...]] = {
    "orders_total side": tuple(Side),
    "orders_total status": tuple(sorted(kind.lower() for kind in TERMINAL)),
    "order_denials_total code": (*DenialCode, OTHER),
    "order_rejections_total reason": (EndCause.EXCHANGE, EndCause.NOT_SENT, OTHER),
    "fills_total side": tuple(Side),
    "traded_notional_quote_total side": tuple(Side),
    "pnl_quote kind": ("realised", "unrealised"),
    "exposure_ratio kind": ("gross", "net"),
    "limit_usage_ratio limit": LEDGER_LIMITS,
    "trading_state state": tuple(TradingState),
    "trading_state_changes_total cause": (*TradingStateCause, OTHER),
    "alerts_total code": ALERT_CODES,
}
"""Every value that a label of a metric can have, by `metric label`. Counters start at 0 for all of them."""
