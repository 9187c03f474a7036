"""The check that limits are live, on every limit that there is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peak_trade.risk.limits import RiskLimits
from peak_trade.studies.risk import liveness
from peak_trade.wiring.gates import GATES, read_risk_file
from tests.examples import examples, mostly_long

EVERY: dict[str, Any] = {
    "max_data_age": 60.0,
    "duplicate_window": 60.0,
    "max_orders": 5,
    "max_same_side_fills": 5,
    "max_order_notional": 500.0,
    "max_price_deviation": 0.05,
    "max_symbol_exposure": 0.5,
    "max_gross_exposure": 1.0,
    "max_net_exposure": 0.5,
    "max_concentration": 0.25,
    "max_open_orders": 3,
    "max_daily_loss": 500.0,
    "max_daily_loss_fraction": 0.05,
    "max_drawdown": 0.2,
    "liquidity": {"book": "declared", "max_bar_volume_share": 0.1},
    "var": {"max_expected_shortfall": 0.03},
    "stress": {"max_projected_drawdown": 0.1},
    "state": {
        "reduce_drawdown": 0.1,
        "halt_drawdown": 0.2,
        "reduce_daily_loss": 0.05,
        "halt_daily_loss": 0.1,
        "max_feed_age": 300.0,
    },
}
ALL = RiskLimits.parse(EVERY, "test")


def test_every_limit_is_planted_and_live():
    found = {check.setting: check for check in liveness.check_limits(ALL)}
    assert set(found) == {*ALL.in_force, liveness.RED_ZONE}
    assert [name for name, check in found.items() if not check.is_live] == []
    gated = {gate.setting for gate in GATES if gate.setting}
    assert gated == {name for name in found if not name.startswith("state.")} == set(liveness.PLANTS)


def test_limits_without_an_order_book_are_live():
    limits = RiskLimits.parse(EVERY | {"liquidity": {"max_bar_volume_share": 0.1}}, "test")
    assert all(check.is_live for check in liveness.check_limits(limits))


@pytest.mark.parametrize("name", ["risk", "risk_order_limits_example", "risk_liquidity_gate_example"])
def test_the_limits_that_are_shipped_are_live(name):
    path = Path(__file__).parents[2] / "config" / f"{name}.toml"
    checks = liveness.check_limits(read_risk_file(path))
    assert checks
    assert all(check.is_live for check in checks)


@pytest.mark.parametrize("setting", mostly_long([gate.setting for gate in GATES if gate.setting], 9))
def test_a_gate_that_lets_everything_pass_is_found(monkeypatch, setting):
    def open_gate(proposal):
        return (1.0, 0.0) if gate.is_floor else (0.0, 1.0)

    gate = next(each for each in GATES if each.setting == setting)
    changed = tuple(replace(each, measure=open_gate) if each is gate else each for each in GATES)
    monkeypatch.setattr("peak_trade.wiring.gates.GATES", changed)
    alone = {check.setting: check.is_live for check in liveness.check_limits(ALL)}
    assert alone.pop(setting) is False
    assert all(alone.values())


@given(
    st.floats(1e-3, 0.9),
    st.floats(1.0, 1e9),
    st.integers(1, 50),
)
@settings(max_examples=examples(8), deadline=None)
def test_limits_of_any_size_are_live(fraction, money, count):
    limits = RiskLimits(
        max_order_notional=money,
        max_daily_loss=money,
        max_orders=count,
        max_open_orders=count,
        max_drawdown=fraction,
        max_symbol_exposure=fraction,
        max_price_deviation=fraction,
        max_concentration=fraction,
    )
    assert all(check.is_live for check in liveness.check_limits(limits))


def test_a_switch_of_the_red_zone_needs_a_history_that_shows_it():
    limits = RiskLimits.parse({"var": {"max_var": 0.02}}, "test")
    assert [check.setting for check in liveness.check_limits(limits)] == ["var.max_var", liveness.RED_ZONE]
