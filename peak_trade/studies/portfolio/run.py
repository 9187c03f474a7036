"""Run a portfolio: several strategies over several symbols from one cash account, with exact attribution."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd

from peak_trade.causality.short import check_run, naming_look_ahead
from peak_trade.core.arguments import checks_arguments
from peak_trade.core.arrays import FloatArray, IntArray
from peak_trade.core.bars import Bars
from peak_trade.core.calendar import trailing_per_year
from peak_trade.core.digest import digest_of, environment_digest
from peak_trade.core.errors import DataError, listed
from peak_trade.core.progress import progress
from peak_trade.core.time import iso
from peak_trade.core.values import Instrument
from peak_trade.engine.inputs import RunInputs
from peak_trade.engine.market import Market
from peak_trade.engine.result import run_sleeves
from peak_trade.engine.settings import check_leverage
from peak_trade.engine.sleeve import Sleeve
from peak_trade.portfolio.allocation import Weights, held_over_bars, walk_forward_weights
from peak_trade.portfolio.rebalancing import first_closes
from peak_trade.strategies.base import Strategy
from peak_trade.strategies.panel import PanelStrategy
from peak_trade.strategies.stateful import StatefulStrategy
from peak_trade.studies.backtest import first_traded, warm_up_notes
from peak_trade.studies.portfolio.result import PortfolioResult, weight_events, weight_remarks
from peak_trade.tracking.counting import counted
from peak_trade.tracking.trials import Evaluation, Observations
from peak_trade.wiring.allocators import find_allocator
from peak_trade.wiring.digests import code_digest, data_digest, parameter_digests, trading_rules, user_code_digest
from peak_trade.wiring.gates import declared_history, make_risk_engine, require_sources
from peak_trade.wiring.portfolio import evaluation_of, held_by_entries, strategy_of
from peak_trade.wiring.portfolio_settings import (
    PortfolioSettings,
    StrategyEntry,
    check_entries,
    entry_name,
    ordered,
    sleeve_keys,
)
from peak_trade.wiring.sleeves import extra_columns_of, followed_exposure, sleeves_of
from peak_trade.wiring.user_code import UserCode, user_code


@checks_arguments()
def run_portfolio(
    settings: PortfolioSettings,
    bars: Sequence[Bars] | None = None,
    *,
    instruments: Mapping[str, Instrument] | None = None,
    history: Sequence[Bars] | None = None,
    is_cold: bool = False,
    causality_check: bool = True,
) -> PortfolioResult:
    """Run a portfolio in the event loop.

    Parameters
    ----------
    settings : PortfolioSettings
    bars : sequence of Bars, optional
        One per symbol, all of one timeframe. Defaults to the bars in the store.
    instruments : mapping of symbol to Instrument, optional
        Lots, ticks and minimum notionals. Defaults to none.
    history : sequence of Bars, optional
        Earlier bars of the same symbols for risk estimates. Defaults to those that `[risk.var] source` names.
    is_cold : bool
        Ignore the bars before `settings.start`. By default strategies, weights and risk estimates know them.
    causality_check : bool
        Whether to check the strategies that a user wrote for look-ahead, in short; see `check_run`.

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
    strategies = [strategy_of(entry) for entry in entries]
    symbols = sorted({symbol for entry in entries for symbol in entry.traded})
    held = _load(settings, symbols, entries, strategies) if bars is None else _chosen(settings, bars, symbols)
    traded = held if settings.start is None else [part.between(settings.start) for part in held]
    known = traded if is_cold else held
    _check_overlap(traded)
    market = Market.of(traded, dict(instruments or {}))
    check_leverage(list(market.instruments.values()), settings.run_settings, settings.risk)
    grid = market if known is traded else Market.of(known)
    by_symbol = {part.symbol: part for part in known}
    exchanges = {part.symbol: part.exchange for part in known}
    past = history or declared_history(settings.risk, exchanges, int(market.times[0]), int(market.times[-1]))
    if not past and is_cold and settings.risk is not None and settings.start is not None:
        past = held
    allocator = find_allocator(settings.allocation.method)
    code = user_code([*strategies, allocator])
    digests = _digests(settings, strategies, known, past, market, code)
    evaluation = Evaluation.of([digests["config"]], user_code_digest(code), digests["data"], known, market.times)
    with counted(evaluation) as trial:
        pairs = [
            (part, tuple(by_symbol[symbol] for symbol in entry.traded))
            for entry, part in zip(entries, strategies, strict=True)
        ]
        outcomes = check_run(pairs, is_wanted=causality_check)
        with naming_look_ahead(outcomes):
            groups = _sleeves(settings, entries, strategies, by_symbol, grid)
        sleeves = [sleeve for group in groups for sleeve in group]
        exposures = _unit_exposures(settings, strategies, groups, by_symbol, grid)
        held_exposure, returns = _held_over_bars(sleeves, exposures, grid)
        weights = _set_weights(settings, entries, groups, held_exposure, returns, grid)
        first = len(grid) - len(market)
        marks = {symbol: column.mark for symbol, column in zip(market.symbols, market.columns, strict=True)}
        sleeves = [sleeve.since(first, marks[sleeve.symbol]) for sleeve in sleeves]
        risk_engine = make_risk_engine(settings.risk, known, past=past)
        with progress("portfolio") as on_progress:
            run = run_sleeves(
                market,
                sleeves,
                settings.run_settings,
                lambda bar: on_progress(bar, len(market)),
                is_netted=settings.mode == "netted",
                drift_band=settings.rebalancing.drift_band,
                risk_engine=risk_engine,
            )
        trial.observe = partial(Observations.of_equity, run.equity_values, market.times, market.timeframe)
    parts = list(zip(entries, strategies, strict=True))
    left_out, trimmed = weight_events(weights, [entry_name(entry) for entry in entries], grid.times, first)
    run = replace(
        run,
        strategies=tuple(dict.fromkeys(entry.shown_as for entry in entries)),
        parameters={entry_name(entry): part.model_dump(mode="json") for entry, part in parts},
        digests=digests,
        exchange=", ".join(sorted(set(exchanges.values()))),
        causality=outcomes,
        notes=(*(note for part in known for note in part.notes), *code.notes),
        warm_up=warm_up_notes(known, market),
        not_rerunnable=code.not_rerunnable,
        weight_remarks=weight_remarks(left_out, trimmed, settings.allocation),
        inputs=RunInputs(
            "portfolio",
            {"settings": settings, "instruments": market.instruments, "is_cold": is_cold},
            (*strategies, find_allocator(settings.allocation.method)),
            tuple(known),
            tuple(past),
        ),
    )
    columns = pd.MultiIndex.from_tuples(sleeve_keys(entries), names=["strategy", "symbol"])
    return PortfolioResult(
        run=run,
        settings=settings,
        weights=pd.DataFrame(_per_sleeve(weights.values[first:], groups), index=run.index, columns=columns),
        unit_returns=pd.DataFrame((held_exposure * returns)[first:], index=run.index, columns=columns),
        left_out=left_out,
        trimmed=trimmed,
    )


