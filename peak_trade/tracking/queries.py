"""Queries of the run registry: list, show and compare runs as frames."""

from __future__ import annotations

import difflib
import json
import math
import sqlite3
import sys
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any

import pandas as pd
from pydantic import Field

from peak_trade.core.arguments import checks_arguments
from peak_trade.core.errors import ConfigError, did_you_mean
from peak_trade.core.time import to_ns
from peak_trade.metrics import MEASURES
from peak_trade.tracking.record import GROWTH_TAG, RUN_TYPES
from peak_trade.tracking.registry import (
    database_state,
    is_database,
    is_registry_empty,
    open_database,
    open_registry,
    read_artifacts,
    tracking_uri,
)

if TYPE_CHECKING:
    from mlflow.entities import Run

TAGS = ("run_id", "run_type", "strategy", "symbol", "timeframe", "start", "end")
SORTABLE = ("recorded_at", *TAGS, *MEASURES)
"""Names that runs are sorted by; the others of a run are no measures."""
LATEST = "-recorded_at"
PAGE = 1_000
KINDS = ("tag", "parameter", "metric")
NO_RUNS = "there are no runs yet; a backtest records the first one."
DONE, UNFINISHED = "done", "unfinished"
"""Status of a run: all of it is recorded, or its recording was stopped (or goes on)."""


@dataclass(frozen=True, slots=True)
class RunEntry:
    """A recorded run as it is stored: MLflow's id of it, and the time of recording, ms UTC."""

    mlflow_id: str
    is_finished: bool
    recorded_at: int
    tags: dict[str, str] = field(default_factory=dict)
    parameters: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)

    @property
    def run_id(self) -> str:
        """Id of the run; empty for an entry of other software."""
        return self.tags.get("run_id", "")

    @property
    def status(self) -> str:
        """`done` or `unfinished`."""
        return DONE if self.is_finished else UNFINISHED

    @property
    def when(self) -> pd.Timestamp:
        """Time of recording, UTC."""
        return pd.Timestamp(self.recorded_at, unit="ms", tz="UTC")


@dataclass(frozen=True, slots=True)
class _Query:
    """Conditions that hold for all entries asked for: equal tags, a prefix of the run id, a tag, ms UTC; their order.

    `sort` is a name of SORTABLE, after a minus sign for the largest first.
    """

    tags: tuple[tuple[str, str], ...] = ()
    prefix: str = ""
    tag: str = ""
    since: int | None = None
    until: int | None = None
    sort: str = LATEST
    has_parameters: bool = True
    """Whether the parameters of the entries are read: a database has more of them than of tags and metrics."""

    @property
    def sort_name(self) -> str:
        return self.sort.removeprefix("-")

    @property
    def direction(self) -> str:
        return "DESC" if self.sort.startswith("-") else "ASC"


@dataclass(frozen=True, slots=True)
class RunsPage:
    """Some of the runs that match a query, in its order, and the number of all that match."""

    n_runs: int
    runs: dict[str, dict[str, Any] | None]
    """By MLflow's id, the columns of `list_runs` without the metrics, and the dict `metrics`; None for a known run."""


MOST_LISTED = 1_000_000
"""Largest number of runs that are listed at once."""


