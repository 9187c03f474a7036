"""Tables of what a workspace has: stored bars and sessions; and of the strategies."""

from __future__ import annotations

from dataclasses import asdict, fields

import pandas as pd

from peak_trade.core.arguments import checks_arguments
from peak_trade.data.store import list_bars
from peak_trade.sessions.store import SessionSummary, summaries
from peak_trade.wiring.strategies import PANEL_STRATEGIES, STRATEGIES, describe_strategy


def bars_table() -> pd.DataFrame:
    """Return one row per stored series: exchange, symbol, timeframe, number of bars, first and last close (UTC)."""
    rows = [
        (each.exchange, each.symbol, str(each.timeframe), each.n_bars, each.first, each.last) for each in list_bars()
    ]
    table = pd.DataFrame(rows, columns=["exchange", "symbol", "timeframe", "n_bars", "first_close", "last_close"])
    return _with_times(table, ["first_close", "last_close"])


def sessions_table() -> pd.DataFrame:
    """Return one row per session, oldest first.

    Columns are the fields of `SessionSummary`; times are UTC, equity is in quote currency.
    """
    rows = [
        asdict(each)
        | {"strategies": ", ".join(each.strategies), "symbols": ", ".join(each.symbols)}
        | {"started": each.started or None, "last_bar": each.last_bar or None}
        for each in summaries()
    ]
    table = pd.DataFrame(rows, columns=[each.name for each in fields(SessionSummary)])
    return _with_times(table, ["started", "last_bar"])


@checks_arguments()
def strategies_table(name: str | None = None) -> pd.DataFrame:
    """Return one row per strategy, or per parameter of the named one.

    Columns are strategy, meaning, parameters and warm_up (bars, with the defaults); of a parameter its name, values,
    default and meaning.

    Parameters
    ----------
    name : str, optional
        A name of the table, or `package.module:Class`.

    Raises
    ------
    ConfigError
        If there is no such strategy; the message suggests the closest name.

    """
    if name is not None:
        rows = [(each.name, each.values, each.default, each.meaning) for each in describe_strategy(name).parameters]
        return pd.DataFrame(rows, columns=["parameter", "values", "default", "meaning"])
    known = [describe_strategy(each) for each in (*STRATEGIES, *PANEL_STRATEGIES)]
    return pd.DataFrame(
        [(each.name, each.meaning, ", ".join(part.name for part in each.parameters), each.warm_up) for each in known],
        columns=["strategy", "meaning", "parameters", "warm_up"],
    )


def _with_times(table: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    """Return the table with columns of ns as UTC times."""
    return table.assign(**{name: pd.to_datetime(table[name], utc=True) for name in columns})
