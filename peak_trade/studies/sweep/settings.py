"""Configuration of a sweep: the strategy, its bars, the values to try and how they are chosen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from peak_trade.core.settings import BarCount, Seed, Settings
from peak_trade.studies.sweep.run import Method


class SweepSettings(Settings):
    """Configuration of a sweep."""

    strategy: str
    """Name of a strategy, or package.module:Class."""

    symbol: str
    """Base and quote currency, for example BTC/USDT."""

    exchange: str | None = None
    """Exchange of the bars; required when the store has the symbol from more than one exchange."""

    timeframe: str = "1h"
    """Length of a bar."""

    start: str | None = None
    """First close time that is traded, UTC, inclusive. Earlier bars warm the strategy up."""

    end: str | None = None
    """Close time at which the sweep ends, UTC, exclusive."""

    parameters: Mapping[str, Any] = {}
    """Values of each parameter: a list, or a range such as "5..50:5"."""

    constraints: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """Comparisons that every set fulfils, such as "fast < slow"."""

    method: Method = "grid"
    """grid: all sets. random: `sets` of them with equal chances. search: `sets` chosen by the results so far."""

    sets: BarCount | None = None
    """Number of sets of a random choice or a search."""

    seed: Seed = 0
    """Seed of a random choice or a search."""
