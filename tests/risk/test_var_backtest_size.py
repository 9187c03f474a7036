"""Size and power of the VaR backtests: exact by counting where possible, otherwise by simulation."""

import math
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from peak_trade.core.bars import Bars
from peak_trade.core.history import ReturnHistory
from peak_trade.core.time import Timeframe
from peak_trade.risk.var_backtest import (
    christoffersen_conditional_coverage,
    christoffersen_independence,
    exceptions,
    kupiec_pof,
    most_yellow,
    traffic_light,
)
from peak_trade.studies.risk.value_at_risk import VAR_METHODS, var_tests, var_walk

LEVEL = 0.95
HALVED = float(stats.norm.sf(stats.norm.isf(1.0 - LEVEL) / 2.0))
"""Probability that a normal loss exceeds half of its value at risk at 95 %: 20.5 %."""
TESTS = {
    "Kupiec": lambda hits: kupiec_pof(hits, LEVEL),
    "independence": christoffersen_independence,
    "coverage": lambda hits: christoffersen_conditional_coverage(hits, LEVEL),
}
PAGE = (Path(__file__).parents[2] / "docs" / "risk.md").read_text(encoding="utf-8")


def rows_of(first_cell: str) -> list[list[str]]:
    """Return the cells of the table on the page whose header starts with a text."""
    lines = PAGE.splitlines()
    start = next(place for place, line in enumerate(lines) if line.startswith(first_cell))
    table = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        table.append([cell.strip() for cell in line.strip("|").split("|")])
    return table


@cache
def probabilities(n_days: int, rate: float) -> dict[tuple[bool, bool, int, int], float]:
    """Return the probability of every (first day, last day, exceptions, consecutive pairs) for independent days.

    All three statistics depend on nothing else. Numbers of exceptions with a total probability below 1e-12 are left
    out.
    """
    most = int(stats.binom.isf(1e-13, n_days, rate)) + 1
    chances = np.zeros((2, 2, most + 1, most + 1))
    chances[0, 0, 0, 0], chances[1, 1, 1, 0] = 1.0 - rate, rate
    for _ in range(n_days - 1):
        after = np.zeros_like(chances)
        after[:, 0] = (1.0 - rate) * (chances[:, 0] + chances[:, 1])
        after[:, 1, 1:, :] += rate * chances[:, 0, :-1, :]
        after[:, 1, 1:, 1:] += rate * chances[:, 1, :-1, :-1]
        chances = after
    assert chances.sum() == pytest.approx(1.0, abs=1e-11)
    return {(bool(f), bool(z), int(n), int(p)): float(chances[f, z, n, p]) for f, z, n, p in np.argwhere(chances > 0.0)}


def days_like(n_days: int, first: bool, last: bool, n_hits: int, n_pairs: int) -> np.ndarray:
    """Return days with these counts: runs of exceptions, the first one long, one day apart."""
    days: list[bool] = [] if first else [False]
    n_runs = n_hits - n_pairs
    for run in range(n_runs):
        days += [True] * (n_pairs + 1 if run == 0 else 1) + [False] * (run < n_runs - 1)
    quiet = [False] * (n_days - len(days))
    if not last:
        return np.array(days + quiet)
    place = days.index(False) if False in days else len(days)
    return np.array(days[:place] + quiet + days[place:])


@cache
def rejected(name: str, n_days: int, rate: float) -> float:
    """Return the exact probability that a test rejects at 5 % for independent exceptions with a given rate."""
    return math.fsum(
        chance
        for counts, chance in probabilities(n_days, rate).items()
        if chance > 1e-9 and TESTS[name](days_like(n_days, *counts)).p_value < 0.05
    )


def test_representative_days_have_their_counts():
    for n_days in (30, 31):
        for first, last, n_hits, n_pairs in probabilities(n_days, 0.1):
            hits = days_like(n_days, first, last, n_hits, n_pairs)
            found = (bool(hits[0]), bool(hits[-1]), int(hits.sum()), int((hits[1:] & hits[:-1]).sum()))
            assert hits.size == n_days
            assert found == (first, last, n_hits, n_pairs)


def test_the_exact_size_of_kupiec_is_the_binomial_probability_of_its_rejections():
    weight = sum(
        stats.binom.pmf(count, 250, 0.05)
        for count in range(251)
        if kupiec_pof(np.arange(250) < count, LEVEL).p_value < 0.05
    )
    assert rejected("Kupiec", 250, 0.05) == pytest.approx(weight, abs=1e-6)


@pytest.mark.parametrize("n_days", [250, 1_000])
@pytest.mark.parametrize("name", TESTS)
def test_the_simulated_size_is_the_exact_one_within_monte_carlo_error(name, n_days):
    n_runs = 2_000
    hits = np.random.default_rng(n_days).random((n_runs, n_days)) < 0.05
    simulated = np.mean([TESTS[name](days).p_value < 0.05 for days in hits])
    exact = rejected(name, n_days, 0.05)
    assert simulated == pytest.approx(exact, abs=4.0 * math.sqrt(exact * (1.0 - exact) / n_runs))


def test_the_exact_sizes_approach_five_percent_over_many_days():
    for name in ("Kupiec", "coverage"):
        assert rejected(name, 1_000, 0.05) == pytest.approx(0.05, abs=0.01)


def test_the_page_states_exact_sizes_and_powers():
    table = rows_of("| test | size, 250 days")
    assert [row[0] for row in table] == list(TESTS)
    for name, *stated in table:
        exact = [rejected(name, 250, 0.05), rejected(name, 1_000, 0.05), rejected(name, 250, HALVED)]
        assert stated == [f"{100.0 * share:.1f} %" for share in exact]


def test_a_halved_var_is_red_within_a_year_nearly_always():
    chance = stats.binom.sf(most_yellow(250, LEVEL), 250, HALVED)
    assert chance > 0.9999
    assert traffic_light(round(250 * HALVED), 250, LEVEL) == "red"


def test_a_halved_var_that_was_estimated_walk_forward_is_found_in_every_run():
    n_runs, rng = 40, np.random.default_rng(8)
    for _ in range(n_runs):
        history = ReturnHistory("daily", 10**18, ["A/USDT"], rng.normal(0.0, 0.02, (1, 500)))
        _, stated = exceptions(np.ones(1), history, "parametric", LEVEL)
        hits = -history.returns[0, 250:] > stated / 2.0
        assert kupiec_pof(hits, LEVEL).p_value < 0.05
        assert traffic_light(int(hits.sum()), 250, LEVEL) == "red"


def test_the_page_states_the_results_of_the_models_on_real_days(real_data):
    bars = []
    for name in ("BTC", "ETH", "SOL"):
        frame = pd.read_parquet(real_data / "bars" / f"binance_{name}USDT_1h.parquet").set_index("timestamp")
        frame.index = pd.DatetimeIndex(frame.index).as_unit("ns") + pd.Timedelta("1h")
        bars.append(Bars(frame.astype(float), f"{name}/USDT", Timeframe.parse("1h")))
    weights = {part.symbol: 1.0 / 3.0 for part in bars}
    table = var_tests({method: var_walk(bars, weights, method) for method in VAR_METHODS})
    stated = rows_of("| model | days | exceptions")
    made = [
        [f"`{row.model}`", str(row.n_days), str(row.n_exceptions), str(row.n_without)]
        + [f"{p:.3f}" for p in (row.kupiec_p, row.independence_p, row.coverage_p)]
        + [row.zone]
        for row in table.itertuples()
    ]
    assert made == stated
