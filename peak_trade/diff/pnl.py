"""What each order, and each way in which two orders differ, contributed to the PnL.

An order's contribution is q (P_end - p) - fee, with q its signed fill, p its average price and P_end the last close
that both sides saw. The difference of two contributions is split by midpoints: a product a b changes by mean(a) times
the change of b plus mean(b) times the change of a, exactly; and with the sides swapped by exactly the opposite.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from peak_trade.diff.order_histories import Life


@dataclass(frozen=True, slots=True)
class Parts:
    """What changed the contribution of an order from shadow to live, quote currency; the parts sum to the change.

    `side`: the direction; `quantity`: what was ordered; `filled`: the share of it that was filled; `price`: the fill
    price; `fee`: the fee rate; `mark`: the last close.
    """

    side: float = 0.0
    quantity: float = 0.0
    filled: float = 0.0
    price: float = 0.0
    fee: float = 0.0
    mark: float = 0.0

    @property
    def total(self) -> float:
        """The whole change."""
        return self.side + self.quantity + self.filled + self.price + self.fee + self.mark


def contribution(life: Life, last_close: float) -> float:
    """Return q (P_end - p) - fee summed over an order's fills, quote currency; q without a fee in base units."""
    gross = sum(fill.quantity * (last_close - fill.price) - fill.fee for fill in life.fills)
    return gross - _forgone(life, last_close)


def fee_rate(life: Life) -> float:
    """Return the fees as a fraction of the notional filled; 0.0 when nothing was."""
    notional = life.filled * life.price
    return life.fee / notional if notional else 0.0


def split_contribution(shadow: Life, live: Life, shadow_close: float, live_close: float) -> Parts:
    """Return the change of an order's contribution from shadow to live, by what differs.

    Parameters
    ----------
    shadow, live : Life
        One order on both sides.
    shadow_close, live_close : float
        The last close as each side saw it.

    """
    if shadow.side is not live.side or shadow.has_mixed_sides or live.has_mixed_sides:
        return Parts(side=contribution(live, live_close) - contribution(shadow, shadow_close))
    filled = (shadow.filled, live.filled)
    if not any(filled):
        return Parts()
    sign = float(shadow.side.sign)
    prices = _both(shadow.price, live.price, filled)
    rates = _both(fee_rate(shadow), fee_rate(live), filled)
    edges = (shadow_close - prices[0], live_close - prices[1])
    notionals = (filled[0] * prices[0], filled[1] * prices[1])
    worth = sign * _mean(edges) - _mean(rates) * _mean(prices)
    shares = (filled[0] / shadow.quantity, filled[1] / live.quantity)
    change = prices[1] - prices[0]
    return Parts(
        quantity=_mean(shares) * (live.quantity - shadow.quantity) * worth,
        filled=_mean((shadow.quantity, live.quantity)) * (shares[1] - shares[0]) * worth,
        price=-(sign + _mean(rates)) * _mean(filled) * change,
        fee=-(rates[1] - rates[0]) * _mean(notionals) - _forgone(live, live_close) + _forgone(shadow, shadow_close),
        mark=sign * _mean(filled) * (live_close - shadow_close),
    )


def _forgone(life: Life, last_close: float) -> float:
    """What the base units that fees took would have earned since, quote currency."""
    return sum(fill.fee_in_base * (last_close - fill.price) for fill in life.fills if fill.fee_in_base)


def _both(shadow: float, live: float, filled: tuple[float, float]) -> tuple[float, float]:
    """A side that filled nothing has no price of its own: the other's stands in and nothing changes."""
    return (shadow if filled[0] else live, live if filled[1] else shadow)


def _mean(pair: tuple[float, float]) -> float:
    return 0.5 * (pair[0] + pair[1])


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
