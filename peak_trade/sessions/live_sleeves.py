"""The sleeves of a session, which are filled as bars close: targets, weights and rebalancing, equal to a backtest's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from peak_trade.core.arrays import FloatArray
from peak_trade.core.bars import Bars
from peak_trade.core.calendar import Period, trailing_per_year
from peak_trade.core.errors import SessionError
from peak_trade.engine.netting import NettedTrader
from peak_trade.engine.settings import BacktestSettings
from peak_trade.engine.sleeve import Sleeve
from peak_trade.engine.traders import SleeveTrader, Trader
from peak_trade.portfolio.allocation import base_weights, estimate_weights
from peak_trade.portfolio.rebalancing import first_closes
from peak_trade.sessions.bar_buffer import MarketBuffer
from peak_trade.strategies.stateful import Follower
from peak_trade.wiring.allocators import find_allocator
from peak_trade.wiring.portfolio import held_by_entries
from peak_trade.wiring.portfolio_settings import PortfolioRules
from peak_trade.wiring.sleeves import Evaluation, Targets


class LiveSleeves:
    """The sleeves of the strategies of a session.

    Parameters
    ----------
    buffer : MarketBuffer
    evaluations : sequence of Evaluation
        One per strategy.
    recording : sequence of Bars, optional
        The bars of the whole recording, one per symbol: every strategy is evaluated over them once. Without them a
        strategy continues with each bar if it is incremental or stateful, and is evaluated at each bar over all history
        if it is not.
    rules : PortfolioRules, optional
        Netting, allocation and rebalancing; none for a single strategy, which has the whole account.
    fixed : float64 array of shape (n_strategies,), optional
        The weights of `check_entries`.

    Attributes
    ----------
    sleeves : list of Sleeve
    names : tuple of str
        The names of the strategies, each once.

    """

    def __init__(
        self,
        buffer: MarketBuffer,
        evaluations: Sequence[Evaluation],
        recording: Sequence[Bars] | None = None,
        rules: PortfolioRules | None = None,
        fixed: FloatArray | None = None,
    ) -> None:
        by_symbol = None if recording is None else {part.symbol: part for part in recording}
        self._buffer, self._rules = buffer, rules
        self._strategies = [_LiveStrategy(buffer, each, by_symbol) for each in evaluations]
        self.sleeves = [sleeve for each in self._strategies for sleeve in each.sleeves]
        self.names = tuple(dict.fromkeys(each.name for each in evaluations))
        self._weights = None if rules is None else _LiveWeights(buffer, self._strategies, rules, fixed)

    @property
    def drift_band(self) -> float | None:
        """The drift band of the rebalancing; see `EventLoop`."""
        return None if self._rules is None else self._rules.rebalancing.drift_band

    def trader(self, settings: BacktestSettings) -> Trader:
        """Return the trader of the sleeves."""
        is_netted = self._rules is not None and self._rules.mode == "netted"
        return (NettedTrader if is_netted else SleeveTrader)(self._buffer.market, self.sleeves, settings)

    def fill(self) -> None:
        """Fill in the values at the closes of the grid since the last call."""
        for each in self._strategies:
            each.fill(self._buffer.n_bars)
        if self._weights is not None:
            self._weights.fill(self._buffer.n_bars)


class _LiveStrategy:
    """The sleeves of one strategy, one per symbol."""

    def __init__(self, buffer: MarketBuffer, evaluation: Evaluation, recording: Mapping[str, Bars] | None) -> None:
        market = buffer.market
        self.evaluation = evaluation
        self.parts = [buffer.parts[symbol] for symbol in evaluation.symbols]
        self.columns = [market.columns[market.symbols.index(symbol)] for symbol in evaluation.symbols]
        self.sleeves = [
            Sleeve(
                evaluation.name,
                symbol,
                np.zeros(len(market)),
                scale=np.ones(len(market)),
                atr=np.zeros(len(market)),
                stepper=evaluation.stepper(part.market.times, part.columns),
            )
            for symbol, part in zip(evaluation.symbols, self.parts, strict=True)
        ]
        own = None if recording is None else [recording[symbol] for symbol in evaluation.symbols]
        self._recorded = [] if own is None else [part.times for part in own]
        self._whole = None if own is None else evaluation.over(own)
        self._continued = None if own is not None else evaluation.continued(market.timeframe.bars_per_year)
        self._n_filled = 0
        self._n_used = [0] * len(self.parts)

    def fill(self, stop: int) -> None:
        """Fill in the values at closes up to `stop`, exclusive; a symbol without a bar at a close keeps its values."""
        n_new = [part.n_bars - used for part, used in zip(self.parts, self._n_used, strict=True)]
        targets = self._targets(n_new) if any(n_new) else [_NOTHING] * len(n_new)
        for place, (sleeve, found) in enumerate(zip(self.sleeves, targets, strict=True)):
            rows = self._rows(place, n_new[place])
            for values, new in (
                (sleeve.exposure, found.exposure),
                (sleeve.scale, found.scale),
                (sleeve.atr, found.atr),
            ):
                assert values is not None
                if new is not None and len(rows) == stop - self._n_filled == 1:
                    values[stop - 1] = new[0]
                elif new is not None:
                    before = values[self._n_filled - 1] if self._n_filled else 0.0
                    n_kept = np.diff([self._n_filled, *rows, stop])
                    values[self._n_filled : stop] = np.repeat(np.concatenate([[before], new]), n_kept)
            self._n_used[place] += n_new[place]
        self._n_filled = stop

    def _rows(self, place: int, n_new: int) -> Sequence[int]:
        """Return the places on the grid of the new bars of a symbol."""
        own, first = self.columns[place].own_bars, self._n_used[place]
        return range(first, first + n_new) if own is None else own[first : first + n_new].tolist()

    def _targets(self, n_new: Sequence[int]) -> list[Targets]:
        """Return the targets of each symbol at its new bars."""
        if self._continued is not None:
            return [self._continued.targets(self.parts[0].since(self._n_used[0]))]
        if self._whole is None:
            known = self.evaluation.over([part.bars() for part in self.parts])
        else:
            self._check_recording()
            known = self._whole
        return [each.between(used, used + n) for each, used, n in zip(known, self._n_used, n_new, strict=True)]

    def _check_recording(self) -> None:
        for part, used, recorded in zip(self.parts, self._n_used, self._recorded, strict=True):
            times = part.market.times[used : part.n_bars]
            if not np.array_equal(times, recorded[used : part.n_bars]):
                raise SessionError(
                    "the recording is not the one that this session started on: its bars differ. Start a new session."
                )


_NOTHING = Targets(np.zeros(0), np.zeros(0), np.zeros(0))
"""The targets of a symbol without a new bar."""


class _LiveWeights:
    """Sets weight and rebalancing of the sleeves at one close of the grid after another."""

    def __init__(
        self,
        buffer: MarketBuffer,
        strategies: Sequence[_LiveStrategy],
        rules: PortfolioRules,
        fixed: FloatArray | None,
    ) -> None:
        self._buffer, self._strategies, self._rules = buffer, strategies, rules
        self._sleeves = [sleeve for each in strategies for sleeve in each.sleeves]
        self._columns = [column for each in strategies for column in each.columns]
        self._owner = [place for place, each in enumerate(strategies) for _ in each.sleeves]
        allocation, n_bars = rules.allocation, len(buffer.market)
        self._allocator = find_allocator(allocation.method)
        self._base = base_weights(len(strategies), allocation, fixed)
        self._weights = (1.0 - allocation.cash_buffer) * self._base
        if allocation.annual_volatility is not None:
            self._weights = np.zeros(len(strategies))
        for sleeve, owner in zip(self._sleeves, self._owner, strict=True):
            sleeve.weight = np.zeros(n_bars) if allocation.is_estimated else float(self._weights[owner])
        self._past = _PastReturns(buffer, strategies) if allocation.is_estimated else None
        self._is_due = [False] * len(self._sleeves)
        self._n_filled = 0

    def fill(self, stop: int) -> None:
        """Set the values at the grid's closes up to `stop`, exclusive."""
        for row in range(self._n_filled, stop):
            self._fill(row)
        self._n_filled = stop

    def _fill(self, row: int) -> None:
        allocation, rebalancing = self._rules.allocation, self._rules.rebalancing
        is_due = rebalancing.every is not None and self._is_first(row, rebalancing.every)
        if self._past is not None:
            self._past.add(row)
            if self._is_first(row, allocation.every):
                is_due = True
                if row + 1 >= allocation.window:
                    self._estimate(row)
        for place, (sleeve, column) in enumerate(zip(self._sleeves, self._columns, strict=True)):
            if not isinstance(sleeve.weight, float):
                sleeve.weight[row] = self._weights[self._owner[place]]
            has_bar = column.has_bar(row)
            self._is_due[place] |= is_due
            sleeve.rebalance_bars = frozenset((row,)) if self._is_due[place] and has_bar else frozenset()
            self._is_due[place] &= not has_bar

    def _is_first(self, row: int, every: Period) -> bool:
        return bool(first_closes(self._buffer.market.times[max(row - 1, 0) : row + 1], every)[-1])

    def _estimate(self, row: int) -> None:
        assert self._past is not None
        allocation, market = self._rules.allocation, self._buffer.market
        window = slice(row + 1 - allocation.window, row + 1)
        held, returns = held_by_entries(
            self._past.held[window], self._past.returns[window], [len(each.sleeves) for each in self._strategies]
        )
        times = market.times[max(row - allocation.window, 0) : row + 1]
        per_year = trailing_per_year(times, market.timeframe.bars_per_year, allocation.window)
        self._weights, _, _ = estimate_weights(
            held, returns, allocation, float(per_year[-1]), self._base, self._allocator
        )


