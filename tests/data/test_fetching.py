"""The real ccxt client over HTTP on loopback, with simulated exchanges and with recorded responses."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

import pytest

from peak_trade.cli import main
from peak_trade.core.errors import ConfigError, DataError
from peak_trade.core.time import Timeframe, from_ns, iso, parse_utc
from peak_trade.data import fetching
from peak_trade.data.fetching import connect, fetch_bars
from peak_trade.data.store import load_bars
from peak_trade.wiring.exchanges import bar_source

HOUR = Timeframe.parse("1h")
HOUR_MS = 3_600_000
LISTED = 1_704_067_200_000
"""Open time of the first bar of the simulated exchange: 2024-01-01 00:00."""
START = parse_utc("2024-01-01")


@contextmanager
def serving(routes):
    """Serve routes {path: query -> JSON content} on loopback; yields the base URL and the requests seen."""
    seen = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            url = urlsplit(self.path)
            query = dict(parse_qsl(url.query))
            seen.append((url.path, query))
            content = routes[url.path](query) if url.path in routes else None
            status = 200 if content is not None else 503
            body = json.dumps(content if content is not None else {"code": -1, "msg": "service is down"}).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", seen
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def kline(open_ms):
    price = 100.0 + (open_ms // HOUR_MS) % 17
    return [open_ms, f"{price:.2f}", f"{price + 1:.2f}", f"{price - 1:.2f}", f"{price + 0.5:.2f}", "3.25"]


def binance(n_bars, page, outage=frozenset()):
    """A simulated Binance: bars of BTC/USDT from LISTED on, the last one still open."""
    spot = {
        "symbol": "BTCUSDT",
        "status": "TRADING",
        "baseAsset": "BTC",
        "quoteAsset": "USDT",
        "isSpotTradingAllowed": True,
        "filters": [],
        "permissions": ["SPOT"],
    }

    def klines(query):
        opens = [LISTED + hour * HOUR_MS for hour in range(n_bars + 1) if hour not in outage]
        later = [open_ms for open_ms in opens if open_ms >= int(query["startTime"])]
        return [kline(open_ms) for open_ms in later[: min(page, int(query["limit"]))]]

    return {
        "/api/v3/exchangeInfo": lambda _: {"symbols": [spot]},
        "/api/v3/time": lambda _: {"serverTime": LISTED + n_bars * HOUR_MS + 1_000},
        "/api/v3/klines": klines,
    }


def kraken(n_bars):
    """A simulated Kraken: it always returns the latest 720 bars and the open bar."""
    pair = {
        "altname": "XBTUSD",
        "wsname": "XBT/USD",
        "base": "XXBT",
        "quote": "ZUSD",
        "pair_decimals": 1,
        "lot_decimals": 8,
        "status": "online",
    }
    asset = {"aclass": "currency", "decimals": 8, "display_decimals": 5}

    def ohlc(_):
        opens = [LISTED + hour * HOUR_MS for hour in range(max(n_bars - 720, 0), n_bars + 1)]
        rows = [[open_ms // 1000, *kline(open_ms)[1:5], "100.0", "3.25", 7] for open_ms in opens]
        return {"error": [], "result": {"XXBTZUSD": rows, "last": rows[-2][0]}}

    return {
        "/0/public/AssetPairs": lambda _: {"error": [], "result": {"XXBTZUSD": pair}},
        "/0/public/Assets": lambda _: {"error": [], "result": {"XXBT": {**asset, "altname": "XBT"}}},
        "/0/public/Time": lambda _: {"error": [], "result": {"unixtime": LISTED // 1000 + n_bars * 3_600 + 1}},
        "/0/public/OHLC": ohlc,
    }


@contextmanager
def quick(exchange, url):
    """The client without its rate limit."""
    with connect(exchange, url) as client:
        client.rateLimit = 0
        client.options["maxRetriesOnFailureDelay"] = 1
        yield client


def fetch(exchange, url, symbol, start=START, end=None, **more):
    with quick(exchange, url) as client:
        return fetch_bars(client, bar_source(exchange), symbol, HOUR, start, end, **more)


def asked(seen):
    return [query for path, query in seen if path.endswith(("klines", "OHLC"))]


def test_pages_are_joined_and_the_unfinished_bar_is_left_out(home):
    pages = []
    with serving(binance(n_bars=25, page=10)) as (url, seen):
        done = fetch("binance", url, "BTC/USDT", on_page=lambda *page: pages.append(page))
    bars = load_bars("BTC/USDT", "1h", "binance")
    assert [int(time) for time in bars.times] == [(LISTED + hour * HOUR_MS) * 1_000_000 for hour in range(1, 26)]
    assert (done.n_added, done.n_missing, done.n_requests, len(asked(seen))) == (25, 1, 3, 3)
    assert pages == [(11, 26), (21, 26), (26, 26)]
    assert bars.frame.iloc[0].tolist() == [float(text) for text in kline(LISTED)[1:]]


def test_a_stopped_fetch_goes_on_where_it_was_and_a_finished_one_asks_for_nothing(home):
    with serving(binance(n_bars=30, page=10)) as (url, _):
        fetch("binance", url, "BTC/USDT", start=from_ns((LISTED + HOUR_MS) * 1_000_000))
    digest = load_bars("BTC/USDT", "1h").digest()
    with serving(binance(n_bars=30, page=10)) as (url, seen):
        again = fetch("binance", url, "BTC/USDT", start=from_ns((LISTED + HOUR_MS) * 1_000_000))
        assert (again.n_added, again.n_requests, asked(seen)) == (0, 0, [])
    with serving(binance(n_bars=33, page=10)) as (url, seen):
        later = fetch("binance", url, "BTC/USDT", start=from_ns((LISTED + HOUR_MS) * 1_000_000))
        assert (later.n_added, [int(query["startTime"]) for query in asked(seen)]) == (3, [LISTED + 30 * HOUR_MS])
    assert load_bars("BTC/USDT", "1h", end="2024-01-02T07:00").digest() == digest


def test_an_outage_of_the_exchange_stays_a_gap(home):
    with serving(binance(n_bars=20, page=10, outage={5, 6, 11})) as (url, _):
        done = fetch("binance", url, "BTC/USDT")
    assert (done.n_added, done.n_missing) == (17, 4)


def test_end_is_exclusive(home):
    with serving(binance(n_bars=20, page=10)) as (url, _):
        fetch("binance", url, "BTC/USDT", end=parse_utc("2024-01-01T05:00"))
    assert iso(int(load_bars("BTC/USDT", "1h").times[-1])) == "2024-01-01 04:00:00Z"


def test_what_was_fetched_before_a_failure_is_kept(home):
    routes = binance(n_bars=25, page=10)
    klines = routes["/api/v3/klines"]
    routes["/api/v3/klines"] = lambda query: klines(query) if int(query["startTime"]) < LISTED + 15 * HOUR_MS else None
    with (
        serving(routes) as (url, _),
        pytest.raises(DataError, match=r"the request to binance failed.*The 20 bars fetched so far are stored; run"),
    ):
        fetch("binance", url, "BTC/USDT")
    assert len(load_bars("BTC/USDT", "1h")) == 20
    with serving(binance(n_bars=25, page=10)) as (url, _):
        assert fetch("binance", url, "BTC/USDT").n_added == 5


def test_kraken_gives_its_latest_720_bars_and_says_what_it_does_not_have(home):
    with serving(kraken(n_bars=800)) as (url, seen):
        done = fetch("kraken", url, "BTC/USD", start=from_ns((LISTED + HOUR_MS) * 1_000_000))
    assert (done.n_added, done.n_missing, len(asked(seen))) == (720, 80, 1)
    assert done.first_given == (LISTED + 81 * HOUR_MS) * 1_000_000
    assert len(load_bars("BTC/USD", "1h", "kraken")) == 720


@pytest.mark.parametrize(
    ("exchange", "symbol", "timeframe", "start", "sentence"),
    [
        ("binanse", "BTC/USDT", "1h", "2024-01-01", r"Did you mean binance\?"),
        ("binance", "BTC/USD", "1h", "2024-01-01", r"no symbol BTC/USD\. Did you mean BTC/USDT\?"),
        ("binance", "BTC/USDT", "7h", "2024-01-01", r"bars of 7h can not be fetched\. Known: .*1h"),
        ("binance", "BTC/USDT", "1h", "2025-01-01", r"the exchange's clock shows 2024-01-01 05:00:01Z"),
    ],
    ids=["exchange", "symbol", "timeframe", "future"],
)
def test_what_can_not_be_fetched_is_refused(home, exchange, symbol, timeframe, start, sentence):
    with (
        serving(binance(n_bars=5, page=10)) as (url, _),
        pytest.raises(ConfigError, match=sentence),
        quick("binance", url) as client,
    ):
        fetch_bars(client, bar_source(exchange), symbol, Timeframe.parse(timeframe), parse_utc(start))
    assert not home.exists()


def test_the_client_keeps_the_exchange_s_own_rate_limit_and_host():
    with connect("kraken") as client:
        assert client.enableRateLimit
        assert client.rateLimit >= 1_000
        assert client.urls["api"]["public"] == "https://api.kraken.com"


def test_the_command_fetches_and_prints_what_it_did(home, capsys, monkeypatch):
    monkeypatch.setattr(fetching, "connect", quick)
    line = "data fetch --symbol BTC/USDT --timeframe 1h --exchange binance --start 2024-01-01 --base-url"
    with serving(binance(n_bars=25, page=10)) as (url, _):
        assert main([*line.split(), url]) == 0
    assert "25 bars added with 3 requests" in capsys.readouterr().out


def replay_binance(real_data):
    """Recorded Binance responses, found by symbol, interval and start; its clock is set by the test."""
    recorded = json.loads(
        (real_data / "exchange_fixtures/thrasher-corp__gocryptotrader/exchanges/binance/testdata/http.json").read_text()
    )["routes"]
    pages = {}
    for reply in recorded["/api/v3/klines"]["GET"]:
        query = dict(parse_qsl(reply["queryString"]))
        if query["interval"] == "1h" and query["symbol"] == "BTCUSDT":
            pages[query["startTime"]] = reply["data"]
    exchange_info = recorded["/api/v3/exchangeInfo"]["GET"][0]["data"]
    return pages, {
        "/api/v3/exchangeInfo": lambda _: exchange_info,
        "/api/v3/klines": lambda query: pages[query["startTime"]],
    }


def test_two_recorded_pages_of_binance_give_its_bars(home, real_data):
    pages, routes = replay_binance(real_data)
    last_open = pages["1591880400000"][-1][0]
    routes["/api/v3/time"] = lambda _: {"serverTime": last_open + HOUR_MS // 2}
    start = from_ns((1588280400000 + HOUR_MS) * 1_000_000)
    with serving(routes) as (url, seen):
        done = fetch("binance", url, "BTC/USDT", start=start)
    rows = {row[0]: row for page in ("1588280400000", "1591880400000") for row in pages[page]}
    del rows[last_open]
    bars = load_bars("BTC/USDT", "1h", "binance")
    assert [query["startTime"] for query in asked(seen)] == ["1588280400000", "1591880400000"]
    assert done.n_added == len(bars) == len(rows)
    assert bars.frame.to_numpy().tolist() == [[float(text) for text in rows[key][1:6]] for key in sorted(rows)]


def is_dark_pool(pair):
    """Kraken has closed these pairs since; in ccxt they would hide the lit pair of the same name."""
    return pair.endswith(".d")


def test_recorded_bars_of_kraken_lose_only_the_unfinished_one(home, real_data):
    folder = (
        real_data / "exchange_fixtures/knowm__XChange/xchange-kraken/src/test/resources/org/knowm/xchange/kraken/dto"
    )
    recorded = {
        name: json.loads((folder / "marketdata" / f"example-{name}-data.json").read_text())
        for name in ("assetpairs", "assets", "ohlc")
    }
    pairs = recorded["assetpairs"]["result"]
    recorded["assetpairs"]["result"] = {name: pair for name, pair in pairs.items() if not is_dark_pool(name)}
    rows = recorded["ohlc"]["result"]["XXBTZUSD"]
    routes = {
        "/0/public/AssetPairs": lambda _: recorded["assetpairs"],
        "/0/public/Assets": lambda _: recorded["assets"],
        "/0/public/OHLC": lambda _: recorded["ohlc"],
        "/0/public/Time": lambda _: {"error": [], "result": {"unixtime": rows[-1][0] + 30}},
    }
    with serving(routes) as (url, _), quick("kraken", url) as client:
        done = fetch_bars(
            client, bar_source("kraken"), "BTC/USD", Timeframe.parse("1m"), from_ns((rows[0][0] + 60) * 1_000_000_000)
        )
    bars = load_bars("BTC/USD", "1m", "kraken")
    assert (done.n_added, done.n_missing) == (len(rows) - 1, 0)
    assert bars.frame["close"].tolist() == [float(row[4]) for row in rows[:-1]]
    assert bars.frame["volume"].tolist() == [float(row[6]) for row in rows[:-1]]
