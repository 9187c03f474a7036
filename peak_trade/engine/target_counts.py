"""Counts of the target positions that were not held as asked, by reason."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from peak_trade.core.arrays import IntArray
from peak_trade.core.time import iso
from peak_trade.engine.sleeve import Sleeve
from peak_trade.portfolio.sizing import Sizing


@dataclass(slots=True)
class TargetCounts:
    """Numbers of decisions for a target other than zero that led to a smaller position or to none, by reason."""

    n_scale_unknown: int = 0
    """The scale of the sizing rule was not known; the target waits until it is."""
    n_scale_zero: int = 0
    """The scale of the sizing rule was zero."""
    n_weight_zero: int = 0
    """The weight of the sleeve was zero."""
    n_below_lot: int = 0
    """The position was smaller than one lot."""
    n_trimmed: int = 0
    """Target and sizing rule asked for more than the equity."""
    largest_leverage: float = 0.0
    """Largest notional that was asked for and trimmed, in multiples of the equity of its sleeve; 0.0 if none was."""
    first_trimmed: int = -1
    """First bar with a trimmed target; -1 if there is none."""
    last_trimmed: int = -1

    def count_size(self, sleeve: Sleeve, bar: int, equity: float, sizing: Sizing) -> None:
        """Count the decision of a sleeve at a bar if its size is unknown, zero or trimmed; equity in quote currency."""
        if sleeve.target == 0.0:
            return
        leverage = sleeve.leverage(bar, equity, sizing)
        if sleeve.awaits_scale:
            self.n_scale_unknown += 1
        elif leverage == 0.0:
            self.n_scale_zero += 1
        elif sleeve.weight_at(bar) == 0.0:
            self.n_weight_zero += 1
        elif leverage > 1.0:
            self.n_trimmed += 1
            self.largest_leverage = max(self.largest_leverage, leverage)
            self.first_trimmed = bar if self.first_trimmed < 0 else self.first_trimmed
            self.last_trimmed = bar

    def to_dict(self, times: IntArray) -> dict[str, Any]:
        """Return the counts by name, for JSON; `times` are the close times of the bars, ns UTC."""
        names = ("n_scale_unknown", "n_scale_zero", "n_weight_zero", "n_below_lot", "n_trimmed")
        bars = {"first_trimmed": self.first_trimmed, "last_trimmed": self.last_trimmed}
        return {
            **{name: getattr(self, name) for name in names},
            "largest_leverage": self.largest_leverage or None,
            **{name: iso(int(times[bar])) if bar >= 0 else None for name, bar in bars.items()},
        }

    def reasons(self, sizing: str) -> list[str]:
        """Return one phrase per reason for no position, with its count; `sizing` is the kind of the sizing rule."""
        phrases = (
            (
                f"that waited because the scale of {sizing} was unknown (window not full, or no variation)",
                self.n_scale_unknown,
            ),
            (f"without a position because the scale of {sizing} was zero", self.n_scale_zero),
            ("without a position because the weight was zero", self.n_weight_zero),
            ("below one lot (start with more cash)", self.n_below_lot),
        )
        return [f"targets {phrase}: {n:,}" for phrase, n in phrases if n]

    def trims(self, sizing: str, times: IntArray) -> list[str]:
        """Return a sentence on the trimmed targets, if there are any; `times` are close times, ns UTC."""
        if not self.n_trimmed:
            return []
        first, last = (iso(int(times[bar])) for bar in (self.first_trimmed, self.last_trimmed))
        return [
            f"{sizing} asked for up to {self.largest_leverage:.2f} times the equity and was trimmed to the equity, the "
            f"largest size of a long or short position; trimmed targets: {self.n_trimmed:,}, {first} to {last}."
        ]
