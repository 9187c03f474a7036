"""Connection to the run registry in MLflow, without its log output and telemetry."""

from __future__ import annotations

import logging
import os
import re
import shutil
import sqlite3
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from peak_trade.core.digest import digest_bytes, digest_of
from peak_trade.core.errors import ConfigError, shortened
from peak_trade.core.extras import require
from peak_trade.core.files import copy_into, read_bytes, replacing
from peak_trade.core.lock import database_holder, held_lock
from peak_trade.data.workspace import workspace

if TYPE_CHECKING:
    from mlflow.entities import Experiment
    from mlflow.tracking import MlflowClient

EXPERIMENT = "peak_trade"
EXPERIMENT_TAGS = {
    "mlflow.experimentKind": "custom_model_development",
    "mlflow.note.content": "Runs of peak_trade. The tag `run_id` is the id that its commands take.",
}
"""Kind and description of the experiment on the pages of MLflow."""
SQLITE = "sqlite:///"
OF_MLFLOW = "mlflow."
"""Begin of the names of tags that MLflow adds, which are no part of an entry."""
OTHER_SCHEMA = "out-of-date database schema"
"""Words of MLflow about a database of another version, which may be a later one."""
LOCK_WAIT_SECONDS = 30.0
"""Seconds that a process waits for another one that uses the registry."""
_PASSWORD = re.compile(r"(://[^\s:/@]*:)[^\s/@]*@")
_OF_A_CONNECTION = (
    "MLFLOW_TRACKING_AUTH",
    "MLFLOW_TRACKING_AWS_SIGV4",
    "MLFLOW_TRACKING_CLIENT_CERT_PATH",
    "MLFLOW_TRACKING_INSECURE_TLS",
    "MLFLOW_TRACKING_SERVER_CERT_PATH",
)
"""Environment variables about a connection that only MLflow makes."""
QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}
"""Environment variables that are set before MLflow is imported, unless they are set already."""


