"""The exporter: it follows the journals of sessions and collects their metrics when Prometheus asks for them.

Every line is read, verified and applied once. Nothing is kept on disk: after a restart the counters are computed from
the journals again and have the same values.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from prometheus_client.core import Metric as Family
from prometheus_client.registry import Collector

from peak_trade.core.digest import digest_bytes
from peak_trade.core.errors import PeakTradeError, SessionError
from peak_trade.core.files import open_binary, read_bytes
from peak_trade.core.time import NS_PER_SECOND
from peak_trade.journal.codec import complete_lines, decode_text, event_and_time, hash_of_line, kind_of, next_hash
from peak_trade.journal.events import Event
from peak_trade.journal.files import (
    CHECKPOINTS,
    EVENTS,
    MANIFEST,
    Checkpoint,
    events_path,
    journal_version,
    parse_checkpoint,
    read_checkpoints,
    read_lines,
    read_manifest,
    read_since,
)
from peak_trade.journal.keys import read_public_key, verify_signature
from peak_trade.journal.lock import is_open
from peak_trade.journal.verify import verify
from peak_trade.observability import metrics
from peak_trade.observability.exposition import Exposition, Reading, families
from peak_trade.observability.figures import Labels, SessionFigures
from peak_trade.sessions.store import find_session, keys_folder, session_ids, sessions_folder

SEALED_FOR = 3_600 * NS_PER_SECOND
"""Time for which a session is shown after its end, ns."""

INTERRUPTED_FOR = 7 * 24 * 3_600 * NS_PER_SECOND
"""Time for which an interrupted session is shown after its last line, ns."""

_FOREVER = 2**63
_UNUSED = frozenset({b"act", b"decision", b"latency", b"share", b"signal", b"snapshot"})
"""Kinds of events without a metric, which are not decoded."""

_BLOCK = 1 << 17
"""Number of bytes of a journal that are read at once."""


class JournalFollower:
    """The events of a journal that grows, each read and verified once.

    `fault` is the first evidence that the journal is truncated, rewritten or unreadable, empty without one; nothing is
    read after it. The first reading verifies every checkpoint. Each later one verifies the signature of the newest
    checkpoint, which covers all lines before it, and compares the other ones with the lines. A change of what was read
    before, other than of the last line, is seen by `peak-trade audit verify` only.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.fault = ""
        self._final: Checkpoint | None = None
        self._manifest = b""
        self._genesis = ""
        self._version = 0
        self._head = b""
        self._n_lines = self._end = self._marks_end = 0
        self._last = b""
        self._marks: dict[int, bytes] = {}
        """Hashes that checkpoints state of lines that were not read yet, by number of the line."""

        self._recent: list[bytes] = []
        """Hashes of the newest lines, from the last one that a checkpoint states."""

    @property
    def is_sealed(self) -> bool:
        """Whether the last checkpoint is final: no line follows."""
        return self._final is not None

    def events(self) -> Iterator[tuple[Event, int]]:
        """Yield the events with a metric since the last call, each with its time of recording, ns UTC."""
        if self.fault:
            return
        try:
            if events_path(self.folder).suffix != ".gz":
                self._read_manifest()
                self._read_checkpoints()
                yield from self._read_lines()
                self._check_end()
            elif not self.is_sealed:
                yield from self._read_packed()
        except (PeakTradeError, OSError, ValueError) as error:
            self.fault = str(error)

    def _read_packed(self) -> Iterator[tuple[Event, int]]:
        verdict = verify(self.folder, read_public_key(keys_folder()), sessions_folder())
        if not verdict.is_intact:
            raise SessionError(verdict.message)
        self._final = read_checkpoints(self.folder)[-1]
        for line in read_lines(self.folder):
            yield line.event, line.ts_recorded

    def _read_manifest(self) -> None:
        content = read_bytes(self.folder / MANIFEST)
        if content == self._manifest:
            return
        name = read_manifest(self.folder).get("session_id", self.folder.name)
        if name != self.folder.name and self.folder.parent.resolve() == sessions_folder().resolve():
            raise SessionError(f"{MANIFEST}: written for another session.")
        self._manifest, self._genesis, self._version = content, digest_bytes(content), journal_version(self.folder)

    def _read_checkpoints(self) -> None:
        """Read the checkpoints first: the lines of every checkpoint are on disk before it is."""
        is_first = not self._marks_end
        content = read_since(self.folder / CHECKPOINTS, self._marks_end)
        texts = list(complete_lines(content))
        public = read_public_key(keys_folder()) if texts else None
        for text in texts:
            mark = parse_checkpoint(text)
            if mark is None or self._final is not None:
                raise SessionError(f"{CHECKPOINTS}: this is not a checkpoint, or it follows the seal.")
            self._marks_end += len(text) + 1
            if mark.manifest != self._genesis or (public is not None and mark.public_key != public):
                raise SessionError(f"{CHECKPOINTS}: signed for another manifest or workspace.")
            if (is_first or text is texts[-1]) and not _is_signed(mark):
                raise SessionError(f"{CHECKPOINTS}: a signature is not valid.")
            self._check_hash(mark)
            self._final = mark if mark.is_final else None
        if not self._marks_end:
            raise SessionError(f"{CHECKPOINTS}: there is no signed checkpoint.")

    def _check_hash(self, mark: Checkpoint) -> None:
        stated, n_later = mark.hash.encode(), self._n_lines - mark.sequence
        self._head = self._head or mark.manifest.encode()
        if not mark.sequence:
            known = stated
        elif n_later < 0:
            known = self._marks.setdefault(mark.sequence, stated)
        else:
            known = self._recent[-1 - n_later] if n_later < len(self._recent) else b""
            del self._recent[: -1 - n_later]
        if known != stated:
            raise SessionError(f"{EVENTS}: the hash of event {mark.sequence} is not the signed one.")

    def _read_lines(self) -> Iterator[tuple[Event, int]]:
        try:
            file = open_binary(self.folder / EVENTS)
        except FileNotFoundError:
            if self._n_lines:
                raise
            return
        with file:
            file.seek(self._end - len(self._last))
            if file.read(len(self._last)) != self._last:
                raise SessionError(f"{EVENTS}: the journal was truncated or replaced.")
            rest = b""
            while block := file.read(_BLOCK):
                *lines, rest = (rest + block).split(b"\n")
                yield from self._follow(lines)
            if rest and self.is_sealed:
                raise SessionError(f"{EVENTS}: there is content after the seal.")

    def _follow(self, lines: list[bytes]) -> Iterator[tuple[Event, int]]:
        """Verify complete lines, without their newlines, and yield their events."""
        marks, recent = self._marks, self._recent
        sequence, head, n_signed = self._n_lines, self._head, max(marks, default=0)
        last = sequence + len(lines) if self._final is None else self._final.sequence
        for text in lines:
            sequence += 1
            found = next_hash(text, head) if sequence <= n_signed else hash_of_line(text, head, sequence)
            if found is None or sequence > last:
                raise SessionError(f"{EVENTS}:{sequence}: this line does not follow from the one before, or the seal.")
            head = found
            if sequence in marks:
                if marks.pop(sequence) != head:
                    raise SessionError(f"{EVENTS}: the hash of event {sequence} is not the signed one.")
                recent.clear()
            recent.append(head)
            kind = kind_of(text)
            if kind not in _UNUSED:
                event, ts_recorded = event_and_time(text)
                yield decode_text(event, EVENTS, self._version, kind), ts_recorded
        if lines:
            self._n_lines, self._head, self._last = sequence, head, lines[-1] + b"\n"
            self._end += sum(map(len, lines)) + len(lines)

    def _check_end(self) -> None:
        if self._marks:
            raise SessionError(f"{EVENTS}: events after event {self._n_lines} were signed and are missing.")


