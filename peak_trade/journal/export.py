"""The audit trail as one table, with one row per event and the fields of every kind as columns."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from peak_trade.core.errors import ConfigError
from peak_trade.core.time import iso
from peak_trade.journal.codec import Line, event_to_dict
from peak_trade.journal.events import EVENT_CLASSES, OrderEvent

if TYPE_CHECKING:
    import pandas as pd

HEAD = ("session_id", "sequence", "kind", "time", "ts_event", "ts_recorded", "ord_status", "exec_type")
FORMATS = (".csv", ".json", ".parquet")


def columns() -> tuple[str, ...]:
    """Return the columns of the trail: number and time, then every field of every event once."""
    names = dict.fromkeys(part.name for event_class in EVENT_CLASSES for part in fields(event_class))
    return (*HEAD, *(name for name in names if name not in HEAD))


def trail_frame(session_id: str, lines: Iterable[Line]) -> pd.DataFrame:
    """Return one row per event, shape (n_events, n_columns), empty where a kind does not have the field.

    `time` is `ts_event` as text in UTC, `ord_status` and `exec_type` are FIX names, denials and levels are JSON text.
    """
    import pandas as pd

    rows = [_row(session_id, line) for line in lines]
    return pd.DataFrame(rows, columns=list(columns()))


def write_trail(frames: Sequence[pd.DataFrame], path: Path) -> int:
    """Write trails to a .csv, .json or .parquet file and return the number of rows.

    Raises
    ------
    ConfigError
        When the suffix is another, or the file can not be written.

    """
    import pandas as pd

    if path.suffix not in FORMATS:
        raise ConfigError(f"output was {path}: its name must end in {', '.join(FORMATS)}.")
    frame = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=list(columns()))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(frame, path)
    except OSError as error:
        raise ConfigError(f"output was {path}: it could not be written ({error.strerror}).") from None
    return len(frame)


def _write(frame: pd.DataFrame, path: Path) -> None:
    import pandas as pd

    if path.suffix == ".csv":
        frame.to_csv(path, index=False)
    elif path.suffix == ".json":
        records = [{k: v for k, v in row.items() if pd.notna(v)} for row in frame.to_dict(orient="records")]
        path.write_text(json.dumps(records, indent=1) + "\n", encoding="utf-8")
    else:
        frame.to_parquet(path, index=False)


def _row(session_id: str, line: Line) -> dict[str, object]:
    row = event_to_dict(line.event)
    row |= {"session_id": session_id, "sequence": line.sequence, "ts_recorded": line.ts_recorded}
    row["time"] = iso(line.event.ts_event)
    if isinstance(line.event, OrderEvent):
        row |= {"ord_status": line.event.ord_status, "exec_type": line.event.exec_type}
    for name in ("denials", "bids", "asks"):
        if name in row:
            row[name] = json.dumps(row[name])
    return row
