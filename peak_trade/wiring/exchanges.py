"""The exchanges by name: their bars, their fees and their sandboxes.

To add one, write its entry; if sessions can trade at its sandbox, also the sandbox's file.
"""

from __future__ import annotations

import pkgutil
from dataclasses import dataclass, field
from typing import Any

from peak_trade.core.errors import ConfigError, did_you_mean
from peak_trade.data.fetching import Source


@dataclass(frozen=True, slots=True)
class Exchange:
    """An exchange. Its name in EXCHANGES is the one that ccxt uses."""

    source: Source | None = None
    """How public bars are fetched; None: they are not."""

    fees: dict[str, float] = field(default_factory=dict)
    """Fee settings of the lowest volume tier, bps; empty: not known."""

    sandbox: str | None = None
    """`module:Class` of the sandbox that takes orders; None: there is none."""


EXCHANGES: dict[str, Exchange] = {
    "binance": Exchange(
        Source(page=1_000, latest_only=False),
        {"fee_bps": 10.0, "maker_fee_bps": 10.0},
        "peak_trade.sessions.sandbox.binance:BinanceSpot",
    ),
    "kraken": Exchange(
        Source(page=720, latest_only=True),
        {"fee_bps": 40.0, "maker_fee_bps": 25.0},
    ),
    "krakenfutures": Exchange(sandbox="peak_trade.sessions.sandbox.kraken_futures:KrakenFutures"),
}
"""Fees are spot fees as the exchanges publish them (seen 2025): taker and maker."""


def bar_source(exchange: str) -> Source:
    """Return how the bars of an exchange are fetched; ConfigError when they are not."""
    known = {name: row.source for name, row in EXCHANGES.items() if row.source is not None}
    if exchange not in known:
        raise ConfigError(f"exchange was {exchange!r}: its bars can not be fetched. {did_you_mean(exchange, known)}")
    return known[exchange]


def fee_preset(exchange: str) -> dict[str, float]:
    """Return the fee settings of an exchange; ConfigError when they are not known."""
    known = {name: row.fees for name, row in EXCHANGES.items() if row.fees}
    if exchange not in known:
        raise ConfigError(f"fees was {exchange!r}. {did_you_mean(exchange, known)}")
    return known[exchange]


def sandbox_class(exchange: str) -> Any:
    """Return the class of an exchange's sandbox; ConfigError when there is none."""
    known = {name: row.sandbox for name, row in EXCHANGES.items() if row.sandbox is not None}
    if exchange not in known:
        raise ConfigError(f"exchange was {exchange!r}: it has no sandbox. {did_you_mean(exchange, known)}")
    return pkgutil.resolve_name(known[exchange])
