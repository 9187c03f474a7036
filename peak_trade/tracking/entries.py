"""Runs of the registry as they are stored, pending or in MLflow's database, read without MLflow, which is slow.

Pending runs are read before the database, so that none is missed that is moved to MLflow meanwhile; see `pending`.
"""

from __future__ import annotations

import json
import math
import sqlite3
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from peak_trade.core.errors import ConfigError, did_you_mean
from peak_trade.core.time import to_ns
from peak_trade.tracking.pending import RunEntry, pending_entries, pending_entry, pending_files, pending_ids
from peak_trade.tracking.registry import (
    OF_MLFLOW,
    database_path,
    digest_of_contents,
    downloaded_artifacts,
    has_rest,
    is_database,
    is_registry_in_workspace,
    open_database,
    open_registry,
    stored_artifacts,
    tracking_uri,
)

if TYPE_CHECKING:
    from mlflow.entities import Run

TAGS = ("run_id", "run_type", "strategy", "symbol", "timeframe", "start", "end")
RUN_TYPES = (
    "backtest",
    "sweep",
    "walk_forward",
    "regime",
    "portfolio",
    "paper",
    "shadow",
    "testnet",
    "replay",
    "diff",
)
"""Kinds of recorded runs."""
LATEST = "-recorded_at"
PAGE = 1_000

OF_THE_RUNS = "run_uuid IN (SELECT value FROM json_each(?))"
NOTE_WAIT_SECONDS = 1.0
"""Seconds that a note waits for a process that has locked the database."""


def is_registry_empty() -> bool:
    """Return whether the registry is in the workspace and has no entry yet."""
    return is_registry_in_workspace() and not pending_ids() and not database_path().exists()


def recorded_entry(run_id: str) -> RunEntry | None:
    """Return the pending run with this id, else that in the database; None without one, which a damaged one counts as.

    Raises
    ------
    ConfigError
        If the database can not be read.

    """
    try:
        entry = pending_entry(run_id)
    except ConfigError:
        entry = None
    return entry or _in_database(run_id)


def _in_database(run_id: str) -> RunEntry | None:
    words = (
        "SELECT run_uuid FROM runs WHERE lifecycle_stage = 'active' AND experiment_id = ? AND run_uuid IN (SELECT "
        "run_uuid FROM tags WHERE key = 'run_id' AND value = ?) ORDER BY status = 'FINISHED' DESC, start_time DESC"
    )
    with open_database() as opened:
        if opened is None:
            return None
        found = opened[0].execute(words, (opened[1], run_id)).fetchone()
        return None if found is None else read_entries(opened[0], found, has_parameters=True)[0]


def read_entries(connection: sqlite3.Connection, keys: Sequence[str], *, has_parameters: bool) -> list[RunEntry]:
    """Return the entries with these ids of MLflow, in their order, all of one state of the database.

    Their tags, parameters and metrics are in the order of their names; tags that MLflow adds are left out.
    """
    connection.execute("BEGIN")
    rows = connection.execute(f"SELECT run_uuid, status, start_time FROM runs WHERE {OF_THE_RUNS}", (json.dumps(keys),))
    found = {key: RunEntry(key, status == "FINISHED", recorded_at) for key, status, recorded_at in rows}
    asked = (json.dumps(list(found)),)
    words = f"SELECT run_uuid, key, value FROM tags WHERE {OF_THE_RUNS} ORDER BY key"
    for key, name, value in connection.execute(words, asked):
        if not name.startswith(OF_MLFLOW):
            found[key].tags[name] = value
    words = f"SELECT run_uuid, key, value FROM params WHERE {OF_THE_RUNS} ORDER BY key"
    for key, name, value in connection.execute(words, asked) if has_parameters else ():
        found[key].parameters[name] = value
    words = f"SELECT run_uuid, key, value, is_nan FROM latest_metrics WHERE {OF_THE_RUNS} ORDER BY key"
    for key, name, value, is_nan in connection.execute(words, asked):
        found[key].metrics[name] = math.nan if is_nan else value
    return [found[key] for key in keys if key in found]


@dataclass(frozen=True, slots=True)
class Query:
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
        """Name that the entries are sorted by."""
        return self.sort.removeprefix("-")

    @property
    def direction(self) -> str:
        """Direction of the order in SQL."""
        return "DESC" if self.sort.startswith("-") else "ASC"