def _load(
    settings: PortfolioSettings,
    symbols: Sequence[str],
    entries: Sequence[StrategyEntry],
    strategies: Sequence[Strategy | PanelStrategy],
) -> list[Bars]:
    """Load the bars of the store with the extra columns that the strategies on each symbol read."""
    from peak_trade.data.store import load_bars

    columns: dict[str, dict[str, None]] = {symbol: {} for symbol in symbols}
    for entry, strategy in zip(entries, strategies, strict=True):
        for symbol in entry.traded:
            columns[symbol] |= dict.fromkeys(extra_columns_of(strategy))
    span = settings.timeframe, settings.exchange, None, settings.end
    return [load_bars(symbol, *span, columns=tuple(columns[symbol])) for symbol in symbols]


def _chosen(settings: PortfolioSettings, bars: Sequence[Bars], symbols: Sequence[str]) -> list[Bars]:
    held = {part.symbol for part in bars}
    missing = [symbol for symbol in symbols if symbol not in held]
    if missing:
        raise DataError(f"{missing[0]}: there are no bars for it, only for {listed(sorted(held))}. Give its bars.")
    chosen = [part for part in bars if part.symbol in symbols]
    return chosen if settings.end is None else [part.between(None, settings.end) for part in chosen]


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
    strategies: Sequence[Strategy | PanelStrategy],
    bars: Mapping[str, Bars],
    market: Market,
) -> list[list[Sleeve]]:
    """Return the sleeves of each entry."""
    run, groups = settings.run_settings, []
    for entry, strategy in zip(entries, strategies, strict=True):
        own = [bars[symbol] for symbol in entry.traded]
        groups.append(sleeves_of(evaluation_of(entry, strategy, run), own, market))
    return groups


