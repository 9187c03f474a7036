"""What people do to a session from another process: each act a file in `acts/` until the session has recorded it."""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path

from peak_trade.core.digest import canonical_json
from peak_trade.journal.events import ActEvent, ActKind
from peak_trade.journal.writer import sync_folder

FOLDER = "acts"


@dataclass(frozen=True, slots=True)
class Act:
    """One act of a named person, given at `given_at`, ns UTC by the machine's clock."""

    act_id: str
    act: ActKind
    actor: str
    reason: str
    strategy: str
    given_at: int

    def taken_at(self, now: int) -> ActEvent:
        """Return the event of a session that takes it at `now`, ns UTC of the session's clock."""
        return ActEvent(now, self.act_id, self.act, self.actor, self.reason, self.strategy, self.given_at)


def make_act(act: ActKind, actor: str, given_at: int, reason: str = "", strategy: str = "") -> Act:
    """Return an act under an id that no other has, in the order of time."""
    return Act(f"{given_at:020d}-{secrets.token_hex(4)}", act, actor, reason, strategy, given_at)


def leave(folder: Path, act: Act) -> None:
    """Put an act into a session's folder: whole or not at all, on disk before this returns, beside every other one."""
    place = folder / FOLDER
    place.mkdir(exist_ok=True)
    draft = place / f".{act.act_id}.draft"
    with draft.open("w", encoding="utf-8") as file:
        file.write(canonical_json(asdict(act)) + "\n")
        file.flush()
        os.fsync(file.fileno())
    draft.rename(place / f"{act.act_id}.json")
    sync_folder(place)
    sync_folder(folder)


def waiting(folder: Path) -> list[Act]:
    """Return the acts that a session has not taken yet, oldest first; one that can't be read is a kill."""
    try:
        names = os.listdir(folder / FOLDER)
    except FileNotFoundError:
        return []
    found = (_read(folder / FOLDER / name) for name in sorted(names) if name.endswith(".json"))
    return [act for act in found if act is not None]


def is_kill_waiting(folder: Path) -> bool:
    """Return whether a session is to be stopped."""
    return any(act.act is ActKind.KILL for act in waiting(folder))


def remove(folder: Path, act_id: str) -> None:
    """Take an act out of the folder once it is recorded."""
    (folder / FOLDER / f"{act_id}.json").unlink(missing_ok=True)


def _read(path: Path) -> Act | None:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        return Act(**record | {"act": ActKind(record["act"])})
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError):
        return Act(path.stem, ActKind.KILL, "nobody", "an act could not be read", "", 0)
