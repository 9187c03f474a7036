"""The panels of both dashboards: their queries in PromQL, units, legends and thresholds.

In a query, `$session` stands for the matchers of a session's series and `$target` for those of the exporter's own. The
dashboards replace both with matchers of the variables that a reader chooses. Money is in quote currency.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from peak_trade.core.values import TradingState


class PanelKind(StrEnum):
    """Type of a panel in Grafana."""

    TIME_SERIES = "timeseries"
    STAT = "stat"
    STATES = "state-timeline"


@dataclass(frozen=True, slots=True)
class Query:
    """A query and the legend of its series, in which `{{label}}` is the value of a label."""

    expression: str
    legend: str


@dataclass(frozen=True, slots=True)
class Threshold:
    """A value from which a panel has another colour."""

    value: float
    color: str


@dataclass(frozen=True, slots=True)
class Panel:
    """A panel: what it shows, its queries, its unit in Grafana's spelling, and its thresholds in increasing order.

    `base` is the colour below the first threshold. `states` are texts of whole numbers, for a panel of states.
    """

    title: str
    description: str
    unit: str
    queries: tuple[Query, ...]
    thresholds: tuple[Threshold, ...] = ()
    base: str = "green"
    kind: PanelKind = PanelKind.TIME_SERIES
    states: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Board:
    """A dashboard: rows of panels under their titles. `uid` names its file."""

    uid: str
    title: str
    description: str
    rows: dict[str, tuple[Panel, ...]]


ORANGE, RED, GREEN, BLUE = "orange", "red", "green", "blue"
WHO = "{{mode}} {{strategy}} {{symbol}}"
YES_NO = ("no", "yes")


def _one(expression: str, legend: str) -> tuple[Query, ...]:
    return (Query(expression, legend),)


def _warn(*steps: float) -> tuple[Threshold, ...]:
    return tuple(Threshold(value, color) for value, color in zip(steps, (ORANGE, RED), strict=False))


def _quantiles(metric: str, window: str) -> tuple[Query, ...]:
    return tuple(
        Query(
            f"histogram_quantile({level}, sum by (le, mode, strategy, symbol) "
            f"(increase({metric}_bucket{{$session}}[{window}])))",
            f"{name} {WHO}",
        )
        for level, name in ((0.5, "median"), (0.95, "95 %"))
    )


EQUITY = Panel(
    "Equity",
    "Cash plus positions at the last close, quote currency.",
    "locale",
    _one("peak_trade_equity_quote{$session}", WHO),
    (Threshold(0.0, BLUE),),
    base=RED,
)
PNL = Panel(
    "PnL",
    "Profit and loss since the start of the session, quote currency. Realised is net of fees.",
    "locale",
    _one("peak_trade_pnl_quote{$session}", f"{{{{kind}}}} {WHO}"),
    (Threshold(0.0, GREEN),),
    base=RED,
)
DRAWDOWN = Panel(
    "Drawdown",
    "Fraction of the highest equity that is lost. The alert PeakTradeDrawdown fires above 10 %.",
    "percentunit",
    _one("peak_trade_drawdown_ratio{$session}", WHO),
    _warn(0.05, 0.10),
)
DAILY_LOSS = Panel(
    "Daily loss",
    "Loss since 00:00 UTC as a fraction of the equity at that time. The alert PeakTradeDailyLoss fires above 5 %.",
    "percentunit",
    _one("peak_trade_daily_loss_ratio{$session}", WHO),
    _warn(0.025, 0.05),
)
ORDER_RATE = Panel(
    "Order rate",
    "Orders per minute that reached their last event, by status and side.",
    "opm",
    _one(
        "60 * sum by (status, side) (rate(peak_trade_orders_total{$session}[$__rate_interval]))", "{{status}} {{side}}"
    ),
    _warn(10.0, 60.0),
)
OPEN_ORDERS = Panel(
    "Open orders",
    "Orders without a terminal event.",
    "short",
    _one("peak_trade_orders_open{$session}", WHO),
    _warn(10.0, 50.0),
)
DENIALS = Panel(
    "Denials",
    "Risk events: orders denied within 15 minutes, by gate. PeakTradeDenialBurst fires from 6 of one strategy.",
    "short",
    _one("sum by (code) (increase(peak_trade_order_denials_total{$session}[15m])) > 0", "{{code}}"),
    _warn(1.0, 6.0),
)
REJECTIONS = Panel(
    "Rejections",
    "Orders that the venue rejected within 15 minutes, by cause. PeakTradeRejectionBurst fires from 3 of one strategy.",
    "short",
    _one("sum by (reason) (increase(peak_trade_order_rejections_total{$session}[15m])) > 0", "{{reason}}"),
    _warn(1.0, 3.0),
)
OPERATOR_ALERTS = Panel(
    "Alerts and state changes of the session",
    "Risk events within 15 minutes: alerts that the session recorded, and changes of its trading state, by cause.",
    "short",
    (
        Query("sum by (code) (increase(peak_trade_alerts_total{$session}[15m])) > 0", "alert: {{code}}"),
        Query(
            "sum by (cause) (increase(peak_trade_trading_state_changes_total{$session}[15m])) > 0", "state: {{cause}}"
        ),
    ),
    _warn(1.0, 3.0),
)
FILLS = Panel(
    "Traded notional",
    "Quantity times price of the fills within an hour, quote currency, by side.",
    "locale",
    _one("sum by (side) (increase(peak_trade_traded_notional_quote_total{$session}[1h]))", "{{side}}"),
    base=BLUE,
    thresholds=_warn(1e6, 1e7),
)
COSTS = Panel(
    "Costs",
    "Fees within an hour, quote currency, and the number of fills that paid them.",
    "locale",
    (
        Query("sum by (mode, strategy, symbol) (increase(peak_trade_fees_quote_total{$session}[1h]))", f"fees {WHO}"),
        Query("sum by (mode, strategy, symbol) (increase(peak_trade_fills_total{$session}[1h]))", f"fills {WHO}"),
    ),
    _warn(100.0, 1_000.0),
)
LATENCY = Panel(
    "Order latency",
    "Time from the decision about a market order to its first fill, over 15 minutes. PeakTradeOrderLatency fires above "
    "5 s.",
    "s",
    _quantiles("peak_trade_order_latency_seconds", "15m"),
    _warn(1.0, 5.0),
)
SLIPPAGE = Panel(
    "Slippage",
    "Distance of the fills of an hour from the arrival price, basis points; positive is worse.",
    "none",
    _quantiles("peak_trade_slippage_bps", "1h"),
    _warn(5.0, 20.0),
)
EXPOSURE = Panel(
    "Exposure",
    "Notional of the positions as a fraction of equity, gross and net. Limits in force are in the panel Limit usage.",
    "percentunit",
    _one("peak_trade_exposure_ratio{$session}", f"{{{{kind}}}} {WHO}"),
    _warn(1.0, 2.0),
)
LIMIT_USAGE = Panel(
    "Limit usage",
    "Observed value of each limit that is set, as a fraction of the limit in force; 100 % is the limit.",
    "percentunit",
    _one("peak_trade_limit_usage_ratio{$session}", f"{{{{limit}}}} {WHO}"),
    _warn(0.8, 1.0),
)
TRADING_STATE = Panel(
    "Trading state",
    "active, reducing (only reducing orders pass) or halted (only cancels pass): PeakTradeKillSwitch.",
    "none",
    _one(
        'peak_trade_trading_state{$session,state="reducing"} + ignoring (state) '
        '2 * peak_trade_trading_state{$session,state="halted"}',
        WHO,
    ),
    _warn(1.0, 2.0),
    kind=PanelKind.STATES,
    states=tuple(TradingState),
)
FEED_AGE = Panel(
    "Feed age",
    "Age of the newest bar, in bars. PeakTradeFeedStale fires above 2.",
    "none",
    _one("peak_trade_feed_age_seconds{$session} / peak_trade_timeframe_seconds{$session}", WHO),
    _warn(1.5, 2.0),
)
LAST_BAR = Panel(
    "Newest bar",
    "Close time of the newest bar.",
    "dateTimeAsIso",
    _one("1000 * peak_trade_last_bar_timestamp_seconds{$session}", WHO),
    (Threshold(1.0, BLUE),),
    kind=PanelKind.STAT,
)
CLOCK_OFFSET = Panel(
    "Clock offset",
    "Clock of the exchange minus clock of the machine, at the last measurement.",
    "s",
    _one("peak_trade_clock_offset_seconds{$session}", WHO),
    (Threshold(-1.0, GREEN), Threshold(1.0, RED)),
    base=RED,
)
HEALTH = Panel(
    "Session, feed and journal",
    "Whether a process runs the session, its feed is connected and its journal verifies.",
    "none",
    (
        Query("peak_trade_session_running{$session}", f"running {WHO}"),
        Query("peak_trade_feed_connected{$session}", f"connected {WHO}"),
        Query("peak_trade_journal_verified{$session}", f"verified {WHO}"),
    ),
    (Threshold(1.0, GREEN),),
    base=RED,
    kind=PanelKind.STATES,
    states=YES_NO,
)
MISMATCH = Panel(
    "Position mismatch",
    "Holdings that the venue reports otherwise than the journal, in the last comparison.",
    "short",
    _one("peak_trade_position_mismatch{$session}", WHO),
    (Threshold(1.0, RED),),
    kind=PanelKind.STAT,
)

SESSIONS = Panel(
    "Running sessions",
    "Sessions that a process runs, by mode. Sessions of one mode, strategy and symbol count once.",
    "short",
    _one("sum by (mode) (peak_trade_session_running{$session})", "{{mode}}"),
    (Threshold(1.0, GREEN),),
    base=ORANGE,
    kind=PanelKind.STAT,
)
HALTED = Panel(
    "Halted or reducing sessions",
    "Sessions that are not active, by trading state.",
    "short",
    _one('sum by (state) (peak_trade_trading_state{$session,state!="active"})', "{{state}}"),
    _warn(1.0),
    kind=PanelKind.STAT,
)
FIRING = Panel(
    "Firing alerts",
    "Alerts of peak_trade that fire, by severity. Empty when none fires.",
    "short",
    _one(
        'count by (alertname, severity) (ALERTS{alertname=~"PeakTrade.*",alertstate="firing"})',
        "{{severity}}: {{alertname}}",
    ),
    (Threshold(1.0, RED),),
)
EXPORTER = Panel(
    "Exporter",
    "Version of the exporter that Prometheus scrapes.",
    "none",
    _one("peak_trade_build_info{$target} * on (job, instance) group_left up{$target}", "{{version}}"),
    (Threshold(1.0, GREEN),),
    base=RED,
    kind=PanelKind.STAT,
)
FLEET_PNL = Panel(
    "PnL by session",
    "Profit and loss since the start of each session, realised and unrealised, quote currency.",
    "locale",
    _one("sum by (mode, strategy, symbol) (peak_trade_pnl_quote{$session})", WHO),
    (Threshold(0.0, GREEN),),
    base=RED,
)
FLEET_ORDERS = Panel(
    "Order rate by session",
    "Orders per minute that reached their last event, over 5 minutes.",
    "opm",
    _one("60 * peak_trade:orders:rate5m{$session}", WHO),
    _warn(10.0, 60.0),
)
FLEET_DENIALS = Panel(
    "Denials by session",
    "Denials of the gates within 15 minutes.",
    "short",
    _one("peak_trade:order_denials:increase15m{$session}", WHO),
    _warn(1.0, 6.0),
)
FLEET_REJECTIONS = Panel(
    "Rejections by session",
    "Orders that the venue rejected within 15 minutes.",
    "short",
    _one("peak_trade:order_rejections:increase15m{$session}", WHO),
    _warn(1.0, 3.0),
)
FLEET_LATENCY = Panel(
    "Order latency by session",
    "Time that 95 % of the market orders of 15 minutes took from the decision to the first fill.",
    "s",
    _one("peak_trade:order_latency_seconds:p95_15m{$session}", WHO),
    _warn(1.0, 5.0),
)
FLEET_LIMITS = Panel(
    "Highest limit usage by session",
    "Use of the limit that is nearest to being reached; 100 % is the limit.",
    "percentunit",
    _one("max by (mode, strategy, symbol) (peak_trade_limit_usage_ratio{$session})", WHO),
    _warn(0.8, 1.0),
)

BOARDS = (
    Board(
        "live_trading",
        "Live trading",
        "Orders, PnL, risk and feed of the chosen sessions.",
        {
            "Account": (EQUITY, PNL, DRAWDOWN, DAILY_LOSS),
            "Orders": (ORDER_RATE, OPEN_ORDERS, LATENCY, SLIPPAGE, FILLS, COSTS),
            "Risk": (DENIALS, REJECTIONS, OPERATOR_ALERTS, TRADING_STATE, EXPOSURE, LIMIT_USAGE),
            "Feed and journal": (FEED_AGE, HEALTH, LAST_BAR, CLOCK_OFFSET, MISMATCH),
        },
    ),
    Board(
        "fleet",
        "Fleet",
        "All sessions of the workspace at a glance.",
        {
            "Now": (SESSIONS, HALTED, FIRING, EXPORTER),
            "Account": (FLEET_PNL, DRAWDOWN, FLEET_LIMITS, FEED_AGE),
            "Orders": (FLEET_ORDERS, FLEET_DENIALS, FLEET_REJECTIONS, FLEET_LATENCY),
        },
    ),
)
"""The dashboards, each written to one file."""

SESSION_VARIABLES = ("mode", "strategy", "symbol")
TARGET_MATCHERS = 'job=~"$job",instance=~"$instance"'
SESSION_MATCHERS = ",".join([TARGET_MATCHERS, *(f'{name}=~"${name}"' for name in SESSION_VARIABLES)])


def with_matchers(expression: str) -> str:
    """Return the query of a panel with the matchers of the dashboards' variables."""
    return expression.replace("$session", SESSION_MATCHERS).replace("$target", TARGET_MATCHERS)
