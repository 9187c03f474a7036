"""Costs are estimated with intervals that contain the true value at the stated rate, and a backtest takes them."""

from __future__ import annotations

import math
import random
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peak_trade.cli import main
from peak_trade.core.bars import Bars
from peak_trade.costs.fit import line_estimate, mean_estimate, median_estimate
from peak_trade.costs.model import Costs
from peak_trade.data.sample import sample_bars
from peak_trade.data.store import save_bars
from peak_trade.diff.external import LogBars, recording_of_log
from peak_trade.engine.settings import BacktestSettings
from peak_trade.journal.events import SnapshotEvent
from peak_trade.sessions.store import session_ids
from peak_trade.strategies.ma_crossover import MaCrossover
from peak_trade.studies.backtest import backtest
from peak_trade.studies.cost_fit import CostFit, cost_samples, fit_costs, fitted
from peak_trade.wiring.run_file import read_run_file
from tests.diff.external_logs import LoggedOrder, as_csv, orders_in, written_and_read
from tests.examples import examples
from tests.tolerances import RTOL_SAME

SYMBOL = "BTC/USDT"
FEE, MAKER_FEE, SLIPPAGE, SIZE_EFFECT, LATENCY_MS = 7.5, 2.0, 6.0, 100.0, 900.0
"""Costs of the simulated logs: bps, bps, bps, bps for the volume of a bar, and the median latency."""
TRUE = {"taker_fee": FEE, "maker_fee": MAKER_FEE, "size_effect": SIZE_EFFECT, "latency": LATENCY_MS}


@cache
def bars() -> Bars:
    return sample_bars(SYMBOL, n_bars=300)


def simulated_log(seed: int, n_market: int = 50, n_limit: int = 12) -> tuple[CostFit, float]:
    """The costs fitted to a log with known ones, and the true mean slippage of its orders."""
    rng, held = random.Random(seed), bars()
    orders, slippages = [], []
    for number in range(n_market + n_limit):
        bar = rng.randrange(2, len(held) - 2)
        open_, volume = float(held.frame["open"].iloc[bar]), float(held.frame["volume"].iloc[bar])
        is_market, side = number < n_market, rng.choice(["buy", "sell"])
        size = rng.uniform(0.001, 0.05)
        late = LATENCY_MS * math.exp(rng.gauss(0.0, 0.6)) if is_market else rng.uniform(1e3, 1e6)
        time = int(held.times[bar - 1]) + int(late * 1e6)
        price = open_
        if is_market:
            slippages.append(SLIPPAGE + SIZE_EFFECT * size)
            price *= 1.0 + (1 if side == "buy" else -1) * (slippages[-1] + rng.gauss(0.0, 4.0)) / 1e4
        quantity = size * volume
        fee = round(quantity * price * (FEE if is_market else MAKER_FEE) / 1e4, 2)
        orders.append(
            LoggedOrder(f"x-{number}", SYMBOL, side, "market" if is_market else "limit", quantity, time, time, "FILLED",
                        quantity, price, fee, "USDT", None if is_market else open_)
        )  # fmt: skip
    events = written_and_read(orders, "orders-csv")
    series = LogBars({SYMBOL: held}, {SYMBOL: held})
    recording = recording_of_log("log", events, series, {"trading.initial_cash": 1e6})
    return fitted("log", cost_samples(recording, series, events), Costs()), float(np.mean(slippages))


def coverage(n_draws: int) -> dict[str, float]:
    """Fraction of the draws whose interval contains the true value, for each cost."""
    inside = dict.fromkeys(("slippage", *TRUE), 0)
    for seed in range(n_draws):
        found, slippage = simulated_log(seed)
        for name, value in (TRUE | {"slippage": slippage}).items():
            estimate = found.estimates[name]
            assert estimate is not None
            inside[name] += estimate.low <= value <= estimate.high
            assert name != "slippage" or estimate.high - estimate.low < 4.0
    return {name: count / n_draws for name, count in inside.items()}


def lowest(n_draws: int) -> float:
    """Smallest coverage that is within 4 standard errors of 95 %."""
    return 0.95 - 4.0 * math.sqrt(0.95 * 0.05 / n_draws)


@pytest.mark.long
@pytest.mark.parametrize("n_draws", [30, pytest.param(200, marks=pytest.mark.long)])
def test_intervals_contain_the_true_costs_at_the_stated_rate(n_draws):
    found = coverage(n_draws)
    assert min(found.values()) >= lowest(n_draws), found


@settings(max_examples=examples(40), deadline=None)
@given(st.lists(st.floats(-1e3, 1e3), min_size=5, max_size=40), st.floats(-1e3, 1e3), st.floats(0.01, 100.0))
def test_estimates_move_and_scale_with_the_observations(values, shift, scale):
    moved = [scale * value + shift for value in values]
    for estimate_of in (mean_estimate, median_estimate):
        one, other = estimate_of(values), estimate_of(moved)
        assert one is not None
        assert other is not None
        assert one.low <= one.value <= one.high
        for name in ("value", "low", "high"):
            expected = scale * getattr(one, name) + shift
            assert math.isclose(getattr(other, name), expected, rel_tol=1e-9, abs_tol=1e-9 * (1e3 * scale + 1e3))


