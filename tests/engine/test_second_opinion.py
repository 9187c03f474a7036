"""The second opinion on runs in whole lots: it agrees with every sound run and finds one lot too many or too few."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from peak_trade.core import rounding
from peak_trade.core.bar_frame import COLUMNS
from peak_trade.core.bars import Bars
from peak_trade.core.values import Instrument
from peak_trade.costs.model import Costs
from peak_trade.engine import simulated_venue, traders
from peak_trade.engine.market import Market
from peak_trade.engine.result import BacktestResult, run_event_loop, run_sleeves
from peak_trade.engine.second_opinion import second_opinion
from peak_trade.engine.settings import BacktestSettings
from peak_trade.engine.sleeve import Sleeve
from peak_trade.risk.limits import RiskLimits
from peak_trade.wiring.gates import make_risk_engine
from tests.engine.running import HOUR
from tests.engine.test_laws import random_bars, random_exposure
from tests.examples import examples, mostly_long

N_BARS = 40
SYMBOL = "AAA/USD"

seeds = st.integers(0, 2**32 - 1)
lots = st.sampled_from([1e-8, 1e-5, 0.001, 0.01, 0.07, 0.1, 0.25, 0.3, 1.0, 5.0])
cash = st.sampled_from([123.45, 1_000.0, 10_000.0, 1e6])
costs = st.sampled_from([{}, {"fee_bps": 0.0, "slippage_bps": 0.0}, {"fee_bps": 25.0, "slippage_bps": 0.0}])
grids = st.sampled_from([0.0, 0.01, 0.5, 2.0])
"""Step of the prices, 0.0 for none. Round prices make amounts that are whole lots but for float noise."""


def random_run(
    seed: int, lot: float, cash: float, costs: dict[str, Any], grid: float, decimals: int | None = None
) -> BacktestResult:
    """Return a run whose targets have the given number of decimals, by default a random one."""
    rng = np.random.default_rng(seed)
    close = 20.0 * np.exp(np.cumsum(rng.normal(0.0, 0.03, N_BARS)))
    opened = np.concatenate(([20.0], close[:-1])) * np.exp(rng.normal(0.0, rng.choice([0.0, 0.01]), N_BARS))
    if grid:
        opened, close = (np.maximum(np.round(prices / grid), 1.0) * grid for prices in (opened, close))
    columns = (opened, np.maximum(opened, close), np.minimum(opened, close), close, np.full(N_BARS, 1e9))
    index = pd.date_range("2024-01-01 01:00", periods=N_BARS, freq="h", tz="UTC")
    bars = Bars(pd.DataFrame(dict(zip(COLUMNS, columns, strict=True)), index=index), SYMBOL, HOUR)
    drawn = int(rng.choice([0, 1, 2, 15]))
    levels = np.round(rng.uniform(-1.0, 1.0, N_BARS), drawn if decimals is None else decimals)
    exposure = np.repeat(levels, rng.integers(1, 6, N_BARS))[:N_BARS]
    fraction = 1.0 if decimals == 0 else float(rng.choice([0.3, 1.0]))
    values = {
        "initial_cash": cash,
        "costs": {"max_participation": None, **costs},
        "sizing": {"kind": "fraction_of_equity", "fraction": fraction},
    }
    market = Market.of([bars], {SYMBOL: Instrument(SYMBOL, lot_size=lot)})
    sleeve = Sleeve("random", SYMBOL, exposure, scale=np.full(N_BARS, fraction))
    return run_event_loop(market, [sleeve], BacktestSettings.parse(values, "random"))


@given(seeds, lots, cash, costs, grids)
@settings(max_examples=examples(60), deadline=None)
def test_vectorbt_agrees_with_every_sound_run_in_whole_lots(
    seed: int, lot: float, cash: float, costs: dict[str, Any], grid: float
) -> None:
    result = random_run(seed, lot, cash, costs, grid)
    assume(result.bankrupt_bar is None)
    opinion = second_opinion(result)
    assert opinion.agrees, str(opinion)
    assert opinion.scope == "decisions"


@pytest.mark.parametrize("weight", [0.7, np.linspace(0.2, 0.9, N_BARS)], ids=["constant", "per-bar"])
@pytest.mark.parametrize("lot", [0.0, 0.1])
def test_a_sleeve_with_a_weight_of_its_own_is_booked(weight: Any, lot: float) -> None:
    """vectorbt knows no weights, so a portfolio of one sleeve is compared fill by fill."""
    bars = random_bars(5, n_bars=N_BARS)
    market = Market.of([bars], {bars.symbol: Instrument(bars.symbol, lot_size=lot)})
    sleeve = Sleeve("random", bars.symbol, random_exposure(5, N_BARS), weight)
    opinion = second_opinion(run_sleeves(market, [sleeve], BacktestSettings(costs=Costs(max_participation=None))))
    assert opinion.agrees, str(opinion)
    assert (opinion.scope, opinion.n_fills > 3) == ("bookkeeping", True)


def test_orders_that_are_sized_to_limits_are_booked() -> None:
    """vectorbt knows no limits, so a run whose orders they make smaller is compared fill by fill."""
    bars = random_bars(5)
    limits = RiskLimits.parse({"max_order_notional": 3_000.0, "size_to_limits": True}, "test")
    chosen = BacktestSettings(costs=Costs(max_participation=None))
    sleeve = Sleeve("random", bars.symbol, random_exposure(5))
    engine = make_risk_engine(limits, [bars])
    opinion = second_opinion(run_sleeves(Market.of([bars]), [sleeve], chosen, risk_engine=engine))
    assert opinion.agrees, str(opinion)
    assert (opinion.scope, opinion.n_fills > 3) == ("bookkeeping", True)


def one_lot_less(amount: float, step: float) -> float:
    return rounding.floor_to(np.copysign(max(abs(amount) - step, 0.0), amount), step)


def one_lot_more(amount: float, step: float) -> float:
    return rounding.floor_to(amount + np.copysign(step, amount), step) if amount else 0.0


def float_floor(amount: float, step: float) -> float:
    return float(np.copysign(abs(amount) // step * step, amount))


@pytest.mark.parametrize(
    ("module", "decimals", "wrong"),
    mostly_long(
        [
            (traders, 2, one_lot_less),
            (traders, 2, one_lot_more),
            (traders, 2, float_floor),
            (simulated_venue, 0, one_lot_less),
            (simulated_venue, 0, one_lot_more),
        ],
        1,
    ),
)
@pytest.mark.parametrize("lot", mostly_long([1e-8, 0.1], 1))
def test_a_wrong_count_of_lots_is_found(
    module: Any, decimals: int, wrong: Any, lot: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong count for targets, or for what cash can buy, is found in each run whose fills it changes."""
    n_changed = 0
    for seed in range(4):
        run = [seed, lot, 10_000.0, {"fee_bps": 25.0}, 0.5, decimals]
        sound = random_run(*run)
        with monkeypatch.context() as planted:
            planted.setattr(module, "floor_to", wrong)
            result = random_run(*run)
        if result.fill_list != sound.fill_list:
            n_changed += 1
            assert not second_opinion(result).agrees
    assert n_changed >= 3
