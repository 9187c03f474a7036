"""Durability of the journal, and the verdict on every kind of tampering."""

from __future__ import annotations

import errno
import itertools
import os
import resource
import signal
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peak_trade.core.errors import SessionError
from peak_trade.core.values import OrderType, Side, TimeInForce
from peak_trade.journal.codec import chain_hash, encode_line, split_line
from peak_trade.journal.events import BarEvent, Event, OrderEvent, OrderEventKind
from peak_trade.journal.files import CHECKPOINTS, EVENTS, MANIFEST, read_events
from peak_trade.journal.keys import WorkspaceKey, read_public_key
from peak_trade.journal.lock import is_open
from peak_trade.journal.verify import VerdictKind, verify
from peak_trade.journal.writer import JournalWriter, create_session
from tests.examples import examples
from tests.forking import start_forked


def bar(n: int) -> BarEvent:
    return BarEvent(n * 60, "BTC/USDT", 100.0 + n, 101.0 + n, 99.0 + n, 100.5 + n, 2.0)


def order(kind: OrderEventKind, order_id: str = "o-1") -> OrderEvent:
    return OrderEvent(
        1, order_id, "ma_crossover", "BTC/USDT", kind, Side.BUY, OrderType.MARKET, TimeInForce.GTC,
        1.0, 0.0, 1.0, 100.0, 100.0,
    )  # fmt: skip


class Ticks:
    """A clock that counts, so that two journals are equal."""

    def __init__(self) -> None:
        self.count = itertools.count(1)

    def __call__(self) -> int:
        return next(self.count)


@pytest.fixture(scope="module")
def key(tmp_path_factory):
    return WorkspaceKey(tmp_path_factory.mktemp("home") / "keys")


def written(folder: Path, key: WorkspaceKey, events: list[Event], *, seal: bool = True) -> Path:
    create_session(folder, {"session_id": folder.name}, key, Ticks())
    writer = JournalWriter(folder, key, Ticks(), commit_seconds=60.0)
    for event in events:
        writer.append(event)
    writer.seal() if seal else writer.close()
    return folder


def lines_of(folder: Path) -> list[bytes]:
    return (folder / EVENTS).read_bytes().splitlines(keepends=True)


def put(folder: Path, lines: list[bytes]) -> None:
    (folder / EVENTS).write_bytes(b"".join(lines))


def rehashed(folder: Path, lines: list[bytes]) -> list[bytes]:
    """Recompute the hash chain from the manifest on."""
    from peak_trade.journal.files import manifest_digest

    previous, chained = manifest_digest(folder), []
    for n, text in enumerate(lines, start=1):
        raw = split_line(text.rstrip(b"\n"))
        assert raw is not None
        previous = chain_hash(previous, raw.event, n, raw.ts_recorded)
        chained.append(encode_line(raw.event, previous, n, raw.ts_recorded))
    return chained


def renumbered(lines: list[bytes]) -> list[bytes]:
    fresh = []
    for n, text in enumerate(lines, start=1):
        raw = split_line(text.rstrip(b"\n"))
        assert raw is not None
        fresh.append(encode_line(raw.event, raw.hash, n, raw.ts_recorded))
    return fresh


def edit(lines: list[bytes], n: int) -> list[bytes]:
    return [*lines[:n], lines[n].replace(b'"close":1', b'"close":2'), *lines[n + 1 :]]


def swap(lines: list[bytes], n: int) -> list[bytes]:
    return [*lines[:n], lines[n + 1], lines[n], *lines[n + 2 :]]


TAMPERINGS = {
    "edited": lambda lines, n: edit(lines, n),
    "inserted": lambda lines, n: [*lines[:n], lines[n - 1], *lines[n:]],
    "deleted": lambda lines, n: [*lines[:n], *lines[n + 1 :]],
    "reordered": swap,
    "truncated": lambda lines, n: lines[: n + 1],
}


@pytest.mark.parametrize("finding", TAMPERINGS)
@pytest.mark.parametrize("is_renumbered", [False, True], ids=["as-it-was", "renumbered"])
@given(n=st.integers(1, 17))
@settings(max_examples=examples(4), deadline=None)
def test_every_kind_of_tampering_has_its_verdict(tmp_path_factory, key, finding, is_renumbered, n):
    folder = written(tmp_path_factory.mktemp("j") / "s", key, [bar(n) for n in range(20)])
    assert verify(folder, key.public).finding is VerdictKind.INTACT
    lines = TAMPERINGS[finding](lines_of(folder), n)
    put(folder, renumbered(lines) if is_renumbered else lines)
    verdict = verify(folder, key.public)
    assert verdict.finding == finding
    assert not verdict.is_intact


