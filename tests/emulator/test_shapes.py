"""The emulator's replies have the shape of the recorded ones: every field, and the kind of its value."""

from __future__ import annotations

import json
import re
import socket
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.emulator.exchange import ApiError, Exchange
from tests.emulator.server import Fault, emulated
from tests.sessions.running import part_of, read_bars

BINANCE_NET = "exchange_fixtures/JKorf__Binance.Net/Binance.Net.UnitTests/Endpoints/Spot"
XCHANGE = "exchange_fixtures/knowm__XChange/xchange-binance/src/test/resources"
ROUTES = "exchange_fixtures/thrasher-corp__gocryptotrader/exchanges/binance/testdata/http.json"
NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?")


def shape(value: Any) -> Any:
    """Kinds instead of values: decimal text is not a number, and a number is not text."""
    if isinstance(value, dict):
        return {name: shape(part) for name, part in value.items()}
    if isinstance(value, list):
        return [shape(part) for part in value[:1]]
    if isinstance(value, str):
        return "decimal" if NUMBER.fullmatch(value) else "text"
    return type(value).__name__


def missing(recorded: Any, ours: Any, path: str = "") -> list[str]:
    """Differences of our reply from the recorded one."""
    if isinstance(recorded, dict) and isinstance(ours, dict):
        faults = [f"{path}.{name}" for name in recorded if name not in ours]
        for name in recorded.keys() & ours.keys():
            faults += missing(recorded[name], ours[name], f"{path}.{name}")
        return faults
    if isinstance(recorded, list) and isinstance(ours, list):
        return missing(recorded[0], ours[0], f"{path}[]") if recorded and ours else []
    return [] if recorded == ours else [f"{path}: {recorded} and not {ours}"]


def recorded_text(folder: Path, name: str) -> Any:
    """The reply in a file of Binance.Net: three lines of request, then the content."""
    return json.loads((folder / BINANCE_NET / f"{name}.txt").read_text().split("\n", 3)[3])


