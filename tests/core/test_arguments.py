"""Arguments of a wrong type are refused in one sentence: where, what it was, what to give."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import peak_trade as pt
from peak_trade.core.arguments import check_fields, checks_arguments
from peak_trade.core.errors import LONGEST_QUOTE, ConfigError, PeakTradeError, quoted, shown
from peak_trade.core.settings import BarCount, Fraction, Settings
from peak_trade.data.sample import sample_bars
from peak_trade.strategies.ma_crossover import MaCrossover

BARS = sample_bars("BTC/USDT", n_bars=100)
LOTS = {"BTC/USDT": pt.Instrument("BTC/USDT", lot_size=-1.0)}
SOME = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.lists(st.integers()))


class Limits(Settings):
    largest: float = 1.0


@checks_arguments(named="the name of a symbol")
def subject(
    named: str = "",
    number: float = 0.0,
    whole: BarCount = 1,
    part: Fraction = 0.0,
    kind: Literal["open", "close"] = "open",
    parts: Sequence[Limits] | Limits = (),
    by_name: Mapping[str, float] | None = None,
    call: Callable[[int], None] | None = None,
    of: type[Settings] = Settings,
    anything: Any = None,
    **others: Any,
) -> str:
    return "done"


@pytest.mark.parametrize(
    "arguments",
    [
        {"named": "BTC", "number": 3, "whole": np.int64(2), "part": np.float32(1.0), "kind": "close"},
        {"parts": [Limits()], "by_name": {"a": 1, "b": np.float64(2.0)}, "call": print, "of": Limits},
        {"parts": Limits(), "by_name": None, "call": None, "anything": object(), "other": object()},
    ],
    ids=["numbers", "containers", "alternatives"],
)
def test_arguments_of_the_annotated_types_are_taken(arguments):
    assert subject(**arguments) == "done"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"named": 3}, "named was 3: give the name of a symbol."),
        ({"number": "3"}, "number was '3': give a number."),
        ({"number": True}, "number was True: give a number."),
        ({"whole": 2.0}, "whole was 2.0: give a whole number of at least 1."),
        ({"whole": 0}, "whole was 0: give a whole number of at least 1."),
        ({"part": float("nan")}, "part was nan: give a number of at least 0.0 and of at most 1.0 and that is finite."),
        ({"kind": "middle"}, "kind was 'middle': give 'open' or 'close'."),
        ({"kind": ["open"]}, "kind was a list: give 'open' or 'close'."),
        ({"parts": None}, "parts was None: give a list of Limits or Limits."),
        ({"parts": [Limits(), Limits]}, "parts[1] was the class Limits: give Limits, for example Limits()."),
        (
            {"parts": {"largest": 1.0}},
            "parts was a dict: give a list of Limits or Limits, for example Limits(**parts).",
        ),
        ({"by_name": {"a": None}}, "by_name['a'] was None: give a number."),
        ({"by_name": {1: 1.0}}, "a key of by_name was 1: give text."),
        ({"by_name": []}, "by_name was a list: give a dict."),
        ({"call": Limits}, "call was the class Limits: give a function."),
        ({"of": Limits()}, "of was Limits: give a subclass of Settings."),
        ({"number": 10**5_000}, "number was an int: give a number."),
        ({"named": 10**5_000}, "named was an int: give the name of a symbol."),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_an_argument_of_another_type_is_refused_in_one_sentence(arguments, says):
    with pytest.raises(ConfigError, match=f"^{re.escape('subject: ' + says)}$"):
        subject(**arguments)


@given(SOME, SOME, SOME)
def test_any_value_is_taken_or_refused(number, parts, by_name):
    with suppress(ConfigError):
        assert subject(number=number, parts=parts, by_name=by_name) == "done"


def test_the_fields_of_a_dataclass_are_checked():
    @dataclass
    class Pair:
        first: int
        second: str | None = None

        def __post_init__(self) -> None:
            check_fields(self, second="a name")

    assert Pair(1, "a").second == "a"
    with pytest.raises(ConfigError, match=r"^Pair: second was 2\.0: give a name\.$"):
        Pair(1, 2.0)


def test_a_signature_that_does_not_fit_stays_a_type_error():
    with pytest.raises(TypeError, match="bars"):
        pt.backtest(MaCrossover())


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: pt.backtest(MaCrossover, BARS), "backtest: strategy was the class MaCrossover: give a Strategy"),
        (lambda: pt.backtest([MaCrossover(), None], BARS), "backtest: strategy[1] was None: give a Strategy"),
        (lambda: pt.backtest("ma_crossover", BARS), "strategy was 'ma_crossover': give a Strategy, or make_strategy"),
        (lambda: pt.backtest(MaCrossover(), None), "backtest: bars was None: give Bars, a DataFrame or a list of Bars"),
        (lambda: pt.backtest(MaCrossover(), BARS, {"initial_cash": 5.0}), "for example BacktestSettings(**settings)"),
        (lambda: pt.backtest(MaCrossover(), BARS, start=5), "backtest: start was 5: give a datetime or text"),
        (lambda: pt.BacktestSettings({"initial_cash": 5.0}), "BacktestSettings: a dict has no name. Name each value"),
        (lambda: pt.Costs(fee_bps=10**5_000), "Costs: fee_bps was an int: input should be a valid number"),
        (lambda: pt.sweep(MaCrossover(), {}, BARS), "sweep: strategy_class was a MaCrossover: give a subclass"),
        (lambda: pt.sweep(MaCrossover, {"fast": range(2_000), "slow": range(2_000)}, BARS), "4,000,000 sets"),
        (lambda: pt.Bars(BARS.frame, "BTC/USDT", "1h"), "Bars: timeframe was '1h': give a Timeframe, for example"),
        (
            lambda: pt.backtest(MaCrossover(), BARS, instruments=LOTS),
            "Instrument: lot_size was -1.0: give a number of at least 0",
        ),
        (lambda: pt.make_detector("rules", "1h"), "make_detector: timeframe was '1h': give a Timeframe"),
        (lambda: pt.run_portfolio({}), "run_portfolio: settings was a dict: give PortfolioSettings"),
        (lambda: pt.check_causality(MaCrossover, BARS), "check_causality: subject was the class MaCrossover"),
        (lambda: pt.check_causality(MaCrossover(), BARS, n_cuts=0), "n_cuts was 0: give a whole number of at least 1"),
        (lambda: pt.Strategy(), "Strategy does not define exposure, warm_up. Define it."),
    ],
    ids=lambda value: "" if callable(value) else value[:30],
)
def test_the_library_refuses_wrong_types_in_one_sentence(call, says):
    with pytest.raises(PeakTradeError) as refusal:
        call()
    assert says in str(refusal.value)


def test_a_parameter_without_a_type_is_refused_where_the_class_is_defined():
    with pytest.raises(ConfigError, match=r"^Mine: window = 20 has no type\. Write window: int = 20\.$"):
        type("Mine", (pt.Strategy,), {"window": 20, "__module__": __name__})
    with pytest.raises(ConfigError, match=r"^Mine: .* Declare each parameter as name: type"):
        type("Mine", (pt.Strategy,), {"window": 20, "__annotations__": {"window": 20}, "__module__": __name__})


@given(SOME)
def test_a_value_is_shown_in_a_bounded_way(value):
    for text in (quoted(value), shown(value), quoted([value] * 100)):
        assert 1 <= len(text) <= LONGEST_QUOTE


class Rude:
    def __repr__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize(
    ("value", "text"),
    [(Rude(), "a Rude"), (pd.DataFrame(), "a DataFrame"), (Rude, "the class Rude"), (1.5, "1.5"), ("a", "'a'")],
    ids=["rude", "frame", "class", "number", "text"],
)
def test_a_value_is_shown_by_what_it_is(value, text):
    assert shown(value) == text
