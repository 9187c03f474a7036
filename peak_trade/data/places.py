"""Names of exchanges and symbols, and the places of series in the store.

A place is made of lower-case letters for the exchange and the timeframe, and of capitals for the symbol. Every other
character is written as the bytes of its UTF-8 form, `%` and two digits each, so that two names never share a place,
also where file names do not distinguish capitals: `stETH/USDT` is in `%73%74ETH-USDT`.
"""

from __future__ import annotations

import re
from pathlib import Path

from peak_trade.core.errors import ConfigError, quoted
from peak_trade.core.time import Timeframe

EXCHANGE = re.compile(r"[a-z0-9_]+([.-][a-z0-9_]+)*")
_SYMBOL = re.compile(r"[^/:]+(/[^/:]+(:[^/:]+)?)?")
_NOT_IN_SYMBOLS = frozenset(" ,;'\"\\")
_LONGEST = 200
"""Bytes of the name of a folder; most file systems allow 255."""


def check_names(exchange: str, symbol: str) -> None:
    """Raise ConfigError unless an exchange and a symbol are names under which bars can be stored.

    A symbol is written as the exchange does: BTC/USDT, BTC/USDT:USDT, BTC/USDT:USDT-250627, stETH/USDT or BTC-PERP.
    """
    if not EXCHANGE.fullmatch(exchange) or len(exchange) > _LONGEST:
        raise ConfigError(f"exchange was {quoted(exchange)}: write a lower-case name, like binance or gate.io.")
    parts = re.split("[/:]", symbol)
    is_name = _SYMBOL.fullmatch(symbol) and symbol.isprintable() and not _NOT_IN_SYMBOLS & set(symbol)
    if not is_name or any(part[0] == "." or part[-1] == "." for part in parts):
        raise ConfigError(
            f"symbol was {quoted(symbol)}: write it as the exchange does, like BTC/USDT, BTC/USDT:USDT or BTC-PERP."
        )
    if symbol.islower():
        raise ConfigError(f"symbol was {quoted(symbol)}: write base and quote in capitals, like {symbol.upper()}.")
    if len(symbol_folder(symbol)) > _LONGEST:
        raise ConfigError(f"symbol was {quoted(symbol)}: this is too long for the name of a folder.")


def place_of(exchange: str, symbol: str, timeframe: Timeframe) -> Path:
    """Return the place of a series inside the store, such as binance/BTC-USDT/1h."""
    return Path(_folder(exchange), symbol_folder(symbol), _folder(str(timeframe)))


def symbol_folder(symbol: str) -> str:
    """Return the name of a symbol in paths: BTC-USDT_USDT%2D250627 for BTC/USDT:USDT-250627."""
    return _escaped(symbol, "[^A-Z0-9./:]").replace("/", "-").replace(":", "_")


def _folder(name: str) -> str:
    return _escaped(name, "[^a-z0-9._-]")


def _escaped(name: str, escaped: str) -> str:
    """Return a name with the characters of a class as bytes, and so a dot at its start."""
    return re.sub(rf"{escaped}|^\.", lambda found: _bytes_of(found[0]), name) or "%"


def _bytes_of(letter: str) -> str:
    return "".join(f"%{byte:02X}" for byte in letter.encode("utf-8", "surrogatepass"))
