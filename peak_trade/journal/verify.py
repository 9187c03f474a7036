"""Verification of a session's journal: a verdict, and the first line that was tampered with.

The hash chain detects changes that do not recompute the chain. The signed checkpoints detect a recomputed chain, the
seal detects a truncated end. A journal that the owner of the key rewrites is not detected.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from peak_trade.journal.codec import RawLine, split_line
from peak_trade.journal.files import EVENTS, Checkpoint, decompressed, events_path, manifest_digest, read_checkpoints
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


def verify(folder: Path, public: str | None) -> Verdict:
    """Return the verdict on a session's journal.

    Parameters
    ----------
    folder : Path
        The session's folder.
    public : str or None
        Public key of the workspace, 64 hex digits. Without it the signatures are checked against the key that the
        checkpoints name, and a journal that was rewritten and signed with another key is not detected; the message
        says so.

    Raises
    ------
    SessionError
        When the manifest is missing.

    """
    genesis = manifest_digest(folder)
    content = decompressed(folder)
    if content is None:
        return Verdict(VerdictKind.EDITED, 0, 0, f"{events_path(folder).name}: could not be decompressed.")
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
    """Return the verdict on the first line whose hash does not follow from the previous line, or None."""
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
    numbers = [part.sequence for part in lines if part is not None]
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
    is_copy = sum(part is not None and part.hash == line.hash for part in lines) > 1
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


def _is_moved(lines: Sequence[RawLine | None], place: int, previous: str) -> bool:
    return any(part is not None and part.hash_after(previous, place) == part.hash for part in lines[place:])


def _has_place_later(lines: Sequence[RawLine | None], place: int, line: RawLine) -> bool:
    followers = enumerate(lines[place:], start=place + 1)
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


def _heads(lines: Sequence[RawLine | None], checkpoints: Sequence[Checkpoint | None], n_torn: int) -> Verdict | None:
    marks = [mark for mark in checkpoints if mark is not None]
    for mark in marks:
        if 0 < mark.sequence <= len(lines):
            line = lines[mark.sequence - 1]
            if line is None or line.hash != mark.hash:
                message = (
                    f"{EVENTS}:{mark.sequence}: the chain is valid, but its hash is not the signed one: "
                    "the journal was rewritten."
                )
                return Verdict(VerdictKind.REWRITTEN, mark.sequence, len(lines), message)
    furthest = max(marks, key=lambda mark: mark.sequence)
    if furthest.sequence > len(lines):
        message = f"{EVENTS}: events {len(lines) + 1} to {furthest.sequence} were signed and are missing at the end."
        return Verdict(VerdictKind.TRUNCATED, len(lines), len(lines), message)
    final = next((mark for mark in marks if mark.is_final), None)
    if final is not None and (len(lines) > final.sequence or n_torn or marks[-1] is not final):
        message = f"{EVENTS}: there is content after the seal of event {final.sequence}."
        return Verdict(VerdictKind.INSERTED, final.sequence + 1, len(lines), message)
    return None


def _end(checkpoints: Sequence[Checkpoint | None], n_events: int, n_torn: int, public: str | None) -> Verdict:
    last = checkpoints[-1]
    unsure = "" if public else " No public key was given: the signer is not verified."
    if last is not None and last.is_final:
        return Verdict(VerdictKind.INTACT, 0, n_events, f"{n_events} events, chained, signed and sealed.{unsure}")
    signed = last.sequence if last is not None else 0
    torn = f" An incomplete line of {n_torn} bytes, never acknowledged, follows." if n_torn else ""
    message = f"{n_events} events, chained; signed up to {signed}; not sealed: running or interrupted.{torn}{unsure}"
    return Verdict(VerdictKind.UNSEALED, 0, n_events, message)
