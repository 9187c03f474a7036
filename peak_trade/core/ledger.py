"""Cash and positions, and the conservation law between them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from peak_trade.core.errors import LedgerError
from peak_trade.core.rounding import remove_noise
from peak_trade.core.values import Fill


@dataclass(slots=True)
class Position:
    """Signed quantity in base units, its average entry price and the PnL realised before fees, in quote currency."""

    quantity: float = 0.0
    average_price: float = 0.0
    realised: float = 0.0


@dataclass(slots=True)
class Ledger:
    """Cash in one currency and the positions of an account.

    Conservation law, at every event: equity = initial cash + realised + unrealised - fees + other flows.
    """

    initial_cash: float
    cash: float = field(init=False)
    fees: float = 0.0
    other_flows: float = 0.0
    positions: dict[str, Position] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not (math.isfinite(self.initial_cash) and self.initial_cash > 0.0):
            raise LedgerError(f"initial cash was {self.initial_cash}: start with a finite amount above zero.")
        self.cash = self.initial_cash

    def quantity(self, symbol: str) -> float:
        """Return the signed quantity held of a symbol."""
        position = self.positions.get(symbol)
        return position.quantity if position else 0.0

    def apply(self, fill: Fill, lot: float = 0.0) -> float:
        """Book a fill and return the PnL that it realised before its fee, in quote currency.

        Parameters
        ----------
        fill : Fill
            A fee in base units is taken from the position, not from the cash.
        lot : float
            Lot size, base units. A position of whole lots stays one: float noise is removed. 0.0: there is no lot.

        Raises
        ------
        LedgerError
            When a number is not finite, the quantity is zero, or a fee in base units is not below the quantity.

        """
        signed = fill.signed_quantity
        if not (
            math.isfinite(signed)
            and fill.quantity > abs(fill.fee_in_base)
            and math.isfinite(fill.price)
            and math.isfinite(fill.fee)
        ):
            raise LedgerError(
                f"{fill.order_id}: a fill of {fill.quantity} at {fill.price}, fee {fill.fee}, can't be booked."
            )
        position = self.positions.get(fill.symbol)
        if position is None:
            position = self.positions[fill.symbol] = Position()
        self.cash -= signed * fill.price
        if fill.fee_in_base == 0.0:
            self.cash -= fill.fee
        self.fees += fill.fee
        realised = _move(position, fill.position_change, fill.price, lot)
        position.realised += realised
        return realised

    def add_cash(self, amount: float) -> None:
        """Book a cash flow that is not a fill: funding or borrow cost (negative: paid), or a write-off."""
        self.cash += amount
        self.other_flows += amount

    def equity(self, marks: dict[str, float]) -> float:
        """Return cash plus every position at its mark, in quote currency; symbols are added in sorted order."""
        total = self.cash
        for symbol in sorted(self.positions):
            quantity = self.positions[symbol].quantity
            if quantity:
                total += quantity * marks[symbol]
        return total

    def conservation_error(self, marks: dict[str, float]) -> float:
        """Return equity − (initial cash + PnL − fees + other flows), in quote currency; 0 up to rounding."""
        earned = sum(p.realised + _unrealised(p, marks.get(symbol, 0.0)) for symbol, p in self.positions.items())
        return self.equity(marks) - (self.initial_cash + earned - self.fees + self.other_flows)


def _move(position: Position, signed: float, price: float, lot: float) -> float:
    held = position.quantity
    total = remove_noise(held + signed, lot, signed)
    if held == 0.0 or (held > 0.0) == (signed > 0.0):
        position.average_price = (position.average_price * held + price * signed) / (held + signed)
        position.quantity = total
        return 0.0
    closed = math.copysign(min(abs(held), abs(signed)), held)
    realised = closed * (price - position.average_price)
    position.quantity = total
    if position.quantity == 0.0:
        position.average_price = 0.0
    elif (position.quantity > 0.0) != (held > 0.0):
        position.average_price = price
    return realised


def _unrealised(position: Position, mark: float) -> float:
    return position.quantity * (mark - position.average_price) if position.quantity else 0.0
