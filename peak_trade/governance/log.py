"""The governance log of a workspace: policies, decisions with their evidence, approvals used or revoked, drills.

It is a journal: hash-chained, signed with the workspace's key, append-only. It is verified before it is believed. One
process at a time appends, and an entry is on disk and signed when the method returns; a workspace that cannot be
written refuses. Entries that are not signed, which a process left that was killed while it wrote, do not count, and the
next entry replaces them.
"""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from peak_trade.core.digest import canonical_json, digest_of, package_digest
from peak_trade.core.errors import GovernanceError, PeakTradeError, shortened
from peak_trade.core.files import make_folder, read_bytes, reason_of, sync_file
from peak_trade.core.lock import held_lock
from peak_trade.governance.approval import check_approval_id, check_clock
from peak_trade.governance.decision import Decision, is_reproduced
from peak_trade.governance.policy import PolicyFile, check_adoption
from peak_trade.governance.scope import Scope
from peak_trade.governance.state import GovernanceState, fold
from peak_trade.journal.codec import Line
from peak_trade.journal.events import GovernanceAction, GovernanceEvent
from peak_trade.journal.files import CHECKPOINTS, EVENTS, MANIFEST, manifest_digest, read_checkpoints, read_lines
from peak_trade.journal.keys import PUBLIC_NAME, WorkspaceKey, read_public_key
from peak_trade.journal.verify import verify
from peak_trade.journal.versions import JOURNAL_VERSION
from peak_trade.journal.writer import JournalWriter, create_session

FOLDER = "governance"
_LOCK = ".governance.lock"
_LOCK_SECONDS = 30.0
_SHORTEST_NAME = 12
_LONGEST_DETAIL = 80


@dataclass(frozen=True, slots=True)
class GovernanceCheck:
    """Result of a verification of the log.

    `n_entries` is the number of entries, `head` the hash of the last one, and `faults` has a sentence per fault.
    `n_unsigned` lines that are not signed follow. `n_of_other_versions` decisions were made by another version of
    peak_trade, whose rules and sentences may differ: they are in the signed chain, and only that version makes them
    again.
    """

    n_entries: int
    head: str
    faults: tuple[str, ...]
    n_unsigned: int = 0
    n_of_other_versions: int = 0

    @property
    def is_intact(self) -> bool:
        """Whether the log has no fault."""
        return not self.faults


@dataclass(frozen=True, slots=True)
class GovernanceEntry:
    """An entry of the log for readers: `content` is its canonical JSON, `hash` that of its line."""

    sequence: int
    ts_recorded: int
    action: GovernanceAction
    actor: str
    subject: str
    summary: str
    content: str
    hash: str


