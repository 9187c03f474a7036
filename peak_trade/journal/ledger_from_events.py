"""The ledger of a journal, computed from its events alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from peak_trade.core.errors import LedgerError
from peak_trade.core.ledger import Ledger
from peak_trade.core.values import Fill, Side
from peak_trade.journal.events import BankruptcyEvent, BarEvent, CashFlowEvent, Event, OrderEvent


class LedgerFromEvents:
    """Cash and positions after the events that were booked, and the last close of each symbol.

    Parameters
    ----------
    initial_cash : float
        Cash at the start, quote currency.
    lots : mapping of str to float
        Lot sizes by symbol, base units; positions of such a symbol stay on its lots.

    """

    def __init__(self, initial_cash: float, lots: Mapping[str, float]) -> None:
        self.ledger = Ledger(initial_cash)
        self.marks: dict[str, float] = {}
        self._lots = lots

    def book(self, event: Event) -> None:
        """Book the next event.

        Raises
        ------
        LedgerError
            When a fill can not be booked, or a bankruptcy closes a position of a symbol without a bar.

        """
        if isinstance(event, BarEvent):
            self.marks[event.symbol] = event.close
        elif isinstance(event, OrderEvent) and event.last_quantity > 0.0:
            self.ledger.apply(_fill(event), self._lots.get(event.symbol, 0.0))
        elif isinstance(event, CashFlowEvent):
            self.ledger.add_cash(event.amount)
        elif isinstance(event, BankruptcyEvent):
            for symbol, held in self.ledger.positions.items():
                if held.quantity:
                    if symbol not in self.marks:
                        raise LedgerError(f"{symbol}: there is no bar to close the position at.")
                    self.ledger.apply(_closing(event.ts_event, symbol, held.quantity, self.marks[symbol]))
            self.ledger.add_cash(-self.ledger.cash)


def ledger_from_events(events: Iterable[Event], initial_cash: float, lots: Mapping[str, float] | None = None) -> Ledger:
    """Return cash and positions after all events; parameters and errors as of `LedgerFromEvents`."""
    booked = LedgerFromEvents(initial_cash, lots or {})
    for event in events:
        booked.book(event)
    return booked.ledger


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
