"""The emulated Kraken futures reply as ccxt's parser says that the exchange does.

There are no recordings of these endpoints among the fixtures. What stands in for them are the replies that ccxt, the
client that sessions trade through, quotes in the comments of its parser; and those recordings there are, of what the
exchange pushes about orders and fills, for the words and kinds of value that both ways have in common.
"""

from __future__ import annotations

import inspect
import json
import re

import pytest
from ccxt import krakenfutures

from tests.emulator.futures import FuturesExchange, KrakenError
from tests.emulator.server import emulated
from tests.emulator.test_shapes import missing, shape
from tests.sessions.running import part_of, read_bars
from tests.sessions.trading import as_perpetual

MARKET = {"symbol": ["PF_XBTUSD"], "side": ["buy"], "orderType": ["mkt"], "size": ["0.01"], "cliOrdId": ["a-1"]}
LIMIT = MARKET | {"orderType": ["lmt"], "limitPrice": ["50000"], "cliOrdId": ["a-2"]}
PUSHED = "exchange_fixtures/JKorf__Kraken.Net/Kraken.Net.UnitTests/Subscriptions/Futures"


@pytest.fixture
def exchange(real_data):
    bars = part_of(read_bars(real_data / "bars" / "binance_BTCUSDT_1m.parquet", "BTC/USDT", "1m"), 0, 60)
    emulated_exchange = FuturesExchange(as_perpetual(bars))
    emulated_exchange.advance_to(int(bars.times[20]) // 1_000_000)
    return emulated_exchange


def quoted(method, place=0):
    """The n-th reply that ccxt quotes in the comments of a method, its errors of JSON corrected."""
    source = inspect.getsource(getattr(krakenfutures, method)).splitlines()
    comments = [line.strip().removeprefix("#") for line in source if line.strip().startswith("#")]
    text = "\n".join(re.sub(r"\s//.*$", "", line) for line in comments).replace("...", "").replace("'", '"')
    text = re.sub(r"([{,]\s*)(\w+):", r'\1"\2":', text)
    text = re.sub(r",(\s*[}\]])", r"\1", text)
    text = re.sub(r'(\])(\s*"serverTime")', r"\1,\2", text)
    found, start = [], text.find("{")
    while start >= 0:
        content, start = json.JSONDecoder().raw_decode(text, start)
        found.append(content)
        start = text.find("{", start)
    return found[place]


def kinds(value):
    """Shapes in which numbers are one kind, as JSON knows no other, and an empty slot is any."""
    if isinstance(value, dict):
        return {name: kinds(part) for name, part in value.items()}
    if isinstance(value, list):
        return [kinds(part) for part in value[:1]]
    return "number" if value in ("int", "float", "decimal") else value


def faults(theirs, ours):
    """Differences of our reply from the quoted one; an empty slot in either matches."""
    found = missing(kinds(shape(theirs)), kinds(shape(ours)))
    return [fault for fault in found if "NoneType" not in fault]


def test_replies_have_the_shape_that_the_client_quotes(exchange):
    placed_market = exchange.sendorder(MARKET)
    fills, log = exchange.fills({}), exchange.account_log({"sort": ["asc"]})
    positions, accounts = exchange.openpositions({}), exchange.accounts({})
    placed_limit = exchange.sendorder(LIMIT)
    exchange.pay_funding(-0.5)
    ours = {
        ("create_order", 0): placed_limit,
        ("create_order", 1): placed_market,
        ("fetch_my_trades", 0): fills,
        ("fetch_ledger", 0): log,
        ("fetch_order_book", 0): exchange.orderbook({"symbol": ["PF_XBTUSD"]}),
        ("fetch_ohlcv", 0): exchange.candles({}, "PF_XBTUSD", "1m"),
        ("fetch_positions", 0): positions,
    }
    for (method, place), reply in ours.items():
        assert faults(quoted(method, place), reply) == [], method
    flex = quoted("fetch_balance")["accounts"]["flex"]
    assert faults(flex, accounts["accounts"]["flex"]) == []
    funding = {name: part for name, part in exchange.log[-1].items() if part is not None}
    assert (funding["info"], funding["realized_funding"]) == ("funding rate change", -0.5)


def test_an_instrument_has_what_the_client_reads_of_it(exchange):
    quoted_one = quoted("fetch_markets")["instruments"][0]
    ours = exchange.instruments({})["instruments"][0]
    only_some_have = {"underlying", "lastTradingTime", "isin", "marginLevels", "retailMarginLevels"}
    assert faults({name: part for name, part in quoted_one.items() if name not in only_some_have}, ours) == []


def test_orders_and_fills_have_what_the_exchange_pushes_of_them(exchange, real_data):
    def pushed(name):
        text = (real_data / PUSHED / f"{name}.txt").read_text()
        return json.loads(text[text.index("\n= ") + 3 :].strip())

    exchange.sendorder(MARKET)
    exchange.sendorder(LIMIT)
    fill, order = exchange.fills({})["fills"][0], exchange.openorders({})["openOrders"][0]
    theirs = pushed("UserTrade")["fills"][0]
    assert fill["fillType"] in {each["fill_type"] for each in pushed("UserTrade")["fills"]}
    for name, ours in {"fill_id": "fill_id", "order_id": "order_id", "qty": "size", "price": "price"}.items():
        assert kinds(shape(theirs[name])) == kinds(shape(fill[ours])), name
    theirs = pushed("OrderUpdate")["order"]
    names = {"instrument": "symbol", "qty": "unfilledSize", "filled": "filledSize", "limit_price": "limitPrice"}
    for name, ours in (names | {"order_id": "order_id", "reduce_only": "reduceOnly"}).items():
        assert kinds(shape(theirs[name])) == kinds(shape(order[ours])), name


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"size": ["0.00001"]}, "invalidSize"),
        ({"orderType": ["lmt"], "limitPrice": ["50000.1"]}, "invalidPrice"),
        ({"orderType": ["huh"]}, "invalidOrderType"),
        ({"side": ["up"]}, "invalidSide"),
        ({"size": ["50"]}, "insufficientAvailableFunds"),
        ({"cliOrdId": ["x" * 101]}, "clientOrderIdTooLong"),
        ({"orderType": ["ioc"], "limitPrice": ["50000"]}, "iocWouldNotExecute"),
    ],
    ids=lambda part: part if isinstance(part, str) else "",
)
def test_what_the_exchange_does_not_take_has_a_status_that_the_client_knows(exchange, change, status):
    assert exchange.sendorder(MARKET | change)["sendStatus"]["status"] == status
    assert f"'{status}'" in inspect.getsource(krakenfutures.verify_order_action_success)
    assert exchange.positions == {"PF_XBTUSD": 0}


