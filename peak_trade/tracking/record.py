"""Record of one run in the registry, and the move of pending runs to MLflow."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from posixpath import normpath
from typing import TYPE_CHECKING, Any

import numpy as np

from peak_trade.core.arrays import FloatArray
from peak_trade.core.dotted import flat
from peak_trade.core.errors import ConfigError, ReproductionError, did_you_mean, shortened, warn_once
from peak_trade.data.holdout import holdout_note
from peak_trade.metrics import Measure
from peak_trade.tracking.entries import RUN_TYPES, entry_of, has_files, recorded_entry
from peak_trade.tracking.gaps import ledger_note
from peak_trade.tracking.pending import (
    RunEntry,
    changing,
    pending_artifacts,
    pending_entry,
    pending_folder,
    pending_ids,
    pending_state,
    remove_pending,
    syncing,
    write_pending,
)
from peak_trade.tracking.registry import (
    digest_of_files,
    discard_entry,
    first_line,
    is_registry_in_workspace,
    open_registry,
    store_artifacts,
)

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient

DIGEST_NAMES = ("config", "data", "code", "seed", "environment")
"""Digests from which a run id is derived."""
SESSION_TYPES = ("paper", "shadow", "testnet")
"""Types of run that are sessions, to which events are added when they are resumed."""
LONGEST_VALUE = 5_000
"""Largest length of a parameter or tag, characters; MLflow allows a few more."""
EVENTS_TAG = "digest.events"
"""Tag with the digest of the events and the equity of a run."""
FILES_TAG = "digest.files"
"""Tag with the digest of the files of a run."""
GROWTH_TAG = "growth"
"""Tag with the growth of a run, of which lists draw a small line."""
N_GROWTH = 61
"""Most values of the growth of a run that are recorded."""
LONGEST_NAME = 250
"""Largest length of the name of a parameter, a tag or a metric that MLflow accepts, characters."""
_NAME, _RUN_ID = re.compile(r"[/\w.\- :]+"), re.compile(r"[\w\-]{1,64}", re.ASCII)
DESCRIBING = ("cut_short", "no_trade_reason", "risk_status", "verdict", "edge", "not_rerunnable")
"""Notes that are the description of a run on MLflow's pages."""
BATCH = 100
"""Most parameters that MLflow accepts at once."""


