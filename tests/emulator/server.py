"""The emulator behind an address on loopback, with faults on request.

The requests of this process are answered without a socket, which takes a third of the time; `over_http` serves them,
and those of other processes, over HTTP.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import io
import itertools
import json
import os
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from http.client import RemoteDisconnected, responses
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import parse_qs, parse_qsl, urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPResponse
from urllib3.exceptions import ProtocolError

from tests.emulator.exchange import ApiError, Exchange
from tests.emulator.futures import FuturesExchange, KrakenError, iso

KEY, SECRET = "emulated-key-0123456789", "emulated-secret-9876543210"
KRAKEN_SECRET = base64.b64encode(SECRET.encode()).decode()


@contextlib.contextmanager
def on_loopback(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """Serve on loopback in a thread and yield the URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class BinanceApi:
    """Requests to Binance spot: decimal text in one query, signed as a whole."""

    place = ("POST", "/api/v3/order")
    client_id = "newClientOrderId"
    public: ClassVar = {
        ("GET", "/api/v3/time"): Exchange.time,
        ("GET", "/api/v3/exchangeInfo"): Exchange.exchange_info,
        ("GET", "/api/v3/klines"): Exchange.klines,
        ("GET", "/api/v3/depth"): Exchange.depth,
    }
    signed: ClassVar = {
        ("POST", "/api/v3/order"): Exchange.place,
        ("GET", "/api/v3/order"): Exchange.query_order,
        ("DELETE", "/api/v3/order"): Exchange.cancel,
        ("GET", "/api/v3/openOrders"): Exchange.open_orders,
        ("GET", "/api/v3/account"): Exchange.account,
        ("GET", "/api/v3/myTrades"): Exchange.my_trades,
    }

    def parse(self, text: str) -> dict[str, Any]:
        """Return the parameters of a request."""
        return dict(parse_qsl(text, keep_blank_values=True))

    def is_signed(self, headers: Any, path: str, text: str) -> bool:
        """Return whether a request is signed with our key."""
        unsigned, _, signature = text.partition("&signature=")
        expected = hmac.new(SECRET.encode(), unsigned.encode(), hashlib.sha256).hexdigest()
        return headers.get("X-MBX-APIKEY") == KEY and signature == expected

    def act(self, exchange: Any, method: str, path: str, query: dict[str, Any], is_signed: bool) -> tuple[int, Any]:
        """Return status and content."""
        try:
            if (method, path) in self.public:
                return 200, self.public[method, path](exchange, query)
            if (method, path) not in self.signed:
                raise ApiError(-1000, "Not found", 404)
            if not is_signed:
                raise ApiError(-1022, "Signature for this request is not valid.")
            sent, window = int(query["timestamp"]), int(query.get("recvWindow", 5_000))
            if sent > exchange.now_ms + 1_000 or exchange.now_ms - sent > window:
                raise ApiError(-1021, "Timestamp for this request is outside of the recvWindow.")
            return 200, self.signed[method, path](exchange, query)
        except ApiError as error:
            return error.status, {"code": error.code, "msg": error.message}

    def failure(self, exchange: Any, fault: Fault) -> tuple[int, Any]:
        """Return status and content of a fault."""
        if fault.kind == "status":
            return fault.status, {"code": -1000, "msg": "An unknown error occurred while processing the request."}
        return fault.status, {"code": fault.code, "msg": fault.message}


