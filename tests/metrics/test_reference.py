"""Numbers worked out by hand or printed in a source."""

import math

import numpy as np
import pandas as pd
import pytest

from peak_trade import metrics
from peak_trade.core.errors import DataError
from tests.tolerances import RTOL_REFERENCE, RTOL_SAME

NO_TRADES = pd.DataFrame({"pnl": [], "fees": []})
NO_FILLS = pd.DataFrame({"quantity": [], "price": []})


def returns_with(mean, deviation, n):
    """n returns, n even, whose sample mean and deviation are exact."""
    step = deviation * math.sqrt((n - 1) / n)
    return mean + step * np.tile([1.0, -1.0], n // 2)


@pytest.mark.parametrize(
    ("ratio", "n", "expected"),
    [
        (0.50, 60, 0.13693063937629153),  # sqrt((1 + 0.125) / 60), by hand
        (1.00, 36, 0.20412414523193150),  # sqrt((1 + 0.5) / 36)
        (2.00, 60, 0.22360679774997896),  # sqrt(3 / 60)
    ],
)
def test_sharpe_standard_error_follows_lo_2002_equation_9(ratio, n, expected):
    measure = metrics.sharpe(returns_with(ratio * 0.01, 0.01, n), bars_per_year=1.0)
    assert measure.value == pytest.approx(ratio, rel=RTOL_REFERENCE)
    assert measure.stderr == pytest.approx(expected, rel=RTOL_REFERENCE)


def test_annualising_scales_sharpe_and_its_error_by_the_root_of_bars_per_year():
    returns = returns_with(0.001, 0.01, 400)
    a_bar, a_year = metrics.sharpe(returns, 1.0), metrics.sharpe(returns, 365.0)
    assert a_year.value == pytest.approx(a_bar.value * math.sqrt(365.0), rel=RTOL_SAME)
    assert a_year.stderr == pytest.approx(a_bar.stderr * math.sqrt(365.0), rel=RTOL_SAME)
    assert "prewhitened Parzen kernel" in a_year.note


def test_the_risk_free_rate_is_spread_over_the_bars_of_the_year():
    returns = returns_with(0.001, 0.01, 400)
    without = metrics.sharpe(returns, 100.0).value
    assert metrics.sharpe(returns, 100.0, risk_free=0.1).value == pytest.approx(0.0, abs=1e-9 * without)


def test_sortino_divides_by_the_downside_over_all_bars():
    returns = np.array([0.03, -0.01] * 20)
    assert metrics.sortino(returns, 1.0).value == pytest.approx(0.01 / math.sqrt(0.01**2 / 2), rel=RTOL_SAME)


def test_growth_volatility_and_calmar_of_curves_worked_by_hand():
    equity = np.concatenate([np.full(365, 100.0), [80.0, 121.0]])
    assert metrics.total_return(equity).value == pytest.approx(0.21, rel=RTOL_SAME)
    assert metrics.cagr(equity, 183.0).value == pytest.approx(0.10, rel=RTOL_SAME)
    assert metrics.max_drawdown(equity).value == pytest.approx(0.2, rel=RTOL_SAME)
    assert metrics.calmar(equity, 183.0).value == pytest.approx(0.5, rel=RTOL_SAME)
    up_and_down = np.array([0.02, -0.02] * 50)
    expected = 0.02 * math.sqrt(100 / 99) * math.sqrt(365.0)
    assert metrics.annual_volatility(up_and_down, 365.0).value == pytest.approx(expected, rel=RTOL_SAME)


def test_drawdown_length_runs_from_the_peak_and_recovery_from_the_trough():
    equity = np.array([100.0, 110.0, 99.0, 88.0, 105.0, 110.0, 120.0, 119.0])
    assert metrics.max_drawdown(equity).value == pytest.approx(0.2, rel=RTOL_SAME)
    assert metrics.longest_drawdown(equity).value == 4.0
    assert metrics.recovery(equity).value == 2.0
    series = pd.Series(equity, index=pd.date_range("2024-01-01", periods=8, freq="D", tz="UTC"))
    table = metrics.drawdown_table(series)
    assert table["length"].tolist() == [4, 1]
    assert table["recovery_time"].isna().tolist() == [False, True]
    assert table["recovery"].isna().tolist() == [False, True]
    assert table["peak_time"].dt.day.tolist() == [2, 7]
    assert table["trough_time"].dt.day.tolist() == [4, 8]


def test_a_curve_that_only_rises_has_no_drawdowns():
    series = pd.Series([1.0, 2.0, 3.0], index=pd.date_range("2024-01-01", periods=3, freq="D", tz="UTC"))
    assert metrics.drawdown_table(series).empty
    assert metrics.longest_drawdown(series).value == 0.0


def test_an_open_drawdown_is_told_as_open():
    equity = np.array([100.0, 90.0, 95.0])
    assert metrics.recovery(equity).value is None
    assert "not recovered" in metrics.recovery(equity).note
    assert metrics.longest_drawdown(equity).value == 2.0


def test_wins_are_counted_after_fees():
    trades = pd.DataFrame({"pnl": [1.0] * 5 + [3.0] * 5, "fees": [2.0] * 10})
    assert metrics.win_rate(trades).value == 0.5
    assert metrics.win_rate(trades).stderr == pytest.approx(math.sqrt(0.25 / 10), rel=RTOL_SAME)
    assert metrics.profit_factor(trades).value == 1.0


def test_time_in_market_counts_a_bar_on_which_any_symbol_is_held():
    held = pd.DataFrame({"BTC/USDT": [0.0, 0.5, np.nan, 0.0], "ETH/USDT": [0.0, 0.0, -0.5, 0.0]})
    assert metrics.time_in_market(held).value == 0.5
    assert metrics.time_in_market(held["BTC/USDT"]).value == 0.25


def test_turnover_of_buying_and_selling_the_account_once_in_a_year_is_two():
    fills = pd.DataFrame({"quantity": [2.0, -2.0], "price": [50.0, 50.0]})
    assert metrics.turnover(fills, np.full(366, 100.0), 365.0).value == pytest.approx(2.0, rel=RTOL_SAME)


@pytest.mark.parametrize(
    ("measure", "says"),
    [
        (lambda: metrics.sharpe(np.full(29, 0.01), 365.0), "too few: 29 returns, 30 needed"),
        (lambda: metrics.annual_volatility(np.full(29, 0.01), 365.0), "too few"),
        (lambda: metrics.sortino(np.full(3, 0.01), 365.0), "too few"),
        (lambda: metrics.sharpe(np.tile([0.01, 0.02], 359), 8_760.0), "too few: 718 returns, 720 needed"),
        (lambda: metrics.sortino(np.tile([0.01, -0.02], 359), 8_760.0), "too few: 718 returns, 720 needed"),
        (lambda: metrics.sharpe(np.full(99, 0.01), 365.0), "do not vary"),
        (lambda: metrics.sortino(np.full(99, 0.01), 365.0), "no return lies below"),
        (lambda: metrics.cagr(np.full(720, 100.0), 8_760.0), "too few: 719 returns, 720 needed"),
        (lambda: metrics.calmar(np.full(721, 100.0), 8_760.0), "no drawdown"),
        (lambda: metrics.win_rate(NO_TRADES), "too few: 0 trades, 10 needed"),
        (lambda: metrics.profit_factor(pd.DataFrame({"pnl": [1.0] * 10, "fees": [0.0] * 10})), "no trade lost"),
        (lambda: metrics.cagr(np.array([100.0] * 40 + [-1.0]), 365.0), "fell to zero"),
        (lambda: metrics.recovery(np.array([1.0, 2.0])), "no drawdown"),
    ],
)
def test_where_no_honest_number_exists_the_note_says_why(measure, says):
    assert measure().value is None
    assert says in measure().note


@pytest.mark.parametrize(
    ("equity", "says"),
    [
        (pd.Series([1.0, np.nan], index=pd.to_datetime(["2024-01-01", "2024-01-02"], utc=True)), "first at 2024-01-02"),
        (np.array([]), "empty"),
        (np.array([0.0, 1.0]), "must start above zero"),
    ],
    ids=["nan", "empty", "zero"],
)
def test_equity_that_can_not_be_measured_is_refused(equity, says):
    with pytest.raises(DataError, match=says):
        metrics.drawdown(equity)


def test_stats_are_ordered_and_rounded_for_comparison():
    equity = 100.0 * np.cumprod(np.full(1_000, 1.0001))
    stats = metrics.summary(equity, NO_TRADES, NO_FILLS, np.ones(1_000), 8_760.0)
    frame = stats.to_frame()
    assert frame.index.tolist() == list(stats) == list(metrics.measures_in("run"))
    assert math.isnan(frame.loc["win_rate", "value"])
    assert stats.to_dict()["win_rate"] is None
    assert stats.to_dict(digits=3)["total_return"] == 0.105
    assert "time_in_market" in str(stats)
