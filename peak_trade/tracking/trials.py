"""Trial ledger: the number of distinct configurations tried on each data set.

The significance of the best of several Sharpe ratios depends on their number, so each pair is counted once and kept.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

from peak_trade.data.workspace import workspace

SCHEMA = "CREATE TABLE IF NOT EXISTS trials (data TEXT, config TEXT, PRIMARY KEY (data, config)) WITHOUT ROWID"


def record_trials(trials: Iterable[tuple[str, str]]) -> int:
    """Add trials to the workspace's ledger and return the number of new ones.

    Parameters
    ----------
    trials : iterable of (config digest, data digest)

    """
    path = _path()
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path, timeout=60.0)) as connection, connection:
        connection.execute(SCHEMA)
        before = connection.total_changes
        connection.executemany(
            "INSERT OR IGNORE INTO trials (data, config) VALUES (?, ?)", ((data, config) for config, data in trials)
        )
        return connection.total_changes - before


def count_trials(data_digest: str | None = None) -> int:
    """Return the number of distinct trials, on one data set or on all."""
    path = _path()
    if not path.exists():
        return 0
    where, values = ("", ()) if data_digest is None else (" WHERE data = ?", (data_digest,))
    with closing(sqlite3.connect(path, timeout=60.0)) as connection:
        connection.execute(SCHEMA)
        return int(connection.execute(f"SELECT count(*) FROM trials{where}", values).fetchone()[0])


def _path() -> Path:
    return workspace() / "trials.db"
