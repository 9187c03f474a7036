"""False alarms of the liquidity gates, counted on orders that recorded data labels as safe or unsafe.

The labels look ahead and do not depend on the gates: `BAR_RULE` and `BOOK_RULE` define when an order is *unsafe*.
Orders are market orders of both sides at random bars or books; their notionals are uniform on a logarithmic scale.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from peak_trade.core.bars import Bars
from peak_trade.core.errors import DataError
from peak_trade.core.history import DailyHistory
from peak_trade.core.values import AccountView, Instrument, MarketView, Order, OrderBook, Side
from peak_trade.risk.gate import GateChain
from peak_trade.risk.limits import LiquidityLimits, RiskLimits
from peak_trade.risk.liquidity import mid_price, walk
from peak_trade.risk.review import ApprovedOrder, review
from peak_trade.wiring.gates import gate_chain

N_BARS_AHEAD = 12
PARTICIPATION = 0.1
MOST_BOOK_COST = 0.001
BAR_RULE = (
    f"On bars an order is unsafe if it is larger than {PARTICIPATION:.0%} of the volume of the next {N_BARS_AHEAD} "
    "bars."
)
BOOK_RULE = (
    "On recorded books an order is unsafe if the next book, a second later, does not have enough quantity for it, or "
    f"would fill it more than {MOST_BOOK_COST:.1%} from its mid."
)
LABEL_RULES = (BAR_RULE, BOOK_RULE)
BAR_NOTIONALS = (100.0, 1_000_000.0)
"""Smallest and largest order drawn on bars, quote currency."""
BOOK_NOTIONALS = {"small": (100.0, 10_000.0), "large": (100.0, 1_000_000.0)}
"""Notional ranges of the two sets drawn on books. On the recorded books no small order and one large order in seven is
unsafe."""
_FIRST_DAY = 7
_NS_PER_MS = 1_000_000


def labelled_orders(
    bars: Sequence[Bars], rules: LiquidityLimits | None = None, books: Sequence[OrderBook] = (), symbol: str = ""
) -> pd.DataFrame:
    """Return labelled orders: 2,000 on the bars of each symbol and, with books, 2,000 small and 2,000 large ones.

    Parameters
    ----------
    bars : sequence of Bars
    rules : LiquidityLimits
        Defaults to LiquidityLimits(). Applied with `book = "absent"` on bars, and with `book = "declared"` on books,
        there without the limits on shares of volume, which a recording of minutes does not contain.
    books : sequence of OrderBook
        One book of `symbol` per second.
    symbol : str
        Symbol of the books.

    Returns
    -------
    DataFrame of shape (n_orders, 4)
        See `bar_orders` and `book_orders`; `drawn_from` names the set.

    """
    rules = rules or LiquidityLimits()
    on_bars = RiskLimits(liquidity=rules.model_copy(update={"book": "absent"}))
    shares = {"max_daily_volume_share": None, "max_bar_volume_share": None}
    on_books = RiskLimits(liquidity=rules.model_copy(update={"book": "declared"} | shares))
    drawn = [bar_orders(part, on_bars) for part in bars]
    for name, notionals in BOOK_NOTIONALS.items() if books else ():
        orders = book_orders(books, symbol, on_books, notionals=notionals)
        drawn.append(orders.assign(drawn_from=f"{symbol} books, {name}"))
    return pd.concat(drawn, ignore_index=True)


def bar_orders(
    bars: Bars,
    limits: RiskLimits,
    n_orders: int = 2_000,
    notionals: tuple[float, float] = BAR_NOTIONALS,
    seed: int = 1,
) -> pd.DataFrame:
    """Return labelled orders on bars, with the answers of the gates.

    Parameters
    ----------
    bars : Bars
        At least eight days.
    limits : RiskLimits
        With `liquidity.book = "absent"`: spread and slippage come from the model.
    n_orders : int
    notionals : (float, float)
        Smallest and largest notional, in quote currency.
    seed : int
        Seed of the bars, notionals and sides.

    Returns
    -------
    DataFrame of shape (n_orders, 4): drawn_from, notional (quote currency), is_unsafe, is_denied

    Raises
    ------
    DataError
        When there are too few bars.

    """
    record = DailyHistory([bars], "daily", 2)
    rng = np.random.default_rng(seed)
    close, volume = bars.frame["close"].to_numpy(), bars.frame["volume"].to_numpy()
    per_day = round(86_400 / bars.timeframe.seconds)
    first, last = _FIRST_DAY * per_day, len(bars) - N_BARS_AHEAD - 1
    if first >= last:
        raise DataError(f"{bars.symbol}: {len(bars)} bars are too few to draw orders from; give at least eight days.")
    so_far = np.concatenate(([0.0], np.cumsum(volume)))
    gates = gate_chain(limits)
    drawn = []
    for place, notional, side in _draws(rng, n_orders, (first, last), notionals):
        quantity = notional / float(close[place])
        now = int(bars.times[place])
        daily_volume, volatility = record.activity_at(bars.symbol, now)
        market = MarketView(
            now,
            Instrument(bars.symbol),
            float(close[place]),
            float(volume[place]),
            now,
            average_daily_volume=daily_volume,
            daily_volatility=volatility,
        )
        ahead = float(so_far[place + 1 + N_BARS_AHEAD] - so_far[place + 1])
        drawn.append(
            (
                f"{bars.symbol} bars",
                notional,
                quantity > PARTICIPATION * ahead,
                _is_denied(quantity, side, market, gates, limits),
            )
        )
    return pd.DataFrame(drawn, columns=_COLUMNS)


def book_orders(
    books: Sequence[OrderBook],
    symbol: str,
    limits: RiskLimits,
    n_orders: int = 2_000,
    notionals: tuple[float, float] = BOOK_NOTIONALS["small"],
    seed: int = 1,
) -> pd.DataFrame:
    """Return labelled orders on recorded books, with the answers of the gates; see `bar_orders`.

    `books` has one book per second and at least two. `limits` has `liquidity.book = "declared"` and no limit on shares
    of volume, which a recording of minutes does not contain.
    """
    if len(books) < 2:
        raise DataError(
            f"{symbol}: {len(books)} books are too few to label an order by the next one. Give at least two."
        )
    rng = np.random.default_rng(seed)
    gates = gate_chain(limits)
    drawn = []
    for place, notional, side in _draws(rng, n_orders, (0, len(books) - 1), notionals):
        book, later = books[place], books[place + 1]
        price = mid_price(book)
        quantity = notional / price
        now = book.ts_event + _NS_PER_MS
        market = MarketView(now, Instrument(symbol), price, 0.0, now, book=book)
        levels = later.asks if side is Side.BUY else later.bids
        cost = abs(walk(levels, quantity) / mid_price(later) - 1.0)
        drawn.append(
            (f"{symbol} books", notional, cost > MOST_BOOK_COST, _is_denied(quantity, side, market, gates, limits))
        )
    return pd.DataFrame(drawn, columns=_COLUMNS)


def read_books(path: Path, n_levels: int = 20) -> list[OrderBook]:
    """Read order books from a Parquet file, one row per book.

    The columns are timestamp (UTC) and, for each level from 0 on, bid_px_0, bid_qty_0, ask_px_0 and ask_qty_0.

    Raises
    ------
    DataError
        If there is no such file, or it has other columns.

    """
    try:
        frame = pd.read_parquet(path)
        times = pd.DatetimeIndex(frame["timestamp"]).as_unit("ns").asi8.tolist()
        sides = [
            np.stack(
                [frame[[f"{side}_{part}_{level}" for level in range(n_levels)]].to_numpy() for part in ("px", "qty")], 2
            )
            for side in ("bid", "ask")
        ]
    except (OSError, KeyError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{path}: this is not a Parquet file of order books of {n_levels} levels ({reason}).") from None
    return [
        OrderBook(now, tuple(map(tuple, bids)), tuple(map(tuple, asks)))
        for now, bids, asks in zip(times, sides[0].tolist(), sides[1].tolist(), strict=True)
    ]


def confusion(orders: pd.DataFrame) -> pd.DataFrame:
    """Return the confusion matrix of labelled orders: one row per set and one for all orders.

    Returns
    -------
    DataFrame: drawn_from, false_positives, misses, n_orders, denied_unsafe, denied_safe, passed_unsafe, passed_safe
        `false_positives` is the share of the safe orders that were denied, `misses` the share of the unsafe orders that
        passed; NaN when there are no such orders. The other columns are counts.

    """
    rows = []
    for name, part in [*orders.groupby("drawn_from", sort=False), ("all", orders)]:
        unsafe, denied = part["is_unsafe"].to_numpy(), part["is_denied"].to_numpy()
        cells = {
            "denied_unsafe": int((denied & unsafe).sum()),
            "denied_safe": int((denied & ~unsafe).sum()),
            "passed_unsafe": int((~denied & unsafe).sum()),
            "passed_safe": int((~denied & ~unsafe).sum()),
        }
        shares = {
            "false_positives": _share(cells["denied_safe"], cells["passed_safe"]),
            "misses": _share(cells["passed_unsafe"], cells["denied_unsafe"]),
        }
        rows.append({"drawn_from": name} | shares | {"n_orders": len(part)} | cells)
    return pd.DataFrame(rows)


_COLUMNS = ["drawn_from", "notional", "is_unsafe", "is_denied"]


def _share(n_wrong: int, n_right: int) -> float:
    return n_wrong / (n_wrong + n_right) if n_wrong + n_right else math.nan


def _draws(
    rng: np.random.Generator, n_orders: int, places: tuple[int, int], notionals: tuple[float, float]
) -> list[tuple[int, float, Side]]:
    rows = rng.integers(*places, n_orders)
    sizes = np.exp(rng.uniform(np.log(notionals[0]), np.log(notionals[1]), n_orders))
    buys = rng.random(n_orders) < 0.5
    return [
        (int(row), float(size), Side.BUY if is_buy else Side.SELL)
        for row, size, is_buy in zip(rows, sizes, buys, strict=True)
    ]


def _is_denied(quantity: float, side: Side, market: MarketView, gates: GateChain, limits: RiskLimits) -> bool:
    order = Order("o-1", market.as_of, "drawn", market.instrument.symbol, side, quantity, market.decision_price)
    account = AccountView(1e9, 1e9, {}, {})
    return not isinstance(review(order, account, market, gates, limits), ApprovedOrder)
