"""Matching of the orders, signals, cash flows and bars of two runs, and the offset between their clocks."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from heapq import merge
from itertools import chain, groupby
from operator import itemgetter
from types import MappingProxyType
from typing import Any, TypeVar

from peak_trade.core.values import Side, equal_parts
from peak_trade.diff.order_histories import BarValues, CashFlow, OrderHistory, Signal, Sleeve
from peak_trade.diff.packed import BarTable
from peak_trade.diff.recording import Recording
from peak_trade.diff.run_log import RunLog
from peak_trade.diff.sizing_rules import is_kept

_MIN_EQUAL_OFFSETS = 0.8
"""Fraction of the pairs whose times must differ by one offset before the clocks are called skewed."""
_HEURISTIC = 0.99
"""Confidence of a heuristic match of equal symbol, side, reason and time."""
_OTHER_SIDE = 0.5
"""Confidence of a heuristic match that differs in the side."""
_LIKE = 0.9
"""Ratio of the quantities from which on two orders may be one changed order."""

T = TypeVar("T")


class MatchRule(StrEnum):
    """Rule by which two orders were matched; all but `ID` are heuristic."""

    ID = "id"
    TIME = "side, symbol and time"
    WINDOW = "side, symbol and window"
    OTHER_SIDE = "symbol and window"
    LOG = "side, symbol, time and quantity"
    NONE = ""


@dataclass(frozen=True, slots=True)
class OrderPair:
    """One order in both runs, or in one of them (the other history is None); `confidence` is in [0, 1]."""

    shadow: OrderHistory | None
    live: OrderHistory | None
    confidence: float = 0.0
    rule: MatchRule = MatchRule.NONE

    @property
    def histories(self) -> tuple[OrderHistory | None, OrderHistory | None]:
        """Both histories, the shadow's first."""
        return self.shadow, self.live

    @property
    def known(self) -> list[OrderHistory]:
        """The one or two histories that exist, the shadow's first."""
        return [history for history in self.histories if history is not None]

    @property
    def is_matched(self) -> bool:
        """Whether both histories exist."""
        return self.shadow is not None and self.live is not None

    @property
    def is_heuristic(self) -> bool:
        """Whether the orders were matched without an equal id."""
        return self.is_matched and self.rule is not MatchRule.ID


@dataclass(frozen=True, slots=True)
class BarDifference:
    """Consecutive bars of a symbol that one run does not have, or one bar with different values.

    `first` and `last` are closes, ns UTC; `shadow` and `live` are the values of the first bar.
    """

    symbol: str
    first: int
    last: int
    n_bars: int
    shadow: BarValues | None
    live: BarValues | None


@dataclass(frozen=True, slots=True)
class ClockSkew:
    """Offset of the live run's times from the shadow's, ns: of its bars, and of its other events."""

    bars: int
    events: int


def find_clock_skew(shadow: RunLog, live: RunLog) -> ClockSkew:
    """Return the offset that most bars share, and the one that most orders and signals share; 0 without one."""
    bars: list[int] = []
    half = shadow.recording.timeframe.ns // 2
    for symbol, seen in shadow.bars.items():
        live_times = array("q", live.bars.get(symbol, BarTable()))
        for time in seen:
            offset = _nearest_offset(live_times, time)
            if offset is not None and abs(offset) < half:
                bars.append(offset)
    events = [
        other.decided_at - history.decided_at
        for order_id, history in shadow.histories.items()
        if (other := live.histories.get(order_id)) is not None and other.reason == history.reason
    ]
    for sleeve, signals in shadow.signals.items():
        times = [signal.ts_event for signal in live.signals.get(sleeve, [])]
        events += [offset for signal in signals if (offset := _nearest_offset(times, signal.ts_event)) is not None]
    bar_offset, event_offset = _common_offset(bars) or 0, _common_offset(events)
    return ClockSkew(bar_offset, bar_offset if event_offset is None else event_offset)


