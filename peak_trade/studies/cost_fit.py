"""Costs learned from a log or a session: fees, slippage and latency with intervals, and the run file with them."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from peak_trade.core.arguments import checks_arguments
from peak_trade.core.errors import ConfigError
from peak_trade.core.files import write_text
from peak_trade.core.values import OrderType
from peak_trade.costs.fit import MIN_FILLS, Estimate, line_estimate, mean_estimate, median_estimate
from peak_trade.costs.model import Costs
from peak_trade.diff.bar_prices import BarPrices
from peak_trade.diff.external import LogBars, simulated_orders
from peak_trade.diff.recording import Recording
from peak_trade.diff.result import diff
from peak_trade.journal.events import Event, OrderEvent, SnapshotEvent
from peak_trade.studies.diff import imported_folder, read_recording
from peak_trade.studies.log_diff import LogStatements, log_on_bars, read_log, run_on_bars
from peak_trade.wiring.run_file import read_run_file

LEVEL = 0.95
"""Level of the intervals."""
_BOOK_AGE_NS = 60 * 10**9
_PROMPT = 0.1
_MOST = 0.8


@dataclass(frozen=True, slots=True)
class CostSamples:
    """Observations of single orders. Rates and slippage are in bps, worse is positive; latencies are in ms.

    `taker_fees` and `maker_fees` are fee rates of fills that take liquidity and of limit orders. `slippage` is that of
    market orders against the arrival price, by side, and `sizes` are their fractions of the volume of the bar (empty
    without volume). `book_slippage` is that against the middle of a book of the last minute.
    """

    taker_fees: tuple[float, ...]
    maker_fees: tuple[float, ...]
    slippage: tuple[float, ...]
    sides: tuple[int, ...]
    sizes: tuple[float, ...]
    book_slippage: tuple[float, ...]
    latencies: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class CostFit:
    """Fitted costs of a log; an estimate is None where there are too few observations.

    Fees and slippage are in bps, the latency to the first fill, from the close of the bar where the
    log decides at closes and else from the request, is the median in ms. `size_effect` is
    the slippage of an order that takes the whole volume of a bar, minus that of an infinitely small one, bps. The gaps
    are live PnL − simulated PnL of the same orders, quote currency, before and with the fitted `costs`.
    """

    name: str
    taker_fee: Estimate | None
    maker_fee: Estimate | None
    slippage: Estimate | None
    buy_slippage: Estimate | None
    sell_slippage: Estimate | None
    size_effect: Estimate | None
    book_slippage: Estimate | None
    latency: Estimate | None
    costs: Costs
    gap: float
    fitted_gap: float
    notes: tuple[str, ...]

    @property
    def closed(self) -> float:
        """Fraction of the gap that the fitted costs close, at most 1; negative if the gap grows, NaN without a gap."""
        return 1.0 - abs(self.fitted_gap) / abs(self.gap) if self.gap else math.nan

    @property
    def estimates(self) -> dict[str, Estimate | None]:
        """The estimates by name."""
        names = ("taker_fee", "maker_fee", "slippage", "buy_slippage", "sell_slippage", "size_effect", "book_slippage",
                 "latency")  # fmt: skip
        return {name: getattr(self, name) for name in names}

    def to_toml(self) -> str:
        """Return the fitted costs as a run file with the table `[costs]`."""
        lines = [f"# Costs fitted to {self.name}; {LEVEL:.0%} intervals", "[costs]"]
        fitted = {"fee_bps": self.taker_fee, "maker_fee_bps": self.maker_fee, "slippage_bps": self.slippage}
        for name, value in self.costs.model_dump(mode="json").items():
            if value is not None:
                estimate = fitted.get(name)
                lines.append(f"{name} = {value!r}" + (f"  # {estimate}" if estimate is not None else ""))
        return "\n".join(lines) + "\n"

    def write(self, path: Path) -> None:
        """Write the fitted costs as a run file."""
        write_text(path, self.to_toml())


@checks_arguments()
def fit_costs(name: str, stated: LogStatements | None = None) -> CostFit:
    """Fit costs to an imported log, a session or a recorded backtest, and simulate its orders with them.

    Parameters
    ----------
    name : str
        An imported log, or a run; see `read_recording`.
    stated : LogStatements, optional
        The run file states the costs that are replaced. Defaults to those of a backtest.

    Raises
    ------
    ConfigError
        If there are fewer than 5 market orders with a fill.
    SessionError
        If the name is unknown or no bars are held.

    """
    stated = stated or LogStatements()
    folder = imported_folder(name)
    if folder is not None:
        log = read_log(folder)
        simulated, recording, held = log_on_bars(log, stated)
        events = log.events
    else:
        run = read_recording(name)
        simulated, recording, held = run_on_bars(run, stated)
        events = run.events
    samples = cost_samples(recording, held, events)
    if len(samples.slippage) < MIN_FILLS:
        raise ConfigError(
            f"{recording.name}: it has {len(samples.slippage)} market orders with a fill; at least {MIN_FILLS} are "
            "needed to fit costs."
        )
    base = read_run_file(stated.run_file).settings.costs
    fit = fitted(recording.name, samples, base)
    before = diff(simulated, recording)
    after = diff(simulated_orders(recording, held, simulated.settings, fit.costs), recording)
    assert recording.log is not None
    return CostFit(
        **{each: getattr(fit, each) for each in ("name", *fit.estimates, "costs")},
        gap=before.live_pnl - before.shadow_pnl,
        fitted_gap=after.live_pnl - after.shadow_pnl,
        notes=(*fit.notes, *recording.log.notes[1:]),
    )


def cost_samples(recording: Recording, held: LogBars, stated: Sequence[Event]) -> CostSamples:
    """Return the observations of the orders of a recording; `stated` are the events of the log as it states them."""
    known_fees = {
        (event.order_id, event.ts_event, event.cumulative)
        for event in stated
        if isinstance(event, OrderEvent) and not math.isnan(event.fee) and (not event.fee_currency or event.fee_value)
    }
    books = _books(stated)
    orders: dict[str, list[OrderEvent]] = {}
    for event in recording.events:
        if isinstance(event, OrderEvent):
            orders.setdefault(event.order_id, []).append(event)
    taker: list[float] = []
    maker: list[float] = []
    slippage: list[tuple[float, int, float]] = []
    book_slippage: list[float] = []
    requests: list[tuple[str, int, int]] = []
    for order in orders.values():
        fills = [event for event in order if event.last_quantity]
        if not fills:
            continue
        fees = maker if order[0].order_type is OrderType.LIMIT else taker
        fees += [
            1e4 * fill.fee / (fill.last_quantity * fill.last_price)
            for fill in fills
            if (fill.order_id, fill.ts_event, fill.cumulative) in known_fees
        ]
        if order[0].order_type is not OrderType.MARKET:
            continue
        quantity = math.fsum(fill.last_quantity for fill in fills)
        price = math.fsum(fill.last_quantity * fill.last_price for fill in fills) / quantity
        sign = order[0].side.sign
        slippage.append((1e4 * sign * (price / fills[0].arrival_price - 1.0), int(sign), _size(held, fills, quantity)))
        middle = _middle(books, fills[0])
        if middle is not None:
            book_slippage.append(1e4 * sign * (price / middle - 1.0))
        requests.append((order[0].symbol, order[0].ts_event, fills[0].ts_event))
    has_sizes = all(math.isfinite(size) for _, _, size in slippage)
    return CostSamples(
        tuple(taker),
        tuple(maker),
        tuple(each for each, _, _ in slippage),
        tuple(side for _, side, _ in slippage),
        tuple(size for _, _, size in slippage) if has_sizes else (),
        tuple(book_slippage),
        tuple(_latencies(requests, held)),
    )


def fitted(name: str, samples: CostSamples, base: Costs, level: float = LEVEL) -> CostFit:
    """Return the costs fitted to observations, in place of those of `base`; the gaps are NaN."""
    line = line_estimate(samples.sizes, samples.slippage, level) if samples.sizes else None
    by_side = {
        side: mean_estimate(
            [each for each, one in zip(samples.slippage, samples.sides, strict=True) if one == side], level
        )
        for side in (1, -1)
    }
    taker, maker = mean_estimate(samples.taker_fees, level), mean_estimate(samples.maker_fees, level)
    slippage = mean_estimate(samples.slippage, level)
    changes = {
        field: max(estimate.value, 0.0)
        for field, estimate in (("fee_bps", taker), ("maker_fee_bps", maker), ("slippage_bps", slippage))
        if estimate is not None
    }
    notes = [
        f"{what} is negative and set to 0: the costs of a backtest have no rebates"
        for what, estimate in (("the taker fee", taker), ("the maker fee", maker), ("the slippage", slippage))
        if estimate is not None and estimate.value < 0.0
    ]
    return CostFit(
        name=name,
        taker_fee=taker,
        maker_fee=maker,
        slippage=slippage,
        buy_slippage=by_side[1],
        sell_slippage=by_side[-1],
        size_effect=None if line is None else line[1],
        book_slippage=mean_estimate(samples.book_slippage, level),
        latency=median_estimate(samples.latencies, level),
        costs=base.model_copy(update=changes),
        gap=math.nan,
        fitted_gap=math.nan,
        notes=tuple(notes),
    )


def _latencies(requests: Sequence[tuple[str, int, int]], held: LogBars) -> list[float]:
    """Return the times to the first fill in ms: from the close of the bar, or from the request.

    If four fifths of the orders come within a tenth of a bar after its close, the log decides at closes.
    """
    after_close = []
    for symbol, _, filled in requests:
        bars = held.bars[symbol]
        place = int(np.searchsorted(bars.times, filled, side="right")) - 1
        after_close.append((filled - int(bars.times[place])) / bars.timeframe.ns if place >= 0 else math.inf)
    prompt = [each <= _PROMPT for each in after_close]
    if sum(prompt) >= _MOST * len(prompt):
        bar_ms = next(iter(held.bars.values())).timeframe.ns / 1e6
        return [each * bar_ms for each, is_prompt in zip(after_close, prompt, strict=True) if is_prompt]
    return [(filled - requested) / 1e6 for _, requested, filled in requests if filled > requested]


def _size(held: LogBars, fills: Sequence[OrderEvent], quantity: float) -> float:
    """Return the fraction of the volume of the bar that an order took; NaN where the volume is unknown or zero."""
    bars = held.bars[fills[0].symbol]
    bar = BarPrices(bars).bar_at(fills[0].ts_event)
    volume = float(bars.columns.volume[bar])
    return quantity / volume if volume > 0.0 else math.nan


def _books(events: Sequence[Event]) -> dict[str, list[tuple[int, float]]]:
    """Return time and middle of the recorded books by symbol, oldest first."""
    books: dict[str, list[tuple[int, float]]] = {}
    for event in events:
        if isinstance(event, SnapshotEvent) and event.bids and event.asks:
            middle = 0.5 * (event.bids[0][0] + event.asks[0][0])
            books.setdefault(event.symbol, []).append((event.book_time or event.ts_event, middle))
    return {symbol: sorted(found) for symbol, found in books.items()}


def _middle(books: dict[str, list[tuple[int, float]]], fill: OrderEvent) -> float | None:
    """Return the middle of the last book before a fill, if it is at most a minute old."""
    known = books.get(fill.symbol, [])
    n_known = bisect_right(known, (fill.ts_event, math.inf))
    if not n_known or fill.ts_event - known[n_known - 1][0] > _BOOK_AGE_NS:
        return None
    return known[n_known - 1][1]
