"""Probability of backtest overfitting: how often the best set of one half of the time is a poor one in the other."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from peak_trade.core.arrays import FloatArray
from peak_trade.core.errors import DataError
from peak_trade.metrics.measure import MIN_RETURNS, Measure, checked

N_BLOCKS = 16
"""Default number of blocks, which give 12,870 splits."""
MOST_RATIOS = 50_000_000
"""Largest number of Sharpe ratios that `block_count` allows, over all splits and sets."""
SAME_RETURNS = 1e-12
"""Returns whose squared deviations are below this fraction of their squares count as equal."""
_AT_ONCE = 4_000_000


@dataclass(frozen=True, slots=True, eq=False)
class Overfitting:
    """Result of the combinatorially symmetric cross-validation of a selection by Sharpe ratio.

    `probability` is the share of the splits in which the set with the best ratio in sample ranks below the median out
    of sample; a set at the median counts half. `loss` is the share in which its ratio out of sample is below 0.
    `logits` has shape (n_splits,): ln(w / (1 - w)) with w = rank / (n_sets + 1), rank 1 for the worst. The n of the
    measures counts sets.
    """

    probability: Measure
    loss: Measure
    logits: FloatArray


def probability_of_overfitting(returns: Any, n_blocks: int = N_BLOCKS) -> Overfitting:
    """Return the probability of backtest overfitting of a choice among parameter sets.

    Parameters
    ----------
    returns : DataFrame or float64 array of shape (n, n_sets), simple returns, fractions
        One column per parameter set, all over the same bars.
    n_blocks : int
        Even number of contiguous blocks of time, 2 or more. Each half of them is in sample once.

    Returns
    -------
    Overfitting
        No value below two sets, or below 30 returns per half.

    Raises
    ------
    DataError
        If a return is not finite, the shape is another one, or n_blocks is odd or below 2.

    References
    ----------
    Bailey, Borwein, López de Prado and Zhu (2017), The Probability of Backtest Overfitting, Journal of Computational
    Finance 20(4).

    Examples
    --------
    >>> noise = np.random.default_rng(1).normal(0.0, 0.01, (500, 20))
    >>> print(probability_of_overfitting(noise, n_blocks=8).probability)
    0.1
    >>> noise[:, 3] += 0.005
    >>> print(probability_of_overfitting(noise, n_blocks=8).probability)
    0

    """
    matrix = np.asarray(returns, dtype=np.float64)
    if matrix.ndim != 2:
        raise DataError(f"returns has shape {matrix.shape}; give one row per bar and one column per parameter set.")
    for column in matrix.T:
        checked(column, "returns")
    return overfitting_of_moments(block_moments(matrix.T, n_blocks))


def block_moments(returns: FloatArray, n_blocks: int) -> FloatArray:
    """Return number, sum and sum of squares of the returns of each block of time, shape (n_sets, n_blocks, 3).

    `returns` has shape (n_sets, n). The blocks are contiguous and differ in length by one return at most. DataError if
    n_blocks is odd or below 2.
    """
    if n_blocks < 2 or n_blocks % 2:
        raise DataError(f"n_blocks is {n_blocks}; give an even number, 2 or more.")
    sizes = np.diff(np.arange(n_blocks + 1) * returns.shape[1] // n_blocks)
    in_block = np.repeat(np.eye(n_blocks), sizes, axis=0)
    sums, squares = returns @ in_block, (returns * returns) @ in_block
    return np.stack([np.broadcast_to(sizes, sums.shape), sums, squares], axis=2)


def block_count(n_sets: int) -> int:
    """Return the largest number of blocks, 16 or fewer, whose splits need at most `MOST_RATIOS` Sharpe ratios."""
    return next(n for n in range(N_BLOCKS, 0, -2) if n == 2 or math.comb(n, n // 2) * n_sets <= MOST_RATIOS)


def overfitting_of_moments(moments: FloatArray) -> Overfitting:
    """Return the result of `probability_of_overfitting` from the `block_moments` of each set, (n_sets, n_blocks, 3)."""
    n_sets, n_blocks, _ = moments.shape
    n_returns = int(moments[0, :, 0].sum()) if n_sets else 0
    if n_sets < 2 or n_returns < 2 * MIN_RETURNS:
        few = f"{n_sets} sets, 2 needed" if n_sets < 2 else f"{n_returns} returns, {2 * MIN_RETURNS} needed"
        none = Measure(None, n_sets, note=f"too few: {few}")
        return Overfitting(none, none, np.empty(0))
    halves = np.zeros((math.comb(n_blocks, n_blocks // 2), n_blocks))
    for row, half in enumerate(combinations(range(n_blocks), n_blocks // 2)):
        halves[row, list(half)] = 1.0
    mirrored = halves[: len(halves) // 2]  # the complement of each of them is in the other half of the list
    parts = [_ranks(part, moments) for part in np.array_split(mirrored, -(-mirrored.shape[0] * n_sets // _AT_ONCE))]
    share, outside = np.concatenate(parts).T
    share /= n_sets + 1.0
    note = f"{len(halves):,} splits of {n_blocks} blocks"
    below = float(np.mean((share < 0.5) + 0.5 * (share == 0.5)))
    return Overfitting(
        Measure(below, n_sets, note=note),
        Measure(float(np.mean(outside < 0.0)), n_sets, note=note),
        np.log(share / (1.0 - share)),
    )


def _ranks(halves: FloatArray, moments: FloatArray) -> FloatArray:
    """Return rank and ratio out of sample of the set that is best in sample, for each half and its complement.

    Shape (2 n_halves, 2).
    """
    rows = np.arange(len(halves))
    both = _ratios(halves, moments), _ratios(1.0 - halves, moments)
    found = []
    for inside, outside in (both, both[::-1]):
        own = outside[rows, inside.argmax(axis=1)]
        lower, equal = (outside < own[:, None]).sum(axis=1), (outside == own[:, None]).sum(axis=1)
        found.append(np.column_stack([lower + 0.5 * (equal + 1.0), own]))
    return np.concatenate(found)


def _ratios(halves: FloatArray, moments: FloatArray) -> FloatArray:
    """Return the Sharpe ratio of each set over each half, shape (n_splits, n_sets); 0.0 where nothing varies."""
    n, total, squares = (halves @ moments[:, :, kind].T for kind in range(3))
    spread = squares - total * total / n
    varies = spread > SAME_RETURNS * squares
    return np.where(varies, total / n / np.sqrt(np.where(varies, spread, 1.0) / (n - 1.0)), 0.0)
