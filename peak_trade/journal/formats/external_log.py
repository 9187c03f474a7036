"""An external log as orders and fills, which become the order histories of a session.

A reader of a format hands over fills and orders row by row; they are kept in a temporary database of SQLite, which is
in memory while it is small, so that a log of any length takes little memory. `finish` joins the fills of each order.
"""

from __future__ import annotations

import math
import sqlite3
import weakref
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from hashlib import blake2b
from itertools import groupby
from operator import attrgetter, itemgetter
from typing import Any

import msgspec
from msgspec.structs import replace

from peak_trade.core.errors import SessionError
from peak_trade.core.progress import OnProgress
from peak_trade.core.time import NS_PER_SECOND, from_ns
from peak_trade.core.values import Side
from peak_trade.journal.events import CashFlowEvent, OrderEvent, OrderEventKind
from peak_trade.journal.formats.balances import BalanceCheck, StatedEquity
from peak_trade.journal.formats.logged_orders import (
    LoggedFill,
    LoggedOrder,
    LogOptions,
    assets_of,
    check_trade,
    events_of_order,
)
from peak_trade.journal.orders import OrderStates

MOST_REFUSED = 10_000
"""Most refused rows that are kept with their reasons; all are counted."""

_TABLES = """
PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -65536;
CREATE TABLE fill (seq INTEGER PRIMARY KEY, key TEXT UNIQUE, symbol TEXT, order_id TEXT, time INTEGER, body BLOB);
CREATE TABLE orders (seq INTEGER PRIMARY KEY, symbol TEXT, order_id TEXT, body BLOB, UNIQUE (symbol, order_id));
CREATE TABLE fee (key TEXT, amount REAL, currency TEXT);
CREATE TABLE seen (key TEXT PRIMARY KEY, content TEXT) WITHOUT ROWID;
CREATE TABLE event (time INTEGER, rank INTEGER, step INTEGER, is_order INTEGER, body BLOB);
"""
"""A row of `event` has the events of one order at one time, or one cash flow."""

_BY_ORDER = """
SELECT symbol, order_id, 0 AS is_fill, 0 AS time, seq, body FROM orders UNION ALL
SELECT symbol, order_id, 1, time, seq, body FROM fill ORDER BY symbol, order_id, is_fill, time, seq
"""


