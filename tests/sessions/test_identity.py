"""A session belongs to its folder and to the chain of its workspace: what is renamed, copied or deleted is noticed."""

from __future__ import annotations

import contextlib
import gzip
import json
import shutil
import time
from pathlib import Path

import pytest

from peak_trade.cli import main
from peak_trade.core.errors import SessionError
from peak_trade.data.store import save_bars
from peak_trade.journal.files import CHECKPOINTS, EVENTS, MANIFEST, read_events, read_manifest
from peak_trade.journal.keys import WorkspaceKey, read_public_key
from peak_trade.journal.session_chain import CHAIN, check_chain, read_chain, start_session
from peak_trade.journal.telemetry import Retention, tidy
from peak_trade.sessions.store import check_journal, keys_folder, session_ids, sessions_folder
from tests.core.faults import Calls
from tests.forking import exit_code, fork
from tests.sessions.running import RUN, sealed_sessions, wavy

PACKED = f"{EVENTS}.gz"
DAY = 86_400 * 10**9


@pytest.fixture(scope="module")
def three_sessions(tmp_path_factory):
    """A workspace with three sealed sessions."""
    return sealed_sessions(tmp_path_factory.mktemp("template") / "home", 3)


@pytest.fixture
def sessions(three_sessions, home):
    """A copy of the workspace; the ids are in the order of the starts."""
    shutil.copytree(three_sessions, home)
    return session_ids()


def verified(capsys, *words, code):
    capsys.readouterr()
    assert main(["audit", "verify", *words, "--json"]) == code
    return json.loads(capsys.readouterr().out)


def chain(heads=None):
    return check_chain(sessions_folder(), read_public_key(keys_folder()), heads or {})


def test_an_untouched_workspace_is_intact(sessions, capsys):
    checked = verified(capsys, code=0)
    assert checked["is_intact"]
    assert list(checked["sessions"]) == sessions
    assert checked["chain"] == {"n_entries": 3, "missing": [], "faults": [], "is_intact": True}
    assert [entry.session_id for entry in read_chain(sessions_folder())] == sessions


def test_a_renamed_folder_is_foreign_and_is_used_for_nothing(sessions, capsys):
    folder = sessions_folder()
    (folder / sessions[0]).rename(folder / "20240101_000000_renamed")
    found = verified(capsys, "20240101_000000_renamed", code=1)
    assert found["finding"] == "foreign"
    assert sessions[0] in found["message"]
    assert main(["replay", "--session", "20240101_000000_renamed"]) == 2
    assert verified(capsys, code=1)["chain"]["missing"] == [sessions[0]]


def test_two_exchanged_folders_are_both_foreign(sessions, capsys):
    folder = sessions_folder()
    (folder / sessions[0]).rename(folder / "aside")
    (folder / sessions[1]).rename(folder / sessions[0])
    (folder / "aside").rename(folder / sessions[1])
    assert [verified(capsys, name, code=1)["finding"] for name in sessions[:2]] == ["foreign", "foreign"]
    assert verified(capsys, sessions[2], code=0)["finding"] == "intact"


@pytest.mark.parametrize("name", [None, "evidence"], ids=["its own name", "another name"])
def test_a_copied_folder_is_intact_and_outside_its_workspace(sessions, capsys, tmp_path, name):
    copy = tmp_path / (name or sessions[0])
    shutil.copytree(sessions_folder() / sessions[0], copy)
    found = verified(capsys, str(copy), code=0)
    assert found["finding"] == "intact"
    assert f"outside its workspace, a copy of session {sessions[0]}" in found["message"]
    key = read_public_key(keys_folder())
    assert "outside its workspace" in verified(capsys, str(copy), "--key", key, code=0)["message"]


def test_a_copy_inside_the_workspace_is_foreign(sessions, capsys):
    shutil.copytree(sessions_folder() / sessions[0], sessions_folder() / "20240101_000000_copy")
    assert verified(capsys, "20240101_000000_copy", code=1)["finding"] == "foreign"


@pytest.mark.parametrize("place", [0, 1, 2], ids=["first", "middle", "last"])
def test_a_deleted_session_is_noticed(sessions, capsys, place):
    shutil.rmtree(sessions_folder() / sessions[place])
    checked = verified(capsys, code=1)
    assert checked["chain"]["missing"] == [sessions[place]]
    assert main(["session", "list"]) == 0
    assert f"{sessions[place]} of" in capsys.readouterr().out


