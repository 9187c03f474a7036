"""Backtest one or more strategies over one or more symbols."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from itertools import product

import numpy as np
import pandas as pd

from peak_trade.causality.short import check_run, naming_look_ahead
from peak_trade.core.arguments import checks_arguments
from peak_trade.core.bars import Bars, as_bars
from peak_trade.core.digest import digest_of, environment_digest
from peak_trade.core.errors import ConfigError
from peak_trade.core.progress import progress
from peak_trade.core.time import iso
from peak_trade.core.values import Instrument
from peak_trade.engine.inputs import RunInputs
from peak_trade.engine.market import Market
from peak_trade.engine.result import BacktestResult, run_sleeves
from peak_trade.engine.settings import BacktestSettings, check_leverage
from peak_trade.engine.sleeve import Sleeve
from peak_trade.risk.limits import RiskLimits
from peak_trade.strategies.base import Strategy
from peak_trade.tracking.counting import counted
from peak_trade.tracking.trials import Evaluation, Observations
from peak_trade.wiring.digests import code_digest, config_digest, data_digest, user_code_digest
from peak_trade.wiring.gates import declared_history, make_risk_engine, require_sources
from peak_trade.wiring.sleeves import sleeve_for
from peak_trade.wiring.user_code import UserCode, user_code


@checks_arguments(strategy="a Strategy, or make_strategy(name)")
def backtest(
    strategy: Strategy | Sequence[Strategy],
    bars: Bars | pd.DataFrame | Sequence[Bars],
    settings: BacktestSettings | None = None,
    *,
    instruments: Mapping[str, Instrument] | None = None,
    risk: RiskLimits | None = None,
    history: Sequence[Bars] | None = None,
    start: datetime | str | None = None,
    causality_check: bool = True,
) -> BacktestResult:
    """Run every strategy on every symbol from one cash account, with an equal share of equity for each pair.

    Parameters
    ----------
    strategy : Strategy or sequence of Strategy
    bars : Bars, sequence of Bars (one per symbol), or DataFrame of shape (n_bars, 5)
        A DataFrame is taken as symbol X/USD with its most frequent step as the timeframe.
    settings : BacktestSettings, optional
        Cash, costs, execution and sizing.
    instruments : mapping of symbol to Instrument, optional
        Lots, ticks and minimum notionals. Defaults to none.
    risk : RiskLimits, optional
        Limits that every order is checked against. Each decision is then an event with its inputs.
    history : sequence of Bars, optional
        Earlier bars of the same symbols for risk estimates. Defaults to those that `[risk.var] source` names.
    start : datetime or ISO text, optional
        First close time that is traded, UTC. Strategies, sizing and risk estimates know the bars before it, as in a
        session with the same start. Defaults to the first bar.
    causality_check : bool
        Whether to check the strategies that a user wrote for look-ahead, in short; see `check_run`. The run does not
        depend on the outcome, which is the first of its remarks.

    Returns
    -------
    BacktestResult

    Raises
    ------
    StrategyError
        When an exposure breaks the contract of a strategy.
    DataError
        When the bars are malformed, none is at or after `start`, or a risk estimate has too little history.
    ConfigError
        When settings, symbols or limits do not fit together.

    Examples
    --------
    >>> from peak_trade.data.sample import sample_bars
    >>> from peak_trade.strategies.ma_crossover import MaCrossover
    >>> result = backtest(MaCrossover(fast=5, slow=10), sample_bars("BTC/USDT", n_bars=200))
    >>> len(result.equity)
    200

    """
    settings = settings or BacktestSettings()
    require_sources(risk, "a backtest")
    strategies = list(strategy) if isinstance(strategy, Sequence) else [strategy]
    given = _as_bars_list(bars)
    names = _names(strategies)
    traded = given if start is None else [part.between(start) for part in given]
    market = Market.of(traded, dict(instruments or {}))
    check_leverage(list(market.instruments.values()), settings, risk)
    weight = 1.0 / (len(strategies) * len(given))
    past = history or declared_history(
        risk, {part.symbol: part.exchange for part in given}, int(market.times[0]), int(market.times[-1])
    )
    code = user_code(strategies)
    digests = _digests(strategies, given, past, market, settings, risk, code)
    evaluation = Evaluation.of([digests["config"]], user_code_digest(code), digests["data"], given, market.times)
    with counted(evaluation) as trial:
        outcomes = check_run(product(strategies, given[:1]), is_wanted=causality_check)
        with naming_look_ahead(outcomes):
            sleeves = [
                sleeve_for(part, name, symbol_bars, market, settings, weight, priority)
                for priority, (part, name) in enumerate(zip(strategies, names, strict=True))
                for symbol_bars in given
            ]
        past_risk = make_risk_engine(risk, given, past=past)
        with progress("backtest") as on_progress:
            result = run_sleeves(
                market, sleeves, settings, lambda bar: on_progress(bar, len(market)), risk_engine=past_risk
            )
        best = None
        if result.n_ambiguous:
            rival = settings.model_copy(update={"intrabar": "best"})
            unused = [_unused(sleeve) for sleeve in sleeves]
            best = run_sleeves(market, unused, rival, risk_engine=make_risk_engine(risk, given, past=past))
        trial.observe = partial(Observations.of_equity, result.equity_values, market.times, market.timeframe)
    return replace(
        result,
        strategies=tuple(names),
        parameters={name: part.model_dump(mode="json") for name, part in zip(names, strategies, strict=True)},
        digests=digests,
        exchange=", ".join(sorted({part.exchange for part in given})),
        best_intrabar=best,
        causality=outcomes,
        notes=(*(note for part in given for note in part.notes), *code.notes),
        warm_up=warm_up_notes(given, market),
        inputs=RunInputs(
            "backtest",
            {"strategy": strategies, "settings": settings, "instruments": market.instruments, "risk": risk},
            tuple(strategies),
            tuple(given),
            tuple(past),
            first_traded(given, market),
        ),
        not_rerunnable=code.not_rerunnable,
    )


def first_traded(bars: Sequence[Bars], market: Market) -> int | None:
    """Return the first close of a market, ns UTC, if there are earlier bars; None otherwise."""
    first = int(market.times[0])
    return first if any(_first_close(part) < first for part in bars) else None


def warm_up_notes(bars: Sequence[Bars], market: Market) -> tuple[str, ...]:
    """Return a sentence for each symbol that has bars before the first close of a market."""
    first = int(market.times[0])
    known = {part.symbol: int(np.searchsorted(part.times, first)) for part in bars if _first_close(part) < first}
    return tuple(
        f"The run starts at {iso(first)}: {n_bars:,} earlier bars of {symbol} warm it up and are not traded."
        for symbol, n_bars in known.items()
    )


def _first_close(bars: Bars) -> int:
    return int(bars.frame.index[0].value)


def _unused(sleeve: Sleeve) -> Sleeve:
    return Sleeve(
        sleeve.strategy,
        sleeve.symbol,
        sleeve.exposure if sleeve.stepper is None else np.zeros_like(sleeve.exposure),
        sleeve.weight,
        sleeve.scale,
        sleeve.atr,
        sleeve.priority,
        sleeve.rebalance_bars,
        None if sleeve.stepper is None else sleeve.stepper.fresh(),
    )


def _digests(
    strategies: Sequence[Strategy],
    bars: Sequence[Bars],
    past: Sequence[Bars],
    market: Market,
    settings: BacktestSettings,
    risk: RiskLimits | None,
    code: UserCode,
) -> dict[str, str]:
    instruments = [column.instrument for column in market.columns]
    return {
        "config": config_digest(strategies, settings, instruments, risk, first_traded(bars, market)),
        "data": data_digest([*bars, *past]),
        "code": code_digest(code),
        "seed": digest_of(settings.seed),
        "environment": environment_digest(),
    }


def _as_bars_list(bars: Bars | pd.DataFrame | Sequence[Bars]) -> list[Bars]:
    if isinstance(bars, Bars):
        return [bars]
    if isinstance(bars, pd.DataFrame):
        return [as_bars(bars)]
    return list(bars)


def _names(strategies: Sequence[Strategy]) -> list[str]:
    if not strategies:
        raise ConfigError("a run needs at least one strategy. For none at all, use the strategy cash.")
    plain = [part.name for part in strategies]
    return [
        name if plain.count(name) == 1 else f"{name}_{plain[: place + 1].count(name)}"
        for place, name in enumerate(plain)
    ]
