"""Bundles: a recorded run with everything from which it is made again, in one folder for another machine."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import chdir, contextmanager
from pathlib import Path
from typing import Any

from peak_trade.core.errors import ConfigError, PeakTradeError
from peak_trade.core.files import read_bytes, read_text, write_bytes, write_text
from peak_trade.data.extra_columns import save_columns
from peak_trade.data.store import save_bars
from peak_trade.data.workspace import filled_folder, workspace_at
from peak_trade.sessions.store import find_session
from peak_trade.studies.run_files import ENVIRONMENT_FILE, RecordedRun, recorded_of
from peak_trade.tracking.queries import StoredRun, read_run

ENTRY_FILE = "entry.json"
RUN_FOLDER, NAMED_FILES, SESSIONS = "run", "files", "sessions"
README = """# Run {run_id}

A {run_type} run of {strategy} on {symbol}, {timeframe}, that peak_trade {version} recorded. Verify it with

    peak-trade runs verify FOLDER

where FOLDER is this folder. The run is made again from the files here, and every event is compared with the recorded
one; `peak-trade runs rerun FOLDER` shows the measures as well.

- `run/`: the resolved run file, the sources of the user's modules, the environment and the events.
- `bars/`: the bars that the run knew. `files/`: files that parameters name. `sessions/`: the journal of a session.
- `requirements.txt`: the versions of all packages. `entry.json`: tags and metrics of the run.
"""


def export_run(run_id: str, folder: Path, others: Callable[[str], Mapping[str, Path]] = lambda _: {}) -> RecordedRun:
    """Write a bundle of a recorded run into a new or empty folder, and return the run.

    Parameters
    ----------
    run_id : str
        The whole id, or a prefix of it that no other run has.
    folder : Path
    others : callable
        Called with the whole id; returns further files, such as the executed notebook, by their names in the bundle.

    Raises
    ------
    ConfigError
        If the run is unknown or can not be made again, one of its inputs is gone or is not the recorded one, or the
        folder is not empty. Nothing is written.

    """
    stored = read_run(run_id)
    record = recorded_of(stored)
    try:
        if record.obstacle:
            raise ConfigError(record.obstacle)
        loaded = [part.load() for part in (*record.bars, *record.history)]
        changes = [change for _, change in loaded if change]
        absolute = [name for name in record.named_files if Path(name).is_absolute() or ".." in Path(name).parts]
        changes += [f"the file {name}, which a parameter names, is not below the working folder." for name in absolute]
        if changes:
            raise ConfigError(changes[0])
        named = {name: read_bytes(Path(name)) for name in record.named_files}
        session = find_session(record.arguments["session"]) if record.study == "session" else None
    except (PeakTradeError, OSError) as error:
        raise ConfigError(f"run {record.run_id} can not be exported: {error}") from None
    with filled_folder(folder, ".export-") as target:
        _write_entry(target, stored)
        for name, content in stored.files.items():
            write_bytes(target / RUN_FOLDER / name, content)
        for name, content in named.items():
            write_bytes(target / NAMED_FILES / name, content)
        for name, path in others(record.run_id).items():
            shutil.copyfile(path, target / name)
        if session is not None:
            shutil.copytree(session, target / SESSIONS / session.name, ignore=shutil.ignore_patterns(".*"))
        with workspace_at(target):
            for bars, _ in loaded:
                save_bars(bars)
                save_columns(bars.extra, bars.exchange, bars.symbol)
    return record


def is_bundle(folder: Path) -> bool:
    """Return whether a folder has an exported run."""
    return os.path.isfile(folder / ENTRY_FILE)


@contextmanager
def within_bundle(folder: Path) -> Iterator[RecordedRun]:
    """Yield the run of a bundle, with its bars, files and sessions as those of the workspace while the block runs."""
    try:
        entry: dict[str, Any] = json.loads(read_text(folder / ENTRY_FILE))
        paths = [path for path in (folder / RUN_FOLDER).rglob("*") if path.is_file()]
        files = {path.relative_to(folder / RUN_FOLDER).as_posix(): read_bytes(path) for path in paths}
        stored = StoredRun(entry["run_id"], entry["tags"], entry["metrics"], files)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{folder / ENTRY_FILE}: this file of a bundle is damaged ({error}). Export the run again."
        ) from None
    record = recorded_of(stored)
    with workspace_at(folder), chdir(folder / NAMED_FILES if record.named_files else "."):
        yield record


def _write_entry(target: Path, stored: StoredRun) -> None:
    entry = {"run_id": stored.run_id, "tags": dict(stored.tags), "metrics": dict(stored.metrics)}
    write_text(target / ENTRY_FILE, json.dumps(entry, indent=1, sort_keys=True))
    environment = json.loads(stored.files[ENVIRONMENT_FILE])
    about = {name: stored.tags[name] for name in ("run_type", "strategy", "symbol", "timeframe")}
    write_text(target / "README.md", README.format(run_id=stored.run_id, version=environment["version"], **about))
    pinned = [f"{name}=={number}\n" for name, number in environment["packages"].items()]
    write_text(target / "requirements.txt", "".join(pinned))