def _is_signed(mark: Checkpoint) -> bool:
    return verify_signature(mark.public_key, mark.signature, mark.signed_content())


@dataclass(slots=True)
class _Session:
    """A session: its labels, its start and, once it is sealed, its end, ns UTC. It is followed while it is shown."""

    folder: Path
    labels: Labels
    started: int
    sealed: int = 0
    _follower: JournalFollower | None = None
    _figures: SessionFigures | None = None

    @classmethod
    def find(cls, folder: Path) -> _Session | None:
        """Return the session of a folder; None for an imported log, which no session wrote."""
        try:
            manifest, marks = read_manifest(folder), read_checkpoints(folder)
        except SessionError:
            return cls(folder, Labels.of("", "", ""), 0)
        first = next((mark.ts_recorded for mark in marks if mark is not None), 0)
        return None if "imported" in manifest else cls(folder, Labels.of_manifest(manifest), first)

    def shown_until(self) -> int:
        """Return the time until which the session is shown, ns UTC."""
        if not self.sealed and self._is_running():
            return _FOREVER
        with suppress(SessionError):
            self.sealed = self.sealed or _sealed_at(self.folder)
        return self.sealed + SEALED_FOR if self.sealed else _last_write(self.folder) + INTERRUPTED_FOR

    def _is_running(self) -> bool:
        try:
            return is_open(self.folder)
        except OSError:
            return False

    def reading(self, now: int) -> Reading:
        """Read the new lines of the journal and return the metrics at `now`, ns UTC."""
        if self._follower is None:
            self._follower = JournalFollower(self.folder)
            self._figures = _figures(self._follower)
        follower, figures = self._follower, self._figures
        if figures is not None:
            _update(follower, figures)
        series = {} if figures is None else figures.series(now, is_sealed=follower.is_sealed)
        series[metrics.JOURNAL_VERIFIED] = (((), float(not follower.fault)),)
        if not follower.is_sealed:
            series[metrics.SESSION_RUNNING] = (((), float(self._is_running())),)
        return Reading(self.folder.name, self.labels, self.started, series)

    def forget(self) -> None:
        """Stop following the journal; a later reading reads it from its start."""
        self._follower = self._figures = None


