"""Where the registry lives and how it is opened: MLflow, silent, without telemetry."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from peak_trade.core.errors import ConfigError
from peak_trade.data.workspace import workspace

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

EXPERIMENT = "peak_trade"
SQLITE = "sqlite:///"
QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2"}
"""Set before MLflow is imported, unless the caller's environment says otherwise."""


def tracking_uri() -> str:
    """Return where runs are recorded: MLFLOW_TRACKING_URI, else SQLite in the workspace."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"{SQLITE}{_database().resolve()}"


def is_empty() -> bool:
    """Return whether the registry is the workspace's own and was never written to."""
    return not os.environ.get("MLFLOW_TRACKING_URI") and not _database().exists()


@contextmanager
def opened() -> Iterator[tuple[MlflowClient, str]]:
    """Give a client and the id of this project's experiment, both made when they are missing.

    Raises
    ------
    ConfigError
        If the registry can not be reached or refuses what it is asked.

    """
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from mlflow.exceptions import MlflowException
        from mlflow.tracking import MlflowClient

        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.ERROR)
        uri = tracking_uri()
        try:
            with _held(uri):
                client = MlflowClient(uri)
                yield client, _experiment(client, uri)
        except (MlflowException, OSError) as error:
            reason = str(error).strip().splitlines()[0]
            raise ConfigError(
                f"run registry {uri}: {reason} Check MLFLOW_TRACKING_URI, or unset it to use the workspace."
            ) from error


@contextmanager
def _held(uri: str) -> Iterator[None]:
    from filelock import FileLock

    if not _is_local(uri):
        yield
        return
    for folder in (Path(uri.removeprefix(SQLITE)).parent, workspace()):
        folder.mkdir(parents=True, exist_ok=True)
    with FileLock(workspace() / "mlflow.lock"):
        yield


def _experiment(client: MlflowClient, uri: str) -> str:
    found = client.get_experiment_by_name(EXPERIMENT)
    if found is not None:
        return str(found.experiment_id)
    artifacts = (workspace() / "mlartifacts").resolve().as_uri() if _is_local(uri) else None
    return str(client.create_experiment(EXPERIMENT, artifact_location=artifacts))


def _is_local(uri: str) -> bool:
    return uri.startswith(SQLITE)


def _database() -> Path:
    return workspace() / "mlflow.db"
