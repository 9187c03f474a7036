"""Clients of exchanges. Orders can leave through `connect_sandbox` only, and only to the host of a sandbox."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from difflib import get_close_matches
from typing import Any, TypeVar
from urllib.parse import urlsplit

from peak_trade.core.errors import ConfigError, SessionError, did_you_mean
from peak_trade.core.network import LOOPBACK, place_of
from peak_trade.data.fetching import connect
from peak_trade.data.transport import guard
from peak_trade.engine.settings import ExecutionPolicy
from peak_trade.sessions.config import SessionConfig, SessionSymbol
from peak_trade.sessions.control.stop_switch import StopSwitch
from peak_trade.sessions.sandbox.base import SENT_TYPES
from peak_trade.wiring.exchanges import bar_source, sandbox_class
from peak_trade.wiring.feeds import FEEDS
from peak_trade.wiring.run_file import InstrumentSettings
from peak_trade.wiring.venues import VENUES

Answer = TypeVar("Answer")
Connect = Callable[[str], AbstractContextManager[Any]]
"""Yields a client of the public data of an exchange."""

ATTEMPTS = 6
"""Attempts after which an exchange counts as unreachable."""


def connect_public(exchange: str) -> AbstractContextManager[Any]:
    """Yield the client of an exchange's public data; ConfigError when its bars can not be fetched."""
    bar_source(exchange)
    return connect(exchange)


def connect_sandbox(exchange: str, environment: Mapping[str, str], base_url: str | None = None) -> Any:
    """Return a rate-limited ccxt client of an exchange's sandbox; every request to another host is refused.

    Parameters
    ----------
    exchange : str
        A name in EXCHANGES that has a sandbox.
    environment : mapping of str
        Environment variables, from which the keys are read; keys are neither printed nor logged.
    base_url : str, optional
        Scheme and host that replace those of the sandbox: an emulator on loopback.

    Raises
    ------
    ConfigError
        If the exchange is unknown, the host is not its sandbox, or a key is missing or malformed (by its variable).

    """
    sandbox = sandbox_class(exchange)
    access = sandbox.access
    if base_url is not None:
        check_host(base_url, exchange)
    missing = [name for name in (access.key_variable, access.secret_variable) if not environment.get(name)]
    if missing:
        raise ConfigError(f"{exchange}: {' and '.join(missing)} not set. Set the sandbox's keys in the environment.")
    sandbox.check_secret(environment[access.secret_variable])
    import ccxt

    client = getattr(ccxt, exchange)(
        {
            "apiKey": environment[access.key_variable],
            "secret": environment[access.secret_variable],
            "enableRateLimit": True,
            "timeout": 10_000,
            "requests_trust_env": base_url is None,
            "options": dict(access.options),
        }
    )
    sandbox.prepare(client)
    client.set_sandbox_mode(True)
    client.urls["api"] = {
        name: url if base_url is None else base_url.rstrip("/") + urlsplit(url).path
        for name, url in client.urls["api"].items()
        if name in access.apis
    }
    guard(client, lambda url: check_host(url, exchange))
    return client


def check_host(url: str, exchange: str) -> None:
    """Refuse, by name, a URL to which orders may not go: another host or port, or one that is not encrypted."""
    place, allowed = place_of(url), sandbox_class(exchange).access.host
    if place not in (f"https://{allowed}", f"https://{allowed}:443") and urlsplit(place).hostname not in LOOPBACK:
        raise ConfigError(f"{place} is refused: orders go to the sandbox of {exchange} only, https://{allowed}.")


