"""Verification of a session's journal: a verdict, and the first line that was tampered with.

The hash chain detects changes that do not recompute the chain. The signed checkpoints detect a recomputed chain, the
seal detects a truncated end, the session's id in the signed manifest a renamed folder. A journal that the owner of the
key rewrites is not detected.
"""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from itertools import accumulate, zip_longest
from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO

from peak_trade.core.errors import SessionError
from peak_trade.core.files import open_binary
from peak_trade.journal.codec import RawLine, hash_of_line, split_line
from peak_trade.journal.files import (
    EVENTS,
    Checkpoint,
    events_path,
    manifest_digest,
    read_checkpoints,
    read_manifest,
    read_texts,
)
from peak_trade.journal.keys import verify_signature


class VerdictKind(StrEnum):
    """Result of the verification of a journal."""

    INTACT = "intact"
    UNSEALED = "unsealed"
    EDITED = "edited"
    INSERTED = "inserted"
    DELETED = "deleted"
    REORDERED = "reordered"
    TRUNCATED = "truncated"
    REWRITTEN = "rewritten"
    FORGED = "forged"
    FOREIGN = "foreign"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result, the number of the line that shows it (0: no single line) and a sentence with the evidence."""

    finding: VerdictKind
    line: int
    n_events: int
    message: str

    @property
    def is_intact(self) -> bool:
        """Whether no line was changed: the journal is sealed, still open, or interrupted before its seal."""
        return self.finding in (VerdictKind.INTACT, VerdictKind.UNSEALED)


def verify(folder: Path, public: str | None, sessions: Path | None = None) -> Verdict:
    """Return the verdict on a session's journal.

    Parameters
    ----------
    folder : Path
        The session's folder.
    public : str or None
        Public key of the workspace, 64 hex digits. Without it the signatures are checked against the key that the
        checkpoints name, and a journal that was rewritten and signed with another key is not detected; the message
        says so.
    sessions : Path, optional
        Folder of the workspace's sessions. A session in it must be in the folder of its id; one that is elsewhere is a
        copy, under any name. Without it the name of the folder is not checked.

    Raises
    ------
    SessionError
        When the manifest is missing.

    """
    genesis, path = manifest_digest(folder), events_path(folder)
    is_copied = path.suffix == ".gz" and (folder / EVENTS).exists()
    checkpoints = read_checkpoints(folder)
    signed_manifest = next((mark.manifest for mark in checkpoints if mark is not None), genesis)
    try:
        if is_copied and not _are_equal(read_texts(folder / EVENTS), read_texts(path)):
            message = f"{EVENTS}: it lies next to {EVENTS}.gz and differs from it: one of the two is not the journal."
            return Verdict(VerdictKind.EDITED, 0, 0, message)
        chain = _read_chain(path, signed_manifest, {mark.sequence for mark in checkpoints if mark is not None})
        if chain.fault:
            with _open_lines(path) as lines:
                return _name(lines, chain.fault, chain.head)
    except SessionError as error:
        if path.suffix != ".gz":
            raise
        return Verdict(VerdictKind.EDITED, 0, 0, str(error))
    n_events = chain.n_events
    verdict = (
        _signatures(checkpoints, public, n_events)
        or _manifest(checkpoints, genesis, n_events)
        or _heads(chain, checkpoints)
        or _name_of_folder(folder, sessions, n_events)
    )
    notes = _place(folder, sessions) + (_COPY if is_copied else "")
    return verdict or _end(checkpoints, n_events, chain.n_torn, public, notes)


_COPY = f" {EVENTS} next to {EVENTS}.gz is an equal copy; `peak-trade audit tidy` removes it."


def _are_equal(texts: Iterator[bytes], others: Iterator[bytes]) -> bool:
    return all(text == other for text, other in zip_longest(texts, others))


@dataclass(frozen=True, slots=True)
class _Chain:
    """The hash chain of a journal, read line by line.

    `hashes` are those of the lines that a checkpoint names. `fault` is the number of the first line whose hash does not
    follow from `head`, the hash of the line before it; 0 without one.
    """

    n_events: int
    n_torn: int
    hashes: Mapping[int, str]
    head: str
    fault: int = 0


def _read_chain(path: Path, genesis: str, marked: Collection[int]) -> _Chain:
    head, n_events, n_torn = genesis.encode(), 0, 0
    hashes: dict[int, str] = {}
    for place, text in enumerate(read_texts(path), start=1):
        if not text.endswith(b"\n"):
            n_torn = len(text)
            break
        found = hash_of_line(text[:-1], head, place)
        if found is None:
            return _Chain(n_events, 0, hashes, head.decode(), fault=place)
        head, n_events = found, place
        if place in marked:
            hashes[place] = head.decode()
    return _Chain(n_events, n_torn, hashes, head.decode())


class _Lines:
    """The complete lines of a journal's file, read when they are asked for."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        ends = accumulate(len(text) for text in file if text.endswith(b"\n"))
        self._starts = array("q", [0])
        self._starts.extend(ends)

    def __len__(self) -> int:
        return len(self._starts) - 1

    def __getitem__(self, index: int) -> RawLine | None:
        self._file.seek(self._starts[index])
        return split_line(self._file.read(self._starts[index + 1] - self._starts[index])[:-1])

    def since(self, index: int) -> Iterator[RawLine | None]:
        """Yield the lines from an index on."""
        return (self[n] for n in range(index, len(self)))


