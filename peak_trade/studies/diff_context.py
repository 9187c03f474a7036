"""What a judgement about two orders may look at beside the two."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field

from peak_trade.studies.diff_causes import Cause, Found, Link
from peak_trade.studies.diff_sides import Book, SideLog


@dataclass(slots=True, eq=False)
class Context:
    """What a judgement may look at beside the two orders: both sides, the tolerances, and what differs around them.

    `closes` are the last closes that both sides saw, as each saw them; `lots` the lot sizes in base units;
    `bar_spans` the closes (first, last) of bars that differ and `signal_rows` those of signals that differ, in order.
    """

    shadow: SideLog
    live: SideLog
    tolerance_bps: float
    tolerance_ns: int
    closes: dict[str, tuple[float, float]]
    lots: dict[str, float]
    bar_spans: dict[str, list[tuple[int, int]]]
    signal_rows: dict[Book, list[int]]
    sizing: str = "fraction_of_equity"
    tolerated: list[Found] = field(default_factory=list)
    """What lies within the tolerances: no difference, but its PnL counts, and others may follow from it."""

    drifts: dict[Book, tuple[float, int]] = field(default_factory=dict)
    """How far the last two sizes of a book stood from the law, as a fraction, and the close up to which."""

    marked: dict[str, float] = field(default_factory=dict)
    """PnL of matched orders from another last close, by symbol."""

    _rates: dict[str, dict[tuple[float, float], Found]] = field(default_factory=dict)

    def bars(self, symbol: str, first: int, last: int) -> list[Link]:
        """Return a link to the bars of [first, last] where one differs, else nothing."""
        spans = self.bar_spans.get(symbol, [])
        place = bisect_left(spans, (last + 1, 0))
        return [Link("bar", (symbol, first, last))] if place and spans[place - 1][1] >= first else []

    def signals(self, book: Book, first: int, last: int) -> list[Link]:
        """Return a link to a book's signals where one of [first, last] differs, else nothing."""
        rows = self.signal_rows.get(book, [])
        place = bisect_left(rows, first)
        return [Link("signal", book)] if place < len(rows) and rows[place] <= last else []

    def fee_head(self, kind: str, rates: tuple[float, float] | None) -> Found | None:
        """Return the first fill of this pair of fee rates (bps) since rates were last equal, which None says."""
        if rates is None:
            self._rates.pop(kind, None)
            return None
        return self._rates.get(kind, {}).get(rates)

    def tolerate(self, row: int, pnl: float) -> None:
        """Count a PnL (live less shadow, quote currency) of the bar that closed at `row` as within the tolerances."""
        if pnl:
            silent = Found(row, 0.1, Cause.UNEXPLAINED, "within tolerance", "", None, None)
            silent.pnl = pnl
            self.tolerated.append(silent)

    def begin_fees(self, kind: str, rates: tuple[float, float], head: Found) -> None:
        """Remember the first fill of a pair of fee rates."""
        self._rates.setdefault(kind, {})[rates] = head

    def are_configured(self, rates: tuple[float, float]) -> bool:
        """Return whether both sides charged a fee (bps) that their settings state."""
        for side, rate in zip((self.shadow, self.live), rates, strict=True):
            stated = [side.recording.settings.get(f"trading.costs.{name}") for name in ("fee_bps", "maker_fee_bps")]
            if not any(fee is not None and abs(rate - fee) <= 0.01 for fee in stated):
                return False
        return True
