"""Diff of two runs: every difference, the root from which it follows, and the PnL of each cause.

A diff is a pure function of two recordings. `diff(a, a)` is empty, and `diff(b, a)` mirrors `diff(a, b)`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from peak_trade.core.described import Described
from peak_trade.core.errors import ConfigError
from peak_trade.core.field_words import LARGEST
from peak_trade.core.former_names import HasFormerNames
from peak_trade.diff import log_orders, order_differences, run_differences
from peak_trade.diff.advice import advice
from peak_trade.diff.bias import Bias, find_biases
from peak_trade.diff.causes import Cause, Finding, Kind, assign_roots
from peak_trade.diff.context import Context
from peak_trade.diff.external import lot_sizes_of
from peak_trade.diff.matching import (
    OrderPair,
    compare_bars,
    find_clock_skew,
    has_one_strategy,
    match_log_orders,
    match_orders,
)
from peak_trade.diff.order_histories import OrderHistory
from peak_trade.diff.packed import BarTable
from peak_trade.diff.pnl import PnlAttribution, contribution, pnl_attribution, shortfall_frame
from peak_trade.diff.recording import Recording, check_comparable
from peak_trade.diff.run_log import RunLog, read_run_log
from peak_trade.diff.tolerances import LOG_TOLERANCE, LOG_WINDOW, TOLERANCE_BPS, TOLERANCE_MS, UNEXPLAINED_LIMIT_BPS

_ROUNDING = 1e-10
"""A PnL below this fraction of the initial cash is a rounding error and no difference."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One difference between two runs; `number` counts from 1 in order of time.

    `kind` is the value that differs, `subject` the symbol or setting; `shadow` and `live` are both values, None where a
    run has none. `root` is the number of the root from which it follows, its own for a root; the cause is the root's.
    `at` is the close of the bar, ns UTC, 0 for the whole run. `pnl` is its own effect on the PnL; `total_pnl` of a root
    includes its `n_follow` consequences; live − shadow, quote currency. `shadow_events` and `live_events` are indices
    of events in the recordings. `n_equal` counts the equal differences that a root stands for, itself included, and
    `bias` is the estimate of a systematic difference.
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
    n_equal: int = 1
    bias: Bias | None = None

    @property
    def is_root(self) -> bool:
        """Whether the difference does not follow from another one."""
        return self.root == self.number


