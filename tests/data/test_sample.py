from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from peak_trade.cli import main
from peak_trade.core.errors import ConfigError
from peak_trade.data.quality import check_bars
from peak_trade.data.sample import N_BARS, REALISTIC, REGIMES, SYMBOLS, sample_bars, sample_regimes
from peak_trade.data.store import list_bars

SAMPLES = {symbol: sample_bars(symbol) for symbol in SYMBOLS}
TRUTH = sample_regimes()
PER_YEAR = 8_760.0


def log_returns(symbol):
    frame = SAMPLES[symbol].frame
    return np.log(frame["close"] / frame["open"])


@pytest.mark.long
def test_another_process_under_another_hash_seed_makes_the_same_bits():
    code = "from peak_trade.data.sample import *; print([sample_bars(s).digest() for s in SYMBOLS])"
    root = str(Path(__file__).parents[2])
    run = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONHASHSEED": "1234", "PYTHONPATH": root},
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.strip() == str([bars.digest() for bars in SAMPLES.values()])


def test_another_seed_makes_another_market():
    assert sample_bars("BTC/USDT", seed=1).digest() != SAMPLES["BTC/USDT"].digest()
    assert not sample_regimes(seed=1).equals(TRUTH)


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_samples_have_neither_faults_nor_gaps_nor_runs(symbol):
    report = check_bars(SAMPLES[symbol])
    assert (report.n_bars, report.faults, report.gaps, report.runs) == (N_BARS, (), (), ())


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_each_regime_has_the_volatility_that_it_was_given(symbol):
    """The standard error of a standard deviation from n normal draws is 1 / sqrt(2 n) of it."""
    moves = log_returns(symbol)
    for regime, volatility in zip(REGIMES, REALISTIC.annual_volatility, strict=True):
        inside = moves[regime == TRUTH]
        expected = volatility * SYMBOLS[symbol].beta
        assert abs(inside.std() * np.sqrt(PER_YEAR) / expected - 1.0) < 4.0 / np.sqrt(2.0 * len(inside))


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_mean_returns_order_the_regimes_as_their_names_do(symbol):
    means = log_returns(symbol).groupby(TRUTH).mean()
    assert means["bull"] > means["sideways"] > means["bear"]


def test_every_regime_returns_and_the_truth_lies_on_the_bars():
    assert TRUTH.index.equals(SAMPLES["BTC/USDT"].frame.index)
    stays = TRUTH[TRUTH.shift() != TRUTH].value_counts()
    assert (stays[list(REGIMES)] >= 3).all()


def test_symbols_move_together():
    moves = pd.DataFrame({symbol: log_returns(symbol) for symbol in SYMBOLS})
    correlation = moves.corr().to_numpy()[np.triu_indices(3, 1)]
    assert ((correlation > 0.55) & (correlation < 0.9)).all()


def test_volume_follows_volatility_and_the_hour_of_the_day():
    bars = SAMPLES["BTC/USDT"].frame
    notional = bars["volume"] * bars["close"]
    assert notional[TRUTH == "bear"].median() > 1.5 * notional[TRUTH == "sideways"].median()
    by_hour = np.log(notional).groupby(bars.index.hour).mean()
    assert by_hour.max() - by_hour.min() > 0.4


def test_the_command_writes_all_symbols_once(home, capsys):
    assert main(["data", "sample"]) == 0
    assert capsys.readouterr().out.count("17,520 bars added, 0 already stored") == 3
    assert main(["data", "sample"]) == 0
    assert capsys.readouterr().out.count("0 bars added, 17,520 already stored") == 3
    assert [(held.exchange, held.symbol) for held in list_bars()] == [("sample", symbol) for symbol in SYMBOLS]
    assert main(["data", "sample", "--seed", "5"]) == 2


def test_an_unknown_sample_symbol_is_answered_with_the_nearest():
    with pytest.raises(ConfigError, match=r"Did you mean BTC/USDT\?"):
        sample_bars("BTC/USD")
