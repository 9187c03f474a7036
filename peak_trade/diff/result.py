"""The diff of two runs: every difference, the one root that it follows from, and what each cause did to the PnL.

A pure function of two recordings. `diff(a, a)` is empty, and `diff(b, a)` mirrors `diff(a, b)`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any

import pandas as pd

from peak_trade.core.errors import ConfigError
from peak_trade.diff.causes import Cause, Context, Found, trace
from peak_trade.diff.matching import OrderPair, compare_bars, find_skew, has_one_strategy, match_orders
from peak_trade.diff.order_differences import judge_alone, judge_pair
from peak_trade.diff.order_histories import Life, SideLog, read_side
from peak_trade.diff.pnl import contribution, shortfall_frame
from peak_trade.diff.pnl_attribution import Parity, parity
from peak_trade.diff.recording import Recording, check_comparable
from peak_trade.diff.run_differences import (
    differing_bars,
    differing_clocks,
    differing_flows,
    differing_settings,
    differing_signals,
    differing_starts,
    differing_states,
    repeated_events,
)

WITHIN_TOLERANCE = "within tolerance"
UNEXPLAINED_LIMIT_BPS = 1.0
"""Unexplained PnL above this share of the initial cash (bps) fails a diff."""
_DUST = 1e-10
"""A step of a waterfall below this share of the initial cash is rounding of floats."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that differs, counted from 1 in order of time.

    `kind` says what differs and `subject` of what; `shadow` and `live` are the two values, None where there is none.
    `root` is the number of the difference that it follows from, its own for a root, whose cause all that follow share.
    `at` is the close of the bar (ns UTC, 0 for what held from the start). `pnl` is what it changed by itself and
    `total_pnl`, for a root, with all that follow; live less shadow, quote currency. The two `_events` are the places in
    the recordings' events that it rests on.
    """

    number: int
    cause: Cause
    kind: str
    subject: str
    shadow: Any
    live: Any
    shadow_order: str
    live_order: str
    at: int
    root: int
    pnl: float
    total_pnl: float
    n_follow: int
    shadow_events: tuple[int, ...]
    live_events: tuple[int, ...]

    @property
    def is_root(self) -> bool:
        """Whether it follows from no other difference."""
        return self.root == self.number


@dataclass(frozen=True, eq=False)
class DiffResult:
    """What two runs differ in. Money is in quote currency, times are ns UTC on the shadow's clock.

    `matches` holds every order of the common span, matched or alone; `n_outside` counts those outside it. `tolerated`
    is the PnL of what lies within the tolerances, live less shadow.
    """

    shadow: SideLog
    live: SideLog
    tolerance_bps: float
    tolerance_ms: float
    unexplained_limit_bps: float
    differences: list[Difference]
    matches: list[OrderPair]
    n_outside: int
    shadow_pnl: float
    live_pnl: float
    tolerated: float
    closes: Mapping[str, tuple[float, float]]

    @property
    def roots(self) -> list[Difference]:
        """The differences that follow from no other."""
        return [each for each in self.differences if each.is_root]

    @property
    def is_equal(self) -> bool:
        """Whether nothing differs beyond the tolerances."""
        return not self.differences

    @property
    def unexplained_pnl(self) -> float:
        """Sum of the absolute PnL of every unexplained root, quote currency, never negative."""
        return sum(abs(each.total_pnl) for each in self.roots if each.cause is Cause.UNEXPLAINED)

    @property
    def unexplained_limit(self) -> float:
        """Largest unexplained PnL that passes, quote currency."""
        cash = max(self.shadow.initial_cash, self.live.initial_cash)
        return cash * self.unexplained_limit_bps / 1e4

    @property
    def is_explained(self) -> bool:
        """Whether the unexplained PnL is within its limit; it fails the diff when it is not."""
        return self.unexplained_pnl <= self.unexplained_limit

    @cached_property
    def waterfall(self) -> pd.DataFrame:
        """From the shadow's PnL to the live one: columns step and amount; all but the last sum to the last."""
        steps: list[tuple[str, float]] = [("shadow", self.shadow_pnl)]
        for cause in Cause:
            roots = [each for each in self.roots if each.cause is cause]
            if roots:
                steps.append((str(cause), sum(each.total_pnl for each in roots)))
        if abs(self.tolerated) > _DUST * self.shadow.initial_cash:
            steps.append((WITHIN_TOLERANCE, self.tolerated))
        steps.append(("live", self.live_pnl))
        return pd.DataFrame(steps, columns=["step", "amount"])

    @cached_property
    def shortfall(self) -> pd.DataFrame:
        """Implementation shortfall of every order in the common span; `run` says whose it is."""
        frames = []
        for place, run in enumerate(("shadow", "live")):
            lives = [life for pair in self.matches if (life := (pair.shadow, pair.live)[place]) is not None]
            closes = {symbol: pair[place] for symbol, pair in self.closes.items()}
            frame = shortfall_frame(lives, closes)
            frame.insert(0, "run", run)
            frames.append(frame)
        return pd.concat(frames, ignore_index=True)

    @cached_property
    def equity(self) -> pd.DataFrame:
        """Equity of both sides at the closes that both saw: columns shadow, live and gap (live less shadow), UTC."""
        sides = [dict(zip(side.closes, side.equity, strict=True)) for side in (self.shadow, self.live)]
        times = sorted(sides[0].keys() & sides[1].keys())
        frame = pd.DataFrame(
            {"shadow": [sides[0][time] for time in times], "live": [sides[1][time] for time in times]},
            index=pd.DatetimeIndex(times, tz="UTC", name="close_time"),
            dtype="float64",
        )
        frame["gap"] = frame["live"] - frame["shadow"]
        return frame

    @cached_property
    def parity(self) -> Parity:
        """The P&L attribution test of the two equity curves."""
        n_fills = [sum(len(life.fills) for life in side.lives.values()) for side in (self.shadow, self.live)]
        return parity(self.equity["shadow"], self.equity["live"], (n_fills[0], n_fills[1]))

    @property
    def verdict(self) -> str:
        """In a sentence: whether they agree, and whether what differs is explained."""
        if self.is_equal:
            return "They agree."
        n_roots = len(self.roots)
        sentence = f"They differ: {n_roots:,} root {'cause' if n_roots == 1 else 'causes'}, "
        sentence += f"{len(self.differences) - n_roots:,} that follow."
        if not self.is_explained:
            sentence += (
                f" {self.unexplained_pnl:,.2f} is unexplained, more than the limit of {self.unexplained_limit:,.2f}: "
                "the diff fails."
            )
        return sentence


