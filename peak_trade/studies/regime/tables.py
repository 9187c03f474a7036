"""Tables of a run by regime, of transitions and durations, and of the detection lag."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from peak_trade.core.arrays import FloatArray
from peak_trade.core.bar_frame import index_ns
from peak_trade.engine.result import BacktestResult
from peak_trade.journal.events import SignalEvent
from peak_trade.metrics import Measure, annual_volatility, max_drawdown, sharpe
from peak_trade.regimes.states import REGIMES, FilteredRegimes, Regime, durations

Labels = NDArray[np.int8]


def regime_table(result: BacktestResult, labels: Labels) -> pd.DataFrame:
    """Measure a run separately in each regime.

    Parameters
    ----------
    result : BacktestResult
    labels : int8 array of shape (n_bars,)
        The regime used at each close of the run, for example `RegimeAware.labels`.

    Returns
    -------
    DataFrame of shape (4, 12): one row per regime, then one for all known bars
        regime; bars; share, of the known bars; total_return and max_drawdown, fractions, of the regime's bars chained;
        annual_volatility and sharpe, annualised, with sharpe_stderr, n and note ("too few" below 30 returns); trades
        entered; expected_duration, bars, 1 / (1 − p) with p the frequency with which the regime follows itself.

    Notes
    -----
    The return from close t to close t + 1 belongs to the regime known at close t, so that no label uses hindsight.
    After a bankruptcy every return is 0.

    """
    equity = result.equity_values
    returns = np.divide(equity[1:], equity[:-1], out=np.ones(len(equity) - 1), where=equity[:-1] > 0.0) - 1.0
    known = labels[:-1]
    per_year = result.market.bars_per_year
    entered = _labels_at(result, labels, result.trades)
    stays = np.diagonal(transition_matrix(labels).to_numpy())
    total = int((known >= 0).sum())
    rows = []
    for regime in (*REGIMES, None):
        inside = known == regime if regime is not None else known >= 0
        part = returns[inside]
        chained = np.concatenate([[1.0], np.cumprod(1.0 + part)])
        ratio = sharpe(part, per_year)
        stay = float(stays[regime]) if regime is not None else np.nan
        rows.append(
            {
                "regime": "all" if regime is None else regime.name.lower(),
                "bars": int(inside.sum()),
                "share": inside.sum() / total if total else 0.0,
                "total_return": chained[-1] - 1.0,
                "annual_volatility": _value(annual_volatility(part, per_year)),
                "sharpe": _value(ratio),
                "sharpe_stderr": np.nan if ratio.stderr is None else ratio.stderr,
                "n": ratio.n,
                "max_drawdown": _value(max_drawdown(chained)),
                "trades": int((entered == regime).sum()) if regime is not None else int((entered >= 0).sum()),
                "expected_duration": np.inf if stay == 1.0 else 1.0 / (1.0 - stay),
                "note": ratio.note if ratio.value is None else "",
            }
        )
    return pd.DataFrame(rows)


def transition_matrix(labels: Labels) -> pd.DataFrame:
    """Return the frequency with which each regime follows each other one from one bar to the next.

    A DataFrame of shape (3, 3) in the order bear, sideways, bull: the regime of a bar is the index, that of the next
    bar the column. Each line sums to 1, or is NaN for a regime that does not occur. Only pairs of known bars count.
    """
    counts = np.zeros((3, 3))
    pairs = (labels[:-1] >= 0) & (labels[1:] >= 0)
    np.add.at(counts, (labels[:-1][pairs], labels[1:][pairs]), 1.0)
    sums = counts.sum(axis=1, keepdims=True)
    names = [regime.name.lower() for regime in REGIMES]
    shares = np.where(sums > 0.0, counts / np.where(sums > 0.0, sums, 1.0), np.nan)
    return pd.DataFrame(shares, index=pd.Index(names, name="from"), columns=names)


def duration_table(labels: Labels) -> pd.DataFrame:
    """Return one row per regime and one for all: regime, count, median_bars and mean_bars of its durations."""
    known = labels[labels >= 0]
    lengths = durations(labels)
    firsts = known[np.concatenate([[0], np.cumsum(lengths)[:-1]])] if lengths.size else known
    rows = []
    for regime in (*REGIMES, None):
        part = lengths if regime is None else lengths[firsts == regime]
        rows.append(
            {
                "regime": "all" if regime is None else regime.name.lower(),
                "count": int(part.size),
                "median_bars": float(np.median(part)) if part.size else np.nan,
                "mean_bars": float(part.mean()) if part.size else np.nan,
            }
        )
    return pd.DataFrame(rows)


def detection_lag(truth: Labels, labels: Labels) -> pd.DataFrame:
    """Measure the number of bars between each change of the true regime and the label that follows it.

    Parameters
    ----------
    truth : int8 array of shape (n_bars,)
        The true regimes when they are known, otherwise the smoothed ones.
    labels : int8 array of shape (n_bars,)
        The filtered regimes.

    Returns
    -------
    DataFrame of shape (n_changes, 4)
        bar, the index of the change; regime, the new one; lag in bars, NaN when the regime ended before a label
        named it; duration of the regime in bars.

    """
    both = (truth >= 0) & (labels >= 0)
    first = int(np.argmax(both)) if both.any() else len(truth)
    changes = [int(bar) + 1 for bar in np.flatnonzero(np.diff(truth)) if bar >= first]
    ends = [*changes, len(truth)][1:]
    rows = []
    for start, end in zip(changes, ends, strict=True):
        named = np.flatnonzero(labels[start:end] == truth[start])
        lag = float(named[0]) if named.size else np.nan
        rows.append((start, Regime(int(truth[start])).name.lower(), lag, end - start))
    return pd.DataFrame(rows, columns=["bar", "regime", "lag", "duration"]).astype({"lag": "float64"})


def fallback_table(regimes: FilteredRegimes) -> pd.DataFrame:
    """Return one row per span that the rules labelled because a fit failed: reason, start and end (closes, UTC)."""
    return pd.DataFrame(
        {
            "reason": pd.Series([span.reason for span in regimes.fallbacks], dtype="str"),
            "start": pd.to_datetime([span.start for span in regimes.fallbacks], utc=True),
            "end": pd.to_datetime([span.end for span in regimes.fallbacks], utc=True),
        }
    )


def _labels_at(result: BacktestResult, labels: Labels, trades: pd.DataFrame) -> Labels:
    if trades.empty:
        return np.empty(0, dtype=np.int8)
    entries = index_ns(pd.DatetimeIndex(trades["entry_time"]))
    decided = np.searchsorted(result.market.times, entries, side="right") - 1
    return labels[np.maximum(decided, 0)]


def _value(measure: Measure) -> float:
    return np.nan if measure.value is None else measure.value


def target_exposure(run: BacktestResult) -> FloatArray:
    """Return the target exposure after each close, shape (n_bars,), from the signals of a run with one sleeve."""
    target = np.zeros(len(run.market))
    for event in run.events:
        if isinstance(event, SignalEvent):
            target[np.searchsorted(run.market.times, event.ts_event) :] = event.exposure
    return target
