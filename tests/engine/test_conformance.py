"""Conformance: every scenario through every engine that can express it."""

from __future__ import annotations

import numpy as np
import pytest

from peak_trade.core.errors import ConfigError
from peak_trade.engine.kernel import screen, simulate
from peak_trade.engine.second_opinion import second_opinion
from tests.engine.running import run_scenario, settings_of
from tests.engine.scenarios import SCENARIOS, A, Scenario
from tests.examples import mostly_long
from tests.tolerances import RTOL_SAME

by_name = pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)


@by_name
def test_event_loop_gives_the_fills_worked_out_by_hand(scenario: Scenario) -> None:
    result = run_scenario(scenario)
    fills = [
        (
            bar,
            fill.symbol,
            fill.side.value,
            pytest.approx(fill.quantity, rel=RTOL_SAME),
            pytest.approx(fill.price, rel=RTOL_SAME),
        )
        for bar, fill in zip(result.fill_bars, result.fill_list, strict=True)
    ]
    assert fills == [tuple(fill) for fill in scenario.fills]
    assert result.n_ambiguous == scenario.n_ambiguous
    if scenario.final_equity is not None:
        assert result.equity_values[-1] == pytest.approx(scenario.final_equity, rel=RTOL_SAME)


@pytest.mark.parametrize("scenario", [s for s in SCENARIOS if s.kernel], ids=lambda scenario: scenario.name)
def test_kernel_gives_the_event_loops_equity(scenario: Scenario) -> None:
    result = run_scenario(scenario)
    column = result.market.columns[0]
    exposure = np.nan_to_num(np.array(scenario.exposure[A], dtype=float))
    costs = settings_of(scenario).costs
    equity, position = simulate(column.open, column.close, exposure, costs, 1000.0)
    np.testing.assert_allclose(equity, result.equity_values, rtol=RTOL_SAME)
    np.testing.assert_allclose(position, result.positions[A], rtol=RTOL_SAME)
    assert screen(column.open, column.close, exposure, costs).n_fills == len(scenario.fills)


@pytest.mark.parametrize("scenario", mostly_long(SCENARIOS, 4), ids=lambda scenario: scenario.name)
def test_vectorbt_agrees_within_its_scope(scenario: Scenario) -> None:
    result = run_scenario(scenario)
    if scenario.vectorbt == "nothing":
        with pytest.raises(ConfigError, match="bankruptcy"):
            second_opinion(result)
        return
    opinion = second_opinion(result)
    assert opinion.agrees, str(opinion)
    if scenario.vectorbt == "decisions":
        assert opinion.scope == "decisions"


def test_the_table_is_not_trivial() -> None:
    assert len(SCENARIOS) >= 20
    assert sum(scenario.kernel for scenario in SCENARIOS) >= 10
    assert sum(scenario.vectorbt == "decisions" for scenario in SCENARIOS) >= 10