def match_orders(
    shadow: RunLog, live: RunLog, window: int, lot_sizes: Mapping[str, float] = MappingProxyType({})
) -> list[OrderPair]:
    """Match each order with at most one order of the other run, oldest first; the remaining ones stay unmatched.

    Parameters
    ----------
    shadow, live : RunLog
    window : int
        Largest difference of the decision times of two matched orders, ns.
    lot_sizes : mapping
        Lot size of each symbol, base units.

    Notes
    -----
    The rules apply in this order: same id, symbol, reason and time; same symbol, side, reason and time; same id, symbol
    and reason within the window; same symbol, side and reason within the window, the most similar first; the same
    without the side. The last two require that the quantities obey one sizing rule or differ by at most 10 %, and that
    protective orders have one type: a missing and an additional order are not one changed order. An equal id is not
    sufficient: where ids are counters, one additional order shifts all later ids.

    """
    found: list[OrderPair] = []
    left = dict(shadow.histories)
    right = dict(live.histories)

    def take(one: OrderHistory, other: OrderHistory, confidence: float, rule: MatchRule) -> None:
        found.append(OrderPair(one, other, confidence, rule))
        del left[one.order_id], right[other.order_id]

    def take_by_id(window: int) -> None:
        for history in list(left.values()):
            other = right.get(history.order_id)
            if other is None or not _are_comparable(history, other):
                continue
            if abs(history.decided_at - other.decided_at) <= window:
                take(history, other, 1.0, MatchRule.ID)

    take_by_id(0)
    for one, other in _by_key(left, right, lambda each: (each.symbol, each.side, each.reason, each.decided_at)):
        take(one, other, _HEURISTIC, MatchRule.TIME)
    take_by_id(window)
    for rule in (MatchRule.WINDOW, MatchRule.OTHER_SIDE):
        for confidence, one, other in _candidates(
            left.values(), right.values(), window, rule is MatchRule.WINDOW, lot_sizes
        ):
            if one.order_id in left and other.order_id in right:
                take(one, other, confidence, rule)
    found += [OrderPair(history, None) for history in left.values()]
    found += [OrderPair(None, history) for history in right.values()]
    return sorted(found, key=_order_key)


def match_log_orders(shadow: RunLog, live: RunLog, window: int) -> list[OrderPair]:
    """Match the orders of two runs of which at least one is an external log, whose ids and reasons mean nothing.

    Only orders of one symbol and side are matched, the pair with the highest confidence first. The confidence is
    0.99 (1 − d / 2w) (1 + r) / 2: d is the difference of the times, w the window (ns) and r the ratio of the
    quantities. Times are those of the decisions, or of the first fills if these are closer. Orders that never traded
    and have no counterpart are left out: most logs do not hold them.
    """
    groups: dict[tuple[str, Side], tuple[list[OrderHistory], list[OrderHistory]]] = {}
    for side, run in enumerate((shadow, live)):
        for history in run.histories.values():
            groups.setdefault((history.symbol, history.side), ([], []))[side].append(history)
    found: list[OrderPair] = []
    for one, other in groups.values():
        found += _match_by_likeness(one, other, window)
    return sorted(found, key=_order_key)


def _match_by_likeness(left: list[OrderHistory], right: list[OrderHistory], window: int) -> list[OrderPair]:
    candidates: dict[tuple[int, int], float] = {}
    for time_of in (_decided, _traded):
        timed = sorted((time, place) for place, each in enumerate(right) if (time := time_of(each)))
        for i, history in enumerate(left):
            time = time_of(history)
            for _, (other_time, j) in _within(timed, time, window, itemgetter(0)) if time else ():
                nearness = 1.0 - 0.5 * abs(time - other_time) / window
                confidence = _HEURISTIC * nearness * (0.5 + 0.5 * _likeness(history, right[j]))
                candidates[i, j] = max(confidence, candidates.get((i, j), 0.0))
    best_first = sorted(candidates, key=lambda pair: (-candidates[pair], *_pair_key(left[pair[0]], right[pair[1]])))
    free = set(range(len(left))), set(range(len(right)))
    found = []
    for i, j in best_first:
        if i in free[0] and j in free[1]:
            found.append(OrderPair(left[i], right[j], candidates[i, j], MatchRule.LOG))
            free[0].remove(i)
            free[1].remove(j)
    found += [OrderPair(left[i], None) for i in sorted(free[0]) if left[i].fills]
    return found + [OrderPair(None, right[j]) for j in sorted(free[1]) if right[j].fills]


