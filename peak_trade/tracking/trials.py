"""Trial ledger: the number of distinct configurations tried on each data set.

The significance of the best of several Sharpe ratios depends on their number, so each pair is counted once and kept.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from peak_trade.core.errors import ConfigError
from peak_trade.core.files import make_folder
from peak_trade.data.workspace import workspace

LOCK_WAIT_SECONDS = 30.0
"""Seconds that a process waits for another one that writes to the ledger."""
SCHEMA = "CREATE TABLE IF NOT EXISTS trials (data TEXT, config TEXT, PRIMARY KEY (data, config)) WITHOUT ROWID"


def record_trials(trials: Iterable[tuple[str, str]]) -> int:
    """Add trials to the workspace's ledger and return the number of new ones.

    Parameters
    ----------
    trials : iterable of (config digest, data digest)

    Raises
    ------
    ConfigError
        If the ledger is locked, damaged or cannot be written.

    """
    with _ledger() as connection:
        before = connection.total_changes
        connection.executemany(
            "INSERT OR IGNORE INTO trials (data, config) VALUES (?, ?)", ((data, config) for config, data in trials)
        )
        return connection.total_changes - before


def count_trials(data_digest: str | None = None) -> int:
    """Return the number of distinct trials, on one data set or on all."""
    if not _path().exists():
        return 0
    where, values = ("", ()) if data_digest is None else (" WHERE data = ?", (data_digest,))
    with _ledger() as connection:
        return int(connection.execute(f"SELECT count(*) FROM trials{where}", values).fetchone()[0])


@contextmanager
def _ledger() -> Iterator[sqlite3.Connection]:
    """Yield a connection to the ledger in one transaction; ConfigError when it cannot be read or written."""
    path = _path()
    try:
        make_folder(path.parent)
        with closing(sqlite3.connect(path, timeout=LOCK_WAIT_SECONDS)) as connection, connection:
            connection.execute(SCHEMA)
            yield connection
    except (sqlite3.Error, OSError) as error:
        raise ConfigError(
            f"trial ledger {path}: {error}. Close what uses it, free its disk, or move it away when it is damaged."
        ) from None


def _path() -> Path:
    return workspace() / "trials.db"
