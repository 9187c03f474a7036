"""An incremental strategy that reads earlier bars past `compute` is refused by the check and by a session."""

from __future__ import annotations

import numpy as np
import pytest

from peak_trade.causality.check import check_causality
from peak_trade.causality.continued import check_continued
from peak_trade.core.arrays import FloatArray
from peak_trade.core.bar_frame import BarColumns
from peak_trade.core.compute import Compute
from peak_trade.core.errors import StrategyError
from peak_trade.data.sample import synthetic_bars
from peak_trade.indicators.means import lag
from peak_trade.sessions.config import SessionConfig
from peak_trade.sessions.parts import check_strategies
from peak_trade.strategies.incremental import IncrementalStrategy


class Rises(IncrementalStrategy):
    """Long after a rise over two bars."""

    way: str = "lag"

    @property
    def warm_up(self) -> int:
        return 2

    def evaluate(self, columns: BarColumns, compute: Compute) -> FloatArray:
        close = columns.close
        if self.way == "lag":
            return (close > compute(lag, close, 2)).astype(np.float64)
        if self.way == "roll":
            return np.r_[0.0, 0.0, (close[2:] > close[:-2])]
        held = np.zeros(close.size)
        held[2:] = close[2:] > close[:-2]
        return held


def test_a_strategy_with_all_of_its_memory_in_compute_passes() -> None:
    bars = synthetic_bars(300)
    check_continued(Rises(), bars)
    assert check_causality(Rises(), bars, n_cuts=2).is_causal


@pytest.mark.parametrize(
    ("way", "message"), [("slice", "the exposure is 1.0 over all bars and 0.0 bar by bar"), ("roll", r"shape \(2,\)")]
)
def test_a_strategy_that_reads_earlier_rows_is_refused(way: str, message: str) -> None:
    bars, asked = synthetic_bars(300), {"strategy": "ma_crossover", "timeframe": "1h"}
    asked["symbol"] = bars.symbol
    config = SessionConfig.parse({"mode": "paper", "feed": "recorded", "exchange": "binance", **asked}, "test")
    for check in (
        lambda: check_causality(Rises(way=way), bars, n_cuts=2),
        lambda: check_strategies(config, [Rises(way=way)], [bars], [], False),
    ):
        with pytest.raises(StrategyError, match=message):
            check()