@dataclass(frozen=True, eq=False, repr=False)
class DiffResult(Described, HasFormerNames):
    """Differences between two runs. Money is in quote currency, times are ns UTC on the shadow's clock.

    `matches` are all orders of the common span, matched or not; `n_outside` counts the orders outside of it.
    `tolerated_pnl` is the PnL of the `n_tolerated` differences within the tolerances, live − shadow. `last_closes` are,
    by symbol, the last closes that both runs have, in the shadow and in the live run.
    """

    former_names: ClassVar = {"closes": "last_closes", "parity": "pnl_attribution", "tolerated": "tolerated_pnl"}

    shadow: RunLog
    live: RunLog
    tolerance_bps: float
    tolerance_ms: float
    unexplained_limit_bps: float
    differences: list[Difference]
    matches: list[OrderPair]
    n_outside: int
    shadow_pnl: float
    live_pnl: float
    tolerated_pnl: float
    n_tolerated: int
    last_closes: Mapping[str, tuple[float, float]]

    def description(self) -> tuple[str, dict[str, object]]:
        """Return the verdict and the PnL of both sides."""
        sides = (self.shadow.recording, self.live.recording)
        return (
            f"DiffResult: {sides[0].name} and {sides[1].name}",
            {
                "verdict": self.verdict,
                "orders": f"{len(self.matches):,}",
                "PnL of the shadow": f"{self.shadow_pnl:,.2f}",
                "PnL live": f"{self.live_pnl:,.2f}",
                "unexplained": f"{self.unexplained_pnl:,.2f}",
            },
        )

    @property
    def roots(self) -> list[Difference]:
        """Differences that do not follow from another one."""
        return [each for each in self.differences if each.is_root]

    @property
    def is_equal(self) -> bool:
        """Whether the runs are equal within the tolerances."""
        return not self.differences

    @property
    def unexplained_pnl(self) -> float:
        """Sum of the absolute PnL of all unexplained roots, quote currency."""
        return sum(abs(each.total_pnl) for each in self.roots if each.cause is Cause.UNEXPLAINED)

    @property
    def unexplained_limit(self) -> float:
        """Largest unexplained PnL with which a diff passes, quote currency."""
        cash = max(self.shadow.initial_cash, self.live.initial_cash)
        return cash * self.unexplained_limit_bps / 1e4

    @property
    def unexplained_orders(self) -> list[Difference]:
        """Orders in one run only that nothing explains."""
        return [each for each in self.roots if each.cause is Cause.UNEXPLAINED and each.kind == Kind.ORDER]

    @property
    def is_explained(self) -> bool:
        """Whether every order in one run only is explained, and the unexplained PnL is within its limit.

        Otherwise the diff fails.
        """
        return not self.unexplained_orders and self.unexplained_pnl <= self.unexplained_limit

    @cached_property
    def waterfall(self) -> pd.DataFrame:
        """Steps from the shadow's PnL to the live PnL: columns step and amount; the last is the sum of the others."""
        steps: list[tuple[str, float]] = [("shadow", self.shadow_pnl)]
        for cause in Cause:
            roots = [each for each in self.roots if each.cause is cause]
            if roots:
                steps.append((str(cause), sum(each.total_pnl for each in roots)))
        steps.append((Kind.WITHIN_TOLERANCE.value, self.tolerated_pnl))
        steps.append(("live", self.live_pnl))
        return pd.DataFrame(steps, columns=["step", "amount"])

    @cached_property
    def shortfall(self) -> pd.DataFrame:
        """Implementation shortfall of each order in the common span; column `run` is shadow or live."""
        frames = []
        for side, run in enumerate(("shadow", "live")):
            closes = {symbol: pair[side] for symbol, pair in self.last_closes.items()}
            frame = shortfall_frame(_orders_of(self.matches, side), closes)
            frame.insert(0, "run", run)
            frames.append(frame)
        return pd.concat(frames, ignore_index=True)

    @cached_property
    def equity(self) -> pd.DataFrame:
        """Equity at the closes that both runs have: columns shadow, live and gap (live − shadow), index UTC."""
        shadow, live = (
            pd.Series(np.array(run.equity), np.array(run.close_times, dtype=np.int64))
            for run in (self.shadow, self.live)
        )
        shadow, live = (equity[~equity.index.duplicated(keep="last")] for equity in (shadow, live))
        times = shadow.index.intersection(live.index).sort_values()
        frame = pd.DataFrame({"shadow": shadow.loc[times], "live": live.loc[times]}, dtype="float64")
        frame.index = pd.DatetimeIndex(times, tz="UTC", name="close_time")
        frame["gap"] = frame["live"] - frame["shadow"]
        return frame

    @cached_property
    def pnl_attribution(self) -> PnlAttribution:
        """Result of the P&L attribution test of the two equity curves."""
        n_fills = [sum(len(order.fills) for order in run.histories.values()) for run in (self.shadow, self.live)]
        return pnl_attribution(self.equity["shadow"], self.equity["live"], (n_fills[0], n_fills[1]))

    @cached_property
    def advice(self) -> str:
        """Largest cause in money, and what to set to bring the runs together; empty without a difference in money."""
        return advice(self)

    @property
    def notes(self) -> list[str]:
        """Sentences about what an external log does not hold, and what was taken instead; empty without one."""
        facts = [run.recording.log for run in (self.shadow, self.live)]
        stated = [() if each is None else each.notes for each in facts]
        shared = [note for note in stated[0] if note in stated[1]]
        notes = list(shared)
        for name, own in zip(("shadow", "live"), stated, strict=True):
            notes += [f"{name}: {note}" if all(facts) else note for note in own if note not in shared]
        if notes and self.n_outside:
            notes.append(f"{self.n_outside:,} orders are outside of the common span and not compared")
        return notes

    @property
    def tolerated_text(self) -> str:
        """Number of differences within the tolerances, in words."""
        return f"{self.n_tolerated:,} {'difference' if self.n_tolerated == 1 else 'differences'} within the tolerances"

    @property
    def verdict(self) -> str:
        """Sentence that states whether the runs agree, and whether the differences are explained."""
        if self.is_equal:
            return "The runs agree."
        n_roots, n_follow = len(self.roots), len(self.differences) - len(self.roots)
        sentence = f"The runs differ: {n_roots:,} root {'cause' if n_roots == 1 else 'causes'}, "
        sentence += f"{n_follow:,} {'consequence' if n_follow == 1 else 'consequences'}."
        reasons = []
        if self.unexplained_orders:
            n_orders = len(self.unexplained_orders)
            reasons.append(f"{n_orders:,} {'order' if n_orders == 1 else 'orders'} in one run only unexplained")
        if self.unexplained_pnl > self.unexplained_limit:
            reasons.append(
                f"the unexplained PnL of {self.unexplained_pnl:,.2f} exceeds the limit of {self.unexplained_limit:,.2f}"
            )
        return f"{sentence} The diff fails: {' and '.join(reasons)}." if reasons else sentence


