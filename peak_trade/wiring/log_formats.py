"""Table of the formats of external order logs, and the choice of the one that fits the files of a log.

To add a format, write its module in `journal/formats/` and add its entry.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from peak_trade.core.errors import ConfigError, did_you_mean, excerpt, listed
from peak_trade.journal.formats.log_file import FileKind

if TYPE_CHECKING:
    from peak_trade.journal.formats.external_log import ExternalLog
    from peak_trade.journal.formats.log_file import LogFile

AUTO = "auto"


@dataclass(frozen=True, slots=True)
class Layout:
    """Layout of one file of a format.

    `recogniser` is the `module:function` that says why a file has the layout, empty if it has not; `reader` is the one
    that adds its rows to a log. `signature` is the `module:name` of its columns, empty if they do not identify it.
    """

    title: str
    recogniser: str
    reader: str
    signature: str = ""

    def fits(self, file: LogFile) -> str:
        """Return why a file has the layout; empty if it has not."""
        return str(pkgutil.resolve_name(self.recogniser)(file))

    def missing(self, file: LogFile) -> frozenset[str] | None:
        """Return the columns that a file lacks to have the layout, None if it lacks more than half of them."""
        if not self.signature:
            return None
        found: frozenset[str] | None = pkgutil.resolve_name(self.signature).missing(file)
        return found

    def read(self, file: LogFile, log: ExternalLog) -> None:
        """Add the orders and fills of a file to a log; ConfigError when the file as a whole can not be read."""
        pkgutil.resolve_name(self.reader)(file, log)


@dataclass(frozen=True, slots=True)
class LogFormat:
    """Format of a log: who writes it, the layouts of its files, and how its files are joined."""

    title: str
    layouts: tuple[Layout, ...]
    joiner: str = ""
    """The `module:function` that joins the rows of several files of a log; empty: nothing is to be joined."""

    def join(self, log: ExternalLog) -> None:
        """Join what several files say about one order, after all are read."""
        if self.joiner:
            pkgutil.resolve_name(self.joiner)(log)


@dataclass(frozen=True, slots=True)
class Recognised:
    """The format of a log by its name, the layout of each file, and why each file has it."""

    name: str
    layouts: tuple[Layout, ...]
    reasons: tuple[str, ...]


FORMATS: dict[str, LogFormat] = {
    "ccxt": LogFormat(
        "ccxt: fetch_my_trades and fetch_orders",
        (
            Layout(
                "trades",
                "peak_trade.journal.formats.ccxt:is_trades",
                "peak_trade.journal.formats.ccxt:read_ccxt",
                "peak_trade.journal.formats.ccxt:TRADES",
            ),
            Layout(
                "orders",
                "peak_trade.journal.formats.ccxt:is_orders",
                "peak_trade.journal.formats.ccxt:read_ccxt",
                "peak_trade.journal.formats.ccxt:ORDERS",
            ),
        ),
    ),
    "freqtrade": LogFormat(
        "freqtrade: the database of a bot",
        (
            Layout(
                "database",
                "peak_trade.journal.formats.freqtrade:is_database",
                "peak_trade.journal.formats.freqtrade:read_database",
            ),
        ),
    ),
    "freqtrade-backtest": LogFormat(
        "freqtrade: the result of a backtest",
        (
            Layout(
                "backtest result",
                "peak_trade.journal.formats.freqtrade:is_backtest",
                "peak_trade.journal.formats.freqtrade:read_backtest",
            ),
        ),
    ),
    "binance": LogFormat(
        "Binance: the web exports of spot trading",
        (
            Layout(
                "Trade History",
                "peak_trade.journal.formats.binance:is_trade_history",
                "peak_trade.journal.formats.binance:read_trade_history",
                "peak_trade.journal.formats.binance:TRADE_HISTORY",
            ),
            Layout(
                "Order History",
                "peak_trade.journal.formats.binance:is_order_history",
                "peak_trade.journal.formats.binance:read_order_history",
                "peak_trade.journal.formats.binance:ORDER_HISTORY",
            ),
            Layout(
                "Transaction History",
                "peak_trade.journal.formats.binance:is_transaction_history",
                "peak_trade.journal.formats.binance:read_transaction_history",
                "peak_trade.journal.formats.binance:TRANSACTION_HISTORY",
            ),
        ),
        "peak_trade.journal.formats.binance:join",
    ),
    "binance-api": LogFormat(
        "Binance: myTrades, userTrades and allOrders of the API",
        (
            Layout(
                "trades",
                "peak_trade.journal.formats.binance:is_api_trades",
                "peak_trade.journal.formats.binance:read_api_trades",
                "peak_trade.journal.formats.binance:API_TRADES",
            ),
            Layout(
                "orders",
                "peak_trade.journal.formats.binance:is_api_orders",
                "peak_trade.journal.formats.binance:read_api_orders",
                "peak_trade.journal.formats.binance:API_ORDERS",
            ),
        ),
    ),
    "kraken": LogFormat(
        "Kraken: trades.csv and ledgers.csv",
        (
            Layout(
                "trades.csv",
                "peak_trade.journal.formats.kraken:is_trades",
                "peak_trade.journal.formats.kraken:read_trades",
                "peak_trade.journal.formats.kraken:TRADES",
            ),
            Layout(
                "ledgers.csv",
                "peak_trade.journal.formats.kraken:is_ledgers",
                "peak_trade.journal.formats.kraken:read_ledgers",
                "peak_trade.journal.formats.kraken:LEDGERS",
            ),
        ),
        "peak_trade.journal.formats.kraken:join",
    ),
    "hummingbot": LogFormat(
        "hummingbot: its trades as CSV, and its database",
        (
            Layout(
                "trades",
                "peak_trade.journal.formats.hummingbot:is_trades",
                "peak_trade.journal.formats.hummingbot:read_trades",
                "peak_trade.journal.formats.hummingbot:TRADES",
            ),
            Layout(
                "database",
                "peak_trade.journal.formats.hummingbot:is_database",
                "peak_trade.journal.formats.hummingbot:read_database",
            ),
        ),
    ),
    "nautilus": LogFormat(
        "nautilus_trader: reports of fills, orders and accounts",
        (
            Layout(
                "fills report",
                "peak_trade.journal.formats.nautilus:is_fills",
                "peak_trade.journal.formats.nautilus:read_fills",
                "peak_trade.journal.formats.nautilus:FILLS",
            ),
            Layout(
                "orders report",
                "peak_trade.journal.formats.nautilus:is_orders",
                "peak_trade.journal.formats.nautilus:read_orders",
                "peak_trade.journal.formats.nautilus:ORDERS",
            ),
            Layout(
                "account report",
                "peak_trade.journal.formats.nautilus:is_account",
                "peak_trade.journal.formats.nautilus:read_account",
                "peak_trade.journal.formats.nautilus:ACCOUNT",
            ),
        ),
    ),
    "jesse": LogFormat(
        "jesse: log lines, closed trades, and the table of live orders",
        (
            Layout(
                "live orders",
                "peak_trade.journal.formats.jesse:is_orders",
                "peak_trade.journal.formats.jesse:read_orders",
                "peak_trade.journal.formats.jesse:ORDERS",
            ),
            Layout(
                "log lines",
                "peak_trade.journal.formats.jesse:is_log_lines",
                "peak_trade.journal.formats.jesse:read_log_lines",
                "peak_trade.journal.formats.jesse:LOG_LINES",
            ),
            Layout(
                "closed trades",
                "peak_trade.journal.formats.jesse:is_trades",
                "peak_trade.journal.formats.jesse:read_trades",
                "peak_trade.journal.formats.jesse:TRADES",
            ),
        ),
    ),
    "orders-csv": LogFormat(
        "any table of orders, with --column",
        (
            Layout(
                "table of orders",
                "peak_trade.journal.formats.orders_csv:is_orders",
                "peak_trade.journal.formats.orders_csv:read_orders",
                "peak_trade.journal.formats.orders_csv:ORDERS",
            ),
        ),
    ),
}
"""Name of each format to its layouts."""


def recognise(files: Sequence[LogFile], name: str = AUTO) -> Recognised:
    """Return the format of the files of a log.

    Parameters
    ----------
    files : sequence of LogFile
        Files of one log.
    name : str
        A name in FORMATS, or `auto`: the one format of which every file has a layout.

    Raises
    ------
    ConfigError
        When no format fits a file, or several do; the message names them.

    """
    if name != AUTO and name not in FORMATS:
        raise ConfigError(f"format was {excerpt(name)}. {did_you_mean(name, (AUTO, *FORMATS))}")
    known = FORMATS if name == AUTO else {name: FORMATS[name]}
    found = [_candidates(file, known, is_stated=name != AUTO) for file in files]
    names = [each for each in known if all(any(each == one for one, _, _ in fits) for fits in found)]
    if len(names) > 1:
        why = "; ".join(
            f"{each}, because {next(reason for one, _, reason in found[0] if one == each)}" for each in names
        )
        raise ConfigError(f"{files[0].path}: several formats fit: {why}. Choose one with --format.")
    if not names:
        raise ConfigError(_why_none(files, found, name))
    chosen = [next(fit for fit in fits if fit[0] == names[0]) for fits in found]
    return Recognised(names[0], tuple(fit[1] for fit in chosen), tuple(fit[2] for fit in chosen))


def _candidates(file: LogFile, known: dict[str, LogFormat], *, is_stated: bool) -> list[tuple[str, Layout, str]]:
    fits = [(name, each, each.fits(file)) for name, form in known.items() for each in form.layouts]
    found = [fit for fit in fits if fit[2]]
    if is_stated and not found and len(fits) == 1:
        return [(*fits[0][:2], "the format is stated")]
    return found


def _why_none(files: Sequence[LogFile], found: Sequence[list[tuple[str, Layout, str]]], name: str) -> str:
    for file, fits in zip(files, found, strict=True):
        if not fits:
            held = f"its columns are {listed(file.columns)}" if file.columns else f"it is a {file.kind}"
            if name != AUTO:
                titles = " or ".join(each.title for each in FORMATS[name].layouts)
                nearest = _nearest(file, {name: FORMATS[name]}) or "Leave out --format to recognise it."
                return f"{file.path}: this is no file of {name} ({titles}): {held}. {nearest}"
            if len(file.columns) < 2 and file.kind is FileKind.TABLE:
                return f"{file.path}: this is a text without columns, not a log. Formats: {', '.join(FORMATS)}."
            if {"open", "high", "low", "close"} <= {column.lower() for column in file.columns}:
                return f"{file.path}: these are bars, not orders. Import them with `peak-trade data import`."
            remedy = _nearest(file, FORMATS) or f"State --format ({', '.join(FORMATS)})."
            return f"{file.path}: no format fits: {held}. {remedy} --column names the columns of any table of orders."
    each = ", ".join(f"{file.name} ({fits[0][0]})" for file, fits in zip(files, found, strict=True))
    return f"the files have several formats: {each}. Import the files of one log at a time."


def _nearest(file: LogFile, known: dict[str, LogFormat]) -> str:
    """Return which format and layout a file comes nearest to, and the columns that it lacks; empty if to none."""
    found = [
        (len(missing), name, layout.title, missing)
        for name, form in known.items()
        for layout in form.layouts
        if (missing := layout.missing(file))
    ]
    if not found:
        return ""
    _, name, title, missing = min(found, key=lambda each: each[0])
    what = "column" if len(missing) == 1 else "columns"
    return f"It is nearest to {name}, {title}, but lacks the {what} {listed(sorted(missing))}."
