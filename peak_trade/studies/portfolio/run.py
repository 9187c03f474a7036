"""Run a portfolio: several strategies over several symbols from one cash account, with exact attribution."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace

import numpy as np
import pandas as pd

from peak_trade.core.arrays import FloatArray, IntArray
from peak_trade.core.bars import Bars
from peak_trade.core.digest import digest_of, environment_digest
from peak_trade.core.errors import DataError
from peak_trade.core.time import iso
from peak_trade.core.values import Instrument
from peak_trade.engine.market import Market
from peak_trade.engine.result import run_sleeves
from peak_trade.engine.sleeve import Sleeve
from peak_trade.portfolio.allocation import check_fixed_weights, sleeve_returns, walk_forward_weights
from peak_trade.portfolio.rebalancing import first_closes
from peak_trade.strategies.base import Strategy
from peak_trade.studies.portfolio.result import PortfolioResult
from peak_trade.studies.portfolio.settings import PortfolioSettings, StrategyEntry, ordered, sleeve_name
from peak_trade.wiring.allocators import find_allocator
from peak_trade.wiring.digests import code_digest
from peak_trade.wiring.gates import declared_history, make_risk_engine, require_sources
from peak_trade.wiring.sleeves import sleeve_for
from peak_trade.wiring.strategies import make_strategy


def run_portfolio(
    settings: PortfolioSettings,
    bars: Sequence[Bars] | None = None,
    *,
    instruments: Mapping[str, Instrument] | None = None,
    progress: Callable[[int], None] | None = None,
) -> PortfolioResult:
    """Run a portfolio in the event loop.

    Parameters
    ----------
    settings : PortfolioSettings
    bars : sequence of Bars, optional
        One per symbol, all of one timeframe. Defaults to the bars in the store.
    instruments : mapping of symbol to Instrument, optional
        Lots, ticks and minimum notionals. Defaults to none.
    progress : callable, optional
        Called with the number of bars done.

    Returns
    -------
    PortfolioResult

    Raises
    ------
    ConfigError
        On an unknown strategy or parameter, weights that do not sum to 1, or different quote currencies or timeframes.
    DataError
        When a symbol's bars are missing, or do not overlap with those of the others.

    Notes
    -----
    A symbol is traded only while it has bars: its strategies are flat before its first bar, and after its last bar a
    position keeps its last close and cannot be closed. To combine timeframes, resample the finer bars first.

    """
    require_sources(settings.risk, "a portfolio")
    entries = ordered(settings.strategies)
    strategies = [make_strategy(entry.name, entry.parameters) for entry in entries]
    symbols = sorted({entry.symbol for entry in entries})
    given = _load(settings, symbols) if bars is None else _chosen(bars, symbols)
    _check_overlap(given)
    market = Market.of(given, dict(instruments or {}))
    sleeves = _sleeves(settings, entries, strategies, {part.symbol: part for part in given}, market)
    returns = _unit_returns(sleeves, market)
    weights = _set_weights(settings, entries, sleeves, returns, market)
    exchanges = {part.symbol: part.exchange for part in given}
    past: Sequence[Bars] = declared_history(settings.risk, exchanges, int(market.times[0]), int(market.times[-1]))
    if not past and bars is None and settings.risk is not None and settings.start is not None:
        past = _load(settings.model_copy(update={"start": None}), symbols)
    run = run_sleeves(
        market,
        sleeves,
        settings.run_settings,
        progress,
        is_netted=settings.mode == "netted",
        drift_band=settings.rebalancing.drift_band,
        risk_engine=make_risk_engine(settings.risk, given, past=past),
    )
    parts = list(zip(entries, strategies, strict=True))
    run = replace(
        run,
        strategies=tuple(dict.fromkeys(entry.shown_as for entry in entries)),
        parameters={sleeve_name(entry): part.model_dump(mode="json") for entry, part in parts},
        digests=_digests(settings, strategies, [*given, *past], market),
        exchange=", ".join(sorted({part.exchange for part in given})),
    )
    columns = pd.MultiIndex.from_tuples(
        [(sleeve.strategy, sleeve.symbol) for sleeve in sleeves], names=["strategy", "symbol"]
    )
    return PortfolioResult(
        run=run,
        settings=settings,
        weights=pd.DataFrame(weights, index=run.index, columns=columns),
        unit_returns=pd.DataFrame(returns, index=run.index, columns=columns),
    )


def _load(settings: PortfolioSettings, symbols: Sequence[str]) -> list[Bars]:
    from peak_trade.data.store import load_bars

    return [
        load_bars(symbol, settings.timeframe, settings.exchange, settings.start, settings.end) for symbol in symbols
    ]


def _chosen(bars: Sequence[Bars], symbols: Sequence[str]) -> list[Bars]:
    held = {part.symbol for part in bars}
    missing = [symbol for symbol in symbols if symbol not in held]
    if missing:
        raise DataError(f"{missing[0]}: there are no bars for it, only for {', '.join(sorted(held))}. Give its bars.")
    return [part for part in bars if part.symbol in symbols]


def _check_overlap(bars: Sequence[Bars]) -> None:
    ordered = sorted(bars, key=lambda part: int(part.times[0]))
    until, last = int(ordered[0].times[-1]), ordered[0].symbol
    for part in ordered[1:]:
        first = int(part.times[0])
        if first > until:
            raise DataError(
                f"{part.symbol} starts at {iso(first)}, after {last} has ended at {iso(until)}: these bars do not "
                "overlap. Choose symbols, or a span, that do."
            )
        if int(part.times[-1]) > until:
            until, last = int(part.times[-1]), part.symbol


def _sleeves(
    settings: PortfolioSettings,
    entries: Sequence[StrategyEntry],
    strategies: Sequence[Strategy],
    bars: Mapping[str, Bars],
    market: Market,
) -> list[Sleeve]:
    run = settings.run_settings
    return [
        sleeve_for(strategy, entry.shown_as, bars[entry.symbol], market, run, 1.0, 0)
        for entry, strategy in zip(entries, strategies, strict=True)
    ]


def _unit_returns(sleeves: Sequence[Sleeve], market: Market) -> FloatArray:
    columns = dict(zip(market.symbols, market.columns, strict=True))
    return np.column_stack([sleeve_returns(sleeve.exposure, columns[sleeve.symbol].close) for sleeve in sleeves])


def _set_weights(
    settings: PortfolioSettings,
    entries: Sequence[StrategyEntry],
    sleeves: Sequence[Sleeve],
    returns: FloatArray,
    market: Market,
) -> FloatArray:
    """Set the weight and the rebalancing bars of every sleeve; return the weights, shape (n_bars, n_sleeves)."""
    allocation, rebalancing = settings.allocation, settings.rebalancing
    fixed = check_fixed_weights({sleeve_name(entry): entry.weight for entry in entries}, allocation)
    instants = first_closes(market.times, allocation.every)
    allocator = find_allocator(allocation.method)
    weights = walk_forward_weights(returns, instants, allocation, market.timeframe.bars_per_year, fixed, allocator)
    due = np.zeros(len(market), dtype=bool)
    if allocation.is_estimated:
        due |= instants
    if rebalancing.every is not None:
        due |= first_closes(market.times, rebalancing.every)
    rows = np.flatnonzero(due)
    columns = dict(zip(market.symbols, market.columns, strict=True))
    for place, sleeve in enumerate(sleeves):
        own = columns[sleeve.symbol].own_bars
        sleeve.weight = np.ascontiguousarray(weights[:, place]) if allocation.is_estimated else float(weights[0, place])
        sleeve.rebalance_bars = frozenset((rows if own is None else _next_of(own, rows)).tolist())
    return weights


def _next_of(own: IntArray, rows: IntArray) -> IntArray:
    place = np.searchsorted(own, rows)
    return own[place[place < own.size]]


def _digests(
    settings: PortfolioSettings, strategies: Sequence[Strategy], bars: Sequence[Bars], market: Market
) -> dict[str, str]:
    traded = [asdict(column.instrument) for column in market.columns]
    named = settings.model_copy(update={"strategies": tuple(ordered(settings.strategies))})
    return {
        "config": digest_of([named.digest(), [part.digest() for part in strategies], traded]),
        "data": digest_of(sorted(part.digest() for part in bars)),
        "code": code_digest(strategies, find_allocator(settings.allocation.method)),
        "seed": digest_of(settings.seed),
        "environment": environment_digest(),
    }
