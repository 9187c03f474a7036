"""Runs that are recorded in the workspace and are not in MLflow yet: one folder per run, written at once or not at all.

MLflow takes seconds to be imported and to write, so a run is recorded in `pending/` first, and `record.sync_runs` moves
it to the database of the workspace. A registry that MLFLOW_TRACKING_URI names is written at once. A run that it does
not take is kept in `unsent/`, and `record.sync_runs` moves it there.

A folder of a run has `entry.json`, the tags, parameters and metrics as canonical JSON, and the files of the run in
`artifacts/`. It is made under another name, synced to disk and renamed. It is removed after MLflow has the run, so a
reader that reads these folders before MLflow misses no run; a run that is in both counts once, as it is here.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import msgspec

from peak_trade.core.digest import canonical_json
from peak_trade.core.errors import ConfigError, shortened, warn_once
from peak_trade.core.files import (
    copy_into,
    create_file,
    make_folder,
    read_bytes,
    reason_of,
    rename,
    replace_folder,
    sync_folder,
)
from peak_trade.core.lock import held_lock
from peak_trade.data.workspace import workspace
from peak_trade.tracking import registry

DONE, UNFINISHED = "done", "unfinished"
"""Status of a run: all of it is recorded, or its recording at a server was stopped (or goes on)."""
ENTRY, ARTIFACTS, LOCK, SYNC_LOCK = "entry.json", "artifacts", ".lock", ".sync"


@dataclass(frozen=True, slots=True)
class RunEntry:
    """A recorded run as it is stored: MLflow's id of it, empty for a pending one, and the time of recording, ms UTC."""

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
    def is_pending(self) -> bool:
        """Whether the run is not in MLflow yet."""
        return not self.mlflow_id

    @property
    def status(self) -> str:
        """`done` or `unfinished`."""
        return DONE if self.is_finished else UNFINISHED

    @property
    def recorded(self) -> datetime:
        """Time of recording, UTC."""
        return datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=self.recorded_at)


class _Content(msgspec.Struct, forbid_unknown_fields=True):
    """Content of `entry.json`."""

    format: Literal[1]
    recorded_at: int
    tags: dict[str, str]
    parameters: dict[str, str]
    metrics: dict[str, float]


def pending_folder() -> Path:
    """Return the folder of the pending runs of the registry, which may be missing."""
    return workspace() / ("pending" if registry.is_registry_in_workspace() else "unsent")


def pending_ids() -> list[str]:
    """Return the ids of the pending runs, sorted."""
    return [name for name, *_ in pending_state()]


def pending_state() -> tuple[tuple[Any, ...], ...]:
    """Return a value that differs after each change of a pending run: name, inode and time of each folder, sorted."""
    state = []
    with suppress(FileNotFoundError), os.scandir(pending_folder()) as found:
        for each in found:
            if not each.name.startswith("."):
                with suppress(FileNotFoundError):  # moved to MLflow meanwhile
                    state.append((each.name, each.inode(), each.stat().st_mtime_ns))
    return tuple(sorted(state))


def pending_entries() -> dict[str, RunEntry]:
    """Return the pending runs by their ids. A damaged one is left out, with one warning that names its file."""
    entries = {}
    for run_id in pending_ids():
        try:
            entry = pending_entry(run_id)
        except ConfigError as error:
            warn_once(str(error))
            continue
        if entry is not None:
            entries[run_id] = entry
    return entries


def pending_entry(run_id: str) -> RunEntry | None:
    """Return a pending run; None without one.

    Raises
    ------
    ConfigError
        If its file is damaged or can not be read.

    """
    path = pending_folder() / run_id / ENTRY
    try:
        content = msgspec.json.decode(read_bytes(path), type=_Content)
        if content.tags.get("run_id") != run_id:
            raise ValueError(f"its run_id is not {run_id}")
    except FileNotFoundError:
        if not path.parent.exists():
            return None
        reason = "the file is missing"
    except OSError as error:
        reason = reason_of(error)
    except ValueError as error:  # what msgspec raises too
        reason = shortened(str(error))
    else:
        return RunEntry("", True, content.recorded_at, content.tags, content.parameters, content.metrics)
    raise ConfigError(
        f"{path}: the record of a run is damaged: {reason}. Make and record the run again, or remove that folder."
    )


@contextmanager
def changing() -> Iterator[None]:
    """Let no other process change the pending runs while the block runs.

    Raises
    ------
    ConfigError
        If the folder is locked for too long, or can not be written.

    """
    folder = pending_folder()
    try:
        make_folder(folder)
        with held_lock(folder / LOCK, registry.LOCK_WAIT_SECONDS):
            yield
    except TimeoutError as error:
        raise ConfigError(f"run registry {error}. Wait for that process, or stop it.") from None
    except OSError as error:
        where = error.filename or folder
        raise ConfigError(
            f"run registry {where}: {reason_of(error)}. The run was not recorded: free the disk or make the folder "
            "writable, then record it again."
        ) from error


@contextmanager
def syncing() -> Iterator[None]:
    """Let no other process move runs to a registry that MLFLOW_TRACKING_URI names; ConfigError when one does so long.

    Those of the workspace's registry wait for each other when they open it.
    """
    try:
        with held_lock(pending_folder() / SYNC_LOCK, registry.LOCK_WAIT_SECONDS):
            yield
    except TimeoutError as error:
        raise ConfigError(f"run registry {error}. Wait for that process, or stop it.") from None


def write_pending(entry: RunEntry, artifacts: Sequence[Path]) -> None:
    """Store a run with its files and folders, durably, in place of an earlier one; within `changing`."""
    folder = pending_folder()
    for leftover in folder.glob(".*.*"):  # of processes that were killed, because nothing else writes now
        shutil.rmtree(leftover, ignore_errors=True)
    draft = folder / f".{entry.run_id}.{secrets.token_hex(4)}"
    content = {
        "format": 1,
        "recorded_at": entry.recorded_at,
        "tags": entry.tags,
        "parameters": entry.parameters,
        "metrics": entry.metrics,
    }
    try:
        draft.mkdir()
        if artifacts:
            copy_into(draft / ARTIFACTS, artifacts)
        create_file(draft / ENTRY, canonical_json(content).encode() + b"\n")
        sync_folder(draft)
        replace_folder(draft, folder / entry.run_id)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def remove_pending(state: tuple[Any, ...]) -> None:
    """Remove a run that MLflow has, unless its element of `pending_state` is another one now; within `changing`."""
    if state in pending_state():
        gone = pending_folder() / f".{state[0]}.{secrets.token_hex(4)}"
        rename(pending_folder() / state[0], gone)
        shutil.rmtree(gone, ignore_errors=True)


def pending_artifacts(run_id: str) -> list[Path]:
    """Return the paths of the files and folders of a pending run, sorted."""
    folder = pending_folder() / run_id / ARTIFACTS
    return sorted(folder.iterdir()) if folder.is_dir() else []


def pending_files(run_id: str) -> dict[str, bytes] | None:
    """Return the content of each file of a pending run by its path; None when the run is not pending any more."""
    folder = pending_folder() / run_id
    try:
        found = registry.contents_of(folder / ARTIFACTS)
    except FileNotFoundError:
        return None
    return found if (folder / ENTRY).exists() else None
