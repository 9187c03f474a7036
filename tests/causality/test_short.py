"""Every run checks the strategies that a user wrote; the outcome stands in the run, its record and its pages."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from peak_trade.causality import short
from peak_trade.causality.short import BUDGET, RUN_FRACTION, check_run
from peak_trade.cli import main
from peak_trade.core.arrays import FloatArray
from peak_trade.core.bars import Bars
from peak_trade.core.causality import CausalityVerdict
from peak_trade.core.errors import StrategyError
from peak_trade.data.sample import save_samples, synthetic_bars
from peak_trade.regimes.detector import filter_regimes
from peak_trade.regimes.rules import RulesDetector
from peak_trade.regimes.states import FilteredRegimes
from peak_trade.reports.views import backtest as backtest_view
from peak_trade.reports.views import portfolio as portfolio_view
from peak_trade.strategies.base import Strategy
from peak_trade.strategies.composite import Composite
from peak_trade.strategies.ma_crossover import MaCrossover
from peak_trade.studies.backtest import backtest
from peak_trade.studies.portfolio.run import run_portfolio
from peak_trade.studies.recording import record
from peak_trade.studies.regime.strategy import RegimeAware
from peak_trade.studies.regime.study import study_regimes
from peak_trade.studies.risk.decisions import outcome as risk_outcome
from peak_trade.studies.sweep.run import sweep
from peak_trade.tracking import show_run
from peak_trade.wiring.portfolio_settings import PortfolioSettings
from tests.causality import planted
from tests.examples import mostly_long

LEAKS = planted.LEAKS + planted.RARE + planted.KEEPS_STATE


@pytest.fixture(scope="module")
def bars() -> Bars:
    return synthetic_bars(1_200)


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    short._known.clear()
    yield
    short._known.clear()
    planted.FITTED.clear()


class Ticks:
    """A clock that moves by one step per reading."""

    def __init__(self, step: float = 0.0) -> None:
        self.step, self.now = step, 0.0

    def __call__(self) -> float:
        self.now += self.step
        return self.now


@pytest.mark.parametrize("part", mostly_long(LEAKS, 6), ids=lambda part: part.__name__)
def test_the_short_check_finds_every_planted_leak(part: type[Strategy], bars: Bars) -> None:
    (outcome,) = check_run([(part(), bars)], clock=Ticks())
    assert outcome.verdict is CausalityVerdict.LOOKS_AHEAD
    assert f"{part().name} LOOKS AHEAD" in outcome.sentence


@pytest.mark.parametrize("part", mostly_long(planted.CLEAN, 1), ids=lambda part: part.__name__)
def test_the_short_check_flags_no_strategy_without_look_ahead(part: type[Strategy], bars: Bars) -> None:
    (outcome,) = check_run([(part(), bars)], clock=Ticks(0.002))
    assert outcome.verdict is CausalityVerdict.CAUSAL, outcome.sentence
    assert "writes into" not in outcome.sentence


@pytest.mark.long
def test_rounding_and_writes_are_named(bars: Bars) -> None:
    (outcome,) = check_run([(planted.BlockedArithmetic(), bars)], clock=Ticks())
    assert outcome.verdict is CausalityVerdict.ROUNDING
    (outcome,) = check_run([(Smooths(), bars)], clock=Ticks())
    assert outcome.verdict is CausalityVerdict.CAUSAL
    assert "writes into its bars: close at " in outcome.sentence


class Smooths(planted.Clean):
    """Smooths the close in its own frame."""

    def exposure(self, bars: pd.DataFrame) -> FloatArray:
        bars["close"] = bars["close"].ewm(span=5).mean()
        return (bars["close"].diff() > 0.0).to_numpy(dtype=float)


class Counts(planted.Clean):
    """Counts the bars that it is evaluated on; takes `seconds` per bar of a clock."""

    seconds: float = 0.0

    def exposure(self, bars: pd.DataFrame) -> FloatArray:
        SEEN.seconds += self.seconds * len(bars)
        SEEN.n_bars += len(bars)
        return np.zeros(len(bars))


SEEN = SimpleNamespace(seconds=0.0, n_bars=0)
"""What evaluations took and saw; the check does not reset objects of the standard library."""


@pytest.mark.parametrize("seconds", mostly_long([1e-6, 1e-5, 1e-4, 1e-3, 1e-2], 1))
@pytest.mark.parametrize("n_bars", [1_000, 20_000])
def test_the_check_costs_the_larger_of_its_budget_and_its_share(seconds: float, n_bars: int) -> None:
    SEEN.seconds = 0.0
    (outcome,) = check_run([(Counts(seconds=seconds), synthetic_bars(n_bars))], clock=lambda: SEEN.seconds)
    assert outcome.verdict is CausalityVerdict.CAUSAL
    smallest = 6 * (Counts().warm_up + 64) * seconds
    first = (30 + (min(n_bars, 4_096) - 30) // 8 + 1) * seconds
    assert 0.0 < SEEN.seconds - first <= max(1.2 * BUDGET, RUN_FRACTION * seconds * n_bars * 1.2, smallest)


def test_the_outcome_is_computed_once_for_one_source_parameters_and_bars(bars: Bars) -> None:
    (first,) = check_run([(Counts(), bars), (Counts(), bars)])
    n_first = SEEN.n_bars
    assert check_run([(Counts(), bars)]) == (first,)
    assert SEEN.n_bars == n_first
    check_run([(Counts(seconds=1e-9), bars)])
    assert SEEN.n_bars > n_first


def test_strategies_of_the_package_are_exempt_and_those_of_a_user_found_within_them(bars: Bars) -> None:
    leaky = planted.NegativeShift()
    assert check_run([(MaCrossover(), bars), (Composite(), bars)]) == ()
    for outer in (Composite(members=(MaCrossover(), leaky)), RegimeAware(inner=leaky, detector=RulesDetector())):
        (outcome,) = check_run([(outer, bars)], clock=Ticks())
        assert outcome.strategy == "negative_shift"
        assert outcome.verdict is CausalityVerdict.LOOKS_AHEAD


DRAWS = np.random.default_rng(3)


class Draws(planted.Clean):
    """Draws from a generator of the module and from the global ones."""

    def exposure(self, bars: pd.DataFrame) -> FloatArray:
        drawn = DRAWS.random(len(bars)) + np.random.random(len(bars)) + random.random()  # noqa: NPY002
        return np.asarray(drawn > 1.5, dtype=np.float64)


@pytest.mark.long
def test_the_check_draws_no_random_numbers_from_the_run(bars: Bars) -> None:
    np.random.seed(1)  # noqa: NPY002
    random.seed(1)
    before = DRAWS.bit_generator.state
    (outcome,) = check_run([(Draws(), bars)], clock=Ticks())
    assert "depends on earlier calls" in outcome.sentence
    assert DRAWS.bit_generator.state == before
    drawn = random.random(), float(np.random.random())  # noqa: NPY002
    np.random.seed(1)  # noqa: NPY002
    random.seed(1)
    assert drawn == (random.random(), float(np.random.random()))  # noqa: NPY002


class Hindsight(RulesDetector):
    """Labels that look one bar ahead."""

    def filter(self, bars: pd.DataFrame) -> FilteredRegimes:
        found = super().filter(bars)
        return replace(found, labels=np.roll(found.labels, -1))


@pytest.mark.long
def test_regimes_that_were_filtered_over_all_bars_do_not_hide_a_detector_that_looks_ahead(bars: Bars) -> None:
    filtered = filter_regimes(bars.frame, Hindsight())
    aware = RegimeAware.of(MaCrossover(), filtered, detector=Hindsight())
    (outcome,) = check_run([(aware, bars)], clock=Ticks())
    assert outcome.verdict is CausalityVerdict.LOOKS_AHEAD


class OwnRules(RulesDetector):
    """A detector of a user."""


def test_a_strategy_with_a_users_detector_is_checked_as_a_whole(bars: Bars) -> None:
    (outcome,) = check_run([(RegimeAware(inner=MaCrossover(), detector=OwnRules()), bars)])
    assert outcome.strategy == "regime_aware_ma_crossover"


class Raises(planted.Clean):
    """Raises on every frame."""

    def exposure(self, bars: pd.DataFrame) -> FloatArray:
        raise ValueError("no\nbars " + "x" * 900)


def test_the_check_never_raises(bars: Bars) -> None:
    (outcome,) = check_run([(Raises(), bars)])
    assert outcome.verdict is CausalityVerdict.NOT_TESTED
    assert "\n" not in outcome.sentence
    assert len(outcome.sentence) <= 600
    (outcome,) = check_run([(Counts(), synthetic_bars(40))])
    assert outcome.sentence == "counts was not tested for look-ahead: 40 bars are too few for a warm-up of 30."


def test_a_backtest_says_so_and_does_not_change(bars: Bars) -> None:
    checked = backtest(planted.ModuleCache(), bars)
    short._known.clear()
    unchecked = backtest(planted.ModuleCache(), bars, causality_check=False)
    assert checked.content_digest == unchecked.content_digest
    assert checked.run_id == unchecked.run_id
    assert [each.verdict for each in checked.causality] == [CausalityVerdict.LOOKS_AHEAD]
    assert checked.remarks[0].startswith("module_cache LOOKS AHEAD")
    assert unchecked.remarks[0] == "module_cache was not checked for look-ahead: the check was switched off."
    for words in (" ".join(checked.assumptions), backtest_view.outcome(checked), str(risk_outcome(checked))):
        assert "module_cache LOOKS AHEAD" in words
    assert backtest(MaCrossover(), bars).causality == ()


def test_a_run_without_trades_says_so_too(bars: Bars) -> None:
    result = backtest(Counts(), bars)
    assert "counts shows no look-ahead" in backtest_view.outcome(result)


def test_an_error_of_a_strategy_that_looks_ahead_says_so(bars: Bars) -> None:
    """NaN in the last bars comes from a shift to the past: a longer warm-up would be the wrong remedy."""
    settings = {
        "timeframe": "1h",
        "strategies": [{"name": f"{planted.__name__}:ShowsAsNanOnly", "symbol": bars.symbol}],
    }
    runs = (
        lambda check: backtest(planted.ShowsAsNanOnly(), bars, causality_check=check),
        lambda check: sweep(planted.ShowsAsNanOnly, {}, bars, causality_check=check),
        lambda check: run_portfolio(PortfolioSettings.parse(settings, "x"), [bars], causality_check=check),
    )
    for run in runs:
        with pytest.raises(StrategyError, match=r"exposure is NaN at .* shows_as_nan_only LOOKS AHEAD"):
            run(True)
        with pytest.raises(StrategyError, match=r"state a longer warm-up\.$"):
            run(False)


@pytest.mark.long
@pytest.mark.usefixtures("registry")
def test_the_record_of_a_run_has_the_outcome(bars: Bars) -> None:
    def tags() -> tuple[str, str]:
        shown = show_run(run_id)[run_id]
        return shown["tag", "note.causality_verdict"], shown["tag", "note.causality"]

    run_id = record(backtest(planted.NegativeShift(), bars, causality_check=False))
    assert tags()[0] == "not checked"
    assert record(backtest(planted.NegativeShift(), bars)) == run_id
    assert tags()[0] == "looks ahead"
    assert "LOOKS AHEAD" in tags()[1]
    record(backtest(planted.NegativeShift(), bars, causality_check=False))
    assert tags()[0] == "looks ahead", "a run that was checked stays so"


@pytest.mark.long
@pytest.mark.usefixtures("home")
def test_a_sweep_checks_the_first_set_and_the_best_ones(bars: Bars) -> None:
    grid = {"window": list(range(1, 31))}
    result = sweep(planted.ModuleCache, grid, bars, n_best=4)
    best = [int(row) for row in result.best(4).index]
    assert list(result.causality) == list(dict.fromkeys([0, *best]))
    n_checked = len(result.causality)
    assert result.winner.causality[0].verdict is CausalityVerdict.LOOKS_AHEAD
    assert result.causality_sentence.startswith(
        f"{n_checked} of 30 parameter sets were checked for look-ahead, the first and the best ones: "
        f"{n_checked} LOOK AHEAD. module_cache LOOKS AHEAD"
    )
    off = sweep(planted.ModuleCache, grid, bars, causality_check=False)
    assert off.causality_sentence == ("0 of 30 parameter sets were checked for look-ahead: the check was switched off.")
    assert off.run_id == result.run_id
    assert sweep(MaCrossover, {"fast": [5, 10]}, bars).causality_sentence == ""


@pytest.mark.long
def test_regime_studies_and_portfolios_say_so(bars: Bars) -> None:
    study = study_regimes(planted.NegativeShift(), bars, RulesDetector())
    assert any("negative_shift LOOKS AHEAD" in sentence for sentence in study.remarks)
    assert study.baseline.causality == study.result.causality
    settings = PortfolioSettings.parse(
        {
            "timeframe": "1h",
            "strategies": [
                {"name": "tests.causality.planted:NegativeShift", "symbol": bars.symbol},
                {"name": "ma_crossover", "symbol": bars.symbol},
            ],
        },
        "portfolio",
    )
    result = run_portfolio(settings, [bars])
    assert [each.strategy for each in result.run.causality] == ["negative_shift"]
    assert any("negative_shift LOOKS AHEAD" in sentence for sentence in portfolio_view.outcome(result))
    (off, _) = run_portfolio(settings, [bars], causality_check=False).run.causality
    assert off.verdict is CausalityVerdict.NOT_CHECKED


@pytest.mark.long
@pytest.mark.usefixtures("home")
def test_the_commands_print_the_outcome(capsys: pytest.CaptureFixture[str]) -> None:
    save_samples()
    leaky = "tests.causality.planted:NegativeShift"
    place = ["--symbol", "BTC/USDT", "--end", "2023-02-01", "--no-record"]
    assert main(["backtest", "--strategy", leaky, *place]) == 0
    assert "negative_shift LOOKS AHEAD" in " ".join(capsys.readouterr().out.split())
    assert main(["backtest", "--strategy", leaky, *place, "--no-causality-check", "--json"]) == 0
    (outcome,) = json.loads(capsys.readouterr().out)["causality"]
    assert outcome["verdict"] == "not checked"
    module = "tests.causality.planted:ModuleCache"
    assert main(["sweep", "--strategy", module, *place, "-p", "window=5,6", "--top", "1"]) == 0
    assert "parameter sets were checked for look-ahead" in " ".join(capsys.readouterr().out.split())


def test_a_strategy_that_prints_does_not_print_in_the_check(bars: Bars, capsys: pytest.CaptureFixture[str]) -> None:
    class Prints(planted.Clean):
        def exposure(self, bars: pd.DataFrame) -> FloatArray:
            print(len(bars))  # noqa: T201
            return np.zeros(len(bars))

    (outcome,) = check_run([(Prints(), bars)])
    assert capsys.readouterr().out == ""
    assert "State not checked" in outcome.sentence


def test_a_class_of_the_workspace_has_no_such_note(bars: Bars) -> None:
    (outcome,) = check_run([(Counts(), bars)])
    assert "State not checked" not in outcome.sentence
