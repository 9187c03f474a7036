"""A moving-average strategy on three years of real hourly bars, compared with vectorbt."""

from __future__ import annotations

from pathlib import Path

import pytest

from peak_trade.core.bars import Bars
from peak_trade.core.time import Timeframe
from peak_trade.data.importing import import_file
from peak_trade.data.store import load_bars
from peak_trade.engine.second_opinion import RTOL_EQUITY, RTOL_FILL, second_opinion
from peak_trade.engine.settings import BacktestSettings
from peak_trade.strategies.ma_crossover import MaCrossover
from peak_trade.studies.backtest import backtest
from tests.examples import mostly_long


@pytest.fixture
def hourly(real_data: Path, home: Path) -> Bars:
    path = real_data / "bars" / "binance_BTCUSDT_1h.parquet"
    import_file(path, "BTC/USDT", Timeframe.parse("1h"), "binance", "open")
    return load_bars("BTC/USDT", "1h")


@pytest.mark.parametrize("direction", mostly_long(["long", "both"], 1))
def test_ma_crossover_agrees_with_vectorbt_fill_for_fill(hourly: Bars, direction: str) -> None:
    assert len(hourly) == 28_732
    settings = BacktestSettings.parse({"costs": {"fee_bps": 10.0, "slippage_bps": 5.0}}, "test")
    result = backtest(MaCrossover(direction=direction), hourly, settings)
    opinion = second_opinion(result)
    assert opinion.agrees, str(opinion)
    assert opinion.scope == "decisions"
    assert opinion.n_fills > 600
    assert opinion.fill_error <= RTOL_FILL
    assert opinion.equity_error <= RTOL_EQUITY
    assert len(result.trades) > 300
