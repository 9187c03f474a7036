"""Which order, signal, flow and bar of one side is which of the other; and how far the two clocks stand apart."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from peak_trade.diff.order_histories import BarValues, Flow, Life, SideLog, Signal, Sleeve
from peak_trade.diff.recording import Recording

_SHARE_OF_ONE_CLOCK = 0.8
"""Share of the pairs that must stand equally far apart before two clocks are called skewed."""
_BY_SIGHT = 0.99
"""Confidence of a match without an id but with the same symbol, side, reason and instant."""
_OTHER_SIDE = 0.5
"""Confidence of a match without an id that agrees in all but the side."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class OrderPair:
    """One order on both sides, or on one (the other is None). `confidence` is in [0, 1]; `by` says how it was found."""

    shadow: Life | None
    live: Life | None
    confidence: float
    by: str


@dataclass(frozen=True, slots=True)
class BarDifference:
    """Bars of one symbol that one side did not see, in a row, or a bar that the two saw differently."""

    symbol: str
    first: int
    last: int
    n_bars: int
    shadow: BarValues | None
    live: BarValues | None


@dataclass(frozen=True, slots=True)
class Skew:
    """How much later the live side's stamps are, ns: of its bars, and of everything else."""

    bars: int
    events: int


def find_skew(shadow: SideLog, live: SideLog) -> Skew:
    """Return the one offset that most bars, and the one that most orders and signals, stand apart by; 0 when none."""
    bars: list[int] = []
    half = shadow.recording.timeframe.ns // 2
    for symbol, seen in shadow.bars.items():
        others = sorted(live.bars.get(symbol, {}))
        for time in seen:
            gap = _nearest(others, time)
            if gap is not None and abs(gap) < half:
                bars.append(gap)
    events = [
        other.decided_at - life.decided_at
        for order_id, life in shadow.lives.items()
        if (other := live.lives.get(order_id)) is not None and other.reason == life.reason
    ]
    for sleeve, signals in shadow.signals.items():
        stamps = [signal.ts_event for signal in live.signals.get(sleeve, [])]
        events += [gap for signal in signals if (gap := _nearest(stamps, signal.ts_event)) is not None]
    of_bars, of_events = _common(bars) or 0, _common(events)
    return Skew(of_bars, of_bars if of_events is None else of_events)


def match_orders(shadow: SideLog, live: SideLog, window: int) -> list[OrderPair]:
    """Match each order with at most one of the other side, oldest first; those that are left stand alone.

    Parameters
    ----------
    shadow, live : SideLog
    window : int
        How far apart (ns) two orders without a common id may have been decided.

    Notes
    -----
    In this order: same id, symbol, reason and instant; same symbol, side, reason and instant; same id, symbol and
    reason within the window; same symbol, side and reason within the window, the likest first; the same but the side.
    Ids that are merely counted on both sides shift when one side has an order more, so an id alone proves nothing.

    """
    found: list[OrderPair] = []
    left = dict(shadow.lives)
    right = dict(live.lives)

    def take(one: Life, other: Life, confidence: float, by: str) -> None:
        found.append(OrderPair(one, other, confidence, by))
        del left[one.order_id], right[other.order_id]

    for life in list(left.values()):
        other = right.get(life.order_id)
        if other is not None and _kin(life, other) and life.decided_at == other.decided_at:
            take(life, other, 1.0, "id")
    for one, other in _by_key(left, right, lambda life: (life.symbol, life.side, life.reason, life.decided_at)):
        take(one, other, _BY_SIGHT, "side, symbol and time")
    for life in list(left.values()):
        other = right.get(life.order_id)
        if other is not None and _kin(life, other) and abs(life.decided_at - other.decided_at) <= window:
            take(life, other, 1.0, "id")
    for same_side in (True, False):
        for confidence, one, other in _alike(left.values(), right.values(), window, same_side):
            if one.order_id in left and other.order_id in right:
                take(one, other, confidence, "side, symbol and window" if same_side else "symbol and window")
    found += [OrderPair(life, None, 0.0, "") for life in left.values()]
    found += [OrderPair(None, life, 0.0, "") for life in right.values()]
    return sorted(found, key=_order_of)


def match_signals(
    shadow: Sequence[Signal], live: Sequence[Signal], window: int
) -> list[tuple[Signal | None, Signal | None]]:
    """Match the signals of one sleeve: at the same instant, else of equal target within the window (ns)."""
    return _match_stamped(shadow, live, window, lambda signal: signal.ts_event, lambda signal: signal.exposure)


def match_flows(shadow: SideLog, live: SideLog, window: int) -> list[tuple[Flow | None, Flow | None]]:
    """Match cash flows of one sleeve and reason: at the same instant, else within the window (ns)."""
    groups: dict[tuple[Sleeve, str], tuple[list[Flow], list[Flow]]] = {}
    for side, flows in enumerate((shadow.flows, live.flows)):
        for flow in flows:
            groups.setdefault((flow.sleeve, flow.reason), ([], []))[side].append(flow)
    found: list[tuple[Flow | None, Flow | None]] = []
    for one, other in groups.values():
        matched: list[tuple[Flow | None, Flow | None]] = _match_stamped(one, other, window, _flow_stamp, _flow_value)
        found.extend(matched)
    return found