@given(st.floats(-50.0, 50.0), st.floats(-500.0, 500.0))
@settings(max_examples=examples(20), deadline=None)
def test_the_line_of_points_on_a_line_is_that_line(intercept, slope):
    sizes = [0.001 * number for number in range(1, 12)]
    found = line_estimate(sizes, [intercept + slope * size for size in sizes])
    assert found is not None
    assert math.isclose(found[0].value, intercept, rel_tol=1e-9, abs_tol=1e-8)
    assert math.isclose(found[1].value, slope, rel_tol=1e-9, abs_tol=1e-8)
    assert line_estimate([1.0] * 6, [1.0] * 6) is None
    assert mean_estimate([1.0] * 4) is None


def test_the_interval_of_a_median_is_that_of_the_table_of_the_binomial():
    found = median_estimate([float(number) for number in range(1, 21)])
    assert found is not None
    assert (found.low, found.high, found.value) == (6.0, 15.0, 10.5)


@pytest.fixture
def imported(home: Path, monkeypatch, tmp_path: Path) -> str:
    """A workspace with bars, and the imported log of a backtest that paid 26 bps and slipped by 9 bps."""
    monkeypatch.chdir(tmp_path)
    held = sample_bars(SYMBOL, n_bars=400)
    save_bars(held)
    real = BacktestSettings.parse({"costs": {"fee_bps": 26.0, "slippage_bps": 9.0}}, "test")
    Path("trades.csv").write_text(as_csv(orders_in(backtest(MaCrossover(fast=5, slow=15), held, real).events, 10**9)))
    assert main(["audit", "import", "trades.csv", "--format", "orders-csv"]) == 0
    return session_ids()[0]


def test_the_fitted_costs_close_the_gap_and_are_a_run_file(imported, capsys):
    assert main(["costs", "fit", imported, "--out", "costs.toml"]) == 0
    text = capsys.readouterr().out
    assert "they close " in text
    found = fit_costs(imported)
    assert found.closed > 0.9
    costs = read_run_file(Path("costs.toml")).settings.costs
    assert costs == found.costs
    assert math.isclose(costs.fee_bps, 26.0, rel_tol=1e-9)
    assert math.isclose(costs.slippage_bps, 9.0, rel_tol=1e-2)
    assert found.latency is not None
    assert math.isclose(found.latency.value, 1_000.0, rel_tol=RTOL_SAME)


@pytest.mark.long
def test_a_session_is_fitted_as_a_log(home, monkeypatch):
    from peak_trade.studies.diff import example

    monkeypatch.setattr("peak_trade.studies.cost_fit.read_recording", example)
    found = fit_costs("example-live")
    assert found.taker_fee is not None
    assert math.isclose(found.taker_fee.value, 26.0, rel_tol=1e-9)
    assert found.slippage is not None
    assert found.slippage.low < 5.0 + 9.0 < found.slippage.high


def test_wrong_input_is_refused_in_one_line(imported, capsys):
    few = Path("trades.csv").read_text().splitlines()[:4]
    Path("few.csv").write_text("\n".join(few) + "\n")
    Path("other.csv").write_text(Path("trades.csv").read_text().replace("BTC/USDT", "DOGE/USDT"))
    for name in ("few.csv", "other.csv"):
        assert main(["audit", "import", name, "--format", "orders-csv"]) == 0
    ids = {name.rpartition("_")[2]: name for name in session_ids()}
    capsys.readouterr()
    for name, expected in (
        (ids["few"], "market orders with a fill; at least 5 are needed"),
        (ids["other"], "no bars of DOGE/USDT are held"),
        ("nothing", "neither a session nor a recorded backtest"),
    ):
        assert main(["costs", "fit", name, "--out", "costs.toml"]) == 2
        error = capsys.readouterr().err
        assert expected in error
        assert error.count("\n") == 1
        assert not Path("costs.toml").exists()


def test_slippage_against_a_book_is_measured_from_its_middle_if_it_is_recent():
    held = bars()
    orders, books = [], []
    for number, bar in enumerate(range(10, 70, 5)):
        open_, time = float(held.frame["open"].iloc[bar]), int(held.times[bar - 1]) + 10**9
        middle = open_ * 1.001
        age = 5 if number < 8 else 120
        levels = (((middle - 1.0, 1.0),), ((middle + 1.0, 1.0),))
        books.append(SnapshotEvent(time, SYMBOL, 0.0, time - age * 10**9, *levels))
        paid = middle * 1.0004
        orders.append(
            LoggedOrder(f"x-{number}", SYMBOL, "buy", "market", 0.1, time, time, "FILLED", 0.1, paid, 0.0, "USDT")
        )
    events = written_and_read(orders, "orders-csv")
    series = LogBars({SYMBOL: held}, {SYMBOL: held})
    recording = recording_of_log("log", events, series, {"trading.initial_cash": 1e6})
    found = fitted("log", cost_samples(recording, series, [*books, *events]), Costs()).book_slippage
    assert found is not None
    assert found.n == 8
    assert math.isclose(found.value, 4.0, rel_tol=1e-6)