def diff(
    shadow: Recording,
    live: Recording,
    *,
    tolerance_bps: float = 5.0,
    tolerance_ms: float = 1_000.0,
    unexplained_limit_bps: float = UNEXPLAINED_LIMIT_BPS,
) -> DiffResult:
    """Return every difference between two runs, with its root, its cause and its PnL.

    Parameters
    ----------
    shadow, live : Recording
        Runs of the same symbols and timeframe that overlap; see `recording_of` and `read_recording`.
    tolerance_bps : float
        Average fill prices of an order that differ by no more are not a difference.
    tolerance_ms : float
        Nor are stamps that differ by no more, ms.
    unexplained_limit_bps : float
        Unexplained PnL above this share of the initial cash fails the diff, bps.

    Raises
    ------
    SessionError
        When the two can't be compared: other symbols, another timeframe, or no common span.
    ConfigError
        On a negative tolerance or limit.

    """
    for name, value in (("tolerance_bps", tolerance_bps), ("tolerance_ms", tolerance_ms),
                        ("unexplained_limit_bps", unexplained_limit_bps)):  # fmt: skip
        if not value >= 0.0:
            raise ConfigError(f"{name} was {value}: it is zero or more.")
    check_comparable(shadow, live)
    is_single = has_one_strategy(shadow) and has_one_strategy(live)
    one, other = read_side(shadow, is_single), read_side(live, is_single)
    skew = find_skew(one, other)
    if skew.bars or skew.events:
        other = read_side(live, is_single, skew.bars, skew.events)
    span = max(one.starts_at, other.starts_at), min(max(one.closes, default=0), max(other.closes, default=0))

    def is_in_span(row: int) -> bool:
        return span[0] <= row <= span[1]

    bars = compare_bars(one, other)
    context = Context(
        one, other, tolerance_bps, int(tolerance_ms * 1e6), _last_closes(one, other), _lots(shadow, live), {}, {},
        str(shadow.settings.get("trading.sizing.kind", "fraction_of_equity")),
    )  # fmt: skip
    for each in bars:
        context.bar_spans.setdefault(each.symbol, []).append((each.first, each.last))
    signals = differing_signals(one, other, context, is_in_span)
    for signal in sorted(signals, key=Found.sort_key):
        assert signal.sleeve is not None
        context.signal_rows.setdefault(signal.sleeve, []).append(signal.row)
    matched = match_orders(one, other, shadow.timeframe.ns)
    inside = [pair for pair in matched if any(is_in_span(life.row) for life in _lives(pair))]
    bar_found = differing_bars(bars)
    found = list(chain(bar_found, signals, _judged(inside, context)))
    found += differing_flows(one, other, context, is_in_span)
    found += [each for each in differing_states(one, other) if is_in_span(each.row)]
    found += repeated_events(one, other, context)
    _sleeve_marks(context, bar_found)
    facts = differing_settings(shadow, live) + differing_clocks(skew)
    start = differing_starts(one, other)
    opening = [_opening(side, place, span[0], context) for place, side in enumerate((one, other))]
    if start is not None and opening[0] != opening[1]:
        start.pnl = opening[1] - opening[0]
        facts.append(start)
    kept, tolerated = trace(facts, found, context.tolerated, start)
    pnl = [opening[place] + _pnl(side, place, inside, context, is_in_span) for place, side in enumerate((one, other))]
    return DiffResult(
        one, other, tolerance_bps, tolerance_ms, unexplained_limit_bps, _numbered(kept), inside,
        len(matched) - len(inside), pnl[0], pnl[1], tolerated, context.closes,
    )  # fmt: skip


