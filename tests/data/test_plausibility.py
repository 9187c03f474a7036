from __future__ import annotations

import json
import tomllib
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peak_trade.cli import main
from peak_trade.core.bars import Bars
from peak_trade.core.time import Timeframe
from peak_trade.data.plausibility import ImplausibleKind, find_implausible
from peak_trade.data.sample import sample_bars
from peak_trade.data.store import load_bars, save_bars
from peak_trade.reports.views import backtest as backtest_view
from peak_trade.reports.views import portfolio as portfolio_view
from peak_trade.strategies.buy_and_hold import BuyAndHold
from peak_trade.studies.backtest import backtest
from peak_trade.studies.portfolio.run import run_portfolio
from peak_trade.studies.risk import decisions
from peak_trade.wiring.portfolio_settings import PortfolioSettings
from tests.examples import examples, mostly_long

HOUR = Timeframe.parse("1h")
SAMPLE = sample_bars("BTC/USDT", n_bars=300)
PRICES = SAMPLE.frame.to_numpy()[:, :4]


def found_in(prices, keep=slice(None)):
    return find_implausible(SAMPLE.times[keep], prices[keep], HOUR.ns)


@given(st.floats(1e-6, 1e6))
@settings(max_examples=examples(20), deadline=None)
def test_the_unit_of_the_price_does_not_matter(factor):
    """Ordinary bars are plausible in any unit, and a step is found at the same bar with the same factor."""
    assert found_in(PRICES * factor) == []
    stepped = PRICES.copy()
    stepped[100:] *= 3.0
    plain, scaled = found_in(stepped), found_in(stepped * factor)
    assert [(each.row, each.kind) for each in plain] == [(100, ImplausibleKind.STEP)]
    assert [(each.row, each.kind) for each in scaled] == [(100, ImplausibleKind.STEP)]
    assert scaled[0].factor == pytest.approx(plain[0].factor, rel=1e-9)


@given(st.integers(1, 299), st.sampled_from([1e-4, 0.1, 10.0, 1_000.0, 1e6]), st.booleans())
@settings(max_examples=examples(60), deadline=None)
def test_a_redenomination_is_found_at_its_bar(row, factor, opens_on_the_old_level):
    prices = PRICES.copy()
    prices[row:] *= factor
    if opens_on_the_old_level:
        prices[row, 0] = prices[row - 1, 3]
        prices[row, 1], prices[row, 2] = prices[row].max(), prices[row].min()
    found = found_in(prices)
    assert [(each.row, each.kind, each.factor) for each in found] == [
        (row, ImplausibleKind.REDENOMINATION, pytest.approx(factor))
    ]


@pytest.mark.parametrize("power", [1_000.0, 0.01])
@pytest.mark.parametrize(
    ("deviation", "kind"),
    [
        (-0.12, ImplausibleKind.STEP),
        (-0.08, ImplausibleKind.REDENOMINATION),
        (0.08, ImplausibleKind.REDENOMINATION),
        (0.12, ImplausibleKind.STEP),
    ],
)
def test_a_redenomination_is_a_power_of_ten_within_a_tenth(power, deviation, kind):
    """The factor deviates from a power of ten by at most 0.1 as log; the price itself moves in the same bar."""
    prices = np.ones((300, 4))
    prices[100:] = power * np.exp(deviation)
    (found,) = found_in(prices)
    assert (found.row, found.kind) == (100, kind)
    assert found.factor == pytest.approx(power if kind is ImplausibleKind.REDENOMINATION else prices[100, 0])


@given(st.integers(0, 299), st.sampled_from(["open", "high", "low", "close"]), st.sampled_from([0.01, 0.5, 2.0, 100.0]))
@settings(max_examples=examples(80), deadline=None)
def test_a_spike_in_one_field_is_found_at_its_bar(row, field, factor):
    prices = PRICES.copy()
    prices[row, ["open", "high", "low", "close"].index(field)] *= factor
    prices[row, 1], prices[row, 2] = prices[row].max(), prices[row].min()
    found, *others = found_in(prices)
    if field == "close" and row in (0, 299):
        assert {each.row for each in (found, *others)} <= {row, 1}, "a spike in the first close may be a step after it"
    else:
        assert not others
        far = "low" if field == "high" and factor < 1.0 else "high" if field == "low" and factor > 1.0 else field
        assert (found.row, found.kind) == (row, ImplausibleKind.SPIKE)
        assert far in found.fields


