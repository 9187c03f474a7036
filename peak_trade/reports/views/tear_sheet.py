"""The tear sheet of a strategy, a portfolio or any series of returns. Measures come from `metrics`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import pandas as pd

from peak_trade.core.arguments import checks_arguments
from peak_trade.core.bar_frame import index_ns
from peak_trade.core.errors import ConfigError, DataError
from peak_trade.core.time import SECONDS_PER_YEAR, Timeframe
from peak_trade.metrics.benchmark import alpha_beta
from peak_trade.metrics.distribution import return_distribution
from peak_trade.metrics.drawdowns import drawdown_table
from peak_trade.metrics.measure import MIN_RETURNS, Measure, checked, per_year
from peak_trade.metrics.over_time import rolling_sharpe, rolling_volatility, yearly_measures
from peak_trade.metrics.returns import period_returns, simple_returns
from peak_trade.metrics.trading import time_in_market, trade_excursions
from peak_trade.reports.display import DIGITS
from peak_trade.reports.views.backtest import exposure_figure, monthly_returns, trades_figure
from peak_trade.reports.views.drawing import BLUE, GREY, RED, label, line, styled, thinned, thinning_note

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from peak_trade.engine.result import BacktestResult

ROLLING_DAYS = 90.0
"""Length of the rolling window by default, days."""
LONGEST_WINDOW = 36_500.0
"""Largest length of the rolling window, days."""
N_DRAWDOWNS = 10
"""Largest number of drawdowns in the table, the deepest."""
MONTHLY_CAPTION = "Calendar months, UTC; a bar belongs to the month in which it opens."
YEARLY_CAPTION = (
    "Calendar years, UTC; a bar belongs to the year in which it opens. The first and the last year may be incomplete. "
    "A drawdown starts at a peak of the same year."
)
DRAWDOWN_CAPTION = (
    "The deepest drawdowns, deepest first. Times are closes, UTC. Length is from the peak to the recovery, or to the "
    "last bar where there is none (–)."
)
YEARLY_FORMATS: Mapping[str, str] = MappingProxyType(
    {
        "year": "{}",
        "return": "{:+.1%}",
        "difference": "{:+.1%}",
        "annual_volatility": "{:.1%}",
        "Sharpe ratio": "{:.2f}",
        "standard error": "{:.2f}",
        "largest drawdown": "{:.1%}",
        "returns": "{:,}",
    }
)
DRAWDOWN_FORMATS: Mapping[str, str] = MappingProxyType(
    {"depth": "{:.2%}", "length_days": "{:,.1f}", "days_to_trough": "{:,.1f}", "days_to_recovery": "{:,.1f}"}
)

LEVEL = 0.05
"""Probability of the quantile of daily returns."""
MAX_TRADES = 2_000
"""Largest number of trades in the figure, the last ones."""
REGRESSION_CAPTION = (
    "Least-squares line of the returns a bar over those of {benchmark}, without a risk-free rate. Alpha is the "
    "intercept times the bars of a year. `docs/metrics.md` has the formulas."
)
REGRESSION_FORMATS: Mapping[str, str] = MappingProxyType(
    dict.fromkeys(("value", "standard error", "95 % from", "95 % to"), "{:.3f}") | {"returns": "{:,}"}
)
DAILY_CAPTION = (
    "Returns of calendar days, UTC; a bar belongs to the day in which it opens. One day in twenty was worse than the "
    "5 % quantile."
)
DISTRIBUTION_HEADINGS: Mapping[str, str] = MappingProxyType(
    {
        "mean": "mean",
        "deviation": "standard deviation",
        "skewness": "skewness",
        "excess_kurtosis": "excess kurtosis",
        "quantile": "5 % quantile",
        "worst": "worst day",
        "best": "best day",
    }
)
DISTRIBUTION_FORMATS: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(("mean", "error of mean"), "{:.3%}"),
        **dict.fromkeys(("standard deviation", "5 % quantile", "worst day", "best day"), "{:.2%}"),
        **dict.fromkeys(("skewness", "excess kurtosis"), "{:.2f}"),
        "days": "{:,}",
    }
)
TRADES_CAPTION = (
    "Closed trades. An excursion is the largest move of the close against (MAE) or for (MFE) the position from its "
    "mean entry price, before fees, over the closes between entry and exit and the exit price."
)


class Part(NamedTuple):
    """A table, figure or sentence of the tear sheet: the arguments of `show`, in order."""

    thing: Any
    name: str
    caption: str = ""
    digits: int = DIGITS
    formats: Mapping[str, str] | None = None


@dataclass(frozen=True, eq=False)
class TearSheet:
    """Everything that a tear sheet shows. Series have shape (n_bars,), index close times in UTC.

    As the last value of a notebook's cell it shows all its parts.
    """

    equity: pd.Series[float]
    """Quote currency; of a series of returns, the growth of 1."""
    bars_per_year: float
    """Of bars without gaps; measures are annualised by elapsed time."""
    window: int
    """Length of the rolling window, returns."""
    benchmark: pd.Series[float] | None = None
    """Equity of the benchmark at the same closes."""
    benchmark_name: str = "benchmark"
    timeframe: Timeframe | None = None
    """Length of a bar; None for the smallest step of the index."""
    exposure: pd.Series[float] | None = None
    """Net notional over equity at each close, fraction."""
    excursions: pd.DataFrame | None = None
    """Closed trades; see `metrics.trade_excursions`."""

    def __repr__(self) -> str:
        return f"TearSheet: {len(self.equity) - 1:,} returns, window {self.window:,}"

    def parts(self) -> list[Part]:
        """Return all parts, in the order of a page."""
        return [*self.periods(), *self.rolling(), *self.regression(), *self.daily(), *self.activity()]

    def periods(self) -> list[Part]:
        """Return the returns of calendar months, the table of years and that of the deepest drawdowns."""
        return [
            Part(monthly_returns(self.equity, self.timeframe), "monthly-returns", MONTHLY_CAPTION),
            Part(yearly_table(self), "yearly-returns", YEARLY_CAPTION, formats=_formats(YEARLY_FORMATS, self)),
            Part(drawdown_periods(self.equity), "drawdown-periods", DRAWDOWN_CAPTION, formats=DRAWDOWN_FORMATS),
        ]

    def rolling(self) -> list[Part]:
        """Return the figure of rolling Sharpe ratio and volatility, or a sentence that says why there is none."""
        n = len(self.equity) - 1
        if n < self.window:
            return [Part(f"There are {n:,} returns; the rolling window needs {self.window:,}.", "rolling-measures")]
        caption = (
            f"At each close, over the last {self.window:,} returns ({self.window_days:,.3g} days). The band is the "
            f"95 % interval of the Sharpe ratio of independent returns without skill. {thinning_note()}"
        )
        return [Part(rolling_figure(self), "rolling-measures", caption)]

    def regression(self) -> list[Part]:
        """Return the table of alpha, beta and R² against the benchmark; nothing without a benchmark."""
        if self.benchmark is None:
            return []
        caption = REGRESSION_CAPTION.format(benchmark=self.benchmark_name)
        table = regression_table(self.equity, self.benchmark, self.bars_per_year)
        return [Part(table, "alpha-beta", caption, formats=REGRESSION_FORMATS)]

    def daily(self) -> list[Part]:
        """Return the histogram of daily returns and its measures, or a sentence that says why there is none."""
        changes = self.daily_returns
        measures = return_distribution(changes, LEVEL)
        if measures["mean"].value is None:
            return [Part(f"There is no distribution of daily returns: {measures['mean'].note}.", "daily-returns")]
        return [
            Part(histogram(changes, measures), "daily-returns", DAILY_CAPTION),
            Part(distribution_table(measures), "daily-distribution", formats=DISTRIBUTION_FORMATS),
        ]

    def activity(self) -> list[Part]:
        """Return the figures of exposure and of closed trades, of a run that has them."""
        parts = []
        if self.exposure is not None:
            share = f"{float(time_in_market(self.exposure)):.1%}"
            caption = (
                f"Net notional / equity at each close. A position was held at {share} of the closes. {thinning_note()}"
            )
            parts.append(Part(exposure_figure(self.exposure), "exposure", caption))
        if self.excursions is not None and len(self.excursions):
            n = len(self.excursions)
            drawn = f"The last {MAX_TRADES:,} of {n:,} trades. " if n > MAX_TRADES else ""
            parts.append(Part(trades_figure(self.excursions.tail(MAX_TRADES)), "trade-returns", drawn + TRADES_CAPTION))
        return parts

    @property
    def daily_returns(self) -> pd.Series[float]:
        """Simple return of each day (UTC) that has one, shape (n_days,); of longer bars, that of each bar.

        The day of a bankruptcy is the last one.
        """
        return period_returns(self.equity, "day", self.timeframe).dropna()

    @property
    def window_days(self) -> float:
        """Length of the rolling window where no bar is missing, days of a year of 365."""
        return self.window / self.bars_per_year * 365.0


def of_result(result: BacktestResult, rolling_days: float = ROLLING_DAYS) -> TearSheet:
    """Return the tear sheet of a run and of buying and holding, with a rolling window of so many days."""
    timeframe = result.market.timeframe
    return TearSheet(
        result.equity,
        timeframe.bars_per_year,
        _window(rolling_days, timeframe.bars_per_year),
        benchmark=result.benchmark.equity,
        benchmark_name="buy and hold",
        timeframe=timeframe,
        exposure=result.exposure,
        excursions=trade_excursions(
            result.trades,
            {
                symbol: pd.Series(column.close, index=result.index)
                for symbol, column in zip(result.market.symbols, result.market.columns, strict=True)
            },
        ),
    )


@checks_arguments(returns="a Series of simple returns", benchmark="a Series of simple returns, or None")
def tearsheet(
    returns: pd.Series,
    benchmark: pd.Series | None = None,
    *,
    rolling_days: float = ROLLING_DAYS,
    stamp: Literal["close", "open"] = "close",
) -> TearSheet:
    """Return the tear sheet of any series of returns, which a notebook shows as the last value of a cell.

    Parameters
    ----------
    returns : Series of shape (n,), simple returns a bar, fractions
        Index in UTC, strictly increasing. No return below -1.
    benchmark : Series, optional
        Simple returns of the benchmark. It has a return at each time of `returns`; others are left out.
    rolling_days : float
        Length of the rolling window, days; at least 30 returns.
    stamp : close or open
        Whether the index holds the ends or the starts of the bars. Daily returns that are labelled with their own day
        are stamped with its start.

    Raises
    ------
    ConfigError
        If an argument has another type, or rolling_days is not above 0 and up to 36,500.
    DataError
        If there are fewer than 2 returns, one is NaN, infinite or below -1, the index is not UTC or not increasing, or
        the benchmark misses a time.

    Examples
    --------
    >>> days = pd.date_range("2023-01-01", periods=365, freq="D", tz="UTC")
    >>> returns = pd.Series(np.random.default_rng(1).normal(0.001, 0.02, 365), index=days)
    >>> tearsheet(returns, stamp="open")
    TearSheet: 365 returns, window 90

    """
    equity = _growth(returns, "returns", stamp)
    passive = None
    if benchmark is not None:
        missing = returns.index.difference(benchmark.index)
        if len(missing):
            raise DataError(
                f"benchmark has no return at {len(missing):,} of {len(returns):,} times, first {missing[0]}. Give one "
                "at each time of the returns."
            )
        passive = _growth(benchmark.reindex(returns.index), "benchmark", stamp)
    step = int(np.diff(index_ns(equity.index)).min()) / 1e9
    bars_per_year = SECONDS_PER_YEAR / step
    return TearSheet(equity, bars_per_year, _window(rolling_days, bars_per_year), passive)


def yearly_table(sheet: TearSheet) -> pd.DataFrame:
    """Return one row per calendar year: return, that of the benchmark, volatility, Sharpe ratio and drawdown."""
    rows = []
    passive = {} if sheet.benchmark is None else _years(sheet, sheet.benchmark)
    for year, measures in _years(sheet, sheet.equity).items():
        gain, ratio = float(measures["total_return"]), measures["sharpe"]
        row: dict[str, Any] = {"year": year, "return": gain}
        if passive:
            theirs = float(passive[year]["total_return"])
            row |= {sheet.benchmark_name: theirs, "difference": gain - theirs}
        row |= {
            "annual_volatility": float(measures["annual_volatility"]),
            "Sharpe ratio": float(ratio),
            "standard error": math.nan if ratio.stderr is None else ratio.stderr,
            "largest drawdown": float(measures["max_drawdown"]),
            "returns": measures["total_return"].n,
        }
        rows.append(row)
    return pd.DataFrame(rows)


def drawdown_periods(equity: pd.Series[float]) -> pd.DataFrame:
    """Return the deepest drawdowns, deepest first: depth, times of peak, trough and recovery, lengths in days."""
    table = drawdown_table(equity, N_DRAWDOWNS)
    last = equity.index[-1]
    ends = table["recovery_time"].fillna(last)
    return pd.DataFrame(
        {
            "depth": table["depth"],
            "peak": table["peak_time"],
            "trough": table["trough_time"],
            "recovery_time": table["recovery_time"],
            "length_days": _days(table["peak_time"], ends),
            "days_to_trough": _days(table["peak_time"], table["trough_time"]),
            "days_to_recovery": _days(table["trough_time"], table["recovery_time"]),
        }
    )


def rolling_figure(sheet: TearSheet) -> Figure:
    """Draw the rolling Sharpe ratio, with its 95 % interval without skill, and the rolling volatility below it."""
    from plotly.subplots import make_subplots

    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, row_heights=[0.58, 0.42], vertical_spacing=0.07)
    curves = [("strategy", sheet.equity, {"color": BLUE, "width": 1.6})]
    if sheet.benchmark is not None:
        curves.insert(0, (label(sheet.benchmark_name), sheet.benchmark, {"color": GREY, "width": 1.2}))
    for name, equity, pen in curves:
        for row, measure in ((1, rolling_sharpe), (2, rolling_volatility)):
            known = measure(equity, sheet.window, sheet.bars_per_year).dropna()
            drawn = line(known, thinned(known.to_numpy()))
            figure.add_scatter(**drawn, name=name, line=pen, showlegend=row == 1, row=row, col=1)
    bound = 1.96 / math.sqrt(sheet.window_days / 365.0)
    figure.add_hrect(y0=-bound, y1=bound, fillcolor=GREY, opacity=0.12, line_width=0, row=1, col=1)
    figure.update_yaxes(title_text="Sharpe ratio", row=1, col=1)
    figure.update_yaxes(title_text="volatility, a year", tickformat=".0%", row=2, col=1)
    return styled(figure, height=440)


def regression_table(equity: pd.Series[float], benchmark: pd.Series[float], bars_per_year: float) -> pd.DataFrame:
    """Return alpha, beta and R²: value, standard error, both ends of the 95 % interval, number of returns, remark."""
    ours, theirs = simple_returns(equity), simple_returns(benchmark)
    n = min(ours.size, theirs.size)
    fit = alpha_beta(ours[:n], theirs[:n], per_year(equity, bars_per_year))
    rows = []
    for name, measure in zip(("alpha, a year", "beta", "R²"), fit, strict=True):
        error = math.nan if measure.stderr is None else measure.stderr
        value = float(measure)
        rows.append((name, value, error, value - 1.96 * error, value + 1.96 * error, measure.n, measure.note))
    columns = ["measure", "value", "standard error", "95 % from", "95 % to", "returns", "remark"]
    return pd.DataFrame(rows, columns=columns)


def distribution_table(measures: Mapping[str, Measure]) -> pd.DataFrame:
    """Return one row with the measures of daily returns and the number of days."""
    row = {heading: float(measures[name]) for name, heading in DISTRIBUTION_HEADINGS.items()}
    error = measures["mean"].stderr
    return pd.DataFrame([row | {"error of mean": math.nan if error is None else error, "days": measures["mean"].n}])


def histogram(changes: pd.Series[float], measures: Mapping[str, Measure]) -> Figure:
    """Draw the number of days in each of at most 60 equal ranges of return, with the mean and the 5 % quantile."""
    import plotly.graph_objects as go

    values = changes.to_numpy(dtype=np.float64)
    n_ranges = min(60, max(10, math.ceil(2.0 * math.sqrt(values.size))))
    counts, edges = np.histogram(values, bins=n_ranges)
    centres = (edges[1:] + edges[:-1]) / 2.0
    figure = go.Figure(go.Bar(x=centres.tolist(), y=counts.tolist(), name="days", marker={"color": BLUE}))
    for name, color, dash in (("mean", GREY, "solid"), ("quantile", RED, "dash")):
        value = float(measures[name])
        text = f"mean {value:.2%}" if name == "mean" else f"5 % quantile {value:.2%}"
        place = {"x": [value, value], "y": [0, int(counts.max())]}
        figure.add_scatter(**place, mode="lines", name=text, line={"color": color, "dash": dash, "width": 2})
    figure.update_xaxes(title_text="return of a day", tickformat=".1%")
    figure.update_yaxes(title_text="days")
    figure.update_layout(bargap=0.05)
    return styled(figure, height=320)


def _days(start: Any, end: Any) -> Any:
    return (end - start).dt.total_seconds() / 86_400.0


def _years(sheet: TearSheet, equity: pd.Series[float]) -> dict[int, dict[str, Any]]:
    return yearly_measures(equity, sheet.bars_per_year, sheet.timeframe)


def _formats(formats: Mapping[str, str], sheet: TearSheet) -> dict[str, str]:
    """Return the formats with that of the benchmark's column, or without those of the difference from it."""
    if sheet.benchmark is None:
        return {name: text for name, text in formats.items() if name != "difference"}
    return dict(formats) | {sheet.benchmark_name: "{:+.1%}"}


