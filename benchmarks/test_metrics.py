"""Time of the summary of a million bars. Target: below 0.1 s."""

import numpy as np
import pandas as pd

from peak_trade import metrics


def test_summary_of_a_million_bars(benchmark):
    rng = np.random.default_rng(1)
    equity = 100.0 * np.exp(np.cumsum(rng.normal(0.0, 0.001, 1_000_000)))
    trades, fills = pd.DataFrame({"pnl": [], "fees": []}), pd.DataFrame({"quantity": [], "price": []})
    stats = benchmark(metrics.summary, equity, trades, fills, np.ones(equity.size), 525_600.0)
    assert stats["sharpe"].n == 999_999
