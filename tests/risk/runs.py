"""Runs of the event loop over generated bars, in which one limit denies or lets every order pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from peak_trade.core.bars import Bars
from peak_trade.core.time import Timeframe
from peak_trade.core.values import Denial
from peak_trade.costs.model import Costs
from peak_trade.engine.loop import EventLoop
from peak_trade.engine.market import Market
from peak_trade.engine.result import BacktestResult
from peak_trade.engine.risk_engine import RiskEngine
from peak_trade.engine.settings import BacktestSettings, ExecutionPolicy
from peak_trade.engine.sleeve import Sleeve
from peak_trade.journal.events import DecisionEvent
from peak_trade.risk.limits import RiskLimits
from peak_trade.risk.state import Control
from peak_trade.strategies.base import Strategy
from peak_trade.studies.backtest import backtest
from peak_trade.wiring.gates import make_risk_engine
from tests.risk.cases import BTC, ETH

SIX_HOURS = Timeframe.parse("6h")
N_DAYS, N_TRADED = 420, 24
"""Number of days of every history, and number of bars at its end that are traded."""


class Pattern(Strategy):
    """Targets per bar, repeated to the end of the run, so every kind of order occurs several times."""

    targets: list[float]
    other: list[float] | None = None
    """Targets on ETH/USDT, if they differ."""

    @property
    def warm_up(self) -> int:
        return 0

    def exposure(self, bars):
        is_other = self.other is not None and bars["volume"].iloc[0] % 2.0 == 1.0
        return np.resize(np.array(self.other if is_other else self.targets, dtype=np.float64), len(bars))


def history_of(symbol: str, seed: int, step: float = 0.0, volatility: float = 0.03, crash: bool = False) -> Bars:
    """Return 420 days of six-hour bars that end at 100. The traded ones rise by `step` per bar; ETH's volume is odd."""
    rng = np.random.default_rng(seed)
    n_bars = 4 * N_DAYS
    moves = rng.normal(0.0, volatility / 2.0, n_bars)
    if crash:
        moves[-400:] = -np.linspace(0.002, 0.03, 400)
    moves[-N_TRADED:] = np.log1p(step)
    close = np.exp(np.cumsum(moves))
    close *= 100.0 / close[-N_TRADED - 1]
    opened = np.concatenate((close[:1], close[:-1]))
    frame = {
        "open": opened,
        "high": np.maximum(opened, close),
        "low": np.minimum(opened, close),
        "close": close,
        "volume": np.full(n_bars, 10_000.0 + (symbol == ETH)),
    }
    index = pd.date_range("2021-01-01 06:00", periods=n_bars, freq="6h", tz="UTC")
    return Bars(pd.DataFrame(frame, index=index), symbol, SIX_HOURS)


def traded_part(bars: Bars) -> Bars:
    """Return the traded bars at the end of a history."""
    return Bars(bars.frame.iloc[-N_TRADED:], bars.symbol, bars.timeframe)


def run(
    limits: dict[str, Any],
    targets: Sequence[float] = (1.0,),
    *,
    other: Sequence[float] | None = None,
    symbols: Sequence[str] = (BTC,),
    policy: dict[str, Any] | None = None,
    instrument: Any = None,
    **market: Any,
) -> BacktestResult:
    """Run a pattern of targets under limits, without costs, from 10,000 of cash."""
    histories = [history_of(symbol, seed, **market) for seed, symbol in enumerate(symbols)]
    settings = BacktestSettings(
        costs=Costs(fee_bps=0.0, slippage_bps=0.0, max_participation=None),
        execution=ExecutionPolicy(**(policy or {})),
    )
    return backtest(
        Pattern(targets=list(targets), other=None if other is None else list(other)),
        [traded_part(part) for part in histories],
        settings,
        instruments=None if instrument is None else {instrument.symbol: instrument},
        risk=RiskLimits.parse(limits, "test"),
        history=histories,
    )


def decisions(result: BacktestResult) -> list[DecisionEvent]:
    """Return the decisions of a run, in order."""
    return [event for event in result.events if isinstance(event, DecisionEvent)]


def denials_of(result: BacktestResult, code: str) -> list[Denial]:
    """Return the denials of one gate in a run."""
    return [denial for decision in decisions(result) for denial in decision.denials if denial.code == code]


def idle_risk_engine(
    limits: RiskLimits, control: Control | None = None, symbols: Sequence[str] = (BTC,)
) -> tuple[RiskEngine, EventLoop, list[Any]]:
    """Return a risk engine, a flat loop that has seen its first bar, and the list of its events."""
    bars = [history_of(symbol, seed) for seed, symbol in enumerate(symbols)]
    risk_engine = make_risk_engine(limits, bars, control)
    market = Market.of([traded_part(part) for part in bars])
    events: list[Any] = []
    books = [Sleeve("ma", symbol, np.zeros(len(market)), 1.0) for symbol in symbols]
    loop = EventLoop(market, books, BacktestSettings(), emit=events.append, risk_engine=risk_engine)
    loop.step(0)
    return risk_engine, loop, events
