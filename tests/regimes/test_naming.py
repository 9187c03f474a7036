"""Regimes are named only as far as the data identify them, and only if the names stay the same."""

from __future__ import annotations

import math
from dataclasses import replace
from statistics import NormalDist

import numpy as np
import pandas as pd
import pytest

from peak_trade.core.bars import Bars
from peak_trade.core.executor import Executor
from peak_trade.core.time import Timeframe
from peak_trade.regimes.states import StateParameters, separation_of
from peak_trade.strategies.buy_and_hold import BuyAndHold
from peak_trade.studies.regime import naming
from peak_trade.studies.regime.naming import label_agreement, name_regimes
from peak_trade.studies.regime.study import RegimeStudy, study_regimes
from tests.regimes.markets import DETECTORS, switching_bars
from tests.tolerances import RTOL_SAME

PLAIN = ("bear", "sideways", "bull")


@pytest.fixture(scope="module")
def study() -> RegimeStudy:
    bars = Bars(switching_bars(900, 1)[0], "BTC/USDT", Timeframe.parse("1h"), "sample")
    return study_regimes(BuyAndHold(), bars, DETECTORS["hmm"])


def separated(study: RegimeStudy, separation: float | None) -> RegimeStudy:
    refits = tuple(replace(each, separation=separation) for each in study.filtered.refits)
    return replace(study, filtered=replace(study.filtered, refits=refits))


def agreeing(monkeypatch, share: float) -> None:
    table = pd.DataFrame({"change": ["seed 1", "start + 5 bars"], "equal": [1.0, share]})
    monkeypatch.setattr(naming, "label_agreement", lambda *_: table)


def test_the_separation_is_the_difference_of_means_in_standard_errors():
    means, variances = np.array([[-0.01], [0.0], [0.02]]), np.array([[4.0], [1.0], [5.0]]) * 1e-4
    named = StateParameters(means, variances, np.array([100.0, 300.0, 50.0]))
    assert separation_of(named, 0) == pytest.approx(0.03 / math.sqrt(4e-6 + 1e-5), rel=RTOL_SAME)
    flipped = named.take((2, 1, 0))
    assert separation_of(flipped, 0) == -separation_of(named, 0)
    assert separation_of(StateParameters(means, 0.0 * variances, named.weights), 0) is None


def test_every_refit_states_how_probable_its_order_is(study):
    refits = study.refits()
    assert len(refits) > 0
    expected = [NormalDist().cdf(each.separation) for each in study.filtered.refits]
    assert refits["bull_above_bear"].tolist() == pytest.approx(expected, rel=RTOL_SAME)


@pytest.mark.long
def test_labels_are_compared_with_those_of_other_seeds_and_start_bars(study):
    table = label_agreement(study, 2)
    assert table["change"].tolist() == ["seed 1", "seed 2", "start + 50 bars", "start + 100 bars"]
    assert table["equal"].between(0.0, 1.0).all()
    other = study.detector.model_copy(update={"seed": 1}).filter(study.bars.frame).labels[study.first :]
    assert table["equal"][0] == (other == study.labels).mean()
    assert label_agreement(study, 0).empty


@pytest.mark.long
def test_labels_are_the_same_in_any_number_of_processes(monkeypatch):
    bars = Bars(switching_bars(900, 1)[0], "BTC/USDT", Timeframe.parse("1h"), "sample")
    given = study_regimes(BuyAndHold(), bars, DETECTORS["rules"])
    one = label_agreement(given, 3, Executor(1))
    monkeypatch.setattr("peak_trade.core.executor.FEWEST_SECONDS", 0.0)
    several = Executor(2)
    pd.testing.assert_frame_equal(one, label_agreement(given, 3, several), check_exact=True)
    assert "in 2 processes" in several.summary


def test_the_rules_have_start_bars_only_and_keep_their_names():
    bars = Bars(switching_bars(900, 1)[0], "BTC/USDT", Timeframe.parse("1h"), "sample")
    named = name_regimes(study_regimes(BuyAndHold(), bars, DETECTORS["rules"]), 2)
    assert named.agreement["change"].str.startswith("start").all()
    assert tuple(named.names.values()) == PLAIN
    assert not any("top" in sentence for sentence in named.sentences)


@pytest.mark.parametrize(
    ("separation", "share", "names"),
    [
        (1.0, 0.8, PLAIN),
        (0.99, 0.8, {"calm", "normal", "wild"}),
        (-3.0, 0.8, {"calm", "normal", "wild"}),
        (3.0, 0.79, ("state 1", "state 2", "state 3")),
        (0.5, 0.79, ("state 1", "state 2", "state 3")),
        (None, 0.8, PLAIN),
    ],
)
def test_names_are_those_that_the_data_identify(study, monkeypatch, separation, share, names):
    agreeing(monkeypatch, share)
    named = name_regimes(separated(study, separation))
    found = tuple(named.names.values())
    assert (set(found) if isinstance(names, set) else found) == names
    assert ("withheld" in named.sentences[-1]) == (share < 0.8)


def test_the_wildest_regime_is_called_wild(study, monkeypatch):
    agreeing(monkeypatch, 1.0)
    names = name_regimes(separated(study, 0.0)).names
    returns = study.close.pct_change().to_numpy()[1:]
    spread = {name: returns[study.labels[:-1] == place].std() for place, name in enumerate(PLAIN)}
    ordered = sorted(spread, key=spread.get)
    assert [names[each] for each in ordered] == ["calm", "normal", "wild"]


def test_tables_show_the_names(study, monkeypatch):
    agreeing(monkeypatch, 0.5)
    named = name_regimes(study)
    assert named.apply(study.table())["regime"].tolist() == ["state 1", "state 2", "state 3", "all"]
    transitions = named.apply(study.transitions())
    assert transitions.columns.tolist() == transitions.index.tolist() == ["state 1", "state 2", "state 3"]
    assert study.table()["regime"].tolist() == [*PLAIN, "all"]


def test_agreement_that_was_not_measured_is_said_and_withholds_nothing(study):
    named = name_regimes(separated(study, 3.0), 0)
    assert tuple(named.names.values()) == PLAIN
    assert "was not measured" in named.sentences[0]
    assert named.to_dict()["agreement"] == []
