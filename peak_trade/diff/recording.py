"""Recording of a session or a backtest: the input of a diff."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from peak_trade.core.bar_frame import COLUMNS
from peak_trade.core.causality import CausalityOutcome
from peak_trade.core.dotted import flat
from peak_trade.core.errors import SessionError
from peak_trade.core.time import Timeframe, iso
from peak_trade.engine.market import Market
from peak_trade.journal.events import BankruptcyEvent, BarEvent, CashFlowEvent, Event, OrderEvent, SignalEvent
from peak_trade.risk.limits import RiskLimits

if TYPE_CHECKING:
    from peak_trade.engine.result import BacktestResult

_NUMBERS: Mapping[type, Sequence[str]] = {
    BarEvent: COLUMNS[:4],
    SignalEvent: ("exposure",),
    OrderEvent: (
        "quantity", "cumulative", "leaves", "decision_price", "arrival_price", "last_quantity", "last_price", "fee",
        "fee_in_base", "limit_price", "stop_price",
    ),
    CashFlowEvent: ("amount",),
    BankruptcyEvent: ("equity", "written_off"),
}  # fmt: skip
"""Numbers of an event without which nothing can be compared."""


@dataclass(frozen=True, slots=True)
class LogFacts:
    """Facts about the recording of an external log, which holds orders only.

    `arrival_timeframe` is the timeframe of the bars from which its arrival prices are read. `notes` are sentences about
    what the log does not hold, and what was taken instead.
    """

    arrival_timeframe: Timeframe
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Recording:
    """Settings, code digest and events of a session or a backtest.

    `settings` map dotted names to values. `code` is the digest of the code that ran, empty if unknown. `events` include
    every bar of the run as a BarEvent, which precedes the decisions and fills on that bar. `causality` are the outcomes
    of the check for look-ahead, and `exchange` is the source of the bars, empty if unknown; a diff shows both and does
    not compare them. `log` is set for an external log, of which only the orders are compared; see `diff.external`.
    """

    name: str
    mode: str
    timeframe: Timeframe
    settings: Mapping[str, Any]
    code: str
    events: Sequence[Event]
    causality: Sequence[CausalityOutcome] = ()
    exchange: str = ""
    log: LogFacts | None = None


def recording_of(result: BacktestResult, name: str = "backtest", risk: RiskLimits | None = None) -> Recording:
    """Return the recording of a backtest; `risk` are the limits of its gates, if it had any."""
    settings = flat_settings(
        strategy=", ".join(result.strategies),
        parameters=result.parameters if len(result.strategies) > 1 else next(iter(result.parameters.values()), {}),
        trading=result.settings.model_dump(mode="json"),
        instruments={column.instrument.symbol: asdict(column.instrument) for column in result.market.columns},
        risk=None if risk is None else risk.model_dump(mode="json"),
    )
    code = result.digests.get("code", "")
    events = events_with_bars(result.market, result.events, result.fill_bars)
    timeframe = result.market.timeframe
    return Recording(name, "backtest", timeframe, settings, code, events, result.causality, result.exchange)


def flat_settings(
    strategy: str,
    parameters: Mapping[str, Any],
    trading: Mapping[str, Any],
    instruments: Mapping[str, Mapping[str, Any]],
    risk: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """Return the settings of a run as one flat mapping of dotted names to values.

    A session and a backtest with the same settings have equal mappings.
    """
    grids = {symbol: {k: v for k, v in grid.items() if k != "symbol"} for symbol, grid in instruments.items()}
    groups = {"parameters": parameters, "trading": trading, "instrument": grids, "risk": risk}
    return {"strategy": strategy} | flat({name: group for name, group in groups.items() if group})


def events_with_bars(market: Market, events: Sequence[Event], fill_bars: Sequence[int]) -> list[Event]:
    """Return the events of an event loop with its bars inserted, each before the events of that bar.

    `fill_bars` are the indices of the bars in which the fills happened, in order.
    """
    bar_events = _bar_events(market)
    fill_bar = iter(fill_bars)
    merged: list[Event] = []
    n_merged = 0
    for event in events:
        if isinstance(event, OrderEvent) and event.last_quantity > 0.0:
            bar = next(fill_bar)
        else:
            bar = int(np.searchsorted(market.times, event.ts_event))
        merged += chain.from_iterable(bar_events[n_merged : bar + 1])
        n_merged = max(n_merged, bar + 1)
        merged.append(event)
    merged += chain.from_iterable(bar_events[n_merged:])
    return merged


def check_comparable(shadow: Recording, live: Recording) -> None:
    """Raise a SessionError unless both runs have bars of the same symbols and timeframe over a common span.

    No price, quantity, fee, amount or setting may be NaN, and every order needs bars of its symbol. Volumes are NaN
    where they are not recorded.
    """
    for run in (shadow, live):
        _check_numbers(run)
    if shadow.timeframe != live.timeframe:
        raise SessionError(
            f"{shadow.name} has {shadow.timeframe} bars, {live.name} has {live.timeframe} bars; "
            "choose two runs of one timeframe."
        )
    spans = [_span(run) for run in (shadow, live)]
    symbols = [set(span) for span in spans]
    if symbols[0] != symbols[1]:
        named = [", ".join(sorted(part)) or "nothing" for part in symbols]
        raise SessionError(
            f"{shadow.name} trades {named[0]}, {live.name} trades {named[1]}; choose two runs of the same symbols."
        )
    for run in (shadow, live):
        _check_symbols(run, symbols[0])
    for symbol, (first, last) in spans[0].items():
        other_first, other_last = spans[1][symbol]
        slack = shadow.timeframe.ns
        if first > other_last + slack or other_first > last + slack:
            raise SessionError(
                f"{shadow.name} and {live.name} do not overlap: they have no bar of {symbol} in common; "
                "choose two runs over the same period."
            )


def _check_numbers(run: Recording) -> None:
    for name, value in run.settings.items():
        if isinstance(value, float) and math.isnan(value):
            raise SessionError(f"{run.name}: the setting {name} is NaN; nothing can be compared with it.")
    for index, event in enumerate(run.events):
        wanted = _NUMBERS.get(type(event), ())
        for name in wanted:
            value = getattr(event, name)
            if value is not None and not math.isfinite(value):
                what = f"order {event.order_id}" if isinstance(event, OrderEvent) else f"a {event.kind} event"
                raise SessionError(
                    f"{run.name}: {name} of {what} (event {index}, {iso(event.ts_event)}) is {value}; nothing can be "
                    "compared with it."
                )
        if isinstance(event, OrderEvent) and not (
            event.quantity > 0.0 and event.last_quantity >= 0.0 and (event.last_price > 0.0 or not event.last_quantity)
        ):
            raise SessionError(
                f"{run.name}: order {event.order_id} (event {index}, {iso(event.ts_event)}) has quantity "
                f"{event.quantity:g} and a fill of {event.last_quantity:g} at {event.last_price:g}; quantities and "
                "prices are above zero."
            )


def _check_symbols(run: Recording, symbols: set[str]) -> None:
    for event in run.events:
        if isinstance(event, OrderEvent) and event.symbol not in symbols:
            raise SessionError(
                f"{run.name}: order {event.order_id} is in {event.symbol}, of which the run has no bars; its PnL is "
                f"unknown. Choose runs with the bars of {event.symbol}."
            )


def _span(run: Recording) -> dict[str, tuple[int, int]]:
    spans: dict[str, tuple[int, int]] = {}
    for event in run.events:
        if isinstance(event, BarEvent):
            first, last = spans.get(event.symbol, (event.ts_event, event.ts_event))
            spans[event.symbol] = (min(first, event.ts_event), max(last, event.ts_event))
    if not spans:
        raise SessionError(f"{run.name} has no bars; choose a run with bars.")
    return spans


def _bar_events(market: Market) -> list[list[Event]]:
    bar_events: list[list[Event]] = [[] for _ in range(len(market))]
    times = market.times.tolist()
    for symbol, column in zip(market.symbols, market.columns, strict=True):
        values = [getattr(column, name).tolist() for name in COLUMNS]
        for events, time, *prices in zip(bar_events, times, *values, strict=True):
            if not math.isnan(prices[3]):
                events.append(BarEvent(time, symbol, *prices))
    return bar_events
