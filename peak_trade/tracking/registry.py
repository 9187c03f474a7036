"""Connection to the run registry in MLflow, without its log output and telemetry."""

from __future__ import annotations

import logging
import os
import sqlite3
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from peak_trade.core.errors import ConfigError, shortened
from peak_trade.data.workspace import workspace

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

EXPERIMENT = "peak_trade"
SQLITE = "sqlite:///"
LOCK_WAIT_SECONDS = 30.0
"""Seconds that a process waits for another one that uses the registry."""
QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2"}
"""Environment variables that are set before MLflow is imported, unless they are set already."""


def tracking_uri() -> str:
    """Return the URI of the registry: MLFLOW_TRACKING_URI, else SQLite in the workspace."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"{SQLITE}{_database().resolve()}"


def is_registry_empty() -> bool:
    """Return whether the registry is in the workspace and has no entry yet."""
    return not os.environ.get("MLFLOW_TRACKING_URI") and not _database().exists()


@contextmanager
def open_registry() -> Iterator[tuple[MlflowClient, str]]:
    """Yield a client and the id of the project's MLflow experiment, which is created if it is missing.

    Raises
    ------
    ConfigError
        If the registry cannot be reached, is locked or damaged, or rejects a request, or if its experiment was deleted.

    """
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
        try:
            with _held(uri):
                _make_schema(uri)
                client = MlflowClient(uri)
                try:
                    yield client, _experiment(client, uri)
                finally:
                    _close(client, uri)
        except (MlflowException, SQLAlchemyError, sqlite3.Error, OSError) as error:
            reason = shortened(str(error).strip().splitlines()[0]).rstrip(".")
            raise ConfigError(f"run registry {uri}: {reason}. {_remedy(uri)}") from error


@contextmanager
def _held(uri: str) -> Iterator[None]:
    from filelock import FileLock

    if not _is_local(uri):
        yield
        return
    for folder in (Path(uri.removeprefix(SQLITE)).parent, workspace()):
        folder.mkdir(parents=True, exist_ok=True)
    with FileLock(workspace() / "mlflow.lock", timeout=LOCK_WAIT_SECONDS):
        _check_readable(Path(uri.removeprefix(SQLITE)))
        yield


def _check_readable(path: Path) -> None:
    """Raise sqlite3.Error when a database is locked or damaged, for which MLflow would wait a minute."""
    if path.exists():
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", LOCK_WAIT_SECONDS, uri=True)) as connection:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()


def _remedy(uri: str) -> str:
    if _is_local(uri):
        return "Close what uses it, free its disk, or move it away when it is damaged."
    return "Check MLFLOW_TRACKING_URI, or unset it to use the workspace."


def _make_schema(uri: str) -> None:
    if _is_local(uri) and not Path(uri.removeprefix(SQLITE)).exists():
        from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

        SqlAlchemyStore(uri, _artifacts())  # type: ignore[no-untyped-call]


def _close(client: MlflowClient, uri: str) -> None:
    """Close MLflow's connections, so that a workspace can be deleted and created again."""
    if _is_local(uri):
        client._tracking_client.store.engine.dispose()


def _experiment(client: MlflowClient, uri: str) -> str:
    found = client.get_experiment_by_name(EXPERIMENT)
    if found is not None and found.lifecycle_stage != "active":
        raise ConfigError(
            f"run registry {uri}: the experiment {EXPERIMENT} was deleted. Restore it with `mlflow experiments restore "
            f"--experiment-id {found.experiment_id}`."
        )
    if found is not None:
        return str(found.experiment_id)
    return str(client.create_experiment(EXPERIMENT, artifact_location=_artifacts() if _is_local(uri) else None))


def _artifacts() -> str:
    return (workspace() / "mlartifacts").resolve().as_uri()


def _is_local(uri: str) -> bool:
    return uri.startswith(SQLITE)


def _database() -> Path:
    return workspace() / "mlflow.db"