def query_of(
    tags: Mapping[str, str | None], since: datetime | None, until: datetime | None, sort: str = LATEST
) -> Query:
    """Return the query of equal tags, None for any, and of times of recording, since <= time < until, UTC."""
    return Query(
        tuple((name, value) for name, value in tags.items() if value is not None),
        since=None if since is None else to_ns(since) // 1_000_000,
        until=None if until is None else to_ns(until) // 1_000_000,
        sort=sort,
        has_parameters=False,
    )


def list_entries(
    run_type: str | None,
    strategy: str | None,
    symbol: str | None,
    timeframe: str | None,
    since: datetime | None,
    until: datetime | None,
    limit: int,
) -> list[RunEntry]:
    """Return the latest entries, newest first, without their parameters; see `queries.list_runs`."""
    if run_type is not None and run_type not in RUN_TYPES:
        raise ConfigError(f"type was {run_type!r}. {did_you_mean(run_type, RUN_TYPES)}")
    wanted = {"run_type": run_type, "strategy": strategy, "symbol": symbol, "timeframe": timeframe}
    return find_entries(query_of(wanted, since, until), limit)


def find_entries(query: Query, limit: int) -> list[RunEntry]:
    """Return the first entries that match, in the order of the query: by default the newest, newest first.

    Those of a database are read from its tables: MLflow takes seconds to be imported and more for a thousand runs, and
    it writes where it reads.
    """
    if is_registry_empty():
        return []
    pending = pending_entries()
    if is_database():
        keys = [place.key for place in find_places(query, limit, pending)]
        stored = dict(entries_of([key for key in keys if not key.startswith(PENDING)], query))
        found = (pending.get(key.removeprefix(PENDING)) if key.startswith(PENDING) else stored.get(key) for key in keys)
        return [entry for entry in found if entry is not None]
    there = [entry for entry in _at_server(query, limit + len(pending)) if entry.run_id not in pending]
    waiting = [entry for entry in pending.values() if _matches(entry, query)]
    by_key = {key_of(entry): entry for entry in (*there, *waiting)}
    places = _sorted([_place(entry, query) for entry in by_key.values()], query)
    return [by_key[place.key] for place in places[:limit]]


def count_entries(query: Query) -> int:
    """Return the number of entries that match."""
    pending = pending_entries()
    n_pending = sum(_matches(entry, query) for entry in pending.values())
    if not is_database():
        stored = () if is_registry_empty() else _at_server(query, sys.maxsize)
        return n_pending + sum(entry.run_id not in pending for entry in stored)
    with open_database() as opened:
        if opened is None:
            return n_pending
        where, values = _where(query, opened[1], pending)
        return n_pending + int(opened[0].execute(f"SELECT count(*) FROM {where}", values).fetchone()[0])


PENDING = "pending/"
"""Begin of the key of a pending run."""
_ACTIVE = "runs WHERE lifecycle_stage = 'active' AND experiment_id = ?"
_HAS_TAG = "EXISTS (SELECT 1 FROM tags WHERE tags.run_uuid = runs.run_uuid AND key = ?"
_NOT_PENDING = (
    "run_uuid NOT IN (SELECT run_uuid FROM tags WHERE key = 'run_id' AND value IN (SELECT value FROM json_each(?)))"
)
_TAG = "(SELECT value FROM tags WHERE tags.run_uuid = runs.run_uuid AND key = ?)"
_METRIC = (
    "(SELECT CASE WHEN is_nan THEN NULL ELSE value END FROM latest_metrics "
    "WHERE latest_metrics.run_uuid = runs.run_uuid AND key = ?)"
)


class Place(NamedTuple):
    """A run that matches a query, with what it is sorted by: `value` is None without the tag or the metric."""

    key: str
    recorded_at: int
    run_id: str
    value: str | float | None


def entries_of(keys: Sequence[str], query: Query) -> list[tuple[str, RunEntry]]:
    """Return the entries of keys, in their order."""
    found: dict[str, RunEntry] = {}
    for key in keys:
        if key.startswith(PENDING):
            run_id = key.removeprefix(PENDING)
            entry = pending_entry(run_id) or next(iter(find_entries(Query((("run_id", run_id),)), 1)), None)
            found |= {} if entry is None else {key: entry}
    stored = [key for key in keys if not key.startswith(PENDING)]
    if stored:
        with open_database() as opened:
            if opened is not None:
                read = read_entries(opened[0], stored, has_parameters=query.has_parameters)
                found |= {entry.mlflow_id: _whole(entry) for entry in read}
    return [(key, found[key]) for key in keys if key in found]