def _per_sleeve(values: FloatArray, groups: Sequence[Sequence[Sleeve]]) -> FloatArray:
    """Return the columns of entries repeated for each of their sleeves."""
    return np.repeat(values, [len(group) for group in groups], axis=1)


def _unit_exposures(
    settings: PortfolioSettings,
    strategies: Sequence[Strategy | PanelStrategy],
    groups: Sequence[Sequence[Sleeve]],
    bars: Mapping[str, Bars],
    market: Market,
) -> list[FloatArray]:
    """Return the exposure of each sleeve on the market's grid, from which its past returns are estimated.

    That of a strategy that decides by its position is not known before the run: it is the one where every target is
    reached at the next open.
    """
    return [
        followed_exposure(strategy, bars[sleeve.symbol], market, settings.run_settings)
        if isinstance(strategy, StatefulStrategy)
        else sleeve.exposure
        for strategy, group in zip(strategies, groups, strict=True)
        for sleeve in group
    ]


def _held_over_bars(
    sleeves: Sequence[Sleeve], exposures: Sequence[FloatArray], market: Market
) -> tuple[FloatArray, FloatArray]:
    columns = dict(zip(market.symbols, market.columns, strict=True))
    pairs = [
        held_over_bars(exposure, columns[sleeve.symbol].close)
        for sleeve, exposure in zip(sleeves, exposures, strict=True)
    ]
    held, returns = (np.column_stack(part) for part in zip(*pairs, strict=True))
    return held, returns


def _set_weights(
    settings: PortfolioSettings,
    entries: Sequence[StrategyEntry],
    groups: Sequence[Sequence[Sleeve]],
    held: FloatArray,
    returns: FloatArray,
    market: Market,
) -> Weights:
    """Set the weight and the rebalancing bars of every sleeve; return the weights of the entries."""
    allocation, rebalancing = settings.allocation, settings.rebalancing
    fixed = check_entries(entries, allocation)
    instants = first_closes(market.times, allocation.every)
    allocator = find_allocator(allocation.method)
    per_year = trailing_per_year(market.times, market.timeframe.bars_per_year, allocation.window)
    weights = walk_forward_weights(
        *held_by_entries(held, returns, list(map(len, groups))), instants, allocation, per_year, fixed, allocator
    )
    due = np.zeros(len(market), dtype=bool)
    if allocation.is_estimated:
        due |= instants
    if rebalancing.every is not None:
        due |= first_closes(market.times, rebalancing.every)
    rows = np.flatnonzero(due)
    columns = dict(zip(market.symbols, market.columns, strict=True))
    owners = [(place, sleeve) for place, group in enumerate(groups) for sleeve in group]
    for place, sleeve in owners:
        own = columns[sleeve.symbol].own_bars
        own_weights = weights.values[:, place]
        sleeve.weight = np.ascontiguousarray(own_weights) if allocation.is_estimated else float(own_weights[0])
        sleeve.rebalance_bars = frozenset((rows if own is None else _next_of(own, rows)).tolist())
    return weights


def _next_of(own: IntArray, rows: IntArray) -> IntArray:
    place = np.searchsorted(own, rows)
    return own[place[place < own.size]]


def _digests(
    settings: PortfolioSettings,
    strategies: Sequence[Strategy | PanelStrategy],
    known: Sequence[Bars],
    past: Sequence[Bars],
    market: Market,
    code: UserCode,
) -> dict[str, str]:
    traded = [trading_rules(instrument) for instrument in market.instruments.values()]
    start = first_traded(known, market)
    starts = [] if start is None else [{"start": start}]
    entries = [entry.model_copy(update={"parameters": {}}) for entry in ordered(settings.strategies)]
    named = settings.model_copy(update={"strategies": tuple(entries)})
    parts = list(map(parameter_digests, strategies))
    return {
        "config": digest_of([named.digest(), parts, traded, *starts]),
        "data": data_digest([*known, *past]),
        "code": code_digest(code),
        "seed": digest_of(settings.seed),
        "environment": environment_digest(),
    }
