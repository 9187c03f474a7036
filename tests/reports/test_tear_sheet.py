"""The tear sheet: its tables are the measures, it shows every part, and it refuses returns that are none."""

import numpy as np
import pandas as pd
import pytest

import peak_trade as pt
from peak_trade import metrics
from peak_trade.core.errors import ConfigError, DataError
from peak_trade.reports.views import cell_values, tear_sheet
from tests.tolerances import RTOL_REFERENCE, RTOL_SAME

NO_TRADES = pd.DataFrame(columns=["entry_time", "pnl", "fees", "return"])


@pytest.fixture(scope="module")
def returns() -> pd.Series:
    days = pd.date_range("2022-07-01", periods=700, freq="D", tz="UTC")
    return pd.Series(np.random.default_rng(5).normal(5e-4, 0.02, 700), index=days)


@pytest.fixture(scope="module")
def passive(returns) -> pd.Series:
    return 0.5 * returns + np.random.default_rng(6).normal(0.0, 0.01, len(returns))


@pytest.mark.long
def test_a_notebook_shows_every_part_of_a_series_of_returns(returns, passive, monkeypatch):
    from IPython.core.interactiveshell import InteractiveShell

    shown = []
    monkeypatch.setattr(cell_values, "show", lambda thing, name, *_: shown.append(name))
    shell = InteractiveShell()
    pt._register_displays(shell)
    sheet = pt.tearsheet(returns, passive, stamp="open")
    assert shell.display_formatter.format(sheet) == ({}, {})
    assert shown == [part.name for part in sheet.parts()]
    assert len(set(shown)) == len(shown)


def test_the_years_compound_to_the_returns_of_series_and_benchmark(returns, passive):
    table = tear_sheet.yearly_table(pt.tearsheet(returns, passive, stamp="open"))
    assert table["year"].tolist() == [2022, 2023, 2024]
    for column, series in (("return", returns), ("benchmark", passive)):
        by_year = (1.0 + series).groupby(series.index.year).prod() - 1.0
        assert table[column].tolist() == pytest.approx(by_year.tolist(), rel=RTOL_SAME)
    assert table["difference"].tolist() == (table["return"] - table["benchmark"]).tolist()


@pytest.mark.long
def test_a_series_without_a_benchmark_has_no_column_of_one(returns):
    sheet = pt.tearsheet(returns)
    assert "difference" not in tear_sheet.yearly_table(sheet)
    assert all(part.formats is None or set(part.formats) <= set(part.thing) for part in sheet.parts())


def test_drawdown_periods_have_their_lengths_in_days_and_an_open_one_has_no_recovery():
    days = pd.date_range("2024-01-01", periods=8, freq="D", tz="UTC")
    table = tear_sheet.drawdown_periods(pd.Series([100.0, 110.0, 99.0, 88.0, 105.0, 110.0, 120.0, 114.0], days))
    assert table["depth"].tolist() == pytest.approx([0.2, 0.05], rel=RTOL_SAME)
    assert table["length_days"].tolist() == [4.0, 1.0]
    assert table["days_to_trough"].tolist() == [2.0, 1.0]
    assert table["days_to_recovery"].isna().tolist() == table["recovery_time"].isna().tolist() == [False, True]


def test_the_rolling_figure_has_the_causal_values_and_a_short_series_says_why_there_is_none(returns):
    sheet = pt.tearsheet(returns, rolling_days=90)
    figure = sheet.rolling()[0].thing
    expected = metrics.rolling_sharpe(sheet.equity, 90, 365.0)
    assert figure.data[0].y[-1] == expected.iloc[-1]
    assert max(figure.data[0].y) == expected.max()
    assert pt.tearsheet(returns, rolling_days=900).rolling()[0].thing.startswith("There are 700 returns; the rolling")


def test_the_tear_sheet_of_a_run_is_that_of_its_returns(run_of_crossover):
    sheet = tear_sheet.of_result(run_of_crossover)
    plain = pt.tearsheet(run_of_crossover.returns, run_of_crossover.benchmark.returns)
    assert sheet.window == plain.window == 2_160
    ours, theirs = (tear_sheet.yearly_table(each)["return"].tolist() for each in (sheet, plain))
    assert ours == pytest.approx(theirs, rel=RTOL_SAME)


@pytest.fixture(scope="module")
def run_of_crossover():
    from peak_trade.data.sample import sample_bars

    bars = sample_bars("BTC/USDT", n_bars=1_500)
    return pt.backtest(pt.make_strategy("ma_crossover", {"fast": 10, "slow": 30}), bars, causality_check=False)