@contextmanager
def _open_lines(path: Path) -> Iterator[_Lines]:
    """Yield the lines of a file; a compressed one is decompressed into a temporary file."""
    if path.suffix != ".gz":
        with open_binary(path) as file:
            yield _Lines(file)
        return
    with TemporaryFile() as file:
        file.writelines(read_texts(path))
        file.seek(0)
        yield _Lines(file)


def _name_of_folder(folder: Path, sessions: Path | None, n_events: int) -> Verdict | None:
    session_id = read_manifest(folder).get("session_id", folder.name)
    if sessions is None or folder.parent.resolve() != sessions.resolve() or session_id == folder.name:
        return None
    message = f"{folder.name}: this is the journal of session {session_id!r:.80}: the folder was renamed or exchanged."
    return Verdict(VerdictKind.FOREIGN, 0, n_events, message)


def _place(folder: Path, sessions: Path | None) -> str:
    if sessions is None or folder.parent.resolve() == sessions.resolve():
        return ""
    session_id = read_manifest(folder).get("session_id", "")
    return f" It is outside its workspace, a copy of session {session_id}."


def _name(lines: _Lines, place: int, previous: str) -> Verdict:
    def verdict(finding: VerdictKind, message: str) -> Verdict:
        return Verdict(finding, place, len(lines), f"{EVENTS}:{place}: {message}")

    line = lines[place - 1]
    following = lines[place] if place < len(lines) else None
    numbers = [part.sequence for part in lines.since(0) if part is not None]
    if line is None:
        return (
            verdict(
                VerdictKind.INSERTED, "this is not a line of a journal, and the rest of the chain is valid without it."
            )
            if following is not None and following.hash_after(previous, place) == following.hash
            else verdict(VerdictKind.EDITED, "this is not a line of a journal.")
        )
    if numbers != list(range(1, len(lines) + 1)) and sorted(numbers) == list(range(1, len(lines) + 1)):
        return verdict(VerdictKind.REORDERED, f"event {line.sequence} is in the place of event {place}.")
    is_copy = sum(part is not None and part.hash == line.hash for part in lines.since(0)) > 1
    if _is_moved(lines, place, previous) and not is_copy and _has_place_later(lines, place, line):
        return verdict(VerdictKind.REORDERED, f"the line of this place is elsewhere; this is event {line.sequence}.")
    if following is not None and any(following.hash_after(previous, n) == following.hash for n in (place, place + 1)):
        return verdict(VerdictKind.INSERTED, "this line was added: the next line follows from the previous one.")
    if numbers.count(line.sequence) > 1 and line.sequence != place:
        return verdict(VerdictKind.INSERTED, f"event {line.sequence} occurs {numbers.count(line.sequence)} times.")
    if line.sequence > place:
        return verdict(VerdictKind.DELETED, f"events {place} to {line.sequence - 1} are missing.")
    if following is not None and following.hash_after(line.hash) == following.hash:
        return verdict(VerdictKind.EDITED, f"event {line.sequence} is not what its hash was made of.")
    if following is not None and any(
        following.hash_after(line.hash, place + 1 + gone) == following.hash for gone in range(1, _RENUMBERED)
    ):
        return verdict(VerdictKind.DELETED, "one or more events before this one are missing; the rest were renumbered.")
    if following is None or line.hash_after(previous) != line.hash:
        return verdict(VerdictKind.EDITED, f"event {line.sequence} is not what its hash was made of.")
    return verdict(VerdictKind.EDITED, f"event {line.sequence} does not follow from the previous line.")