@pytest.mark.parametrize("finding", ["edited", "inserted", "deleted", "reordered"])
def test_a_recomputed_chain_is_found_rewritten(tmp_path, key, finding):
    folder = written(tmp_path / "s", key, [bar(n) for n in range(20)])
    put(folder, rehashed(folder, TAMPERINGS[finding](lines_of(folder), 5)))
    assert verify(folder, key.public).finding in (VerdictKind.REWRITTEN, VerdictKind.TRUNCATED, VerdictKind.INSERTED)
    assert not verify(folder, key.public).is_intact


def test_a_journal_signed_with_another_key_is_found_rewritten(tmp_path, key):
    folder = written(tmp_path / "s", key, [bar(n) for n in range(20)])
    other = written(tmp_path / "elsewhere" / "s", WorkspaceKey(tmp_path / "theirs"), [bar(n + 1) for n in range(20)])
    for name in (EVENTS, CHECKPOINTS):
        (folder / name).write_bytes((other / name).read_bytes())
    assert verify(folder, key.public).finding is VerdictKind.REWRITTEN
    assert "No public key was given" in verify(folder, None).message


@pytest.mark.parametrize(
    ("name", "change", "finding"),
    [
        (CHECKPOINTS, lambda text: b"", VerdictKind.REWRITTEN),
        (CHECKPOINTS, lambda text: text.replace(b'"sequence":20', b'"sequence":19'), VerdictKind.FORGED),
        (MANIFEST, lambda text: text.replace(b"{", b'{"mode":"paper",'), VerdictKind.EDITED),
        (EVENTS, lambda text: text[:-9], VerdictKind.TRUNCATED),
        (EVENTS, lambda text: text + b"{", VerdictKind.INSERTED),
        (EVENTS, lambda text: b"", VerdictKind.TRUNCATED),
        (EVENTS, lambda text: text.replace(b"\n", b"\nhello\n", 1), VerdictKind.INSERTED),
    ],
    ids=["no-checkpoints", "checkpoint", "manifest", "torn-after-seal", "added-after-seal", "emptied", "no-line"],
)
def test_the_other_files_of_a_session_are_verified_too(tmp_path, key, name, change, finding):
    folder = written(tmp_path / "s", key, [bar(n) for n in range(20)])
    path = folder / name
    path.write_bytes(change(path.read_bytes()))
    assert verify(folder, key.public).finding is finding


def test_a_session_that_runs_or_was_killed_is_unsealed(tmp_path, key):
    folder = written(tmp_path / "s", key, [bar(n) for n in range(3)], seal=False)
    verdict = verify(folder, key.public)
    assert (verdict.finding, verdict.is_intact) == (VerdictKind.UNSEALED, True)


@given(cut=st.integers(1, 150))
@settings(max_examples=examples(8), deadline=None)
def test_an_incomplete_last_line_is_removed_and_the_session_goes_on(tmp_path_factory, key, cut):
    folder = written(tmp_path_factory.mktemp("j") / "s", key, [bar(n) for n in range(3)], seal=False)
    whole = (folder / EVENTS).read_bytes()
    (folder / EVENTS).write_bytes(whole + lines_of(folder)[-1][:cut])
    with JournalWriter(folder, key, Ticks()) as writer:
        assert writer.sequence == 3
        writer.append(bar(3))
        writer.seal()
    assert read_events(folder) == [bar(n) for n in range(4)]
    assert verify(folder, key.public).finding is VerdictKind.INTACT


def test_a_sealed_session_takes_nothing_more(tmp_path, key):
    folder = written(tmp_path / "s", key, [bar(1)])
    with pytest.raises(SessionError, match="sealed"):
        JournalWriter(folder, key, Ticks())


