"""A journal that was truncated, replaced or rewritten is a metric, never a crash."""

from __future__ import annotations

import json
import os
import shutil
import time
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peak_trade.core.errors import SessionError
from peak_trade.journal.files import (
    CHECKPOINTS,
    EVENTS,
    LOCK,
    MANIFEST,
    read_checkpoints,
    read_content,
    read_events,
    read_manifest,
)
from peak_trade.journal.keys import WorkspaceKey
from peak_trade.journal.writer import JournalWriter, create_session
from peak_trade.observability.exporter import Exporter
from peak_trade.sessions.store import check_journal
from tests.examples import examples, mostly_long
from tests.observability.following import (
    PAPER,
    RECORDED,
    GrowingSession,
    exporter_of,
    is_counter,
    text_of,
    value,
    values_of,
)
from tests.sessions.test_damage import edit, edited


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    """A sealed session in a workspace of its own, with an uncompressed journal."""
    home = tmp_path_factory.mktemp("workspace") / "home"
    shutil.copytree(RECORDED / "keys", home / "keys")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PEAK_TRADE_HOME", str(home))
        growing = GrowingSession(PAPER, home / "sessions" / PAPER.name)
        growing.grow(growing.size)
        yield growing


def is_verified(exporter):
    """The metric, of a session that may have lost its manifest and with it its labels."""
    (found,) = [number for (name, _), number in values_of(exporter).items() if name == "peak_trade_journal_verified"]
    return bool(found)


def is_intact(folder):
    try:
        return check_journal(folder).is_intact
    except SessionError:
        return False


@pytest.mark.parametrize("name", [MANIFEST, EVENTS, CHECKPOINTS])
@given(changes=st.lists(edit, max_size=3))
@settings(max_examples=examples(30), deadline=None)
def test_the_metric_is_the_verdict_of_the_verification(session, name, changes):
    path = session.folder / name
    content = path.read_bytes()
    try:
        path.write_bytes(edited(content, changes))
        exporter = exporter_of(session.folder)
        assert is_verified(exporter) is is_intact(session.folder)
        assert is_verified(exporter) is is_verified(exporter)
        assert text_of(exporter).startswith("# HELP")
    finally:
        path.write_bytes(content)


def damage(folder, kind):
    """Damage a journal that an exporter has read to its last line but five."""
    path = folder / EVENTS
    lines = path.read_bytes().splitlines(keepends=True)
    if kind == "cut":
        path.write_bytes(b"".join(lines[:-9]))
    elif kind == "emptied":
        path.write_bytes(b"")
    elif kind == "rotated":
        path.rename(folder / "events.1")
    elif kind == "replaced":
        path.write_bytes(b"".join([*lines[:-1], lines[-2]]))
    elif kind == "a foreign line":
        path.write_bytes(b"".join([*lines, b'{"event":{"kind":"bar"}}\n']))
    elif kind == "a forged checkpoint":
        with (folder / CHECKPOINTS).open("ab") as file:
            file.write(b"{}\n")


KINDS = ["cut", "emptied", "rotated", "replaced", "a foreign line", "a forged checkpoint"]


@pytest.mark.parametrize("kind", KINDS)
def test_damage_while_the_journal_grows_is_seen_and_no_counter_falls(home, kind):
    shutil.copytree(RECORDED / "keys", home / "keys")
    growing = GrowingSession(PAPER, home / "sessions" / PAPER.name)
    growing.grow(len(b"".join(read_content(PAPER).splitlines(keepends=True)[:-5])))
    exporter = exporter_of(growing.folder)
    before = values_of(exporter)
    assert value(exporter, "journal_verified") == 1
    damage(growing.folder, kind)
    after = values_of(exporter)
    assert value(exporter, "journal_verified") == 0
    assert {series: after[series] for series in before if is_counter(series)} == {
        series: number for series, number in before.items() if is_counter(series)
    }
    growing.grow(growing.size)
    assert value(exporter, "journal_verified") == 0, "a journal that was damaged once stays so until a restart"


@pytest.fixture
def written(home):
    """The writer of a session of a manifest, and an exporter that read its first line."""
    folder, key = home / "sessions" / PAPER.name, WorkspaceKey(home / "keys")
    create_session(folder, read_manifest(PAPER), key, time.time_ns)
    events = iter(read_events(PAPER))
    with JournalWriter(folder, key, time.time_ns, commit_seconds=3600.0) as journal:
        journal.append(next(events))
        journal.checkpoint()
        exporter = exporter_of(folder)
        assert value(exporter, "journal_verified") == 1
        yield folder, journal, events, exporter


