"""Whether a session's journal is what was written: a named verdict, and the first line that is not.

The chain shows any change by somebody who did not compute it anew; the signed checkpoints show one by somebody who did
but has no key; the seal shows a cut at the end. Nothing here shows what the owner of the key rewrites.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from peak_trade.journal.codec import RawLine, split_line
from peak_trade.journal.files import EVENTS, Checkpoint, events_path, manifest_digest, read_checkpoints, unpacked
from peak_trade.journal.keys import verify_signature


class VerdictKind(StrEnum):
    """What became of a journal."""

    INTACT = "intact"
    UNSEALED = "unsealed"
    EDITED = "edited"
    INSERTED = "inserted"
    DELETED = "deleted"
    REORDERED = "reordered"
    TRUNCATED = "truncated"
    REWRITTEN = "rewritten"
    FORGED = "forged"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a journal, the line where it shows (0: not at a line) and a sentence with the evidence."""

    finding: VerdictKind
    line: int
    n_events: int
    message: str

    @property
    def is_intact(self) -> bool:
        """Whether every line there is was written so: sealed, or still open or killed before its seal."""
        return self.finding in (VerdictKind.INTACT, VerdictKind.UNSEALED)


def verify(folder: Path, public: str | None) -> Verdict:
    """Return the verdict on a session's journal.

    Parameters
    ----------
    folder : Path
        The session's folder.
    public : str or None
        The workspace's public key, 64 hex digits. Without one the signatures are held against the key that the
        checkpoints themselves name, and a journal that was rewritten whole can't be told from the true one: the
        message says so.

    Raises
    ------
    SessionError
        When there is no manifest.

    """
    genesis = manifest_digest(folder)
    content = unpacked(folder)
    if content is None:
        return Verdict(VerdictKind.EDITED, 0, 0, f"{events_path(folder).name}: this can't be unpacked any more.")
    texts = content.split(b"\n")
    torn = texts.pop()
    lines = [split_line(text) for text in texts]
    checkpoints = read_checkpoints(folder)
    signed_manifest = next((mark.manifest for mark in checkpoints if mark is not None), genesis)
    verdict = (
        _chain(lines, signed_manifest)
        or _signatures(checkpoints, public, len(lines))
        or _manifest(checkpoints, genesis, len(lines))
        or _heads(lines, checkpoints, len(torn))
    )
    return verdict or _end(checkpoints, len(lines), len(torn), public)


def _chain(lines: Sequence[RawLine | None], genesis: str) -> Verdict | None:
    """Find the first line that does not follow from the one before, and name how it came about."""
    previous = genesis
    for place, line in enumerate(lines, start=1):
        if line is None or line.sequence != place or line.hash_after(previous) != line.hash:
            return _name(lines, place, previous)
        previous = line.hash
    return None


def _name(lines: Sequence[RawLine | None], place: int, previous: str) -> Verdict:
    def verdict(finding: VerdictKind, message: str) -> Verdict:
        return Verdict(finding, place, len(lines), f"{EVENTS}:{place}: {message}")

    line = lines[place - 1]
    following = lines[place] if place < len(lines) else None
    held = [part.sequence for part in lines if part is not None]
    if line is None:
        return (
            verdict(VerdictKind.INSERTED, "this line is not of the journal's making, and the rest follows without it.")
            if following is not None and following.hash_after(previous, place) == following.hash
            else verdict(VerdictKind.EDITED, "this is no line of a journal any more.")
        )
    if held != list(range(1, len(lines) + 1)) and sorted(held) == list(range(1, len(lines) + 1)):
        return verdict(VerdictKind.REORDERED, f"event {line.sequence} stands where {place} belongs.")
    is_copy = sum(part is not None and part.hash == line.hash for part in lines) > 1
    if _is_moved(lines, place, previous) and not is_copy and _has_place_later(lines, place, line):
        return verdict(VerdictKind.REORDERED, f"the line that belongs here stands elsewhere; here is {line.sequence}.")
    if following is not None and any(following.hash_after(previous, n) == following.hash for n in (place, place + 1)):
        return verdict(VerdictKind.INSERTED, "this line was added: the next one follows from the one before.")
    if held.count(line.sequence) > 1 and line.sequence != place:
        return verdict(VerdictKind.INSERTED, f"event {line.sequence} is there {held.count(line.sequence)} times.")
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
    return verdict(VerdictKind.EDITED, f"event {line.sequence} does not follow from the one before.")


