"""Import an external order log as a session, chained and signed as an import."""

from __future__ import annotations

import math
import re
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import structs

from peak_trade.core.bars import Bars
from peak_trade.core.digest import digest_of, package_digest
from peak_trade.core.errors import ConfigError, DataError, SessionError, excerpt
from peak_trade.core.progress import progress
from peak_trade.core.time import NS_PER_SECOND, Timeframe, from_ns
from peak_trade.data.store import list_bars, load_bars, select_series
from peak_trade.journal.events import EndCause, SessionEvent, SessionPhase
from peak_trade.journal.files import is_sealed, read_manifest
from peak_trade.journal.formats.balances import PriceRange, StatedEquity
from peak_trade.journal.formats.external_log import ExternalLog
from peak_trade.journal.formats.log_file import LogFile
from peak_trade.journal.formats.logged_orders import LogOptions
from peak_trade.journal.keys import WorkspaceKey
from peak_trade.journal.lock import is_open
from peak_trade.journal.session_chain import append_tombstone, start_session
from peak_trade.journal.versions import JOURNAL_VERSION
from peak_trade.journal.writer import JournalWriter
from peak_trade.sessions.store import keys_folder, sessions_folder
from peak_trade.wiring.log_formats import AUTO, FORMATS, Recognised, recognise

MODE = "imported"


@dataclass(frozen=True, slots=True)
class EquityCheck:
    """Equity that a log states, and the stored bars of that time of the open positions, by symbol."""

    stated: StatedEquity
    bars: Mapping[str, Bars]

    @property
    def bar_prices(self) -> dict[str, PriceRange]:
        """Low and high of the bar of that time, by symbol."""
        return {symbol: PriceRange(*bars.frame[["low", "high"]].iloc[0]) for symbol, bars in self.bars.items()}

    @property
    def implied_prices(self) -> dict[str, PriceRange]:
        """Mark prices that follow from the equity and the bars of the other positions, by symbol."""
        return self.stated.implied_prices(self.bar_prices)


@dataclass(frozen=True, slots=True)
class ImportedSession:
    """An imported session: its folder, its log, the format of each of its files, and the comparison of its equity."""

    folder: Path
    log: ExternalLog
    files: tuple[str, ...]
    recognised: Recognised
    equities: tuple[EquityCheck, ...] = ()

    @property
    def adds_up(self) -> bool:
        """Whether the balances and equities that the log states follow from its fills."""
        return all(check.is_equal for check in self.log.balances) and all(
            check.stated.is_possible for check in self.equities
        )


def import_log(
    paths: Sequence[Path],
    now: int,
    options: LogOptions,
    form: str = AUTO,
    fee_series: Mapping[str, str] | None = None,
) -> ImportedSession:
    """Import the files of a log as a sealed session; `now`, ns UTC, becomes the time of recording.

    Nothing is written before all files are read, and an import that fails later leaves no session.

    Parameters
    ----------
    paths : sequence of Path
        Files of one log, such as trades and ledgers, or the exports of several months.
    now : int
    options : LogOptions
        Name of the strategy, currency of the fees, format of the times, names of columns, and prices of currencies.
    form : str
        Name of a format, or `auto`.
    fee_series : mapping of str
        Names of the series behind `options.fee_price`, by currency; the manifest states them.

    Raises
    ------
    ConfigError
        If a file can not be read, no format fits or several do, a column is missing, or there is no order; if its times
        have several formats, or the currency of its fees is not stated.
    SessionError
        If it was imported already with these options.

    """
    files = [LogFile(path) for path in paths]
    if form == AUTO and options.columns:
        form = "orders-csv"
    recognised = recognise(files, form)
    digests = [file.digest() for file in files]
    identity = digest_of({
        "files": sorted(digests), "format": recognised.name, "strategy": options.strategy, "times": options.time_format,
        "columns": dict(options.columns), "fee_currency": options.fee_currency, "fee_series": dict(fee_series or {}),
    })  # fmt: skip
    _refuse_second(identity, files[0].name, now)
    log = _read(files, recognised, options)
    if not log.n_events:
        raise ConfigError(f"{paths[0]}: there is no order in its {log.n_rows:,} rows.{_first_reason(log)}")
    folder = _free_folder(log.first, paths[0].stem)
    manifest = _manifest(folder.name, log, recognised, files) | {
        "digests": {"code": package_digest(), "data": digests[0] if len(digests) == 1 else digest_of(digests)},
    }
    manifest["imported"] |= {"identity": identity, "fee_series": dict(fee_series or {})}
    _write(folder, manifest, log, files[0].name, lambda: now)
    names = tuple(file.name for file in files)
    return ImportedSession(folder, log, names, recognised, tuple(_equity_checks(log.equities)))


def fee_prices(series: Mapping[str, str]) -> Callable[[str, str, int], float]:
    """Return the price of each currency from stored bars, as the last close that is at most two bars old.

    Parameters
    ----------
    series : mapping of str
        By currency the symbol of the bars, like BNB/USDT, or symbol and timeframe, like `BNB/USDT 1h`. Without a
        timeframe the finest stored bars are used. Prices in another currency than the quote of the symbol are NaN.

    Raises
    ------
    DataError, ConfigError
        When there are no such bars, or the symbol has no quote currency.

    """
    prices = {}
    for currency, name in series.items():
        symbol, _, timeframe = name.strip().partition(" ")
        base, slash, quote = symbol.partition("/")
        if not slash or base.upper() != currency.upper():
            raise ConfigError(f"--fee-price {currency} was {excerpt(name)}: write it like {currency}={currency}/USDT.")
        try:
            step = Timeframe.parse(timeframe) if timeframe else min(each.timeframe for each in select_series(symbol))
            bars = load_bars(symbol, step)
        except DataError as error:
            raise DataError(
                f"--fee-price {currency}: {error} Without it, fees in {currency} are not included."
            ) from None
        prices[currency.upper(), quote.upper()] = bars.times, bars.frame["close"].to_numpy(), 2 * step.ns

    def price(currency: str, quote: str, time: int) -> float:
        times, closes, oldest = prices.get((currency, quote), _NO_PRICES)
        place = int(np.searchsorted(times, time, side="right")) - 1
        return float(closes[place]) if place >= 0 and time - int(times[place]) <= oldest else math.nan

    return price