@dataclass(frozen=True, slots=True)
class RunRecord:
    """Entry of one run in the registry.

    Parameters
    ----------
    run_id : str
        Derived from the five digests; recording it again changes nothing.
    run_type : str
        One of `RUN_TYPES`.
    strategy, symbol, timeframe : str
        Names in the run, joined by a comma.
    start, end : str
        Close times of the data, UTC, as `core.time.iso` writes them: the first one, and one timeframe after the last
        one. As options `--start` and `--end` they name the same bars.
    digests : mapping
        Exactly the `DIGEST_NAMES`.
    parameters : mapping
        Plain values; nested mappings become dotted names.
    metrics : mapping of name to Measure or number
        The standard error of a Measure is stored as `<name>_stderr`, the note of one without a value as tag
        `note.<name>`.
    notes : mapping of name to text
        Stored as tags `note.<name>`; empty texts are left out.
    provenance : mapping of name to text
        Tags on where the run comes from: its class, versions, commits, and the digests of its events and files.
    artifacts : tuple of Path
        Files and folders to store with the run.
    equity : array of shape (n_bars,), in quote currency
        Equity at each close, of which at most `N_GROWTH` values at equal steps are recorded over the first one, with 5
        digits.

    Raises
    ------
    ConfigError
        On an unknown run type, a run id with other characters than letters, digits, - and _, or digests other than the
        five.

    """

    run_id: str
    run_type: str
    strategy: str
    symbol: str
    timeframe: str
    start: str
    end: str
    digests: Mapping[str, str]
    parameters: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Measure | float | None] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)
    provenance: Mapping[str, str] = field(default_factory=dict)
    artifacts: tuple[Path, ...] = ()
    equity: FloatArray = field(default_factory=lambda: np.empty(0), compare=False)

    def __post_init__(self) -> None:
        if self.run_type not in RUN_TYPES:
            raise ConfigError(f"run_type was {self.run_type!r}. {did_you_mean(self.run_type, RUN_TYPES)}")
        if not _RUN_ID.fullmatch(self.run_id):
            raise ConfigError(f"run_id was {self.run_id!r}; give 1 to 64 letters, digits, - and _.")
        if set(self.digests) != set(DIGEST_NAMES):
            raise ConfigError(f"digests were {', '.join(self.digests)}; give exactly {', '.join(DIGEST_NAMES)}.")

    def tags(self) -> dict[str, str]:
        """Return the tags of the run, by which it is found."""
        named = {
            name: getattr(self, name)
            for name in ("run_id", "run_type", "strategy", "symbol", "timeframe", "start", "end")
        }
        named |= {f"digest.{name}": self.digests[name] for name in DIGEST_NAMES} | dict(self.provenance)
        for name, measure in self.metrics.items():
            if isinstance(measure, Measure) and measure.value is None:
                named[f"note.{name}"] = measure.note
        if self.equity.size > 1:
            named[GROWTH_TAG] = " ".join(f"{value:.5g}" for value in self._growth())
        return named | {f"note.{name}": text for name, text in self.notes.items() if text}

    def entry(self, recorded_at: int) -> RunEntry:
        """Return the run as it is stored, recorded at a time in ms UTC; ConfigError on a name that MLflow refuses."""
        tags = self.tags() | ({FILES_TAG: digest_of_files(self.artifacts)} if self.artifacts else {})
        parameters = {name: _text(value) for name, value in flat(self.parameters).items()}
        metrics = self.numbers()
        for name in (*tags, *parameters, *metrics):
            if not _is_name(name):
                raise ConfigError(
                    f"run {self.run_id} can not be recorded: the name {shortened(name)!r} is not one of letters, "
                    f"digits, spaces and _ - . : / with at most {LONGEST_NAME} characters. Rename that parameter."
                )
        return RunEntry("", True, recorded_at, _storable(tags), _storable(parameters), dict(sorted(metrics.items())))

    def _growth(self) -> FloatArray:
        n_values = min(self.equity.size, N_GROWTH)
        places = np.linspace(0.0, self.equity.size - 1.0, n_values).round().astype(int)
        growth: FloatArray = self.equity[places] / self.equity[0]
        return growth

    def numbers(self) -> dict[str, float]:
        """Return the metrics that have a value, and their standard errors."""
        found: dict[str, float] = {}
        for name, measure in self.metrics.items():
            measured = measure if isinstance(measure, Measure) else Measure(measure, 0)
            if measured.value is not None:
                found[name] = float(measured.value)
            if measured.stderr is not None:
                found[f"{name}_stderr"] = measured.stderr
        return found


