"""Second opinion: run the same orders through vectorbt, an independent engine, and compare."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from peak_trade.core.arguments import checks_arguments
from peak_trade.core.arrays import FloatArray, IntArray
from peak_trade.core.described import Described
from peak_trade.core.errors import ConfigError
from peak_trade.core.extras import require
from peak_trade.core.time import iso
from peak_trade.core.values import Fill, OrderType
from peak_trade.engine.result import BacktestResult
from peak_trade.journal.events import EndCause, OrderEvent, OrderEventKind, SignalEvent

RTOL_FILL = 1e-8
RTOL_EQUITY = 1e-9
_RESERVE = 1e-7
"""Cash that vectorbt holds besides that of the run, as a fraction of the largest equity.

vectorbt takes cash for zero that is below 1e-9 of a purchase, which is less than a lot can leave.
"""


@dataclass(frozen=True, slots=True, repr=False)
class Opinion(Described):
    """The result of a comparison with vectorbt.

    `scope` is `decisions` if vectorbt decided quantities, prices and fees itself from the targets. In whole lots it
    receives quantities that are counted here from the targets and from the equity that it then confirms, because its
    own rounding loses a lot to float noise. `scope` is `bookkeeping` if vectorbt cannot express the orders (limits,
    stops, partial fills, several symbols, weights, sizing to risk limits): it then books our fills in its own ledger.
    Errors are the largest relative errors; `first_difference` is empty if both agree.
    """

    scope: Literal["decisions", "bookkeeping"]
    n_fills: int
    fill_error: float
    equity_error: float
    first_difference: str

    def description(self) -> tuple[str, dict[str, object]]:
        """Return the comparison as a sentence, and the largest relative errors."""
        return (
            f"Opinion: {self}",
            {
                "fills": f"{self.n_fills:,}",
                "error of fills": f"{self.fill_error:.1e}",
                "error of equity": f"{self.equity_error:.1e}",
            },
        )

    @property
    def agrees(self) -> bool:
        """Whether fills agree to 1e-8 and equity to 1e-9, relative, and quantities in lots to the lot."""
        return not self.first_difference

    def __str__(self) -> str:
        if self.agrees:
            return (
                f"vectorbt agrees ({self.scope}): {self.n_fills:,} fills to {self.fill_error:.1e}, "
                f"equity to {self.equity_error:.1e}"
            )
        return f"vectorbt differs ({self.scope}): {self.first_difference}"


@checks_arguments(result="the result of backtest")
def second_opinion(result: BacktestResult) -> Opinion:
    """Run the same targets through vectorbt, or the same fills if it cannot express the orders, and compare.

    Raises
    ------
    ConfigError
        If vectorbt is not installed, or the run has funding, borrow costs or a bankruptcy, which vectorbt does not
        support.

    """
    require("the second opinion", "vectorbt")
    costs = result.settings.costs
    if costs.has_carry or result.bankrupt_bar is not None:
        raise ConfigError("the run has funding, borrow costs or a bankruptcy, which vectorbt does not support.")
    if _is_expressible(result):
        return _from_targets(result)
    return _from_fills(result)


def _is_expressible(result: BacktestResult) -> bool:
    execution, sizing = result.settings.execution, result.settings.sizing
    if len(result.market.symbols) > 1 or len(result.strategies) > 1 or result.is_weighted:
        return False
    if result.limits is not None and result.limits.size_to_limits:
        return False
    if execution.order_type is not OrderType.MARKET or execution.has_protection or execution.no_trade_band:
        return False
    if sizing.kind != "fraction_of_equity" or result.market.columns[0].instrument.tick_size:
        return False
    bar_of = {int(time): bar for bar, time in enumerate(result.market.times.tolist())}
    decided: dict[str, int] = {}
    signals: set[int] = set()
    beyond = {OrderEventKind.DENIED, OrderEventKind.CANCELED}
    for event in result.events:
        if isinstance(event, SignalEvent):
            signals.add(event.ts_event)
        elif isinstance(event, OrderEvent):
            if event.event is OrderEventKind.REQUESTED and event.ts_event not in signals:
                return False
            if event.event is OrderEventKind.REQUESTED:
                decided[event.order_id] = bar_of[event.ts_event]
            elif event.event in beyond and event.cause is not EndCause.CASH:
                return False
    pairs = zip(result.fill_list, result.fill_bars, strict=True)
    return all(bar == decided[fill.order_id] + 1 for fill, bar in pairs)


def _from_targets(result: BacktestResult) -> Opinion:
    column, n_bars = result.market.columns[0], len(result.market)
    fraction = getattr(result.settings.sizing, "fraction", 1.0)
    targets: dict[int, float] = {}
    for event in result.events:
        if isinstance(event, SignalEvent):
            targets[int(np.searchsorted(result.market.times, event.ts_event))] = event.exposure * fraction
    targets.pop(n_bars - 1, None)
    in_lots = column.instrument.lot_size > 0.0
    orders = _count_lots(result, targets) if in_lots else targets
    reserve = _reserve(result) if in_lots else 0.0
    size = np.full(n_bars, np.nan)
    for bar, order in orders.items():
        size[bar + 1] = order
    portfolio = _portfolio(
        close=column.close,
        size=size,
        size_type="amount" if in_lots else "targetpercent",
        price=column.open,
        val_price=np.concatenate((column.open[:1], column.close[:-1])),
        fees=result.settings.costs.taker_rate,
        slippage=result.settings.costs.slippage_rate,
        init_cash=result.settings.initial_cash + reserve,
        max_orders=max(1, len(orders)),
    )
    bars, values = np.array(result.fill_bars, dtype=np.int64), np.asarray(portfolio.value(), dtype=np.float64)
    return _compare(result, "decisions", portfolio, bars, values - reserve)


def _count_lots(result: BacktestResult, targets: dict[int, float]) -> dict[int, float]:
    """Return the signed quantity that each target orders, base units, by the bar of its decision.

    Positions are whole numbers of lots and therefore exact. Equity is that of the run; a wrong one differs from the
    equity that vectorbt computes from these quantities.
    """
    column, costs = result.market.columns[0], result.settings.costs
    lot, held, orders = column.instrument.lot_size, 0, {}
    for bar, target in targets.items():
        equity, close = float(result.equity_values[bar]), float(column.close[bar])
        change = _whole_lots(target * equity / close / lot) - held
        if change > 0:
            unit_cost = float(column.open[bar + 1]) * (1.0 + costs.slippage_rate) * (1.0 + costs.taker_rate)
            affordable = _whole_lots((equity - held * lot * close) / unit_cost / lot)
            change = min(change, max(affordable, -held))
        if change:
            orders[bar] = change * lot
            held += change
    return orders


def _whole_lots(n_lots: float) -> int:
    """Return a number of lots rounded toward zero; a number that is whole but for float noise stays."""
    noise = 1e-9 + 4.0 * sys.float_info.epsilon * abs(n_lots)
    return int(math.copysign(math.floor(abs(n_lots) + noise), n_lots))


def _from_fills(result: BacktestResult) -> Opinion:
    """Run each fill as a bar of its own: a bar with three fills becomes three bars, the last of which is its close."""
    market, n_bars = result.market, len(result.market)
    bars = np.array(result.fill_bars, dtype=np.int64)
    n_places = np.maximum(np.bincount(bars, minlength=n_bars), 1)
    last_place = np.cumsum(n_places) - 1
    earlier = np.arange(bars.size) - np.searchsorted(bars, bars)
    places = last_place[bars] - n_places[bars] + 1 + earlier
    shape = (int(last_place[-1]) + 1, len(market.symbols))
    size, price, fees = np.full(shape, np.nan), np.full(shape, np.nan), np.zeros(shape)
    for place, fill in zip(places, result.fill_list, strict=True):
        cell = (place, market.symbols.index(fill.symbol))
        size[cell], price[cell] = fill.signed_quantity, fill.price
        fees[cell] = fill.fee / (fill.quantity * fill.price)
    bar_of = np.repeat(np.arange(n_bars), n_places)
    close = np.column_stack([column.mark[bar_of] for column in market.columns])
    portfolio = _portfolio(
        close=close,
        size=size,
        size_type="amount",
        price=np.where(np.isnan(price), close, price),
        fees=fees,
        init_cash=result.settings.initial_cash + _reserve(result),
        max_orders=max(1, bars.size),
        cash_sharing=True,
        group_by=True,
    )
    equity = np.asarray(portfolio.value(), dtype=np.float64)[last_place] - _reserve(result)
    return _compare(result, "bookkeeping", portfolio, places, equity)


def _reserve(result: BacktestResult) -> float:
    return _RESERVE * max(result.settings.initial_cash, float(result.equity_values.max()))


def _portfolio(close: FloatArray, **orders: Any) -> Any:
    import pandas as pd
    import vectorbt as vbt

    index = pd.RangeIndex(len(close))
    frame = pd.Series(close, index=index) if close.ndim == 1 else pd.DataFrame(close, index=index)
    return vbt.Portfolio.from_orders(frame, direction="both", freq="1h", **orders)


def _compare(
    result: BacktestResult,
    scope: Literal["decisions", "bookkeeping"],
    portfolio: Any,
    places: IntArray,
    equity: FloatArray,
) -> Opinion:
    theirs = np.sort(portfolio.orders.records_arr, order="idx")
    ours = result.fill_list
    fill_error, first = 0.0, ""
    if len(theirs) != len(ours):
        first = f"we have {len(ours):,} fills, vectorbt {len(theirs):,}"
    lots = {
        symbol: column.instrument.lot_size
        for symbol, column in zip(result.market.symbols, result.market.columns, strict=True)
    }
    for fill, place, entry in zip(ours, places, theirs, strict=False):
        error, difference = _fill_difference(fill, int(place), entry, lots[fill.symbol])
        fill_error = max(fill_error, error)
        if difference:
            first = difference
            break
    errors = np.abs(equity - result.equity_values) / np.abs(equity)
    worst = int(errors.argmax())
    if not first and not errors[worst] <= RTOL_EQUITY:
        bar = int(np.flatnonzero(~(errors <= RTOL_EQUITY))[0])
        when = iso(int(result.market.times[bar]))
        first = f"equity at {when} is {result.equity_values[bar]!r} here and {float(equity[bar])!r} in vectorbt"
    return Opinion(scope, len(ours), fill_error, float(errors[worst]), first)


def _fill_difference(fill: Fill, place: int, entry: Any, lot: float) -> tuple[float, str]:
    name = f"fill of {fill.order_id} at {iso(fill.ts_event)}"
    if int(entry["idx"]) != place or (int(entry["side"]) == 0) != (fill.signed_quantity > 0.0):
        return 0.0, f"{name}: {fill.side.value} in row {place} here, another side or row ({entry['idx']}) in vectorbt"
    pairs = (
        ("quantity", fill.quantity, float(entry["size"])),
        ("price", fill.price, float(entry["price"])),
        ("fee", fill.fee, float(entry["fees"])),
    )
    largest = 0.0
    for label, here, there in pairs:
        error = abs(here - there) / max(abs(there), 1e-300) if here != there else 0.0
        largest = max(largest, error)
        is_another_lot = label == "quantity" and lot > 0.0 and abs(here - there) > max(lot / 2.0, math.ulp(there))
        if not error <= RTOL_FILL or is_another_lot:
            return largest, f"{name}: {label} is {here!r} here and {there!r} in vectorbt"
    return largest, ""