def _decided(history: OrderHistory) -> int:
    return history.decided_at


def _traded(history: OrderHistory) -> int:
    return history.fills[0].ts_event if history.fills else 0


def match_signals(
    shadow: Sequence[Signal], live: Sequence[Signal], window: int
) -> list[tuple[Signal | None, Signal | None]]:
    """Match the signals of one sleeve: at the same time, otherwise with equal targets within the window (ns)."""
    return _match_by_time(shadow, live, window, lambda signal: signal.ts_event, lambda signal: signal.exposure)


def match_cash_flows(shadow: RunLog, live: RunLog, window: int) -> list[tuple[CashFlow | None, CashFlow | None]]:
    """Match cash flows of equal sleeve and reason: at the same time, otherwise within the window (ns)."""
    groups: dict[tuple[Sleeve, str], tuple[list[CashFlow], list[CashFlow]]] = {}
    for side, flows in enumerate((shadow.cash_flows, live.cash_flows)):
        for flow in flows:
            groups.setdefault((flow.sleeve, flow.reason), ([], []))[side].append(flow)
    matches = [
        _match_by_time(one, other, window, lambda flow: flow.ts_event, lambda _: 0.0) for one, other in groups.values()
    ]
    return list(chain.from_iterable(matches))


def compare_bars(shadow: RunLog, live: RunLog) -> list[BarDifference]:
    """Return the bars that differ in the span of both runs; consecutive missing bars are one difference."""
    found: list[BarDifference] = []
    for symbol in sorted(shadow.bars):
        one, other = shadow.bars[symbol], live.bars.get(symbol, BarTable())
        first, last = max(min(one), min(other)), min(max(one), max(other))
        missing: list[int] = []
        for time, _ in groupby(time for time in merge(one, other) if first <= time <= last):
            before, after = one.get(time), other.get(time)
            is_known = before is not None and after is not None
            if missing and (is_known or (missing[-1] in one) != (time in one)):
                found.append(_missing_bars(symbol, missing, one, other))
                missing = []
            if before is None or after is None:
                missing.append(time)
            elif not equal_parts(before, after):
                found.append(BarDifference(symbol, time, time, 1, before, after))
        if missing:
            found.append(_missing_bars(symbol, missing, one, other))
    return found


def has_one_strategy(recording: Recording) -> bool:
    """Return whether a recording names one strategy."""
    return ", " not in str(recording.settings.get("strategy", ""))


def _missing_bars(
    symbol: str, times: Sequence[int], one: Mapping[int, BarValues], other: Mapping[int, BarValues]
) -> BarDifference:
    return BarDifference(symbol, times[0], times[-1], len(times), one.get(times[0]), other.get(times[0]))


def _are_comparable(one: OrderHistory, other: OrderHistory) -> bool:
    return one.symbol == other.symbol and one.reason == other.reason and one.sleeve == other.sleeve


def _by_key(
    left: dict[str, OrderHistory], right: dict[str, OrderHistory], key: Callable[[OrderHistory], Any]
) -> list[tuple[OrderHistory, OrderHistory]]:
    waiting: dict[Any, list[OrderHistory]] = {}
    for history in right.values():
        waiting.setdefault(key(history), []).append(history)
    found = []
    for history in left.values():
        others = waiting.get(key(history))
        if others:
            nearest = min(range(len(others)), key=lambda place: _unlikeness(history, others[place]))
            found.append((history, others.pop(nearest)))
    return found