class KrakenApi:
    """Requests to Kraken futures: parameters that may repeat, a signature over query and path in a header."""

    place = ("POST", "/derivatives/api/v3/sendorder")
    client_id = "cliOrdId"
    public: ClassVar = {
        ("GET", "/derivatives/api/v3/instruments"): FuturesExchange.instruments,
        ("GET", "/derivatives/api/v3/instruments/status"): FuturesExchange.instruments_status,
        ("GET", "/derivatives/api/v3/orderbook"): FuturesExchange.orderbook,
    }
    signed: ClassVar = {
        ("POST", "/derivatives/api/v3/sendorder"): FuturesExchange.sendorder,
        ("POST", "/derivatives/api/v3/cancelorder"): FuturesExchange.cancelorder,
        ("GET", "/derivatives/api/v3/openorders"): FuturesExchange.openorders,
        ("GET", "/derivatives/api/v3/orders/status"): FuturesExchange.orders_status,
        ("GET", "/derivatives/api/v3/fills"): FuturesExchange.fills,
        ("GET", "/derivatives/api/v3/accounts"): FuturesExchange.accounts,
        ("GET", "/derivatives/api/v3/openpositions"): FuturesExchange.openpositions,
        ("GET", "/api/history/v2/orders"): FuturesExchange.history_orders,
        ("GET", "/api/history/v3/account-log"): FuturesExchange.account_log,
    }
    charts = re.compile(r"/api/charts/v1/trade/(\w+)/(\w+)")

    def parse(self, text: str) -> dict[str, Any]:
        """Return the parameters of a request, each a list."""
        return parse_qs(text, keep_blank_values=True)

    def is_signed(self, headers: Any, path: str, text: str) -> bool:
        """Return whether a request is signed with our key."""
        digest = hashlib.sha256((text + path.removeprefix("/derivatives")).encode()).digest()
        expected = base64.b64encode(hmac.new(SECRET.encode(), digest, hashlib.sha512).digest()).decode()
        return headers.get("APIKey") == KEY and headers.get("Authent") == expected

    def act(self, exchange: Any, method: str, path: str, query: dict[str, Any], is_signed: bool) -> tuple[int, Any]:
        """Return status and content."""
        try:
            candles = self.charts.fullmatch(path)
            if candles:
                return 200, exchange.candles(query, *candles.groups())
            if (method, path) in self.public:
                return 200, self.public[method, path](exchange, query)
            if (method, path) not in self.signed:
                raise KrakenError("Unavailable", 404)
            if not is_signed:
                raise KrakenError("authenticationError")
            return 200, self.signed[method, path](exchange, query)
        except KrakenError as error:
            return error.status, self._error(exchange, error.message)

    def failure(self, exchange: Any, fault: Fault) -> tuple[int, Any]:
        """Return status and content of a fault."""
        is_limit = fault.kind == "error" and fault.status == 429
        message = "Server Error" if fault.kind == "status" else "apiLimitExceeded" if is_limit else fault.message
        return fault.status, self._error(exchange, message)

    def _error(self, exchange: Any, message: str) -> dict[str, Any]:
        return {"result": "error", "error": message, "serverTime": iso(exchange.now_ms)}


@dataclass
class Fault:
    """A fault of the next requests of a method and path, before the exchange acts or after.

    `kind`: drop (no answer, nothing done), drop_after (done, no answer), status (an HTTP status), error (a code).
    """

    method: str
    path: str
    kind: str
    status: int = 503
    code: int = -1003
    message: str = "Too many requests; current limit of IP is 6000 requests per minute."
    times: int = 1


