"""The server of the metrics: one thread that answers every GET with the text of all metrics."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from peak_trade.core.network import unopened

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""The text format of Prometheus; it reads it whatever else it accepts."""

TIMEOUT = 10.0
"""Time for which a connection may be open, seconds: the longest scrape of the shipped configuration."""

_LONGEST_HEAD = 65_536


class _Answer(asyncio.Protocol):
    """One connection: it is read up to the end of the request's head, answered and closed."""

    def __init__(self, text: Callable[[], bytes], open_ones: set[asyncio.Transport]) -> None:
        self._text, self._open_ones, self._head = text, open_ones, b""
        self._transport: asyncio.Transport
        self._timer: asyncio.TimerHandle

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._open_ones.add(transport)
        self._timer = asyncio.get_running_loop().call_later(TIMEOUT, transport.abort)

    def data_received(self, data: bytes) -> None:
        self._head += data
        if b"\r\n\r\n" in self._head or b"\n\n" in self._head or len(self._head) > _LONGEST_HEAD:
            self._transport.pause_reading()
            self._transport.write(self._answer(self._head.split(maxsplit=2)))
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._timer.cancel()
        self._open_ones.discard(self._transport)

    def _answer(self, words: list[bytes]) -> bytes:
        if len(words) < 3 or len(self._head) > _LONGEST_HEAD:
            return _response("400 Bad Request", b"")
        if words[0] != b"GET":
            return _response("405 Method Not Allowed", b"", "Allow: GET\r\n")
        return _response("200 OK", self._text())


def _response(status: str, body: bytes, headers: str = "") -> bytes:
    return (
        f"HTTP/1.1 {status}\r\nContent-Type: {CONTENT_TYPE}\r\nContent-Length: {len(body)}\r\n"
        f"{headers}Connection: close\r\n\r\n"
    ).encode() + body


@contextmanager
def serving(text: Callable[[], bytes], host: str, port: int, option: str) -> Iterator[int]:
    """Serve a text in a thread, and yield the port; port 0 takes a free one.

    Parameters
    ----------
    text : callable
        Returns the metrics; it is called in the thread of the server.
    host : str
    port : int
    option : str
        The option that names another port, for the error.

    Raises
    ------
    ConfigError
        If the port is taken or the host is not one of this machine.

    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.create_server(address, family=family)
    except (OSError, UnicodeError) as error:
        raise unopened(host, port, option, error) from None
    loop, is_ready = asyncio.new_event_loop(), threading.Event()
    thread = threading.Thread(target=_run, args=(loop, is_ready, listener, text), name="metrics", daemon=True)
    thread.start()
    is_ready.wait()
    try:
        yield listener.getsockname()[1]
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


def _run(
    loop: asyncio.AbstractEventLoop, is_ready: threading.Event, listener: socket.socket, text: Callable[[], bytes]
) -> None:
    open_ones: set[asyncio.Transport] = set()
    server = loop.run_until_complete(loop.create_server(lambda: _Answer(text, open_ones), sock=listener))
    is_ready.set()
    loop.run_forever()
    server.close()
    for each in list(open_ones):
        each.abort()
    loop.run_until_complete(server.wait_closed())
    loop.run_until_complete(asyncio.sleep(0.0))
    loop.close()
