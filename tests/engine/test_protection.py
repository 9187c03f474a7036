"""Interaction of stops, flips and limits: fills are at traded prices, and positions are protected exactly once."""

import numpy as np
import pytest

from peak_trade.core.values import Instrument, OrderType
from peak_trade.engine.market import Market
from peak_trade.engine.result import run_sleeves
from peak_trade.engine.settings import BacktestSettings
from peak_trade.engine.sleeve import Sleeve
from peak_trade.journal.events import OrderEvent, OrderEventKind
from peak_trade.risk.limits import RiskLimits
from peak_trade.wiring.gates import make_risk_engine
from tests.engine.running import bars_of, run_scenario
from tests.engine.scenarios import A, B, bar, flat, one


def traded(result):
    return [
        (bar_index, fill.side.value, pytest.approx(fill.quantity), pytest.approx(fill.price))
        for bar_index, fill in zip(result.fill_bars, result.fill_list, strict=True)
    ]


def run(bars, exposure, **more):
    return run_scenario(one("case", bars, exposure, [], **more))


def loop_of(bars, exposure, *, limits=None, instrument=None, drift_band=None, **execution):
    costs = {"fee_bps": 0.0, "slippage_bps": 0.0, "max_participation": None}
    settings = BacktestSettings.parse({"initial_cash": 1000.0, "costs": costs, "execution": execution}, "test")
    given = bars_of(A, bars)
    market = Market.of([given], {A: instrument or Instrument(A)})
    sleeves = [Sleeve("case", A, np.array(exposure, dtype=float))]
    return run_sleeves(market, sleeves, settings, risk_engine=make_risk_engine(limits, [given]), drift_band=drift_band)


def test_a_stop_sent_again_at_an_open_beyond_its_level_fills_at_that_open():
    """Half is bought at 100 and half at an open of 90, which is below the stop that then protects both."""
    rows = [flat(100, 10), flat(100, 5), bar(90, 91, 89, 90, 100), flat(90, 100)]
    result = run(rows, [1, 1, 1, 1], execution={"stop_loss": 0.02}, costs={"max_participation": 1.0})
    stops = [fill for fill in result.fill_list if fill.reason == "stop_loss"]
    assert stops
    assert all(fill.price <= 90.0 for fill in stops)


def test_a_stop_closer_than_the_slippage_does_not_sell_above_the_bar():
    rows = [flat(100), bar(100, 100.1, 99, 99.5), flat(99.5)]
    result = run(rows, [1, 1, 1], execution={"stop_loss": 0.002}, costs={"slippage_bps": 50.0})
    stop = next(fill for fill in result.fill_list if fill.reason == "stop_loss")
    assert stop.reference_price <= 100.1


def test_the_trailing_stop_of_a_flipped_position_starts_at_its_own_entry():
    rows = [flat(100), flat(100), bar(100, 150, 100, 150), bar(145, 145, 145, 145), bar(145, 160, 145, 160), flat(160)]
    result = run(rows, [0.5, 0.5, -0.5, -0.5, -0.5, -0.5], execution={"trailing_stop": 0.05})
    cover = result.fill_list[-1]
    assert (cover.reason, cover.side.value) == ("trailing_stop", "buy")
    assert cover.price == pytest.approx(145.0 * 1.05)


def test_the_trailing_stop_keeps_its_level_when_the_target_shrinks():
    rows = [flat(100), bar(100, 150, 100, 150), flat(149), flat(148), bar(148, 148, 120, 120), flat(120)]
    result = run(rows, [1, 1, 0.5, 0.5, 0.5, 0.5], execution={"trailing_stop": 0.1})
    stop = next(fill for fill in result.fill_list if fill.reason == "trailing_stop")
    assert stop.price == pytest.approx(150.0 * 0.9)


def test_the_trailing_stop_follows_the_bar_that_it_entered_at_the_open_of():
    rows = [flat(100), bar(100, 150, 100, 148), bar(148, 148, 120, 120), flat(120)]
    result = run(rows, [1, 1, 1, 1], execution={"trailing_stop": 0.1})
    stop = next(fill for fill in result.fill_list if fill.reason == "trailing_stop")
    assert stop.price == pytest.approx(150.0 * 0.9)


def test_a_flip_beats_the_stop_at_the_same_open():
    rows = [flat(100), flat(100), flat(100), flat(80), flat(80)]
    result = run(rows, [1, 1, -1, -1, -1], execution={"stop_loss": 0.1})
    assert traded(result) == [(1, "buy", 10, 100), (3, "sell", 20, 80)]


def test_a_limit_entry_of_a_flip_is_reviewed_as_a_short():
    rows = [flat(100), flat(100), flat(100), bar(100, 101, 100, 101), flat(100)]
    exposure, limit = [0.5, 0.5, -1, -1, -1], {"order_type": OrderType.LIMIT, "limit_offset_bps": 0.0}
    free = loop_of(rows, exposure, **limit)
    held = loop_of(rows, exposure, limits=RiskLimits(max_symbol_exposure=0.6), **limit)
    assert free.positions[A].min() == -10.0
    assert held.positions[A].min() == 0.0