def _equity_checks(equities: Sequence[StatedEquity]) -> Iterator[EquityCheck]:
    stored = sorted(list_bars(), key=lambda each: (each.timeframe, each.exchange)) if equities else []
    for stated in equities:
        bars = {}
        for symbol, *_ in stated.positions:
            for each in stored:
                if each.symbol == symbol and each.first - each.timeframe.ns <= stated.time < each.last:
                    first, last = from_ns(stated.time + 1), from_ns(stated.time + each.timeframe.ns + 1)
                    found = load_bars(symbol, each.timeframe, each.exchange, first, last)
                    if len(found):
                        bars[symbol] = found
                        break
        yield EquityCheck(stated, bars)


_NO_PRICES = np.empty(0, np.int64), np.empty(0), 0


def _read(files: Sequence[LogFile], recognised: Recognised, options: LogOptions) -> ExternalLog:
    try:
        log = ExternalLog(options)
        for file, layout in zip(files, recognised.layouts, strict=True):
            log.options = replace(options, where=file.name)
            with progress("read", "MB") as file.on_progress:
                layout.read(file, log)
        FORMATS[recognised.name].join(log)
        with progress("join", "rows") as on_progress:
            log.finish(on_progress)
    except sqlite3.Error as error:
        raise SessionError(
            f"{files[0].path}: the temporary database of the import failed ({error}). Free space in the folder of "
            "temporary files, or set SQLITE_TMPDIR to another one."
        ) from None
    return log


def _manifest(name: str, log: ExternalLog, recognised: Recognised, files: Sequence[LogFile]) -> dict[str, Any]:
    layouts = zip(files, recognised.layouts, recognised.reasons, strict=True)
    return {
        "version": JOURNAL_VERSION,
        "session_id": name,
        "config": {
            "mode": MODE,
            "strategies": [{"name": strategy} for strategy in sorted(log.strategies)],
            "symbols": [{"name": symbol} for symbol in sorted(log.symbols)],
            "timeframe": "",
        },
        "imported": {
            "file": files[0].name,
            "files": [{"name": file.name, "layout": each.title, "why": why} for file, each, why in layouts],
            "format": recognised.name,
            "columns": dict(log.options.columns),
            "times": log.times,
            "fee_currency": log.options.fee_currency,
            "starting_balances": log.starting_balances,
            "n_rows": log.n_rows,
            "n_used": log.n_used,
            "n_duplicates": log.n_duplicates,
            "ignored": dict(log.ignored),
            "notes": dict(log.notes),
            "n_refused": log.n_refused,
            "refused": [list(each) for each in log.refused],
        },
    }


def _write(folder: Path, manifest: Mapping[str, Any], log: ExternalLog, name: str, clock: Callable[[], int]) -> None:
    signer = WorkspaceKey(keys_folder())
    start_session(folder, manifest, signer, clock)
    try:
        with JournalWriter(folder, signer, clock, is_past=True) as journal:
            start = SessionEvent(log.first, SessionPhase.STARTED, MODE, name, math.nan)
            strategies, symbols = tuple(sorted(log.strategies)), tuple(sorted(log.symbols))
            journal.append(structs.replace(start, strategies=strategies, symbols=symbols))
            with progress("write", "events") as on_progress:
                for number, event in enumerate(log.events()):
                    journal.append(event)
                    if number % 1_000 == 0:
                        on_progress(number, log.n_events)
            end = EndCause.FEED_ENDED
            journal.append(SessionEvent(log.last, SessionPhase.STOPPED, MODE, "the log ends", math.nan, end))
            journal.seal()
    except BaseException:
        _remove(folder, signer, clock())
        raise


def _remove(folder: Path, signer: WorkspaceKey, now: int) -> None:
    append_tombstone(folder, signer, now)
    shutil.rmtree(folder)


def _refuse_second(identity: str, name: str, now: int) -> None:
    """Raise a SessionError if the same files were imported with the same options; remove one that was killed."""
    for folder in sessions_folder().glob(f"*_{MODE}_*"):
        try:
            imported = read_manifest(folder).get("imported", {})
        except SessionError:
            continue
        if imported.get("identity") != identity:
            continue
        if is_open(folder):
            raise SessionError(f"{name} is being imported, as {folder.name}; nothing was added.")
        if is_sealed(folder):
            raise SessionError(
                f"{name} was imported already, as {folder.name}; nothing was added. `peak-trade session show "
                f"{folder.name}` shows it."
            )
        _remove(folder, WorkspaceKey(keys_folder()), now)


def _free_folder(first: int, stem: str) -> Path:
    """Return the first free name of a session that starts at a time; a name that a killed import holds is taken."""
    moment = datetime.fromtimestamp(first // NS_PER_SECOND, UTC)
    name = f"{moment:%Y%m%d_%H%M%S}_{MODE}_{re.sub(r'[^A-Za-z0-9-]+', '-', stem)}"
    number, folder = 1, sessions_folder() / name
    while folder.exists():
        number += 1
        folder = sessions_folder() / f"{name}-{number}"
    return folder


def _first_reason(log: ExternalLog) -> str:
    return f" Row {log.refused[0][0]}: {log.refused[0][1]}" if log.refused else ""
