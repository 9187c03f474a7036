"""The ledger of a journal, computed from its events alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from peak_trade.core.errors import LedgerError
from peak_trade.core.ledger import Ledger
from peak_trade.core.values import Fill, Side
from peak_trade.journal.events import BankruptcyEvent, BarEvent, CashFlowEvent, Event, OrderEvent


def ledger_from_events(events: Iterable[Event], initial_cash: float, lots: Mapping[str, float] | None = None) -> Ledger:
    """Return cash and positions after all events, starting from the initial cash in quote currency.

    `lots` are lot sizes by symbol, base units; positions of such a symbol stay on its lots.

    Raises
    ------
    LedgerError
        When a fill can not be booked, or a bankruptcy closes a position of a symbol without a bar.

    """
    ledger = Ledger(initial_cash)
    marks: dict[str, float] = {}
    for event in events:
        if isinstance(event, BarEvent):
            marks[event.symbol] = event.close
        elif isinstance(event, OrderEvent) and event.last_quantity > 0.0:
            ledger.apply(_fill(event), (lots or {}).get(event.symbol, 0.0))
        elif isinstance(event, CashFlowEvent):
            ledger.add_cash(event.amount)
        elif isinstance(event, BankruptcyEvent):
            for symbol, held in ledger.positions.items():
                if held.quantity:
                    if symbol not in marks:
                        raise LedgerError(f"{symbol}: there is no bar to close the position at.")
                    ledger.apply(_closing(event.ts_event, symbol, held.quantity, marks[symbol]))
            ledger.add_cash(-ledger.cash)
    return ledger


def _fill(event: OrderEvent) -> Fill:
    return Fill(
        event.order_id,
        event.ts_event,
        event.strategy,
        event.symbol,
        event.side,
        event.last_quantity,
        event.last_price,
        event.fee,
        event.arrival_price,
        event.decision_price,
        event.reason,
        event.fee_in_base,
    )


def _closing(now: int, symbol: str, quantity: float, mark: float) -> Fill:
    side = Side.SELL if quantity > 0.0 else Side.BUY
    return Fill("liquidation", now, "", symbol, side, abs(quantity), mark, 0.0, mark, mark, "bankrupt")
