"""Two generated runs to try a diff on: a shadow, and a live side that met a worse venue and missed a bar.

Nothing here was traded. What makes the two differ is planted, so a reader can hold the diff against it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, replace

import numpy as np

from peak_trade.core.bars import Bars
from peak_trade.core.values import Instrument, Order
from peak_trade.costs.model import Costs
from peak_trade.data.sample import sample_bars
from peak_trade.engine.loop import EventLoop
from peak_trade.engine.market import Market
from peak_trade.engine.settings import BacktestSettings
from peak_trade.engine.venue import BuyingPower, Execution, SimulatedVenue
from peak_trade.journal.events import Event
from peak_trade.strategies.ma_crossover import MaCrossover
from peak_trade.studies.backtest import book_for
from peak_trade.studies.diff_recording import Recording, events_with_bars, flat_settings

EXAMPLES = ("example-shadow", "example-live")
"""Names under which the two are found."""
MISSED_ROW = 700
VENUE_FEE_BPS = 26.0
WORST_SLIPPAGE_BPS = 18.0
LATENCIES_MS = (40.0, 400.0)
_SYMBOL = "BTC/USDT"
_GRID = Instrument(_SYMBOL, tick_size=0.01, lot_size=1e-5, min_notional=5.0)
_STRATEGY = MaCrossover(fast=12, slow=48)


class WorseVenue(SimulatedVenue):
    """A venue that slips by up to 18 bps more than it should, and answers 40 to 400 ms late."""

    def __init__(self, market: Market, costs: Costs) -> None:
        super().__init__(market, costs)
        self._random = np.random.default_rng(8)

    def match(self, row: int, buying_power: BuyingPower) -> Iterator[Execution]:
        """Yield the executions of the bar of `row`, late."""
        for execution in super().match(row, buying_power):
            late = int(self._random.uniform(*LATENCIES_MS) * 1e6)
            yield replace(execution, ts_event=execution.ts_event + late)

    def _slipped(self, order: Order, reference: float, tick: float) -> float:
        extra = order.side.sign * self._random.uniform(0.0, WORST_SLIPPAGE_BPS) / 1e4
        return super()._slipped(order, reference * (1.0 + extra), tick)


def example(name: str) -> Recording:
    """Return one of the two generated runs: `example-shadow` or `example-live`.

    The live one missed a bar, pays 26 bps where 10 are configured, slips by up to 18 bps more and is 40 to 400 ms late.
    """
    bars = sample_bars(_SYMBOL, n_bars=2_000)
    configured = BacktestSettings()
    settings = flat_settings(
        strategy=_STRATEGY.name,
        parameters=_STRATEGY.model_dump(mode="json"),
        trading=configured.model_dump(mode="json"),
        instruments={_SYMBOL: asdict(_GRID)},
        risk=None,
    )
    if name == EXAMPLES[0]:
        return Recording(name, "shadow", bars.timeframe, settings, "", _events(bars, configured))
    kept = Bars(bars.frame.drop(bars.frame.index[MISSED_ROW]), bars.symbol, bars.timeframe, bars.exchange)
    charged = BacktestSettings(costs=Costs(fee_bps=VENUE_FEE_BPS))
    return Recording(name, "paper", bars.timeframe, settings, "", _events(kept, charged, is_worse=True))


def _events(bars: Bars, settings: BacktestSettings, *, is_worse: bool = False) -> list[Event]:
    market = Market.of([bars], {_SYMBOL: _GRID})
    book = book_for(_STRATEGY, _STRATEGY.name, bars, market, settings, 1.0, 0)
    events: list[Event] = []
    venue = WorseVenue(market, settings.costs) if is_worse else None
    loop = EventLoop(market, [book], settings, emit=events.append, venue=venue)
    loop.run()
    return events_with_bars(market, events, loop.fill_rows)