class ExternalLog:
    """Orders, fills and cash flows of an external log. Each row is used, ignored, a duplicate or refused.

    `ignored` counts the rows that are not about an order, by kind; `refused` holds (row counted from 1, reason) of the
    first MOST_REFUSED refused rows, and `n_refused` counts them all. `times` is the format of the times. The other
    attributes are known after `finish`: `outcomes` counts the orders by their end, `other_fees` has the fees in
    currencies that are neither base nor quote and are not converted, and `converted_fees` has those that are, as
    (amount, value in quote currency). `accounts` are the accounts or exchanges that the rows name. `notes` counts what
    is unusual about rows that are used. `starting_balances` are the balances before the first fill, by currency, where
    the log states them.
    """

    def __init__(self, options: LogOptions) -> None:
        self.options, self.times = options, ""
        self.n_used = self.n_duplicates = self.n_refused = 0
        self.ignored: Counter[str] = Counter()
        self.refused: list[tuple[int, str]] = []
        self.n_orders = self.n_open_orders = self.n_fills = self.n_unknown_fees = self.n_events = 0
        self.outcomes: Counter[str] = Counter()
        self.other_fees: dict[str, float] = {}
        self.converted_fees: dict[str, tuple[float, float]] = {}
        self.notes: Counter[str] = Counter()
        self.balances: list[BalanceCheck] = []
        self.equities: list[StatedEquity] = []
        self.starting_balances: dict[str, float] = {}
        self.accounts: set[str] = set()
        self.symbols: set[str] = set()
        self.strategies: set[str] = set()
        self.first = self.last = 0
        """Times of the first and the last event, ns UTC."""

        self._first_balances: dict[str, tuple[int, float]] = {}
        self._changes: dict[str, Decimal] = {}
        self._stated_changes: dict[str, tuple[Decimal, Decimal]] = {}
        self._seq = self._part_start = 0
        self._repeated: dict[str, int] = {}
        self._shared: frozenset[str] = frozenset()
        self._database = sqlite3.connect("", isolation_level=None)
        weakref.finalize(self, self._database.close)
        self._database.executescript(_TABLES)
        self._database.execute("BEGIN")

    @property
    def n_rows(self) -> int:
        """Number of rows of the log."""
        return self.n_used + self.n_duplicates + self.n_refused + self.ignored.total()

    def add_fill(self, key: str, fill: LoggedFill) -> None:
        """Add a fill; `key` identifies it in the log. A second one with the key is a duplicate, or refused.

        ValueError if its symbol is none, or its quantity or price is not above zero.
        """
        check_trade(fill)
        self._seq += 1
        row = (self._seq, key, fill.symbol, fill.order_id, fill.time, _PACK(fill))
        if self._database.execute("INSERT OR IGNORE INTO fill VALUES (?, ?, ?, ?, ?, ?)", row).rowcount:
            self.n_used += len(fill.rows)
            return
        (body,) = self._database.execute("SELECT body FROM fill WHERE key = ?", (key,)).fetchone()
        first = _FILL.decode(body)
        if replace(first, rows=fill.rows) == fill:
            self.n_duplicates += len(fill.rows)
        else:
            self._refuse_all(fill.rows, f"fill {key} is in {_place_of(first.rows)} too, with other values.")

    def start_part(self) -> None:
        """Begin a part of the log within which equal rows are fills of their own; see `add_fill_of_row`."""
        self._part_start, self._repeated = self._seq, {}

    def add_fill_of_row(self, content: str, fill: LoggedFill) -> None:
        """Add a fill without an id: its key is the content of its row and the number among equal rows of its part.

        The content is kept as its digest, and a number only from the second of equal rows on.
        """
        name = blake2b(content.encode(), digest_size=16).hexdigest()
        number = self._repeated.get(name, 0) + 1
        found = self._database.execute("SELECT seq FROM fill WHERE key = ?", (f"{name}|{number}",)).fetchone()
        if found is not None:
            number += found[0] > self._part_start
            self._repeated[name] = number
        elif number > 1:
            self._repeated[name] = number
        self.add_fill(f"{name}|{number}", fill)
        if number > 1:
            self.notes["row that is equal to an earlier one of the file, and a fill of its own"] += 1

    def add_order(self, order: LoggedOrder) -> None:
        """Add an order; a later state of an order replaces the earlier one, a second end is refused.

        ValueError if its symbol is none.
        """
        check_trade(order)
        self._seq += 1
        name = (order.symbol, order.order_id)
        if self._database.execute("INSERT OR IGNORE INTO orders VALUES (?, ?, ?, ?)",
                                  (self._seq, *name, _PACK(order))).rowcount:  # fmt: skip
            self.n_used += len(order.rows)
            return
        which = "FROM orders WHERE symbol = ? AND order_id = ?"
        (body,) = self._database.execute(f"SELECT body {which}", name).fetchone()
        first = _ORDER.decode(body)
        if replace(first, rows=order.rows) == order:
            self.n_duplicates += len(order.rows)
        elif first.end is None and order.time == first.time:
            self.n_duplicates += len(first.rows)
            self.n_used += len(order.rows) - len(first.rows)
            self._database.execute(
                "UPDATE orders SET body = ? WHERE symbol = ? AND order_id = ?", (_PACK(order), *name)
            )
        else:
            reason = f"order {order.order_id} is in {_place_of(first.rows)} too, with other values."
            self._refuse_all(order.rows, reason)

    def add_cash_flow(self, rows: Sequence[int], flow: CashFlowEvent) -> None:
        """Add a cash flow without a fill, such as funding."""
        self._seq += 1
        self._database.execute("INSERT INTO event VALUES (?, ?, 0, 0, ?)", (flow.ts_event, self._seq, _PACK(flow)))
        self._count_events([flow])
        self.n_used += len(rows)

    def is_new(self, key: str, content: str) -> bool:
        """Return whether no row with a key was read before; if one was, the row is counted as a duplicate.

        ValueError if that row had another content.
        """
        if self._database.execute("INSERT OR IGNORE INTO seen VALUES (?, ?)", (key, content)).rowcount:
            return True
        (first,) = self._database.execute("SELECT content FROM seen WHERE key = ?", (key,)).fetchone()
        if first != content:
            raise ValueError(f"{key} is in an earlier row too, with other values")
        self.n_duplicates += 1
        return False

    def add_fee(self, key: str, amount: float, currency: str) -> None:
        """Add a fee of the fill with a key; all of them replace its fees in `apply_fees`, unless one is NaN."""
        self._database.execute("INSERT INTO fee VALUES (?, ?, ?)", (key, amount, currency))

    def add_first_balance(self, currency: str, time: int, balance: float) -> None:
        """Add the balance of a currency before its first change at a time, ns UTC; of several, the earliest counts."""
        earliest = self._first_balances.setdefault(currency, (time, balance))
        if time < earliest[0]:
            self._first_balances[currency] = (time, balance)

    def add_change(self, asset: str, change: Decimal, rounding: Decimal) -> None:
        """Add a change of a balance by a trade, with its rounding; `finish` compares them with those of the fills."""
        total, tolerance = self._stated_changes.get(asset, (Decimal(), Decimal()))
        self._stated_changes[asset] = (total + change, tolerance + rounding)

    def drop_changes(self) -> None:
        """Forget the changes of `add_change`: they can not be compared with the fills."""
        self._stated_changes.clear()

    def skip(self, kind: str) -> None:
        """Count a row that is not about an order."""
        self.ignored[kind] += 1

    def refuse(self, row: int, reason: str) -> None:
        """Skip a row and keep the reason."""
        self.n_refused += 1
        if len(self.refused) < MOST_REFUSED:
            self.refused.append((row, reason))

    def refuse_fault(self, row: int, fault: Exception) -> None:
        """Skip a row for an error that its values raised."""
        self.refuse(row, f"{str(fault).rstrip('.')}.")

    def fills_without_order(self) -> Iterator[tuple[int, LoggedFill]]:
        """Yield (number, fill) of the fills whose order the log does not name, by symbol and time."""
        found = self._database.execute("SELECT seq, body FROM fill WHERE order_id = '' ORDER BY symbol, time, seq")
        for seq, body in found:
            yield seq, _FILL.decode(body)

    def orders(self) -> Iterator[LoggedOrder]:
        """Yield the orders by symbol, in the sequence of the rows."""
        for (body,) in self._database.execute("SELECT body FROM orders ORDER BY symbol, seq"):
            yield _ORDER.decode(body)

    def assign(self, order_id: str, fills: Iterable[int]) -> None:
        """Make fills, by their numbers, fills of an order."""
        self._database.executemany("UPDATE fill SET order_id = ? WHERE seq = ?", [(order_id, seq) for seq in fills])

    def remove_order(self, order: LoggedOrder, reason: str) -> None:
        """Remove an order that was added, and refuse its rows."""
        names = (order.symbol, order.order_id)
        self._database.execute("DELETE FROM orders WHERE symbol = ? AND order_id = ?", names)
        self.n_used -= len(order.rows)
        self._refuse_all(order.rows, reason)

    def apply_fees(self) -> set[str]:
        """Replace the fees of the fills by those of `add_fee`; return the keys of fees without a fill."""
        missing = set()
        rows = self._database.execute("SELECT key, amount, currency FROM fee ORDER BY key")
        for key, parts in groupby(rows, key=itemgetter(0)):
            found = self._database.execute("SELECT seq, body FROM fill WHERE key = ?", (key,)).fetchone()
            if found is None:
                missing.add(key)
                continue
            fees = tuple((amount, currency) for _, amount, currency in parts)
            if any(amount is None for amount, _ in fees):  # SQLite keeps a NaN as NULL
                continue
            fill = replace(_FILL.decode(found[1]), fees=fees)
            self._database.execute("UPDATE fill SET body = ? WHERE seq = ?", (_PACK(fill), found[0]))
        return missing

    def finish(self, on_progress: OnProgress = lambda done, total: None) -> None:
        """Join the fills of each order and make the events; orders that do not add up are refused with all rows."""
        names = "SELECT symbol, order_id FROM orders UNION SELECT symbol, order_id FROM fill"
        twice = self._database.execute(f"SELECT order_id FROM ({names}) GROUP BY order_id HAVING count(*) > 1")
        self._shared = frozenset(name for (name,) in twice)
        n_rows, n_done = self.n_used, 0
        for (symbol, order_id), parts in groupby(self._database.execute(_BY_ORDER), key=itemgetter(0, 1)):
            rows = list(parts)
            self._add_events_of_order(f"{symbol}:{order_id}" if order_id in self._shared else order_id, rows)
            if n_done // 1_000 < (n_done + len(rows)) // 1_000:
                on_progress(n_done, n_rows)
            n_done += len(rows)
        found = self._database.execute("SELECT min(time), max(time) FROM event").fetchone()
        self.first, self.last = found[0] or 0, found[1] or 0
        self.refused.sort()
        self.accounts.discard("")
        self._keep_starting_balances()
        for asset, (stated, tolerance) in sorted(self._stated_changes.items()):
            expected = self._changes.get(asset, Decimal())
            least = max(tolerance, Decimal("1e-8"))
            self.balances.append(BalanceCheck(f"{asset}, trades", float(expected), float(stated), float(least)))

    def events(self) -> Iterator[OrderEvent | CashFlowEvent]:
        """Yield the events by time, those of one time in the sequence of the rows."""
        found = self._database.execute("SELECT is_order, body FROM event ORDER BY time, rank, step")
        for is_order, body in found:
            if is_order:
                yield from _ORDER_EVENTS.decode(body)
            else:
                yield _CASH_FLOW.decode(body)

    def _keep_starting_balances(self) -> None:
        first = self._database.execute("SELECT min(time) FROM event").fetchone()[0]
        for currency, (time, balance) in sorted(self._first_balances.items()):
            if first is not None and time < first + 2 * NS_PER_SECOND:
                self.starting_balances[currency] = balance
            else:
                when = f"{from_ns(time):%Y-%m-%d %H:%M:%S}"
                self.notes[f"the first balance of {currency} is of {when}, after the first order: it is not used"] += 1

    def _refuse_all(self, rows: Iterable[int], reason: str) -> None:
        for row in rows:
            self.refuse(row, reason)

    def _add_events_of_order(self, order_id: str, rows: list[tuple[Any, ...]]) -> None:
        order = _ORDER.decode(rows[0][5]) if not rows[0][2] else None
        fills = [_FILL.decode(row[5]) for row in rows if row[2]]
        try:
            events = events_of_order(order_id, order, fills, self.options)
            states = OrderStates()
            for event in events:
                states.apply(event)
        except (ValueError, OverflowError, SessionError) as error:
            numbers = [*(order.rows if order else ()), *(number for fill in fills for number in fill.rows)]
            self.n_used -= len(numbers)
            for number in numbers:
                self.refuse_fault(number, error)
            return
        rank = min(row[4] for row in rows)
        for step, (time, part) in enumerate(groupby(events, key=attrgetter("ts_event"))):
            self._database.execute("INSERT INTO event VALUES (?, ?, ?, 1, ?)", (time, rank, step, _PACK(list(part))))
        self._count_events(events)
        self._count(events)

    def _count_events(self, events: Sequence[OrderEvent | CashFlowEvent]) -> None:
        self.n_events += len(events)
        self.symbols.add(events[0].symbol)
        self.strategies.add(events[0].strategy)

    def _count(self, events: Sequence[OrderEvent]) -> None:
        self.n_orders += 1
        fills = [event for event in events if event.last_quantity]
        self.n_fills += len(fills)
        last = events[-1].event
        is_ended = last in _OUTCOMES
        self.n_open_orders += not is_ended
        outcome = _OUTCOMES.get(last, "open")
        if last is OrderEventKind.FILLED:
            outcome += " in parts" if len(fills) > 1 else ""
        elif fills:
            outcome += " after a partial fill"
        self.outcomes[outcome] += 1
        for fill in fills:
            self.n_unknown_fees += math.isnan(fill.fee)
            self._add_changes(fill)
            if fill.fee_currency and fill.fee_value:
                paid, value = self.converted_fees.get(fill.fee_currency, (0.0, 0.0))
                self.converted_fees[fill.fee_currency] = (paid + fill.fee_paid, value + fill.fee_value)
            elif fill.fee_currency:
                self.other_fees[fill.fee_currency] = self.other_fees.get(fill.fee_currency, 0.0) + fill.fee_paid

    def _add_changes(self, fill: OrderEvent) -> None:
        base, quote = assets_of(fill.symbol)
        signed = Decimal(repr(fill.last_quantity)) * (1 if fill.side is Side.BUY else -1)
        changes = [(base, signed), (quote, -signed * Decimal(repr(fill.last_price)))]
        fees = ((base, fill.fee_in_base), (fill.fee_currency, fill.fee_paid))
        in_quote = 0.0 if fill.fee_in_base or math.isnan(fill.fee) else fill.fee
        changes += [(asset, -Decimal(repr(fee))) for asset, fee in (*fees, (quote, in_quote)) if fee]
        for asset, change in changes:
            self._changes[asset] = self._changes.get(asset, Decimal()) + change


_OUTCOMES = {
    OrderEventKind.FILLED: "filled",
    OrderEventKind.CANCELED: "canceled",
    OrderEventKind.REJECTED: "rejected",
    OrderEventKind.EXPIRED: "expired",
}
_PACK = msgspec.msgpack.Encoder().encode
_FILL, _ORDER = msgspec.msgpack.Decoder(LoggedFill), msgspec.msgpack.Decoder(LoggedOrder)
_ORDER_EVENTS, _CASH_FLOW = msgspec.msgpack.Decoder(list[OrderEvent]), msgspec.msgpack.Decoder(CashFlowEvent)


def _place_of(rows: Sequence[int]) -> str:
    return f"row {rows[0]}" if rows else "an earlier row"
