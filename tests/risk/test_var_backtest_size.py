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
from peak_trade.risk.limits import EWMA_DECAY, VarLimits, VarMethod
from peak_trade.risk.var_backtest import (
    christoffersen_conditional_coverage,
    christoffersen_independence,
    dynamic_quantile,
    kupiec_pof,
    most_yellow,
    traffic_light,
)
from peak_trade.risk.walk_forward import complete_walk
from peak_trade.studies.risk.value_at_risk import VAR_METHODS, coverage_table, daily_history, decay_losses
from tests.examples import mostly_long
from tests.risk.peers import PEERS, Peer, peer_var

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
        table.append([cell.strip().replace("\u2212", "-") for cell in line.strip("|").split("|")])
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


@cache
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


@pytest.mark.long
def test_the_exact_size_of_kupiec_is_the_binomial_probability_of_its_rejections():
    weight = sum(
        stats.binom.pmf(count, 250, 0.05)
        for count in range(251)
        if kupiec_pof(np.arange(250) < count, LEVEL).p_value < 0.05
    )
    assert rejected("Kupiec", 250, 0.05) == pytest.approx(weight, abs=1e-6)


@pytest.mark.parametrize("n_days", mostly_long([250, 1_000], 1))
@pytest.mark.parametrize("name", mostly_long(TESTS, 2))
def test_the_simulated_size_is_the_exact_one_within_monte_carlo_error(name, n_days):
    n_runs = 2_000
    hits = np.random.default_rng(n_days).random((n_runs, n_days)) < 0.05
    simulated = np.mean([TESTS[name](days).p_value < 0.05 for days in hits])
    exact = rejected(name, n_days, 0.05)
    assert simulated == pytest.approx(exact, abs=4.0 * math.sqrt(exact * (1.0 - exact) / n_runs))


@pytest.mark.long
def test_the_page_states_exact_sizes_and_powers_and_the_sizes_approach_five_percent_over_many_days():
    table = rows_of("| test | size, 250 days")
    assert [row[0] for row in table] == list(TESTS)
    for name, *stated in table:
        exact = [rejected(name, 250, 0.05), rejected(name, 1_000, 0.05), rejected(name, 250, HALVED)]
        assert stated == [f"{100.0 * share:.1f} %" for share in exact]
        assert name == "independence" or exact[1] == pytest.approx(0.05, abs=0.01)


def test_a_halved_var_is_red_within_a_year_nearly_always():
    chance = stats.binom.sf(most_yellow(250, LEVEL), 250, HALVED)
    assert chance > 0.9999
    assert traffic_light(round(250 * HALVED), 250, LEVEL) == "red"


@pytest.mark.long
@pytest.mark.parametrize("n_runs", [8, 40])
def test_a_halved_var_that_was_estimated_walk_forward_is_found_in_every_run(n_runs):
    rng = np.random.default_rng(8)
    for _ in range(n_runs):
        history = ReturnHistory("daily", 10**18, ["A/USDT"], rng.normal(0.0, 0.02, (1, 500)))
        (walk,) = complete_walk(np.ones(1), history, "parametric", (LEVEL,))
        hits = -history.returns[0, 250:] > walk.value_at_risk / 2.0
        assert kupiec_pof(hits, LEVEL).p_value < 0.05
        assert traffic_light(int(hits.sum()), 250, LEVEL) == "red"


@cache
def real_history(folder: Path) -> ReturnHistory:
    bars = []
    for name in ("BTC", "ETH", "SOL"):
        frame = pd.read_parquet(folder / "bars" / f"binance_{name}USDT_1h.parquet").set_index("timestamp")
        frame.index = pd.DatetimeIndex(frame.index).as_unit("ns") + pd.Timedelta("1h")
        bars.append(Bars(frame.astype(float), f"{name}/USDT", Timeframe.parse("1h")))
    return daily_history(bars)


def made_rows(history: ReturnHistory, methods: tuple[VarMethod, ...], side: float = 1.0) -> list[list[str]]:
    """Return the rows of the page's table of models; `side` is -1.0 for short portfolios."""
    portfolios = {name.split("/")[0]: (np.full(1, side), history.select((name,))) for name in history.symbols}
    portfolios["equal weights"] = (np.full(3, side / 3.0), history)
    table = coverage_table(portfolios, methods, n_paths=500)
    assert not table["n_without"].any()
    return [
        [f"`{row.model}`", row.portfolio, f"{100.0 * row.level:.0f} %", str(row.n_days), f"{row.expected:.1f}"]
        + [str(row.n_exceptions)]
        + [f"{value:.3f}" for value in (row.kupiec_p, row.coverage_p, row.quantile_p)]
        + [f"{row.z2:.2f}", f"{row.z2_critical:.2f}", f"{row.z2_p:.3f}"]
        for row in table.itertuples()
    ]


@pytest.mark.long
def test_the_page_states_the_results_of_the_default_model_on_real_days(real_data):
    stated = [row for row in rows_of("| model | portfolio") if row[0] == "`filtered_historical`"]
    assert made_rows(real_history(real_data), (VarLimits().method,)) == stated
    assert min(float(row[6]) for row in stated) > 0.05
    assert min(float(row[11]) for row in stated) > 0.05