def test_a_submitted_order_is_on_disk_when_append_returns(tmp_path, key):
    create_session(tmp_path / "s", {}, key, Ticks())
    with JournalWriter(tmp_path / "s", key, Ticks(), commit_seconds=60.0) as writer:
        writer.append(bar(1))
        assert writer.committed == 0
        writer.append(order(OrderEventKind.REQUESTED))
        writer.append(order(OrderEventKind.SUBMITTED))
        assert writer.committed == 3
        assert len(lines_of(tmp_path / "s")) == 3


def test_an_illegal_order_event_is_refused_and_not_written(tmp_path, key):
    create_session(tmp_path / "s", {}, key, Ticks())
    with JournalWriter(tmp_path / "s", key, Ticks()) as writer:
        with pytest.raises(SessionError, match="ACCEPTED can't follow nothing"):
            writer.append(order(OrderEventKind.ACCEPTED))
        writer.append(bar(1))
    assert read_events(tmp_path / "s") == [bar(1)]


def test_other_events_are_on_disk_within_a_second(tmp_path, key):
    create_session(tmp_path / "s", {}, key, Ticks())
    with JournalWriter(tmp_path / "s", key, Ticks(), commit_seconds=0.01) as writer:
        writer.append(bar(1))
        for _ in range(200):
            if writer.committed == 1:
                break
            writer._thread.join(0.005)
        assert writer.committed == 1


def test_a_second_process_can_not_write_to_the_session(tmp_path, key):
    create_session(tmp_path / "s", {}, key, Ticks())
    is_open_there, say_open = os.pipe()

    def hold():
        writer = JournalWriter(tmp_path / "s", WorkspaceKey(tmp_path / "k"), time.time_ns)
        os.write(say_open, b"open")
        signal.pause()
        writer.close()

    other = start_forked(hold)
    os.close(say_open)
    assert os.read(is_open_there, 4) == b"open"
    os.close(is_open_there)
    assert is_open(tmp_path / "s")
    with pytest.raises(
        SessionError,
        match=rf"s: process {other.pid} \(.+\) has been running this session since 20.*Stop that one first",
    ):
        JournalWriter(tmp_path / "s", key, Ticks())
    other.kill()
    other.join()
    JournalWriter(tmp_path / "s", key, Ticks()).close()
    assert not is_open(tmp_path / "s")


def test_a_full_disk_stops_the_session_and_loses_nothing_that_was_acknowledged(tmp_path, key):
    """A file size limit of the kernel stands for the full disk: write() takes a part, then fails."""
    create_session(tmp_path / "s", {}, key, Ticks())
    writer = JournalWriter(tmp_path / "s", key, Ticks(), commit_seconds=60.0)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    writer.append(bar(1))
    writer.commit()
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, ((tmp_path / "s" / EVENTS).stat().st_size + 100, limits[1]))
        writer.append(order(OrderEventKind.REQUESTED))
        with pytest.raises(SessionError, match="event 2 could not be written to disk"):
            writer.append(order(OrderEventKind.SUBMITTED))
        with pytest.raises(SessionError, match="event 2 could not be written to disk"):
            writer.append(bar(2))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        writer.close()
    assert read_events(tmp_path / "s") == [bar(1)]
    assert verify(tmp_path / "s", key.public).is_intact
    with JournalWriter(tmp_path / "s", key, Ticks()) as again:
        assert again.append(bar(2)) == 2
        again.seal()
    assert verify(tmp_path / "s", key.public).finding is VerdictKind.INTACT


class Copy:
    """A sink that fails in one of its methods."""

    def __init__(self, fails_at: str = "") -> None:
        self.fails_at, self.events, self.is_closed = fails_at, [], False

    def start(self, lines):
        self.fail("start")

    def write(self, lines):
        self.fail("write")
        self.events += [line.event for line in lines]

    def close(self):
        self.is_closed = True
        self.fail("close")

    def fail(self, where):
        if where == self.fails_at:
            raise OSError("no room")


@pytest.mark.parametrize("where", ["start", "write", "close"])
def test_a_sink_that_fails_is_dropped_and_the_journal_goes_on(tmp_path, key, where):
    create_session(tmp_path / "s", {}, key, Ticks())
    broken, whole = Copy(where), Copy()
    writer = JournalWriter(tmp_path / "s", key, Ticks(), sinks=[broken, whole])
    writer.append(bar(1))
    writer.commit()
    writer.append(bar(2))
    writer.seal()
    assert writer.dropped_sinks == ["Copy: no room"]
    assert broken.is_closed
    assert whole.events == read_events(tmp_path / "s") == [bar(1), bar(2)]
    assert verify(tmp_path / "s", key.public).finding is VerdictKind.INTACT
    assert not is_open(tmp_path / "s")