class Emulator:
    """An exchange behind an address, the faults to come and every request received."""

    def __init__(self, exchange: Any, *, latency: Callable[[], None] = lambda: None, over_http: bool = False) -> None:
        self.exchange, self.latency = exchange, latency
        self.api = KrakenApi() if isinstance(exchange, FuturesExchange) else BinanceApi()
        self.faults: list[Fault] = []
        self.requests: list[tuple[str, str, dict[str, Any]]] = []
        self.lock = threading.Lock()
        self._serving = contextlib.ExitStack()
        self.url = self._serving.enter_context(on_loopback(_handler(self)) if over_http else _in_this_process(self))

    def fail(self, method: str, path: str, kind: str, **options: Any) -> None:
        """Make the next request of this kind fail."""
        self.faults.append(Fault(method, path, kind, **options))

    def placed(self) -> list[str]:
        """The client ids of all requests to place an order, oldest first."""
        sent = [query[self.api.client_id] for *route, query in self.requests if tuple(route) == self.api.place]
        return [name if isinstance(name, str) else name[0] for name in sent]

    def close(self) -> None:
        """Stop serving."""
        self._serving.close()

    def respond(self, method: str, target: str, headers: Mapping[str, str], body: str) -> tuple[int, bytes] | None:
        """Return status and content of the answer to a request, or None for no answer at all."""
        parts = urlsplit(target)
        text = "&".join(filter(None, (parts.query, body)))
        query = self.api.parse(text) if not parts.path.startswith("/control") else dict(parse_qsl(text))
        answer = self.answer(method, parts.path, query, self.api.is_signed(headers, parts.path, text))
        return None if answer is None else (answer[0], json.dumps(answer[1]).encode())

    def answer(self, method: str, path: str, query: dict[str, Any], is_signed: bool) -> tuple[int, Any] | None:
        """Return status and content, or None for no answer at all."""
        self.latency()
        with self.lock:
            if not path.startswith("/control"):
                self.requests.append((method, path, query))
                self.exchange.travel()
            fault = next((f for f in self.faults if (f.method, f.path) == (method, path)), None)
            if fault is not None:
                fault.times -= 1
                if fault.times <= 0:
                    self.faults.remove(fault)
                if fault.kind == "drop":
                    return None
                if fault.kind in ("status", "error"):
                    return self.api.failure(self.exchange, fault)
            if path == "/control/advance":
                self.exchange.advance_to(self.exchange.now_ms + int(query["ms"]))
                return 200, self.exchange.now_ms
            answer = self.api.act(self.exchange, method, path, query, is_signed)
            return None if fault is not None and fault.kind == "drop_after" and answer[0] == 200 else answer


def _handler(emulator: Emulator) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1
        disable_nagle_algorithm = True

        def _serve(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(length)
            if len(body) < length:  # the client ended in the middle of its request, which is therefore none
                self.close_connection = True
                return
            answer = emulator.respond(self.command, self.path, self.headers, body.decode())
            if answer is None:
                self.close_connection = True
                self.connection.close()
                return
            status, payload = answer
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

        do_GET = do_POST = do_DELETE = _serve

        def log_message(self, *_: Any) -> None:
            pass

        def handle(self) -> None:
            with contextlib.suppress(OSError, ValueError):
                super().handle()

        def finish(self) -> None:
            with contextlib.suppress(OSError, ValueError):
                super().finish()

    return Handler


_PORTS = itertools.count(1)
_HERE: dict[tuple[int, str], Emulator] = {}
"""The emulators whose requests are answered without a socket, by process and address: a fork has copies of them."""


@contextlib.contextmanager
def _in_this_process(emulator: Emulator) -> Iterator[str]:
    url = f"http://127.0.0.1:{next(_PORTS)}"
    place = os.getpid(), url
    _HERE[place] = emulator
    try:
        yield url
    finally:
        del _HERE[place]


_send = HTTPAdapter.send


def _send_or_answer(adapter: HTTPAdapter, request: Any, *args: Any, **options: Any) -> requests.Response:
    """Let an emulator of this process answer a request of `requests` to its address; send any other one."""
    emulator = _HERE.get((os.getpid(), request.url[: -len(request.path_url)]))
    if emulator is None:
        return _send(adapter, request, *args, **options)
    body = request.body or ""
    answer = emulator.respond(
        request.method, request.path_url, request.headers, body if isinstance(body, str) else body.decode()
    )
    if answer is None:
        cause = RemoteDisconnected("Remote end closed connection without response")
        raise requests.ConnectionError(ProtocolError("Connection aborted.", cause), request=request)
    status, payload = answer
    headers = {"Content-Type": "application/json", "Content-Length": str(len(payload))}
    raw = HTTPResponse(
        io.BytesIO(payload), headers, status, reason=responses[status], preload_content=False, request_url=request.url
    )
    return adapter.build_response(request, raw)


HTTPAdapter.send = _send_or_answer


@contextlib.contextmanager
def emulated(exchange: Any, *, over_http: bool = False) -> Iterator[Emulator]:
    """Put an exchange behind an address for a while."""
    emulator = Emulator(exchange, over_http=over_http)
    try:
        yield emulator
    finally:
        emulator.close()
