"""Diffs of imported logs by name: their bars from the store, their settings, and a backtest over their span."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from peak_trade.core.bar_frame import COLUMNS
from peak_trade.core.bars import Bars
from peak_trade.core.errors import ConfigError, SessionError, did_you_mean
from peak_trade.core.time import Timeframe, from_ns, iso
from peak_trade.core.values import quote_of
from peak_trade.data.series import StoredSeries
from peak_trade.data.store import list_bars, load_bars
from peak_trade.diff.external import (
    LogBars,
    main_quote,
    matching_symbol,
    recording_of_log,
    simulated_orders,
    span_of,
)
from peak_trade.diff.packed import PackedEvents
from peak_trade.diff.recording import Recording, flat_settings, recording_of
from peak_trade.engine.settings import BacktestSettings
from peak_trade.journal.events import BarEvent, Event, OrderEvent, OrderEventKind, SnapshotEvent
from peak_trade.journal.files import read_manifest, stream_events
from peak_trade.sessions.store import check_journal
from peak_trade.wiring.run_file import read_run_file


@dataclass(frozen=True, slots=True)
class ImportedLog:
    """An imported log: its events, and the timeframe of its strategy, empty if it is not stated.

    `starting_balances` are the balances by currency before the first order that the log states.
    """

    name: str
    events: Sequence[Event]
    timeframe: str = ""
    starting_balances: Mapping[str, float] = field(default_factory=dict)

    @property
    def symbols(self) -> list[str]:
        """Symbols of the orders, those with most orders first."""
        first = [
            event.symbol
            for event in self.events
            if isinstance(event, OrderEvent) and event.event is OrderEventKind.REQUESTED
        ]
        return sorted(set(first), key=lambda symbol: (-first.count(symbol), symbol))

    @property
    def span(self) -> tuple[int, int]:
        """Times of the first and the last order event, ns UTC."""
        return span_of(self.events)


@dataclass(frozen=True, slots=True)
class LogStatements:
    """Statements of a user about a log: a run file with its settings, its initial cash, and the source of its bars.

    `timeframe` is that of the bars of a log that is not compared with a run. By default the bars are the finest ones
    that are held of most orders.
    """

    run_file: Path | str | None = None
    cash: float | None = None
    exchange: str | None = None
    timeframe: str | None = None


def is_imported(folder: Path) -> bool:
    """Return whether a session is an imported log."""
    return "imported" in read_manifest(folder)


def read_log(folder: Path) -> ImportedLog:
    """Return an imported log; SessionError if its journal does not verify."""
    verdict = check_journal(folder)
    if not verdict.is_intact:
        raise SessionError(
            f"{folder.name}: the journal is {verdict.finding} ({verdict.message}); import the log again."
        )
    manifest = read_manifest(folder)
    timeframe = str(manifest.get("config", {}).get("timeframe", ""))
    balances = manifest.get("imported", {}).get("starting_balances", {})
    return ImportedLog(folder.name, PackedEvents(stream_events(folder)), timeframe, balances)


def log_with_run(log: ImportedLog, run: Recording, stated: LogStatements) -> Recording:
    """Return the recording of a log for the comparison with a run.

    The bars are those of the run, and those of the store that the run lacks; arrival prices are read from the finest
    bars of the store.
    """
    cash = float(run.settings.get("trading.initial_cash", BacktestSettings().initial_cash))
    fee = run.settings.get("trading.costs.fee_bps")
    if stated.run_file is not None:
        fee = read_run_file(stated.run_file).settings.costs.fee_bps
    return _recording(log, stated, _bars_with_run(log, run, stated), cash, fee)


def _bars_with_run(log: ImportedLog, run: Recording, stated: LogStatements) -> LogBars:
    first, last = _padded(log.span, run.timeframe)
    series = _covering(list_bars(), (first, last), stated.exchange, run.exchange)
    bars = {}
    for symbol, seen in _bars_of(run).items():
        stored = _at(series, symbol, run.timeframe)
        merged = seen if stored is None else _merged(seen, _loaded(stored, first, last))
        bars[symbol] = _cut(merged, first, last)
    return _held(log, series, bars, first, last)


def two_logs(one: ImportedLog, other: ImportedLog, stated: LogStatements) -> tuple[Recording, Recording]:
    """Return the recordings of two logs on the same bars of the store: the finest that are held of most orders."""
    step = _timeframe([one, other], stated)
    recordings = []
    for log in (one, other):
        first, last = _padded(log.span, step)
        series = _covering(list_bars(), (first, last), stated.exchange)
        symbols = dict.fromkeys(_known(series, each) for each in (*one.symbols, *other.symbols))
        bars = {
            symbol: _loaded(found, first, last)
            for symbol in symbols
            if (found := _at(series, symbol, step)) is not None
        }
        others = _known_cash(other if log is one else one, LogStatements(), main_quote(bars))
        cash = BacktestSettings().initial_cash if others is None else others.amount
        held = _held(log, series, bars, first, last)
        recordings.append(_recording(log, stated, held, cash))
    return recordings[0], recordings[1]


def log_on_bars(log: ImportedLog, stated: LogStatements) -> tuple[Recording, Recording, LogBars]:
    """Return the simulation of the orders of a log, the log itself, and their bars: the finest that are held."""
    step = _timeframe([log], stated)
    first, last = _padded(log.span, step)
    series = _covering(list_bars(), (first, last), stated.exchange)
    symbols = dict.fromkeys(_known(series, each) for each in log.symbols)
    bars = {
        symbol: _loaded(found, first, last) for symbol in symbols if (found := _at(series, symbol, step)) is not None
    }
    return _simulated(log, _held(log, series, bars, first, last), stated)


def run_on_bars(run: Recording, stated: LogStatements) -> tuple[Recording, Recording, LogBars]:
    """Return the simulation of the orders of a run, its orders as those of a log, and their bars: those of the run."""
    log = ImportedLog(run.name, [event for event in run.events if isinstance(event, OrderEvent | SnapshotEvent)])
    return _simulated(log, _bars_with_run(log, run, stated), stated)


def _simulated(log: ImportedLog, held: LogBars, stated: LogStatements) -> tuple[Recording, Recording, LogBars]:
    run = read_run_file(stated.run_file)
    recording = _recording(log, stated, held, run.settings.initial_cash, run.settings.costs.fee_bps)
    simulated = {**recording.settings} | flat_settings("", {}, run.settings.model_dump(mode="json"), {}, None)
    simulated["trading.initial_cash"] = recording.settings["trading.initial_cash"]
    return simulated_orders(recording, held, simulated, run.settings.costs), recording, held


def backtest_of_log(
    log: ImportedLog, strategy: str, parameters: Mapping[str, Any], stated: LogStatements, *, is_cold: bool = False
) -> Recording:
    """Return the recording of a backtest of a strategy over the span of a log, with its symbols and initial cash."""
    from peak_trade.studies import by_name  # loads numba

    step = Timeframe.parse(stated.timeframe or log.timeframe or "1h")
    first, last = log.span
    series = _covering(list_bars(), (first, last), stated.exchange)
    symbols = [
        symbol
        for symbol in dict.fromkeys(_known(series, each) for each in log.symbols)
        if _at(series, symbol, step) is not None
    ]
    if not symbols:
        raise SessionError(
            f"{log.name}: no {step} bars of {', '.join(log.symbols)} are held from {iso(first)} to {iso(last)}. "
            "Import or fetch them with `peak-trade data`, or choose another --timeframe."
        )
    exchanges = {found.exchange for symbol in symbols if (found := _at(series, symbol, step)) is not None}
    if len(exchanges) > 1:
        raise ConfigError(f"the bars are from {' and '.join(sorted(exchanges))}. Choose one with --exchange.")
    cash = _known_cash(log, stated, main_quote(symbols))
    start, end = from_ns(first - first % step.ns), from_ns(last + 2 * step.ns)
    result = by_name.backtest(
        strategy,
        parameters,
        symbols,
        by_name.Span(str(step), exchanges.pop(), start.isoformat(), end.isoformat(), is_cold),
        run_file=None if stated.run_file is None else Path(stated.run_file),
        overrides=by_name.overriding_settings(None if cash is None else cash.amount),
    )
    return recording_of(result, f"backtest of {strategy}", result.limits)


class _Cash(NamedTuple):
    """Initial cash in quote currency, and who states it."""

    amount: float
    source: str


def _known_cash(log: ImportedLog, stated: LogStatements, quote: str) -> _Cash | None:
    """Return the initial cash of a log: that of the user, else of the run file, else of the log; None without any."""
    if stated.cash is not None:
        return _Cash(stated.cash, "--cash")
    if stated.run_file is not None:
        settings = read_run_file(stated.run_file).settings
        if "initial_cash" in settings.model_fields_set:
            return _Cash(settings.initial_cash, "the run file")
    balance = log.starting_balances.get(quote, 0.0)
    return _Cash(balance, "the log") if balance > 0.0 else None


def _cash_note(log: ImportedLog, known: _Cash | None, cash: float, quote: str) -> str:
    others = [f"{amount:,.8g} {name}" for name, amount in log.starting_balances.items() if name != quote and amount]
    also = f"; the log also starts with {', '.join(others)}, which is not part of it" if others else ""
    if known is None:
        return f"the log states no initial cash in {quote}: {cash:,.2f} is taken; state it with --cash{also}"
    return f"initial cash {known.amount:,.2f} {quote}, from {known.source}{also}"


def _settings_of(stated: LogStatements, cash: float) -> dict[str, Any]:
    """Return the settings of a log: those of its run file, and its initial cash."""
    settings: dict[str, Any] = {}
    if stated.run_file is not None:
        run = read_run_file(stated.run_file)
        settings = flat_settings(
            strategy="",
            parameters={},
            trading=run.settings.model_dump(mode="json"),
            instruments={symbol: asdict(each) for symbol, each in run.instruments.items()},
            risk=None if run.risk is None else run.risk.model_dump(mode="json"),
        )
        del settings["strategy"]
    return settings | {"trading.initial_cash": cash}


def _recording(
    log: ImportedLog, stated: LogStatements, held: LogBars, cash: float, fee_bps: float | None = None
) -> Recording:
    """Return the recording of a log on bars; `cash` is its initial cash if neither it nor the user states one."""
    quote = main_quote(held.bars)
    known = _known_cash(log, stated, quote)
    notes = [_cash_note(log, known, cash, quote)]
    settings = _settings_of(stated, cash if known is None else known.amount)
    return recording_of_log(log.name, log.events, held, settings, fee_bps, notes)


def _padded(span: tuple[int, int], step: Timeframe) -> tuple[int, int]:
    """Return the closes of the bars that contain a span, with one more before and after, ns UTC."""
    first, last = span
    return first - first % step.ns - step.ns, last - last % step.ns + 2 * step.ns


def _covering(
    stored: Iterable[StoredSeries], span: tuple[int, int], exchange: str | None, preferred: str = ""
) -> list[StoredSeries]:
    """Return the series with bars in a span, finest first: of one exchange, or of the preferred one if it has any."""
    found = [each for each in stored if each.first <= span[1] and each.last >= span[0]]
    of_one = [each for each in found if each.exchange == (exchange or preferred)]
    if exchange is not None and not of_one:
        raise ConfigError(
            f"no bars from exchange {exchange} are held from {iso(span[0])} to {iso(span[1])}. "
            f"{did_you_mean(exchange, {each.exchange for each in found})}"
        )
    return sorted(of_one or found, key=lambda each: (each.timeframe, each.exchange))


def _known(series: Sequence[StoredSeries], name: str) -> str:
    return matching_symbol(name, [each.symbol for each in series])


def _at(series: Sequence[StoredSeries], symbol: str, step: Timeframe) -> StoredSeries | None:
    """Return the series of a symbol and timeframe, None without one; ConfigError if several exchanges have it."""
    found = [each for each in series if each.symbol == symbol and each.timeframe == step]
    if len(found) > 1:
        names = " and ".join(each.exchange for each in found)
        raise ConfigError(f"{symbol} {step} is stored from {names}. Choose one with --exchange.")
    return found[0] if found else None


def _loaded(series: StoredSeries, first: int, last: int) -> Bars:
    return load_bars(series.symbol, series.timeframe, series.exchange, from_ns(first), from_ns(last + 1))


def _timeframe(logs: Sequence[ImportedLog], stated: LogStatements) -> Timeframe:
    """Return the timeframe whose bars are held of most orders; of several, the finest."""
    if stated.timeframe is not None:
        return Timeframe.parse(stated.timeframe)
    spans = [log.span for log in logs]
    span = min(first for first, _ in spans), max(last for _, last in spans)
    series = _covering(list_bars(), span, stated.exchange)
    n_orders: dict[Timeframe, int] = {}
    for log in logs:
        for event in log.events:
            if isinstance(event, OrderEvent) and event.event is OrderEventKind.REQUESTED:
                name = _known(series, event.symbol)
                for each in series:
                    if each.symbol == name and each.first - each.timeframe.ns <= event.ts_event <= each.last:
                        n_orders[each.timeframe] = n_orders.get(each.timeframe, 0) + 1
    if not n_orders:
        names = ", ".join(dict.fromkeys(symbol for log in logs for symbol in log.symbols))
        raise SessionError(
            f"{logs[0].name}: no bars of {names} are held from {iso(span[0])} to {iso(span[1])}. "
            "Import or fetch them with `peak-trade data`."
        )
    return min(n_orders, key=lambda step: (-n_orders[step], step))


def _held(log: ImportedLog, series: Sequence[StoredSeries], bars: Mapping[str, Bars], first: int, last: int) -> LogBars:
    finest = {}
    for symbol, each in bars.items():
        slack = 2 * each.timeframe.ns
        found = next((found for found in series if found.symbol == symbol and found.timeframe < each.timeframe), None)
        covers = found is not None and found.first <= first + slack and found.last >= last - slack
        finest[symbol] = _loaded(found, first, last) if found is not None and covers else each
    quotes = {quote_of(symbol) for symbol in bars}
    coins = {event.fee_currency for event in log.events if isinstance(event, OrderEvent) and event.fee_currency}
    prices = {}
    for coin in sorted(coins):
        for quote in quotes if len(quotes) == 1 else ():
            found = next((each for each in series if each.symbol == f"{coin}/{quote}"), None)
            if found is not None:
                prices[coin] = _loaded(found, first, last)
    return LogBars(bars, finest, prices)


def _bars_of(run: Recording) -> dict[str, Bars]:
    rows: dict[str, list[tuple[float, ...]]] = {}
    times: dict[str, list[int]] = {}
    for event in run.events:
        if isinstance(event, BarEvent):
            times.setdefault(event.symbol, []).append(event.ts_event)
            rows.setdefault(event.symbol, []).append((event.open, event.high, event.low, event.close, event.volume))
    return {symbol: _as_bars(times[symbol], np.array(rows[symbol]), symbol, run) for symbol in rows}


def _as_bars(times: Sequence[int], values: Any, symbol: str, run: Recording) -> Bars:
    index = pd.DatetimeIndex(np.array(times, dtype=np.int64), tz="UTC", name="close_time")
    return Bars(pd.DataFrame(values, index, list(COLUMNS)), symbol, run.timeframe, run.exchange)


def _merged(own: Bars, stored: Bars) -> Bars:
    """Return the bars of a run and, within its span, the stored bars that it lacks."""
    inside = (stored.times > own.times[0]) & (stored.times < own.times[-1])
    lacking = stored.frame[inside & ~np.isin(stored.times, own.times)]
    if lacking.empty:
        return own
    return Bars(pd.concat([own.frame, lacking]).sort_index(), own.symbol, own.timeframe, own.exchange)


def _cut(bars: Bars, first: int, last: int) -> Bars:
    frame = bars.frame[(bars.times >= first) & (bars.times <= last)]
    if frame.empty:
        raise SessionError(
            f"the run has no bar of {bars.symbol} from {iso(first)} to {iso(last)}, the time of the log. Choose a run "
            "over that time."
        )
    return Bars(frame, bars.symbol, bars.timeframe, bars.exchange)
