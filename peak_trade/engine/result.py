"""What a run leaves behind: events and fills, and everything that can be computed from them and the bars."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import takewhile
from typing import Any

import numpy as np
import pandas as pd

from peak_trade.core.arrays import FloatArray
from peak_trade.core.digest import digest_bytes, digest_of
from peak_trade.core.time import iso
from peak_trade.core.values import Fill, TradingState
from peak_trade.engine.loop import EventLoop
from peak_trade.engine.market import Market
from peak_trade.engine.netting import NettedLoop
from peak_trade.engine.risk_engine import RiskEngine
from peak_trade.engine.settings import BacktestSettings
from peak_trade.engine.sleeve import Sleeve
from peak_trade.engine.trades import fills_frame, trades_frame
from peak_trade.journal.codec import encode_event
from peak_trade.journal.events import Event, OrderEvent, OrderEventKind, SignalEvent, TradingStateEvent
from peak_trade.metrics.summary import Stats, summary
from peak_trade.risk.limits import RiskLimits

NO_LIMITS = "No risk limits are set: every order that the instrument allows passes."


@dataclass(frozen=True, eq=False)
class BacktestResult:
    """A finished run. Money is in quote currency, times are close times in UTC.

    `digests` names config, data, code, seed and environment; `run_id` follows from them, `content_digest` from what
    happened. `best_intrabar` is the run with the target taken before the stop, where a bar held both.
    """

    market: Market
    settings: BacktestSettings
    strategies: tuple[str, ...]
    parameters: dict[str, Any]
    events: list[Event]
    fill_list: list[Fill]
    fill_rows: list[int]
    equity_values: FloatArray
    positions: dict[str, FloatArray]
    n_ambiguous: int
    n_below_lot: int
    bankrupt_row: int | None
    movements: Sequence[tuple[int, str, str, float, float]] = ()
    """Row, strategy, symbol, change of position (base units) and of cash (quote currency) of each sleeve, in order."""
    digests: dict[str, str] = field(default_factory=dict)
    exchange: str = "unknown"
    best_intrabar: BacktestResult | None = None
    limits: RiskLimits | None = None

    @property
    def index(self) -> pd.DatetimeIndex:
        """Close times, shape (n_bars,), UTC."""
        return pd.DatetimeIndex(self.market.times, tz="UTC", name="close_time")

    @property
    def run_id(self) -> str:
        """First 16 hex digits of the digest of the five digests."""
        return digest_of(self.digests)[:16]

    @cached_property
    def content_digest(self) -> str:
        """SHA-256 of every event and of equity to the bit."""
        return digest_bytes(*(encode_event(event) for event in self.events), self.equity_values.tobytes())

    @property
    def equity(self) -> pd.Series[float]:
        """Cash plus positions at each close, shape (n_bars,), quote currency; 0.0 from a bankruptcy on."""
        return pd.Series(self.equity_values, index=self.index, name="equity")

    @cached_property
    def exposure(self) -> pd.Series[float]:
        """Net exposure at each close: signed notional over equity, shape (n_bars,), fraction."""
        notional = np.zeros(len(self.market))
        for symbol, column in zip(self.market.symbols, self.market.columns, strict=True):
            held = self.positions[symbol]
            notional += np.where(held != 0.0, held * column.mark, 0.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            share = np.where(self.equity_values > 0.0, notional / self.equity_values, 0.0)
        return pd.Series(share, index=self.index, name="exposure")

    @cached_property
    def fills(self) -> pd.DataFrame:
        """One row a fill; see `trades.fills_frame`."""
        return fills_frame(self.fill_list)

    @cached_property
    def trades(self) -> pd.DataFrame:
        """One row a round trip, flat to flat; see `trades.trades_frame`."""
        return trades_frame(self.fill_list)

    @cached_property
    def benchmark(self) -> BacktestResult:
        """Buying all symbols in equal parts, each at its first close, and holding them, at the same costs."""
        share = 1.0 / len(self.market.symbols)
        sleeves = [
            Sleeve("buy_and_hold", symbol, np.where(np.isnan(column.mark), 0.0, 1.0), share)
            for symbol, column in zip(self.market.symbols, self.market.columns, strict=True)
        ]
        plain = BacktestSettings(initial_cash=self.settings.initial_cash, costs=self.settings.costs)
        return replace(run_sleeves(self.market, sleeves, plain), strategies=("buy_and_hold",), exchange=self.exchange)

    def stats(self) -> Stats:
        """Return every measure of the run; see `metrics.summary`."""
        per_year = self.market.timeframe.bars_per_year
        return summary(self.equity, self.trades, self.fills, self.exposure, per_year)

    @property
    def why(self) -> str:
        """Why nothing traded, in a sentence; empty when something did."""
        if self.fill_list:
            return ""
        n_signals = sum(isinstance(event, SignalEvent) for event in self.events)
        if n_signals == 0:
            return f"Nothing traded: the target stayed flat over all {len(self.market):,} bars."
        ended = [event for event in self.events if isinstance(event, OrderEvent) and event.leaves == 0.0]
        denied = [event.reason for event in ended if event.event is OrderEventKind.DENIED]
        if denied:
            commonest = max(sorted(set(denied)), key=denied.count)
            return f"Nothing traded: {len(denied):,} orders were denied, most often for {commonest}."
        if self.n_below_lot:
            return f"Nothing traded: {self.n_below_lot:,} wanted positions were below one lot. Start with more cash."
        if ended:
            commonest = max(sorted({event.reason for event in ended}), key=[event.reason for event in ended].count)
            return f"Nothing traded: {len(ended):,} orders ended unfilled, most often because of: {commonest}."
        return f"Nothing traded: the target changed {n_signals:,} times, but no order arose within the no-trade band."

    @property
    def standing(self) -> str:
        """How the run stood to risk limits at its end, in a sentence; empty when trading was active within some."""
        if self.limits is None:
            return NO_LIMITS
        states = [event for event in self.events if isinstance(event, TradingStateEvent)]
        if not states or states[-1].state is TradingState.ACTIVE:
            return ""
        since = list(takewhile(lambda event: event.state is states[-1].state, reversed(states)))[-1]
        return f"Trading is {since.state} since {iso(since.ts_event)} ({since.reason} {since.observed:.4g})."

    @property
    def assumptions(self) -> list[str]:
        """Return what the run takes for granted, one sentence each."""
        costs, execution = self.settings.costs, self.settings.execution
        cap = costs.max_participation
        sentences = [
            "A decision on a close fills at the next bar's open, never earlier.",
            f"A taking fill pays {costs.fee_bps:g} bps fee and {costs.slippage_bps:g} bps slippage.",
            "Fills take any size of a bar." if cap is None else f"Fills take at most {cap:.0%} of a bar's volume.",
            f"Entries are {execution.order_type.value} orders; exits by target are market orders.",
            f"The account starts with {self.settings.initial_cash:,.2f} {self.market.columns[0].instrument.quote}; "
            "a long buy is trimmed at the fill to the cash there is, and a constant target does not rebalance.",
            NO_LIMITS
            if self.limits is None
            else f"Every order is held against the risk limits {self.limits.digest()[:16]}.",
        ]
        if execution.has_protection:
            order = "stop before target" if self.settings.intrabar == "worst" else "target before stop"
            sentences.append(f"When one bar holds both, {order}: so it was in {self.n_ambiguous:,} bars.")
        if self.bankrupt_row is not None:
            sentences.append(f"The account went bankrupt at {iso(int(self.market.times[self.bankrupt_row]))}.")
        return sentences


def run_sleeves(
    market: Market,
    sleeves: Sequence[Sleeve],
    settings: BacktestSettings,
    progress: Callable[[int], None] | None = None,
    *,
    is_netted: bool = False,
    drift_band: float | None = None,
    risk_engine: RiskEngine | None = None,
) -> BacktestResult:
    """Run sleeves over a market and return the result, without names and digests."""
    events: list[Event] = []
    loop_class = NettedLoop if is_netted else EventLoop
    loop = loop_class(market, sleeves, settings, emit=events.append, risk_engine=risk_engine, drift_band=drift_band)
    with _no_cycle_collection():
        loop.run(progress)
    return BacktestResult(
        market=market,
        settings=settings,
        strategies=tuple(dict.fromkeys(sleeve.strategy for sleeve in sleeves)),
        parameters={},
        events=events,
        fill_list=loop.fills,
        fill_rows=loop.fill_rows,
        equity_values=equity_path(loop),
        positions=position_paths(loop),
        n_ambiguous=loop.n_ambiguous,
        n_below_lot=loop.n_below_lot,
        bankrupt_row=loop.bankrupt_row,
        movements=loop.movements,
        limits=loop.risk_engine.limits,
    )


@contextmanager
def _no_cycle_collection() -> Iterator[None]:
    """Events hold no cycles, so the collector need not walk them: not meanwhile, and not at once when they are old."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if gc.get_freeze_count() == 0:
            gc.freeze()
            gc.unfreeze()
        if was_enabled:
            gc.enable()


def equity_path(loop: EventLoop) -> FloatArray:
    """Return equity at every close of a finished loop, shape (n_rows,), by the same sums as `EventLoop.equity`."""
    n_rows = len(loop.market)
    equity = _steps(loop.cash_path, n_rows)
    for symbol, column in zip(loop.market.symbols, loop.market.columns, strict=True):
        held = _steps(loop.position_path[symbol], n_rows)
        equity += np.where(held != 0.0, held * column.mark, 0.0)
    return equity


def position_paths(loop: EventLoop) -> dict[str, FloatArray]:
    """Return the signed position at every close of a finished loop, by symbol, each of shape (n_rows,)."""
    return {symbol: _steps(path, len(loop.market)) for symbol, path in loop.position_path.items()}


def _steps(path: Sequence[tuple[int, float]], n_rows: int) -> FloatArray:
    """Spread (row, value from that row on) over all rows; 0.0 before the first, the last of a row wins."""
    rows = np.array([0] + [row for row, _ in path] + [n_rows])
    values = np.array([0.0] + [value for _, value in path])
    return np.repeat(values, np.diff(rows))
