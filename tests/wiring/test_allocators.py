"""A part is added by its file and one row of a table, and a user's own needs no row."""

from __future__ import annotations

import linecache
import sys
from pathlib import Path

import numpy as np
import pytest

import peak_trade as pt
from peak_trade.core.errors import ConfigError
from peak_trade.core.time import Timeframe
from peak_trade.data.sample import synthetic_bars
from peak_trade.wiring.allocators import ALLOCATORS, find_allocator
from peak_trade.wiring.detectors import DETECTORS, make_detector
from peak_trade.wiring.digests import code_digest
from peak_trade.wiring.strategies import STRATEGIES, make_strategy
from tests.portfolio.conftest import made_bars
from tests.wiring import toys

HOUR = Timeframe.parse("1h")
ENTRIES = [{"name": "buy_and_hold", "symbol": symbol} for symbol in ("A/USD", "B/USD")]


def portfolio(method: str) -> pt.PortfolioSettings:
    allocation = {"method": method, "window": 50, "every": "day"}
    return pt.PortfolioSettings.parse({"strategies": ENTRIES, "allocation": allocation}, "test")


def run(method: str):
    return pt.run_portfolio(portfolio(method), [made_bars("A/USD", 1), made_bars("B/USD", 2)])


def test_one_row_adds_an_allocator(monkeypatch):
    monkeypatch.setitem(ALLOCATORS, "rising", "tests.wiring.toys:rising")
    assert find_allocator("rising") is toys.rising
    weights = run("rising").weights.to_numpy()
    np.testing.assert_allclose(weights[-1], [1.0 / 3.0, 2.0 / 3.0])


def test_one_row_adds_a_strategy(monkeypatch):
    monkeypatch.setitem(STRATEGIES, "half_long", "tests.wiring.toys:HalfLong")
    result = pt.backtest(make_strategy("half_long"), synthetic_bars(100))
    assert result.strategies == ("half_long",)


def test_one_row_adds_a_detector(monkeypatch):
    monkeypatch.setitem(DETECTORS, "always_bull", "tests.wiring.toys:AlwaysBull")
    detector = make_detector("always_bull", HOUR, {"min_duration": 1})
    study = pt.study_regimes(make_strategy("buy_and_hold"), synthetic_bars(100), detector)
    assert study.facts()["bars with a regime"] == 100


def test_a_part_of_ones_own_needs_no_row():
    assert run("tests.wiring.toys:rising").weights.iloc[-1].tolist() == pytest.approx([1.0 / 3.0, 2.0 / 3.0])
    assert isinstance(make_detector("tests.wiring.toys:AlwaysBull", HOUR), toys.AlwaysBull)
    assert isinstance(make_strategy("tests.wiring.toys:HalfLong"), toys.HalfLong)


@pytest.mark.parametrize("method", ["equal", "fixed"])
def test_weights_that_are_not_estimated_need_no_allocator(method):
    assert find_allocator(method) is None


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("risk_partiy", r"allocation\.method risk_partiy is not known\. Did you mean risk_parity\?"),
        ("fixd", r"Did you mean fixed\?"),
        ("tests.wiring.toys:risng", r"has no risng\. Did you mean rising\?"),
        ("tests.wiring.toys:HOUR", "has no HOUR"),
        ("tests.wiring.toys:__name__", "is not a function"),
        ("no_such_module:mine", "there is no module no_such_module"),
        (":mine", r"write package\.module:function"),
    ],
)
def test_a_method_without_an_allocator_is_refused_before_the_run(method, message):
    with pytest.raises(ConfigError, match=message):
        portfolio(method)


def test_a_class_that_is_no_detector_is_refused():
    with pytest.raises(ConfigError, match="is not a Detector"):
        make_detector("tests.wiring.toys:HalfLong", HOUR)


MODULE = """
import numpy as np
from tests.wiring.toys import AlwaysBull

FIRST = 0.25


def mine(past_returns, max_weight):
    return np.array([FIRST, 1.0 - FIRST])


class Mine(AlwaysBull):
    pass
"""


def test_the_source_of_a_users_allocator_and_detector_goes_into_the_digests(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    seen = []
    for first in ("0.25", "0.125"):
        Path("parts_of_a_user.py").write_text(MODULE.replace("0.25", first), encoding="utf-8")
        linecache.checkcache()
        monkeypatch.delitem(sys.modules, "parts_of_a_user", raising=False)
        detector = make_detector("parts_of_a_user:Mine", HOUR)
        result = run("parts_of_a_user:mine")
        assert result.weights.iloc[-1, 0] == float(first)
        seen.append((result.run.digests, code_digest([pt.RegimeAware(detector=detector)])))
    sys.modules.pop("parts_of_a_user", None)
    (one, regimes), (other, other_regimes) = seen
    assert one["code"] != other["code"]
    assert regimes != other_regimes
    assert {name for name in one if one[name] != other[name]} == {"code"}