@checks_arguments()
def list_runs(
    run_type: str | None = None,
    strategy: str | None = None,
    symbol: str | None = None,
    timeframe: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    limit: Annotated[int, Field(ge=1, le=MOST_LISTED)] = 100,
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
        recorded_at (UTC), the tags run_id, run_type, strategy, symbol, timeframe, start, end, status (done, or
        unfinished when its recording was stopped), then one column per metric that any of the runs has; NaN where a run
        has none.

    Raises
    ------
    ConfigError
        If the type is not in RUN_TYPES.

    """
    if run_type is not None and run_type not in RUN_TYPES:
        raise ConfigError(f"type was {run_type!r}. {did_you_mean(run_type, RUN_TYPES)}")
    wanted = {"run_type": run_type, "strategy": strategy, "symbol": symbol, "timeframe": timeframe}
    rows = [_columns(entry) | entry.metrics for entry in _entries(_query(wanted, since, until), limit)]
    if not rows:
        return pd.DataFrame(columns=["recorded_at", *TAGS, "status"])
    return pd.DataFrame(rows)


def page_runs(
    tags: Mapping[str, str | None],
    since: datetime | None = None,
    until: datetime | None = None,
    sort: str = LATEST,
    offset: int = 0,
    limit: int = 100,
    known: Container[str] = (),
) -> RunsPage:
    """Return `limit` runs from the place `offset` on, of those that match every filter given; see `list_runs`.

    Parameters
    ----------
    tags : mapping
        Name of TAGS to its value; None is no filter.
    sort : str
        A name of SORTABLE; after a minus sign the largest is first. Runs without the measure are last, and of equal
        runs the latest is first.
    known : container
        MLflow's ids of runs that need not be read, if the registry is a database.

    Raises
    ------
    ConfigError
        If the name to sort by is not in SORTABLE, or the registry cannot be read.

    """
    query = _query(tags, since, until, sort)
    if query.sort_name not in SORTABLE:
        raise ConfigError(f"sort was {sort!r}. {did_you_mean(query.sort_name, SORTABLE)}")
    if is_database():
        matching = _matching_keys(replace(query, since=None, until=None), tracking_uri(), database_state())
        first, end = -math.inf if query.since is None else query.since, math.inf if query.until is None else query.until
        keys = [key for key, recorded_at in matching if first <= recorded_at < end]
        page = keys[offset : offset + limit]
        read = {entry.mlflow_id: _row(entry) for entry in _entries_of([key for key in page if key not in known], query)}
        return RunsPage(len(keys), {key: read.get(key) for key in page if key in read or key in known})
    entries = _entries(query, limit + offset)[offset:]
    return RunsPage(_count(query), {entry.mlflow_id: _row(entry) for entry in entries})


def _row(entry: RunEntry) -> dict[str, Any]:
    return _columns(entry) | {"metrics": entry.metrics}


@lru_cache(maxsize=64)
def _matching_keys(query: _Query, uri: str, state: tuple[Any, ...]) -> tuple[tuple[str, int], ...]:
    """Return MLflow's ids of all runs that match, in order, each with its time of recording, ms UTC.

    They are read again when the database has changed.

    The filters and the order of 10,000 runs take 5 to 20 ms, the content of a page 3 ms.
    """
    with open_database() as opened:
        return () if opened is None else tuple(_keys(opened, query, sys.maxsize))


def latest_entries(limit: int) -> list[RunEntry]:
    """Return the latest runs with all their tags, parameters and metrics, newest first."""
    return _entries(_Query(), limit)


def find_run(run_id: str) -> dict[str, dict[str, Any]] | None:
    """Return the tags, parameters and metrics of the run with this whole id; None without one."""
    entries = _entries(_Query((("run_id", run_id),)), 1)
    if not entries:
        return None
    contents = _contents(entries[0])
    return {kind: {name: value for (of, name), value in contents.items() if of == kind} for kind in KINDS}


def count_runs() -> int:
    """Return the number of runs in the registry, unfinished ones included."""
    return _count(_Query())


def _query(
    tags: Mapping[str, str | None], since: datetime | None, until: datetime | None, sort: str = LATEST
) -> _Query:
    return _Query(
        tuple((name, value) for name, value in tags.items() if value is not None),
        since=None if since is None else to_ns(since) // 1_000_000,
        until=None if until is None else to_ns(until) // 1_000_000,
        sort=sort,
        has_parameters=False,
    )


def _columns(entry: RunEntry) -> dict[str, Any]:
    tags = {name: entry.tags.get(name, "") for name in TAGS}
    return {"recorded_at": entry.when, **tags, "status": entry.status}


@checks_arguments()
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


@checks_arguments()
def compare_runs(run_ids: Sequence[str]) -> pd.DataFrame:
    """Return runs side by side: index kind and name, one column per run in the given order; see `show_run`."""
    if is_registry_empty():
        raise ConfigError(NO_RUNS)
    columns: dict[str, dict[tuple[str, str], Any]] = {}
    for asked in run_ids:
        entry = _find(asked)
        columns[entry.run_id] = _contents(entry)
    names = sorted({key for column in columns.values() for key in column}, key=_order)
    index = pd.MultiIndex.from_tuples(names, names=["kind", "name"])
    return pd.DataFrame(
        {
            run_id: pd.Series([column.get(key) for key in names], index=index, dtype=object)
            for run_id, column in columns.items()
        }
    )


@dataclass(frozen=True, slots=True)
class StoredRun:
    """The tags and metrics of a finished run, and the content of its files by their path in the entry."""

    run_id: str
    tags: Mapping[str, str]
    metrics: Mapping[str, float]
    files: Mapping[str, bytes]


def read_run(run_id: str) -> StoredRun:
    """Return tags, metrics and files of a run by its id or a prefix; ConfigError if it is unknown or unfinished."""
    if is_registry_empty():
        raise ConfigError(NO_RUNS)
    entry = _find(run_id)
    if not entry.is_finished:
        raise ConfigError(
            f"run {entry.run_id} is unfinished: it was stopped while it was recorded. Make and record it again."
        )
    return StoredRun(entry.run_id, entry.tags, entry.metrics, read_artifacts(entry.mlflow_id))


def notes_of(name: str) -> dict[str, str]:
    """Return the text of a note by run id, of every run that has it."""
    tag = f"note.{name}"
    return {entry.run_id: entry.tags[tag] for entry in _entries(_Query(tag=tag), sys.maxsize)}


def _contents(entry: RunEntry) -> dict[tuple[str, str], Any]:
    tags = {name: value for name, value in entry.tags.items() if not name.startswith("mlflow.") and name != GROWTH_TAG}
    return (
        {("tag", name): value for name, value in tags.items()}
        | {("tag", "recorded_at"): str(entry.when), ("tag", "status"): entry.status}
        | {("parameter", name): value for name, value in entry.parameters.items()}
        | {("metric", name): value for name, value in entry.metrics.items()}
    )


def _order(key: tuple[str, str]) -> tuple[int, int, str]:
    kind, name = key
    place = TAGS.index(name) if kind == "tag" and name in TAGS else len(TAGS)
    return KINDS.index(kind), place, name


def _find(asked: str) -> RunEntry:
    if not asked.strip():
        raise ConfigError("the run id was empty. Give an id, or the beginning of one; see `peak-trade runs list`.")
    entries = _entries(_Query(prefix=asked), PAGE)
    exact = [entry for entry in entries if entry.run_id == asked]
    if exact:
        return exact[0]
    if len(entries) == 1:
        return entries[0]
    if entries:
        ids = ", ".join(sorted(entry.run_id for entry in entries)[:5])
        raise ConfigError(f"run {asked} could be any of {len(entries)} runs: {ids}. Give more of its id.")
    known = [entry.run_id for entry in _entries(_Query(), PAGE)]
    if not known:
        raise ConfigError(NO_RUNS)
    starts = {run_id[: len(asked)]: run_id for run_id in reversed(known)}
    close = difflib.get_close_matches(asked, starts, n=1, cutoff=0.6)
    latest = f"The latest is {known[0]}; see `peak-trade runs list`."
    hint = f"Did you mean {starts[close[0]]}?" if close else latest
    raise ConfigError(f"run {asked} is not recorded. {hint}")


def _entries(query: _Query, limit: int) -> list[RunEntry]:
    """Return the first entries that match, in the order of the query: by default the newest, newest first.

    Those of a database are read from its tables: MLflow takes seconds to be imported and more for a thousand runs, and
    it writes where it reads.
    """
    if is_registry_empty():
        return []
    if is_database():
        with open_database() as opened:
            return (
                []
                if opened is None
                else _read_entries(opened[0], [key for key, _ in _keys(opened, query, limit)], query)
            )
    return list(_from_mlflow(query, limit))


def _count(query: _Query) -> int:
    if not is_database():
        return 0 if is_registry_empty() else sum(1 for _ in _from_mlflow(query, sys.maxsize))
    with open_database() as opened:
        if opened is None:
            return 0
        where, values = _where(query, opened[1])
        return int(opened[0].execute(f"SELECT count(*) FROM {where}", values).fetchone()[0])


_ACTIVE = "runs WHERE lifecycle_stage = 'active' AND experiment_id = ?"
_HAS_TAG = "EXISTS (SELECT 1 FROM tags WHERE tags.run_uuid = runs.run_uuid AND key = ?"


_OF_THE_RUNS = "run_uuid IN (SELECT value FROM json_each(?))"
_ORDERS = {
    "tag": "(SELECT value FROM tags WHERE tags.run_uuid = runs.run_uuid AND key = ?)",
    "metric": "(SELECT CASE WHEN is_nan THEN NULL ELSE value END FROM latest_metrics "
    "WHERE latest_metrics.run_uuid = runs.run_uuid AND key = ?)",
}


def _entries_of(keys: Sequence[str], query: _Query) -> list[RunEntry]:
    if not keys:
        return []
    with open_database() as opened:
        return [] if opened is None else _read_entries(opened[0], keys, query)


def _keys(opened: tuple[sqlite3.Connection, int], query: _Query, limit: int) -> Iterator[tuple[str, int]]:
    connection, experiment_id = opened
    where, values = _where(query, experiment_id)
    order = f"start_time {query.direction}, run_uuid"
    if query.sort_name != "recorded_at":
        words = _ORDERS["tag" if query.sort_name in TAGS else "metric"]
        order = f"{words} {query.direction} NULLS LAST, start_time DESC, run_uuid"
        values.append(query.sort_name)
    chosen = f"SELECT run_uuid, start_time FROM {where} ORDER BY {order} LIMIT ?"
    return connection.execute(chosen, [*values, min(limit, sys.maxsize)])


def _read_entries(connection: sqlite3.Connection, keys: Sequence[str], query: _Query) -> list[RunEntry]:
    """Return the entries with these ids of MLflow, in their order, all of one state of the database."""
    connection.execute("BEGIN")
    rows = connection.execute(
        f"SELECT run_uuid, status, start_time FROM runs WHERE {_OF_THE_RUNS}", (json.dumps(keys),)
    )
    found = {key: RunEntry(key, status == "FINISHED", recorded_at) for key, status, recorded_at in rows}
    asked = (json.dumps(list(found)),)
    for key, name, value in connection.execute(f"SELECT run_uuid, key, value FROM tags WHERE {_OF_THE_RUNS}", asked):
        found[key].tags[name] = value
    words = f"SELECT run_uuid, key, value FROM params WHERE {_OF_THE_RUNS}"
    for key, name, value in connection.execute(words, asked) if query.has_parameters else ():
        found[key].parameters[name] = value
    words = f"SELECT run_uuid, key, value, is_nan FROM latest_metrics WHERE {_OF_THE_RUNS}"
    for key, name, value, is_nan in connection.execute(words, asked):
        found[key].metrics[name] = math.nan if is_nan else value
    return [found[key] for key in keys if key in found]


def _where(query: _Query, experiment_id: int) -> tuple[str, list[Any]]:
    where: list[str] = [_ACTIVE]
    values: list[Any] = [experiment_id]
    for condition, part in _conditions(query):
        where.append(condition)
        values += [_storable(value) if isinstance(value, str) else value for value in part]
    return " AND ".join(where), values


def _storable(text: str) -> str:
    """Return text as the database can hold it; a lone surrogate, which no tag has, becomes a question mark."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _conditions(query: _Query) -> Iterator[tuple[str, list[Any]]]:
    for name, value in query.tags:
        yield f"{_HAS_TAG} AND value = ?)", [name, value]
    if query.prefix:
        yield f"{_HAS_TAG} AND substr(value, 1, ?) = ?)", ["run_id", len(query.prefix), query.prefix]
    if query.tag:
        yield f"{_HAS_TAG})", [query.tag]
    if query.since is not None:
        yield "start_time >= ?", [query.since]
    if query.until is not None:
        yield "start_time < ?", [query.until]


def _from_mlflow(query: _Query, limit: int) -> Iterator[RunEntry]:
    filters = [f"tags.{name} = {_quoted(value)}" for name, value in query.tags]
    filters += [f"tags.run_id LIKE {_quoted(query.prefix + '%')}"] if query.prefix else []
    filters += [f"tags.`{query.tag}` LIKE '%'"] if query.tag else []
    filters += [f"attributes.start_time >= {query.since}"] if query.since is not None else []
    filters += [f"attributes.start_time < {query.until}"] if query.until is not None else []
    with open_registry() as (client, experiment_id):
        token: str | None = None
        while limit > 0:
            page = client.search_runs(
                [experiment_id],
                " and ".join(filters),
                max_results=min(limit, PAGE),
                order_by=list(_mlflow_order(query)),
                page_token=token,
            )
            yield from (entry for entry in map(_entry_of, page) if entry.run_id.startswith(query.prefix))
            limit -= len(page)
            token = page.token
            if not token:
                return


def _mlflow_order(query: _Query) -> Iterator[str]:
    if query.sort_name != "recorded_at":
        kind = "tags" if query.sort_name in TAGS else "metrics"
        yield f"{kind}.`{query.sort_name}` {query.direction}"
        yield "attributes.start_time DESC"
    else:
        yield f"attributes.start_time {query.direction}"


def _entry_of(run: Run) -> RunEntry:
    is_finished = run.info.status == "FINISHED"
    return RunEntry(run.info.run_id, is_finished, run.info.start_time, run.data.tags, run.data.params, run.data.metrics)


def _quoted(value: str) -> str:
    if "'" in value:
        raise ConfigError(f"a filter was {value!r}: leave out the quote.")
    return f"'{value}'"