def _whole(entry: RunEntry) -> RunEntry:
    """Return an entry as it is pending if it is being moved to MLflow, which takes several steps."""
    return entry if entry.is_finished else pending_entry(entry.run_id) or entry


def find_places(query: Query, limit: int, pending: Mapping[str, RunEntry]) -> list[Place]:
    """Return the first runs that match, in the order of the query; of equal runs the latest, then by their ids."""
    with open_database() as opened:
        places = [] if opened is None else list(_stored_places(opened, query, limit, pending))
    waiting = [entry for entry in pending.values() if _matches(entry, query)]
    return (_sorted([*places, *(_place(entry, query) for entry in waiting)], query) if waiting else places)[:limit]


def _sorted(places: list[Place], query: Query) -> list[Place]:
    """Return places in the order of the query, as a database gives them."""
    places.sort(key=lambda place: (place.run_id, place.key))
    is_by_time, is_descending = query.sort_name == LATEST[1:], query.sort.startswith("-")
    places.sort(key=lambda place: place.recorded_at, reverse=is_descending or not is_by_time)
    if not is_by_time:
        known = [place for place in places if place.value is not None]
        known.sort(key=lambda place: place.value, reverse=is_descending)  # type: ignore[arg-type, return-value]
        places = known + [place for place in places if place.value is None]
    return places


def _stored_places(
    opened: tuple[sqlite3.Connection, int], query: Query, limit: int, pending: Mapping[str, RunEntry]
) -> Iterator[Place]:
    connection, experiment_id = opened
    where, values = _where(query, experiment_id, pending)
    order, value = f"start_time {query.direction}", "NULL"
    names: list[str] = []
    if query.sort_name != LATEST[1:]:
        value, names = _TAG if query.sort_name in TAGS else _METRIC, [query.sort_name]
        order = f"value {query.direction} NULLS LAST, start_time DESC"
    chosen = (
        f"SELECT run_uuid, start_time, coalesce({_TAG}, '') AS run_id, {value} AS value FROM {where} "
        f"ORDER BY {order}, run_id, run_uuid LIMIT ?"
    )
    return map(Place._make, connection.execute(chosen, ["run_id", *names, *values, min(limit, sys.maxsize)]))


def _place(entry: RunEntry, query: Query) -> Place:
    name = query.sort_name
    value = entry.tags.get(name) if name in TAGS else entry.metrics.get(name)
    return Place(key_of(entry), entry.recorded_at, entry.run_id, value)


def key_of(entry: RunEntry) -> str:
    """Return the key of a run: MLflow's id, or PENDING with its own id."""
    return entry.mlflow_id or f"{PENDING}{entry.run_id}"


def _matches(entry: RunEntry, query: Query) -> bool:
    """Return whether an entry meets the conditions of a query, as `_conditions` states them for the database."""
    return (
        all(entry.tags.get(name) == value for name, value in query.tags)
        and entry.run_id.startswith(query.prefix)
        and (not query.tag or query.tag in entry.tags)
        and (query.since is None or entry.recorded_at >= query.since)
        and (query.until is None or entry.recorded_at < query.until)
    )


def _where(query: Query, experiment_id: int, pending: Mapping[str, RunEntry]) -> tuple[str, list[Any]]:
    where: list[str] = [_ACTIVE]
    values: list[Any] = [experiment_id]
    if pending:
        where.append(_NOT_PENDING)
        values.append(json.dumps(list(pending)))
    for condition, part in _conditions(query):
        where.append(condition)
        values += [_storable(value) if isinstance(value, str) else value for value in part]
    return " AND ".join(where), values