def diff(
    shadow: Recording,
    live: Recording,
    *,
    tolerance_bps: float = TOLERANCE_BPS,
    tolerance_ms: float = TOLERANCE_MS,
    unexplained_limit_bps: float = UNEXPLAINED_LIMIT_BPS,
) -> DiffResult:
    """Return every difference between two runs, with its root, its cause and its PnL.

    Parameters
    ----------
    shadow, live : Recording
        Runs of the same symbols and timeframe with a common span; see `recording_of` and `read_recording`.
    tolerance_bps : float
        Average fill prices of an order that differ by no more are equal, bps.
    tolerance_ms : float
        Times that differ by no more are equal, ms. With an external log it is at least 1 % of the timeframe.
    unexplained_limit_bps : float
        Unexplained PnL above this fraction of the initial cash fails the diff, bps.

    Raises
    ------
    SessionError
        If the runs have different symbols or timeframes, or no common span.
    ConfigError
        If a tolerance or the limit is negative.

    """
    _check_not_negative("tolerance_bps", tolerance_bps)
    _check_not_negative("tolerance_ms", tolerance_ms)
    _check_not_negative("unexplained_limit_bps", unexplained_limit_bps)
    check_comparable(shadow, live)
    log = shadow.log or live.log
    is_single = log is not None or (has_one_strategy(shadow) and has_one_strategy(live))
    one, other = read_run_log(shadow, is_single), read_run_log(live, is_single)
    skew = find_clock_skew(one, other)
    if skew.bars or skew.events:
        other = read_run_log(live, is_single, skew.bars, skew.events)
    tolerance_ms = tolerance_ms if log is None else max(tolerance_ms, LOG_TOLERANCE * shadow.timeframe.ns / 1e6)
    context = Context(
        shadow=one,
        live=other,
        tolerance_bps=tolerance_bps,
        tolerance_ns=int(tolerance_ms * 1e6),
        last_closes=_last_closes(one, other),
        lot_sizes=_lot_sizes(one, other),
        sizing=str(shadow.settings.get("trading.sizing.kind", "fraction_of_equity")),
        arrival_timeframe_ns=0 if log is None else log.arrival_timeframe.ns,
    )
    last_close_times = (max(run.close_times, default=0) for run in (one, other))
    span = range(max(one.starts_at, other.starts_at), min(last_close_times) + 1)
    if log is None:
        matched = match_orders(one, other, shadow.timeframe.ns, context.lot_sizes)
    else:
        matched = match_log_orders(one, other, LOG_WINDOW * shadow.timeframe.ns)
        log_orders.adopt_reasons(matched)
    inside = [pair for pair in matched if any(order.close_time in span for order in pair.known)]
    findings = _findings(one, other, inside, context, span)
    _assign_mark_pnl(context, [each for each in findings if each.kind in (Kind.BAR, Kind.MISSING_BAR)])
    run_findings = run_differences.of_settings(shadow, live) + run_differences.of_clocks(skew)
    start = run_differences.of_starts(one, other)
    opening_pnl = [_opening_pnl(run, side, span.start, context) for side, run in enumerate((one, other))]
    if start is not None and opening_pnl[0] != opening_pnl[1]:
        start.pnl = opening_pnl[1] - opening_pnl[0]
        run_findings.append(start)
    elif log is not None:
        start = None
    biases = find_biases(context)
    kept, within = assign_roots(run_findings, findings, context.tolerated, start, biases)
    pnl = [opening_pnl[side] + _trading_pnl(run, side, inside, context, span) for side, run in enumerate((one, other))]
    return DiffResult(
        shadow=one,
        live=other,
        tolerance_bps=tolerance_bps,
        tolerance_ms=tolerance_ms,
        unexplained_limit_bps=unexplained_limit_bps,
        differences=_numbered(kept),
        matches=inside,
        n_outside=len(matched) - len(inside),
        shadow_pnl=pnl[0],
        live_pnl=pnl[1],
        tolerated_pnl=math.fsum(each.pnl for each in within),
        n_tolerated=sum(abs(each.pnl) > _ROUNDING * one.initial_cash for each in within),
        last_closes=context.last_closes,
    )


def _check_not_negative(name: str, value: float) -> None:
    if not 0.0 <= value < LARGEST:
        raise ConfigError(f"{name} was {value}; set it to 0 or more, below {LARGEST:g}.")


