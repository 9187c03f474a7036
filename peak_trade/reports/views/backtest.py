"""The tables and sentences of a report, from a result. No measure is computed here: `metrics` does."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

import pandas as pd

from peak_trade.core.time import iso

if TYPE_CHECKING:
    from peak_trade.engine.result import BacktestResult
    from peak_trade.metrics.measure import Measure

HEADLINE_CAPTION = (
    "Annualised with a year of 365 days. ± is one standard error, n the observations; "
    "`docs/metrics.md` defines each measure."
)
TRADES_CAPTION = "A trade is a round trip, flat to flat; `pnl` is before fees and `return` after them."
TRADES_FORMATS: Mapping[str, str] = MappingProxyType(
    {
        "quantity": "{:.6g}",
        "entry_price": "{:,.6g}",
        "exit_price": "{:,.6g}",
        "pnl": "{:,.2f}",
        "fees": "{:,.2f}",
        "return": "{:.2%}",
    }
)


def outcome(result: BacktestResult) -> str:
    """Return in a sentence or two what was run and what came of it, or why nothing traded."""
    index = result.index
    what = (
        f"{' and '.join(result.strategies)} on {' and '.join(result.market.symbols)} ({result.exchange}), "
        f"{len(index):,} bars of {result.market.timeframe} that closed from {iso(index[0].value)} to "
        f"{iso(index[-1].value)}."
    )
    if result.why:
        return f"{what} {result.why}"
    stats = result.stats()
    quote = result.market.columns[0].instrument.quote
    return (
        f"{what} Equity went from {result.equity.iloc[0]:,.2f} to {result.equity.iloc[-1]:,.2f} {quote} in "
        f"{len(result.trades):,} closed trades; total return {_measure(stats['total_return'], 'fraction')}, buying and "
        f"holding {_measure(result.benchmark.stats()['total_return'], 'fraction')}."
    )


def headline(result: BacktestResult) -> pd.DataFrame:
    """Return one row a measure: the run, buying and holding beside it, the observations, the unit and a remark."""
    run, held = result.stats(), result.benchmark.stats()
    units = run.to_frame()["unit"]
    rows = [
        (
            name.replace("_", " "),
            _measure(measure, units[name]),
            _measure(held[name], units[name]),
            measure.n,
            units[name],
            measure.note if measure.value is not None else "",
        )
        for name, measure in run.items()
    ]
    return pd.DataFrame(rows, columns=["measure", "strategy", "buy and hold", "n", "unit", "remark"])


def headline_numbers(result: BacktestResult) -> pd.DataFrame:
    """Return the numbers behind `headline`: value and standard error of the run, value of buying and holding."""
    held = result.benchmark.stats().to_frame()["value"]
    numbers = result.stats().to_frame().reset_index()
    return numbers[["measure", "value", "stderr", "n"]].assign(buy_and_hold=held.to_numpy())


def trades(result: BacktestResult) -> pd.DataFrame:
    """Return the closed trades, oldest first, without the columns that are the same in every row."""
    table = result.trades
    alike = [column for column in ("strategy", "symbol") if len(table[column].unique()) <= 1]
    return table.drop(columns=alike)


def run_facts(result: BacktestResult) -> dict[str, str]:
    """Return what names the run: its run_id, its digests and its parameters."""
    facts = {"run_id": result.run_id}
    facts |= {f"{name} digest": digest[:16] for name, digest in result.digests.items()}
    for strategy, values in result.parameters.items():
        facts |= {f"{strategy}.{name}": str(value) for name, value in values.items()}
    return facts


def _measure(measure: Measure, unit: str) -> str:
    if measure.value is None:
        return measure.note
    if unit.startswith("fraction"):
        text, error = f"{measure.value:.2%}", "" if measure.stderr is None else f" ± {measure.stderr:.2%}"
    elif unit in ("count", "bars"):
        text, error = f"{measure.value:,.0f}", ""
    else:
        text, error = f"{measure.value:,.2f}", "" if measure.stderr is None else f" ± {measure.stderr:.2f}"
    return text + error
