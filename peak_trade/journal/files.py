"""File names of a session's folder, and readers of its manifest, events and checkpoints."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peak_trade.core.digest import canonical_json, digest_bytes
from peak_trade.core.errors import SessionError
from peak_trade.journal.codec import Line, complete_lines, read_line
from peak_trade.journal.events import Event

MANIFEST = "manifest.json"
EVENTS = "events.jsonl"
CHECKPOINTS = "checkpoints.jsonl"
LOCK = ".lock"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A signed statement that the line `sequence` has this hash.

    `manifest` is the digest of the manifest. A final checkpoint is the seal of the session: no line follows.
    """

    sequence: int
    hash: str
    manifest: str
    ts_recorded: int
    is_final: bool
    public_key: str
    signature: str = ""

    def signed_content(self) -> bytes:
        """Return the bytes that are signed."""
        return canonical_json({name: getattr(self, name) for name in _SIGNED}).encode()

    def encode_line(self) -> bytes:
        """Return the line of checkpoints.jsonl, with its newline."""
        record = {name: getattr(self, name) for name in (*_SIGNED, "signature")}
        return canonical_json(record).encode() + b"\n"


_SIGNED = ("sequence", "hash", "manifest", "ts_recorded", "is_final", "public_key")
_TYPES = {"sequence": int, "hash": str, "manifest": str, "ts_recorded": int, "is_final": bool, "public_key": str,
          "signature": str}  # fmt: skip


def read_checkpoints(folder: Path) -> list[Checkpoint | None]:
    """Return the checkpoints of a session, with None for a complete line that is not a checkpoint."""
    path = folder / CHECKPOINTS
    if not path.exists():
        return []
    return [_checkpoint(text) for text in complete_lines(_bytes_of(path))]


def _checkpoint(text: bytes) -> Checkpoint | None:
    try:
        record = json.loads(text)
        checkpoint = Checkpoint(**record)
        is_one = all(type(getattr(checkpoint, name)) is kind for name, kind in _TYPES.items())
        return checkpoint if is_one and checkpoint.encode_line() == text + b"\n" else None
    except (ValueError, TypeError, RecursionError):
        return None


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest of a session; SessionError when it is missing or malformed."""
    path = folder / MANIFEST
    try:
        manifest = json.loads(_bytes_of(path), parse_constant=_refuse_constant)
        json.dumps(manifest, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise SessionError(f"{path}: this is not JSON ({error!r:.80}). Run `peak-trade audit verify` on it.") from None
    if not isinstance(manifest, dict) or not all(isinstance(manifest.get(name, {}), dict) for name in _TABLES):
        raise SessionError(f"{path}: this is not the manifest of a session. Run `peak-trade audit verify` on it.")
    return manifest


_TABLES = ("config", "digests")


def _refuse_constant(name: str) -> Any:
    raise ValueError(name)


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise SessionError(f"{path.parent}: there is no {path.name}; this is not the folder of a session.") from None
    except OSError as error:
        raise SessionError(f"{path}: could not be read ({error.strerror}).") from None


def manifest_digest(folder: Path) -> str:
    """Return the SHA-256 of the manifest's bytes, the start of the hash chain."""
    return digest_bytes(_bytes_of(folder / MANIFEST))


def events_path(folder: Path) -> Path:
    """Return the file of the events: plain, or compressed by the retention rule."""
    packed = folder / f"{EVENTS}.gz"
    return packed if packed.exists() else folder / EVENTS


def decompressed(folder: Path) -> bytes | None:
    """Return the decompressed bytes of the journal, empty without a file; None when decompression fails."""
    path = events_path(folder)
    content = _bytes_of(path) if path.exists() else b""
    if path.suffix != ".gz":
        return content
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error):
        return None


def read_content(folder: Path) -> bytes:
    """Return the decompressed bytes of the journal; SessionError when decompression fails."""
    content = decompressed(folder)
    if content is None:
        path = events_path(folder)
        raise SessionError(f"{path}: could not be decompressed. Run `peak-trade audit verify` on the session.")
    return content


def read_lines(folder: Path) -> Iterator[Line]:
    """Yield every complete line of a session in order. The hash chain is not checked; see `verify`."""
    path = events_path(folder)
    for n, text in enumerate(complete_lines(read_content(folder)), start=1):
        yield read_line(text, f"{path}:{n}")


def read_events(folder: Path) -> list[Event]:
    """Return the events of a session in order."""
    return [line.event for line in read_lines(folder)]


def is_sealed(folder: Path) -> bool:
    """Return whether the session is sealed: its last checkpoint is final."""
    checkpoints = read_checkpoints(folder)
    return bool(checkpoints) and checkpoints[-1] is not None and checkpoints[-1].is_final