@pytest.mark.long
def test_the_page_states_that_the_default_model_fails_for_short_portfolios(real_data):
    stated = rows_of("| short | level")
    made = [row[1:] for row in made_rows(real_history(real_data), (VarLimits().method,), side=-1.0)]
    assert made == stated
    assert [row[:2] for row in stated if float(row[5]) < 0.05] == [["BTC", "99 %"]]
    assert len([row for row in stated if float(row[10]) < 0.05]) == 4


@pytest.mark.long
def test_the_page_states_the_results_of_all_models_on_real_days(real_data):
    stated = rows_of("| model | portfolio")
    assert sorted(made_rows(real_history(real_data), VAR_METHODS)) == sorted(stated)
    rejected = [row for row in stated if row[0] == "`cornish_fisher`" and row[2] == "95 %"]
    assert max(float(row[6]) for row in rejected) < 0.05


def test_the_default_decay_has_the_smallest_loss_on_the_days_before_the_tested_ones(real_data):
    history = real_history(real_data)
    before = ReturnHistory("daily", history.as_of, history.symbols, history.returns[:, :500])
    (losses,) = rows_of("| decay |")
    header = next(line for line in PAGE.splitlines() if line.startswith("| decay |"))
    decays = [float(cell) for cell in header.strip("|").split("|")[1:]]
    table = decay_losses(before, decays)
    assert losses[1:] == [f"{loss:.3f}" for loss in table["mean"]]
    assert table["decay"][table["mean"].idxmin()] == VarLimits().ewma_decay == EWMA_DECAY
    whole = decay_losses(history, decays)
    assert whole["decay"][whole["mean"].idxmin()] == EWMA_DECAY


def peer_rows(history: ReturnHistory, peers: tuple[Peer, ...], symbols: tuple[str, ...]) -> list[list[str]]:
    """Return the rows of the page's table of peers, for symbols or, with none, for equal weights."""
    weights = np.full(len(history.symbols), 1.0 / len(history.symbols)) if not symbols else np.ones(1)
    part, levels = history.select(symbols or history.symbols), (0.95, 0.99)
    returns = (weights[:, None] * part.returns).sum(axis=0)
    name = symbols[0].split("/")[0] if symbols else "equal weights"
    rows = []
    for peer in peers:
        for level, stated in zip(levels, peer_var(returns, peer, levels), strict=True):
            hits = -returns[-stated.size :] > stated
            tests = kupiec_pof(hits, level), christoffersen_conditional_coverage(hits, level)
            clusters = dynamic_quantile(hits, stated, level, n_simulated=500).p_value
            expected = f"{hits.size * (1.0 - level):.1f}"
            numbers = [f"{test.p_value:.3f}" for test in tests] + [f"{clusters:.3f}"]
            rows.append([peer, name, f"{100.0 * level:.0f} %", expected, str(hits.sum()), *numbers])
    return rows


def check_peers(made: list[list[str]], stated: list[list[str]]) -> None:
    """Compare rows; the p-value of the dynamic quantile test depends on the last digits of the fitted parameters."""
    assert [row[:-1] for row in made] == [row[:-1] for row in stated]
    assert [float(row[-1]) for row in made] == pytest.approx([float(row[-1]) for row in stated], abs=0.01)


@pytest.mark.long
def test_the_page_states_the_results_of_all_peers(real_data):
    history = real_history(real_data)
    chosen = [*((symbol,) for symbol in history.symbols), ()]
    made = [row for symbols in chosen for row in peer_rows(history, PEERS, symbols)]
    stated = rows_of("| peer |")
    check_peers(sorted(made), sorted(stated))
    rejected = {(row[0], row[1], row[2]) for row in stated if min(float(row[5]), float(row[6])) < 0.05}
    assert rejected == {
        ("GARCH-normal FHS", "BTC", "95 %"),
        ("GARCH EVT", "BTC", "95 %"),
        ("GARCH EVT", "equal weights", "99 %"),
    }
    assert max(float(row[7]) for row in stated if row[1:3] == ["SOL", "99 %"]) < 0.05


@pytest.mark.long
def test_a_peer_keeps_its_coverage_on_days_of_its_own_law_and_looks_at_no_later_day():
    rng, variance, days = np.random.default_rng(31), 1e-3, []
    for _ in range(1_100):
        days.append(rng.normal() * variance**0.5)
        variance = 5e-5 + 0.1 * days[-1] ** 2 + 0.85 * variance
    returns = np.array(days)
    for peer in PEERS:
        (stated,) = peer_var(returns, peer, (LEVEL,), every=100)
        assert kupiec_pof(-returns[500:] > stated, LEVEL).p_value > 0.01
    changed = np.where(np.arange(1_100) < 750, returns, -3.0 * returns)
    (after,) = peer_var(changed, peer, (LEVEL,), every=100)
    np.testing.assert_array_equal(stated[:251], after[:251])
    assert stated[251] != after[251]
