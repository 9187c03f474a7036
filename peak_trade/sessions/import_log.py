"""Import an external order log as a session, chained and signed as an import."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import pandas as pd
from msgspec import structs

from peak_trade.core.digest import digest_bytes, package_digest
from peak_trade.core.errors import ConfigError, SessionError
from peak_trade.core.files import read_bytes
from peak_trade.core.time import NS_PER_SECOND
from peak_trade.journal.events import EndCause, SessionEvent, SessionPhase
from peak_trade.journal.importers import ExternalLog, LogOptions, read_jesse, read_orders
from peak_trade.journal.keys import WorkspaceKey
from peak_trade.journal.session_chain import start_session
from peak_trade.journal.versions import JOURNAL_VERSION
from peak_trade.journal.writer import JournalWriter
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
    path: Path, form: LogFormat, now: int, options: LogOptions, columns: Mapping[str, str] | None = None
) -> ImportedSession:
    """Import a log as a sealed session; `now`, ns UTC, becomes the time of recording.

    Parameters
    ----------
    path : Path
        A Parquet table of jesse's log lines, or a CSV file of orders.
    form : jesse or orders-csv
    now : int
    options : LogOptions
        Name of the strategy, currency of the fees and format of the times.
    columns : mapping
        Names of our columns to those of the CSV file.

    Raises
    ------
    ConfigError
        If the file can not be read, lacks a column, or has no order; if its times have several formats, or the
        currency of its fees is not stated.
    SessionError
        If it was imported already.

    """
    content, frame = _read(path, form)
    options = replace(options, where=path.name)
    strategy = options.strategy
    log = read_jesse(frame, options) if form == "jesse" else read_orders(frame, options, columns or {})
    if not log.events:
        raise ConfigError(f"{path}: there is no order in its {len(frame):,} rows.{_first_reason(log)}")
    first, last = log.events[0].ts_event, log.events[-1].ts_event
    moment = datetime.fromtimestamp(first // NS_PER_SECOND, UTC)
    name = f"{moment:%Y%m%d_%H%M%S}_{MODE}_{re.sub(r'[^A-Za-z0-9-]+', '-', path.stem)}"
    symbols = sorted({event.symbol for event in log.events})
    manifest = {
        "version": JOURNAL_VERSION,
        "session_id": name,
        "config": {
            "mode": MODE,
            "strategies": [{"name": strategy}],
            "symbols": [{"name": symbol} for symbol in symbols],
            "timeframe": "",
        },
        "digests": {"code": package_digest(), "data": digest_bytes(content)},
        "imported": {
            "file": path.name,
            "format": form,
            "columns": dict(columns or {}),
            "times": log.times,
            "fee_currency": options.fee_currency,
            "n_rows": len(frame),
            "n_used": log.n_used,
            "ignored": dict(log.ignored),
            "refused": [list(each) for each in log.refused],
        },
    }
    folder, signer = sessions_folder() / name, WorkspaceKey(keys_folder())
    if folder.exists():
        raise SessionError(f"{path.name} was imported already, as {name}. Rename the file to import it once more.")
    start_session(folder, manifest, signer, lambda: now)
    with JournalWriter(folder, signer, lambda: now) as journal:
        start = SessionEvent(first, SessionPhase.STARTED, MODE, path.name, math.nan)
        journal.append(structs.replace(start, strategies=(strategy,), symbols=tuple(symbols)))
        for event in log.events:
            journal.append(event)
        journal.append(SessionEvent(last, SessionPhase.STOPPED, MODE, "the log ends", math.nan, EndCause.FEED_ENDED))
        journal.seal()
    return ImportedSession(folder, log, len(frame))


def _read(path: Path, form: LogFormat) -> tuple[bytes, pd.DataFrame]:
    try:
        content = read_bytes(path)
        if form == "jesse":
            return content, pd.read_parquet(io.BytesIO(content))
        return content, pd.read_csv(io.BytesIO(content), dtype=str, keep_default_na=False)
    except OSError as error:
        reason = error.strerror or "it is damaged"
    except Exception as error:
        reason = str(error).splitlines()[0]
    raise ConfigError(f"{path}: could not be read as {form} ({reason}).") from None


def _first_reason(log: ExternalLog) -> str:
    return f" Row {log.refused[0][0]}: {log.refused[0][1]}" if log.refused else ""