def test_a_step_over_a_long_gap_must_be_larger():
    prices = PRICES.copy()
    prices[200:] *= 1.6
    assert [each.row for each in found_in(prices)] == [200]
    keep = np.r_[0:20, 280:300]
    assert found_in(prices, keep) == []
    prices[200:] *= 10.0
    assert [each.row for each in found_in(prices, keep)] == [20]


def test_bars_of_one_price_and_single_bars_are_plausible():
    assert found_in(np.full((300, 4), 5.0)) == []
    assert found_in(PRICES, slice(0, 1)) == []
    assert found_in(np.zeros((300, 4))) == []


@pytest.fixture
def redenominated(home):
    frame = SAMPLE.frame.copy()
    frame.iloc[150:, :4] *= 1_000.0
    return save_bars(Bars(frame, "BTC/USDT", HOUR, "sample"))


def test_check_and_backtest_name_a_redenomination(redenominated, capsys):
    assert main(["data", "check"]) == 0
    out = capsys.readouterr().out
    sentence = "1 implausible bar. The log return is at least 0.4 and 12 robust standard deviations"
    assert sentence in " ".join(out.split())
    assert "redenomination  close" in out
    assert main(["data", "check", "--strict", "--json"]) == 1
    (report,) = json.loads(capsys.readouterr().out)
    assert [each["kind"] for each in report["implausible"]] == ["redenomination"]
    line = ["backtest", "--strategy", "buy_and_hold", "--symbol", "BTC/USDT", "--no-record"]
    assert main(line) == 0
    named = "BTC/USDT was held across an implausible bar, redenomination of the close by a factor of 1,000 at "
    assert named in " ".join(capsys.readouterr().out.split()) + " "
    after = str(pd.Timestamp(SAMPLE.times[160], unit="ns"))
    assert main([*line, "--start", after]) == 0
    assert "implausible" not in capsys.readouterr().out


HELD_ACROSS = "BTC/USDT was held across an implausible bar, redenomination of the close by a factor of 1,000 at "
PORTFOLIO = '[[strategies]]\nname = "buy_and_hold"\nsymbol = "BTC/USDT"\n'


@pytest.mark.parametrize("verb", mostly_long(["backtest", "sweep", "portfolio", "regime"], 1))
def test_every_study_that_holds_across_a_redenomination_says_so(verb, registry, tmp_path, monkeypatch, capsys):
    bars = sample_bars("BTC/USDT", n_bars=1_000)
    save_bars(replace(bars, frame=bars.frame * np.where(np.arange(1_000) < 900, 1.0, 1_000.0)[:, None]))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "portfolio.toml").write_text(PORTFOLIO, encoding="utf-8")
    words = ["--strategy", "buy_and_hold", "--symbol", "BTC/USDT"]
    long = ["--strategy", "ma_crossover", *words[2:], "-p", "fast=3", "-p", "slow=10"]
    others = {
        "portfolio": ["--config", "portfolio.toml"],
        "regime": [*words, "--detector", "rules"],
        "sweep": long,
    }
    words = others.get(verb, words)
    assert main([verb, *words, "--no-record"]) == 0
    assert HELD_ACROSS in " ".join(capsys.readouterr().out.split())
    assert main([verb, *words, "--no-record", "--json"]) == 0
    (remark,) = json.loads(capsys.readouterr().out)["remarks"]
    assert remark.startswith(HELD_ACROSS)


def test_the_pages_of_studies_say_so(redenominated):
    bars = load_bars("BTC/USDT", HOUR)
    settings = PortfolioSettings.parse(tomllib.loads(PORTFOLIO), "portfolio")
    result = backtest(BuyAndHold(), bars)
    pages = [backtest_view.outcome(result), *portfolio_view.outcome(run_portfolio(settings))]
    assert sum(HELD_ACROSS in page for page in pages) == 2
    assert decisions.outcome(result)["remarks"].startswith(HELD_ACROSS)