def _judged(pairs: Sequence[OrderPair], context: Context) -> list[Found]:
    found: list[Found] = []
    for pair in pairs:
        if pair.shadow is not None and pair.live is not None:
            found += judge_pair(context, pair)
            continue
        alone = judge_alone(context, pair)
        life = pair.shadow or pair.live
        assert life is not None
        place = 0 if pair.shadow is not None else 1
        amount = contribution(life, context.closes[life.symbol][place])
        alone.pnl = amount if place == 1 else -amount
        found.append(alone)
    return found


def _sleeve_marks(context: Context, bars: Sequence[Found]) -> None:
    """Give the PnL of another last close to the bar that differs there."""
    for symbol, amount in context.marked.items():
        homes = [each for each in bars if each.subject == symbol]
        if homes and amount:
            homes[-1].pnl += amount
        else:
            context.tolerate(0, amount)


def _pnl(
    side: SideLog, place: int, pairs: Sequence[OrderPair], context: Context, is_in_span: Callable[[int], bool]
) -> float:
    lives = [life for pair in pairs if (life := (pair.shadow, pair.live)[place]) is not None]
    total = sum(contribution(life, context.closes[life.symbol][place]) for life in lives)
    total += sum(flow.amount for flow in side.flows if is_in_span(flow.row))
    for repeat in side.repeats:
        close = context.closes.get(repeat.symbol, (0.0, 0.0))[place]
        total += repeat.quantity * (close - repeat.price) - repeat.fee
    return total


def _opening(side: SideLog, place: int, start: int, context: Context) -> float:
    """What the positions held before the common span earned in it, quote currency."""
    earned = 0.0
    for sleeve in side.positions:
        held = side.held_at(sleeve, start - 1)
        seen = [time for time in side.bars.get(sleeve[1], {}) if time < start] if held else []
        if seen:
            earned += held * (context.closes[sleeve[1]][place] - side.bars[sleeve[1]][max(seen)][3])
    return earned


def _last_closes(shadow: SideLog, live: SideLog) -> dict[str, tuple[float, float]]:
    closes = {}
    for symbol, seen in shadow.bars.items():
        others = live.bars[symbol]
        common = seen.keys() & others.keys()
        last = max(common) if common else None
        closes[symbol] = (seen[last][3], others[last][3]) if last is not None else (_last(seen), _last(others))
    return closes


def _last(seen: Mapping[int, tuple[float, ...]]) -> float:
    return seen[max(seen)][3]


def _lots(shadow: Recording, live: Recording) -> dict[str, float]:
    lots: dict[str, float] = {}
    for side in (shadow, live):
        for name, value in side.settings.items():
            if name.startswith("instrument.") and name.endswith(".lot_size"):
                symbol = name.removeprefix("instrument.").removesuffix(".lot_size")
                lots[symbol] = max(lots.get(symbol, 0.0), float(value))
    return lots


def _lives(pair: OrderPair) -> list[Life]:
    return [life for life in (pair.shadow, pair.live) if life is not None]


def _numbered(kept: Sequence[Found]) -> list[Difference]:
    numbers = {id(found): number for number, found in enumerate(kept, start=1)}
    totals: dict[int, float] = {}
    counts: dict[int, int] = {}
    for found in kept:
        root = id(found.root)
        totals[root] = totals.get(root, 0.0) + found.pnl
        counts[root] = counts.get(root, -1) + 1
    differences = []
    for found in kept:
        pair = found.pair
        ids = [life.order_id if life is not None else "" for life in (pair.shadow, pair.live)] if pair else ["", ""]
        is_root = found.root is found
        differences.append(
            Difference(
                numbers[id(found)], found.cause, found.kind, found.subject, found.shadow, found.live, ids[0], ids[1],
                found.row, numbers[id(found.root)], found.pnl, totals[id(found)] if is_root else found.pnl,
                counts[id(found)] if is_root else 0, *found.places,
            )
        )  # fmt: skip
    return differences