def test_a_session_that_tidy_deleted_is_not_missing_and_its_line_is_signed(sessions, capsys):
    key = WorkspaceKey(keys_folder())
    later = time.time_ns() + 3 * DAY
    done = tidy(sessions_folder(), Retention(delete_after_days=2.0), later, lambda: key)
    assert [each.session_id for each in done] == sessions
    assert session_ids() == []
    assert [entry.action for entry in read_chain(sessions_folder())] == ["started"] * 3 + ["deleted"] * 3
    assert verified(capsys, code=0)["chain"]["is_intact"]


def after_the_tombstone(patch):
    def interrupted(folder):
        raise KeyboardInterrupt

    patch.setattr("peak_trade.journal.telemetry._delete", interrupted)


def between_two_files(patch):
    def interrupted(folder):
        (folder / CHECKPOINTS).unlink()
        raise KeyboardInterrupt

    patch.setattr("peak_trade.journal.telemetry.shutil.rmtree", interrupted)


@pytest.mark.parametrize("crash", [after_the_tombstone, between_two_files])
def test_a_deletion_that_was_interrupted_is_completed_with_one_line(sessions, monkeypatch, capsys, crash):
    key, later = WorkspaceKey(keys_folder()), time.time_ns() + 3 * DAY
    with monkeypatch.context() as patch:
        crash(patch)
        with pytest.raises(KeyboardInterrupt):
            tidy(sessions_folder(), Retention(delete_after_days=2.0), later, lambda: key)
    assert verified(capsys, code=0)["is_intact"]
    tidy(sessions_folder(), Retention(delete_after_days=2.0), later, lambda: key)
    assert [entry.action for entry in read_chain(sessions_folder())] == ["started"] * 3 + ["deleted"] * 3
    assert chain().is_intact
    assert not [path for path in sessions_folder().iterdir() if path.is_dir()]


@pytest.mark.parametrize(
    "change",
    [
        lambda lines: lines[1:],
        lambda lines: [lines[0], lines[2]],
        lambda lines: lines[:2],
        lambda lines: [],
        lambda lines: [lines[1], lines[0], lines[2]],
        lambda lines: [*lines, lines[2]],
        lambda lines: [lines[0].replace(b"started", b"deleted"), *lines[1:]],
        lambda lines: [b"{}\n", *lines[1:]],
        lambda lines: [lines[0].replace(b'"sequence":1', b'"sequence":true'), *lines[1:]],
    ],
    ids=["first cut", "middle cut", "tail cut", "emptied", "exchanged", "repeated", "edited", "no line", "typed"],
)
def test_every_change_of_the_chain_is_noticed_and_no_session_is_blamed_for_it(sessions, capsys, change):
    path = sessions_folder() / CHAIN
    path.write_bytes(b"".join(change(path.read_bytes().splitlines(keepends=True))))
    checked = verified(capsys, code=1)
    assert checked["chain"]["faults"]
    assert all(each["is_intact"] for each in checked["sessions"].values())
    assert main(["session", "list"]) == 0


def test_a_tail_that_was_cut_with_its_session_is_noticed_by_a_head_kept_elsewhere(sessions):
    path = sessions_folder() / CHAIN
    lines = path.read_bytes().splitlines(keepends=True)
    head = read_chain(sessions_folder())[-1].head
    assert chain({"run a": head}).is_intact
    shutil.rmtree(sessions_folder() / sessions[-1])
    path.write_bytes(b"".join(lines[:-1]))
    assert chain().is_intact
    (fault,) = chain({"run a": head}).faults
    assert "run a" in fault


def test_a_recorded_session_keeps_the_head_and_the_workspace_is_checked_against_it(registry, capsys):
    save_bars(wavy(40))
    assert main([word for word in RUN if word != "--no-record"]) == 0
    (name,) = session_ids()
    assert verified(capsys, code=0)["is_intact"]
    shutil.rmtree(sessions_folder() / name)
    (sessions_folder() / CHAIN).unlink()
    (fault,) = verified(capsys, code=1)["chain"]["faults"]
    assert "head of the chain" in fault


def test_a_line_that_a_crash_cut_is_replaced(sessions):
    path = sessions_folder() / CHAIN
    path.write_bytes(path.read_bytes() + b'{"action":"star')
    assert main(RUN) == 0
    assert len(read_chain(sessions_folder())) == 4
    assert chain().is_intact