def test_a_client_id_is_taken_once_for_good(exchange):
    exchange.sendorder(MARKET)
    assert exchange.sendorder(MARKET)["sendStatus"]["status"] == "clientOrderIdAlreadyExist"


def test_a_status_is_reported_while_an_order_is_open_and_five_seconds_longer(exchange):
    exchange.sendorder(MARKET)
    exchange.sendorder(LIMIT)
    asked = {"cliOrdIds": ["a-1", "a-2"]}
    assert [each["status"] for each in exchange.orders_status(asked)["orders"]] == ["FULLY_EXECUTED", "ENTERED_BOOK"]
    exchange.advance_to(exchange.now_ms + 5_001)
    assert [each["status"] for each in exchange.orders_status(asked)["orders"]] == ["ENTERED_BOOK"]
    exchange.cancelorder({"cliOrdId": ["a-2"]})
    assert [each["status"] for each in exchange.orders_status(asked)["orders"]] == ["CANCELLED"]
    assert exchange.cancelorder({"cliOrdId": ["a-2"]})["cancelStatus"]["status"] == "notFound"
    assert exchange.cancelorder({"cliOrdId": ["a-1"]})["cancelStatus"]["status"] == "filled"


def test_an_error_has_the_shape_that_the_client_takes_apart(exchange):
    with emulated(exchange) as emulator:
        status, content = emulator.answer("GET", "/derivatives/api/v3/accounts", {}, is_signed=False)
        assert (status, content["result"], content["error"]) == (200, "error", "authenticationError")
        emulator.fail("GET", "/derivatives/api/v3/fills", "status", status=503)
        status, content = emulator.answer("GET", "/derivatives/api/v3/fills", {}, is_signed=True)
        assert (status, content["error"]) == (503, "Server Error")
    with pytest.raises(KrakenError, match="contractNotFound"):
        exchange.orderbook({"symbol": ["PF_ETHUSD"]})
