"""One side of a diff: what a session or a backtest was, and what happened in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import count
from typing import Any

import numpy as np

from peak_trade.core.bars import COLUMNS
from peak_trade.core.errors import SessionError
from peak_trade.core.time import Timeframe
from peak_trade.engine.market import Market
from peak_trade.engine.result import BacktestResult
from peak_trade.journal.events import BarEvent, Event, OrderEvent
from peak_trade.risk.limits import RiskLimits


@dataclass(frozen=True, slots=True, eq=False)
class Recording:
    """A session or a backtest, as a diff sees it.

    `settings` are flat (dotted name to value), `code` the digest of the code that ran, empty when it is not known.
    `events` hold, beside everything that happened, every bar that was seen as a BarEvent, before what was decided and
    filled on it.
    """

    name: str
    mode: str
    timeframe: Timeframe
    settings: Mapping[str, Any]
    code: str
    events: Sequence[Event]


def recording_of(result: BacktestResult, name: str = "backtest", risk: RiskLimits | None = None) -> Recording:
    """Return a finished backtest as one side of a diff; `risk` are the limits of its gates, where it had any."""
    settings = flat_settings(
        strategy=", ".join(result.strategies),
        parameters=result.parameters if len(result.strategies) > 1 else next(iter(result.parameters.values()), {}),
        trading=result.settings.model_dump(mode="json"),
        instruments={column.instrument.symbol: asdict(column.instrument) for column in result.market.columns},
        risk=None if risk is None else risk.model_dump(mode="json"),
    )
    code = result.digests.get("code", "")
    events = events_with_bars(result.market, result.events, result.fill_rows)
    return Recording(name, "backtest", result.market.timeframe, settings, code, events)


def flat_settings(
    strategy: str,
    parameters: Mapping[str, Any],
    trading: Mapping[str, Any],
    instruments: Mapping[str, Mapping[str, Any]],
    risk: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """Return what can make two runs differ as one flat mapping, equal for a session and a backtest that are alike."""
    grids = {symbol: {k: v for k, v in grid.items() if k != "symbol"} for symbol, grid in instruments.items()}
    nested = {"parameters": parameters, "trading": trading, "instrument": grids, "risk": risk or {}}
    return {"strategy": strategy} | dict(_flat(nested))


def events_with_bars(market: Market, events: Sequence[Event], fill_rows: Sequence[int]) -> list[Event]:
    """Return a loop's events with the bars that it saw among them, each before what happened on it.

    `fill_rows` are the market's rows in which the fills happened, in order.
    """
    bars = _bar_events(market)
    times = market.times
    rows = iter(fill_rows)
    merged: list[Event] = []
    row = -1
    for event in events:
        if isinstance(event, OrderEvent) and event.last_quantity > 0.0:
            reached = next(rows)
        else:
            reached = int(np.searchsorted(times, event.ts_event))
        while row < min(reached, len(bars) - 1):
            row += 1
            merged += bars[row]
        merged.append(event)
    for later in bars[row + 1 :]:
        merged += later
    return merged


def check_comparable(shadow: Recording, live: Recording) -> None:
    """Raise a SessionError unless both sides saw bars of the same symbols and timeframe over a common span."""
    if shadow.timeframe != live.timeframe:
        raise SessionError(
            f"{shadow.name} has bars of {shadow.timeframe}, {live.name} of {live.timeframe}: "
            "only runs of one timeframe can be compared."
        )
    spans = [_span(side) for side in (shadow, live)]
    symbols = [set(span) for span in spans]
    if symbols[0] != symbols[1]:
        named = [", ".join(sorted(part)) or "nothing" for part in symbols]
        raise SessionError(
            f"{shadow.name} trades {named[0]}, {live.name} {named[1]}: only runs of the same symbols can be compared."
        )
    for symbol, (first, last) in spans[0].items():
        other_first, other_last = spans[1][symbol]
        slack = shadow.timeframe.ns
        if first > other_last + slack or other_first > last + slack:
            raise SessionError(
                f"{shadow.name} and {live.name} do not overlap: no bar of {symbol} was seen by both. "
                "Choose two runs over the same time."
            )


def _span(side: Recording) -> dict[str, tuple[int, int]]:
    spans: dict[str, tuple[int, int]] = {}
    for event in side.events:
        if isinstance(event, BarEvent):
            first, last = spans.get(event.symbol, (event.ts_event, event.ts_event))
            spans[event.symbol] = (min(first, event.ts_event), max(last, event.ts_event))
    if not spans:
        raise SessionError(f"{side.name} saw no bar: there is nothing to compare.")
    return spans


def _bar_events(market: Market) -> list[list[Event]]:
    rows: list[list[Event]] = [[] for _ in range(len(market))]
    times = market.times.tolist()
    for symbol, column in zip(market.symbols, market.columns, strict=True):
        values = [getattr(column, name).tolist() for name in COLUMNS]
        for row, time, *bar in zip(count(), times, *values, strict=False):
            if bar[3] == bar[3]:
                rows[row].append(BarEvent(time, symbol, *bar))
    return rows


def _flat(nested: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, value in nested.items():
        found += _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else [(f"{prefix}{name}", value)]
    return found
