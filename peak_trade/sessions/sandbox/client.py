"""Clients of exchange sandboxes: the only place from which an order can leave, and only to a sandbox."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, TypeVar
from urllib.parse import urlsplit

from peak_trade.core.errors import ConfigError, SessionError, did_you_mean
from peak_trade.sessions.config import InstrumentSettings, SessionConfig, check_policy
from peak_trade.sessions.control.stop_switch import StopSwitch

Answer = TypeVar("Answer")
LOOPBACK = ("127.0.0.1", "localhost")
RECEIVE_WINDOW_MS = 5_000
ATTEMPTS = 6
"""How often a question is asked before an exchange counts as gone."""


@dataclass(frozen=True, slots=True)
class Sandbox:
    """An exchange's sandbox: the one host that orders may go to, and the names of the variables that hold its keys."""

    host: str
    apis: tuple[str, ...]
    key_variable: str
    secret_variable: str
    options: Mapping[str, Any]
    """What ccxt is told of it."""


SANDBOXES = {
    "binance": Sandbox(
        "testnet.binance.vision",
        ("public", "private", "v1"),
        "BINANCE_TESTNET_KEY",
        "BINANCE_TESTNET_SECRET",
        {
            "defaultType": "spot",
            "fetchMarkets": {"types": ["spot"]},
            "fetchCurrencies": False,
            "fetchMargins": False,
            "recvWindow": RECEIVE_WINDOW_MS,
            "warnOnFetchOpenOrdersWithoutSymbol": False,
        },
    ),
    "krakenfutures": Sandbox(
        "demo-futures.kraken.com",
        ("public", "private", "charts", "history", "feeds"),
        "KRAKEN_FUTURES_DEMO_KEY",
        "KRAKEN_FUTURES_DEMO_SECRET",
        {},
    ),
}
"""Every exchange that a session can send orders to."""


def connect_sandbox(exchange: str, environment: Mapping[str, str], base_url: str | None = None) -> Any:
    """Return a rate-limited ccxt client of an exchange's sandbox; every other host is refused at each request.

    Parameters
    ----------
    exchange : str
        A name in SANDBOXES.
    environment : mapping of str
        Where the keys are read from, by the names of variables; they are neither printed nor logged.
    base_url : str, optional
        Scheme and host that stand in for the sandbox: an emulator on loopback.

    Raises
    ------
    ConfigError
        On an unknown exchange, a host that is no sandbox (by name), or keys that are not set or no keys (by variable).

    """
    if exchange not in SANDBOXES:
        raise ConfigError(f"exchange was {exchange!r}: it has no sandbox here. {did_you_mean(exchange, SANDBOXES)}")
    sandbox = SANDBOXES[exchange]
    if base_url is not None:
        check_host(base_url, exchange)
    missing = [name for name in (sandbox.key_variable, sandbox.secret_variable) if not environment.get(name)]
    if missing:
        raise ConfigError(f"{exchange}: {' and '.join(missing)} not set. Put the sandbox's keys into the environment.")
    if exchange == "krakenfutures":
        _check_secret(environment[sandbox.secret_variable], sandbox.secret_variable)
    import ccxt

    client = getattr(ccxt, exchange)(
        {
            "apiKey": environment[sandbox.key_variable],
            "secret": environment[sandbox.secret_variable],
            "enableRateLimit": True,
            "timeout": 10_000,
            "requests_trust_env": base_url is None,
            "options": dict(sandbox.options),
        }
    )
    if exchange == "krakenfutures":
        _mend_kraken(client)
    client.set_sandbox_mode(True)
    client.urls["api"] = {
        name: url if base_url is None else base_url.rstrip("/") + urlsplit(url).path
        for name, url in client.urls["api"].items()
        if name in sandbox.apis
    }
    _guard(client, exchange)
    return client


def check_host(url: str, exchange: str) -> None:
    """Refuse, by name, a host to which orders may not go."""
    host = urlsplit(url).hostname or url
    allowed = SANDBOXES[exchange].host
    if host != allowed and host not in LOOPBACK:
        raise ConfigError(f"{host} is refused: orders go to the sandbox of {exchange} only, {allowed}.")


