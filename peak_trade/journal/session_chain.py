"""The chain of the sessions of a workspace: one signed line per session that was started or deleted.

Each line holds the SHA-256 of the line before it, so a line that is missing, moved or changed is noticed, and so is a
session whose folder is gone without a line that says so. Starts of several processes take turns.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from peak_trade.core.digest import canonical_json, digest_bytes
from peak_trade.core.errors import SessionError
from peak_trade.core.files import make_folder, read_bytes, reason_of, sync_folder, write_all
from peak_trade.core.lock import held_lock
from peak_trade.core.time import iso
from peak_trade.journal.files import MANIFEST, manifest_digest, read_manifest
from peak_trade.journal.keys import Signer, verify_signature
from peak_trade.journal.writer import create_session

CHAIN = "chain.jsonl"
CHAIN_HEAD = "chain_head"
"""Name of the note in the record of a session that holds the head of the chain after its start."""

_LOCK = ".chain.lock"
_LOCK_SECONDS = 30.0
_NO_LINE = "0" * 64


class ChainAction(StrEnum):
    """What happened to a session: it was started, or deleted by the rules of retention."""

    STARTED = "started"
    DELETED = "deleted"


@dataclass(frozen=True, slots=True)
class ChainEntry:
    """A line of the chain. `manifest` is the digest of the session's manifest, `previous` that of the line before."""

    sequence: int
    action: str
    session_id: str
    manifest: str
    ts_recorded: int
    previous: str
    public_key: str
    signature: str = ""

    def signed_content(self) -> bytes:
        """Return the bytes that are signed."""
        return canonical_json({name: value for name, value in self._values().items() if name != "signature"}).encode()

    def encode_line(self) -> bytes:
        """Return the line, without its newline."""
        return canonical_json(self._values()).encode()

    @property
    def head(self) -> str:
        """SHA-256 of the line: the head of the chain that ends with it."""
        return digest_bytes(self.encode_line())

    def _values(self) -> dict[str, Any]:
        return {part.name: getattr(self, part.name) for part in fields(self)}


@dataclass(frozen=True, slots=True)
class ChainCheck:
    """Number of lines of a chain, the ids of the sessions that are missing, and a sentence per fault."""

    n_entries: int
    missing: tuple[str, ...]
    faults: tuple[str, ...]

    @property
    def is_intact(self) -> bool:
        """Whether the chain has no fault."""
        return not self.faults


def start_session(folder: Path, manifest: Mapping[str, Any], signer: Signer, clock: Callable[[], int]) -> None:
    """Make the folder of a session and its line of the chain; errors as of `create_session`."""
    with _held(folder.parent):
        create_session(folder, manifest, signer, clock)
        _append(folder, ChainAction.STARTED, signer, clock())


def ensure_started(folder: Path, signer: Signer, now: int) -> None:
    """Append the line of a session that was killed between its creation and its line."""
    with _held(folder.parent):
        if entry_of(folder) is None:
            _append(folder, ChainAction.STARTED, signer, now)


def append_tombstone(folder: Path, signer: Signer, now: int) -> None:
    """Append the line of a session that is about to be deleted, unless it has one; the deletion may be repeated."""
    with _held(folder.parent):
        last = [entry for entry in read_chain(folder.parent) if entry is not None and entry.session_id == folder.name]
        if not last or last[-1].action != ChainAction.DELETED:
            _append(folder, ChainAction.DELETED, signer, now)


def entry_of(folder: Path) -> ChainEntry | None:
    """Return the line of the start of a session, None without one."""
    manifest = manifest_digest(folder)
    starts = (entry for entry in read_chain(folder.parent) if entry is not None and entry.action == ChainAction.STARTED)
    return next((entry for entry in starts if (entry.session_id, entry.manifest) == (folder.name, manifest)), None)


def read_chain(sessions: Path) -> list[ChainEntry | None]:
    """Return the lines of the chain of a folder of sessions, with None for a line that is not one."""
    return [_entry(text) for text in _content(sessions / CHAIN).split(b"\n")[:-1]]


