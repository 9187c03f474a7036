"""Evidence of an edge of a session since its start, as an e-process over its journal."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from peak_trade.core.arrays import FloatArray, IntArray
from peak_trade.core.errors import PeakTradeError
from peak_trade.core.time import Timeframe, iso
from peak_trade.journal.events import BarEvent, Event, SessionEvent, SessionPhase
from peak_trade.journal.files import read_manifest, stream_events
from peak_trade.journal.ledger_from_events import LedgerFromEvents
from peak_trade.metrics.e_values import THRESHOLD, EdgeTest, EValues, e_values
from peak_trade.sessions.config import SessionConfig
from peak_trade.sessions.store import config_of, find_session
from peak_trade.wiring.feeds import FEEDS

EDGE_TEST = "edge_test"
"""Key of the settings of the test in the manifest of a session, which is sealed before the first bar."""

WITH_EDGE_TEST = ("paper", "shadow")
"""Modes of sessions that carry the test."""


@dataclass(frozen=True, slots=True, eq=False)
class EdgeEvidence:
    """The e-process of a session: one value per traded bar, and the close times of these bars, ns UTC.

    `excess` are the net returns less those of the benchmark, `exposure` those at which the benchmark was held.
    `is_recorded` is True for a session over stored bars, which were known before.
    """

    test: EdgeTest
    e_values: EValues
    times: IntArray
    excess: FloatArray
    exposure: FloatArray
    is_recorded: bool

    @property
    def sentence(self) -> str:
        """The value and the threshold, and what a reader has to know."""
        n = len(self.times)
        broken = self.e_values.broken_at
        if broken is not None:
            return (
                f"Evidence of an edge: e = 0 for good. The assumption of the test was broken: the bar that closed at "
                f"{iso(int(self.times[broken]))} lost {-self.excess[broken]:.1%} against the benchmark, more than the "
                f"bound of {100.0 * self.test.loss_bound:.3g}%."
            )
        reached = self.e_values.reached_at
        parts = [
            f"Evidence of an edge: e = {_shown(self.e_values.value)} after {n:,} bar{'s' * (n != 1)}; "
            f"{THRESHOLD:g} is the threshold",
            "" if reached is None else f", first reached at {iso(int(self.times[reached]))}",
            f". At the claimed Sharpe ratio of {self.test.claimed_sharpe:g} it is expected after about "
            f"{self.test.years_expected:.1f} years.",
            " The bars were stored before the session started, so this is no evidence." if self.is_recorded else "",
        ]
        return "".join(parts)

    def to_dict(self) -> dict[str, Any]:
        """Return the value, its settings and the sentence as plain values."""
        reached = self.e_values.reached_at
        return {
            "e": self.e_values.value,
            "threshold": THRESHOLD,
            "n_bars": len(self.times),
            "reached_at": None if reached is None else iso(int(self.times[reached])),
            "is_broken": self.e_values.broken_at is not None,
            "years_expected": self.test.years_expected,
            "is_recorded": self.is_recorded,
            "settings": self.test.model_dump(mode="json"),
            "sentence": self.sentence,
        }


def edge_of(folder: Path) -> EdgeEvidence | None:
    """Return the evidence of an edge of a session; None for one whose manifest declares no test, or that is damaged."""
    return _edge(folder, with_stored_bars=True)


def e_value_of(folder: Path) -> float | None:
    """Return the value of the e-process of a session; None without one, and for a session over stored bars.

    The journal of a session over stored bars is not read.
    """
    found = _edge(folder, with_stored_bars=False)
    return None if found is None else found.e_values.value


def _edge(folder: Path, *, with_stored_bars: bool) -> EdgeEvidence | None:
    try:
        declared = _declared(folder)
        if declared is None or (declared[2] and not with_stored_bars):
            return None
        return edge_from_events(stream_events(folder), *declared)
    except PeakTradeError:
        return None


def _declared(folder: Path) -> tuple[SessionConfig, EdgeTest, bool] | None:
    """Return the configuration and the test of a manifest, and whether the bars come from the store."""
    declared = read_manifest(folder).get(EDGE_TEST)
    if declared is None:
        return None
    test, config = EdgeTest.parse(declared, f"{folder.name}/manifest.json"), config_of(folder)
    return config, test, _has_stored_bars(config)


def edge_from_events(
    events: Iterable[Event], config: SessionConfig, test: EdgeTest, is_stored: bool = False
) -> EdgeEvidence:
    """Return the evidence of an edge from the events of a session; `is_stored`: its bars come from the store.

    The return of a bar is that of the equity from the close before it to its own close, after all fills and costs. The
    benchmark is the symbol, held at the exposure of the test, or at the mean exposure over the closes so far.
    """
    times, equity, closes, exposure = _path(events, config)
    if not times.size:
        nothing = np.empty(0)
        return EdgeEvidence(test, e_values(nothing, test, 1.0), times, nothing, nothing, is_stored)
    returns = np.divide(equity[1:], equity[:-1], out=np.ones(len(times)), where=equity[:-1] > 0.0) - 1.0
    if test.benchmark_exposure is None:
        held = np.cumsum(exposure[:-1]) / np.arange(1, len(times) + 1)
    else:
        held = np.full(len(times), test.benchmark_exposure)
    excess = returns - held * (closes[1:] / closes[:-1] - 1.0)
    found = e_values(excess, test, Timeframe.parse(config.timeframe).bars_per_year)
    return EdgeEvidence(test, found, times, excess, held, is_stored)


def _has_stored_bars(config: SessionConfig) -> bool:
    """Return whether the bars of a session, or of the one that it follows, come from the store."""
    if config.follow is not None:
        config = config_of(find_session(config.follow))
    return FEEDS[config.feed].is_recorded


def _path(events: Iterable[Event], config: SessionConfig) -> tuple[IntArray, FloatArray, FloatArray, FloatArray]:
    """Return the close times of the traded bars, shape (n,), and equity, close and exposure at n + 1 closes.

    The first of the latter is the last close before the start, or, without one, that of the first traded bar.
    """
    booked = LedgerFromEvents(config.trading.initial_cash, config.lots)
    (symbol,) = config.symbol_names
    rows: list[tuple[float, ...]] = []
    times: list[int] = []
    bar: BarEvent | None = None

    def mark(closed: BarEvent) -> tuple[float, float, float]:
        equity = booked.ledger.equity(booked.marks)
        notional = booked.ledger.quantity(symbol) * closed.close
        return equity, closed.close, notional / equity if equity > 0.0 else 0.0

    for event in events:
        if bar is not None and isinstance(event, BarEvent):
            rows.append(mark(bar))
            times.append(bar.ts_event)
        if isinstance(event, BarEvent):
            bar = event
        elif isinstance(event, SessionEvent) and event.phase is SessionPhase.STARTED:
            rows, times = ([] if bar is None else [mark(bar)]), ([] if bar is None else [bar.ts_event])
            bar = None
        booked.book(event)
    if bar is not None:
        rows.append(mark(bar))
        times.append(bar.ts_event)
    path = np.array(rows).reshape(-1, 3)
    equity, closes, exposure = (np.ascontiguousarray(column) for column in path.T)
    return np.array(times, np.int64)[1:], equity, closes, exposure


def _shown(value: float) -> str:
    return f"{value:,.1f}" if value >= 1.0 else f"{value:.2g}"
