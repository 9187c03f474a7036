"""The closed list of causes, and how each difference is led back to the one root that it follows from."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from peak_trade.diff.matching import OrderPair
from peak_trade.diff.order_histories import SideLog, Sleeve


class Cause(StrEnum):
    """Why two sides differ. Every root difference has exactly one."""

    SIGNAL = "signal"
    TIMING = "timing"
    MISSED_BAR = "missed bar"
    DATA_REVISION = "data revision"
    DENIAL = "denial"
    REJECTION = "rejection"
    PRICE = "price or slippage"
    FEE = "fee"
    SIZE = "size or rounding"
    PARTIAL_FILL = "partial fill"
    ORDER_TYPE = "order type"
    FUNDING = "funding"
    CLOCK_SKEW = "clock skew"
    CONFIGURATION = "configuration"
    CODE_VERSION = "code version"
    UNEXPLAINED = "unexplained"


CAUSE_OF_SETTING = {
    "trading.costs.fee_bps": Cause.FEE,
    "trading.costs.maker_fee_bps": Cause.FEE,
    "trading.costs.slippage_bps": Cause.PRICE,
    "trading.costs.funding_bps_per_8h": Cause.FUNDING,
    "trading.costs.borrow_rate": Cause.FUNDING,
    "trading.costs.max_participation": Cause.PARTIAL_FILL,
    "trading.execution.order_type": Cause.ORDER_TYPE,
    "trading.execution.time_in_force": Cause.ORDER_TYPE,
    "trading.execution.limit_offset_bps": Cause.ORDER_TYPE,
    "trading.execution.stop_offset_bps": Cause.ORDER_TYPE,
    "trading.execution.trail": Cause.ORDER_TYPE,
    "trading.sizing": Cause.SIZE,
    "lot_size": Cause.SIZE,
    "tick_size": Cause.PRICE,
    "min_notional": Cause.DENIAL,
    "is_shortable": Cause.DENIAL,
    "risk": Cause.DENIAL,
}
"""Cause of a setting that differs, by the beginning or the end of its name; `configuration` for every other one."""


def cause_of_setting(name: str) -> Cause:
    """Return the cause that a differing setting is.

    Examples
    --------
    >>> cause_of_setting("trading.costs.fee_bps").value
    'fee'
    >>> cause_of_setting("parameters.fast").value
    'configuration'

    """
    if name.startswith(("strategy", "parameters.")):
        return Cause.CONFIGURATION
    for part, cause in CAUSE_OF_SETTING.items():
        if name == part or name.startswith(f"{part}.") or name.endswith(f".{part}"):
            return cause
    return Cause.CONFIGURATION


@dataclass(frozen=True, slots=True)
class Link:
    """Where a difference may come from: a kind of place to look, and what to look for there."""

    place: str
    key: Any = None


@dataclass(slots=True, eq=False)
class Found:
    """A difference before its root is known.

    `links` say which inputs of it differ, and are tried in turn; then `hints`, which may lead nowhere. `owners` are
    causes that, where configuration, code or clocks differ by one of them, account for it. Without any of them it is
    a root.

    `row` and `rank` order it in time (ns, and the step within a bar); `touches` names what it changes for later ones:
    signal, sleeve, entry. `is_lawful`: it follows from an input that differs, so without any root it lies within the
    tolerance. `pnl` is what it changed by itself, live less shadow, quote currency.
    """

    row: int
    rank: float
    cause: Cause
    kind: str
    subject: str
    shadow: Any
    live: Any
    sleeve: Sleeve | None = None
    pair: OrderPair | None = None
    links: tuple[Link, ...] = ()
    owners: frozenset[Cause] = frozenset()
    touches: tuple[str, ...] = ()
    is_lawful: bool = False
    until: int = 0
    """Last close (ns) of bars missing in a row."""

    places: tuple[tuple[int, ...], tuple[int, ...]] = ((), ())
    hints: tuple[Link, ...] = ()
    pnl: float = 0.0
    root: Found | None = None

    def sort_key(self) -> tuple[int, float, str, str]:
        """Return what orders it in time, the same whichever side is which."""
        ids = ""
        if self.pair is not None:
            ids = " ".join(sorted(life.order_id for life in (self.pair.shadow, self.pair.live) if life is not None))
        return self.row, self.rank, self.subject if not ids else "", ids


@dataclass(slots=True)
class Tracing:
    """What is known of the roots so far, while differences are followed in time."""

    facts: Sequence[Found]
    signals: dict[Sleeve, Found] = field(default_factory=dict)
    sleeves: dict[Sleeve, Found] = field(default_factory=dict)
    entries: dict[Sleeve, Found] = field(default_factory=dict)
    bars: dict[str, list[Found]] = field(default_factory=dict)
    money: dict[Found, float] = field(default_factory=dict)
    weightiest: Found | None = None
    moves: list[tuple[int, Found]] = field(default_factory=list)
    """Closes at which a root, or what follows from it, changed money or a position."""

    def follow(self, link: Link) -> Found | None:
        """Return the root at a link, or None."""
        if link.place == "found":
            found: Found = link.key
            return found.root
        if link.place == "setting":
            return next((fact for fact in self.facts if fact.subject.startswith(link.key)), None)
        if link.place == "signal":
            return self.signals.get(link.key)
        if link.place == "sleeve":
            return self.sleeves.get(link.key)
        if link.place == "entry":
            return self.entries.get(link.key)
        if link.place == "since":
            return self._since(*link.key)
        if link.place == "bar":
            return self._bar(*link.key)
        return self.weightiest

    def register(self, found: Found) -> None:
        """Remember a difference whose root is known."""
        root = found.root
        assert root is not None
        if found.sleeve is not None:
            for name, memory in (("signal", self.signals), ("sleeve", self.sleeves), ("entry", self.entries)):
                if name in found.touches:
                    memory[found.sleeve] = root
        if found.kind in BAR_KINDS:
            self.bars.setdefault(found.subject, []).append(found)
        if found.pnl or "sleeve" in found.touches:
            self.moves.append((found.row, root))
        if found.pnl:
            self.money[root] = self.money.get(root, 0.0) + found.pnl
            if self.weightiest is None or abs(self.money[root]) >= abs(self.money[self.weightiest]):
                self.weightiest = root

    def _since(self, first: int, last: int) -> Found | None:
        place = bisect_right(self.moves, last, key=lambda move: move[0])
        return self.moves[place - 1][1] if place and self.moves[place - 1][0] >= first else None

    def _bar(self, symbol: str, low: int, high: int) -> Found | None:
        known = self.bars.get(symbol, [])
        place = bisect_right(known, high, key=lambda found: found.row)
        return known[place - 1] if place and known[place - 1].until >= low else None


BAR_KINDS = ("missing bar", "bar")


def trace(
    facts: Sequence[Found], found: Iterable[Found], tolerated: Iterable[Found], dormant: Found | None
) -> tuple[list[Found], float]:
    """Give every difference its root, in time order.

    Parameters
    ----------
    facts : sequence of Found
        Differences of configuration, code and clock: roots that were there from the start.
    found : iterable of Found
    tolerated : iterable of Found
        What lies within the tolerances: no difference, but it may be what later ones follow from.
    dormant : Found or None
        The root of what has no other, where the two sides began at different bars.

    Returns
    -------
    list of Found, float
        Oldest first, `root` set (itself for a root); and the PnL of what lies within the tolerances and of what follows
        from it alone, which are not in the list.

    """
    tracing = Tracing(facts)
    kept = list(facts)
    tolerance = Found(0, -3.0, Cause.UNEXPLAINED, "within tolerance", "", None, None)
    for fact in facts:
        fact.root = fact
    silent = list(tolerated)
    for each in silent:
        each.root = tolerance
    total = 0.0
    for each in sorted([*found, *silent], key=Found.sort_key):
        root = each.root or _root_of(each, tracing, facts, dormant)
        if root is None and each.links and each.is_lawful:
            root = tolerance
        if root is dormant and dormant is not None and dormant.root is None:
            dormant.root = dormant
            kept.append(dormant)
        if root is None and each.links:
            each.cause = Cause.UNEXPLAINED
        each.root = root or each
        each.cause = each.root.cause
        tracing.register(each)
        if root is tolerance:
            total += each.pnl
        else:
            kept.append(each)
    return kept, total


def _root_of(each: Found, tracing: Tracing, facts: Sequence[Found], dormant: Found | None) -> Found | None:
    places = (*each.links, *each.hints)
    root = next((root for link in places if (root := tracing.follow(link)) is not None), None)
    if root is None:
        root = next((fact for fact in facts if fact.cause in each.owners), None)
    if root is None and (each.links or each.kind == "signal"):
        root = dormant
    return root


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
    signal_rows: dict[Sleeve, list[int]]
    sizing: str = "fraction_of_equity"
    tolerated: list[Found] = field(default_factory=list)
    """What lies within the tolerances: no difference, but its PnL counts, and others may follow from it."""

    drifts: dict[Sleeve, tuple[float, int]] = field(default_factory=dict)
    """How far the last two sizes of a sleeve stood from the law, as a fraction, and the close up to which."""

    marked: dict[str, float] = field(default_factory=dict)
    """PnL of matched orders from another last close, by symbol."""

    _rates: dict[str, dict[tuple[float, float], Found]] = field(default_factory=dict)

    def bars(self, symbol: str, first: int, last: int) -> list[Link]:
        """Return a link to the bars of [first, last] where one differs, else nothing."""
        spans = self.bar_spans.get(symbol, [])
        place = bisect_left(spans, (last + 1, 0))
        return [Link("bar", (symbol, first, last))] if place and spans[place - 1][1] >= first else []

    def signals(self, sleeve: Sleeve, first: int, last: int) -> list[Link]:
        """Return a link to a sleeve's signals where one of [first, last] differs, else nothing."""
        rows = self.signal_rows.get(sleeve, [])
        place = bisect_left(rows, first)
        return [Link("signal", sleeve)] if place < len(rows) and rows[place] <= last else []

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
