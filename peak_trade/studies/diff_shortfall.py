"""Implementation shortfall: what an order cost against having all of it at its decision price, at once and for free.

Perold, A. F. (1988), The implementation shortfall: paper versus reality, Journal of Portfolio Management 14(3), 4-9.
With s the side, Q ordered, q filled, P_d the decision price, P_a the price met on arrival and P_end the last close:

    delay = s q (P_a - P_d)          trading = s sum q_i (p_i - P_a)
    opportunity = s (Q - q) (P_end - P_d)          fees

Their sum is the paper PnL, s Q (P_end - P_d), less the actual one, s sum q_i (P_end - p_i) - fees.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from peak_trade.studies.diff_sides import Life

COLUMNS = ("order_id", "symbol", "side", "quantity", "filled", "delay", "trading", "opportunity", "fees", "shortfall")


@dataclass(frozen=True, slots=True)
class Shortfall:
    """The four parts of an order's implementation shortfall, quote currency; positive is a cost."""

    delay: float
    trading: float
    opportunity: float
    fees: float

    @property
    def total(self) -> float:
        """Paper PnL less actual PnL."""
        return self.delay + self.trading + self.opportunity + self.fees


def shortfall(life: Life, last_close: float) -> Shortfall:
    """Return the implementation shortfall of one order, what was not filled marked at the last close."""
    sign, filled = life.side.sign, life.filled
    return Shortfall(
        delay=sign * filled * (life.arrival_price - life.decision_price),
        trading=sign * sum(abs(fill.quantity) * (fill.price - life.arrival_price) for fill in life.fills),
        opportunity=sign * (life.quantity - filled) * (last_close - life.decision_price),
        fees=life.fee,
    )


def shortfall_frame(lives: Sequence[Life], closes: Mapping[str, float]) -> pd.DataFrame:
    """Return the shortfall of every order, shape (n_orders, 10), quote currency; `closes` by symbol."""
    rows = []
    for life in lives:
        parts = shortfall(life, closes[life.symbol])
        row = (life.order_id, life.symbol, str(life.side), life.quantity, life.filled)
        rows.append((*row, parts.delay, parts.trading, parts.opportunity, parts.fees, parts.total))
    return pd.DataFrame(rows, columns=list(COLUMNS))
