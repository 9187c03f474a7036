"""Run scenarios through the event loop."""

from __future__ import annotations

import numpy as np
import pandas as pd

from peak_trade.core.bar_frame import COLUMNS
from peak_trade.core.bars import Bars
from peak_trade.core.time import Timeframe
from peak_trade.core.values import Instrument
from peak_trade.engine.market import Market
from peak_trade.engine.result import BacktestResult, run_sleeves
from peak_trade.engine.settings import BacktestSettings
from peak_trade.engine.sleeve import Sleeve
from peak_trade.indicators.ranges import atr
from peak_trade.strategies.base import check_exposure
from tests.engine.scenarios import Bar, Scenario

HOUR = Timeframe.parse("1h")


def bars_of(symbol: str, rows: list[Bar | None]) -> Bars:
    index = pd.date_range("2024-01-01 01:00", periods=len(rows), freq="h", tz="UTC")
    held = [row is not None for row in rows]
    frame = pd.DataFrame(
        [row for row in rows if row is not None], columns=list(COLUMNS), dtype=float, index=index[held]
    )
    return Bars(frame, symbol, HOUR)


def settings_of(scenario: Scenario) -> BacktestSettings:
    costs = {"fee_bps": 0.0, "slippage_bps": 0.0, "max_participation": None, **scenario.costs}
    values = {"initial_cash": 1000.0, "costs": costs, "execution": scenario.execution, "sizing": scenario.sizing}
    return BacktestSettings.parse(values, scenario.name)


def run_scenario(scenario: Scenario) -> BacktestResult:
    settings = settings_of(scenario)
    symbols = sorted(scenario.bars)
    bars = {symbol: bars_of(symbol, list(scenario.bars[symbol])) for symbol in symbols}
    instruments = {symbol: Instrument(symbol, **scenario.instrument) for symbol in symbols}
    market = Market.of(list(bars.values()), instruments)
    sleeves = []
    for symbol in symbols:
        exposure = np.array(scenario.exposure[symbol], dtype=float)
        checked = check_exposure(exposure, market.times, scenario.warm_up, scenario.name)
        columns = market.columns[symbols.index(symbol)]
        ranges = None
        if settings.execution.needs_atr:
            ranges = np.nan_to_num(atr(columns.high, columns.low, columns.close, settings.execution.atr_window))
        weight = scenario.weights.get(symbol, 1.0)
        sleeves.append(Sleeve("scenario", symbol, checked, weight, None, ranges, 0, scenario.rebalance_bars))
    return run_sleeves(market, sleeves, settings)
