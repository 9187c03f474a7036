"""The guard of exchange clients, and requests that are repeated while an exchange does not answer."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from time import time
from typing import Any, TypeVar
from urllib.parse import urlsplit

from peak_trade.core.errors import ConfigError, DataError, excerpt
from peak_trade.core.network import is_protected, place_of

Answer = TypeVar("Answer")

ATTEMPTS = 4
"""Attempts after which a request has failed."""

LONGEST_WAIT = 300.0
"""Seconds of the longest pause between two attempts. An exchange that asks for a longer one is not asked again."""

_BLOCKED, _TOO_MANY, _REFUSED = 418, 429, (403, 451)
_TEMPORARY = (408, 425, _TOO_MANY, *range(500, 600))
_UNREADABLE = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError)


def guard(client: Any, check: Callable[[str], None] = lambda url: None) -> None:
    """Make a ccxt client check each request that it sends, and refuse redirects.

    The check reads the URL of the prepared request, after proxies and the client's own changes. A redirect is not
    followed, because it would take keys and a signed order to another host.

    Parameters
    ----------
    client
        A synchronous ccxt client.
    check : callable
        Raises ConfigError for a URL to which the client may not send.

    Raises
    ------
    ConfigError
        By the client's requests: if `check` refuses the URL, or if it is plain HTTP to another machine.
    ccxt.ExchangeError
        By the client's requests: if the response is a redirect. The error names the target.

    """
    import ccxt

    send = client.session.send

    def guarded(request: Any, **options: Any) -> Any:
        check(request.url)
        check_protected(request.url)
        response = send(request, **options | {"allow_redirects": False})
        if 300 <= response.status_code < 400:
            target = place_of(response.headers.get("Location", ""), request.url)
            raise ccxt.ExchangeError(
                f"{place_of(request.url)} answered {request.method} {urlsplit(request.url).path} with status "
                f"{response.status_code}, a redirect to {target}. Redirects are not followed."
            )
        return response

    client.session.send = guarded
    client.session.get_redirect_target = lambda response: None


def check_protected(url: str) -> None:
    """Refuse a URL that is neither https nor plain HTTP to this machine."""
    if not is_protected(url):
        raise ConfigError(f"{place_of(url)} is refused: write https://…, or http:// to this machine.")


class Requests:
    """Requests of public data, repeated at most `ATTEMPTS` times while the answer is missing or can not be used.

    The pause before an attempt is 1, 2 and 4 s, or what the exchange asks for in Retry-After, if that is longer.

    Parameters
    ----------
    client
        A synchronous ccxt client that does not repeat requests itself.
    wait : callable
        Waits for a number of seconds.
    clock : callable
        Returns the seconds since 1970, for a date in Retry-After without a Date header.

    """

    def __init__(self, client: Any, wait: Callable[[float], object], clock: Callable[[], float] = time) -> None:
        self._client, self._wait, self._clock = client, wait, clock
        self._response: Any = None
        client.session.hooks["response"].append(self._keep)

    def send(self, request: Callable[[], Answer]) -> Answer:
        """Return the result of a request.

        Parameters
        ----------
        request : callable
            Calls the client. A DataError means that the answer can not be used.

        Raises
        ------
        DataError
            If no attempt gave a usable answer, the exchange refuses the request, has blocked this address (status
            418), or asks for a pause longer than `LONGEST_WAIT`.

        """
        import ccxt

        exchange = self._client.id
        for attempt in range(ATTEMPTS):
            self._response = None
            try:
                return request()
            except ccxt.BaseError as error:
                problem = f"the request to {exchange} failed ({type(error).__name__}: {excerpt(error, 160)})"
                if not isinstance(error, ccxt.OperationFailed) and self._status() not in _TEMPORARY:
                    raise DataError(f"{problem}.") from None
            except DataError as error:
                problem = self._not_json() or str(error).removesuffix(".")
            except _UNREADABLE as error:
                what = self._not_json() or f"the answer of {exchange} can not be read"
                problem = f"{what} ({type(error).__name__}: {excerpt(error, 160)})"
            pause = max(self._asked_pause(), float(2**attempt))
            if attempt + 1 < ATTEMPTS:
                self._wait(pause)
        raise DataError(f"after {ATTEMPTS} attempts, {problem}.")

    def _asked_pause(self) -> float:
        """Return the seconds for which the exchange asks, 0.0 for none; DataError when it is not to be asked again."""
        if self._response is None:
            return 0.0
        exchange, status = self._client.id, self._status()
        seconds = retry_after(self._response.headers, self._clock())
        asks = f" It asks to wait {seconds:,.0f} s." if seconds else ""
        if status == _BLOCKED:
            raise DataError(
                f"{exchange} has blocked this address for too many requests (status {status}).{asks} "
                "Send no request before that is over."
            )
        if status in _REFUSED:
            raise DataError(
                f"{exchange} refuses requests from this network (status {status}). Use another exchange or network, "
                "or import files with `peak-trade data import`."
            )
        if seconds > LONGEST_WAIT:
            limited = "limits the requests" if status == _TOO_MANY else "does not answer"
            raise DataError(f"{exchange} {limited} (status {status}).{asks} Run the command again after that.")
        return seconds

    def _status(self) -> int:
        return 0 if self._response is None else int(self._response.status_code)

    def _not_json(self) -> str:
        """Return a sentence on an answer that is no JSON, "" for JSON and without an answer."""
        try:
            if self._response is not None:
                self._response.json()
        except ValueError:
            return f"the answer of {self._client.id} is not JSON, it starts with {excerpt(self._response.text[:80])!r}"
        return ""

    def _keep(self, response: Any, *_: Any, **__: Any) -> None:
        self._response = response


def retry_after(headers: Mapping[str, str], now: float) -> float:
    """Return the seconds for which an answer asks in Retry-After, as a number or as a date; 0.0 without one.

    A date is read against the answer's Date, or without one against `now`, in seconds since 1970.
    """
    given = headers.get("Retry-After", "").strip()
    if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{0,9})?", given):
        return float(given)
    until, sent = _instant(given), _instant(headers.get("Date", ""))
    return 0.0 if until is None else max(until - (now if sent is None else sent), 0.0)


def _instant(date: str) -> float | None:
    """Return the seconds since 1970 of an HTTP date; None for another text."""
    try:
        return parsedate_to_datetime(date).replace(tzinfo=UTC).timestamp()
    except (TypeError, ValueError, OverflowError):
        return None