def test_an_order_never_waits_for_a_sink(tmp_path, key):
    class Slow(Copy):
        def write(self, lines):
            assert threading.current_thread() is not threading.main_thread() or is_over
            super().write(lines)

    create_session(tmp_path / "s", {}, key, Ticks())
    copy, is_over = Slow(), False
    writer = JournalWriter(tmp_path / "s", key, Ticks(), sinks=[copy], commit_seconds=60.0)
    writer.append(order(OrderEventKind.REQUESTED))
    writer.append(order(OrderEventKind.SUBMITTED))
    assert writer.committed == 2
    is_over = True
    writer.flush_sinks()
    assert copy.events == read_events(tmp_path / "s")
    writer.close()
    assert writer.dropped_sinks == []


def test_a_sink_gets_what_is_on_disk_while_the_session_runs(tmp_path, key):
    create_session(tmp_path / "s", {}, key, Ticks())
    copy = Copy()
    with JournalWriter(tmp_path / "s", key, Ticks(), sinks=[copy], commit_seconds=0.01) as writer:
        writer.append(bar(1))
        for _ in range(500):
            if copy.events:
                break
            writer._thread.join(0.005)
        assert copy.events == [bar(1)]


class Interrupted(BaseException):
    """Stands for a second Ctrl-C."""