def test_a_limit_flip_never_shorts_an_instrument_without_shorts():
    rows = [flat(100), flat(100), flat(100), bar(100, 101, 100, 101), flat(100)]
    result = loop_of(
        rows,
        [1, 1, -1, -1, -1],
        instrument=Instrument(A, is_shortable=False),
        order_type=OrderType.LIMIT,
        limit_offset_bps=0.0,
    )
    assert result.positions[A].min() >= 0.0


def test_drift_is_corrected_while_a_stop_protects_the_position():
    rows = [flat(100), flat(100), *[flat(200)] * 3]
    plain = loop_of(rows, [0.5] * 5, drift_band=0.1)
    stopped = loop_of(rows, [0.5] * 5, drift_band=0.1, stop_loss=0.5)
    assert len(plain.fill_list) == 2
    assert traded(stopped) == traded(plain)


def test_the_benchmark_buys_a_symbol_that_starts_later():
    early, late = bars_of(A, [flat(100)] * 5), bars_of(B, [None, None, flat(50), flat(50), flat(50)])
    market = Market.of([early, late])
    result = run_sleeves(market, [Sleeve("case", A, np.zeros(5))], BacktestSettings())
    assert {fill.symbol for fill in result.benchmark.fill_list} == {A, B}


@pytest.mark.parametrize("side", [1, -1], ids=["buy", "sell"])
def test_a_fill_without_slippage_at_a_price_on_the_grid_is_at_that_price(side):
    for n_ticks in (6_000_001, 6_000_007, 2_999_999, 4_321_987, 29):
        price = n_ticks / 100
        result = run([flat(price), flat(price), flat(price)], [side] * 3, instrument={"tick_size": 0.01})
        assert result.fill_list[0].price == price


def test_no_dust_is_left_or_protected_after_partial_fills_on_a_lot_grid():
    rows = [flat(100, 100), flat(100, 0.1), flat(100, 0.2), flat(100, 0.1), *[flat(100, 100)] * 4]
    result = run(
        rows,
        [0.3, 0.3, 0.3, 0.3, 0.3, 0, 0, 0],
        execution={"stop_loss": 0.1},
        costs={"max_participation": 1.0},
        instrument={"lot_size": 0.1},
    )
    assert result.positions[A][-1] == 0.0
    dust = [event for event in result.events if isinstance(event, OrderEvent) and event.quantity < 0.05]
    assert dust == []


def test_both_levels_of_a_position_are_no_duplicates_of_each_other():
    limits = RiskLimits(duplicate_window=7200.0)
    result = loop_of([flat(100)] * 6, [1, 1, 1, 0, 0, 0], limits=limits, stop_loss=0.1, take_profit=0.1)
    denied = [event for event in result.events if getattr(event, "event", None) is OrderEventKind.DENIED]
    assert denied == []
    assert result.positions[A][-1] == 0.0


def test_a_bar_that_holds_trailing_stop_and_target_is_ambiguous():
    rows = [flat(100), flat(100), bar(100, 120, 80, 100), flat(100)]
    assert run(rows, [1] * 4, execution={"trailing_stop": 0.1, "take_profit": 0.1}).n_ambiguous == 1


def test_an_exit_that_traded_nothing_leaves_the_position_protected():
    rows = [flat(100), flat(100), flat(100), flat(100, 0), bar(100, 100, 50, 50), flat(50)]
    result = run(
        rows,
        [1, 1, 0, 0, 0, 0],
        execution={"stop_loss": 0.1, "time_in_force": "ioc"},
        costs={"max_participation": 0.5},
    )
    assert [fill.reason for fill in result.fill_list] == ["target", "stop_loss"]


def test_a_target_sent_again_at_an_open_beyond_it_sells_at_that_open():
    """The rest of the entry fills at an open above the target, which is then sent again."""
    rows = [flat(100, 10), flat(100, 5), bar(120, 125, 119, 121, 100), flat(121, 100)]
    more = {"execution": {"take_profit": 0.05}, "costs": {"max_participation": 1.0}}
    fills = run(rows, [1] * 4, **more).fill_list
    assert all(119.0 <= fill.price <= 125.0 for fill in fills if fill.reason == "take_profit")


@pytest.mark.parametrize(
    ("execution", "wanted", "level"),
    [({}, 0.5, 45.0), ({"order_type": "stop", "stop_offset_bps": 200.0}, 0.9, 45.9)],
    ids=["nothing-to-order", "an-entry-rests"],
)
def test_an_exit_that_is_canceled_unfilled_leaves_the_position_protected(execution, wanted, level):
    """The bar after the exit has no volume, and at its close the target asks for the position again."""
    rows = [flat(50), bar(50, 51, 50, 50), flat(50, 0), bar(50, 50, 44, 44), flat(44)]
    result = run(
        rows,
        [0.5, 0.0, wanted, wanted, wanted],
        execution={"stop_loss": 0.1, **execution},
        costs={"max_participation": 0.5},
    )
    assert traded(result)[1:] == [(3, "sell", 10, level)]
