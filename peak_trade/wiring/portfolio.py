"""Parts of a portfolio: the strategies of its entries, and what the weights of the entries are estimated from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from peak_trade.core.arrays import FloatArray
from peak_trade.engine.settings import BacktestSettings
from peak_trade.strategies.base import Strategy
from peak_trade.strategies.panel import PanelStrategy
from peak_trade.wiring.allocators import find_allocator
from peak_trade.wiring.portfolio_settings import PortfolioRules, StrategyEntry
from peak_trade.wiring.sleeves import Evaluation
from peak_trade.wiring.strategies import make_panel_strategy, make_strategy


def strategy_of(entry: StrategyEntry) -> Strategy | PanelStrategy:
    """Return the strategy of an entry with its parameters."""
    if entry.is_panel:
        return make_panel_strategy(entry.name, entry.parameters)
    return make_strategy(entry.name, entry.parameters)


def code_of(entries: Sequence[StrategyEntry], rules: PortfolioRules | None = None) -> list[Any]:
    """Return the parts whose code counts in the digests of a run: the strategies, and the allocator of a portfolio."""
    parts: list[Any] = [strategy_of(entry) for entry in entries]
    return parts if rules is None else [*parts, find_allocator(rules.allocation.method)]


def evaluation_of(entry: StrategyEntry, strategy: Strategy | PanelStrategy, settings: BacktestSettings) -> Evaluation:
    """Return the evaluation of the strategy of an entry."""
    return Evaluation(strategy, entry.shown_as, entry.traded, settings, entry.max_gross)


def held_by_entries(held: FloatArray, returns: FloatArray, n_sleeves: Sequence[int]) -> tuple[FloatArray, FloatArray]:
    """Return exposure and return of each entry from those of its sleeves, shape (n_bars, n_entries).

    The return of a panel strategy is the sum over its symbols of exposure × return, with exposure 1; without a position
    it is the mean return of the symbols, with exposure 0. NaN at closes at which no symbol has a bar.

    Parameters
    ----------
    held, returns : float64 arrays of shape (n_bars, n_sleeves)
        See `held_over_bars`; the sleeves of an entry are next to each other.
    n_sleeves : sequence of int
        Number of sleeves of each entry.

    """
    parts, first = [], 0
    for n in n_sleeves:
        part = slice(first, first + n)
        first += n
        own, change = held[:, part], returns[:, part]
        if n > 1:
            known = ~np.isnan(change)
            has_position = (known & (own != 0.0)).any(axis=1)
            total = np.where(known, own * change, 0.0).sum(axis=1)
            mean = np.where(known, change, 0.0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
            is_known = known.any(axis=1)
            change = np.where(is_known, np.where(has_position, total, mean), np.nan)[:, None]
            own = np.where(is_known, has_position.astype(np.float64), np.nan)[:, None]
        parts.append((own, change))
    own_parts, changes = zip(*parts, strict=True)
    return np.hstack(own_parts), np.hstack(changes)
