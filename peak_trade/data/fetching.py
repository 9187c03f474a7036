"""Fetch public bars from an exchange through ccxt: closed bars that the store does not have yet."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pandas as pd

from peak_trade.core.arrays import IntArray
from peak_trade.core.bars import COLUMNS, Bars
from peak_trade.core.errors import ConfigError, DataError, did_you_mean
from peak_trade.core.time import Timeframe, iso, to_ns
from peak_trade.data.store import list_bars, read_file, save_bars

_NS_PER_MS = 1_000_000
_PAGES_PER_SAVE = 20
_RETRIES = 3
_RETRY_DELAY_MS = 1_000


@dataclass(frozen=True, slots=True)
class Source:
    """The pages in which an exchange returns bars."""

    page: int
    """Bars per request."""

    latest_only: bool
    """Whether only the latest page is available."""


@dataclass(frozen=True, slots=True)
class FetchResult:
    """Figures of a fetch. `n_missing` bars of the requested span are neither at the exchange nor in the store.

    `first_given` is the close time, ns UTC, of the first bar that the exchange returned; None when it returned none.
    """

    n_requests: int
    n_added: int
    n_missing: int
    first_given: int | None


@contextmanager
def connect(exchange: str, base_url: str | None = None) -> Iterator[Any]:
    """Yield a rate-limited ccxt client for the public spot data of an exchange, without keys and orders.

    Parameters
    ----------
    exchange : str
        Name of the exchange in ccxt.
    base_url : str, optional
        Scheme and host that replace those of the exchange, for example http://127.0.0.1:8000.

    """
    import ccxt

    client = getattr(ccxt, exchange)(
        {
            "enableRateLimit": True,
            "requests_trust_env": base_url is None,
            "options": {
                "fetchMarkets": {"types": ["spot"]},
                "maxRetriesOnFailure": _RETRIES,
                "maxRetriesOnFailureDelay": _RETRY_DELAY_MS,
            },
        }
    )
    if base_url is not None:
        if urlsplit(base_url).scheme not in {"http", "https"}:
            raise ConfigError(f"base URL was {base_url!r}: write scheme and host, like http://127.0.0.1:8000.")
        client.urls["api"] = {name: _with_base(url, base_url) for name, url in client.urls["api"].items()}
    try:
        yield client
    finally:
        client.session.close()


def fetch_bars(
    client: Any,
    source: Source,
    symbol: str,
    timeframe: Timeframe,
    start: datetime,
    end: datetime | None = None,
    on_page: Callable[[int, int], None] = lambda done, total: None,
) -> FetchResult:
    """Fetch the bars with start <= close_time < end that the store does not have, and save them.

    A second call continues where the first one stopped: bars in the store are not requested again. A bar is saved only
    if it had closed by the exchange's own clock.

    Parameters
    ----------
    client
        From `connect`.
    source : Source
    symbol : str
        For example BTC/USDT.
    timeframe : Timeframe
        Up to a day. Exchanges start weeks on different days, so make weekly bars with `resample`.
    start, end : datetime
        Aware; `end` is now by default.
    on_page : callable
        Called after each request with the number of bars done and the number of bars in total.

    Raises
    ------
    ConfigError
        If the exchange does not know the symbol or the timeframe, or start is not before end.
    DataError
        If the exchange can not be reached or answers with an error; the bars fetched before are in the store.

    """
    import ccxt

    where = f"{client.id} {symbol} {timeframe}"
    if str(timeframe) not in client.timeframes or timeframe.seconds > 86_400:
        names = [name for name in client.timeframes if name[-1] in "mhd" and Timeframe.parse(name).seconds <= 86_400]
        raise ConfigError(f"{where}: bars of {timeframe} can not be fetched. Known: {', '.join(names)}.")
    pending: list[Bars] = []
    n_requests, n_added, first_given = 0, 0, None
    try:
        client.load_markets()
        if symbol not in client.markets:
            raise ConfigError(f"{client.id} has no symbol {symbol}. {did_you_mean(symbol, client.markets)}")
        now = int(client.fetch_time()) * _NS_PER_MS
        wanted = _wanted(client.id, symbol, timeframe, start, end, now)
        n_done = 0
        while n_done < len(wanted):
            since = int(wanted[n_done]) - timeframe.ns
            limit = None if source.latest_only else source.page
            rows = client.fetch_ohlcv(symbol, str(timeframe), since=since // _NS_PER_MS, limit=limit)
            n_requests += 1
            if not rows:
                break
            closes = np.array([row[0] for row in rows], dtype=np.int64) * _NS_PER_MS + timeframe.ns
            is_new = np.isin(closes, wanted[n_done:])
            if is_new.any():
                bars = _bars(rows, closes, is_new, symbol, timeframe, client.id)
                first_given = int(bars.times[0]) if first_given is None else min(first_given, int(bars.times[0]))
                n_added += len(bars)
                pending.append(bars)
            n_done = max(int(np.searchsorted(wanted, closes.max(), side="right")), n_done + 1)
            on_page(n_done, len(wanted))
            if len(pending) >= _PAGES_PER_SAVE:
                _save(pending)
    except ccxt.BaseError as error:
        kept = f"The {n_added:,} bars fetched so far are stored" if n_added else "Nothing was fetched"
        raise DataError(
            f"{where}: the request to {client.id} failed ({type(error).__name__}: {_one_line(error)}). "
            f"{kept}; run the same command again to continue."
        ) from None
    finally:
        _save(pending)
    return FetchResult(n_requests, n_added, len(wanted) - n_added, first_given)


def _wanted(
    exchange: str, symbol: str, timeframe: Timeframe, start: datetime, end: datetime | None, now: int
) -> IntArray:
    if end is not None and start >= end:
        raise ConfigError(f"start was {start:%Y-%m-%d %H:%M}, end {end:%Y-%m-%d %H:%M}: start must be before end.")
    first = -(-to_ns(start) // timeframe.ns) * timeframe.ns
    after = now + 1 if end is None else min(to_ns(end), now + 1)
    if first >= after:
        raise ConfigError(
            f"{exchange} {symbol} {timeframe}: no bar has closed since {iso(to_ns(start))}; "
            f"the exchange's clock shows {iso(now)}. Choose an earlier start."
        )
    grid = np.arange(first, after, timeframe.ns, dtype=np.int64)
    stored = [
        item for item in list_bars() if (item.exchange, item.symbol, item.timeframe) == (exchange, symbol, timeframe)
    ]
    return np.setdiff1d(grid, read_file(stored[0].path).times, assume_unique=True) if stored else grid


def _bars(
    rows: list[list[Any]],
    closes: IntArray,
    is_new: np.ndarray[Any, np.dtype[np.bool_]],
    symbol: str,
    timeframe: Timeframe,
    exchange: str,
) -> Bars:
    values = np.array([row[1:6] for row in rows], dtype=np.float64)[is_new]
    index = pd.DatetimeIndex(closes[is_new], name="close_time").tz_localize("UTC")
    return Bars(pd.DataFrame(values, columns=list(COLUMNS), index=index), symbol, timeframe, exchange)


def _save(pending: list[Bars]) -> None:
    if not pending:
        return
    frame = pd.concat([bars.frame for bars in pending])
    save_bars(Bars(frame, pending[0].symbol, pending[0].timeframe, pending[0].exchange))
    pending.clear()


def _with_base(url: Any, base_url: str) -> Any:
    if not isinstance(url, str):
        return url
    return base_url.rstrip("/") + urlsplit(url).path


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 160 else text[:159] + "…"