def _storable(text: str) -> str:
    """Return text as the database can hold it; a lone surrogate, which no tag has, becomes a question mark."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _conditions(query: Query) -> Iterator[tuple[str, list[Any]]]:
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


def _at_server(query: Query, limit: int) -> Iterator[RunEntry]:
    filters = [f"tags.{name} = {_quoted(value)}" for name, value in query.tags]
    filters += [f"tags.run_id LIKE {_quoted(query.prefix + '%')}"] if query.prefix else []
    filters += [f"tags.`{query.tag}` LIKE '%'"] if query.tag else []
    filters += [f"attributes.start_time >= {query.since}"] if query.since is not None else []
    filters += [f"attributes.start_time < {query.until}"] if query.until is not None else []
    order, uri = list(_mlflow_order(query)), tracking_uri()
    if has_rest(uri):
        from peak_trade.tracking.rest import search_runs  # requests takes a tenth of a second to be imported

        found = search_runs(uri, filters, order, limit)
    else:
        found = _from_mlflow(filters, order, limit)
    return (entry for entry in found if entry.run_id.startswith(query.prefix))


def _from_mlflow(filters: Sequence[str], order: list[str], limit: int) -> Iterator[RunEntry]:
    with open_registry() as (client, experiment_id):
        token: str | None = None
        while limit > 0:
            page = client.search_runs(
                [experiment_id], " and ".join(filters), max_results=min(limit, PAGE), order_by=order, page_token=token
            )
            yield from map(entry_of, page)
            limit -= len(page)
            token = page.token
            if not token:
                return


def _mlflow_order(query: Query) -> Iterator[str]:
    """Yield the order of a query without that of equal runs: MLflow needs seconds for it in a database of 10,000."""
    if query.sort_name != "recorded_at":
        kind = "tags" if query.sort_name in TAGS else "metrics"
        yield f"{kind}.`{query.sort_name}` {query.direction}"
        yield "attributes.start_time DESC"
    else:
        yield f"attributes.start_time {query.direction}"


def entry_of(run: Run) -> RunEntry:
    """Return an entry that MLflow gives, without the tags that it adds."""
    is_finished = run.info.status == "FINISHED"
    data = run.data
    tags = {name: text for name, text in sorted(data.tags.items()) if not name.startswith(OF_MLFLOW)}
    parameters = dict(sorted(data.params.items()))
    metrics = dict(sorted(data.metrics.items()))
    return RunEntry(run.info.run_id, is_finished, run.info.start_time, tags, parameters, metrics)


def _quoted(value: str) -> str:
    if "'" in value:
        raise ConfigError(f"a filter was {value!r}: leave out the quote.")
    return f"'{value}'"


def local_notes(name: str) -> list[str]:
    """Return the texts of a note over all runs of the workspace or of a registry in SQLite, deleted runs included.

    Empty for a registry on a server, and for one that cannot be read.
    """
    tag = f"note.{name}"
    pending = pending_entries()
    waiting = {run_id: each.tags[tag] for run_id, each in pending.items() if tag in each.tags}
    return list({**_notes_in_database(tag), **waiting}.values())


def local_note(run_id: str, name: str) -> str:
    """Return the text of a note of a run, read as `local_notes` does; empty without one."""
    tag = f"note.{name}"
    try:
        entry = pending_entry(run_id)
    except ConfigError:
        entry = None
    return entry.tags.get(tag, "") if entry else _notes_in_database(tag, run_id).get(run_id, "")


def _notes_in_database(tag: str, run_id: str = "") -> Mapping[str, str]:
    """Return a tag by run id; that of the latest entry of a run, and of one that is not deleted, comes last."""
    if not is_database():
        return {}
    words = (
        "SELECT named.value, noted.value FROM tags AS noted JOIN tags AS named USING (run_uuid) JOIN runs USING "
        "(run_uuid) WHERE noted.key = ? AND named.key = 'run_id' AND (named.value = ? OR ? = '') "
        "ORDER BY lifecycle_stage = 'active', start_time"
    )
    try:
        with open_database(NOTE_WAIT_SECONDS) as opened:
            return {} if opened is None else dict(opened[0].execute(words, (tag, run_id, run_id)).fetchall())
    except ConfigError:
        return {}


def read_artifacts(entry: RunEntry) -> dict[str, bytes] | None:
    """Return the content of each file of a run by its path; None for a pending run that MLflow has taken meanwhile."""
    if entry.is_pending:
        return pending_files(entry.run_id)
    stored = stored_artifacts(entry.mlflow_id)
    if stored is not None or is_registry_in_workspace():
        return stored or {}
    return downloaded_artifacts(entry.mlflow_id)


def has_files(entry: RunEntry, digest: str | None) -> bool:
    """Return whether the files of an entry have a digest; True for an entry whose files are not in the workspace."""
    if not is_registry_in_workspace():
        return True
    found = pending_files(entry.run_id) if entry.is_pending else stored_artifacts(entry.mlflow_id)
    return found is not None and digest_of_contents(found) == digest
