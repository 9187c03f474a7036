"""Results as the last value of a cell: a short text, short HTML, and measures that behave like numbers."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import peak_trade as pt
from peak_trade.data.sample import sample_bars
from peak_trade.diff.recording import recording_of
from peak_trade.diff.result import diff
from peak_trade.metrics import Measure, drawdown, simple_returns
from peak_trade.strategies.ma_crossover import MaCrossover
from tests.examples import examples

MOST_LINES = 15
NUMBERS = st.none() | st.floats(-1e9, 1e9)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """One result of each kind that the facade returns."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PEAK_TRADE_HOME", str(tmp_path_factory.mktemp("results")))
        bars = [sample_bars(symbol, n_bars=1_500) for symbol in ("BTC/USDT", "ETH/USDT")]
        run = pt.backtest(MaCrossover(), bars[0])
        entries = [
            {"name": name, "symbol": each.symbol} for name, each in zip(("ma_crossover", "donchian"), bars, strict=True)
        ]
        portfolio = pt.PortfolioSettings(strategies=entries)
        return {
            "backtest": run,
            "sweep": pt.sweep(MaCrossover, {"fast": [5, 10], "slow": [40]}, bars[0]),
            "portfolio": pt.run_portfolio(portfolio, bars),
            "regime": pt.study_regimes(MaCrossover(), bars[0], pt.make_detector("rules", bars[0].timeframe, {})),
            "diff": diff(recording_of(run), recording_of(run)),
        }


@pytest.mark.parametrize("kind", ["backtest", "sweep", "portfolio", "regime", "diff"])
def test_a_result_has_a_short_text_and_html(kind, results):
    from IPython.core.interactiveshell import InteractiveShell

    shell = InteractiveShell()
    pt._register_displays(shell)
    shown, _ = shell.display_formatter.format(results[kind])
    lines = shown["text/plain"].splitlines()
    assert 3 <= len(lines) <= MOST_LINES
    assert max(map(len, lines)) <= 200
    assert lines[0].startswith(f"{type(results[kind]).__name__}: ")
    assert 200 < len(shown["text/html"]) < 30_000
    assert "<script" not in shown["text/html"]


def test_returns_and_drawdown_are_those_of_the_equity(results):
    run = results["backtest"]
    assert run.returns.to_numpy().tolist() == simple_returns(run.equity_values).tolist()
    assert run.returns.index.equals(run.index[1:])
    assert run.drawdown.equals(drawdown(run.equity))
    stats = run.stats()
    assert stats.to_series()["sharpe"] == float(stats["sharpe"])
    assert stats.errors["sharpe"] == stats["sharpe"].stderr
    assert math.isnan(stats.errors["total_return"])
    assert repr(stats) == str(stats)


@settings(max_examples=examples(100))
@given(NUMBERS, NUMBERS)
def test_measures_compare_as_their_values(one, other):
    left, right = Measure(one, 1), Measure(other, 1)
    a, b = float(left), float(right)
    assert (left < right, left <= right, left > right, left >= right) == (a < b, a <= b, a > b, a >= b)
    assert (left < b, b < left) == (a < b, b < a)
    assert f"{left:.2f}" == (left.note if one is None else f"{one:.2f}")


def test_the_facade_stays_light_and_asks_ipython_only_where_it_runs():
    code = "import sys, peak_trade; print(sorted({'IPython', 'pandas', 'numpy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
