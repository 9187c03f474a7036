"""Faults planted into the logs of our own runs, and what a diff makes of them.

`python -m tests.diff.log_faults [SEEDS]` prints recall, precision and wrong explanations.
"""

from __future__ import annotations

import math
import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from peak_trade.core.bars import Bars
from peak_trade.data.sample import sample_bars
from peak_trade.diff.causes import Cause
from peak_trade.diff.external import LogBars, recording_of_log
from peak_trade.diff.recording import Recording, recording_of
from peak_trade.diff.result import Difference, DiffResult, diff
from peak_trade.engine.settings import BacktestSettings
from peak_trade.strategies.ma_crossover import MaCrossover
from peak_trade.studies.backtest import backtest
from tests.diff.external_logs import WRITERS, LoggedOrder, orders_in, written_and_read
from tests.diff.measuring import Count

SYMBOLS = ("BTC/USDT", "ETH/USDT")
SETTINGS = BacktestSettings.parse(
    {"costs": {"max_participation": None}, "sizing": {"kind": "fraction_of_equity", "fraction": 0.4}}, "test"
)
SECOND = 1_000_000_000
MINUTE = 60 * SECOND


@dataclass(frozen=True, slots=True)
class PlantedFault:
    """Cause and kind of the root that a fault should have, its order, and whether only one run has that order."""

    cause: Cause
    kind: str
    order_id: str
    is_lone: bool = False


@cache
def bars_of(seed: int, n_bars: int = 400) -> dict[str, Bars]:
    """Generated hourly bars of two symbols."""
    found = {}
    for symbol in SYMBOLS:
        whole = sample_bars(symbol, n_bars=n_bars + 300 * seed)
        found[symbol] = Bars(whole.frame.iloc[300 * seed :], symbol, whole.timeframe, whole.exchange)
    return found


@cache
def run_of(seed: int) -> Recording:
    """A backtest over the bars of a seed."""
    result = backtest(MaCrossover(fast=5, slow=15), list(bars_of(seed).values()), SETTINGS)
    return recording_of(result, "run")


def clean_log(run: Recording, rng: random.Random) -> list[LoggedOrder]:
    """The orders of a run 1 to 5 seconds late, at prices that differ by up to 1 bp."""
    orders = []
    for order in orders_in(run.events):
        late, factor = rng.randrange(SECOND, 5 * SECOND), 1.0 + rng.uniform(-1e-4, 1e-4)
        orders.append(
            replace(order, submitted=order.submitted + late, ended=order.ended + late + SECOND // 10,
                    price=order.price * factor, fee=order.fee * factor)
        )  # fmt: skip
    return orders


def log_recording(orders: Sequence[LoggedOrder], run: Recording, bars: dict[str, Bars], form: str) -> Recording:
    """The recording of orders that were written in a format and read again."""
    events = written_and_read(orders, form)
    cash = {"trading.initial_cash": run.settings["trading.initial_cash"]}
    return recording_of_log("log", events, LogBars(bars, bars), cash)


def market_price(bars: Bars, time: int, rng: random.Random) -> float:
    """A price at a time on a path from the open to the close of its bar that stays within the bar."""
    bar = int(np.searchsorted(bars.times, time, side="right"))
    open_, high, low, close = bars.frame.iloc[bar, :4]
    elapsed = 1.0 - (int(bars.times[bar]) - time) / bars.timeframe.ns
    spread = 0.3 * (high - low) * math.sqrt(elapsed * (1.0 - elapsed))
    return float(np.clip(open_ + (close - open_) * elapsed + spread * rng.gauss(0.0, 1.0), low, high))


def late(orders: list[LoggedOrder], at: int, rng: random.Random, bars: dict[str, Bars]) -> PlantedFault:
    order = orders[at]
    delay = rng.choice([rng.randrange(20, 50), rng.randrange(65, 110)]) * MINUTE
    sign = 1 if order.side == "buy" else -1
    price = market_price(bars[order.symbol], order.ended + delay, rng) * (1.0 + 5e-4 * sign)
    fee = order.fee * price / order.price
    orders[at] = replace(order, submitted=order.submitted + delay, ended=order.ended + delay, price=price, fee=fee)
    return PlantedFault(Cause.TIMING, "fill time", order.order_id)


def wrong_fee(orders: list[LoggedOrder], at: int, rng: random.Random, bars: dict[str, Bars]) -> PlantedFault:
    orders[at] = replace(orders[at], fee=orders[at].fee * rng.choice([0.5, 2.0, 3.0]))
    return PlantedFault(Cause.FEE, "fee rate", orders[at].order_id)