def _candidates(
    left: Iterable[OrderHistory],
    right: Iterable[OrderHistory],
    window: int,
    same_side: bool,
    lot_sizes: Mapping[str, float],
) -> list[tuple[float, OrderHistory, OrderHistory]]:
    groups: dict[tuple[Sleeve, str], list[OrderHistory]] = {}
    for history in right:
        groups.setdefault((history.sleeve, history.reason), []).append(history)
    for group in groups.values():
        group.sort(key=lambda history: history.decided_at)
    found = [
        (_confidence(history, other, window, same_side), history, other)
        for history in left
        for _, other in _within(
            groups.get((history.sleeve, history.reason), []), history.decided_at, window, lambda each: each.decided_at
        )
        if (other.side is history.side) == same_side and _may_be_one(history, other, lot_sizes)
    ]
    found.sort(key=lambda match: (-match[0], *_pair_key(match[1], match[2])))
    return found


def _may_be_one(one: OrderHistory, other: OrderHistory, lot_sizes: Mapping[str, float]) -> bool:
    if one.is_protective and one.order_type is not other.order_type:
        return False
    return _likeness(one, other) >= _LIKE or is_kept(one, other, lot_sizes.get(one.symbol, 0.0))


def _likeness(one: OrderHistory, other: OrderHistory) -> float:
    return min(one.quantity, other.quantity) / max(one.quantity, other.quantity)


def _unlikeness(one: OrderHistory, other: OrderHistory) -> tuple[bool, float]:
    return one.order_type is not other.order_type, -_likeness(one, other)


def _confidence(one: OrderHistory, other: OrderHistory, window: int, same_side: bool) -> float:
    nearness = 1.0 - 0.5 * abs(one.decided_at - other.decided_at) / window
    return (_HEURISTIC if same_side else _OTHER_SIDE) * nearness * (0.5 + 0.5 * _likeness(one, other))


def _pair_key(one: OrderHistory, other: OrderHistory) -> tuple[int, int, str, str]:
    times = sorted((one.decided_at, other.decided_at))
    ids = sorted((one.order_id, other.order_id))
    return times[0], times[1], ids[0], ids[1]


def _order_key(pair: OrderPair) -> tuple[int, int, str, str]:
    return _pair_key(pair.known[0], pair.known[-1])


def _match_by_time(
    shadow: Sequence[T], live: Sequence[T], window: int, time_of: Callable[[T], int], value_of: Callable[[T], float]
) -> list[tuple[T | None, T | None]]:
    by_time = {time_of(each): each for each in live}
    found: list[tuple[T | None, T | None]] = []
    left: list[T] = []
    for each in shadow:
        other = by_time.pop(time_of(each), None)
        if other is None:
            left.append(each)
        else:
            found.append((each, other))
    right = sorted(by_time.values(), key=time_of)
    gaps = sorted(
        (abs(time_of(one) - time_of(other)), min(time_of(one), time_of(other)), i, j)
        for i, one in enumerate(left)
        for j, other in _within(right, time_of(one), window, time_of)
        if value_of(one) == value_of(other)
    )
    used: tuple[set[int], set[int]] = (set(), set())
    for _, _, i, j in gaps:
        if i not in used[0] and j not in used[1]:
            found.append((left[i], right[j]))
            used[0].add(i)
            used[1].add(j)
    found += [(each, None) for i, each in enumerate(left) if i not in used[0]]
    found += [(None, each) for j, each in enumerate(right) if j not in used[1]]
    return found


def _within(sorted_values: Sequence[T], time: int, window: int, time_of: Callable[[T], int]) -> list[tuple[int, T]]:
    index = bisect_left(sorted_values, time - window, key=time_of)
    found = []
    while index < len(sorted_values) and time_of(sorted_values[index]) <= time + window:
        found.append((index, sorted_values[index]))
        index += 1
    return found


def _nearest_offset(times: Sequence[int], time: int) -> int | None:
    index = bisect_left(times, time)
    offsets = [times[n] - time for n in (index - 1, index) if 0 <= n < len(times)]
    return min(offsets, key=abs) if offsets else None


def _common_offset(offsets: Sequence[int]) -> int | None:
    if len(offsets) < 3:
        return None
    offset, n_equal = Counter(offsets).most_common(1)[0]
    return offset if n_equal >= _MIN_EQUAL_OFFSETS * len(offsets) else None
