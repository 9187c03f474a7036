"""Studies of strategies, detectors and stored bars that are given by name, as on the command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from peak_trade.causality.check import DEFAULT_CUTS, check_causality, check_in_fresh_processes, check_panel
from peak_trade.causality.evaluation import can_be_imported
from peak_trade.causality.report import CausalityReport
from peak_trade.core.bars import Bars
from peak_trade.core.errors import ConfigError, listed
from peak_trade.core.executor import Executor
from peak_trade.core.time import Timeframe
from peak_trade.core.windows import Scheme
from peak_trade.data.sample import synthetic_bars
from peak_trade.data.store import load_bars
from peak_trade.engine.result import BacktestResult
from peak_trade.strategies.panel import PanelStrategy
from peak_trade.studies.backtest import backtest as run_backtest
from peak_trade.studies.noise import NoiseControl
from peak_trade.studies.portfolio.result import PortfolioResult
from peak_trade.studies.portfolio.run import run_portfolio
from peak_trade.studies.regime.naming import Naming, name_regimes
from peak_trade.studies.regime.second_opinion import RegimeOpinion, regime_second_opinion
from peak_trade.studies.regime.study import RegimeStudy, noise_controls, study_regimes
from peak_trade.studies.sweep.result import SweepResult
from peak_trade.studies.sweep.run import sweep as run_sweep
from peak_trade.studies.sweep.settings import SweepSettings
from peak_trade.studies.walk_forward.result import WalkForward
from peak_trade.studies.walk_forward.run import walk_forward as run_walk_forward
from peak_trade.wiring.detectors import detector_values, make_detector
from peak_trade.wiring.digests import user_strategies
from peak_trade.wiring.exchanges import fee_preset
from peak_trade.wiring.gates import source_of
from peak_trade.wiring.portfolio_settings import PortfolioSettings
from peak_trade.wiring.run_file import read_run_file
from peak_trade.wiring.sleeves import extra_columns_of
from peak_trade.wiring.strategies import (
    is_panel_strategy,
    make_panel_strategy,
    make_strategy,
    parameter_grid,
    strategy_class,
)


@dataclass(frozen=True, slots=True)
class Span:
    """Bars of the store by name: a timeframe, an exchange (None: the only one) and close times from start to end.

    Bars before the start warm a run up, unless it is cold.
    """

    timeframe: str = "1h"
    exchange: str | None = None
    start: str | None = None
    end: str | None = None
    is_cold: bool = False

    def bars(self, symbol: str, columns: Sequence[str] = ()) -> Bars:
        """Load the bars of a symbol with extra columns, and with the bars before the start unless the run is cold."""
        if self.is_cold or self.start is None:
            return load_bars(symbol, self.timeframe, self.exchange, self.start, self.end, columns=columns)
        bars = load_bars(symbol, self.timeframe, self.exchange, None, self.end, columns=columns)
        bars.between(self.start, self.end)
        return bars

    @property
    def warm_start(self) -> str | None:
        """The start of a run that knows earlier bars; None for a cold one."""
        return None if self.is_cold else self.start


@dataclass(frozen=True, slots=True)
class RegimeOutcome:
    """A regime study with its verdict and the p-value of the circular-shift test."""

    study: RegimeStudy
    detector_settings: dict[str, Any]
    """The settings of the detector that were given, as values."""
    p_value: float
    verdict: list[str]
    naming: Naming
    opinion: RegimeOpinion | None = None
    noise: tuple[NoiseControl, ...] = ()


def overriding_settings(
    cash: float | None = None,
    fees: str | None = None,
    fee_bps: float | None = None,
    slippage_bps: float | None = None,
) -> dict[str, Any]:
    """Return the settings of a backtest that override those of a run file.

    Raises
    ------
    ConfigError
        On an exchange whose fees are not in EXCHANGES, or one that is given together with a fee.

    """
    if fees is not None and fee_bps is not None:
        raise ConfigError(f"--fees {fees} and --fee-bps {fee_bps:g} are both given. Choose one.")
    costs = {} if fees is None else dict(fee_preset(fees))
    costs |= {} if fee_bps is None else {"fee_bps": fee_bps}
    costs |= {} if slippage_bps is None else {"slippage_bps": slippage_bps}
    return ({} if cash is None else {"initial_cash": cash}) | ({"costs": costs} if costs else {})


def backtest(
    strategy: str,
    parameters: Mapping[str, str],
    symbols: Sequence[str],
    span: Span,
    *,
    run_file: Path | None = None,
    overrides: dict[str, Any] | None = None,
    causality_check: bool = True,
) -> BacktestResult:
    """Backtest a strategy on stored bars.

    `overrides` are settings that take precedence over those of `run_file`; see `overriding_settings`.
    """
    part = make_strategy(strategy, parameters)
    given = overrides or {}
    run = read_run_file(run_file, given)
    bars = [span.bars(name, extra_columns_of(part)) for name in symbols]
    needs_history = span.is_cold and span.start is not None and run.risk is not None and source_of(run.risk)[0] == "run"
    history = [load_bars(name, span.timeframe, span.exchange, None, span.end) for name in symbols if needs_history]
    return run_backtest(
        part,
        bars,
        run.settings,
        instruments=run.instruments,
        risk=run.risk,
        history=history or None,
        start=span.warm_start,
        causality_check=causality_check,
    )


def sweep(
    given: SweepSettings,
    *,
    is_cold: bool = False,
    run_file: Path | None = None,
    overrides: dict[str, Any] | None = None,
    n_best: int = 10,
    is_confirmed: bool = False,
    n_processes: int | None = None,
    cluster: str = "",
    causality_check: bool = True,
) -> SweepResult:
    """Evaluate parameter sets of a strategy on stored bars; see `studies.sweep.run.sweep`.

    `overrides` are settings that take precedence over those of `run_file`; see `overriding_settings`. A text of the
    parameters lists values and ranges by comma.
    """
    if not given.parameters:
        raise ConfigError(
            f"sweep of {given.strategy}: there are no values to try. Give them in [parameters] or with -p."
        )
    part = strategy_class(given.strategy)
    run = read_run_file(run_file, overrides or {})
    texts = {name: value for name, value in given.parameters.items() if isinstance(value, str)}
    span = Span(given.timeframe, given.exchange, given.start, given.end, is_cold)
    return run_sweep(
        part,
        dict(given.parameters) | parameter_grid(part, texts),
        span.bars(given.symbol, extra_columns_of(part)),
        run.settings,
        span.warm_start,
        constraints=given.constraints,
        method=given.method,
        n_sets=given.sets,
        seed=given.seed,
        instruments=run.instruments,
        risk=run.risk,
        n_best=n_best,
        is_confirmed=is_confirmed,
        n_processes=n_processes,
        cluster=cluster,
        causality_check=causality_check,
    )


def walk_forward(
    strategy: str,
    parameters: Mapping[str, str],
    symbol: str,
    span: Span,
    *,
    train: str,
    test: str,
    purge: str = "0",
    embargo: str = "0",
    scheme: Scheme = "rolling",
    run_file: Path | None = None,
    overrides: dict[str, Any] | None = None,
    constraints: Sequence[str] = (),
    n_best: int = 5,
    is_confirmed: bool = False,
    n_processes: int | None = None,
    cluster: str = "",
    causality_check: bool = True,
) -> WalkForward:
    """Choose parameters on training windows of stored bars and trade them on the windows that follow; see `sweep`."""
    part = strategy_class(strategy)
    run = read_run_file(run_file, overrides or {})
    return run_walk_forward(
        part,
        parameter_grid(part, parameters),
        span.bars(symbol, extra_columns_of(part)),
        run.settings,
        span.warm_start,
        train=train,
        test=test,
        scheme=scheme,
        purge=purge,
        embargo=embargo,
        constraints=constraints,
        instruments=run.instruments,
        risk=run.risk,
        n_best=n_best,
        is_confirmed=is_confirmed,
        n_processes=n_processes,
        cluster=cluster,
        causality_check=causality_check,
    )


def portfolio(
    file: Path,
    *,
    is_cold: bool = False,
    causality_check: bool = True,
) -> PortfolioResult:
    """Backtest the portfolio of a file; a cold one ignores the bars before its start."""
    return run_portfolio(
        PortfolioSettings.from_toml(file),
        is_cold=is_cold,
        causality_check=causality_check,
    )


def regime(
    strategy: str,
    parameters: Mapping[str, str],
    symbol: str,
    span: Span,
    *,
    detector: str = "hmm",
    detector_settings: Mapping[str, str] | None = None,
    mode: str = "scale",
    n_noise: int = 0,
    n_label_runs: int = 5,
    n_processes: int | None = None,
    cluster: str = "",
    causality_check: bool = True,
) -> RegimeOutcome:
    """Detect regimes on stored bars and backtest a strategy with and without them from `span.start` on.

    The bars before the start warm the detector up. `n_noise` series of each kind of noise control are run, and the
    detector with `n_label_runs` other seeds and start bars, where `n_processes` and `cluster` say; see `Executor`.
    """
    executor = Executor(n_processes, cluster)
    part = make_strategy(strategy, parameters)
    values = detector_values(detector_settings or {})
    found = make_detector(detector, Timeframe.parse(span.timeframe), values)
    bars = load_bars(symbol, span.timeframe, span.exchange, None, span.end)
    study = study_regimes(part, bars, found, start=span.start, causality_check=causality_check, mode=mode)
    p_value, _ = study.shift_test()
    noise = noise_controls(study, n_noise, executor=executor) if n_noise else ()
    naming = name_regimes(study, n_label_runs, executor)
    return RegimeOutcome(study, values, p_value, study.verdict(p_value, noise), naming, noise=noise)


def with_opinion(outcome: RegimeOutcome) -> RegimeOutcome:
    """Return the outcome with its fits compared with hmmlearn."""
    return replace(outcome, opinion=regime_second_opinion(outcome.study))


def causality(
    strategy: str,
    parameters: Mapping[str, str],
    symbols: Sequence[str] = (),
    span: Span | None = None,
    *,
    n_bars: int = 3_000,
    n_cuts: int = DEFAULT_CUTS,
    seed: int = 0,
) -> list[CausalityReport]:
    """Check that a strategy does not look ahead, on stored bars of a symbol or on `n_bars` generated ones.

    A strategy that a user wrote is checked in fresh processes, so that state in files and libraries is found. A panel
    strategy is checked in this process, with one report for the bars of each symbol; without symbols it gets two
    generated ones.
    """
    chosen = span or Span()
    is_panel = is_panel_strategy(strategy)
    made = make_panel_strategy(strategy, parameters) if is_panel else make_strategy(strategy, parameters)
    columns = extra_columns_of(made)
    names = chosen.timeframe, chosen.exchange, chosen.start, chosen.end
    bars = [load_bars(symbol, *names, columns=columns) for symbol in symbols]
    if isinstance(made, PanelStrategy):
        generated = [synthetic_bars(n_bars, seed + place, columns) for place in (0, 1)]
        bars = bars or [replace(part, symbol=f"{name}/USD") for name, part in zip("AB", generated, strict=True)]
        reports = check_panel(made, bars, n_cuts=n_cuts, seed=seed)
        return reports if user_strategies(made) else [replace(report, state_note="") for report in reports]
    if len(bars) > 1:
        raise ConfigError(f"strategy {strategy}: symbol was {listed(symbols)}, and it sees one symbol. Give one.")
    (own,) = bars or [synthetic_bars(n_bars, seed, columns)]
    if not user_strategies(made):
        return [replace(check_causality(made, own, n_cuts=n_cuts, seed=seed), state_note="")]
    if not can_be_imported(made):
        return [check_causality(made, own, n_cuts=n_cuts, seed=seed)]
    return [check_in_fresh_processes(strategy, parameters, own, n_cuts, seed)]