_RENUMBERED = 1_000
"""Largest number of consecutive deleted lines that is searched for when the rest was renumbered."""


def _is_moved(lines: _Lines, place: int, previous: str) -> bool:
    return any(part is not None and part.hash_after(previous, place) == part.hash for part in lines.since(place))


def _has_place_later(lines: _Lines, place: int, line: RawLine) -> bool:
    followers = enumerate(lines.since(place), start=place + 1)
    return any(part is not None and line.hash_after(part.hash, n) == line.hash for n, part in followers)


def _signatures(checkpoints: Sequence[Checkpoint | None], public: str | None, n_events: int) -> Verdict | None:
    if not checkpoints:
        message = "there is no signed checkpoint: the events were rewritten, or the checkpoints were removed."
        return Verdict(VerdictKind.REWRITTEN, 0, n_events, message)
    for n, mark in enumerate(checkpoints, start=1):
        where = f"checkpoints.jsonl:{n}"
        if mark is None:
            return Verdict(VerdictKind.FORGED, 0, n_events, f"{where}: this is not a checkpoint.")
        if public is not None and mark.public_key != public:
            message = (
                f"{where}: signed with the key {mark.public_key[:16]}…, "
                f"the key of the workspace is {public[:16]}…: the journal was rewritten elsewhere."
            )
            return Verdict(VerdictKind.REWRITTEN, 0, n_events, message)
        if not verify_signature(mark.public_key, mark.signature, mark.signed_content()):
            return Verdict(VerdictKind.FORGED, 0, n_events, f"{where}: the signature is not valid for this checkpoint.")
    return None


def _manifest(checkpoints: Sequence[Checkpoint | None], genesis: str, n_events: int) -> Verdict | None:
    if all(mark is not None and mark.manifest == genesis for mark in checkpoints):
        return None
    return Verdict(
        VerdictKind.EDITED, 0, n_events, "manifest.json: this is not the manifest that the checkpoints signed."
    )


def _heads(chain: _Chain, checkpoints: Sequence[Checkpoint | None]) -> Verdict | None:
    n_events = chain.n_events
    marks = [mark for mark in checkpoints if mark is not None]
    for mark in marks:
        if 0 < mark.sequence <= n_events and chain.hashes[mark.sequence] != mark.hash:
            message = (
                f"{EVENTS}:{mark.sequence}: the chain is valid, but its hash is not the signed one: "
                "the journal was rewritten."
            )
            return Verdict(VerdictKind.REWRITTEN, mark.sequence, n_events, message)
    furthest = max(marks, key=lambda mark: mark.sequence)
    if furthest.sequence > n_events:
        message = f"{EVENTS}: events {n_events + 1} to {furthest.sequence} were signed and are missing at the end."
        return Verdict(VerdictKind.TRUNCATED, n_events, n_events, message)
    final = next((mark for mark in marks if mark.is_final), None)
    if final is not None and (n_events > final.sequence or chain.n_torn or marks[-1] is not final):
        message = f"{EVENTS}: there is content after the seal of event {final.sequence}."
        return Verdict(VerdictKind.INSERTED, final.sequence + 1, n_events, message)
    return None


def _end(
    checkpoints: Sequence[Checkpoint | None], n_events: int, n_torn: int, public: str | None, notes: str
) -> Verdict:
    last = checkpoints[-1]
    unsure = notes + ("" if public else " No public key was given: the signer is not verified.")
    if last is not None and last.is_final:
        return Verdict(VerdictKind.INTACT, 0, n_events, f"{n_events} events, chained, signed and sealed.{unsure}")
    signed = last.sequence if last is not None else 0
    torn = f" An incomplete line of {n_torn} bytes, never acknowledged, follows." if n_torn else ""
    message = f"{n_events} events, chained; signed up to {signed}; not sealed: running or interrupted.{torn}{unsure}"
    return Verdict(VerdictKind.UNSEALED, 0, n_events, message)
