"""A journal that was truncated, replaced or rewritten is a metric, never a crash."""

from __future__ import annotations

import os
import shutil
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peak_trade.core.errors import SessionError
from peak_trade.journal.files import CHECKPOINTS, EVENTS, LOCK, MANIFEST, read_content
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
