"""The figures of one session, computed from its events one by one: a pure fold, without a clock or a disk."""

from __future__ import annotations

import math
import re
from bisect import bisect_left
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any, NamedTuple

from peak_trade.core.calendar import open_times, period_of
from peak_trade.core.ledger import Position
from peak_trade.core.time import NS_PER_SECOND, Timeframe
from peak_trade.core.values import OrderType, TradingState
from peak_trade.journal.events import (
    TERMINAL,
    AlertEvent,
    BankruptcyEvent,
    BarEvent,
    CashFlowEvent,
    ClockOffsetEvent,
    Event,
    FeedFault,
    FeedFaultEvent,
    OrderEvent,
    OrderEventKind,
    ReconciliationEvent,
    SessionEvent,
    SessionPhase,
    TradingStateEvent,
)
from peak_trade.journal.ledger_from_events import LedgerFromEvents
from peak_trade.observability import metrics
from peak_trade.observability.metrics import LABEL_VALUES, METRICS, OTHER, Metric, MetricKind
from peak_trade.risk.limits import RiskLimits
from peak_trade.risk.state import Control, control_from_dict, control_from_events
from peak_trade.sessions.config import PORTFOLIO, SessionConfig, names_in
from peak_trade.wiring.venues import VENUES

UNKNOWN = "unknown"
"""Value of a label that the manifest does not have."""

_LONGEST_LABEL = 64
_STRANGE = re.compile(r"[^A-Za-z0-9/:._,-]")
_SILENT = frozenset({FeedFault.STALE, FeedFault.FROZEN, FeedFault.DISCONNECTED})
"""Faults that are no sign of a working feed."""


class Labels(NamedTuple):
    """Values of the labels that every metric of a session has."""

    mode: str
    strategy: str
    symbol: str

    @classmethod
    def of(cls, mode: str, strategy: str, symbol: str) -> Labels:
        """Return labels of letters, digits and `/:._,-`, at most 64 of them each; other characters become `_`."""
        return cls(*(_STRANGE.sub("_", text[:_LONGEST_LABEL]) or UNKNOWN for text in (mode, strategy, symbol)))

    @classmethod
    def of_manifest(cls, manifest: Mapping[str, Any]) -> Labels:
        """Return the labels of the session of a manifest, of any version.

        The strategy of a portfolio is `portfolio`, and several symbols are counted.
        """
        config = manifest.get("config", {})
        strategies, symbols = names_in(config)
        if "portfolio" in config:
            strategies = (PORTFOLIO,)
            symbols = symbols if len(symbols) == 1 else (f"{len(symbols)}-symbols",)
        mode = str(config.get("mode", ""))
        return cls.of(mode if mode in VENUES else "", *(next(iter(names), "") for names in (strategies, symbols)))


@dataclass(frozen=True, slots=True)
class Observations:
    """The observations of a histogram: their number in each bucket, the last one without a bound, and their sum."""

    counts: tuple[int, ...]
    total: float = 0.0

    def __add__(self, other: Observations) -> Observations:
        counts = tuple(one + another for one, another in zip(self.counts, other.counts, strict=True))
        return Observations(counts, self.total + other.total)

    def with_one_more(self, value: float, buckets: Sequence[float]) -> Observations:
        """Return the observations with one more, which counts in the first bucket whose bound it does not exceed."""
        place = bisect_left(buckets, value)
        counts = (*self.counts[:place], self.counts[place] + 1, *self.counts[place + 1 :])
        return Observations(counts, self.total + value)


Series = tuple[tuple[tuple[str, ...], float | Observations], ...]
"""The series of a metric: the values of its own labels, and the value."""


@dataclass(slots=True)
class _OpenOrder:
    requested: int
    is_market: bool
    has_fill: bool = False


class _Closes:
    """Equity at the closes: the newest, the peak, and that at the start of the UTC day; the rules of `risk.state`.

    A close is known when the next bar comes, as all fills of its bar are booked then. Amounts are in quote currency.
    """

    __slots__ = ("day", "day_start", "equity", "peak")

    def __init__(self, control: Control) -> None:
        self.equity, self.peak, self.day, self.day_start = control.equity, control.peak, control.day, control.day_start

    def after(self, equity: float, day: int) -> tuple[float, float]:
        """Return the peak and the start of the day with the equity of a close in a UTC day."""
        is_first = math.isnan(self.equity)
        start = self.day_start if day == self.day else equity if is_first else self.equity
        return equity if math.isnan(self.peak) else max(self.peak, equity), start

    def add(self, equity: float, day: int) -> None:
        """Observe the equity of a close in a UTC day; one that is not above zero is no observation."""
        if 0.0 < equity < math.inf:
            (self.peak, self.day_start), self.equity, self.day = self.after(equity, day), equity, day

    def recover(self) -> None:
        """Start the peak and the day again, as a recovery does."""
        self.peak = self.day_start = self.equity


