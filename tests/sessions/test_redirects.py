"""No client follows a redirect: neither orders nor public data nor alerts reach a second host."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler

import pytest

from peak_trade.core.errors import ConfigError, PeakTradeError
from peak_trade.data.fetching import connect
from peak_trade.journal.codec import Line
from peak_trade.journal.events import AlertEvent, AlertLevel
from peak_trade.journal.sinks import WebhookSettings, WebhookSink, webhook_url
from peak_trade.sessions.sandbox.client import ask, check_host, connect_sandbox
from tests.emulator.server import KRAKEN_SECRET, on_loopback
from tests.examples import mostly_long
from tests.sessions.trading import KEYS

STATUSES = (300, 301, 302, 303, 307, 308)
METHODS = ("GET", "POST", "PUT", "DELETE", "PATCH", "HEAD")
MARKET = {
    "id": "BTCUSDT",
    "symbol": "BTC/USDT",
    "base": "BTC",
    "quote": "USDT",
    "type": "spot",
    "spot": True,
    "precision": {},
    "limits": {},
    "info": {"orderTypes": ["MARKET"]},
}
ENVIRONMENT = {
    "binance": KEYS,
    "krakenfutures": {"KRAKEN_FUTURES_DEMO_KEY": "k" * 20, "KRAKEN_FUTURES_DEMO_SECRET": KRAKEN_SECRET},
}


@contextmanager
def answering(status: int, location: str = "") -> Iterator[tuple[str, list[str]]]:
    """Yield the URL of a server on loopback that answers every request alike, and the requests that it got."""
    requests = []

    class Handler(BaseHTTPRequestHandler):
        def answer(self):
            requests.append(f"{self.command} {self.path}")
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(status)
            if location:
                self.send_header("Location", location)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = do_HEAD = answer

        def log_message(self, *_):
            """Log nothing."""

    with on_loopback(Handler) as url:
        yield url, requests


@pytest.fixture(scope="module")
def second():
    with answering(200) as (url, requests):
        yield url, requests


@pytest.mark.parametrize("status", mostly_long(STATUSES, 2))
@pytest.mark.parametrize("exchange", ["binance", "krakenfutures"])
def test_a_signed_request_never_follows_a_redirect(exchange, status, second):
    import ccxt

    url, seen = second
    with answering(status, f"{url}/elsewhere?signature=1") as (first, requests):
        client = connect_sandbox(exchange, ENVIRONMENT[exchange], first)
        try:
            for method in METHODS:
                headers = {"X-MBX-APIKEY": client.apiKey, "Authent": "a signature"}
                with pytest.raises(ccxt.ExchangeError) as caught:
                    client.fetch(f"{first}/api?signature=1", method, headers, "size=1")
                text = str(caught.value)
                assert f"status {status}, a redirect to {url}. Redirects are not followed." in text
                assert "signature" not in text
        finally:
            client.session.close()
    assert len(requests) == len(METHODS)
    assert seen == []


@pytest.mark.parametrize("status", STATUSES)
def test_an_order_meets_a_redirect_and_is_sent_nowhere_else(status, second):
    import ccxt

    url, seen = second
    with answering(status, url) as (first, requests):
        client = connect_sandbox("binance", KEYS, first)
        client.set_markets([MARKET])
        with pytest.raises(ccxt.ExchangeError, match="Redirects are not followed"):
            client.create_order("BTC/USDT", "market", "buy", 1.0)
        client.session.close()
    assert [line.split("?")[0] for line in requests] == ["POST /api/v3/order"]
    assert seen == []


@pytest.mark.parametrize("status", STATUSES)
def test_public_data_is_not_read_from_the_target_of_a_redirect(status, second):
    url, seen = second
    with (
        answering(status, url) as (first, _),
        connect("binance", first) as client,
        pytest.raises(PeakTradeError, match=f"status {status}, a redirect to {url}"),
    ):
        ask(client.fetch_time, lambda seconds: None, "clock")
    assert seen == []


@pytest.mark.parametrize(
    ("location", "named"),
    [
        ("https://key@example.org/a?signature=1", "https://example.org"),
        ("//example.org/a", "http://example.org"),
        ("/elsewhere", "{first}"),
        ("", "{first}"),
        ("https://[::1", "an unreadable address"),
    ],
)
def test_the_target_of_a_redirect_is_named_in_every_form(location, named):
    import ccxt

    with answering(307, location) as (first, _):
        client = connect_sandbox("binance", KEYS, first)
        with pytest.raises(ccxt.ExchangeError) as caught:
            client.fetch(f"{first}/api", "PATCH", {}, "size=1")
        client.session.close()
    assert f"a redirect to {named.format(first=first)}. Redirects" in str(caught.value)


@pytest.mark.parametrize("status", STATUSES)
def test_an_alert_is_not_posted_to_the_target_of_a_redirect(status, second):
    url, seen = second
    with answering(status, f"{url}/secret") as (first, requests):
        address = webhook_url(WebhookSettings(enabled=True, url_variable="HOOK"), {"HOOK": first})
        sink = WebhookSink(address, "s", "warning")
        sink.start([])
        sink.write([Line(AlertEvent(1, AlertLevel.WARNING, "late", "a bar is late", 1.0, 1.0), 1, 1, "")])
        with pytest.raises(PeakTradeError) as caught:
            sink.close()
    assert str(caught.value).endswith(f"HTTP {status} redirects to {url}, and redirects are not followed")
    assert len(requests) == 1
    assert seen == []


@pytest.mark.parametrize(
    "url",
    [
        "http://testnet.binance.vision/api",
        "https://testnet.binance.vision:8443/api",
        "https://testnet.binance.vision@example.org/api",
        "https://testnet.binance.vision.example.org/api",
        "https://[::1/api",
        "ftp://testnet.binance.vision/api",
    ],
)
def test_only_the_encrypted_host_of_the_sandbox_takes_orders(url):
    check_host("https://testnet.binance.vision/api", "binance")
    with pytest.raises(ConfigError, match="is refused: orders go to the sandbox of binance only"):
        check_host(url, "binance")


def test_a_request_below_the_client_is_checked_too():
    """The check is made where the request leaves, so that nothing above can send around it."""
    client = connect_sandbox("binance", KEYS)
    for method in METHODS:
        with pytest.raises(ConfigError, match=r"https://api\.binance\.com is refused"):
            client.session.request(method, "https://api.binance.com/api/v3/order")
    client.session.close()


@pytest.mark.parametrize("url", ["http://example.org", "ftp://127.0.0.1", "example.org", "http://[", "https://"])
def test_public_data_is_read_over_https_only(url):
    with pytest.raises(ConfigError, match="is refused: write https"), connect("binance", url):
        pytest.fail("connected")
