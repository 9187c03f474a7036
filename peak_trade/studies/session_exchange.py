"""The exchange that a session speaks to: whether it may, its client, and the grid of the symbol there."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from difflib import get_close_matches
from typing import Any

from peak_trade.core.errors import ConfigError, did_you_mean
from peak_trade.sessions.config import InstrumentSettings, SessionConfig, check_policy
from peak_trade.sessions.exchange import ask
from peak_trade.sessions.switch import StopSwitch

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