def missing(orders: list[LoggedOrder], at: int, rng: random.Random, bars: dict[str, Bars]) -> PlantedFault:
    return PlantedFault(Cause.SIGNAL_OR_TIMING, "order", orders.pop(at).order_id, is_lone=True)


def wrong_size(orders: list[LoggedOrder], at: int, rng: random.Random, bars: dict[str, Bars]) -> PlantedFault:
    order, factor = orders[at], rng.choice([0.3, 0.7, 1.4, 1.9])
    orders[at] = replace(
        order, quantity=order.quantity * factor, executed=order.executed * factor, fee=order.fee * factor
    )
    return PlantedFault(Cause.SIZE, "quantity", order.order_id)


def extra(orders: list[LoggedOrder], at: int, rng: random.Random, bars: dict[str, Bars]) -> PlantedFault:
    order, factor = orders[at], rng.uniform(0.2, 1.2)
    shift = rng.choice([-1, 1]) * rng.randrange(5 * 60, 9 * 60) * MINUTE
    side = rng.choice(["buy", "sell"])
    orders.append(
        replace(order, order_id="extra", side=side, submitted=order.submitted + shift, ended=order.ended + shift,
                quantity=order.quantity * factor, executed=order.quantity * factor, fee=order.fee * factor)
    )  # fmt: skip
    return PlantedFault(Cause.SIGNAL_OR_TIMING, "order", "extra", is_lone=True)


def slipped(orders: list[LoggedOrder], at: int, rng: random.Random, bars: dict[str, Bars]) -> PlantedFault:
    order, sign = orders[at], 1.0 if orders[at].side == "buy" else -1.0
    factor = 1.0 + sign * rng.uniform(15e-4, 60e-4)
    orders[at] = replace(order, price=order.price * factor, fee=order.fee * factor)
    return PlantedFault(Cause.PRICE, "fill price", order.order_id)


FAULTS: dict[str, Callable[[list[LoggedOrder], int, random.Random, dict[str, Bars]], PlantedFault]] = {
    "late order": late,
    "wrong fee": wrong_fee,
    "missing order": missing,
    "wrong size": wrong_size,
    "extra order": extra,
    "slippage": slipped,
}


def planted(names: Sequence[str], seed: int, form: str) -> tuple[DiffResult, list[PlantedFault]]:
    """The diff of a run and of its log with faults, each in another order."""
    rng = random.Random(f"{names} {seed}")
    bars, run = bars_of(seed % 5), run_of(seed % 5)
    orders = clean_log(run, rng)
    inner = [number for number, order in enumerate(orders) if order.executed][4:-4]
    chosen = sorted(rng.sample(inner[:: max(1, len(inner) // 12)], len(names)), reverse=True)
    faults = [FAULTS[name](orders, at, rng, bars) for name, at in zip(names, chosen, strict=True)]
    orders.sort(key=lambda order: order.submitted)
    return diff(run, log_recording(orders, run, bars, form)), faults


def counted(result: DiffResult, faults: Sequence[PlantedFault]) -> Count:
    """Count the roots that are found, false roots, and planted orders that another root explains.

    A latency bias is a property of every log here and not counted.
    """
    ids = {order_id: f"x-{number}" for number, order_id in enumerate(result.shadow.histories, start=1)}

    def order_of(each: Difference) -> str:
        return ids.get(each.shadow_order, "extra")

    wanted = [(each.cause, each.kind, each.order_id) for each in faults]
    roots = [root for root in result.roots if root.cause is not Cause.LATENCY_BIAS]
    found = [(root.cause, str(root.kind), order_of(root)) for root in roots]
    n_found = sum(each in found for each in wanted)
    n_wrong = sum(
        order_of(each) == fault.order_id and each.cause is not fault.cause
        for fault in faults
        if fault.is_lone
        for each in result.differences
        if bool(each.shadow_order) != bool(each.live_order)
    )
    return Count(1, len(wanted), n_found, len(found) - sum(each in wanted for each in found), n_wrong)


def table(n_seeds: int, form: str) -> dict[str, Count]:
    """Counts for each fault alone, and for all of them in one log."""
    counts = {}
    for names in (*((name,) for name in FAULTS), tuple(FAULTS)):
        count = counts[" + ".join(names) if len(names) == 1 else "all in one log"] = Count()
        for seed in range(n_seeds):
            count.add(counted(*planted(names, seed, form)))
    return counts


if __name__ == "__main__":
    n_seeds = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    for form in WRITERS:
        for name, count in table(n_seeds, form).items():
            recall, precision = count.n_found / count.n_planted, count.n_found / max(1, count.n_found + count.n_false)
            print(f"{form} | {name} | {count} | {recall:.3f} | {precision:.3f}")  # noqa: T201
