"""Pairs: trade the distance of two symbols from their past relation."""

from __future__ import annotations

from typing import Annotated, Self

import numpy as np
from pydantic import Field, model_validator

from peak_trade.core.arrays import FloatArray
from peak_trade.core.errors import StrategyError
from peak_trade.core.settings import Positive
from peak_trade.strategies.panel import Panel, PanelStrategy


class Pairs(PanelStrategy):
    """Long the first symbol and short the second one when the first is cheap by their past relation; and the reverse.

    The relation is the regression of the logarithm of the first close on that of the second one over `window` bars, up
    to the current one: log a = α + β log b + e. The distance is z = e / s with the standard deviation s of the
    residuals. Source: Gatev, Goetzmann and Rouwenhorst (2006), Pairs Trading, Review of Financial Studies 19(3), with
    the hedge ratio β of a regression.
    """

    window: Annotated[int, Field(ge=20)] = 240
    """Number of bars in the regression, those at which both symbols have a close."""

    enter: Positive = 2.0
    """Distance |z| above which a position is entered."""

    leave: Annotated[float, Field(ge=0.0)] = 0.5
    """Distance |z| below which it is closed; a change of the sign of z closes it, too."""

    @model_validator(mode="after")
    def _leaves_after_it_enters(self) -> Self:
        if self.leave >= self.enter:
            raise ValueError(f"leave was {self.leave:g}, enter {self.enter:g}: leave must be the smaller.")
        return self

    @property
    def warm_up(self) -> int:
        """Bars before the first regression."""
        return self.window - 1

    def exposure(self, panel: Panel) -> FloatArray:
        """Return ±1 / (1 + β) for the first symbol and ∓β / (1 + β) for the second; β is that of the entry.

        Symbols are in the order of their names. There is no entry while β is not above 0. At closes without both
        symbols the exposure stays as it is.
        """
        if len(panel.symbols) != 2:
            raise StrategyError(f"{self.name}: there were {len(panel.symbols)} symbols. Give two.")
        both = np.flatnonzero(panel.has_bar.all(axis=1))
        ratio, distance = _regression(np.log(panel.close.to_numpy()[both]), self.window)
        held = np.zeros((len(panel), 2))
        side, position = 0.0, np.zeros(2)
        exposures = np.zeros((both.size, 2))
        for place, (beta, z) in enumerate(zip(ratio.tolist(), distance.tolist(), strict=True)):
            if side != 0.0 and not side * z < -self.leave:
                side, position = 0.0, np.zeros(2)
            if side == 0.0 and abs(z) > self.enter and beta > 0.0:
                side = -1.0 if z > 0.0 else 1.0
                position = side * np.array([1.0, -beta]) / (1.0 + beta)
            exposures[place] = position
        latest = np.searchsorted(both, np.arange(len(panel)), side="right") - 1
        held[latest >= 0] = exposures[latest[latest >= 0]]
        return held


def _regression(logs: FloatArray, window: int) -> tuple[FloatArray, FloatArray]:
    """Return the slope of column 0 on column 1 over `window` closes, and the last residual over its deviation.

    Both have shape (n_closes,), NaN at the first window − 1 closes and where a column does not vary.
    """
    slope, distance = np.full(len(logs), np.nan), np.full(len(logs), np.nan)
    if len(logs) < window:
        return slope, distance
    views = np.lib.stride_tricks.sliding_window_view(logs, window, axis=0)
    step = max(1, 2**20 // window)
    for first in range(0, len(views), step):
        part = views[first : first + step]
        centred = part - part.mean(axis=2, keepdims=True)
        rows = slice(first + window - 1, first + window - 1 + len(part))
        with np.errstate(divide="ignore", invalid="ignore"):
            slope[rows] = (centred[:, 0] * centred[:, 1]).sum(axis=1) / (centred[:, 1] ** 2).sum(axis=1)
            residuals = centred[:, 0] - slope[rows, None] * centred[:, 1]
            distance[rows] = residuals[:, -1] / residuals.std(axis=1, ddof=2)
    return slope, distance