def _findings(shadow: RunLog, live: RunLog, pairs: Sequence[OrderPair], context: Context, span: range) -> list[Finding]:
    bar_differences = compare_bars(shadow, live)
    for each in bar_differences:
        context.bar_spans.setdefault(each.symbol, []).append((each.first, each.last))
    bars = run_differences.of_bars(bar_differences)
    if shadow.recording.log is not None or live.recording.log is not None:
        flows = run_differences.of_cash_flows(shadow, live, context, span)
        log_orders.join_flows(flows)
        return [*bars, *log_orders.of_log_orders(pairs, context), *flows]
    signals = [each for each in run_differences.of_signals(shadow, live, context) if each.close_time in span]
    for signal in sorted(signals, key=Finding.sort_key):
        assert signal.sleeve is not None
        context.signal_times.setdefault(signal.sleeve, []).append(signal.close_time)
    findings = [*bars, *signals, *order_differences.of_orders(pairs, context)]
    findings += run_differences.of_cash_flows(shadow, live, context, span)
    findings += [each for each in run_differences.of_trading_states(shadow, live) if each.close_time in span]
    findings += run_differences.of_duplicate_events(shadow, live, context)
    return findings


def _orders_of(pairs: Sequence[OrderPair], side: int) -> list[OrderHistory]:
    return [order for pair in pairs if (order := pair.histories[side]) is not None]


def _assign_mark_pnl(context: Context, bars: Sequence[Finding]) -> None:
    """Assign the PnL of different last closes to the last bar that differs."""
    for symbol, amount in context.mark_pnl.items():
        differing = [each for each in bars if each.subject == symbol]
        if differing and amount:
            differing[-1].pnl += amount
        else:
            context.tolerate(0, amount)


def _trading_pnl(run: RunLog, side: int, pairs: Sequence[OrderPair], context: Context, span: range) -> float:
    closes = context.last_closes
    total = sum(contribution(order, closes[order.symbol][side]) for order in _orders_of(pairs, side))
    total += sum(flow.amount for flow in run.cash_flows if flow.close_time in span)
    for duplicate in run.duplicates:
        total += duplicate.pnl(closes.get(duplicate.symbol, (0.0, 0.0))[side])
    return total


def _opening_pnl(run: RunLog, side: int, start: int, context: Context) -> float:
    """Return the PnL in the common span of the positions from before it, quote currency."""
    pnl = 0.0
    for sleeve in run.holdings:
        position = run.position_at(sleeve, start - 1)
        bars = run.bars.get(sleeve[1], BarTable())
        earlier = [time for time in bars if time < start] if position else []
        if earlier:
            pnl += position * (context.last_closes[sleeve[1]][side] - bars[max(earlier)].close)
    return pnl


def _last_closes(shadow: RunLog, live: RunLog) -> dict[str, tuple[float, float]]:
    closes = {}
    for symbol, bars in shadow.bars.items():
        live_bars = live.bars[symbol]
        common = max((time for time in bars if time in live_bars), default=None)
        last, live_last = (max(bars), max(live_bars)) if common is None else (common, common)
        closes[symbol] = (bars[last].close, live_bars[live_last].close)
    return closes


def _lot_sizes(shadow: RunLog, live: RunLog) -> dict[str, float]:
    lot_sizes: dict[str, float] = {}
    for run in (shadow, live):
        if run.recording.log is not None:
            for symbol, step in lot_sizes_of(list(run.histories.values())).items():
                lot_sizes[symbol] = max(lot_sizes.get(symbol, 0.0), step)
        for name, value in run.recording.settings.items():
            if name.startswith("instrument.") and name.endswith(".lot_size"):
                symbol = name.removeprefix("instrument.").removesuffix(".lot_size")
                lot_sizes[symbol] = max(lot_sizes.get(symbol, 0.0), float(value))
    return lot_sizes


def _numbered(kept: Sequence[Finding]) -> list[Difference]:
    numbers = {id(finding): number for number, finding in enumerate(kept, start=1)}
    totals: dict[int, float] = {}
    n_follow: dict[int, int] = {}
    for finding in kept:
        root = id(finding.root)
        totals[root] = totals.get(root, 0.0) + finding.pnl
        n_follow[root] = n_follow.get(root, -1) + 1
    differences = []
    for finding in kept:
        is_root = finding.root is finding
        orders = finding.pair.histories if finding.pair else (None, None)
        shadow_order, live_order = (order.order_id if order else "" for order in orders)
        differences.append(
            Difference(
                number=numbers[id(finding)],
                cause=finding.cause,
                kind=str(finding.kind),
                subject=finding.subject,
                shadow=finding.shadow,
                live=finding.live,
                shadow_order=shadow_order,
                live_order=live_order,
                at=finding.close_time,
                root=numbers[id(finding.root)],
                pnl=finding.pnl,
                total_pnl=totals[id(finding)] if is_root else finding.pnl,
                n_follow=n_follow[id(finding)] if is_root else 0,
                shadow_events=tuple(finding.event_indices[0]),
                live_events=tuple(finding.event_indices[1]),
                n_equal=finding.n_equal,
                bias=finding.bias,
            )
        )
    return differences
