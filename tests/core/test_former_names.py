"""Attributes of results that were renamed still work for one version, and name the current one."""

from __future__ import annotations

from operator import attrgetter

import pytest

from peak_trade.causality.report import CausalityReport
from peak_trade.data.sample import sample_bars
from peak_trade.diff.result import DiffResult
from peak_trade.engine.result import BacktestResult
from peak_trade.strategies.buy_and_hold import BuyAndHold
from peak_trade.studies.backtest import backtest
from peak_trade.studies.regime.study import RegimeStudy
from peak_trade.studies.sweep.result import SweepResult

RESULTS = [BacktestResult, CausalityReport, DiffResult, RegimeStudy, SweepResult]


@pytest.fixture(scope="module")
def result():
    return backtest(BuyAndHold(), sample_bars("BTC/USDT", n_bars=50))


@pytest.mark.parametrize("former", BacktestResult.former_names)
def test_a_former_name_gives_the_same_and_names_the_current_one(result, former):
    current = BacktestResult.former_names[former]
    with pytest.warns(DeprecationWarning, match=rf"BacktestResult\.{former} is deprecated.*Use {current}\."):
        found = getattr(result, former)
    assert found == attrgetter(current)(result)


def test_another_name_is_an_error(result):
    with pytest.raises(AttributeError, match="fill_list_of"):
        result.fill_list_of  # noqa: B018


@pytest.mark.parametrize("kind", RESULTS, ids=lambda kind: kind.__name__)
def test_current_names_exist_and_former_ones_are_free(kind):
    known = {*dir(kind), *getattr(kind, "__annotations__", {})}
    for former, current in kind.former_names.items():
        assert current.partition(".")[0] in known
        assert former not in getattr(kind, "__annotations__", {})
        assert isinstance(getattr(kind, former), property)
