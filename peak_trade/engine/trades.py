"""Tables of fills and of trades: a trade is a round trip, flat to flat."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import pandas as pd

from peak_trade.core.values import Fill

TRADE_COLUMNS = (
    "strategy",
    "symbol",
    "side",
    "entry_time",
    "exit_time",
    "quantity",
    "entry_price",
    "exit_price",
    "pnl",
    "fees",
    "return",
    "exit_reason",
)


def fills_frame(fill_list: Sequence[Fill]) -> pd.DataFrame:
    """Return one row a fill, in the order in which they happened; `ts_event` as UTC times, sides as text."""
    names = [part.name for part in fields(Fill)]
    table = pd.DataFrame([[getattr(fill, name) for name in names] for fill in fill_list], columns=names)
    table["ts_event"] = pd.to_datetime(table["ts_event"].astype("int64"), unit="ns", utc=True)
    table["side"] = [fill.side.value for fill in fill_list]
    return table


@dataclass(slots=True)
class _OpenTrade:
    side: int
    entry_time: int
    quantity: float = 0.0
    open_quantity: float = 0.0
    paid: float = 0.0
    received: float = 0.0
    closed: float = 0.0
    fees: float = 0.0


def trades_frame(fill_list: Sequence[Fill]) -> pd.DataFrame:
    """Return one row a closed trade, by exit time.

    `pnl` is before fees and `fees` are all its fees, quote currency; `return` is their difference over the entry
    notional. A flip closes one trade and opens the next, its fee shared by quantity. A trade still open at the end is
    not in the table.
    """
    held: dict[tuple[str, str], _OpenTrade] = {}
    rows: list[tuple[object, ...]] = []
    for fill in fill_list:
        key = (fill.strategy, fill.symbol)
        sign, left, fee_left = fill.side.sign, fill.quantity, fill.fee
        trade = held.get(key)
        if trade is not None and trade.side != sign:
            closing = min(left, trade.open_quantity)
            fee = fee_left * closing / left
            trade.received += closing * fill.price
            trade.closed += closing
            trade.open_quantity -= closing
            trade.fees += fee
            left, fee_left = left - closing, fee_left - fee
            if trade.open_quantity <= 1e-12 * trade.quantity:
                rows.append(_closed(key, trade, fill))
                del held[key]
                trade = None
        if left > 1e-12 * fill.quantity:
            if trade is None:
                trade = held[key] = _OpenTrade(sign, fill.ts_event)
            trade.quantity += left
            trade.open_quantity += left
            trade.paid += left * fill.price
            trade.fees += fee_left
    table = pd.DataFrame(rows, columns=list(TRADE_COLUMNS))
    for name in ("entry_time", "exit_time"):
        table[name] = pd.to_datetime(table[name].astype("int64"), unit="ns", utc=True)
    return table


def _closed(key: tuple[str, str], trade: _OpenTrade, fill: Fill) -> tuple[object, ...]:
    pnl = trade.side * (trade.received - trade.paid)
    side = "long" if trade.side > 0 else "short"
    entry, exit_ = trade.paid / trade.quantity, trade.received / trade.closed
    return (
        *key,
        side,
        trade.entry_time,
        fill.ts_event,
        trade.quantity,
        entry,
        exit_,
        pnl,
        trade.fees,
        (pnl - trade.fees) / trade.paid,
        fill.reason,
    )