def _sealed_at(folder: Path) -> int:
    last = (read_checkpoints(folder) or [None])[-1]
    return last.ts_recorded if last is not None and last.is_final else 0


def _last_write(folder: Path) -> int:
    for path in (events_path(folder), folder):
        with suppress(OSError):
            return path.stat().st_mtime_ns
    return 0


def _figures(follower: JournalFollower) -> SessionFigures | None:
    try:
        return SessionFigures.of_manifest(read_manifest(follower.folder))
    except PeakTradeError as error:
        follower.fault = str(error)
        return None


def _update(follower: JournalFollower, figures: SessionFigures) -> None:
    for event, ts_recorded in follower.events():
        try:
            figures.apply(event, ts_recorded)
        except PeakTradeError as error:
            follower.fault = str(error)
            return


def find_folders(names: Iterable[str]) -> list[Path]:
    """Return the folders of sessions by their names; SessionError as of `find_session`, and for an imported log."""
    folders = list(dict.fromkeys(find_session(name) for name in names))
    for folder in folders:
        if _Session.find(folder) is None:
            raise SessionError(f"{folder.name}: this log was imported; only a session that ran here has metrics.")
    return folders


class Exporter(Collector):
    """Collector of the metrics of sessions, for a registry of prometheus_client; safe to call concurrently.

    Parameters
    ----------
    folders : iterable of Path, optional
        Folders of the sessions to show. Without it these are the sessions of the workspace that run or that ended a
        short time ago (SEALED_FOR, INTERRUPTED_FOR), and the earlier ones that share a series with them: a counter then
        falls only when all its sessions are gone.
    label_session : bool
        Whether the session's id is a label.
    clock : callable
        Returns now, ns UTC.

    """

    def __init__(
        self,
        folders: Iterable[Path] | None = None,
        *,
        label_session: bool = False,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self._named = None if folders is None else list(folders)
        self._label_session, self._clock = label_session, clock
        self._exposition = Exposition(label_session=label_session)
        self._sessions: dict[Path, _Session | None] = {}
        self._lock = threading.Lock()

    def follow(self, folder: Path) -> None:
        """Show one more session; an exporter without folders shows it in any case."""
        if self._named is not None:
            self._named.append(folder)

    def text(self) -> bytes:
        """Return the metrics as text in the exposition format, UTF-8."""
        with self._lock:
            return self._exposition.text(self._readings())

    def collect(self) -> Iterator[Family]:
        """Yield the family of every metric."""
        with self._lock:
            found = list(families(self._readings(), label_session=self._label_session))
        yield from found

    def _readings(self) -> list[Reading]:
        now = self._clock()
        return [session.reading(now) for session in self._shown(now)]

    def _shown(self, now: int) -> list[_Session]:
        named = self._named
        folders = [sessions_folder() / name for name in session_ids()] if named is None else named
        for folder in folders:
            if folder not in self._sessions:
                self._sessions[folder] = _Session.find(folder)
        self._sessions = {folder: self._sessions[folder] for folder in folders}
        known = [session for session in self._sessions.values() if session is not None]
        if named is not None:
            return known
        spans = [Span(self._series_of(session), session.started, session.shown_until()) for session in known]
        shown = shown_at(now, spans)
        for index, session in enumerate(known):
            if index not in shown:
                session.forget()
        return [known[index] for index in sorted(shown)]

    def _series_of(self, session: _Session) -> tuple[str, ...]:
        return (*session.labels, session.folder.name if self._label_session else "")


class Span(NamedTuple):
    """The time in which a session is shown for itself, ns UTC, and what names its series."""

    series: tuple[str, ...]
    started: int
    until: int


def shown_at(now: int, spans: Sequence[Span]) -> set[int]:
    """Return the indices of the sessions that are shown at a time, ns UTC.

    A session whose time is over stays while one of the same series is shown that started before that time was over: the
    two were added up.
    """
    shown: set[int] = set()
    first_start: dict[tuple[str, ...], int] = {}
    for index, span in sorted(enumerate(spans), key=lambda each: each[1].until, reverse=True):
        first = first_start.get(span.series, _FOREVER)
        if span.until >= min(now, first):
            shown.add(index)
            first_start[span.series] = min(first, span.started)
    return shown
