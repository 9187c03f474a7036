"""Fetch public bars from an exchange through ccxt: closed bars that the store does not have yet."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pandas as pd

from peak_trade.core.arrays import BoolArray, IntArray
from peak_trade.core.bar_frame import COLUMNS
from peak_trade.core.bars import Bars
from peak_trade.core.errors import ConfigError, DataError, did_you_mean
from peak_trade.core.time import Timeframe, from_ns, iso, to_ns
from peak_trade.data.store import files_at, read_file, save_bars
from peak_trade.data.transport import Requests, check_protected, guard

_NS_PER_MS = 1_000_000
_WEEK_MS = 7 * 86_400_000
_PAGES_PER_SAVE = 20
_PAGES_TO_COUNT = 20


@dataclass(frozen=True, slots=True)
class Source:
    """The pages in which an exchange returns bars."""

    page: int
    """Bars per request."""

    latest_only: bool
    """Whether only the latest page is available."""


@dataclass(frozen=True, slots=True)
class Restated:
    """Held bars that the exchange returned with other values.

    `time` is the close time, ns UTC, of the first one, and `column` the first value of it that differs. `is_all` is
    False if held bars of the span were not requested again, so that more may differ.
    """

    n_bars: int
    time: int
    column: str
    held: float
    received: float
    is_all: bool


@dataclass(frozen=True, slots=True)
class FetchResult:
    """Figures of a fetch. `n_missing` bars of the requested span are neither at the exchange nor in the store.

    `first_given` is the close time, ns UTC, of the first bar that the exchange returned; None when it returned none.
    `n_replaced` held bars were replaced. `restated` describes held bars that differ now and were not replaced: the
    fetch ended there.
    """

    n_requests: int
    n_added: int
    n_missing: int
    first_given: int | None
    n_replaced: int = 0
    restated: Restated | None = None


@contextmanager
def connect(exchange: str, base_url: str | None = None) -> Iterator[Any]:
    """Yield a rate-limited ccxt client for the public spot data of an exchange, without keys and orders.

    The client does not repeat requests: `Requests` and the feeds of sessions do.

    Parameters
    ----------
    exchange : str
        Name of the exchange in ccxt.
    base_url : str, optional
        Scheme and host that replace those of the exchange, for example http://127.0.0.1:8000.

    Raises
    ------
    ConfigError
        If the base URL is neither https nor plain HTTP to this machine. The client's requests raise the errors of
        `guard`.

    """
    import ccxt

    client = getattr(ccxt, exchange)(
        {
            "enableRateLimit": True,
            "requests_trust_env": base_url is None,
            "options": {"fetchMarkets": {"types": ["spot"]}},
        }
    )
    if base_url is not None:
        check_protected(base_url)
        client.urls["api"] = {name: _with_base(url, base_url) for name, url in client.urls["api"].items()}
    guard(client)
    try:
        yield client
    finally:
        client.session.close()


def fetch_bars(
    client: Any,
    source: Source,
    symbol: str,
    timeframe: Timeframe,
    start: datetime | timedelta,
    end: datetime | None = None,
    on_page: Callable[[int, int], None] = lambda done, total: None,
    replace: bool = False,
    wait: Callable[[float], object] = time.sleep,
) -> FetchResult:
    """Fetch the bars with start <= close_time < end that the store does not have, and save them.

    A second call continues where the first one stopped: bars in the store are requested again only beside missing
    ones. If one of these differs, the exchange has restated its history: no further bar is saved, and the held bars of
    the span that differ are counted. A bar is saved only if it had closed by the exchange's own clock.

    Parameters
    ----------
    client
        From `connect`.
    source : Source
    symbol : str
        For example BTC/USDT.
    timeframe : Timeframe
        Up to a day. Exchanges start weeks on different days, so make weekly bars with `resample`.
    start : datetime or timedelta
        Aware; a timedelta counts back from the end.
    end : datetime, optional
        Aware; now by the exchange's clock, inclusive, by default.
    on_page : callable
        Called after each request with the number of bars done and the number of bars in total.
    replace : bool
        Whether every bar of the span is requested, and received bars replace held ones that differ.
    wait : callable
        Waits for a number of seconds before a request is repeated; see `Requests`.

    Raises
    ------
    ConfigError
        If the exchange does not know the symbol or the timeframe, or start is not before end.
    DataError
        If the exchange can not be reached, answers with an error, or its bars can not be used: see `Requests`. The bars
        received before are in the store.

    """
    where = f"{client.id} {symbol} {timeframe}"
    if str(timeframe) not in client.timeframes or timeframe.seconds > 86_400:
        names = [name for name in client.timeframes if name[-1] in "mhd" and Timeframe.parse(name).seconds <= 86_400]
        raise ConfigError(f"{where}: bars of {timeframe} can not be fetched. Known: {', '.join(names)}.")
    requests = Requests(client, wait)
    try:
        requests.send(client.load_markets)
        if symbol not in client.markets:
            raise ConfigError(f"{client.id} has no symbol {symbol}. {did_you_mean(symbol, client.markets)}")
        now = requests.send(lambda: int(client.fetch_time())) * _NS_PER_MS
    except DataError as error:
        raise _stopped(where, error, 0) from None
    if isinstance(start, timedelta):
        start = (end or from_ns(now) + timedelta(microseconds=1)) - start
    grid = _grid(where, timeframe, start, end, now)
    near = int(grid[0]) - timeframe.ns, int(grid[-1]) + source.page * timeframe.ns
    held = _held_near(files_at(symbol, timeframe, client.id), *near)
    return _Fetch(client, requests, source, symbol, timeframe, now, held, replace).run(grid, on_page)


class _Fetch:
    """One fetch of a series. Received bars are compared with held ones, and saved every few pages."""

    def __init__(
        self,
        client: Any,
        requests: Requests,
        source: Source,
        symbol: str,
        timeframe: Timeframe,
        now: int,
        held: Bars | None,
        replace: bool,
    ) -> None:
        self.client, self.requests, self.source = client, requests, source
        self.symbol, self.timeframe, self.now, self.held, self.replace = symbol, timeframe, now, held, replace
        self.held_times = np.empty(0, np.int64) if held is None else held.times
        self.kept = self.held_times
        self.pending: list[Bars] = []
        self.differing: dict[int, tuple[str, float, float]] = {}
        self.n_requests = self.n_added = self.n_replaced = 0

    def run(self, grid: IntArray, on_page: Callable[[int, int], None]) -> FetchResult:
        """Fetch the bars of a span, given by their close times."""
        self.kept = np.setdiff1d(self.held_times, grid, assume_unique=True) if self.replace else self.held_times
        wanted = np.setdiff1d(grid, self.kept, assume_unique=True)
        n_done = n_received = 0
        first_given: int | None = None
        try:
            self._compare_ahead(wanted)
            while n_done < len(wanted) and not self.differing:
                bars, last = self._page(int(wanted[n_done]))
                ahead = wanted[n_done : np.searchsorted(wanted, last, side="right")]
                new = None if bars is None else bars.frame[np.isin(bars.times, ahead)]
                self._compare(bars)
                if bars is not None and new is not None and len(new):
                    self.pending.append(dataclasses.replace(bars, frame=new))
                    first_given = first_given or int(self.pending[-1].times[0])
                    n_received += len(new)
                n_done += len(ahead)
                on_page(n_done, len(wanted))
                if len(self.pending) >= _PAGES_PER_SAVE:
                    self._save()
        finally:
            self._save()
        restated = self._restated(grid) if self.differing else None
        return FetchResult(self.n_requests, self.n_added, n_done - n_received, first_given, self.n_replaced, restated)

    def _page(self, close: int) -> tuple[Bars | None, int]:
        """Return the closed bars of a page, and the last close time in it, which may be that of an open bar.

        The page starts with the bar of a close time, or with the one before it if only that one is kept.
        """
        step = self.timeframe.ns
        is_kept = _is_in(self.kept, np.array([close - step, close]))
        since = close - step - (step if is_kept[0] and not is_kept[1] else 0)
        limit = None if self.source.latest_only else self.source.page

        def request() -> tuple[Bars | None, int]:
            self.n_requests += 1
            rows = self.client.fetch_ohlcv(self.symbol, str(self.timeframe), since=since // _NS_PER_MS, limit=limit)
            return self._read(rows, close)

        try:
            return self.requests.send(request)
        except DataError as error:
            self._save()
            raise _stopped(f"{self.client.id} {self.symbol} {self.timeframe}", error, self.n_added) from None

    def _read(self, rows: list[list[Any]], close: int) -> tuple[Bars | None, int]:
        """Return the closed bars of the rows of a page; DataError if the page can not be used."""
        exchange, step = self.client.id, self.timeframe.ns
        stamps = np.array([row[0] for row in rows], dtype=np.int64)
        if (stamps > self.now // _NS_PER_MS + _WEEK_MS).any():
            raise DataError(f"{exchange} returned bars of the future")
        closes = stamps * _NS_PER_MS + step
        if not (closes >= close).any():
            raise DataError(
                f"{exchange} returned no bar that closes from {iso(close)} on. If the market has none, end the span "
                f"there with --end {from_ns(close):%Y-%m-%dT%H:%M}"
            )
        values = np.array([row[1:6] for row in rows], dtype=np.float64)
        keep = np.flatnonzero((closes <= self.now) & (closes % step == 0))
        table = pd.DataFrame(values[keep], pd.DatetimeIndex(closes[keep], name="close_time", tz="UTC"), list(COLUMNS))
        table = table[~table.reset_index().duplicated().to_numpy()]
        try:
            bars = Bars(table, self.symbol, self.timeframe, exchange) if len(table) else None
        except DataError as error:
            fault = str(error).rpartition(". ")[0]  # without its remedy, which is for a file
            raise DataError(
                f"{exchange} returned bars that can not be used ({fault}). Fetch up to that bar with --end, and from "
                "the next one with --start"
            ) from None
        return bars, int(closes.max())

    def _compare_ahead(self, wanted: IntArray) -> None:
        """Compare the first bars that are kept after the first wanted one, if the first page does not reach them."""
        later = self.kept[self.kept > wanted[0]] if len(wanted) else wanted
        is_far = len(later) and later[0] - wanted[0] >= self.source.page * self.timeframe.ns
        if is_far and not self.source.latest_only:
            self._compare(self._page(int(later[0]))[0])

    def _compare(self, bars: Bars | None) -> None:
        """Note the held bars that are kept and differ from received ones."""
        if bars is None or self.held is None:
            return
        rows = np.flatnonzero(_is_in(self.kept, bars.times))
        columns = COLUMNS if self.held.has_volume and bars.has_volume else COLUMNS[:-1]
        received = bars.frame[list(columns)].to_numpy()[rows]
        held = self.held.frame[list(columns)].to_numpy()[np.searchsorted(self.held_times, bars.times[rows])]
        for row in np.flatnonzero((held != received).any(axis=1)):
            column = int(np.flatnonzero(held[row] != received[row])[0])
            values = float(held[row, column]), float(received[row, column])
            self.differing[int(bars.times[rows[row]])] = columns[column], *values

    def _restated(self, grid: IntArray) -> Restated:
        """Describe the held bars that differ; without `replace`, those of the span are requested again first."""
        held, n_done = grid[_is_in(self.held_times, grid)], 0
        if not self.replace:
            try:
                for _ in range(_PAGES_TO_COUNT):
                    if n_done >= len(held):
                        break
                    bars, last = self._page(int(held[n_done]))
                    self._compare(bars)
                    n_done = int(np.searchsorted(held, last, side="right"))
            except DataError:  # the count is a lower bound then
                pass
        first = min(self.differing)
        return Restated(len(self.differing), first, *self.differing[first], is_all=n_done >= len(held))

    def _save(self) -> None:
        pending = [] if self.differing else self.pending
        self.pending = []
        if pending:
            saved = save_bars(
                dataclasses.replace(pending[0], frame=pd.concat([bars.frame for bars in pending])), replace=self.replace
            )
            self.n_added, self.n_replaced = self.n_added + saved.n_added, self.n_replaced + saved.n_replaced


def _grid(where: str, timeframe: Timeframe, start: datetime, end: datetime | None, now: int) -> IntArray:
    """Return the close times of a span, without bars that had not closed."""
    if end is not None and start >= end:
        raise ConfigError(f"start was {start:%Y-%m-%d %H:%M}, end {end:%Y-%m-%d %H:%M}: start must be before end.")
    first = -(-to_ns(start) // timeframe.ns) * timeframe.ns
    after = now + 1 if end is None else min(to_ns(end), now + 1)
    if first >= after:
        raise ConfigError(
            f"{where}: no bar has closed since {iso(to_ns(start))}; the exchange's clock shows {iso(now)}. "
            "Choose an earlier start."
        )
    return np.arange(first, after, timeframe.ns, dtype=np.int64)


def _held_near(places: list[Path], first: int, after: int) -> Bars | None:
    """Return the held bars with first <= close_time < after, all held bars if there is none, or None for no series."""
    if not places:
        return None
    try:
        return read_file(places[0], first, after)
    except DataError:  # no bar in the span; a damaged series raises again
        return read_file(places[0])


def _is_in(times: IntArray, closes: IntArray) -> BoolArray:
    """Return whether each close time is among increasing times."""
    places = np.searchsorted(times, closes)
    is_in: BoolArray = np.append(times, np.iinfo(np.int64).max)[places] == closes
    return is_in


def _stopped(where: str, error: DataError, n_added: int) -> DataError:
    kept = f"The {n_added:,} bars fetched so far are stored" if n_added else "Nothing was fetched"
    return DataError(f"{where}: {error} {kept}; run the same command again to continue.")


def _with_base(url: Any, base_url: str) -> Any:
    if not isinstance(url, str):
        return url
    return base_url.rstrip("/") + urlsplit(url).path