def tracking_uri() -> str:
    """Return the URI of the registry: MLFLOW_TRACKING_URI, else SQLite in the workspace."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"{SQLITE}{database_path().resolve()}"


def has_rest(uri: str) -> bool:
    """Return whether a registry is a server that can be read without MLflow; see `rest`."""
    return uri.startswith(("http://", "https://")) and not any(os.environ.get(name) for name in _OF_A_CONNECTION)


def is_registry_in_workspace() -> bool:
    """Return whether the registry is that of the workspace, and not one that MLFLOW_TRACKING_URI names."""
    return not os.environ.get("MLFLOW_TRACKING_URI")


@contextmanager
def open_registry() -> Iterator[tuple[MlflowClient, str]]:
    """Yield a client and the id of the project's MLflow experiment, which is created if it is missing.

    Raises
    ------
    ConfigError
        If MLflow is not installed, the registry cannot be reached, is locked or damaged, or rejects a request, or if
        its experiment was deleted.

    """
    require("the registry of MLflow", "mlflow")
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from mlflow.exceptions import MlflowException
        from mlflow.tracking import MlflowClient
        from sqlalchemy.exc import SQLAlchemyError

        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.CRITICAL)  # an error is raised; its log is a traceback
        uri = tracking_uri()
        with explaining(uri, MlflowException, SQLAlchemyError, ImportError), _held(uri):
            if is_server_database(uri):
                _check_connects(uri)
            _make_schema(uri)
            client = MlflowClient(uri)
            try:
                yield client, _experiment(client, uri)
            finally:
                _close(client, uri)


@contextmanager
def open_database(wait_seconds: float | None = None) -> Iterator[tuple[sqlite3.Connection, int] | None]:
    """Yield a connection that reads the registry, and the id of the project's experiment; None without an entry.

    The registry must be a database; see `is_database`. Nothing is written, so the folder may be read-only, and MLflow
    is not imported. `wait_seconds` is the longest wait for a process that has locked it, by default
    LOCK_WAIT_SECONDS.

    Raises
    ------
    ConfigError
        If the database is locked or damaged, or its experiment was deleted.

    """
    uri = tracking_uri()
    path = Path(uri.removeprefix(SQLITE))
    if not path.exists():
        yield None
        return
    wait_seconds = LOCK_WAIT_SECONDS if wait_seconds is None else wait_seconds
    with explaining(uri), closing(_connect(path, wait_seconds)) as connection:
        known = connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'experiments'").fetchone()[0]
        words = "SELECT experiment_id, lifecycle_stage FROM experiments WHERE name = ?"
        found = connection.execute(words, (EXPERIMENT,)).fetchone() if known else None
        if found is not None and found[1] != "active":
            raise deleted_experiment(uri, found[0])
        yield None if found is None else (connection, found[0])


def _connect(path: Path, wait_seconds: float) -> sqlite3.Connection:
    """Connect to an existing database, for reading.

    A connection for reading only could not undo what a killed process has written in part. On a file that can not be
    written, this is one.
    """
    return sqlite3.connect(f"{path.resolve().as_uri()}?mode=rw", timeout=wait_seconds, uri=True)


def is_database() -> bool:
    """Return whether the registry is an SQLite database on this machine, as that of a workspace is."""
    return tracking_uri().startswith(SQLITE)


def database_state() -> tuple[Any, ...]:
    """Return a value that differs after each change of the registry's database; see `is_database`.

    It has the place, size and time of the database and of its write-ahead log, and the change counter at byte 24 of
    the database (SQLite's "Database File Format", section 1.3.9), because two changes may have the same time.
    """
    path = Path(tracking_uri().removeprefix(SQLITE))
    state: list[Any] = []
    for file in (path, path.with_name(f"{path.name}-wal")):
        with suppress(OSError), file.open("rb") as content:
            stat = os.fstat(content.fileno())
            state += [str(file), stat.st_ino, stat.st_mtime_ns, stat.st_size, content.read(28)[24:].hex()]
    return tuple(state)


@contextmanager
def explaining(uri: str, *errors: type[Exception]) -> Iterator[None]:
    """Raise ConfigError, with the registry and a remedy, for these errors and those of a file within the block."""
    known: tuple[type[Exception], ...] = (*errors, sqlite3.Error, OSError)
    try:
        yield
    except TimeoutError as error:
        raise ConfigError(f"run registry {error}. Wait for that process, or stop it.") from None
    except known as error:
        reason = first_line(error)
        if _is_local(uri) and "locked" in reason and (holder := database_holder(Path(uri.removeprefix(SQLITE)))):
            reason += f" by {holder}"
        if OTHER_SCHEMA in reason:  # its text goes on with advice that does not fit a line
            reason = reason.partition(")")[0] + ")"
        raise ConfigError(f"run registry {without_password(uri)}: {reason}. {_remedy(uri, reason)}") from error


def first_line(error: BaseException) -> str:
    """Return the first line of the text of another library's error, without passwords and the last full stop."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return shortened(without_password(lines[0])).rstrip(".")


def without_password(text: str) -> str:
    """Return text in which the passwords of URIs are three asterisks.

    Examples
    --------
    >>> without_password("postgresql://mlflow:secret@127.0.0.1:5432/mlflow")
    'postgresql://mlflow:***@127.0.0.1:5432/mlflow'

    """
    return _PASSWORD.sub(r"\1***@", text)


def store_artifacts(client: MlflowClient, mlflow_id: str, paths: Sequence[Path]) -> None:
    """Store files and folders with an entry.

    The registry of the workspace has them in the workspace, wherever it was when the registry was made; they are on
    disk when this returns.
    """
    if is_registry_in_workspace():
        copy_into(_own_artifacts(mlflow_id), paths)
        return
    for path in paths:
        client.log_artifact(mlflow_id, str(path))


def stored_artifacts(mlflow_id: str) -> dict[str, bytes] | None:
    """Return the content of each file of an entry in the workspace, by its path; None without a folder."""
    own = _own_artifacts(mlflow_id)
    return contents_of(own) if own.is_dir() else None


def downloaded_artifacts(mlflow_id: str) -> dict[str, bytes]:
    """Return the content of each file that is stored with an entry at a server, by its path."""
    with open_registry() as (client, _), TemporaryDirectory() as folder:
        if not client.list_artifacts(mlflow_id):
            return {}
        return contents_of(Path(client.download_artifacts(mlflow_id, "", folder)))


def digest_of_files(paths: Sequence[Path]) -> str:
    """Return the SHA-256 of the names and contents of files, and of the files in folders."""
    found: dict[str, bytes] = {}
    for path in paths:
        inner = contents_of(path) if path.is_dir() else {"": read_bytes(path)}
        found |= {f"{path.name}/{name}".removesuffix("/"): content for name, content in inner.items()}
    return digest_of_contents(found)


def digest_of_contents(contents: Mapping[str, bytes]) -> str:
    """Return the SHA-256 of the paths and contents of files; a path without a folder is taken with a slash after it."""
    return digest_of({name if "/" in name else f"{name}/": digest_bytes(each) for name, each in contents.items()})


def discard_entry(client: MlflowClient, mlflow_id: str) -> None:
    """Delete an entry that is not whole, with its files if they are in the workspace."""
    client.delete_run(mlflow_id)
    shutil.rmtree(_own_artifacts(mlflow_id).parent, ignore_errors=True)


def contents_of(folder: Path) -> dict[str, bytes]:
    """Return the content of each file in a folder and its folders, by its path in the folder."""
    return {path.relative_to(folder).as_posix(): read_bytes(path) for path in folder.rglob("*") if path.is_file()}


def _own_artifacts(mlflow_id: str) -> Path:
    return workspace() / "mlartifacts" / mlflow_id / "artifacts"


@contextmanager
def _held(uri: str) -> Iterator[None]:
    if not _is_local(uri):
        yield
        return
    for folder in (Path(uri.removeprefix(SQLITE)).parent, workspace()):
        folder.mkdir(parents=True, exist_ok=True)
    with held_lock(workspace() / "mlflow.lock", LOCK_WAIT_SECONDS):
        _check_readable(Path(uri.removeprefix(SQLITE)))
        yield


def _check_readable(path: Path) -> None:
    """Raise sqlite3.Error when a database is locked or damaged, for which MLflow would wait a minute."""
    if path.exists():
        with closing(_connect(path, LOCK_WAIT_SECONDS)) as connection:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()


def _remedy(uri: str, reason: str) -> str:
    if OTHER_SCHEMA in reason:
        return "Use the version of MLflow that wrote it last, or back it up and give `mlflow db upgrade` with its URI."
    if _is_local(uri):
        return "Close what uses it, free its disk, or move it away when it is damaged."
    return "Check MLFLOW_TRACKING_URI, or unset it to use the workspace."


def is_server_database(uri: str) -> bool:
    """Return whether a URI names a database of a server, such as PostgreSQL, without an MLflow server before it."""
    return "://" in uri and uri.split(":")[0].split("+")[0] in ("postgresql", "mysql", "mssql")


def _check_connects(uri: str) -> None:
    """Raise SQLAlchemyError or ImportError when a database does not answer, which MLflow asks again for 100 s."""
    from sqlalchemy import create_engine

    engine = create_engine(uri)
    try:
        engine.connect().close()
    finally:
        engine.dispose()


def _make_schema(uri: str) -> None:
    """Make the database if it is missing: under another name first, because MLflow can not complete a part of one."""
    path = Path(uri.removeprefix(SQLITE))
    if not _is_local(uri) or (path.exists() and path.stat().st_size > 0):
        return
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    for leftover in path.parent.glob(f".{path.name}.*"):
        leftover.unlink()
    with replacing(path) as draft:
        SqlAlchemyStore(f"{SQLITE}{draft}", _artifacts()).engine.dispose()  # type: ignore[no-untyped-call]


def _close(client: MlflowClient, uri: str) -> None:
    """Close MLflow's connections, so that a workspace can be deleted and created again."""
    if _is_local(uri):
        client._tracking_client.store.engine.dispose()


def _experiment(client: MlflowClient, uri: str) -> str:
    found = client.get_experiment_by_name(EXPERIMENT) or _make_experiment(client, uri)
    if found.lifecycle_stage != "active":
        raise deleted_experiment(uri, found.experiment_id)
    return str(found.experiment_id)


def _make_experiment(client: MlflowClient, uri: str) -> Experiment:
    """Make the experiment of the project, unless another process makes it at the same time."""
    from mlflow.exceptions import MlflowException

    if is_server_database(uri):
        raise ConfigError(
            f"run registry {without_password(uri)}: this database has no experiment {EXPERIMENT}, which would say "
            "where files are stored. Name an `mlflow server` in MLFLOW_TRACKING_URI, or make it: `mlflow experiments "
            f"create --experiment-name {EXPERIMENT} --artifact-location URI`."
        )
    artifacts = _artifacts() if _is_local(uri) else None
    try:
        made = client.create_experiment(EXPERIMENT, artifact_location=artifacts, tags=EXPERIMENT_TAGS)
    except MlflowException:
        found: Experiment | None = client.get_experiment_by_name(EXPERIMENT)
        if found is None:
            raise
        return found
    return client.get_experiment(made)


def deleted_experiment(uri: str, experiment_id: Any) -> ConfigError:
    """Return the error of a registry whose experiment was deleted."""
    return ConfigError(
        f"run registry {uri}: the experiment {EXPERIMENT} was deleted. Restore it with `mlflow experiments restore "
        f"--experiment-id {experiment_id}`."
    )


def _artifacts() -> str:
    return (workspace() / "mlartifacts").resolve().as_uri()


def _is_local(uri: str) -> bool:
    return uri.startswith(SQLITE)


def database_path() -> Path:
    """Return the database of the workspace, which may be missing."""
    return workspace() / "mlflow.db"