def record_run(run: RunRecord, keep: Callable[[], object] = lambda: None) -> None:
    """Record a run durably, with the length, the head and the id of the trial ledger and of the log of hold-outs.

    In the workspace the run is pending until `sync_runs` moves it to MLflow; a registry that MLFLOW_TRACKING_URI names
    has it when this returns, and a run that it does not take is pending until `sync_runs` moves it there. An existing
    entry is not changed, except that the outcome of a check for look-ahead
    replaces an earlier one. `keep` stores what belongs to the run elsewhere, before the run is recorded. An entry
    whose files are gone or damaged is replaced. Equal runs that are recorded at the same time wait for each other and
    make one entry. At a server a run is unfinished until all of it is stored, one whose recording was stopped is
    replaced, and of equal runs of several machines the last one stays.

    Raises
    ------
    ConfigError
        If the run can not be stored in the workspace, and nothing is recorded; or if a registry that
        MLFLOW_TRACKING_URI names does not take it, and it is pending.
    ReproductionError
        If the entry of this run id has another digest of events: the run depends on something that is none of its
        inputs. Nothing is changed.

    """
    run = replace(run, notes={**run.notes, **ledger_note(), **holdout_note()})
    if not is_registry_in_workspace():
        _record_at_server(run, keep)
        return
    with changing():
        entry = run.entry(time.time_ns() // 1_000_000)
        earlier = recorded_entry(run.run_id)
        if earlier is not None and earlier.is_finished:
            _check_events(entry, earlier.tags.get(EVENTS_TAG))
        else:
            earlier = None
        keep()
        if earlier is None or (run.artifacts and not has_files(earlier, earlier.tags.get(FILES_TAG))):
            write_pending(entry, run.artifacts)
            return
        changed = _new_outcome(entry, earlier.tags)
        if changed and earlier.is_pending:
            write_pending(replace(earlier, tags=earlier.tags | changed), pending_artifacts(run.run_id))
    if changed and not earlier.is_pending:
        with open_registry() as (client, experiment_id):
            for name, text in changed.items():
                client.set_tag(earlier.mlflow_id, name, text)
            for failure in _move_all(client, experiment_id)[1]:
                warn_once(failure)


@dataclass(frozen=True, slots=True)
class SyncedRuns:
    """The number of pending runs that MLflow has now, and one sentence per run that it could not take."""

    n_written: int
    failures: tuple[str, ...]


def sync_runs() -> SyncedRuns:
    """Move the pending runs to the registry; those that fail stay pending.

    They are those of the workspace, or with MLFLOW_TRACKING_URI those that its registry has not taken when they were
    recorded.

    A run is removed from the workspace's folder after MLflow has all of it, so it can be stopped at any time and is
    then given again. Other processes may record and read meanwhile; a second one that moves runs waits.

    Raises
    ------
    ConfigError
        If MLFLOW_TRACKING_URI names another registry and no run waits for that one, or the registry cannot be reached.

    """
    if not pending_ids():
        if is_registry_in_workspace():
            return SyncedRuns(0, ())
        raise ConfigError(
            "MLFLOW_TRACKING_URI is set: its runs are written at once, and none waits for it. Unset it to write those "
            "that are recorded here."
        )
    with nullcontext() if is_registry_in_workspace() else syncing(), open_registry() as (client, experiment_id):
        n_written, failures = _move_all(client, experiment_id)
    return SyncedRuns(n_written, tuple(failures))


def _move_all(client: MlflowClient, experiment_id: str) -> tuple[int, list[str]]:
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    n_written, failures = 0, []
    for state in pending_state():
        run_id = state[0]
        try:
            entry = pending_entry(run_id)
            if entry is not None:
                _move(client, experiment_id, entry)
                with changing():
                    remove_pending(state)
                n_written += 1
        except (ConfigError, ReproductionError) as error:
            failures.append(str(error))
        except (MlflowException, SQLAlchemyError, OSError) as error:
            failures.append(
                f"run {run_id} is not in MLflow yet: {first_line(error)}. It is kept in {pending_folder()}."
            )
    return n_written, failures


def _move(client: MlflowClient, experiment_id: str, entry: RunEntry) -> None:
    """Write a pending run to MLflow, unless an earlier move has done so; other entries of the run are discarded.

    A registry that MLFLOW_TRACKING_URI names may have the run from another workspace, and keeps that one.
    """
    if not is_registry_in_workspace():
        _write_at_server(client, experiment_id, entry, pending_artifacts(entry.run_id))
        return
    is_there = False
    for earlier in _entries_at(client, experiment_id, entry.run_id):
        if not is_there and _is_same(earlier, entry):
            is_there = True
        else:
            discard_entry(client, earlier.info.run_id)
    if not is_there:
        _write(client, experiment_id, entry, pending_artifacts(entry.run_id))


def _is_same(run: Run, entry: RunEntry) -> bool:
    stored, files = entry_of(run), entry.tags.get(FILES_TAG)
    is_same = replace(stored, mlflow_id="") == entry
    return is_same and (files is None or has_files(stored, files))


def _entries_at(client: MlflowClient, experiment_id: str, run_id: str) -> Sequence[Run]:
    return client.search_runs([experiment_id], filter_string=f"tags.run_id = '{run_id}'")


def _record_at_server(run: RunRecord, keep: Callable[[], object]) -> None:
    entry = run.entry(time.time_ns() // 1_000_000)
    try:
        with open_registry() as (client, experiment_id):
            _write_at_server(client, experiment_id, entry, run.artifacts, keep)
    except ConfigError as error:
        keep()
        with changing():
            write_pending(entry, run.artifacts)
        raise ConfigError(
            f"{error} Run {entry.run_id} is kept in {pending_folder()}; `peak-trade runs sync` writes it."
        ) from error


def _write_at_server(
    client: MlflowClient,
    experiment_id: str,
    entry: RunEntry,
    artifacts: Sequence[Path],
    keep: Callable[[], object] = lambda: None,
) -> None:
    """Write a run to a server where others may write an equal one, without a lock that all of them could hold.

    Each writer first finishes its own entry and then discards every entry that is not later than the latest finished
    one. So the latest finished entry is discarded by nobody, and one stays.
    """
    from mlflow.exceptions import MlflowException

    if not _take_finished(client, experiment_id, entry, keep):
        keep()
        try:
            _write(client, experiment_id, entry, artifacts)
        except MlflowException:
            if not _take_finished(client, experiment_id, entry):  # which another one wrote that discarded this entry
                raise
    found = _entries_at(client, experiment_id, entry.run_id)
    last = max((each for each in found if each.info.status == "FINISHED"), key=_age)
    for each in found:
        if each is not last and each.info.start_time <= last.info.start_time:
            discard_entry(client, each.info.run_id)


def _age(run: Run) -> tuple[int, str]:
    return run.info.start_time, run.info.run_id


def _take_finished(
    client: MlflowClient, experiment_id: str, entry: RunEntry, keep: Callable[[], object] = lambda: None
) -> bool:
    """Return whether a server has a run; if so, check its events, and give it the outcome of a later check."""
    for earlier in _entries_at(client, experiment_id, entry.run_id):
        if earlier.info.status == "FINISHED":
            _check_events(entry, earlier.data.tags.get(EVENTS_TAG))
            keep()
            for name, text in _new_outcome(entry, earlier.data.tags).items():
                client.set_tag(earlier.info.run_id, name, text)
            return True
    return False


def _write(client: MlflowClient, experiment_id: str, entry: RunEntry, artifacts: Sequence[Path]) -> None:
    """Write a run to MLflow; it is unfinished there until all of it is stored."""
    from mlflow.entities import Metric, Param

    name = " ".join(entry.tags[name] for name in ("run_type", "strategy", "symbol", "timeframe"))[:240]
    tags = entry.tags | _page_tags(entry.tags)
    started = client.create_run(experiment_id, start_time=entry.recorded_at, tags=tags, run_name=name)
    mlflow_id = started.info.run_id
    client.log_batch(mlflow_id, metrics=[Metric(key, x, entry.recorded_at, 0) for key, x in entry.metrics.items()])
    parameters = [Param(key, value) for key, value in entry.parameters.items()]
    for first in range(0, len(parameters), BATCH):
        client.log_batch(mlflow_id, params=parameters[first : first + BATCH])
    store_artifacts(client, mlflow_id, artifacts)
    client.set_terminated(mlflow_id, "FINISHED", entry.recorded_at)


def _page_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """Return the tags from which MLflow's pages take the source, the version and the description of a run."""
    notes = [text for name in DESCRIBING if (text := tags.get(f"note.{name}"))]
    described = [f"Run `{tags['run_id']}`, {tags['start']} to {tags['end']}.", *notes]
    found = {
        "mlflow.source.name": f"peak-trade {tags.get('package.version', '')}".rstrip(),
        "mlflow.source.type": "LOCAL",
        "mlflow.note.content": "\n\n".join(described)[:LONGEST_VALUE],
    }
    return found | ({"mlflow.source.git.commit": tags["git.commit"]} if "git.commit" in tags else {})


def _new_outcome(entry: RunEntry, recorded: Mapping[str, str]) -> dict[str, str]:
    """Return the tags of a check for look-ahead that was made and whose outcome is not the recorded one."""
    if entry.tags.get("note.causality_verdict", "not checked") == "not checked":
        return {}
    names = [f"note.{name}" for name in ("causality", "causality_verdict", "remarks")]
    return {name: entry.tags[name] for name in names if name in entry.tags and recorded.get(name) != entry.tags[name]}


def _check_events(entry: RunEntry, recorded: str | None) -> None:
    found = entry.tags.get(EVENTS_TAG)
    if None in (found, recorded) or found == recorded or entry.tags["run_type"] in SESSION_TYPES:
        return
    raise ReproductionError(
        f"run {entry.run_id} is recorded with the events {str(recorded)[:16]}, this run has {str(found)[:16]}: its "
        "code depends on something that is none of its inputs, such as the clock, random numbers without a seed, or a "
        "file that no parameter names. The record was not changed. Make that an input, then run it again."
    )


def _is_name(name: str) -> bool:
    """Return whether MLflow accepts the name of a parameter, a tag or a metric, which it uses as a relative path."""
    is_path = normpath(name) == name and name != "." and not name.startswith(("..", "/"))
    return is_path and len(name) <= LONGEST_NAME and _NAME.fullmatch(name) is not None


def _storable(texts: Mapping[str, str]) -> dict[str, str]:
    """Return texts in the order of their names as a database can hold them: a lone surrogate is a question mark."""
    return {
        name: text.encode("utf-8", "replace").decode("utf-8")[:LONGEST_VALUE] for name, text in sorted(texts.items())
    }


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value, default=str)
