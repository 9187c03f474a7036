"""What a bar shows about the order of events within it: which levels the price reaches after a point of its path."""

from __future__ import annotations

from dataclasses import dataclass

from peak_trade.engine.market import SymbolBars

UP, DOWN = 1, -1


@dataclass(frozen=True, slots=True)
class Start:
    """A point of a bar's path: its price, and the directions in which the bar's extreme is known to come later.

    At the open both extremes come later. When the price has moved from there to a level for the first time, the extreme
    beyond that level still comes later; whether the other one does is not known.
    """

    price: float
    later: tuple[int, ...] = (UP, DOWN)

    def is_beyond(self, level: float, way: int) -> bool:
        """Return whether the price is already at or beyond a level that is crossed in direction `way`, +1 or -1."""
        return way * (self.price - level) >= 0.0

    def moved(self, level: float, way: int) -> Start:
        """Return the point at which the price crosses a level in direction `way`."""
        return (
            self if self.is_beyond(level, way) else Start(level, tuple(known for known in self.later if known == way))
        )


def is_reached(bars: SymbolBars, bar: int, start: Start, level: float, way: int) -> bool | None:
    """Return whether the price crosses a level in direction `way` after a point of a bar's path.

    None if the bar does not show: the extreme is beyond the level, but may have come earlier. A close beyond the level
    shows that the price has crossed it.
    """
    if start.is_beyond(level, way):
        return True
    extreme = float((bars.high if way > 0 else bars.low)[bar])
    if way * (extreme - level) < 0.0:
        return False
    is_known = way in start.later or way * (float(bars.close[bar]) - level) >= 0.0
    return True if is_known else None