@pytest.mark.parametrize("call", ["write", "fdatasync"])
@pytest.mark.parametrize("is_checkpoint", [False, True], ids=["events", "checkpoint"])
def test_an_interrupted_writer_writes_nothing_more(tmp_path, key, monkeypatch, call, is_checkpoint):
    create_session(tmp_path / "s", {}, key, Ticks())
    writer = JournalWriter(tmp_path / "s", key, Ticks(), commit_seconds=60.0)
    writer.append(bar(1))
    writer.commit()
    true, write = getattr(os, call), os.write

    def interrupted(descriptor, *chunk):
        if chunk:
            write(descriptor, chunk[0][: len(chunk[0]) // 2])
        raise Interrupted

    if not is_checkpoint:
        writer.append(bar(2))
    monkeypatch.setattr(os, call, interrupted)
    with pytest.raises(Interrupted):
        writer.checkpoint()
    monkeypatch.setattr(os, call, true)
    for act in (writer.commit, writer.checkpoint, writer.seal, lambda: writer.append(bar(3))):
        with pytest.raises(SessionError, match="interrupted"):
            act()
    writer.close()
    assert read_events(tmp_path / "s") == [bar(1)]
    with JournalWriter(tmp_path / "s", key, Ticks()) as again:
        again.append(bar(2))
        again.seal()
    assert verify(tmp_path / "s", key.public).finding is VerdictKind.INTACT


def test_a_closed_writer_takes_nothing_more(tmp_path, key):
    create_session(tmp_path / "s", {}, key, Ticks())
    writer = JournalWriter(tmp_path / "s", key, Ticks())
    writer.close()
    with pytest.raises(SessionError, match="closed"):
        writer.append(bar(1))


def test_an_order_is_synced_to_disk_before_it_is_sent(tmp_path, key, monkeypatch):
    """The file is synced after its last byte was written."""
    create_session(tmp_path / "s", {}, key, Ticks())
    path = tmp_path / "s" / EVENTS
    forced = []
    true = os.fdatasync

    def watched(descriptor):
        true(descriptor)
        if os.fstat(descriptor).st_ino == path.stat().st_ino:
            forced.append(path.read_bytes())

    monkeypatch.setattr(os, "fdatasync", watched)
    with JournalWriter(tmp_path / "s", key, Ticks(), commit_seconds=60.0) as writer:
        writer.append(bar(1))
        writer.append(order(OrderEventKind.REQUESTED))
        assert forced == []
        writer.append(order(OrderEventKind.SUBMITTED))
        assert forced == [path.read_bytes()]
        assert len(lines_of(tmp_path / "s")) == 3


@pytest.mark.parametrize("cut", [1, 40, 200])
def test_an_incomplete_checkpoint_is_removed_and_the_session_goes_on(tmp_path, key, cut):
    folder = written(tmp_path / "s", key, [bar(n) for n in range(3)], seal=False)
    with (folder / CHECKPOINTS).open("ab") as file:
        file.write((folder / CHECKPOINTS).read_bytes().splitlines()[-1][:cut])
    assert verify(folder, key.public).finding is VerdictKind.UNSEALED
    with JournalWriter(folder, key, Ticks()) as writer:
        writer.append(bar(3))
        writer.seal()
    assert verify(folder, key.public).finding is VerdictKind.INTACT


def test_unsigned_events_are_counted_when_a_session_is_resumed(tmp_path, key):
    folder = written(tmp_path / "s", key, [bar(n) for n in range(3)], seal=False)
    writer = JournalWriter(folder, key, Ticks(), commit_seconds=60.0)
    assert writer.n_unsigned == 3
    writer.close()
    again = JournalWriter(folder, key, Ticks())
    assert again.n_unsigned == 0
    again.close()


def test_a_session_is_made_atomically(tmp_path, key, monkeypatch):
    create_session(tmp_path / "s", {}, key, Ticks())
    assert verify(tmp_path / "s", key.public).finding is VerdictKind.UNSEALED
    with pytest.raises(SessionError, match="exists"):
        create_session(tmp_path / "s", {}, key, Ticks())

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(SessionError, match=r"could not be made \(No space"):
        create_session(tmp_path / "t", {}, key, Ticks())
    assert [path.name for path in tmp_path.iterdir()] == ["s"]


def test_concurrent_queries_agree_whether_a_session_is_open(tmp_path, key, monkeypatch):
    """Two concurrent queries do not take each other for a writer."""
    folder, answers = written(tmp_path / "s", key, [bar(1)]), []
    close = os.close

    def ask_again(descriptor):
        monkeypatch.setattr(os, "close", close)
        answers.append(is_open(folder))
        close(descriptor)

    monkeypatch.setattr(os, "close", ask_again)
    answers.append(is_open(folder))
    assert answers == [False, False]


def test_the_private_key_is_for_its_owner_only(tmp_path):
    key = WorkspaceKey(tmp_path / "keys")
    assert (os.stat(tmp_path / "keys" / "journal.pem").st_mode & 0o777) == 0o600
    assert WorkspaceKey(tmp_path / "keys").public == key.public == read_public_key(tmp_path / "keys")


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("journal.pem", b"garbage", "not a readable Ed25519 key"),
        ("journal.pem", b"", "not a readable Ed25519 key"),
        ("journal.pem", None, "journal.pem is missing"),
        ("journal.pub", b"0" * 64, "not the public key of journal.pem"),
        ("journal.pub", b"garbage", "not 64 hex digits"),
        ("journal.pub", b"\xff" * 64, "not 64 hex digits"),
    ],
    ids=["garbage", "empty", "gone", "of-another", "garbage-public", "no-text"],
)
def test_a_pair_of_keys_that_does_not_fit_is_refused_by_name(tmp_path, name, content, says):
    keys = tmp_path / "keys"
    WorkspaceKey(keys)
    (keys / name).unlink() if content is None else (keys / name).write_bytes(content)
    with pytest.raises(SessionError, match=says):
        WorkspaceKey(keys)


def test_another_kind_of_key_is_refused(tmp_path):
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    (tmp_path / "keys").mkdir()
    pem = X25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (tmp_path / "keys" / "journal.pem").write_bytes(pem)
    with pytest.raises(SessionError, match="not a readable Ed25519 key"):
        WorkspaceKey(tmp_path / "keys")


def test_what_is_advised_about_a_key_lets_new_journals_verify(tmp_path):
    """With both files moved away a new pair is generated, and the old journal verifies with the old public key."""
    keys = tmp_path / "keys"
    old = WorkspaceKey(keys)
    before = written(tmp_path / "before", old, [bar(1)])
    keys.rename(tmp_path / "away")
    after = written(tmp_path / "after", WorkspaceKey(keys), [bar(1)])
    assert verify(after, read_public_key(keys)).finding is VerdictKind.INTACT
    assert verify(before, read_public_key(keys)).finding is VerdictKind.REWRITTEN
    assert verify(before, old.public).finding is VerdictKind.INTACT
