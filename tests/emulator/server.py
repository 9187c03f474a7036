"""The emulator over HTTP on loopback, with faults on request."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tests.emulator.exchange import ApiError, Exchange

KEY, SECRET = "emulated-key-0123456789", "emulated-secret-9876543210"
PUBLIC = {
    ("GET", "/api/v3/time"): Exchange.time,
    ("GET", "/api/v3/exchangeInfo"): Exchange.exchange_info,
    ("GET", "/api/v3/klines"): Exchange.klines,
    ("GET", "/api/v3/depth"): Exchange.depth,
}
SIGNED = {
    ("POST", "/api/v3/order"): Exchange.place,
    ("GET", "/api/v3/order"): Exchange.query_order,
    ("DELETE", "/api/v3/order"): Exchange.cancel,
    ("GET", "/api/v3/openOrders"): Exchange.open_orders,
    ("GET", "/api/v3/account"): Exchange.account,
    ("GET", "/api/v3/myTrades"): Exchange.my_trades,
}


@dataclass
class Fault:
    """What happens to the next requests of a method and path: before the exchange acts, or after.

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
    """The server, its exchange, the faults to come and every request that it got."""

    def __init__(self, exchange: Exchange, *, latency: Callable[[], None] = lambda: None) -> None:
        self.exchange, self.latency = exchange, latency
        self.faults: list[Fault] = []
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def fail(self, method: str, path: str, kind: str, **options: Any) -> None:
        """Let the next request of this kind go wrong."""
        self.faults.append(Fault(method, path, kind, **options))

    def placed(self) -> list[str]:
        """The client ids of every request to place an order, in order."""
        return [query["newClientOrderId"] for method, path, query in self.requests
                if (method, path) == ("POST", "/api/v3/order")]  # fmt: skip

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, method: str, path: str, query: dict[str, str], is_signed: bool) -> tuple[int, Any] | None:
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
                if fault.kind == "status":
                    return fault.status, {
                        "code": -1000,
                        "msg": "An unknown error occurred while processing the request.",
                    }
                if fault.kind == "error":
                    return fault.status, {"code": fault.code, "msg": fault.message}
            try:
                content = self._act(method, path, query, is_signed)
            except ApiError as error:
                return error.status, {"code": error.code, "msg": error.message}
            return None if fault is not None and fault.kind == "drop_after" else (200, content)

    def _act(self, method: str, path: str, query: dict[str, str], is_signed: bool) -> Any:
        if path == "/control/advance":
            self.exchange.advance_to(self.exchange.now_ms + int(query["ms"]))
            return self.exchange.now_ms
        if (method, path) in PUBLIC:
            return PUBLIC[method, path](self.exchange, query)
        if (method, path) not in SIGNED:
            raise ApiError(-1000, "Not found", 404)
        if not is_signed:
            raise ApiError(-1022, "Signature for this request is not valid.")
        window = int(query.get("recvWindow", 5_000))
        sent = int(query["timestamp"])
        if sent > self.exchange.now_ms + 1_000 or self.exchange.now_ms - sent > window:
            raise ApiError(-1021, "Timestamp for this request is outside of the recvWindow.")
        return SIGNED[method, path](self.exchange, query)


def _handler(emulator: Emulator) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1
        disable_nagle_algorithm = True

        def _serve(self) -> None:
            parts = urlsplit(self.path)
            length = int(self.headers.get("Content-Length") or 0)
            text = "&".join(filter(None, (parts.query, self.rfile.read(length).decode() if length else "")))
            query = dict(parse_qsl(text, keep_blank_values=True))
            answer = emulator.answer(self.command, parts.path, query, self._is_signed(text, query))
            if answer is None:
                self.close_connection = True
                self.connection.close()
                return
            status, content = answer
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def _is_signed(self, text: str, query: dict[str, str]) -> bool:
            unsigned = text.partition("&signature=")[0]
            expected = hmac.new(SECRET.encode(), unsigned.encode(), hashlib.sha256).hexdigest()
            return self.headers.get("X-MBX-APIKEY") == KEY and query.get("signature") == expected

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


@contextlib.contextmanager
def emulated(exchange: Exchange) -> Iterator[Emulator]:
    """Serve an exchange for a while."""
    emulator = Emulator(exchange)
    try:
        yield emulator
    finally:
        emulator.close()
