"""Import an external order log as a session, chained and signed as an import."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import pandas as pd

from peak_trade.core.digest import digest_bytes, package_digest
from peak_trade.core.errors import ConfigError
from peak_trade.core.time import NS_PER_SECOND
from peak_trade.journal.events import SessionEvent, SessionPhase
from peak_trade.journal.importers import ExternalLog, read_jesse, read_orders
from peak_trade.journal.keys import WorkspaceKey
from peak_trade.journal.writer import JournalWriter, create_session
from peak_trade.sessions.store import keys_folder, sessions_folder

LogFormat = Literal["jesse", "orders-csv"]
MODE = "imported"


@dataclass(frozen=True, slots=True)
class ImportedSession:
    """An imported session: its folder, its log and the number of lines in the log."""

    folder: Path
    log: ExternalLog
    n_lines: int


def import_log(
    path: Path, form: LogFormat, now: int, strategy: str = "unknown", columns: Mapping[str, str] | None = None
) -> ImportedSession:
    """Import a log as a sealed session; `now`, ns UTC, becomes the time of recording.

    Parameters
    ----------
    path : Path
        A Parquet table of jesse's log lines, or a CSV file of orders.
    form : jesse or orders-csv
    now : int
    strategy : str
        Name under which the orders are recorded.
    columns : mapping
        Names of our columns to those of the CSV file.

    Raises
    ------
    ConfigError
        If the file can not be read, lacks a column, or has no order.
    SessionError
        If it was imported already.

    """
    content, frame = _read(path, form)
    log = read_jesse(frame, strategy) if form == "jesse" else read_orders(frame, strategy, columns or {})
    if not log.events:
        raise ConfigError(f"{path}: there is no order in its {len(frame):,} rows.{_first_reason(log)}")
    first, last = log.events[0].ts_event, log.events[-1].ts_event
    moment = datetime.fromtimestamp(first // NS_PER_SECOND, UTC)
    name = f"{moment:%Y%m%d_%H%M%S}_{MODE}_{re.sub(r'[^A-Za-z0-9-]+', '-', path.stem)}"
    symbols = sorted({event.symbol for event in log.events})
    manifest = {
        "session_id": name,
        "config": {"mode": MODE, "strategy": strategy, "symbol": ", ".join(symbols), "timeframe": ""},
        "digests": {"code": package_digest(), "data": digest_bytes(content)},
        "imported": {
            "file": path.name,
            "format": form,
            "columns": dict(columns or {}),
            "n_rows": len(frame),
            "n_used": log.n_used,
            "ignored": dict(log.ignored),
            "refused": [list(each) for each in log.refused],
        },
    }
    folder, signer = sessions_folder() / name, WorkspaceKey(keys_folder())
    create_session(folder, manifest, signer, lambda: now)
    with JournalWriter(folder, signer, lambda: now) as journal:
        journal.append(SessionEvent(first, SessionPhase.STARTED, MODE, path.name, math.nan))
        for event in log.events:
            journal.append(event)
        journal.append(SessionEvent(last, SessionPhase.STOPPED, MODE, "the log ends", math.nan))
        journal.seal()
    return ImportedSession(folder, log, len(frame))


def _read(path: Path, form: LogFormat) -> tuple[bytes, pd.DataFrame]:
    try:
        content = path.read_bytes()
        if form == "jesse":
            return content, pd.read_parquet(path)
        return content, pd.read_csv(path, dtype=str, keep_default_na=False)
    except OSError as error:
        reason = error.strerror or "it is damaged"
    except Exception as error:
        reason = str(error).splitlines()[0]
    raise ConfigError(f"{path}: could not be read as {form} ({reason}).") from None


def _first_reason(log: ExternalLog) -> str:
    return f" Row {log.refused[0][0]}: {log.refused[0][1]}" if log.refused else ""