@pytest.fixture
def exchange(real_data):
    bars = part_of(read_bars(real_data / "bars" / "binance_BTCUSDT_1m.parquet", "BTC/USDT", "1m"), 0, 60)
    emulated_exchange = Exchange(bars)
    emulated_exchange.advance_to(int(bars.times[20]) // 1_000_000)
    return emulated_exchange


MARKET = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.01", "newClientOrderId": "a-1"}
LIMIT = MARKET | {"type": "LIMIT", "price": "50000.00", "timeInForce": "GTC", "newClientOrderId": "a-2"}
ONE = {"symbol": "BTCUSDT", "origClientOrderId": "a-2"}


def test_replies_have_the_shape_of_the_recorded_ones(exchange, real_data):
    placed = exchange.place(MARKET)
    exchange.place(LIMIT)
    ours = {
        "Trading/PlaceOrder": placed,
        "Trading/GetOrder": exchange.query_order(ONE),
        "Trading/GetOpenOrders": exchange.open_orders({"symbol": "BTCUSDT"}),
        "Trading/GetUserTrades": exchange.my_trades({"symbol": "BTCUSDT"}),
        "Account/GetAccountInfo": exchange.account({}),
        "ExchangeData/GetKlines": exchange.klines({"symbol": "BTCUSDT", "interval": "1m"}),
        "ExchangeData/GetServerTime": exchange.time({}),
        "Trading/CancelOrder": exchange.cancel(ONE),
    }
    for name, reply in ours.items():
        assert missing(shape(recorded_text(real_data, name)), shape(reply)) == [], name
    depth = json.loads((real_data / XCHANGE / "__files" / "depth.json").read_text())
    assert missing(shape(depth), shape(exchange.depth({"symbol": "BTCUSDT"}))) == []
    order = json.loads((real_data / XCHANGE / "org/knowm/xchange/binance/filled-market-order.json").read_text())
    filled = exchange.query_order({"symbol": "BTCUSDT", "origClientOrderId": "a-1"})
    assert missing(shape(order), shape(filled)) == []


def test_exchange_info_and_its_filters_are_those_of_the_recording(exchange, real_data):
    routes = json.loads((real_data / ROUTES).read_text())["routes"]
    recorded = routes["/api/v3/exchangeInfo"]["GET"][0]["data"]
    theirs = next(symbol for symbol in recorded["symbols"] if symbol["symbol"] == "BTCUSDT")
    reply = exchange.exchange_info({})
    ours = reply["symbols"][0]
    assert missing(shape(recorded | {"symbols": []}), shape(reply)) == []
    lists = {"filters": [], "permissionSets": [], "orderTypes": [], "allowedSelfTradePreventionModes": []}
    kept = {name: part for name, part in (theirs | lists).items() if name not in ("amendAllowed", "otoAllowed")}
    assert missing(shape(kept), shape(ours)) == []
    by_kind = {rule["filterType"]: rule for rule in theirs["filters"]}
    for rule in ours["filters"]:
        if rule["filterType"] == "LOT_SIZE":
            assert rule == by_kind["LOT_SIZE"]
        if rule["filterType"] == "PRICE_FILTER":
            assert rule == by_kind["PRICE_FILTER"]
        if rule["filterType"] == "NOTIONAL":
            assert rule == by_kind["NOTIONAL"]


def test_a_recorded_kline_and_an_emulated_one_have_the_same_columns(exchange, real_data):
    routes = json.loads((real_data / ROUTES).read_text())["routes"]
    recorded = routes["/api/v3/klines"]["GET"][0]["data"][0]
    ours = exchange.klines({"symbol": "BTCUSDT", "interval": "1m"})[0]
    assert [shape(value) for value in recorded] == [shape(value) for value in ours]


@pytest.mark.parametrize(
    ("act", "query", "code", "message"),
    [
        ("place", MARKET | {"symbol": "BTCUSDX"}, -1121, "Invalid symbol."),
        ("place", MARKET | {"quantity": "0.000001"}, -1013, "Filter failure: LOT_SIZE"),
        ("place", MARKET | {"quantity": "0.00001"}, -1013, "Filter failure: NOTIONAL"),
        ("place", LIMIT | {"price": "50000.001"}, -1013, "Filter failure: PRICE_FILTER"),
        ("place", MARKET | {"quantity": "50"}, -2010, "Account has insufficient balance for requested action."),
        ("place", MARKET | {"side": "SELL"}, -2010, "Account has insufficient balance for requested action."),
        ("query_order", ONE, -2013, "Order does not exist."),
        ("cancel", ONE, -2011, "Unknown order sent."),
        ("my_trades", {}, -1102, "Mandatory parameter 'symbol' was not sent, was empty/null, or malformed."),
        ("klines", {"symbol": "BTCUSDT", "interval": "7m"}, -1120, "Invalid interval."),
    ],
)
def test_what_an_exchange_refuses_is_refused_with_its_code(exchange, act, query, code, message):
    with pytest.raises(ApiError) as refused:
        getattr(exchange, act)(query)
    assert (refused.value.code, refused.value.message) == (code, message)


def test_two_open_orders_can_not_have_one_id(exchange):
    exchange.place(LIMIT)
    with pytest.raises(ApiError, match="Duplicate order sent"):
        exchange.place(LIMIT)


def test_an_error_has_the_recorded_shape(exchange, real_data):
    recorded = json.loads((real_data / XCHANGE / "__files" / "withdraw-400.json").read_text())
    with emulated(exchange) as emulator:
        assert emulator.answer("GET", "/api/v3/account", {}, is_signed=False) == (
            400,
            {"code": -1022, "msg": "Signature for this request is not valid."},
        )
        emulator.faults.append(Fault("GET", "/api/v3/time", "error", status=429))
        status, content = emulator.answer("GET", "/api/v3/time", {}, is_signed=False)
    assert status == 429
    assert missing(shape(recorded), shape(content)) == []


def test_a_seed_makes_the_same_market_twice(real_data):
    bars = part_of(read_bars(real_data / "bars" / "binance_BTCUSDT_1m.parquet", "BTC/USDT", "1m"), 0, 60)
    replies = []
    for _ in range(2):
        exchange = Exchange(bars, seed=7)
        exchange.advance_to(int(bars.times[20]) // 1_000_000)
        replies.append([exchange.place(MARKET), exchange.depth({"symbol": "BTCUSDT"})])
    assert replies[0] == replies[1]


@pytest.mark.parametrize("n_sent", [0, 1, 20])
def test_a_request_that_ends_before_its_body_is_none(exchange, n_sent):
    body = b"symbol=BTCUSDT&side=BUY&newClientOrderId=a"
    head = f"POST /api/v3/order HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with emulated(exchange, over_http=True) as emulator:
        address = urlsplit(emulator.url)
        with socket.create_connection((address.hostname, address.port), timeout=5) as client:
            client.sendall(head + body[:n_sent])
            client.shutdown(socket.SHUT_WR)
            assert client.recv(1) == b""
        assert emulator.requests == []
        assert emulator.placed() == []
