"""The exports of Kraken: `trades.csv` with the fills, and `ledgers.csv` with every change of a balance.

Layout of trades, of every version: `txid`, `ordertxid`, `pair`, `time`, `type`, `ordertype`, `price`, `cost`, `fee`,
`vol`, and others. Key: `txid`. Pairs are XETHZGBP, ADAEUR or ADA/USD, and assets get their usual names: XXBT is BTC,
XXDG is DOGE. The fee is in the quote currency, unless ledgers say otherwise.

Layout of ledgers: `txid`, `refid`, `time`, `type`, `subtype`, `asset`, `amount`, `fee`, `balance`, and others. The
rows of a trade have its `txid` as `refid`: they give the coin of its fee, such as KFEE, and are compared with the
fills; balances are compared with the sum of all changes. Rows without a txid are pending and come again. The others,
such as deposits, transfers and conversions of dust, are counted by kind.

Left out: orders without a fill, canceled orders, and decision prices. Times are UTC.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from decimal import Decimal

from peak_trade.core.errors import ConfigError
from peak_trade.core.values import Side, quote_of
from peak_trade.journal.formats.balances import BalanceCheck
from peak_trade.journal.formats.ccxt import split_symbol, type_of
from peak_trade.journal.formats.external_log import ExternalLog
from peak_trade.journal.formats.log_file import FileKind, LogFile, signature
from peak_trade.journal.formats.log_row import Row
from peak_trade.journal.formats.logged_orders import LoggedFill
from peak_trade.journal.log_times import TimeFormat, stated_format

TRADE_COLUMNS = ("txid", "ordertxid", "pair", "time", "type", "ordertype", "price", "cost", "fee", "vol")
LEDGER_COLUMNS = ("txid", "refid", "time", "type", "asset", "amount", "fee", "balance")
TRADES = signature(FileKind.TABLE, ("txid", "ordertxid", "pair", "vol"))
LEDGERS = signature(FileKind.TABLE, ("txid", "refid", "asset", "balance"))
ASSETS = {"XBT": "BTC", "XDG": "DOGE"}
"""Usual names of assets that Kraken names otherwise, without the X or Z in front."""

_PREFIXED = re.compile(r"[XZ][A-Z]{3}")
_QUOTES = (
    "EUR", "USD", "GBP", "CAD", "JPY", "AUD", "CHF", "USDT", "USDC", "PYUSD", "DAI", "XBT", "ETH", "DOT", "ZEUR",
    "ZUSD", "ZGBP", "ZCAD", "ZJPY", "ZAUD", "XXBT", "XETH",
)  # fmt: skip
_KINDS = {"withdrawal": "withdrawal", "spend": "conversion", "receive": "conversion"}
_FEWEST_DECIMALS = 4
_MARGIN = "fill of a margin trade, so that the changes in ledgers are not compared with the fills"
_ISO = stated_format("iso")


def is_trades(file: LogFile) -> str:
    """Return why a file is a trades.csv of Kraken; empty if it is not."""
    found = TRADES.fits(file)
    return "it has the columns txid, ordertxid, pair and vol of trades.csv" if found else ""


def is_ledgers(file: LogFile) -> str:
    """Return why a file is a ledgers.csv of Kraken; empty if it is not."""
    found = LEDGERS.fits(file)
    return "it has the columns txid, refid, asset and balance of ledgers.csv" if found else ""


def asset_of(name: str) -> str:
    """Return the usual name of an asset: BTC for XXBT, EUR for ZEUR."""
    name = name.strip().upper()
    name = name[1:] if len(name) == 4 and _PREFIXED.fullmatch(name) else name
    return ASSETS.get(name, name)


def symbol_of(pair: str) -> str:
    """Return base/quote of a pair: ETH/GBP for XETHZGBP, ADA/USD for ADAUSD or ADA/USD."""
    pair = pair.strip().upper()
    if len(pair) == 8 and _PREFIXED.fullmatch(pair[:4]) and _PREFIXED.fullmatch(pair[4:]):
        pair = f"{pair[:4]}/{pair[4:]}"
    base, slash, quote = split_symbol(pair, _QUOTES).partition("/")
    return f"{asset_of(base)}/{asset_of(quote)}" if slash else base


def read_trades(file: LogFile, log: ExternalLog) -> None:
    """Add the fills; ConfigError when a column is missing."""
    file.require(TRADE_COLUMNS)
    times = log.options.times_in(lambda: (row.cells.get("time") for row in file.rows()), _ISO)
    log.times = times.name
    for row in file.rows():
        try:
            symbol = symbol_of(row.text("pair"))
            if not symbol or not row.text("txid"):
                raise ValueError("column txid or pair: it is empty")
            fees = ((row.signed("fee"), quote_of(symbol)),) if row.has("fee") else ()
            fill = LoggedFill(
                (row.number,), row.text("ordertxid") or row.text("txid"), row.time("time", times), symbol,
                row.member("type", Side), row.unsigned("vol"), row.unsigned("price"), fees, type_of(row, "ordertype"),
            )  # fmt: skip
            log.add_fill(row.text("txid"), fill)
            if row.has("margin") and row.unsigned("margin"):
                log.notes[_MARGIN] += 1
        except (ValueError, OverflowError) as error:
            log.refuse_fault(row.number, error)


def read_ledgers(file: LogFile, log: ExternalLog) -> None:
    """Keep the fees and changes of trades, count the other rows by kind, and compare balances with all changes."""
    file.require(LEDGER_COLUMNS)
    times = log.options.times_in(lambda: (row.cells.get("time") for row in file.rows()), _ISO)
    log.times = times.name
    wallets: dict[str, _Wallet] = {}
    traded: dict[tuple[str, str], _Wallet] = {}
    for row in file.rows():
        try:
            if not row.has("txid"):
                log.skip("pending")
                continue
            if not log.is_new(row.text("txid"), "|".join(map(row.text, LEDGER_COLUMNS))):
                continue
            change = _change(row, times)
            wallets.setdefault(" ".join((asset_of(row.text("asset")), row.text("wallet"))).strip(), _Wallet()).add(
                change
            )
            if row.text("type").lower() != "trade":
                log.skip(_kind(row))
                continue
            asset = asset_of(row.text("asset"))
            traded.setdefault((asset, row.text("wallet")), _Wallet()).add(change)
            log.add_change(asset, change.amount - change.fee, change.rounding)
            log.add_fee(row.text("refid"), float(change.fee), asset)
            log.skip("change of a balance by a trade")
        except (ValueError, OverflowError) as error:
            log.refuse_fault(row.number, error)
            log.add_fee(str(row.cells.get("refid", "")).strip(), math.nan, "")
    log.balances += [wallet.check(name) for name, wallet in sorted(wallets.items())]
    for asset in sorted({asset for asset, _ in traded}):
        firsts = [wallet.earliest for (name, _), wallet in traded.items() if name == asset]
        balance = float(sum((each.before for each in firsts), start=Decimal()))
        log.add_first_balance(asset, min(each.time for each in firsts), balance)


def join(log: ExternalLog) -> None:
    """Give each fill the fees of its rows in ledgers; ConfigError when there are ledgers, but no fill at all."""
    missing = log.apply_fees()
    if missing and not log.n_used:
        raise ConfigError("ledgers.csv has no prices: import it together with trades.csv of the same time.")
    if log.notes[_MARGIN]:
        log.drop_changes()
    if missing:
        log.notes["trade of the ledgers that is not among the fills"] += len(missing)


@dataclass(frozen=True, slots=True)
class _Change:
    """A row of ledgers; `rounding` is half a unit of the last decimal that it has, of the fourth at most."""

    time: int
    amount: Decimal
    fee: Decimal
    balance: Decimal
    rounding: Decimal

    @property
    def before(self) -> Decimal:
        return self.balance - self.amount + self.fee


@dataclass(slots=True)
class _Wallet:
    """First and last row of one asset in the file, and the sum of all changes."""

    first: _Change | None = None
    last: _Change | None = None
    total: Decimal = Decimal()
    rounding: Decimal = Decimal()

    def add(self, change: _Change) -> None:
        self.first, self.last = self.first or change, change
        self.total += change.amount - change.fee
        self.rounding += change.rounding

    @property
    def _ends(self) -> tuple[_Change, _Change]:
        assert self.first is not None
        assert self.last is not None
        first, last = self.first, self.last
        is_newest_first = first.time > last.time
        if first.time == last.time:
            upward, downward = last.balance - first.before, first.balance - last.before
            is_newest_first = abs(downward - self.total) < abs(upward - self.total)
        return (last, first) if is_newest_first else (first, last)

    @property
    def earliest(self) -> _Change:
        return self._ends[0]

    def check(self, name: str) -> BalanceCheck:
        earliest, latest = self._ends
        observed = latest.balance - earliest.before
        tolerance = max(self.rounding, Decimal("1e-8"))
        return BalanceCheck(f"{name}, all changes", float(self.total), float(observed), float(tolerance))


def _change(row: Row, times: TimeFormat) -> _Change:
    time = row.time("time", times)
    amount, fee, balance = map(row.exact, ("amount", "fee", "balance"))
    exponents = [value.as_tuple().exponent for value in (amount, fee, balance)]
    last = min(exponent for exponent in exponents if isinstance(exponent, int))
    return _Change(time, amount, fee, balance, Decimal(5).scaleb(min(last, -_FEWEST_DECIMALS) - 1))


def _kind(row: Row) -> str:
    kind, subtype = row.text("type").lower(), row.text("subtype").lower()
    return "dust conversion" if "dust" in subtype else _KINDS.get(kind, kind or "without a type")