def test_two_checkpoints_of_one_line_are_read_at_different_times(written):
    folder, journal, _, exporter = written
    journal.seal()
    assert [mark.sequence for mark in read_checkpoints(folder)] == [0, 1, 1]
    assert value(exporter, "journal_verified") == 1
    assert value(exporter, "session_running") is None


@pytest.mark.parametrize(("place", "is_seen"), [(-1, True), (-2, False)])
def test_the_newest_signature_of_a_reading_is_verified_and_all_of_them_by_a_restart(written, place, is_seen):
    folder, journal, events, exporter = written
    for _ in range(2):
        journal.append(next(events))
        journal.checkpoint()
    marks = (folder / CHECKPOINTS).read_bytes().splitlines(keepends=True)
    marks[place] = marks[place].replace(b'"signature":"', b'"signature":"00')
    record = json.loads(marks[place])
    marks[place] = marks[place].replace(record["signature"].encode(), record["signature"][:128].encode())
    (folder / CHECKPOINTS).write_bytes(b"".join(marks))
    assert value(exporter, "journal_verified") == (0 if is_seen else 1)
    assert value(exporter_of(folder), "journal_verified") == 0
    assert not is_intact(folder)


@pytest.mark.parametrize("name", ["hash", "manifest", "public_key"])
def test_every_other_value_of_a_checkpoint_is_compared(written, name):
    folder, journal, events, exporter = written
    for _ in range(2):
        journal.append(next(events))
        journal.checkpoint()
    marks = (folder / CHECKPOINTS).read_bytes().splitlines(keepends=True)
    marks[-2] = marks[-2].replace(json.loads(marks[-2])[name].encode(), b"0" * 64)
    (folder / CHECKPOINTS).write_bytes(b"".join(marks))
    assert value(exporter, "journal_verified") == 0


def test_a_folder_that_is_gone_and_a_manifest_that_is_unreadable_are_metrics(home):
    shutil.copytree(RECORDED / "keys", home / "keys")
    growing = GrowingSession(PAPER, home / "sessions" / PAPER.name)
    growing.grow(growing.size // 2)
    exporter = exporter_of(growing.folder)
    assert value(exporter, "journal_verified") == 1
    shutil.rmtree(growing.folder)
    assert value(exporter, "journal_verified") == 0
    (home / "sessions" / "odd").mkdir()
    (home / "sessions" / "odd" / MANIFEST).write_bytes(b"[")
    assert value(exporter_of(home / "sessions" / "odd"), "journal_verified", strategy="unknown") == 0


def make_odd(path, kind):
    """Put something else in the place of a file, or nothing."""
    path.unlink(missing_ok=True)
    if kind == "a folder":
        path.mkdir()
    elif kind == "a pipe":
        os.mkfifo(path)
    elif kind == "a link to itself":
        path.symlink_to(path)
    elif kind == "zeros":
        path.write_bytes(bytes(5_000))


ODD = product(
    [MANIFEST, EVENTS, CHECKPOINTS, LOCK, f"{EVENTS}.gz"],
    ["nothing", "a folder", "a pipe", "a link to itself", "zeros"],
    ["new", "known"],
)


@pytest.mark.parametrize(("name", "kind", "what"), mostly_long(ODD, 16))
def test_an_odd_file_of_one_session_leaves_the_other_sessions_alone(home, name, kind, what):
    """The exporter of the workspace answers, whether it knew the session before or not."""
    shutil.copytree(RECORDED / "keys", home / "keys")
    sound, odd = (GrowingSession(PAPER, home / "sessions" / each) for each in ("sound", "odd"))
    for each in (sound, odd):
        each.grow(each.size // 2)
    exporter = Exporter(label_session=True)
    if what == "known":
        text_of(exporter)
    make_odd(odd.folder / name, kind)
    for _ in range(2):
        assert value(exporter, "equity_quote", session="sound") is not None
        found = value(exporter, "journal_verified", session="odd")
        assert found in (0, 1, None)
        assert found is not None or name == MANIFEST
