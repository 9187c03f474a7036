"""Composite: the joint exposure of several strategies, with an optional volatility target."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, Self, cast

import numpy as np
import pandas as pd
from pydantic import InstanceOf, SerializerFunctionWrapHandler, field_serializer, model_validator

from peak_trade.core.arrays import FloatArray
from peak_trade.core.bar_frame import BarColumns, private_frame
from peak_trade.core.compute import Compute, compute
from peak_trade.core.settings import BarCount, Fraction, Positive
from peak_trade.indicators.dispersion import realised_volatility
from peak_trade.indicators.means import hide_head
from peak_trade.strategies.base import Direction, Strategy, allow
from peak_trade.strategies.hysteresis import held_scale
from peak_trade.strategies.incremental import IncrementalStrategy, is_incremental
from peak_trade.strategies.ma_crossover import MaCrossover
from peak_trade.strategies.momentum import Momentum
from peak_trade.strategies.rsi_reversion import RsiReversion


class Composite(IncrementalStrategy):
    """The weighted mean of the members' exposure, or the side that holds more than half of the weight."""

    members: tuple[InstanceOf[Strategy], ...] = (MaCrossover(), Momentum(), RsiReversion())
    """The member strategies; each keeps its own direction."""

    weights: tuple[Positive, ...] | None = None
    """Weight of each member, above 0, on any scale; equal weights by default."""

    rule: Literal["weighted", "vote"] = "weighted"
    """weighted: the weighted mean of the exposures. vote: 1 or -1 where that side has more than half of the weight."""

    target_volatility: Positive | None = None
    """Volatility target: largest volatility per bar, a fraction; exposure is scaled down, never up."""

    volatility_window: BarCount = 50
    """Number of log returns in the volatility; used with target_volatility."""

    volatility_band: Fraction = 0.1
    """Smallest relative change of the scale that is applied; smaller changes keep the current scale."""

    direction: Direction = "both"
    """Which sides may be held, on top of what each member allows."""

    @model_validator(mode="after")
    def _weights_fit_the_members(self) -> Self:
        if not self.members:
            raise ValueError("members is empty: name at least one strategy.")
        if self.weights is not None and len(self.weights) != len(self.members):
            raise ValueError(
                f"weights has {len(self.weights)} values, members {len(self.members)}: give one weight per member."
            )
        return self

    @field_serializer("members", mode="wrap")
    def _name_the_members(
        self, members: tuple[Strategy, ...], _serialize: SerializerFunctionWrapHandler
    ) -> list[dict[str, Any]]:
        return [
            {"strategy": f"{type(member).__module__}:{type(member).__qualname__}", **member.model_dump(mode="json")}
            for member in members
        ]

    @property
    def warm_up(self) -> int:
        """The longest warm-up of the members and of the volatility target."""
        overlay = self.volatility_window if self.target_volatility is not None else 0
        return max(overlay, *(member.warm_up for member in self.members))

    @property
    def is_incremental(self) -> bool:
        """Whether every member is."""
        return all(is_incremental(member) for member in self.members)

    def exposure(self, bars: pd.DataFrame) -> FloatArray:
        """Return the joint exposure in [-1, 1]; NaN during the warm-up of the slowest member."""
        exposures = (member.exposure(private_frame(bars)) for member in self.members)
        return self._joint(exposures, BarColumns.of(bars), compute)

    def evaluate(self, columns: BarColumns, compute: Compute) -> FloatArray:
        """Return the joint exposure of members that are incremental, as `exposure` does."""
        exposures = (cast(IncrementalStrategy, member).evaluate(columns, compute) for member in self.members)
        return self._joint(exposures, columns, compute)

    def _joint(self, exposures: Iterable[FloatArray], columns: BarColumns, compute: Compute) -> FloatArray:
        weights = self.weights or (1.0,) * len(self.members)
        total = sum(weights)
        long_share, short_share, mean = (np.zeros(columns.close.size) for _ in range(3))
        for exposure, weight in zip(exposures, weights, strict=True):
            mean += weight / total * exposure
            long_share += np.where(exposure > 0.0, weight, 0.0)
            short_share += np.where(exposure < 0.0, weight, 0.0)
        joint = np.clip(mean, -1.0, 1.0)
        if self.rule == "vote":
            joint = (2.0 * long_share > total).astype(np.float64) - (2.0 * short_share > total)
        if self.target_volatility is not None:
            volatility = compute(realised_volatility, columns.close, self.volatility_window)
            wanted = np.minimum(1.0, self.target_volatility / np.maximum(volatility, self.target_volatility))
            joint = joint * compute(held_scale, wanted, self.volatility_band)
        return allow(compute(hide_head, joint, self.warm_up), self.direction)
