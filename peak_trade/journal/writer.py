"""The writer of a session's journal.

Durability: the SUBMITTED event of an order, and every event before it, is on disk when `append` returns, before the
order is sent. Other events are on disk within the commit interval. After a failed or interrupted write the writer
accepts no more events, so an order that is not on disk is never sent.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

from peak_trade.core.digest import canonical_json, digest_bytes
from peak_trade.core.errors import SessionError
from peak_trade.core.files import create_file, make_folder, read_bytes, rename, sync_folder, write_all
from peak_trade.journal.codec import Line, chain_hash, encode_event, encode_line
from peak_trade.journal.events import TERMINAL, Event, OrderEvent, OrderEventKind
from peak_trade.journal.files import (
    CHECKPOINTS,
    EVENTS,
    MANIFEST,
    Checkpoint,
    is_sealed,
    manifest_digest,
    read_checkpoints,
    read_content,
    read_lines,
)
from peak_trade.journal.keys import Signer
from peak_trade.journal.lock import acquire_lock
from peak_trade.journal.orders import OrderStates
from peak_trade.journal.sinks import Sink, SinkDispatcher

COMMIT_SECONDS = 0.5
CHECKPOINT_EVERY = 10_000
_COMMIT_AT_ONCE = frozenset({OrderEventKind.SUBMITTED})


class SessionExistsError(SessionError):
    """There is a session of this id."""


def create_session(folder: Path, manifest: Mapping[str, Any], signer: Signer, clock: Callable[[], int]) -> None:
    """Make the folder of a session, with its manifest and first checkpoint, atomically and durably.

    `clock` returns the current time, ns UTC. SessionExistsError when the folder exists, SessionError when it can not be
    made.
    """
    draft = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}")
    content = canonical_json(manifest).encode() + b"\n"
    try:
        make_folder(draft)
        create_file(draft / MANIFEST, content)
        create_file(draft / CHECKPOINTS, _first_checkpoint(digest_bytes(content), signer, clock()).encode_line())
        sync_folder(draft)
        rename(draft, folder)
    except OSError as error:
        shutil.rmtree(draft, ignore_errors=True)
        if folder.exists():
            raise SessionExistsError(
                f"{folder}: this session exists. Resume it, or start one with another id."
            ) from None
        raise SessionError(f"{folder}: the folder of the session could not be made ({error.strerror}).") from None


def _first_checkpoint(genesis: str, signer: Signer, now: int) -> Checkpoint:
    return _signed(Checkpoint(0, genesis, genesis, now, False, signer.public), signer)


def _signed(checkpoint: Checkpoint, signer: Signer) -> Checkpoint:
    return replace(checkpoint, signature=signer.sign(checkpoint.signed_content()))


class JournalWriter:
    """Writer of the events of one session. It holds the session's lock until it is closed.

    Parameters
    ----------
    folder : Path
        Folder of a session, made by `create_session`. An interrupted session is resumed: an incomplete last line,
        which was never acknowledged, is removed. Verify a journal before it is resumed.
    signer : Signer
        Signs the checkpoints.
    clock : callable
        Returns the current time, ns UTC, for `ts_recorded`.
    sinks : sequence of Sink
        Receivers of copies of the lines.
    is_recorded : callable
        Predicate of the events that are written; see `telemetry.level_filter`.
    commit_seconds : float
        Commit interval, seconds.
    checkpoint_every : int
        Number of events after which the chain is signed, also within the commit interval.
    is_past : bool
        Whether the orders were sent long ago, as those of an imported log: their SUBMITTED events wait for the commit
        interval, and the state of an order is forgotten when it ends, so that a long log takes little memory.

    Raises
    ------
    SessionError
        When another process writes to the session, or it is sealed.

    """

    def __init__(
        self,
        folder: Path,
        signer: Signer,
        clock: Callable[[], int],
        *,
        sinks: Sequence[Sink] = (),
        is_recorded: Callable[[Event], bool] = lambda event: True,
        commit_seconds: float = COMMIT_SECONDS,
        checkpoint_every: int = CHECKPOINT_EVERY,
        is_past: bool = False,
    ) -> None:
        self.folder = folder
        self.orders = OrderStates()
        self.n_unsigned = 0
        """Number of events after the last checkpoint when the session was resumed."""

        self._signer, self._clock, self._is_recorded = signer, clock, is_recorded
        self._sinks = SinkDispatcher(sinks)
        self._commit_seconds, self._checkpoint_every = commit_seconds, checkpoint_every
        self._is_past = is_past
        self._pending: list[bytes] = []
        self._pending_lines: list[Line] = []
        self._state_lock, self._disk_lock = threading.Lock(), threading.Lock()
        self._fault = ""
        self._sequence = self._committed = 0
        self._checkpointed = -1
        self._hash = self._committed_hash = self._manifest = ""
        self._size = self._file = -1
        self._lock = acquire_lock(folder)
        try:
            self._resume()
        except BaseException:
            self._lock.release()
            raise
        self._is_closed = threading.Event()
        self._thread = threading.Thread(target=self._commit_periodically, name="journal", daemon=True)
        self._thread.start()

    @property
    def sequence(self) -> int:
        """Number of the last appended event; 0 before the first."""
        return self._sequence

    @property
    def committed(self) -> int:
        """Number of the last event that is on disk."""
        return self._committed

    @property
    def fault(self) -> str:
        """Why nothing can be written any more; empty while the journal works."""
        return self._fault

    @property
    def dropped_sinks(self) -> list[str]:
        """The failed sinks, each with its error."""
        return self._sinks.dropped

    def append(self, event: Event) -> int:
        """Append an event and return its sequence number (0 when the telemetry level omits it).

        Raises
        ------
        SessionError
            When the event may not follow the order's last event (nothing is written), or a write to disk failed.

        """
        if not self._is_recorded(event):
            return 0
        is_order = isinstance(event, OrderEvent)
        encoded = encode_event(event)
        with self._state_lock:
            self._check_fault()
            if isinstance(event, OrderEvent):
                self.orders.apply(event)
                if self._is_past and event.event in TERMINAL:
                    del self.orders.by_id[event.order_id]
            try:
                sequence, now = self._sequence + 1, self._clock()
                line_hash = chain_hash(self._hash, encoded, sequence, now)
                self._pending.append(encode_line(encoded, line_hash, sequence, now))
                if self._sinks:
                    self._pending_lines.append(Line(event, sequence, now, line_hash))
                self._sequence, self._hash = sequence, line_hash
            except BaseException as error:
                self._interrupt(error)
                raise
        if is_order and not self._is_past and event.event in _COMMIT_AT_ONCE:  # type: ignore[union-attr]
            self.commit()
        return sequence

    def commit(self) -> None:
        """Write all appended events to disk; SessionError when the write fails."""
        with self._disk_lock:
            self._check_fault()
            try:
                with self._state_lock:
                    chunk, self._pending = b"".join(self._pending), []
                    lines, self._pending_lines = self._pending_lines, []
                    head = (self._sequence, self._hash)
                if not chunk:
                    return
                self._write(chunk)
                self._committed, self._committed_hash = head
            except BaseException as error:
                self._interrupt(error)
                raise
            self._sinks.enqueue(lines)
            if self._committed - self._checkpointed >= self._checkpoint_every:
                self._checkpoint(is_final=False)

    def flush_sinks(self) -> None:
        """Write the lines that are on disk to the sinks, as the writer does after every commit interval."""
        self._sinks.flush()

    def checkpoint(self) -> None:
        """Commit, and sign the head of the chain."""
        self.commit()
        with self._disk_lock:
            if self._committed > self._checkpointed:
                self._checkpoint(is_final=False)

    def seal(self) -> None:
        """Commit, sign the final checkpoint, and close; nothing can be appended to the session afterwards."""
        self.commit()
        with self._disk_lock:
            self._checkpoint(is_final=True)
        self.close()

    def close(self) -> None:
        """Commit and release the session without a seal; it can be resumed."""
        if self._is_closed.is_set():
            return
        self._is_closed.set()
        self._thread.join()
        try:
            if not self._fault:
                self.commit()
        finally:
            self._fault = self._fault or f"{self.folder.name}: this journal is closed; nothing can be added."
            with contextlib.suppress(OSError):
                os.close(self._file)
            try:
                self._sinks.close()
            finally:
                self._lock.release()

    def __enter__(self) -> JournalWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _resume(self) -> None:
        if is_sealed(self.folder):
            raise SessionError(f"{self.folder.name}: this session is sealed; nothing can be added. Start a new one.")
        content = read_content(self.folder)
        self._size = content.rfind(b"\n") + 1
        self._hash = self._manifest = manifest_digest(self.folder)
        lines = list(read_lines(self.folder))
        for line in lines:
            if isinstance(line.event, OrderEvent):
                self.orders.apply(line.event)
            self._sequence, self._hash = line.sequence, line.hash
        self._committed, self._committed_hash = self._sequence, self._hash
        signed = max((mark.sequence for mark in read_checkpoints(self.folder) if mark is not None), default=-1)
        self.n_unsigned = max(0, self._sequence - max(0, signed))
        self._file = os.open(self.folder / EVENTS, os.O_CREAT | os.O_WRONLY, 0o644)
        os.ftruncate(self._file, self._size)
        os.lseek(self._file, self._size, os.SEEK_SET)
        _remove_incomplete_line(self.folder / CHECKPOINTS)
        if signed == self._sequence:
            self._checkpointed = signed
        else:
            self._checkpoint(is_final=False)
        sync_folder(self.folder)
        self._sinks.start(lines)

    def _write(self, chunk: bytes) -> None:
        try:
            write_all(self._file, chunk)
            os.fdatasync(self._file)
        except BaseException as error:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, self._size)
            self._fail(self.folder / EVENTS, f"event {self._committed + 1}", error)
        self._size += len(chunk)

    def _checkpoint(self, *, is_final: bool) -> None:
        unsigned = Checkpoint(
            self._committed, self._committed_hash, self._manifest, self._clock(), is_final, self._signer.public
        )
        line = _signed(unsigned, self._signer).encode_line()
        path = self.folder / CHECKPOINTS
        size = path.stat().st_size if path.exists() else 0
        try:
            with path.open("ab", buffering=0) as file:
                write_all(file.fileno(), line)
                os.fdatasync(file.fileno())
        except BaseException as error:
            with contextlib.suppress(OSError):
                os.truncate(path, size)
            self._fail(path, "a checkpoint", error)
        self._checkpointed = self._committed

    def _fail(self, path: Path, what: str, error: BaseException) -> NoReturn:
        """Accept no more events; raise a SessionError for an error of the disk, else the original exception."""
        if not isinstance(error, OSError):
            self._fault = f"{path}: writing {what} was interrupted ({type(error).__name__}). Resume the session."
            raise error
        self._fault = (
            f"{path}: {what} could not be written to disk ({error.strerror}). The session stops; free disk space and "
            "resume it."
        )
        raise SessionError(self._fault) from None

    def _interrupt(self, error: BaseException) -> None:
        """Accept no more events: an append or a commit was interrupted half-way."""
        self._fault = self._fault or (
            f"{self.folder.name}: writing an event was interrupted ({type(error).__name__}). Resume the session."
        )

    def _commit_periodically(self) -> None:
        while not self._is_closed.wait(self._commit_seconds):
            try:
                self.checkpoint()
            except SessionError:
                return  # every later append raises it again
            self.flush_sinks()

    def _check_fault(self) -> None:
        if self._fault:
            raise SessionError(self._fault)


def _remove_incomplete_line(path: Path) -> None:
    if path.exists():
        content = read_bytes(path)
        if not content.endswith(b"\n"):
            os.truncate(path, content.rfind(b"\n") + 1)
