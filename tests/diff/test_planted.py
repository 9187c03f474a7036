"""Each planted fault is found with its cause, and nothing else is a root."""

from __future__ import annotations

import random

import pytest

from peak_trade.diff.result import DiffResult, diff
from tests.diff.planting import LOG_FAULTS, SIMULATED_FAULTS, bars_of, plant, run, simulate
from tests.examples import mostly_long

SEEDS = (0, 1, 2)


@pytest.fixture(scope="module")
def runs():
    """A clean run over the bars of each seed."""
    return {seed: (bars_of(seed), run(bars_of(seed))) for seed in SEEDS}


def named(result: DiffResult) -> list[tuple[str, str, str]]:
    return sorted((str(each.cause), each.kind, each.shadow_order) for each in result.roots)


def expected(planted) -> list[tuple[str, str, str]]:
    return sorted((str(each.cause), each.kind, each.order_id) for each in planted)


def has_exact_waterfall(result: DiffResult) -> bool:
    amounts = result.waterfall["amount"].to_numpy()
    return abs(amounts[:-1].sum() - amounts[-1]) < 1e-6


@pytest.mark.parametrize(
    ("fault", "seed"), mostly_long([(fault, seed) for fault in LOG_FAULTS for seed in SEEDS], len(LOG_FAULTS))
)
def test_a_fault_in_the_log_is_the_one_root(runs, fault, seed):
    _, clean = runs[seed]
    faulty, planted = plant(clean, [fault], random.Random(seed))
    result = diff(clean, faulty)
    assert named(result) == expected(planted)
    assert has_exact_waterfall(result)


@pytest.mark.parametrize("seed", mostly_long(SEEDS, 1))
@pytest.mark.parametrize("fault", mostly_long(SIMULATED_FAULTS, 4))
def test_a_fault_before_the_run_is_the_one_root_of_all_that_follows(runs, fault, seed):
    bars, clean = runs[seed]
    faulty, (planted,) = simulate(bars, [fault], random.Random(seed))
    result = diff(clean, faulty)
    assert [(str(each.cause), each.kind) for each in result.roots] == [(str(planted.cause), planted.kind)]
    assert {each.cause for each in result.differences} == {planted.cause}
    assert has_exact_waterfall(result)


@pytest.mark.parametrize("seed", range(6))
def test_six_faults_in_one_log_are_six_roots(runs, seed):
    _, clean = runs[seed % 3]
    rng = random.Random(seed)
    faulty, planted = plant(clean, [rng.choice(list(LOG_FAULTS)) for _ in range(6)], rng)
    result = diff(clean, faulty)
    assert sorted((cause, kind) for cause, kind, _ in named(result)) == sorted(
        (cause, kind) for cause, kind, _ in expected(planted)
    )
    assert has_exact_waterfall(result)