class _PastReturns:
    """Exposure that each sleeve held over each close of the grid, and the return of its symbol; see `held_over_bars`.

    The exposure of a stateful strategy is the one where every target is reached at the next open.
    """

    def __init__(self, buffer: MarketBuffer, strategies: Sequence[_LiveStrategy]) -> None:
        self._columns = [column for each in strategies for column in each.columns]
        self._times, n_bars = buffer.market.times, len(buffer.market)
        self._exposures: list[FloatArray] = []
        self._followers: dict[int, tuple[Follower, int]] = {}
        for each in strategies:
            for sleeve, part in zip(each.sleeves, each.parts, strict=True):
                follower = each.evaluation.follower(part.market.times, part.columns)
                if follower is not None:
                    self._followers[len(self._exposures)] = follower, each.evaluation.n_without_range
                self._exposures.append(sleeve.exposure if follower is None else np.zeros(n_bars))
        self._last = [-1] * len(self._columns)
        self._n_own = [0] * len(self._columns)
        shape = n_bars, len(self._columns)
        self.held, self.returns = np.full(shape, np.nan), np.full(shape, np.nan)

    def add(self, row: int) -> None:
        """Add the next close of the grid."""
        for place, column in enumerate(self._columns):
            if not column.has_bar(row):
                continue
            last, exposure = self._last[place], self._exposures[place]
            if place in self._followers:
                follower, n_flat = self._followers[place]
                found = follower.at(int(self._times[row]), float(column.open[row]))
                exposure[row] = found if self._n_own[place] >= n_flat else 0.0
            if last >= 0:
                self.held[row, place] = exposure[last]
                self.returns[row, place] = column.close[row] / column.close[last] - 1.0
            self._last[place] = row
            self._n_own[place] += 1