def check_chain(sessions: Path, public: str | None, heads: Mapping[str, str]) -> ChainCheck:
    """Check the chain of a folder of sessions, and that each of its sessions is there.

    Parameters
    ----------
    sessions : Path
    public : str or None
        Public key of the workspace; None: the signatures are checked with the keys that the lines name.
    heads : mapping of str
        Heads of the chain that are kept elsewhere, by the name of the place: each must be the head of a line.

    """
    entries = read_chain(sessions)
    faults = list(_line_faults(entries, public))
    known = {entry.head for entry in entries if entry is not None}
    for place, head in heads.items():
        if head not in known:
            faults.append(f"{CHAIN}: {place} holds a head of the chain that is not in it: lines were removed.")
    lost = list(_missing(sessions, entries))
    faults += [
        f"session {entry.session_id} of {iso(entry.ts_recorded)} is missing, and no line says that it was deleted."
        for entry in lost
    ]
    faults += _strangers(sessions, entries)
    return ChainCheck(len(entries), tuple(entry.session_id for entry in lost), tuple(faults))


def _line_faults(entries: Sequence[ChainEntry | None], public: str | None) -> Iterator[str]:
    previous: str | None = _NO_LINE
    for place, entry in enumerate(entries, start=1):
        where = f"{CHAIN}:{place}"
        if entry is None:
            yield f"{where}: this is not a line of the chain."
        elif public is not None and entry.public_key != public:
            yield f"{where}: signed with the key {entry.public_key[:16]}…, not with that of the workspace."
        elif not verify_signature(entry.public_key, entry.signature, entry.signed_content()):
            yield f"{where}: the signature is not valid for this line."
        elif previous is not None and (entry.previous, entry.sequence) != (previous, place):
            yield f"{where}: this line does not follow from the one before it: lines were removed or moved."
        previous = None if entry is None else entry.head


def _missing(sessions: Path, entries: Sequence[ChainEntry | None]) -> Iterator[ChainEntry]:
    last = {entry.session_id: entry for entry in entries if entry is not None}
    for entry in last.values():
        if entry.action == ChainAction.STARTED and not (sessions / entry.session_id / MANIFEST).exists():
            yield entry


def _strangers(sessions: Path, entries: Sequence[ChainEntry | None]) -> Iterator[str]:
    started = {(entry.session_id, entry.manifest) for entry in entries if entry is not None}
    for path in sorted(sessions.glob(f"[!.]*/{MANIFEST}")):
        folder = path.parent
        try:
            is_chained = read_manifest(folder).get("version", 1) != 1
        except SessionError:
            is_chained = False
        if is_chained and (folder.name, manifest_digest(folder)) not in started and _has_events(folder):
            yield (
                f"session {folder.name} has no line: the chain was cut, or the folder is not of this workspace, or its "
                "manifest was changed."
            )


def _has_events(folder: Path) -> bool:
    return any(path.stat().st_size for path in folder.glob("events.jsonl*"))


def _append(folder: Path, action: ChainAction, signer: Signer, now: int) -> None:
    path = folder.parent / CHAIN
    lines = _content(path).split(b"\n")[:-1]
    entry = ChainEntry(
        sequence=len(lines) + 1,
        action=action,
        session_id=folder.name,
        manifest=manifest_digest(folder),
        ts_recorded=now,
        previous=digest_bytes(lines[-1]) if lines else _NO_LINE,
        public_key=signer.public,
    )
    entry = replace(entry, signature=signer.sign(entry.signed_content()))
    size = sum(len(line) + 1 for line in lines)
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_WRONLY, 0o644)
        try:
            os.ftruncate(descriptor, size)
            os.lseek(descriptor, size, os.SEEK_SET)
            write_all(descriptor, entry.encode_line() + b"\n")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        sync_folder(path.parent)
    except OSError as error:
        raise SessionError(f"{path}: the line of {folder.name} could not be written ({reason_of(error)}).") from None


def _content(path: Path) -> bytes:
    try:
        return read_bytes(path)
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise SessionError(f"{path}: could not be read ({reason_of(error)}).") from None


def _entry(text: bytes) -> ChainEntry | None:
    try:
        entry = ChainEntry(**json.loads(text))
        is_typed = all(type(value) is (int if name in _NUMBERS else str) for name, value in entry._values().items())
        return entry if is_typed and entry.encode_line() == text and "/" not in entry.session_id else None
    except (ValueError, TypeError, RecursionError):
        return None


_NUMBERS = ("sequence", "ts_recorded")


@contextmanager
def _held(sessions: Path) -> Iterator[None]:
    with ExitStack() as held:
        try:
            make_folder(sessions)
            held.enter_context(held_lock(sessions / _LOCK, _LOCK_SECONDS))
        except TimeoutError as error:
            raise SessionError(f"chain of sessions {error}. Wait for that process, or stop it.") from None
        except OSError as error:
            raise SessionError(f"{sessions / _LOCK}: the chain could not be locked ({reason_of(error)}).") from None
        yield
