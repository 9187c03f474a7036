"""A strategy whose exposure is scaled, filtered or switched by the regime of the market."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field, PrivateAttr, SerializerFunctionWrapHandler, field_serializer, model_validator

from peak_trade.core.arrays import FloatArray
from peak_trade.core.bar_frame import index_ns, private_frame
from peak_trade.core.errors import StrategyError
from peak_trade.core.settings import Fraction
from peak_trade.core.time import iso
from peak_trade.regimes.detector import Detector
from peak_trade.regimes.hmm import HmmDetector
from peak_trade.regimes.states import FilteredRegimes, Regime, SmoothedRegimes, require_filtered
from peak_trade.strategies.base import Strategy
from peak_trade.strategies.buy_and_hold import BuyAndHold

Mode = Literal["scale", "filter", "switch"]


class RegimeAware(Strategy):
    """The exposure of another strategy, changed by the filtered regime of the same close; flat while it is unknown."""

    inner: Strategy = BuyAndHold()
    """Strategy within a regime."""

    detector: Detector = HmmDetector()
    """Regime detector."""

    mode: Mode = "scale"
    """scale: multiply by the weight of the regime. filter: keep where the weight is above 0, otherwise flat. switch:
    use the strategy of the regime, flat without one."""

    bull: Fraction = 1.0
    """Weight in a bull regime."""

    sideways: Fraction = 0.5
    """Weight in a sideways regime."""

    bear: Fraction = 0.0
    """Weight in a bear regime."""

    bull_strategy: Strategy | None = None
    """Strategy of `switch` in a bull regime; `inner` when left out."""

    sideways_strategy: Strategy | None = None
    """Strategy of `switch` in a sideways regime; flat when left out."""

    bear_strategy: Strategy | None = None
    """Strategy of `switch` in a bear regime; flat when left out."""

    delay: Annotated[int, Field(ge=0)] = 0
    """Bars by which the regime is known later; shows how much a result depends on quick detection."""

    regimes_digest: str = ""
    """Digest of the regimes passed to `of`; empty when the detector computes them from the bars."""

    _regimes: FilteredRegimes | None = PrivateAttr(default=None)

    @model_validator(mode="before")
    @classmethod
    def _regimes_come_through_of(cls, values: Any) -> Any:
        if isinstance(values, dict):
            for value in values.values():
                if isinstance(value, SmoothedRegimes):
                    require_filtered(value)
        return values

    @classmethod
    def of(cls, inner: Strategy, regimes: FilteredRegimes, **values: Any) -> Self:
        """Build from regimes that are filtered already, so that several backtests share one detection.

        Parameters
        ----------
        inner : Strategy
        regimes : FilteredRegimes
            Regimes of at least the bars that will be traded.
        **values
            Other fields.

        Raises
        ------
        ConfigError
            If the regimes are smoothed, because those look ahead; or on an unknown field.

        """
        filtered = require_filtered(regimes)
        made = cls(inner=inner, regimes_digest=filtered.digest(), **values)
        made._regimes = filtered
        return made

    @property
    def name(self) -> str:
        """`regime_aware_` and the inner strategy's name."""
        return f"regime_aware_{self.inner.name}"

    @property
    def warm_up(self) -> int:
        """Largest warm-up of the strategies and the detector, in bars."""
        known = self.detector.warm_up if self._regimes is None else 0
        return max(known, *(part.warm_up for part in self._parts()))

    def exposure(self, bars: pd.DataFrame) -> FloatArray:
        """Return the inner exposure changed by the regime; StrategyError when regimes passed to `of` lack a bar."""
        labels = self.labels(bars)
        return wanted(self.targets(bars), labels)

    def targets(self, bars: pd.DataFrame, inner: FloatArray | None = None) -> FloatArray:
        """Return the exposure that each label asks for at each close: what `wanted` chooses from.

        Parameters
        ----------
        bars : DataFrame of shape (n_bars, 5)
        inner : float64 array of shape (n_bars,), optional
            Exposure of `inner`, where it is known already.

        Returns
        -------
        float64 array of shape (n_bars, 4)
            Columns bear, sideways, bull and unknown; the last is 0.

        """

        def exposure(part: Strategy) -> FloatArray:
            known = inner if part is self.inner and inner is not None else part.exposure(private_frame(bars))
            return np.nan_to_num(known, nan=0.0)

        targets = np.zeros((len(bars), 4))
        if self.mode == "switch":
            for regime, part in self._switched().items():
                if part is not None:
                    targets[:, regime] = exposure(part)
            return targets
        weights = self.weights(np.array([Regime.BEAR, Regime.SIDEWAYS, Regime.BULL, Regime.UNKNOWN], dtype=np.int8))
        if self.mode == "filter":
            weights = (weights > 0.0).astype(np.float64)
        targets[:] = weights * exposure(self.inner)[:, None]
        return targets

    def from_bars(self) -> Strategy:
        """Return the strategy with the detector in place of regimes that were passed to `of`."""
        if self._regimes is None:
            return self
        values = {name: getattr(self, name) for name in type(self).model_fields}
        return type(self)(**values | {"regimes_digest": ""})

    def labels(self, bars: pd.DataFrame) -> NDArray[np.int8]:
        """Return the regime used at each close, int8, shape (n_bars,): the filtered one of `delay` bars before."""
        labels = (
            self.detector.filter(private_frame(bars)).labels
            if self._regimes is None
            else _looked_up(self._regimes, bars)
        )
        return delayed(labels, self.delay)

    def weights(self, labels: NDArray[np.int8]) -> FloatArray:
        """Return the weight of each label, shape (n_bars,); 0 where the regime is unknown."""
        by_label = np.array([self.bear, self.sideways, self.bull, 0.0])
        weights: FloatArray = by_label[labels]
        return weights

    def _switched(self) -> dict[Regime, Strategy | None]:
        return {
            Regime.BULL: self.bull_strategy or self.inner,
            Regime.SIDEWAYS: self.sideways_strategy,
            Regime.BEAR: self.bear_strategy,
        }

    def _parts(self) -> list[Strategy]:
        given = (self.inner, self.bull_strategy, self.sideways_strategy, self.bear_strategy)
        return [part for part in given if part is not None]

    @field_serializer("inner", "bull_strategy", "sideways_strategy", "bear_strategy", "detector", mode="wrap")
    def _name_the_part(
        self, part: Strategy | Detector | None, _serialize: SerializerFunctionWrapHandler
    ) -> dict[str, Any] | None:
        if part is None:
            return None
        return {"class": f"{type(part).__module__}:{type(part).__qualname__}", **part.model_dump(mode="json")}


