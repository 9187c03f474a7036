"""Queries of the run registry: list, show and compare runs as frames."""

from __future__ import annotations

import difflib
import math
import sys
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from typing import Annotated, Any

import pandas as pd
from pydantic import Field

from peak_trade.core.arguments import checks_arguments
from peak_trade.core.errors import ConfigError, did_you_mean
from peak_trade.metrics import MEASURES
from peak_trade.tracking.entries import (
    LATEST,
    PAGE,
    TAGS,
    Query,
    count_entries,
    entries_of,
    find_entries,
    find_places,
    is_registry_empty,
    key_of,
    list_entries,
    query_of,
    read_artifacts,
)
from peak_trade.tracking.pending import RunEntry, pending_entries, pending_state
from peak_trade.tracking.record import GROWTH_TAG
from peak_trade.tracking.registry import database_state, is_database, tracking_uri

SORTABLE = ("recorded_at", *TAGS, *MEASURES)
"""Names that runs are sorted by; the others of a run are no measures."""
KINDS = ("tag", "parameter", "metric")
NO_RUNS = "there are no runs yet; a backtest records the first one."


@dataclass(frozen=True, slots=True)
class RunsPage:
    """Some of the runs that match a query, in its order, and the number of all that match."""

    n_runs: int
    runs: dict[str, dict[str, Any] | None]
    """By the key of a run, the columns of `list_runs` without metrics, and the dict `metrics`; None for a known run."""


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
        unfinished when its recording at a server was stopped), then one column per metric that any of the runs has, in
        the order of their names; NaN where a run has none.

    Raises
    ------
    ConfigError
        If the type is not in RUN_TYPES.

    """
    entries = list_entries(run_type, strategy, symbol, timeframe, since, until, limit)
    names = sorted({name for entry in entries for name in entry.metrics})
    return pd.DataFrame(
        [_columns(entry) | entry.metrics for entry in entries], columns=["recorded_at", *TAGS, "status", *names]
    )


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
        Keys of runs that need not be read, if the registry is a database.

    Raises
    ------
    ConfigError
        If the name to sort by is not in SORTABLE, or the registry cannot be read.

    """
    query = query_of(tags, since, until, sort)
    if query.sort_name not in SORTABLE:
        raise ConfigError(f"sort was {sort!r}. {did_you_mean(query.sort_name, SORTABLE)}")
    if is_database():
        matching = _matching_keys(replace(query, since=None, until=None), tracking_uri(), registry_state())
        first, end = -math.inf if query.since is None else query.since, math.inf if query.until is None else query.until
        keys = [key for key, recorded_at in matching if first <= recorded_at < end]
        page = keys[offset : offset + limit]
        read = {key: _row(entry) for key, entry in entries_of([key for key in page if key not in known], query)}
        return RunsPage(len(keys), {key: read.get(key) for key in page if key in read or key in known})
    entries = find_entries(query, limit + offset)[offset:]
    return RunsPage(count_entries(query), {key_of(entry): _row(entry) for entry in entries})


def _row(entry: RunEntry) -> dict[str, Any]:
    return _columns(entry) | {"metrics": entry.metrics}


@lru_cache(maxsize=64)
def _matching_keys(query: Query, uri: str, state: tuple[Any, ...]) -> tuple[tuple[str, int], ...]:
    """Return the keys of all runs that match, in order, each with its time of recording, ms UTC.

    They are read again when the database or a pending run has changed. The key of a pending run is PENDING with its id.

    The filters and the order of 10,000 runs take 5 to 20 ms, the content of a page 3 ms.
    """
    return tuple((place.key, place.recorded_at) for place in find_places(query, sys.maxsize, pending_entries()))


def registry_state() -> tuple[Any, ...]:
    """Return a value that differs after each change of a run of the workspace's registry, or of one in SQLite."""
    return pending_state(), database_state()


def latest_entries(limit: int) -> list[RunEntry]:
    """Return the latest runs with all their tags, parameters and metrics, newest first."""
    return find_entries(Query(), limit)


def find_run(run_id: str) -> dict[str, dict[str, Any]] | None:
    """Return the tags, parameters and metrics of the run with this whole id; None without one."""
    entries = find_entries(Query((("run_id", run_id),)), 1)
    if not entries:
        return None
    contents = _contents(entries[0])
    return {kind: {name: value for (of, name), value in contents.items() if of == kind} for kind in KINDS}


def count_runs() -> int:
    """Return the number of runs in the registry, unfinished ones included."""
    return count_entries(Query())


def _columns(entry: RunEntry) -> dict[str, Any]:
    tags = {name: entry.tags.get(name, "") for name in TAGS}
    return {"recorded_at": pd.Timestamp(entry.recorded_at, unit="ms", tz="UTC"), **tags, "status": entry.status}


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
    files = read_artifacts(entry)
    if files is None:  # MLflow has it now
        entry = _find(entry.run_id)
        files = read_artifacts(entry)
    return StoredRun(entry.run_id, entry.tags, entry.metrics, files or {})


def notes_of(name: str) -> dict[str, str]:
    """Return the text of a note by run id, of every run that has it."""
    tag = f"note.{name}"
    return {entry.run_id: entry.tags[tag] for entry in find_entries(Query(tag=tag), sys.maxsize)}


def _contents(entry: RunEntry) -> dict[tuple[str, str], Any]:
    tags = {name: value for name, value in entry.tags.items() if name != GROWTH_TAG}
    return (
        {("tag", name): value for name, value in tags.items()}
        | {("tag", "recorded_at"): str(entry.recorded), ("tag", "status"): entry.status}
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
    entries = find_entries(Query(prefix=asked), PAGE)
    exact = [entry for entry in entries if entry.run_id == asked]
    if exact:
        return exact[0]
    if len(entries) == 1:
        return entries[0]
    if entries:
        ids = ", ".join(sorted(entry.run_id for entry in entries)[:5])
        raise ConfigError(f"run {asked} could be any of {len(entries)} runs: {ids}. Give more of its id.")
    known = [entry.run_id for entry in find_entries(Query(), PAGE)]
    if not known:
        raise ConfigError(NO_RUNS)
    starts = {run_id[: len(asked)]: run_id for run_id in reversed(known)}
    close = difflib.get_close_matches(asked, starts, n=1, cutoff=0.6)
    latest = f"The latest is {known[0]}; see `peak-trade runs list`."
    hint = f"Did you mean {starts[close[0]]}?" if close else latest
    raise ConfigError(f"run {asked} is not recorded. {hint}")