def _window(rolling_days: float, bars_per_year: float) -> int:
    if not 0.0 < rolling_days <= LONGEST_WINDOW:
        raise ConfigError(f"rolling_days was {rolling_days:g}: give a number above 0 and up to {LONGEST_WINDOW:,.0f}.")
    return max(MIN_RETURNS, round(rolling_days / 365.0 * bars_per_year))


def _growth(returns: pd.Series[float], what: str, stamp: str) -> pd.Series[float]:
    """Return the growth of 1 at each close, shape (n + 1,), from 1 one step before the first close."""
    index = returns.index
    if not (isinstance(index, pd.DatetimeIndex) and str(index.tz) == "UTC"):
        raise DataError(f"{what} needs an index of times in UTC. Set one, for example with index.tz_localize('UTC').")
    if len(index) < 2 or index.hasnans or not (index.is_monotonic_increasing and index.is_unique):
        raise DataError(f"{what} needs 2 or more times, each later than the one before.")
    if returns.dtype.kind not in "fiu":
        raise DataError(f"{what} has values of the type {returns.dtype}; give numbers.")
    values = checked(returns, what)
    if (values < -1.0).any():
        raise DataError(f"{what} has a return of {values.min():g}; the smallest is -1. Give fractions, not per cent.")
    growth = np.concatenate([[1.0], np.cumprod(1.0 + values)])
    if not np.isfinite(growth).all():
        raise DataError(f"{what} compounds to more than a number can hold. Give fractions, not per cent.")
    step = (index[1:] - index[:-1]).min()
    closes = index + step if stamp == "open" else index
    return pd.Series(growth, index=closes.insert(0, closes[0] - step), name="equity")
