"""The trading state on disk: it survives a restart, and a named person changes it from another process."""

from __future__ import annotations

import json
import os
from pathlib import Path

from peak_trade.core.digest import canonical_json
from peak_trade.core.errors import ConfigError
from peak_trade.risk.state import Control, as_record, from_record

FILE_NAME = "trading_state.json"


def read_control(folder: Path) -> Control:
    """Return the trading state kept in a folder: active when there is none yet, halted when it can't be read."""
    try:
        text = (folder / FILE_NAME).read_text(encoding="utf-8")
    except FileNotFoundError:
        return Control()
    except (OSError, UnicodeDecodeError):
        return from_record({})
    try:
        record = json.loads(text)
    except ValueError:
        return from_record({})
    return from_record(record if isinstance(record, dict) else {})


def write_control(folder: Path, control: Control) -> None:
    """Keep the trading state in a folder: whole or not at all, and on disk before this returns."""
    file = folder / FILE_NAME
    if file.is_dir():
        raise ConfigError(f"{file} is a folder, so the trading state can't be kept there. Move it away.")
    folder.mkdir(parents=True, exist_ok=True)
    draft = folder / f".{FILE_NAME}.{os.getpid()}"
    with draft.open("w", encoding="utf-8") as stream:
        stream.write(canonical_json(as_record(control)) + "\n")
        stream.flush()
        os.fsync(stream.fileno())
    draft.replace(file)