def wanted(targets: FloatArray, labels: NDArray[np.int8]) -> FloatArray:
    """Return the exposure that labels ask for, shape (n_bars,).

    What is traded and every control call this one function: shifted labels, labels with hindsight, and labels of noise.

    Parameters
    ----------
    targets : float64 array of shape (n_bars, 4)
        From `RegimeAware.targets`.
    labels : int8 array of shape (n_bars,)
        The regime used at each close; see `RegimeAware.labels`.

    """
    chosen: FloatArray = targets[np.arange(len(labels)), labels]
    return chosen


def delayed(labels: NDArray[np.int8], delay: int) -> NDArray[np.int8]:
    """Return labels shifted by `delay` bars to later, and unknown before; int8, shape (n_bars,)."""
    if delay == 0:
        return labels
    late = np.full_like(labels, Regime.UNKNOWN)
    late[delay:] = labels[:-delay]
    return late


def _looked_up(regimes: FilteredRegimes, bars: pd.DataFrame) -> NDArray[np.int8]:
    times = index_ns(bars.index)
    rows = np.searchsorted(regimes.times, times)
    held = regimes.times[np.minimum(rows, len(regimes.times) - 1)]
    absent = np.flatnonzero(held != times)
    if absent.size:
        raise StrategyError(
            f"the regimes passed to RegimeAware.of have no bar at {iso(int(times[absent[0]]))}. Filter these bars."
        )
    return regimes.labels[rows]
