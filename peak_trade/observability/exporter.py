"""The exporter: it follows the journals of sessions and collects their metrics when Prometheus asks for them.

Every line is read, verified and applied once. Nothing is kept on disk: after a restart the counters are computed from
the journals again and have the same values.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from prometheus_client.core import Metric as Family
from prometheus_client.registry import Collector

from peak_trade.core.errors import PeakTradeError, SessionError
from peak_trade.core.files import open_binary
from peak_trade.core.time import NS_PER_SECOND
from peak_trade.journal.codec import RawLine, complete_lines, decode_raw, split_line
from peak_trade.journal.events import Event
from peak_trade.journal.files import (
    CHECKPOINTS,
    EVENTS,
    Checkpoint,
    events_path,
    journal_version,
    manifest_digest,
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
from peak_trade.observability.exposition import Reading, families
from peak_trade.observability.figures import Labels, Sample, SessionFigures
from peak_trade.sessions.store import find_session, keys_folder, session_ids, sessions_folder

SEALED_FOR = 3_600 * NS_PER_SECOND
"""Time for which a session is shown after its end, ns."""

INTERRUPTED_FOR = 7 * 24 * 3_600 * NS_PER_SECOND
"""Time for which an interrupted session is shown after its last line, ns."""

_FOREVER = 2**63
_UNUSED = re.compile(rb'"kind":"(?:act|decision|latency|share|signal|snapshot)"')
"""Events without a metric, which are not decoded. JSON escapes the quotes of a text, so that no text matches."""


class JournalFollower:
    """The events of a journal that grows, each read and verified once.

    `fault` is the first evidence that the journal is truncated, rewritten or unreadable, empty without one; nothing is
    read after it. A change of lines that were read before the last one is seen by `peak-trade audit verify` only.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.fault = ""
        self._final: Checkpoint | None = None
        self._head = ""
        self._n_lines = self._end = self._marks_end = 0
        self._last = b""
        self._marks: dict[int, str] = {}
        """Hashes that checkpoints state of lines that were not read yet."""

        self._recent = bytearray()
        """Hashes of the lines since the last checkpoint, 32 bytes each."""

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
                self._read_checkpoints()
                yield from self._read_lines()
                self._check_end()
            elif not self.is_sealed:
                yield from self._read_packed()
        except (PeakTradeError, OSError) as error:
            self.fault = str(error)

    def _read_packed(self) -> Iterator[tuple[Event, int]]:
        verdict = verify(self.folder, read_public_key(keys_folder()), sessions_folder())
        if not verdict.is_intact:
            raise SessionError(verdict.message)
        self._final = read_checkpoints(self.folder)[-1]
        for line in read_lines(self.folder):
            yield line.event, line.ts_recorded

    def _read_checkpoints(self) -> None:
        """Read the checkpoints first: the lines of every checkpoint are on disk before it is."""
        content = read_since(self.folder / CHECKPOINTS, self._marks_end)
        for text in complete_lines(content):
            self._marks_end += len(text) + 1
            mark = parse_checkpoint(text)
            if mark is None or self._final is not None:
                raise SessionError(f"{CHECKPOINTS}: this is not a checkpoint, or it follows the seal.")
            self._check_signature(mark)
            self._head = self._head or mark.manifest
            self._final = mark if mark.is_final else None
            if mark.sequence > self._n_lines:
                self._marks[mark.sequence] = mark.hash
            elif mark.sequence:
                self._check_recent(mark)
        if not self._head:
            raise SessionError(f"{CHECKPOINTS}: there is no signed checkpoint.")

    def _check_signature(self, mark: Checkpoint) -> None:
        public, manifest = read_public_key(keys_folder()), manifest_digest(self.folder)
        name = read_manifest(self.folder).get("session_id", self.folder.name)
        is_foreign = self.folder.parent.resolve() == sessions_folder().resolve() and name != self.folder.name
        if is_foreign or mark.manifest != manifest or (public is not None and mark.public_key != public):
            raise SessionError(f"{CHECKPOINTS}: signed for another manifest, session or workspace.")
        if not verify_signature(mark.public_key, mark.signature, mark.signed_content()):
            raise SessionError(f"{CHECKPOINTS}: a signature is not valid.")

    def _check_recent(self, mark: Checkpoint) -> None:
        n_later = self._n_lines - mark.sequence
        start = len(self._recent) - 32 * (n_later + 1)
        if start < 0 or self._recent[start : start + 32].hex() != mark.hash:
            raise SessionError(f"{EVENTS}: the hash of event {mark.sequence} is not the signed one.")
        del self._recent[: start + 32]

    def _read_lines(self) -> Iterator[tuple[Event, int]]:
        try:
            file = open_binary(self.folder / EVENTS)
        except FileNotFoundError:
            if self._n_lines:
                raise
            return
        version = journal_version(self.folder)
        with file:
            file.seek(self._end - len(self._last))
            if file.read(len(self._last)) != self._last:
                raise SessionError(f"{EVENTS}: the journal was truncated or replaced.")
            for text in file:
                if not text.endswith(b"\n"):
                    if self.is_sealed:
                        raise SessionError(f"{EVENTS}: there is content after the seal.")
                    break
                line = self._next_line(text)
                if not _UNUSED.search(line.event):
                    yield decode_raw(line, f"{EVENTS}:{line.sequence}", version), line.ts_recorded

    def _next_line(self, text: bytes) -> RawLine:
        if self._final is not None and self._n_lines >= self._final.sequence:
            raise SessionError(f"{EVENTS}: there is content after the seal.")
        line = split_line(text[:-1])
        if line is None or line.sequence != self._n_lines + 1 or line.hash_after(self._head) != line.hash:
            raise SessionError(f"{EVENTS}:{self._n_lines + 1}: this line does not follow from the one before.")
        self._head, self._n_lines, self._end, self._last = line.hash, line.sequence, self._end + len(text), text
        self._recent += bytes.fromhex(line.hash)
        signed = self._marks.pop(self._n_lines, line.hash)
        if signed != line.hash:
            raise SessionError(f"{EVENTS}: the hash of event {self._n_lines} is not the signed one.")
        return line

    def _check_end(self) -> None:
        if self._marks:
            raise SessionError(f"{EVENTS}: events after event {self._n_lines} were signed and are missing.")


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
        samples = [Sample(metrics.JOURNAL_VERIFIED, (), not follower.fault)]
        if not follower.is_sealed:
            samples.append(Sample(metrics.SESSION_RUNNING, (), self._is_running()))
        if figures is not None:
            samples += figures.samples(now, is_sealed=follower.is_sealed)
        return Reading(self.folder.name, self.labels, self.started, samples)

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
        self._sessions: dict[Path, _Session | None] = {}
        self._lock = threading.Lock()

    def follow(self, folder: Path) -> None:
        """Show one more session; an exporter without folders shows it in any case."""
        if self._named is not None:
            self._named.append(folder)

    def collect(self) -> Iterator[Family]:
        """Yield the family of every metric."""
        with self._lock:
            now = self._clock()
            readings = [session.reading(now) for session in self._shown(now)]
            found = list(families(readings, label_session=self._label_session))
        yield from found

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
