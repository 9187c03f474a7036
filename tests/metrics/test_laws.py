"""Laws that hold for any equity curve and any set of trades."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from peak_trade import metrics
from peak_trade.metrics.summary import sweep_measures
from tests.examples import examples
from tests.tolerances import RTOL_SAME

HOURS_A_YEAR, DAYS_A_YEAR = 8_760.0, 365.0
returns_a_bar = arrays(
    np.float64, st.integers(40, 120), elements=st.floats(-0.05, 0.05).map(lambda value: round(value, 6))
).filter(lambda values: values.std() > 1e-4)
few = settings(max_examples=examples(30), deadline=None)


def curve(returns, start=100.0):
    return start * np.concatenate([[1.0], np.cumprod(1.0 + returns)])


def trades_of(net):
    return pd.DataFrame({"pnl": np.asarray(net, dtype=float), "fees": np.zeros(len(net))})


def long_curve(returns):
    return curve(np.tile(returns, 20))


@few
@given(returns_a_bar, st.sampled_from([0.25, 2.0, 1024.0]))
def test_no_measure_of_equity_depends_on_the_currency_unit(returns, unit):
    equity = long_curve(returns)
    flat = np.zeros(equity.size)
    fills = pd.DataFrame({"quantity": [1.0], "price": [100.0]})
    scaled = pd.DataFrame({"quantity": [1.0], "price": [100.0 * unit]})
    plain = metrics.summary(equity, trades_of([]), fills, flat, HOURS_A_YEAR)
    assert metrics.summary(equity * unit, trades_of([]), scaled, flat, HOURS_A_YEAR) == plain


@few
@given(returns_a_bar, st.floats(0.1, 20.0))
def test_sharpe_is_invariant_to_leverage(returns, leverage):
    for stderr in ("iid", "robust"):
        plain = metrics.sharpe(returns, DAYS_A_YEAR, stderr=stderr)
        levered = metrics.sharpe(leverage * returns, DAYS_A_YEAR, stderr=stderr)
        assert levered.value == pytest.approx(plain.value, rel=1e-9, abs=1e-9)
        assert levered.stderr == pytest.approx(plain.stderr, rel=1e-9)


@few
@given(returns_a_bar)
def test_turning_every_return_round_turns_the_sharpe_round_and_keeps_the_volatility(returns):
    plain, mirrored = (metrics.sharpe(values, DAYS_A_YEAR) for values in (returns, -returns))
    assert mirrored.value == -plain.value
    assert mirrored.stderr == plain.stderr
    assert metrics.annual_volatility(-returns, HOURS_A_YEAR) == metrics.annual_volatility(returns, HOURS_A_YEAR)


@few
@given(returns_a_bar)
def test_drawdown_is_never_negative_zero_at_a_new_peak_and_causal(returns):
    equity = curve(returns)
    lost = metrics.drawdown(equity)
    assert (lost >= 0.0).all()
    assert (lost < 1.0).all()
    assert ((lost == 0.0) == (equity == np.maximum.accumulate(equity))).all()
    half = equity.size // 2
    np.testing.assert_array_equal(metrics.drawdown(equity[:half]), lost[:half])


@few
@given(returns_a_bar)
def test_the_drawdown_table_agrees_with_the_single_measures(returns):
    equity = pd.Series(curve(returns), index=pd.date_range("2024-01-01", periods=returns.size + 1, freq="h", tz="UTC"))
    table = metrics.drawdown_table(equity, n_deepest=1_000)
    if table.empty:
        assert metrics.max_drawdown(equity).value == 0.0
        return
    assert table["depth"].max() == metrics.max_drawdown(equity).value
    assert table["length"].max() == metrics.longest_drawdown(equity).value
    assert table["depth"].is_monotonic_decreasing
    first = table["recovery"].iloc[0]
    assert (None if pd.isna(first) else first) == metrics.recovery(equity).value


@few
@given(st.lists(st.integers(-1_000, 1_000).map(float), min_size=10, max_size=60))
def test_profit_factor_times_loss_is_profit(net):
    measure = metrics.profit_factor(trades_of(net))
    profit, loss = sum(n for n in net if n > 0), -sum(n for n in net if n < 0)
    if loss == 0.0:
        assert measure.value is None
    else:
        assert measure.value * loss == pytest.approx(profit, rel=RTOL_SAME)


@few
@given(st.lists(st.integers(-1_000, 1_000).filter(bool).map(float), min_size=10, max_size=60))
def test_win_rates_of_both_sides_of_the_same_trades_add_to_one(net):
    both = [metrics.win_rate(trades_of(side)).value for side in (np.array(net), -np.array(net))]
    assert sum(both) == pytest.approx(1.0, rel=RTOL_SAME)


@few
@given(returns_a_bar)
def test_total_return_compounds_the_returns_and_cagr_follows_from_it(returns):
    equity = long_curve(0.01 * returns)
    n = equity.size - 1
    total, growth = metrics.total_return(equity).value, metrics.cagr(equity, HOURS_A_YEAR)
    assert 1.0 + total == pytest.approx(np.prod(1.0 + metrics.simple_returns(equity)), rel=1e-10)
    assert growth.n == n
    assert (1.0 + growth.value) ** (n / HOURS_A_YEAR) == pytest.approx(1.0 + total, rel=1e-10)


@few
@given(st.lists(st.sampled_from([100.0, 50.0, 1e-9, 0.0, -5.0, 1e12]), min_size=1, max_size=200))
def test_summary_never_raises_on_finite_equity_and_never_states_nan_or_infinity(tail):
    equity = np.array([100.0, *tail])
    stats = metrics.summary(equity, trades_of([]), pd.DataFrame({"quantity": [], "price": []}), equity * 0, 365.0)
    assert list(stats) == list(metrics.measures_in("run"))
    for measure in stats.values():
        assert measure.note or measure.value is not None
    assert sweep_measures(equity, 0, 365.0) == {name: stats[name] for name in metrics.measures_in("sweep")}