def test_the_histogram_counts_every_day_and_marks_mean_and_quantile(returns):
    sheet = pt.tearsheet(returns, stamp="open")
    figure, table = (part.thing for part in sheet.daily())
    days, mean, quantile = figure.data
    assert sum(days.y) == len(returns) == table["days"].iloc[0]
    assert mean.x[0] == pytest.approx(returns.mean(), rel=RTOL_SAME)
    assert quantile.x[0] == pytest.approx(returns.quantile(0.05), rel=RTOL_SAME)
    assert pt.tearsheet(returns.iloc[:20]).daily()[0].thing.endswith("too few: 20 returns, 30 needed.")


def test_the_line_against_the_benchmark_is_that_of_the_returns(returns, passive):
    table = pt.tearsheet(returns, passive).regression()[0].thing
    fit = metrics.alpha_beta(returns, passive, 365.0)
    assert table["value"].tolist() == pytest.approx([float(each) for each in fit], rel=RTOL_REFERENCE)
    assert table["standard error"].iloc[:2].tolist() == pytest.approx(
        [fit.alpha.stderr, fit.beta.stderr], rel=RTOL_REFERENCE
    )


def test_the_figure_of_trades_has_one_mark_per_closed_trade(run_of_crossover):
    exposure, trades = (part.thing for part in tear_sheet.of_result(run_of_crossover).activity())
    assert exposure.data[0].y[-1] == run_of_crossover.exposure.iloc[-1]
    for trace in trades.data:
        assert list(trace.y) == run_of_crossover.trades["return"].tolist()


def test_returns_that_are_none_are_refused_in_one_line(returns):
    for wrong, message in (
        (returns.tz_localize(None), "needs an index of times in UTC"),
        (returns.iloc[::-1], "each later than the one before"),
        (returns.iloc[:1], "needs 2 or more times"),
        (returns * 100.0, "not per cent"),
        (returns.where(returns.index != returns.index[3]), "returns has a nan, first at 2022-07-04"),
        (returns.astype(str), "give numbers"),
    ):
        with pytest.raises(DataError, match=message):
            pt.tearsheet(wrong)
    with pytest.raises(DataError, match="no return at 10 of 700 times, first 2022-07-01"):
        pt.tearsheet(returns, returns.iloc[10:])
    with pytest.raises(ConfigError, match="returns was"):
        pt.tearsheet([0.1, 0.2])
    for days in (0.0, float("nan"), float("inf")):
        with pytest.raises(ConfigError, match="rolling_days was"):
            pt.tearsheet(returns, rolling_days=days)


OTHERS = {
    "total_return": -0.07508613990726742,
    "cagr": -0.039882815792627535,
    "annual_volatility": 0.3807635513194826,
    "sharpe": 0.08331254130954434,
    "sortino": 0.11859246627361887,
    "max_drawdown": 0.3674160447402184,
    "calmar": 0.1085494669151607,
}
"""Of the series below in quantstats 0.0.86 and in pyfolio-reloaded 0.10.1 (empyrical), with 365 periods a year.

Both give these values; they write the drawdown as a negative number, and the Calmar ratio with the sign of the return.
"""
RATIO_OF_252_DAYS = {"annual_volatility": 0.31638013492261463, "sharpe": 0.06922520017716532}
"""The same two measures with their default of 252 periods a year."""


def test_the_measures_are_those_of_quantstats_and_pyfolio_with_365_days(returns, passive):
    sheet = pt.tearsheet(returns, passive, stamp="open")
    stats = metrics.summary(
        sheet.equity, NO_TRADES, pd.DataFrame(columns=["quantity", "price"]), 0.0 * sheet.equity, 365.0
    )
    found = {name: stats[name].value for name in OTHERS}
    assert found | {"calmar": abs(found["calmar"])} == pytest.approx(OTHERS, rel=RTOL_REFERENCE)
    for name, value in RATIO_OF_252_DAYS.items():
        assert found[name] == pytest.approx(value * (365.0 / 252.0) ** 0.5, rel=RTOL_REFERENCE)


def test_alpha_beta_and_r2_are_those_of_quantstats_and_the_skewness_is_that_of_pyfolio(returns, passive):
    sheet = pt.tearsheet(returns, passive, stamp="open")
    table = tear_sheet.regression_table(sheet.equity, sheet.benchmark, 365.0).set_index("measure")["value"]
    assert table.tolist() == pytest.approx(
        [0.0640191943103096, 1.0106738250540384, 0.5095586384154693], rel=RTOL_REFERENCE
    )
    # pyfolio compounds the daily alpha: (1 + alpha) ** 365 - 1.
    assert (1.0 + table["alpha, a year"] / 365.0) ** 365.0 - 1.0 == pytest.approx(
        0.06610687707869123, rel=RTOL_REFERENCE
    )
    measures = metrics.return_distribution(returns, 0.05)
    assert measures["skewness"].value == pytest.approx(-0.00453114624044307, rel=RTOL_REFERENCE)
    assert measures["excess_kurtosis"].value == pytest.approx(-0.06251182119048604, rel=RTOL_REFERENCE)
