"""Atomic writes are durable when they return, and any failure leaves a complete file."""

from __future__ import annotations

import os
import resource
import socket
import stat
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from peak_trade.core.files import create_file, make_folder, read_bytes, read_text, write_bytes, write_text
from tests.core.faults import Calls
from tests.examples import examples

OLD, NEW = b"old", b"the new content"


class Interrupted(BaseException):
    """Stands for Ctrl-C."""


def watched(path, content, **options):
    with pytest.MonkeyPatch.context() as patch:
        calls = Calls(patch, **options)
        try:
            write_bytes(path, content)
        except BaseException as error:
            if type(error) is not options.get("error"):
                raise
            return calls, True
    return calls, False


def test_the_file_is_synced_before_the_rename_and_the_folder_after_it(tmp_path):
    calls, _ = watched(tmp_path / "file", NEW)
    named = [(name, what) for name, what in calls.seen if name in ("fsync", "replace")]
    assert [name for name, _ in named] == ["fsync", "replace", "fsync"]
    assert named[0][1] == len(NEW), "all bytes are written before the first sync"
    assert named[2][1] == "folder"
    assert (tmp_path / "file").read_bytes() == NEW


@pytest.mark.parametrize("error", [OSError, Interrupted], ids=["failed", "interrupted"])
@pytest.mark.parametrize("old", [OLD, None], ids=["replaced", "first"])
def test_a_failure_at_any_call_leaves_one_whole_file_and_no_other(tmp_path, old, error):
    path = tmp_path / "file"
    n_calls = len(watched(path, NEW)[0].seen)
    assert n_calls == 8
    for n in range(n_calls):
        path.unlink(missing_ok=True) if old is None else path.write_bytes(old)
        calls, has_failed = watched(path, NEW, fails_at=n, error=error)
        assert has_failed
        is_renamed = ("replace", str(calls.seen[0][1])) in calls.seen[:n]
        expected = NEW if is_renamed else old
        assert (path.read_bytes() if path.exists() else None) == expected, calls.seen[n]
        assert [each.name for each in tmp_path.iterdir()] == ([] if expected is None else ["file"]), calls.seen[n]


def test_a_full_disk_leaves_the_old_content(tmp_path):
    """A file size limit of the kernel stands for the full disk: write() takes a part, then fails."""
    path = tmp_path / "file"
    write_bytes(path, OLD)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, limits[1]))
        with pytest.raises(OSError, match="too large"):
            write_bytes(path, b"x" * 2_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == OLD
    assert list(tmp_path.iterdir()) == [path]


@given(st.binary(max_size=200), st.binary(max_size=200))
@settings(max_examples=examples(20), suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_was_written_last_is_read_back(tmp_path, first, second):
    for content in (first, second):
        write_bytes(tmp_path / "file", content)
        assert (tmp_path / "file").read_bytes() == content


@given(st.text(max_size=50))
@settings(max_examples=examples(20), suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_text_is_utf_8_with_its_line_ends_as_they_are(tmp_path, text):
    write_text(tmp_path / "file", text)
    assert (tmp_path / "file").read_bytes().decode("utf-8") == text


def test_text_without_an_encoding_leaves_the_old_content(tmp_path):
    write_text(tmp_path / "file", "old")
    with pytest.raises(UnicodeEncodeError):
        write_text(tmp_path / "file", "half of a \ud800")
    assert (tmp_path / "file").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_write_that_can_only_take_a_part_goes_on(tmp_path, monkeypatch):
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, view: write(descriptor, view[:3]))
    write_bytes(tmp_path / "file", NEW)
    assert (tmp_path / "file").read_bytes() == NEW


def test_writers_of_one_file_do_not_disturb_each_other(tmp_path):
    path = tmp_path / "file"
    contents = [bytes([65 + n]) * 5_000 for n in range(4)]
    threads = [
        threading.Thread(target=lambda content=content: [write_bytes(path, content) for _ in range(20)])
        for content in contents
    ]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        assert not path.exists() or path.read_bytes() in contents
    for thread in threads:
        thread.join()
    assert list(tmp_path.iterdir()) == [path]


def test_every_new_folder_is_synced_into_its_parent(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_ino))
    make_folder(tmp_path / "a" / "b")
    assert synced == [tmp_path.stat().st_ino, (tmp_path / "a").stat().st_ino]
    make_folder(tmp_path / "a" / "b")
    assert len(synced) == 2


def test_missing_folders_are_made_and_a_file_in_the_way_is_an_error(tmp_path):
    write_text(tmp_path / "a" / "b" / "file", "text")
    with pytest.raises(OSError, match="File exists"):
        write_text(tmp_path / "a" / "b" / "file" / "under", "text")
    assert (tmp_path / "a" / "b" / "file").read_text() == "text"


def test_a_file_is_created_once_and_for_its_owner_when_asked(tmp_path):
    create_file(tmp_path / "key", b"secret", mode=0o600)
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
    with pytest.raises(FileExistsError):
        create_file(tmp_path / "key", b"other")
    assert (tmp_path / "key").read_bytes() == b"secret"


def test_a_written_file_has_the_mode_that_any_new_file_has(tmp_path):
    (tmp_path / "plain").write_bytes(NEW)
    write_bytes(tmp_path / "file", NEW)
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "plain").stat().st_mode


def pipe_at(path):
    os.mkfifo(path)
    return path


def socket_at(path):
    with socket.socket(socket.AF_UNIX) as open_socket:
        open_socket.bind(str(path))
    return path


IRREGULAR = {
    "folder": lambda folder: folder,
    "pipe": lambda folder: pipe_at(folder / "pipe"),
    "socket": lambda folder: socket_at(folder / "socket"),
    "device": lambda folder: Path("/dev/zero"),
    "link to a device": lambda folder: linked(folder / "link", "/dev/zero"),
}


def linked(path, target):
    path.symlink_to(target)
    return path


@pytest.mark.parametrize("kind", IRREGULAR)
def test_only_a_regular_file_is_read_or_replaced(tmp_path, kind):
    """A pipe without a writer would wait, and a device of zeros would fill the memory."""
    path = IRREGULAR[kind](tmp_path)
    before = sorted(tmp_path.iterdir()), path.stat().st_ino
    for call in (lambda: read_bytes(path), lambda: read_text(path), lambda: write_bytes(path, NEW)):
        with pytest.raises(OSError, match=r"not a file|Is a directory|No such device"):
            call()
    assert (sorted(tmp_path.iterdir()), path.stat().st_ino) == before


def test_a_link_stays_a_link_to_the_replaced_file(tmp_path):
    (tmp_path / "folder").mkdir()
    link = linked(tmp_path / "link", tmp_path / "folder" / "file")
    for content in (OLD, NEW):
        write_bytes(link, content)
        assert (tmp_path / "folder" / "file").read_bytes() == content
    assert link.is_symlink()
    assert len(list(tmp_path.rglob("*"))) == 3