def ask(question: Callable[[], Answer], wait: Callable[[float], object], what: str, attempts: int = ATTEMPTS) -> Answer:
    """Ask an exchange something that changes nothing; repeat after growing pauses while it does not answer.

    Raises
    ------
    SessionError
        If there is no answer after that many attempts, the exchange refuses, or `wait` returns True (a stop).

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
    """Return the seconds to wait after n consecutive failures: 1, 2, 4 … 60."""
    return float(min(60, 2**attempt))


def places_of(client: Any) -> set[str]:
    """Return the places to which a client sends: scheme and host of each of its addresses."""
    addresses = getattr(client, "urls", {}).get("api", {})
    return {place_of(url) for url in (addresses.values() if isinstance(addresses, Mapping) else [addresses])}


def is_loopback(client: Any) -> bool:
    """Return whether a client sends to this machine only."""
    hosts = {urlsplit(place).hostname for place in places_of(client)}
    return bool(hosts) and hosts <= set(LOOPBACK)


def sandbox_fault(client: Any, exchange: str) -> str:
    """Return why the addresses of a client are not those of an exchange's sandbox; empty if they are."""
    places = places_of(client)
    try:
        for place in sorted(places):
            check_host(place, exchange)
    except ConfigError as error:
        return str(error)
    return "" if places else f"the client has no address of the sandbox of {exchange}."


def check_sandbox_config(config: SessionConfig) -> None:
    """Refuse a session at a sandbox without limits, or with orders that are not sent there."""
    if not VENUES[config.mode].is_sandbox:
        return
    if not config.has_limits:
        raise ConfigError(
            f"no risk limit is set: a {config.mode} session needs limits. Name a run file whose [risk] table sets one, "
            "such as max_order_notional."
        )
    check_policy(config.trading.execution)


def check_policy(policy: ExecutionPolicy) -> None:
    """Refuse, by setting, an execution policy whose orders are not sent to a sandbox.

    Raises
    ------
    ConfigError
        On protective levels, without which a position would be unprotected, and on entries that are neither market nor
        limit orders.

    """
    for name in ("stop_loss", "stop_loss_atr", "take_profit", "take_profit_atr", "trailing_stop"):
        value = getattr(policy, name)
        if value is not None:
            raise ConfigError(
                f"trading.execution.{name} was {value:g}: protective orders are not sent to a sandbox, and the "
                "position would be unprotected. Leave it out, or use paper."
            )
    if policy.order_type not in SENT_TYPES:
        raise ConfigError(
            f'trading.execution.order_type was "{policy.order_type}": only market and limit orders are sent to a '
            "sandbox. Use one of these, or paper."
        )


@contextmanager
def client_of(config: SessionConfig, connect: Connect, sandbox: Callable[[], Any] | None) -> Iterator[Any]:
    """Yield the client of a session's exchange, or None: its sandbox's, or for a live feed its public data's."""
    if VENUES[config.mode].is_sandbox:
        client = connect_sandbox(config.exchange, os.environ) if sandbox is None else sandbox()
        ask(client.load_markets, time.sleep, f"markets of {config.exchange}")
        try:
            yield client
        finally:
            client.session.close()
        return
    if not FEEDS[config.feed].is_live:
        yield None
        return
    with connect(config.exchange) as client:
        yield client


def with_exchange_steps(config: SessionConfig, client: Any, switch: StopSwitch) -> SessionConfig:
    """Return the configuration with the exchange's own steps, unless it sets some."""
    markets = ask(client.load_markets, switch.wait, f"markets of {config.exchange}", attempts=3)
    symbols = []
    for each in config.symbols:
        if each.name not in markets:
            hint = did_you_mean(each.name, get_close_matches(each.name, markets, n=5, cutoff=0.3))
            raise ConfigError(f"{config.exchange} does not trade {each.name}. {hint}")
        symbols.append(_with_steps(each, markets[each.name]))
    return config.model_copy(update={"symbols": tuple(symbols)})


def _with_steps(symbol: SessionSymbol, market: Mapping[str, Any]) -> SessionSymbol:
    leverage = symbol.instrument.max_leverage
    if symbol.instrument != InstrumentSettings(max_leverage=leverage):
        return symbol
    steps, smallest = market["precision"], (market["limits"].get("cost") or {}).get("min")
    instrument = InstrumentSettings(
        tick_size=float(steps["price"] or 0.0),
        lot_size=float(steps["amount"] or 0.0),
        min_notional=float(smallest or 0.0),
        is_shortable=bool(market.get("contract")),
        max_leverage=leverage,
    )
    return SessionSymbol(name=symbol.name, instrument=instrument)