class GovernanceLog:
    """The governance log in the folder `governance` of a workspace.

    Parameters
    ----------
    workspace : Path
        Folder of the workspace; its folder `keys` holds the key that signs the log.
    clock : callable
        Returns now, ns UTC.

    """

    def __init__(self, workspace: Path, clock: Callable[[], int] = time.time_ns) -> None:
        self.folder = workspace / FOLDER
        self._workspace, self._clock = workspace, clock

    @property
    def log_id(self) -> str:
        """Id of the log, which no other log has: the digest of its manifest. Empty before the first entry."""
        return manifest_digest(self.folder) if self._exists() else ""

    def state(self) -> GovernanceState:
        """Return the state after all entries; GovernanceError if the log does not verify."""
        keys = self._workspace / "keys"
        if not self._exists():
            return GovernanceState()
        stamps = _stamps(self.folder, keys)
        is_settled = max(changed for _, changed, *_ in stamps) < time.time_ns() - _CLOCK_STEP
        faults, state = _verified(self.folder, keys, stamps) if is_settled else _verify(self.folder, keys)
        if faults:
            raise GovernanceError(f"governance log: {faults[0]} See `peak-trade governance verify`.")
        return state

    def entries(self) -> list[GovernanceEntry]:
        """Return the entries, oldest first; nothing is verified. GovernanceError for a malformed entry."""
        return [_entry_of(line) for line in _signed_lines(self.folder)] if self._exists() else []

    def scope_of(self, decision: str) -> Scope:
        """Return the scope of a recorded decision, by its digest or the first 12 digits of it or more.

        GovernanceError if there is none.
        """
        for entry in reversed(self.entries()):
            is_named = entry.subject.startswith(decision) and len(decision) >= _SHORTEST_NAME
            if is_named and entry.action is GovernanceAction.DECIDED:
                return Scope.parse(json.loads(entry.content)["evidence"]["scope"], f"decision {decision}")
        raise GovernanceError(f"decision {decision!r:.80} is not in the governance log. `peak-trade ready` prints it.")

    def verify(self, kept: Mapping[str, str] | None = None) -> GovernanceCheck:
        """Check every entry: chain, signatures, order of times, adopted policies, and that each decision is made again.

        Parameters
        ----------
        kept : mapping of str, optional
            Hashes of entries and digests of decisions that are kept elsewhere, by the name of the place, such as the
            decision in the manifest of a session: each must be in the log, or entries were removed.

        """
        if not self._exists():
            return GovernanceCheck(0, "", tuple(_removed(kept or {}, ())))
        faults, state = _verify(self.folder, self._workspace / "keys", recomputes=True)
        if faults:
            return GovernanceCheck(state.n_entries, state.head, faults)
        lines = list(read_lines(self.folder))
        events = [line.event for line in lines if isinstance(line.event, GovernanceEvent)]
        known = {line.hash for line in lines} | {event.subject for event in events}
        n_others = sum(_package_of(event) not in ("", package_digest()) for event in events)
        missing = tuple(_removed(kept or {}, known))
        return GovernanceCheck(state.n_entries, state.head, missing, len(lines) - state.n_entries, n_others)

    def adopt(self, new: PolicyFile, envelope: bytes | None = None, actor: str = "") -> GovernanceState:
        """Put a policy in force; GovernanceError if it does not follow or its signatures do not suffice."""
        with self._writing() as (state, append):
            signers = check_adoption(new, state.policy, envelope)
            content = {
                "policy": new.content.decode(),
                "envelope": None if envelope is None else envelope.decode("ascii"),
                "signers": list(signers),
            }
            append(GovernanceAction.POLICY_ADOPTED, new.digest, actor, canonical_json(content))
        return self.state()

    def append_decision(self, decision: Decision) -> None:
        """Append a decision, allowed or refused, with its evidence."""
        with self._writing(is_clock_checked=False) as (state, append):
            content = canonical_json(decision.to_dict())
            if not is_reproduced(content, state):
                raise GovernanceError("the governance log changed after the decision was made. Check again.")
            stored = canonical_json(decision.to_dict() | {"package": package_digest()})
            append(GovernanceAction.DECIDED, decision.digest(), "", stored)

    def use_approval(self, approval_id: str, session_id: str) -> None:
        """Use up an approval for a session; GovernanceError if it was revoked, or used by another session."""
        with self._writing() as (state, append):
            if approval_id in state.revoked:
                raise GovernanceError(f"approval {approval_id} was revoked.")
            used = state.used.get(approval_id)
            if used is not None and used != session_id:
                raise GovernanceError(f"approval {approval_id} was used by session {used}; each session needs its own.")
            if used is None:
                append(GovernanceAction.APPROVAL_USED, approval_id, "", canonical_json({"session_id": session_id}))

    def revoke(self, approval_id: str, actor: str, reason: str) -> None:
        """Revoke an approval; this cannot be undone. No key is needed: a revocation only stops trading."""
        check_approval_id(approval_id)
        if not actor.strip():
            raise GovernanceError("a revocation names the person who revokes.")
        with self._writing(is_clock_checked=False) as (state, append):
            if approval_id not in state.revoked:
                content = canonical_json({"reason": reason})
                append(GovernanceAction.APPROVAL_REVOKED, approval_id, actor, content)

    def append_drill(self, actor: str, passed: bool, detail: str) -> None:
        """Append that a named person exercised the kill switch, and whether it halted trading."""
        with self._writing() as (_, append):
            outcome = "passed" if passed else "failed"
            append(GovernanceAction.DRILLED, outcome, actor, canonical_json({"detail": detail}))

    def _exists(self) -> bool:
        return (self.folder / MANIFEST).exists()

    @contextmanager
    def _writing(self, *, is_clock_checked: bool = True) -> Iterator[tuple[GovernanceState, _Append]]:
        """Hold the log alone; the state is verified, and the clock of the entries never goes back."""
        with ExitStack() as held:
            try:
                make_folder(self._workspace)
                held.enter_context(held_lock(self._workspace / _LOCK, _LOCK_SECONDS))
                state = self.state()
                now = self._clock()
                if is_clock_checked:
                    check_clock(state.clock_floor, now)
                signer = WorkspaceKey(self._workspace / "keys")
                if not self._exists():
                    manifest = {"version": JOURNAL_VERSION, "session_id": FOLDER, "nonce": secrets.token_hex(16)}
                    create_session(self.folder, manifest, signer, lambda: now)
                _remove_unsigned(self.folder, state.n_entries)
            except TimeoutError as error:
                raise GovernanceError(f"governance log: {error}.") from None
            except OSError as error:
                raise GovernanceError(f"{self.folder}: the log could not be written ({reason_of(error)}).") from None

            def append(action: GovernanceAction, subject: str, actor: str, content: str) -> None:
                dated = max(now, state.clock_floor)
                try:
                    with JournalWriter(self.folder, signer, lambda: dated) as journal:
                        journal.append(GovernanceEvent(now, action, subject, actor, content))
                        journal.checkpoint()
                except OSError as error:
                    raise GovernanceError(
                        f"{self.folder}: the log could not be written ({reason_of(error)})."
                    ) from None

            yield state, append