def ask(question: Callable[[], Answer], wait: Callable[[float], object], what: str, attempts: int = ATTEMPTS) -> Answer:
    """Ask an exchange something that changes nothing, again after growing pauses while it does not answer.

    Raises
    ------
    SessionError
        When it has not answered after that many attempts, it refuses, or `wait` returns True: somebody stops.

    """
    import ccxt

    for attempt in range(attempts):
        try:
            return question()
        except ccxt.OperationFailed as error:
            failure = str(error)
            if wait(pause(attempt)) is True:
                raise SessionError(f"{what}: stopped while the exchange did not answer ({failure}).") from None
        except ccxt.ExchangeError as error:
            raise SessionError(f"{what}: the exchange refused ({error}).") from None
    raise SessionError(f"{what}: no answer after {attempts} attempts ({failure}). Try again later.")


def pause(attempt: int) -> float:
    """Return the seconds to wait after the n-th failure in a row: 1, 2, 4 … 60."""
    return float(min(60, 2**attempt))


def _check_secret(secret: str, variable: str) -> None:
    try:
        base64.b64decode(secret, validate=True)
    except ValueError:
        raise ConfigError(
            f"krakenfutures: {variable} is not the base64 text that a private key is there. Copy all of it."
        ) from None


def _mend_kraken(client: Any) -> None:
    """Let the client tell the exchange's time, and take its failures for what they are: nobody knows what was done."""
    import ccxt

    def fetch_time() -> int:
        return int(client.parse8601(client.public_get_instruments_status()["serverTime"]))

    client.fetch_time = fetch_time
    for message in ("Server Error", "unknownError"):
        client.exceptions["exact"][message] = ccxt.ExchangeNotAvailable


def _guard(client: Any, exchange: str) -> None:
    send = client.fetch

    def guarded(url: str, *arguments: Any, **options: Any) -> Any:
        check_host(url, exchange)
        return send(url, *arguments, **options)

    client.fetch = guarded


Connect = Callable[[str], AbstractContextManager[Any]]
"""Makes the client of an exchange's public data."""


def check_approval(config: SessionConfig, sandbox: Callable[[], Any] | None) -> None:
    """Refuse a testnet session without an approval or limits, or with orders that no sandbox gets; ConfigError."""
    if config.mode == "testnet" and sandbox is None:
        raise ConfigError(
            "mode was 'testnet': a session that sends orders to an exchange's sandbox starts with a recorded approval "
            "only, and approvals do not exist yet. Use paper or shadow."
        )
    if config.mode == "testnet" and config.risk is None:
        raise ConfigError("risk is missing: a testnet session needs limits. Name a run file with a [risk] table.")
    if config.mode == "testnet":
        check_policy(config.trading.execution)


@contextmanager
def client_of(config: SessionConfig, connect: Connect, sandbox: Callable[[], Any] | None) -> Iterator[Any]:
    """Yield the client of the exchange that a session speaks to, its sandbox's or that of its public data, or None."""
    if sandbox is not None:
        client = sandbox()
        ask(client.load_markets, time.sleep, f"markets of {config.exchange}")
        try:
            yield client
        finally:
            client.session.close()
        return
    if config.feed != "live":
        yield None
        return
    with connect(config.exchange) as client:
        client.options["maxRetriesOnFailure"] = 0  # the feed itself asks again, and records that it had to
        yield client


def on_the_exchange_grid(config: SessionConfig, client: Any, switch: StopSwitch) -> SessionConfig:
    """Return the configuration with the exchange's own steps, unless it names some."""
    markets = ask(client.load_markets, switch.wait, f"markets of {config.exchange}", attempts=3)
    if config.symbol not in markets:
        hint = did_you_mean(config.symbol, get_close_matches(config.symbol, markets, n=5, cutoff=0.3))
        raise ConfigError(f"{config.exchange} does not trade {config.symbol}. {hint}")
    if config.instrument != InstrumentSettings():
        return config
    market = markets[config.symbol]
    steps, smallest = market["precision"], (market["limits"].get("cost") or {}).get("min")
    instrument = InstrumentSettings(
        tick_size=float(steps["price"] or 0.0),
        lot_size=float(steps["amount"] or 0.0),
        min_notional=float(smallest or 0.0),
        is_shortable=bool(market.get("contract")),
    )
    return config.model_copy(update={"instrument": instrument})