def compare_bars(shadow: SideLog, live: SideLog) -> list[BarDifference]:
    """Return where the two saw other bars, over the span that both saw; bars missing in a row are one difference."""
    found: list[BarDifference] = []
    for symbol in sorted(shadow.bars):
        one, other = shadow.bars[symbol], live.bars.get(symbol, {})
        first, last = common_span(shadow, live, symbol)
        times = sorted(time for time in one.keys() | other.keys() if first <= time <= last)
        run: list[int] = []
        for time in times:
            before, after = one.get(time), other.get(time)
            is_missing = before is None or after is None
            if run and (not is_missing or (run[-1] in one) != (time in one)):
                found.append(_missing(symbol, run, one, other))
                run = []
            if is_missing:
                run.append(time)
            elif before != after:
                found.append(BarDifference(symbol, time, time, 1, before, after))
        if run:
            found.append(_missing(symbol, run, one, other))
    return found


def common_span(shadow: SideLog, live: SideLog, symbol: str) -> tuple[int, int]:
    """Return the first and last close (ns) between which both sides were watching a symbol."""
    one, other = shadow.bars[symbol], live.bars[symbol]
    return max(min(one), min(other)), min(max(one), max(other))


def _flow_stamp(flow: Flow) -> int:
    return flow.ts_event


def _flow_value(_: Flow) -> float:
    return 0.0


def has_one_strategy(recording: Recording) -> bool:
    """Return whether a recording names one strategy."""
    return ", " not in str(recording.settings.get("strategy", ""))


def _missing(symbol: str, run: Sequence[int], one: dict[int, BarValues], other: dict[int, BarValues]) -> BarDifference:
    return BarDifference(symbol, run[0], run[-1], len(run), one.get(run[0]), other.get(run[0]))


def _kin(one: Life, other: Life) -> bool:
    return one.symbol == other.symbol and one.reason == other.reason and one.sleeve == other.sleeve


def _by_key(left: dict[str, Life], right: dict[str, Life], key: Callable[[Life], Any]) -> list[tuple[Life, Life]]:
    waiting: dict[Any, list[Life]] = {}
    for life in right.values():
        waiting.setdefault(key(life), []).append(life)
    found = []
    for life in left.values():
        others = waiting.get(key(life))
        if others:
            found.append((life, others.pop(0)))
    return found


def _alike(left: Iterable[Life], right: Iterable[Life], window: int, same_side: bool) -> list[tuple[float, Life, Life]]:
    groups: dict[tuple[Sleeve, str], list[Life]] = {}
    for life in right:
        groups.setdefault((life.sleeve, life.reason), []).append(life)
    for group in groups.values():
        group.sort(key=lambda life: life.decided_at)
    found = []
    for life in left:
        others = groups.get((life.sleeve, life.reason), [])
        place = bisect_left(others, life.decided_at - window, key=lambda other: other.decided_at)
        while place < len(others) and others[place].decided_at <= life.decided_at + window:
            other = others[place]
            place += 1
            if (other.side is life.side) == same_side:
                found.append((_confidence(life, other, window, same_side), life, other))
    found.sort(key=lambda match: (-match[0], *_pair_key(match[1], match[2])))
    return found


def _confidence(one: Life, other: Life, window: int, same_side: bool) -> float:
    nearness = 1.0 - 0.5 * abs(one.decided_at - other.decided_at) / window
    likeness = 0.5 + 0.5 * min(one.quantity, other.quantity) / max(one.quantity, other.quantity)
    return (_BY_SIGHT if same_side else _OTHER_SIDE) * nearness * likeness


def _pair_key(one: Life, other: Life) -> tuple[int, int, str, str]:
    times = sorted((one.decided_at, other.decided_at))
    ids = sorted((one.order_id, other.order_id))
    return times[0], times[1], ids[0], ids[1]


def _order_of(pair: OrderPair) -> tuple[int, int, str, str]:
    one, other = pair.shadow or pair.live, pair.live or pair.shadow
    assert one is not None
    assert other is not None
    return _pair_key(one, other)


def _match_stamped(
    shadow: Sequence[T], live: Sequence[T], window: int, stamp: Callable[[T], int], value: Callable[[T], float]
) -> list[tuple[T | None, T | None]]:
    by_stamp = {stamp(each): each for each in live}
    found: list[tuple[T | None, T | None]] = []
    alone: list[T] = []
    for each in shadow:
        other = by_stamp.pop(stamp(each), None)
        if other is None:
            alone.append(each)
        else:
            found.append((each, other))
    waiting = sorted(by_stamp.values(), key=stamp)
    gaps = sorted(
        (
            (abs(stamp(one) - stamp(other)), min(stamp(one), stamp(other)), place, rival)
            for place, one in enumerate(alone)
            for rival, other in _near(waiting, stamp(one), window, stamp)
            if value(one) == value(other)
        ),
    )
    used: tuple[set[int], set[int]] = (set(), set())
    for _, _, place, rival in gaps:
        if place not in used[0] and rival not in used[1]:
            found.append((alone[place], waiting[rival]))
            used[0].add(place)
            used[1].add(rival)
    found += [(each, None) for place, each in enumerate(alone) if place not in used[0]]
    found += [(None, each) for place, each in enumerate(waiting) if place not in used[1]]
    return found


def _near(waiting: Sequence[T], moment: int, window: int, stamp: Callable[[T], int]) -> list[tuple[int, T]]:
    place = bisect_left(waiting, moment - window, key=stamp)
    found = []
    while place < len(waiting) and stamp(waiting[place]) <= moment + window:
        found.append((place, waiting[place]))
        place += 1
    return found


def _nearest(times: Sequence[int], moment: int) -> int | None:
    place = bisect_left(times, moment)
    gaps = [times[n] - moment for n in (place - 1, place) if 0 <= n < len(times)]
    return min(gaps, key=abs) if gaps else None


def _common(gaps: Sequence[int]) -> int | None:
    if len(gaps) < 3:
        return None
    gap, n_equal = Counter(gaps).most_common(1)[0]
    return gap if n_equal >= _SHARE_OF_ONE_CLOCK * len(gaps) else None