_RENUMBERED = 1_000
"""How many deleted lines are looked for when the rest was renumbered."""


def _is_moved(lines: Sequence[RawLine | None], place: int, previous: str) -> bool:
    return any(part is not None and part.hash_after(previous, place) == part.hash for part in lines[place:])


def _has_place_later(lines: Sequence[RawLine | None], place: int, line: RawLine) -> bool:
    followers = enumerate(lines[place:], start=place + 1)
    return any(part is not None and line.hash_after(part.hash, n) == line.hash for n, part in followers)


def _signatures(checkpoints: Sequence[Checkpoint | None], public: str | None, n_events: int) -> Verdict | None:
    if not checkpoints:
        message = "no signed checkpoint vouches for these events: they were written anew, or the checkpoints removed."
        return Verdict(VerdictKind.REWRITTEN, 0, n_events, message)
    for n, mark in enumerate(checkpoints, start=1):
        where = f"checkpoints.jsonl:{n}"
        if mark is None:
            return Verdict(VerdictKind.FORGED, 0, n_events, f"{where}: this is no checkpoint any more.")
        if public is not None and mark.public_key != public:
            message = (
                f"{where}: signed with the key {mark.public_key[:16]}…, "
                f"the workspace's is {public[:16]}…: the journal was written anew elsewhere."
            )
            return Verdict(VerdictKind.REWRITTEN, 0, n_events, message)
        if not verify_signature(mark.public_key, mark.signature, mark.signed_content()):
            return Verdict(VerdictKind.FORGED, 0, n_events, f"{where}: the signature does not fit what it says.")
    return None


def _manifest(checkpoints: Sequence[Checkpoint | None], genesis: str, n_events: int) -> Verdict | None:
    if all(mark is not None and mark.manifest == genesis for mark in checkpoints):
        return None
    return Verdict(
        VerdictKind.EDITED, 0, n_events, "manifest.json: this is not the manifest that the checkpoints signed."
    )


def _heads(lines: Sequence[RawLine | None], checkpoints: Sequence[Checkpoint | None], n_torn: int) -> Verdict | None:
    marks = [mark for mark in checkpoints if mark is not None]
    for mark in marks:
        if 0 < mark.sequence <= len(lines):
            line = lines[mark.sequence - 1]
            if line is None or line.hash != mark.hash:
                message = (
                    f"{EVENTS}:{mark.sequence}: the chain holds, but its hash is not the one that was signed: "
                    "the journal was written anew."
                )
                return Verdict(VerdictKind.REWRITTEN, mark.sequence, len(lines), message)
    furthest = max(marks, key=lambda mark: mark.sequence)
    if furthest.sequence > len(lines):
        message = f"{EVENTS}: events {len(lines) + 1} to {furthest.sequence} were signed and are missing at the end."
        return Verdict(VerdictKind.TRUNCATED, len(lines), len(lines), message)
    final = next((mark for mark in marks if mark.is_final), None)
    if final is not None and (len(lines) > final.sequence or n_torn or marks[-1] is not final):
        message = f"{EVENTS}: something stands after the seal of event {final.sequence}."
        return Verdict(VerdictKind.INSERTED, final.sequence + 1, len(lines), message)
    return None


def _end(checkpoints: Sequence[Checkpoint | None], n_events: int, n_torn: int, public: str | None) -> Verdict:
    last = checkpoints[-1]
    unsure = "" if public else " No public key was given: who signed is not known."
    if last is not None and last.is_final:
        return Verdict(VerdictKind.INTACT, 0, n_events, f"{n_events} events, chained, signed and sealed.{unsure}")
    signed = last.sequence if last is not None else 0
    torn = f" A torn line of {n_torn} bytes, acknowledged to nobody, follows." if n_torn else ""
    message = f"{n_events} events, chained; signed up to {signed}; not sealed: it runs or was killed.{torn}{unsure}"
    return Verdict(VerdictKind.UNSEALED, 0, n_events, message)