@dataclass(slots=True)
class SessionFigures:
    """The metrics of one session after the events that were applied.

    Parameters
    ----------
    config : SessionConfig
    control : Control
        Trading state in which the session started.
    has_event_times : bool
        Whether bars close as time passes. Otherwise the age of the feed starts when a bar was recorded.

    """

    config: SessionConfig
    control: Control
    has_event_times: bool
    _booked: LedgerFromEvents = field(init=False)
    _timeframe: Timeframe = field(init=False)
    _limits: RiskLimits = field(init=False)
    _order_window: float = field(init=False)
    _counts: dict[Metric, dict[tuple[str, ...], float]] = field(init=False)
    _histograms: dict[Metric, Observations] = field(init=False)
    _settled: dict[Metric, Series] = field(default_factory=dict)
    """The series of counters and histograms; one that changed since they were shown last is missing."""

    _gauged: dict[Metric, Series] = field(default_factory=dict)
    _is_changed: bool = True
    """Whether an event was applied since the gauges were computed."""

    _open: dict[str, _OpenOrder] = field(default_factory=dict)
    _request_times: deque[int] = field(default_factory=deque)
    _unequal: dict[str, bool] = field(default_factory=dict)
    _is_trading: bool = False
    _closes: _Closes = field(init=False)
    _is_pending: bool = False
    """Whether the newest close is one that was traded and not observed yet."""

    _is_connected: bool = True
    _last_bar: int = 0
    _last_sign: int = 0
    """Time of the newest sign of a working feed, ns UTC; 0 without one."""

    _clock_offset: float = math.nan

    def __post_init__(self) -> None:
        self._booked = LedgerFromEvents(self.config.trading.initial_cash, self.config.lots)
        self._timeframe = Timeframe.parse(self.config.timeframe)
        self._closes = _Closes(self.control)
        self._limits = self.config.risk or RiskLimits()
        self._order_window = self._limits.order_window * NS_PER_SECOND
        self._counts = {
            metric: dict.fromkeys(
                product(*(LABEL_VALUES[f"{metric.short_name} {label}"] for label in metric.labels)), 0.0
            )
            for metric in METRICS
            if metric.kind is MetricKind.COUNTER
        }
        self._histograms = {
            metric: Observations((0,) * (len(metric.buckets) + 1))
            for metric in METRICS
            if metric.kind is MetricKind.HISTOGRAM
        }

    @classmethod
    def of_manifest(cls, manifest: Mapping[str, Any], *, has_event_times: bool | None = None) -> SessionFigures:
        """Return the figures of a session without events; by default bars of a live feed have event times.

        ConfigError when the manifest's configuration is not one of a session.
        """
        config = SessionConfig.from_manifest(manifest.get("config", {}), "manifest.json")
        state = manifest.get("trading_state")
        control = Control() if state is None else control_from_dict(state)
        return cls(config, control, config.feed == "live" if has_event_times is None else has_event_times)

    def apply(self, event: Event, ts_recorded: int) -> None:
        """Apply the next event, which was recorded at `ts_recorded`, ns UTC; errors as of `LedgerFromEvents.book`."""
        self._is_changed = True
        if isinstance(event, BarEvent):
            if event.ts_event != self._last_bar:  # else it is the bar of another symbol at the same close
                self._observe_close()
            self._booked.book(event)
            self._last_bar, self._is_pending = event.ts_event, self._is_trading
            self._is_connected = True
            self._note_sign(event, ts_recorded)
        elif isinstance(event, OrderEvent):
            self._booked.book(event)
            self._apply_order(event)
        elif isinstance(event, CashFlowEvent | BankruptcyEvent):
            self._booked.book(event)
        elif isinstance(event, TradingStateEvent):
            self._apply_state(event)
        elif isinstance(event, SessionEvent):
            self._is_trading = event.phase is not SessionPhase.STOPPED
            self._note_sign(event, ts_recorded)
        elif isinstance(event, FeedFaultEvent):
            self._apply_fault(event, ts_recorded)
        elif isinstance(event, ClockOffsetEvent):
            self._clock_offset = event.offset_ms / 1_000.0
        elif isinstance(event, ReconciliationEvent):
            self._unequal[event.subject] = not (event.is_equal or event.is_baseline)
        elif isinstance(event, AlertEvent):
            self._count(metrics.ALERTS, event.code)

    def series(self, now: int, *, is_sealed: bool = False) -> dict[Metric, Series]:
        """Return the series of every metric at `now`, ns UTC; a gauge without a value is left out.

        The series of a counter or a histogram are the same object until one of them changes. The metrics of the
        journal's verification and of the session's process do not follow from events.
        """
        if self._is_changed:
            self._settle()
        found = self._settled | self._gauged
        if not is_sealed:
            found[metrics.FEED_CONNECTED] = (((), float(self._is_connected)),)
            if self._last_sign:
                found[metrics.FEED_AGE] = (((), max(now - self._last_sign, 0) / NS_PER_SECOND),)
        return found

    def _settle(self) -> None:
        for metric, counts in self._counts.items():
            if metric not in self._settled:
                self._settled[metric] = tuple(counts.items())
        for metric, observations in self._histograms.items():
            if metric not in self._settled:
                self._settled[metric] = (((), observations),)
        gauged: dict[Metric, list[tuple[tuple[str, ...], float]]] = {}
        for metric, labels, value in self._gauges():
            if math.isfinite(value):
                gauged.setdefault(metric, []).append((labels, value + 0.0))  # no float is -0.0, and none a bool
        self._gauged = {metric: tuple(series) for metric, series in gauged.items()}
        self._is_changed = False

    def _gauges(self) -> Iterator[tuple[Metric, tuple[str, ...], float]]:
        equity = self._equity()
        peak, day_start = self._peak_and_day_start(equity)
        drawdown, daily_loss = _loss(peak, equity), _loss(day_start, equity)
        yield metrics.ORDERS_OPEN, (), len(self._open)
        yield metrics.EQUITY, (), equity
        unrealised = sum(part.quantity * (mark - part.average_price) for part, mark in self._held())
        gain = equity - self._booked.ledger.initial_cash
        yield metrics.PNL, ("realised",), gain - unrealised
        yield metrics.PNL, ("unrealised",), unrealised
        yield metrics.DRAWDOWN, (), drawdown
        yield metrics.DAILY_LOSS, (), daily_loss
        notionals = [part.quantity * mark for part, mark in self._held()]
        exposures = [each / equity if equity > 0.0 else math.nan for each in notionals]
        yield metrics.EXPOSURE, ("gross",), sum(map(abs, exposures))
        yield metrics.EXPOSURE, ("net",), sum(exposures)
        for name, observed, limit in self._limit_usage(exposures, drawdown, daily_loss, day_start):
            yield metrics.LIMIT_USAGE, (name,), observed / limit if limit else math.nan
        for state in TradingState:
            yield metrics.TRADING_STATE, (state,), self.control.state is state
        yield metrics.POSITION_MISMATCH, (), sum(self._unequal.values())
        yield metrics.CLOCK_OFFSET, (), self._clock_offset
        yield metrics.TIMEFRAME, (), self._timeframe.seconds
        yield metrics.LAST_BAR, (), self._last_bar / NS_PER_SECOND or math.nan

    def _held(self) -> Iterator[tuple[Position, float]]:
        for symbol, position in sorted(self._booked.ledger.positions.items()):
            if position.quantity:
                yield position, self._booked.marks.get(symbol, math.nan)

    def _equity(self) -> float:
        ledger = self._booked.ledger
        if not ledger.positions:
            return ledger.cash
        return ledger.cash + sum(position.quantity * mark for position, mark in self._held())

    def _observe_close(self) -> None:
        if self._is_pending:
            self._closes.add(self._equity(), self._day())
            self._is_pending = False

    def _peak_and_day_start(self, equity: float) -> tuple[float, float]:
        if self._is_pending and 0.0 < equity < math.inf:
            return self._closes.after(equity, self._day())
        return self._closes.peak, self._closes.day_start

    def _day(self) -> int:
        return int(period_of(open_times(self._last_bar, self._timeframe), "day"))

    def _apply_order(self, event: OrderEvent) -> None:
        if event.event is OrderEventKind.REQUESTED:
            self._open[event.order_id] = _OpenOrder(event.ts_event, event.order_type is OrderType.MARKET)
            self._note_request(event.ts_event)
        if event.last_quantity > 0.0:
            self._apply_fill(event)
        if event.event not in TERMINAL or self._open.pop(event.order_id, None) is None:
            return
        self._count(metrics.ORDERS, event.side, event.event.lower())
        if event.event is OrderEventKind.DENIED:
            for code in event.reason.split(", "):
                self._count(metrics.ORDER_DENIALS, code)
        elif event.event is OrderEventKind.REJECTED:
            self._count(metrics.ORDER_REJECTIONS, event.cause or OTHER)

    def _apply_fill(self, event: OrderEvent) -> None:
        self._count(metrics.FILLS, event.side)
        self._count(metrics.TRADED_NOTIONAL, event.side, amount=event.last_quantity * event.last_price)
        if event.fee > 0.0:
            self._count(metrics.FEES, amount=event.fee)
        if event.arrival_price > 0.0:
            cost = event.side.sign * (event.last_price / event.arrival_price - 1.0)
            self._observe(metrics.SLIPPAGE, cost * 1e4)
        order = self._open.get(event.order_id)
        if order is not None and order.is_market and not order.has_fill:
            self._observe(metrics.ORDER_LATENCY, (event.ts_event - order.requested) / NS_PER_SECOND)
            order.has_fill = True

    def _apply_state(self, event: TradingStateEvent) -> None:
        self._count(metrics.STATE_CHANGES, event.cause or OTHER)
        self._observe_close()
        if event.state is TradingState.ACTIVE and self.control.state is not TradingState.ACTIVE:
            self._closes.recover()
        self.control = control_from_events(self.control, [event])

    def _apply_fault(self, event: FeedFaultEvent, ts_recorded: int) -> None:
        if event.fault is FeedFault.DISCONNECTED:
            self._is_connected = False
        elif event.fault is FeedFault.RECONNECTED:
            self._is_connected = True
        if event.fault not in _SILENT:
            self._note_sign(event, ts_recorded)

    def _note_sign(self, event: Event, ts_recorded: int) -> None:
        sign = event.ts_event if self.has_event_times else ts_recorded
        if sign > self._last_sign:
            self._last_sign = sign

    def _count(self, metric: Metric, *labels: str, amount: float = 1.0) -> None:
        counts = self._counts[metric]
        counts[labels if labels in counts else (*labels[:-1], OTHER)] += amount
        self._settled.pop(metric, None)

    def _observe(self, metric: Metric, value: float) -> None:
        self._histograms[metric] = self._histograms[metric].with_one_more(value, metric.buckets)
        self._settled.pop(metric, None)

    def _limit_usage(
        self, exposures: list[float], drawdown: float, daily_loss: float, day_start: float
    ) -> Iterator[tuple[str, float, float]]:
        """Yield the name, the observed value and the limit in force of each limit of the ledger that is set."""
        ramp = self.control.ramp
        observed: dict[str, tuple[float, float]] = {
            "max_orders": (self._n_recent_requests(), 1.0),
            "max_symbol_exposure": (max(map(abs, exposures), default=0.0), ramp),
            "max_gross_exposure": (sum(map(abs, exposures)), ramp),
            "max_net_exposure": (abs(sum(exposures)), ramp),
            "max_concentration": (sum(each * each for each in exposures), ramp),
            "max_open_orders": (len(self._open), 1.0),
            "max_daily_loss": (daily_loss * day_start, 1.0),
            "max_daily_loss_fraction": (daily_loss, 1.0),
            "max_drawdown": (drawdown, 1.0),
            "state.reduce_drawdown": (drawdown, 1.0),
            "state.halt_drawdown": (drawdown, 1.0),
            "state.reduce_daily_loss": (daily_loss, 1.0),
            "state.halt_daily_loss": (daily_loss, 1.0),
        }
        for name, (value, part_in_force) in observed.items():
            table, _, own = name.rpartition(".")
            limit = getattr(self._limits.state if table else self._limits, own)
            if limit is not None:
                yield name, value, limit * part_in_force

    def _note_request(self, now: int) -> None:
        self._request_times.append(now)
        while self._request_times[0] <= now - self._order_window:
            self._request_times.popleft()

    def _n_recent_requests(self) -> int:
        newest = max(self._last_bar, *self._request_times, 0)
        return sum(requested > newest - self._order_window for requested in self._request_times)


def _loss(before: float, equity: float) -> float:
    """Return the fraction of an earlier equity that is lost; 0 for a profit, and before the first close."""
    return max(1.0 - equity / before, 0.0) if before > 0.0 else 0.0
