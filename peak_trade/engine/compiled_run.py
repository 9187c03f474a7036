"""Run sleeves in the compiled loop: the inputs as arrays, and a finished run as tables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from peak_trade.core.arrays import FloatArray, IntArray
from peak_trade.core.calendar import NS_PER_YEAR, open_times
from peak_trade.core.field_words import LARGEST
from peak_trade.core.rounding import whole_inverse
from peak_trade.core.values import OrderType, TimeInForce
from peak_trade.costs.model import FUNDING_INTERVAL
from peak_trade.engine.compiled_loop import REASONS, RULES, SLEEVE, STATE, SYMBOL, Table, compiled_loop
from peak_trade.engine.market import Market
from peak_trade.engine.netting import NETTED
from peak_trade.engine.settings import BacktestSettings
from peak_trade.engine.sleeve import Sleeve
from peak_trade.engine.target_counts import TargetCounts
from peak_trade.portfolio.sizing import FixedNotional
from peak_trade.risk.order_gates import LEVERAGE_RTOL


@dataclass(frozen=True, slots=True, eq=False)
class CompiledRun:
    """A finished run as tables, with the strategy and symbol of each sleeve and the counts of its targets."""

    strategies: tuple[str, ...]
    symbols: tuple[str, ...]
    time_in_force: TimeInForce
    initial_cash: float
    events: Table
    orders: Table
    trades: Table
    bookings: Table
    movements: Table
    counts: TargetCounts

    def paths(self, symbols: Sequence[str], n_bars: int) -> tuple[dict[str, FloatArray], FloatArray]:
        """Return the position at every close by symbol, and cash at every close, each of shape (n_bars,)."""
        bookings = self.bookings
        fills = bookings[~np.isnan(bookings["held"])]
        places = fills["symbol"]
        by_symbol = np.argsort(places, kind="stable")
        ends = np.searchsorted(places[by_symbol], np.arange(len(symbols) + 1))
        positions = {}
        for place, symbol in enumerate(symbols):
            own = fills[by_symbol[ends[place] : ends[place + 1]]]
            positions[symbol] = steps(own["bar"], own["held"], n_bars)
        bars = np.concatenate(([0], bookings["bar"]))
        return positions, steps(bars, np.concatenate(([self.initial_cash], bookings["cash"])), n_bars)


def steps(bars: IntArray, values: FloatArray, n_bars: int) -> FloatArray:
    """Spread values from their bars on over all bars; 0.0 before the first bar, the last value of a bar wins."""
    spans = np.diff(np.concatenate(([0], bars, [n_bars])))
    return np.repeat(np.concatenate(([0.0], values)), spans)


def run_compiled(
    market: Market,
    sleeves: Sequence[Sleeve],
    settings: BacktestSettings,
    *,
    is_netted: bool,
    drift_band: float | None,
) -> CompiledRun | str:
    """Run sleeves without risk limits; return the reason if the loop can not follow the run."""
    reason = _unsupported(market, sleeves, settings)
    if reason:
        return reason
    n_bars = len(market)
    symbols = np.zeros(len(market.columns), SYMBOL)
    for symbol, column in zip(symbols, market.columns, strict=True):
        instrument = column.instrument
        symbol["tick"], symbol["ticks"] = instrument.tick_size, _inverse(instrument.tick_size)
        symbol["lot"], symbol["lots"] = instrument.lot_size, _inverse(instrument.lot_size)
        symbol["min_notional"] = instrument.min_notional
        symbol["most_leverage"] = instrument.max_leverage * (1.0 + LEVERAGE_RTOL)
        symbol["is_shortable"], symbol["has_gaps"] = instrument.is_shortable, column.own_bars is not None
        symbol["volume_bar"] = -1
    traded = list(dict.fromkeys(sleeve.symbol for sleeve in sleeves)) if is_netted else []
    owners = [(sleeve.priority, sleeve.symbol, sleeve.strategy) for sleeve in sleeves]
    owners += [(0, symbol, NETTED) for symbol in traded]
    states = np.zeros(len(owners), SLEEVE)
    states["symbol"] = [market.symbols.index(symbol) for _, symbol, _ in owners]
    states["order"], states["crosses_at"] = -1, -1
    states["rank"][sorted(range(len(owners)), key=owners.__getitem__)] = range(len(owners))
    states["holder"] = range(len(owners))
    if is_netted:
        states["holder"] = [len(sleeves) + traded.index(symbol) for _, symbol, _ in owners]
    rebalances = np.zeros((len(sleeves), n_bars if any(sleeve.rebalance_bars for sleeve in sleeves) else 0), np.uint8)
    for place, sleeve in enumerate(sleeves):
        rebalances[place, [bar for bar in sleeve.rebalance_bars if bar < n_bars]] = 1
    state = np.zeros(1, STATE)
    events, orders, trades, bookings, movements = compiled_loop(
        market.times,
        open_times(market.times, market.timeframe),
        *(_stacked([getattr(column, name) for column in market.columns]) for name in ("open", "close", "mark")),
        _stacked([column.volume for column in market.columns]),
        _stacked([sleeve.exposure for sleeve in sleeves]),
        _weights(sleeves),
        _scales(sleeves, n_bars),
        rebalances,
        symbols,
        states,
        _rules(sleeves, settings, drift_band, is_netted=is_netted),
        state,
    )
    if state["end"][0]:
        return REASONS[state["end"][0]]
    return CompiledRun(
        tuple(strategy for _, _, strategy in owners),
        tuple(symbol for _, symbol, _ in owners),
        settings.execution.time_in_force,
        settings.initial_cash,
        events,
        orders,
        trades,
        bookings,
        movements,
        TargetCounts(**{part.name: state[part.name][0].item() for part in fields(TargetCounts)}),
    )


def _unsupported(market: Market, sleeves: Sequence[Sleeve], settings: BacktestSettings) -> str:
    """Return why the loop can not run these sleeves and settings; empty if it can."""
    policy = settings.execution
    if any(sleeve.stepper is not None for sleeve in sleeves):
        return "a strategy decides by its own position"
    if policy.order_type is not OrderType.MARKET:
        return f"entries are {policy.order_type.value} orders"
    if policy.has_protection:
        return "fills are followed by protective orders"
    if any(sleeve.exposure.shape != market.times.shape for sleeve in sleeves):
        return "a sleeve has another number of bars than the market"
    if any(sleeve.position or sleeve.target or sleeve.working for sleeve in sleeves) or not sleeves:
        return "a sleeve has traded before"
    if not all(np.isfinite(sleeve.exposure).all() and np.isfinite(sleeve.weight).all() for sleeve in sleeves):
        return "a target or a weight is not finite"
    steps = [step for column in market.columns for step in (column.instrument.tick_size, column.instrument.lot_size)]
    if any(0.0 < step < 1.0 / LARGEST for step in steps):
        return "a lot or a tick is too small"
    return ""


def _inverse(step: float) -> int:
    return whole_inverse(step) if step > 0.0 else 0


def _stacked(parts: Sequence[FloatArray]) -> FloatArray:
    """Return arrays stacked in one array; a single one is not copied."""
    first = np.ascontiguousarray(parts[0], dtype=np.float64)
    return first[None, :] if len(parts) == 1 else np.stack(parts)


def _weights(sleeves: Sequence[Sleeve]) -> FloatArray:
    """Return weights of shape (n_sleeves, n_bars), or (n_sleeves, 1) if all are constant."""
    if all(isinstance(sleeve.weight, float) for sleeve in sleeves):
        return np.array([[sleeve.weight] for sleeve in sleeves])
    return _stacked([np.broadcast_to(sleeve.weight, sleeve.exposure.shape) for sleeve in sleeves])


def _scales(sleeves: Sequence[Sleeve], n_bars: int) -> FloatArray:
    """Return scales of shape (n_sleeves, n_bars), or (n_sleeves, 1) if there are none; 1.0 where a sleeve has none."""
    if all(sleeve.scale is None for sleeve in sleeves):
        return np.ones((len(sleeves), 1))
    return _stacked([np.ones(n_bars) if sleeve.scale is None else sleeve.scale for sleeve in sleeves])


def _rules(
    sleeves: Sequence[Sleeve], settings: BacktestSettings, drift_band: float | None, *, is_netted: bool
) -> Table:
    costs, policy, sizing = settings.costs, settings.execution, settings.sizing
    rules = np.zeros(1, RULES)
    rules[0] = (
        settings.initial_cash,
        costs.taker_rate,
        costs.slippage_rate,
        math.nan if costs.max_participation is None else costs.max_participation,
        costs.funding_bps_per_8h,
        costs.borrow_rate,
        policy.no_trade_band,
        math.nan if drift_band is None else drift_band,
        sizing.notional if isinstance(sizing, FixedNotional) else math.nan,
        LARGEST,
        NS_PER_YEAR / FUNDING_INTERVAL,
        FUNDING_INTERVAL,
        costs.has_carry,
        policy.time_in_force is TimeInForce.IOC,
        len({sleeve.symbol for sleeve in sleeves}) < len(sleeves),
        is_netted,
        len(sleeves),
    )
    return rules
