"""Queries of the run registry: list, show and compare runs as frames."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pandas as pd

from peak_trade.core.errors import ConfigError, did_you_mean
from peak_trade.core.time import to_ns
from peak_trade.tracking.record import RUN_TYPES
from peak_trade.tracking.registry import is_registry_empty, open_registry

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient

TAGS = ("run_id", "run_type", "strategy", "symbol", "timeframe", "start", "end")
PAGE = 1_000


def list_runs(
    run_type: str | None = None,
    strategy: str | None = None,
    symbol: str | None = None,
    timeframe: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    limit: int = 100,
) -> pd.DataFrame:
    """Return the latest runs, newest first, that match every filter given.

    Parameters
    ----------
    run_type, strategy, symbol, timeframe : str, optional
        Equal to the tag.
    since, until : datetime, optional
        Time of recording, since <= time < until, UTC.
    limit : int
        Largest number of rows.

    Returns
    -------
    DataFrame of shape (n_runs, ...)
        recorded_at (UTC), the tags run_id, run_type, strategy, symbol, timeframe, start, end, then one column per
        metric that any of the runs has; NaN where a run has none.

    Raises
    ------
    ConfigError
        If the type is not in RUN_TYPES.

    """
    if run_type is not None and run_type not in RUN_TYPES:
        raise ConfigError(f"type was {run_type!r}. {did_you_mean(run_type, RUN_TYPES)}")
    wanted = {"run_type": run_type, "strategy": strategy, "symbol": symbol, "timeframe": timeframe}
    filters = [f"tags.{name} = {_quoted(value)}" for name, value in wanted.items() if value is not None]
    if since is not None:
        filters.append(f"attributes.start_time >= {to_ns(since) // 1_000_000}")
    if until is not None:
        filters.append(f"attributes.start_time < {to_ns(until) // 1_000_000}")
    rows: list[dict[str, Any]] = []
    if not is_registry_empty():
        with open_registry() as (client, experiment_id):
            for run in _pages(client, experiment_id, " and ".join(filters), limit):
                tags = {name: run.data.tags.get(name, "") for name in TAGS}
                rows.append({"recorded_at": _recorded_at(run), **tags, **run.data.metrics})
    if not rows:
        return pd.DataFrame(columns=["recorded_at", *TAGS])
    return pd.DataFrame(rows)


def show_run(run_id: str) -> pd.DataFrame:
    """Return everything recorded of one run.

    Parameters
    ----------
    run_id : str
        The whole id, or a prefix of it that no other run has.

    Returns
    -------
    DataFrame
        Index kind (tag, parameter, metric) and name; one column with text and numbers, named by the whole run id.

    Raises
    ------
    ConfigError
        If no run, or more than one, has that id; the message suggests the nearest id.

    """
    return compare_runs([run_id])


def compare_runs(run_ids: Sequence[str]) -> pd.DataFrame:
    """Return runs side by side: index kind and name, one column per run in the given order; see `show_run`."""
    if is_registry_empty():
        raise ConfigError("there are no runs yet; a backtest records the first one.")
    columns: dict[str, dict[tuple[str, str], Any]] = {}
    with open_registry() as (client, experiment_id):
        for asked in run_ids:
            run = _find(client, experiment_id, asked)
            columns[run.data.tags["run_id"]] = _entries(run)
    names = sorted({key for column in columns.values() for key in column}, key=_order)
    index = pd.MultiIndex.from_tuples(names, names=["kind", "name"])
    return pd.DataFrame(
        {
            run_id: pd.Series([column.get(key) for key in names], index=index, dtype=object)
            for run_id, column in columns.items()
        }
    )


def _entries(run: Run) -> dict[tuple[str, str], Any]:
    tags = {name: value for name, value in run.data.tags.items() if not name.startswith("mlflow.")}
    return (
        {("tag", name): value for name, value in tags.items()}
        | {("tag", "recorded_at"): str(_recorded_at(run))}
        | {("parameter", name): value for name, value in run.data.params.items()}
        | {("metric", name): value for name, value in run.data.metrics.items()}
    )


def _order(key: tuple[str, str]) -> tuple[int, int, str]:
    kind, name = key
    place = TAGS.index(name) if kind == "tag" and name in TAGS else len(TAGS)
    return ("tag", "parameter", "metric").index(kind), place, name


def _find(client: MlflowClient, experiment_id: str, asked: str) -> Run:
    runs = [
        run
        for run in _pages(client, experiment_id, f"tags.run_id LIKE {_quoted(asked + '%')}", PAGE)
        if run.data.tags["run_id"].startswith(asked)
    ]
    exact = [run for run in runs if run.data.tags["run_id"] == asked]
    if exact:
        return exact[0]
    if len(runs) == 1:
        return runs[0]
    if runs:
        ids = ", ".join(sorted(run.data.tags["run_id"] for run in runs)[:5])
        raise ConfigError(f"run {asked} could be any of {len(runs)} runs: {ids}. Give more of its id.")
    known = [run.data.tags.get("run_id", "") for run in _pages(client, experiment_id, "", PAGE)]
    if not known:
        raise ConfigError("there are no runs yet; a backtest records the first one.")
    starts = {run_id[: len(asked)]: run_id for run_id in reversed(known)}
    close = difflib.get_close_matches(asked, starts, n=1, cutoff=0.6)
    latest = f"The latest is {known[0]}; see `peak-trade runs list`."
    hint = f"Did you mean {starts[close[0]]}?" if close else latest
    raise ConfigError(f"run {asked} is not recorded. {hint}")


def _pages(client: MlflowClient, experiment_id: str, filter_string: str, limit: int) -> Iterator[Run]:
    token: str | None = None
    while limit > 0:
        page = client.search_runs(
            [experiment_id],
            filter_string,
            max_results=min(limit, PAGE),
            order_by=["attributes.start_time DESC"],
            page_token=token,
        )
        yield from page
        limit -= len(page)
        token = page.token
        if not token:
            return


def _recorded_at(run: Run) -> pd.Timestamp:
    return pd.Timestamp(run.info.start_time, unit="ms", tz="UTC")


def _quoted(value: str) -> str:
    if "'" in value:
        raise ConfigError(f"a filter was {value!r}: leave out the quote.")
    return f"'{value}'"