_Append = Callable[[GovernanceAction, str, str, str], None]


def _verify(folder: Path, keys: Path, *, recomputes: bool = False) -> tuple[tuple[str, ...], GovernanceState]:
    """Return the faults of a log, and the state after its signed entries."""
    state, faults = GovernanceState(), []
    try:
        verdict = verify(folder, read_public_key(keys))
        if not verdict.is_intact:
            faults.append(verdict.message)
        state = GovernanceState(log_id=manifest_digest(folder))
        for line in _signed_lines(folder):
            if recomputes and not _follows(line, state):
                faults.append(f"entry {line.sequence}: the decision does not follow from its evidence.")
            state = fold(state, [line])
    except (PeakTradeError, KeyError, TypeError, ValueError, AttributeError) as error:
        faults.append(str(error) or "an entry is malformed.")
    return tuple(faults), state


@lru_cache(maxsize=4)
def _verified(folder: Path, keys: Path, stamps: tuple[_Stamp, ...]) -> tuple[tuple[str, ...], GovernanceState]:
    """Return the result of `_verify` for files that have not changed since."""
    return _verify(folder, keys)


_Stamp = tuple[str, int, int, int, int]
"""Path, time of the last change (ns), time of the content (ns), size and number of a file."""

_CLOCK_STEP = 100_000_000
"""Time after a change, ns, in which another one may have the same stamp."""


def _stamps(folder: Path, keys: Path) -> tuple[_Stamp, ...]:
    found = []
    for path in (folder, folder / MANIFEST, folder / EVENTS, folder / CHECKPOINTS, keys, keys / PUBLIC_NAME):
        with suppress(OSError):
            status = path.stat()
            found.append((str(path), status.st_ctime_ns, status.st_mtime_ns, status.st_size, status.st_ino))
    return tuple(found)


def _signed_lines(folder: Path) -> Iterator[Line]:
    signed = max((mark.sequence for mark in read_checkpoints(folder) if mark is not None), default=0)
    return (line for line in read_lines(folder) if line.sequence <= signed)


def _remove_unsigned(folder: Path, n_signed: int) -> None:
    """Remove the lines after the signed ones, which were never acknowledged."""
    path = folder / EVENTS
    lines = read_bytes(path).splitlines(keepends=True) if path.exists() else []
    if lines[n_signed:]:
        os.truncate(path, sum(map(len, lines[:n_signed])))
        sync_file(path)


def _removed(kept: Mapping[str, str], known: Collection[str]) -> Iterator[str]:
    for place, digest in kept.items():
        if digest not in known:
            yield f"{place} names an entry that is not in the log: entries were removed."


def _follows(line: Line, state: GovernanceState) -> bool:
    """Return whether an entry is no decision, or is the one of its digest and follows from its evidence."""
    event = line.event
    if not isinstance(event, GovernanceEvent) or event.action is not GovernanceAction.DECIDED:
        return True
    content = {name: value for name, value in json.loads(event.content).items() if name != "package"}
    if digest_of(content) != event.subject:
        return False
    return _package_of(event) != package_digest() or is_reproduced(canonical_json(content), state)


def _package_of(event: GovernanceEvent) -> str:
    """Return the digest of the package that made a decision; empty for another entry."""
    if event.action is not GovernanceAction.DECIDED:
        return ""
    return str(json.loads(event.content).get("package", "unknown"))


def _entry_of(line: Line) -> GovernanceEntry:
    event = line.event
    if not isinstance(event, GovernanceEvent):
        raise GovernanceError(f"entry {line.sequence}: a {event.kind} event is no entry of a governance log.")
    try:
        summary = _summary(event, json.loads(event.content))
    except (ValueError, KeyError, TypeError, RecursionError):
        raise GovernanceError(f"entry {line.sequence}: its content is malformed.") from None
    return GovernanceEntry(
        line.sequence, line.ts_recorded, event.action, event.actor, event.subject, summary, event.content, line.hash
    )


def _summary(event: GovernanceEvent, content: dict[str, Any]) -> str:
    match event.action:
        case GovernanceAction.POLICY_ADOPTED:
            signers = ", ".join(content["signers"]) or "nobody, as the first version"
            return f"policy {event.subject[:12]}, signed by {signers}"
        case GovernanceAction.DECIDED:
            failed = [line["name"] for line in content["lines"] if not line["passed"]]
            stage = content["evidence"]["scope"]["stage"]
            return f"{stage} session allowed" if not failed else f"{stage} session refused: {', '.join(failed)}"
        case GovernanceAction.APPROVAL_USED:
            return f"approval {event.subject} by session {content['session_id']}"
        case GovernanceAction.APPROVAL_REVOKED:
            return f"approval {event.subject}: {content['reason'] or 'no reason given'}"
        case GovernanceAction.DRILLED:
            return f"kill switch {event.subject}: {shortened(content['detail'], _LONGEST_DETAIL)}"