def test_a_session_that_was_killed_before_its_line_gets_it_when_it_resumes(sessions, monkeypatch):
    path = sessions_folder() / CHAIN
    before = path.read_bytes()

    def killed(*_arguments, **_options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("peak_trade.journal.session_chain._append", killed)
        assert main(RUN) == 130
    (name,) = set(session_ids()) - set(sessions)
    assert path.read_bytes() == before
    assert chain().is_intact
    assert main(["session", "resume", name, "--no-record", "--quiet"]) == 0
    assert [entry.session_id for entry in read_chain(sessions_folder())] == [*sessions, name]
    assert chain().is_intact


def test_a_failure_at_any_step_of_a_start_is_one_line_and_leaves_an_intact_chain(tmp_path):
    key, fails_at, n_calls = WorkspaceKey(tmp_path / "keys"), -1, 0
    while fails_at < n_calls:
        fails_at += 1
        folder = tmp_path / str(fails_at)
        with pytest.MonkeyPatch.context() as patch:
            calls = Calls(patch, fails_at)
            with contextlib.suppress(SessionError):
                start_session(folder / "first", {"session_id": "first", "version": 2}, key, lambda: 1)
        n_calls = len(calls.seen)
        start_session(folder / "second", {"session_id": "second", "version": 2}, key, lambda: 1)
        assert check_chain(folder, key.public, {}).is_intact
    assert n_calls > 20


def start_ten(home, name):
    key = WorkspaceKey(home / "keys")
    for n in range(10):
        start_session(home / "sessions" / f"{name}_{n}", {"session_id": f"{name}_{n}", "version": 2}, key, lambda: 1)


def test_starts_of_several_processes_take_turns(home):
    key = WorkspaceKey(home / "keys")
    start_session(home / "sessions" / "first", {"session_id": "first", "version": 2}, key, lambda: 1)
    running = [fork(lambda name=name: start_ten(home, name)) for name in "ab"]
    assert [exit_code(process) for process in running] == [0, 0]
    checked = check_chain(home / "sessions", key.public, {})
    assert (checked.n_entries, checked.faults) == (21, ())


def test_a_session_whose_name_another_one_takes_gets_the_next_name(sessions, monkeypatch):
    """Two sessions that start in one second choose the same name before either of them has a folder."""
    taken = sessions_folder() / sessions[0]
    named = iter([taken, taken, taken.with_name(f"{taken.name}_99")])
    monkeypatch.setattr("peak_trade.sessions.run._new_folder", lambda *_: next(named))
    assert main(RUN) == 0
    name = f"{sessions[0]}_99"
    assert name in session_ids()
    assert read_manifest(sessions_folder() / name)["session_id"] == name
    assert check_journal(sessions_folder() / name).finding == "intact"
    assert chain().is_intact


def test_a_plain_file_beside_a_compressed_one_is_noticed(sessions, capsys):
    folder = sessions_folder() / sessions[0]
    content = (folder / EVENTS).read_bytes()
    (folder / PACKED).write_bytes(gzip.compress(content, mtime=0))
    found = verified(capsys, sessions[0], code=0)
    assert "equal copy" in found["message"]
    (folder / EVENTS).write_bytes(content[: len(content) // 2])
    found = verified(capsys, sessions[0], code=1)
    assert (found["finding"], "next to" in found["message"]) == ("edited", True)
    assert main(["replay", "--session", sessions[0]]) == 2


@pytest.mark.parametrize("is_equal", [True, False], ids=["equal", "other"])
def test_tidy_removes_a_plain_file_beside_a_compressed_one_only_if_it_is_equal(sessions, is_equal):
    folder, key = sessions_folder() / sessions[0], WorkspaceKey(keys_folder())
    content = (folder / EVENTS).read_bytes()
    packed = gzip.compress(content if is_equal else content[:-1] + b" ", mtime=0)
    (folder / PACKED).write_bytes(packed)
    tidy(sessions_folder(), Retention(compress_after_days=0.0), time.time_ns(), lambda: key)
    assert (folder / EVENTS).exists() is not is_equal
    assert (folder / PACKED).read_bytes() == packed


def test_a_folder_without_an_id_or_of_version_1_is_no_stranger(sessions):
    recorded = next((Path(__file__).with_name("recorded") / "sessions").glob("*paper*"))
    shutil.copytree(recorded, sessions_folder() / recorded.name)
    assert chain().is_intact
    assert read_events(sessions_folder() / recorded.name)
    assert {MANIFEST, CHECKPOINTS} < {path.name for path in recorded.iterdir()}
