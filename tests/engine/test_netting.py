"""Netted sleeves on lots: the changes of all sleeves sum to the position of the account."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peak_trade.core.values import Instrument
from peak_trade.engine.market import Market
from peak_trade.engine.result import run_sleeves
from peak_trade.engine.settings import BacktestSettings
from peak_trade.engine.sleeve import Sleeve
from tests.engine.running import bars_of
from tests.engine.scenarios import A, flat
from tests.engine.test_laws import random_bars, seeds
from tests.examples import examples


def test_a_sleeve_that_exits_is_flat_and_the_other_absorbs_the_rounding():
    market = Market.of([bars_of(A, [flat(100)] * 5)], {A: Instrument(A, lot_size=1.0)})
    costs = {"fee_bps": 0.0, "slippage_bps": 0.0, "max_participation": None}
    stays = Sleeve("stays", A, np.ones(5), 0.45)
    leaves = Sleeve("leaves", A, np.array([1.0, 1.0, 0.0, 0.0, 0.0]), 0.55)
    settings = BacktestSettings.parse({"initial_cash": 1000.0, "costs": costs}, "test")
    result = run_sleeves(market, [stays, leaves], settings, is_netted=True)
    moved = {
        name: sum(quantity for _, owner, _, quantity, _ in result.movements if owner == name)
        for name in ("stays", "leaves")
    }
    assert result.positions[A][-1] == 4.0
    assert moved["leaves"] == pytest.approx(0.0, abs=1e-12)
    assert moved["stays"] == pytest.approx(4.0)


@given(seeds, st.sampled_from([1e-8, 1e-7, 1e-5, 0.3]))
@settings(max_examples=examples(20), deadline=None)
def test_a_sleeve_alone_orders_the_same_lots_netted_or_not(seed: int, lot: float) -> None:
    """Small changes of a large position: the float noise of the position exceeds that of the change."""
    bars = random_bars(seed)
    market = Market.of([bars], {bars.symbol: Instrument(bars.symbol, lot_size=lot)})
    chosen = BacktestSettings.parse({"initial_cash": 1e7, "costs": {"max_participation": None}}, "test")
    exposure = 0.5 + 1e-6 * np.random.default_rng(seed).random(len(market))
    runs = [
        run_sleeves(market, [Sleeve("alone", bars.symbol, exposure)], chosen, is_netted=is_netted)
        for is_netted in (False, True)
    ]
    alone, netted = ([fill.quantity for fill in run.fill_list] for run in runs)
    assert alone == netted
