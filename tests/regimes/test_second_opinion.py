"""hmmlearn computes the likelihoods and posteriors of a study's fits; a wrong one is named."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from peak_trade.cli import main
from peak_trade.core.bars import Bars
from peak_trade.core.digest import ENVIRONMENT
from peak_trade.core.errors import ConfigError
from peak_trade.core.time import Timeframe
from peak_trade.data.sample import sample_bars
from peak_trade.data.store import save_bars
from peak_trade.regimes.gaussian import Expectation
from peak_trade.strategies.buy_and_hold import BuyAndHold
from peak_trade.studies.regime import second_opinion
from peak_trade.studies.regime.second_opinion import regime_second_opinion
from peak_trade.studies.regime.study import RegimeStudy, study_regimes
from tests.examples import mostly_long
from tests.regimes.markets import DETECTORS, switching_bars


@pytest.fixture(scope="module")
def bars() -> Bars:
    return Bars(switching_bars(1_100, seed=5)[0], "BTC/USDT", Timeframe.parse("1h"), "made")


@pytest.fixture(scope="module")
def study(bars) -> RegimeStudy:
    return study_regimes(BuyAndHold(), bars, DETECTORS["hmm"])


@pytest.mark.long
def test_hmmlearn_agrees_on_every_refit(study):
    opinion = regime_second_opinion(study)
    assert opinion.agrees, str(opinion)
    assert [fit.refit_at for fit in opinion.fits] == [refit.refit_at for refit in study.filtered.refits]
    frame, refits = opinion.to_frame(), study.refits()
    np.testing.assert_allclose(frame["log_likelihood"] * frame["n_bars"], refits["objective"], rtol=1e-12)
    assert frame["gain"].between(-1e-12, DETECTORS["hmm"].tolerance).all()
    assert "hmmlearn agrees" in str(opinion)


@pytest.mark.parametrize(
    ("planted", "message"),
    mostly_long(
        [
            (lambda e: Expectation(e.log_likelihood * (1 + 1e-6), *_rest(e)), "log-likelihood per bar"),
            (
                lambda e: Expectation(e.log_likelihood, e.posterior + 1e-4, *_rest(e)[1:]),
                "posterior probability differs",
            ),
        ],
        1,
    ),
    ids=["likelihood", "posterior"],
)
def test_a_planted_error_is_named_with_its_fit(study, monkeypatch, planted, message):
    truth = second_opinion.expect
    monkeypatch.setattr(second_opinion, "expect", lambda values, model: planted(truth(values, model)))
    opinion = regime_second_opinion(study)
    assert not opinion.agrees
    first = pd.Timestamp(study.filtered.refits[0].refit_at, tz="UTC")
    assert f"fit at {first:%Y-%m-%d %H:%M}Z: " in str(opinion)
    assert message in str(opinion)


def _rest(expectation):
    return expectation.posterior, expectation.pairs, expectation.weights, expectation.sums, expectation.squares


@pytest.mark.long
def test_a_fit_that_stopped_too_early_is_named(study, bars):
    careless = study_regimes(BuyAndHold(), bars, study.detector.model_copy(update={"tolerance": 0.05}))
    opinion = second_opinion._first_difference(regime_second_opinion(careless).fits, 1e-9)
    assert "the fit has not converged" in opinion


@pytest.mark.parametrize("name", mostly_long(["rules", "jump"], 1))
def test_a_detector_that_hmmlearn_does_not_have_is_refused(bars, name):
    with pytest.raises(ConfigError, match=f"hmmlearn has no {name} detector"):
        regime_second_opinion(study_regimes(BuyAndHold(), bars, DETECTORS[name]))


@pytest.mark.long
def test_hmmlearn_is_imported_for_the_second_opinion_only_and_decides_no_number():
    code = (
        "import sys, numpy as np, peak_trade as pt\n"
        "from peak_trade.data.sample import synthetic_bars\n"
        "from tests.regimes.markets import DETECTORS\n"
        "study = pt.study_regimes(pt.make_strategy('buy_and_hold'), synthetic_bars(700), DETECTORS['hmm'])\n"
        "study.verdict(study.shift_test(5)[0])\n"
        "assert 'hmmlearn' not in sys.modules\n"
        "pt.regime_second_opinion(study)\n"
        "assert 'hmmlearn' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert "hmmlearn" not in ENVIRONMENT


QUICK = ["-d", "min_bars=600", "-d", "window=1200", "-d", "refit_every=600", "-d", "n_starts=3"]
COMMAND = ["regime", "--strategy", "ma_crossover", "--symbol", "BTC/USDT", "--no-record", "--second-opinion"]


@pytest.mark.long
def test_the_command_prints_both_likelihoods_and_the_verdict(home, capsys, monkeypatch):
    save_bars(sample_bars("BTC/USDT", n_bars=1_500))
    assert main([*COMMAND, *QUICK]) == 0
    printed = capsys.readouterr().out
    assert "hmmlearn agrees" in printed
    monkeypatch.setattr(second_opinion, "ATOL_POSTERIOR", -1.0)
    assert main([*COMMAND, *QUICK, "--json"]) == 1
    opinion = json.loads(capsys.readouterr().out)["second_opinion"]
    assert not opinion["agrees"]
    assert opinion["fits"][0]["log_likelihood"] == pytest.approx(opinion["fits"][0]["hmmlearn_log_likelihood"])
    assert main([*COMMAND, "--detector", "rules"]) == 2
    assert "Use the hmm detector" in capsys.readouterr().err
