"""A page of a journal's lines is the same slice of all of its complete lines, whatever its file is and was."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peak_trade.core.errors import SessionError
from peak_trade.journal import files
from peak_trade.journal.files import LineIndex
from tests.examples import examples

SIZES = st.lists(st.integers(0, 40), max_size=30)


@pytest.fixture(scope="module")
def short_steps() -> Iterator[None]:
    """Places and blocks that are shorter than a line."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "STEP", 32)
        patch.setattr(files, "_BLOCK", 7)
        yield


def lines_of(sizes: list[int]) -> bytes:
    """Lines of about these sizes, all different; the last one lacks its newline."""
    return b"\n".join(b"%d" % place + b"x" * size for place, size in enumerate(sizes))


def assert_pages(index: LineIndex, content: bytes, limit: int) -> None:
    lines = content.split(b"\n")[:-1]
    for offset in range(len(lines) + 2):
        assert index.page(offset, limit) == (len(lines), lines[offset : offset + limit])


@given(SIZES, st.integers(1, 12), st.data())
@settings(max_examples=examples(100))
def test_pages_of_a_growing_file(short_steps, tmp_path_factory, sizes, limit, data):
    content = lines_of(sizes)
    path = tmp_path_factory.mktemp("growing") / "events.jsonl"
    index = LineIndex(path)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(content)), max_size=3), label="cuts"))
    written = 0
    for cut in [*cuts, len(content)]:
        with path.open("ab") as file:
            file.write(content[written:cut])
        written = cut
        assert_pages(index, content[:cut], limit)


@given(SIZES, st.integers(1, 12), st.integers(0, 400))
@settings(max_examples=examples(100))
def test_pages_of_a_compressed_file_of_two_members(short_steps, tmp_path_factory, sizes, limit, cut):
    content = lines_of(sizes)
    path = tmp_path_factory.mktemp("packed") / "events.jsonl.gz"
    path.write_bytes(gzip.compress(content[:cut]) + gzip.compress(content[cut:]))
    assert_pages(LineIndex(path), content, limit)


@given(SIZES, SIZES, st.booleans())
@settings(max_examples=examples(100))
def test_pages_of_a_file_that_is_replaced(short_steps, tmp_path_factory, first, second, is_packed):
    path = tmp_path_factory.mktemp("replaced") / ("events.jsonl.gz" if is_packed else "events.jsonl")
    index = LineIndex(path)
    for content in (lines_of(first), lines_of(second)):
        new = path.with_name("new")
        new.write_bytes(gzip.compress(content) if is_packed else content)
        new.replace(path)
        assert_pages(index, content, 3)


def test_many_threads_read_the_same_pages(short_steps, tmp_path):
    content = b"".join(b"%d\n" % n for n in range(2_000))
    (tmp_path / "events.jsonl.gz").write_bytes(gzip.compress(content))
    index, lines = LineIndex(tmp_path / "events.jsonl.gz"), content.split(b"\n")[:-1]
    offsets = range(0, 2_010, 30)
    with ThreadPoolExecutor(8) as threads:
        pages = list(threads.map(lambda offset: index.page(offset, 5), offsets))
    assert pages == [(2_000, lines[offset : offset + 5]) for offset in offsets]


def test_a_missing_file_is_an_empty_one(tmp_path):
    assert LineIndex(tmp_path / "events.jsonl").page(0, 5) == (0, [])


def test_a_page_is_read_without_the_lines_before_it(short_steps, tmp_path, monkeypatch):
    path = tmp_path / "events.jsonl"
    path.write_bytes(b"line\n" * 2_000)
    index = LineIndex(path)
    index.page(0, 1)
    read: list[int] = []
    blocks = LineIndex._read
    monkeypatch.setattr(LineIndex, "_read", lambda *args: (read.append(len(each[1])) or each for each in blocks(*args)))
    assert index.page(1_900, 1)[1] == [b"line"]
    assert 0 < sum(read) <= files.STEP + 3 * files._BLOCK


@pytest.mark.parametrize("content", [b"no gzip", gzip.compress(b"a\n" * 999)[:-9]], ids=["other", "cut"])
def test_a_damaged_compressed_file_is_one_line(tmp_path, content):
    path = tmp_path / "events.jsonl.gz"
    path.write_bytes(content)
    index = LineIndex(path)
    for _ in range(2):
        with pytest.raises(SessionError, match="could not be decompressed"):
            index.page(0, 5)


def test_a_folder_in_the_place_of_the_file_is_one_line(tmp_path):
    (tmp_path / "events.jsonl").mkdir()
    with pytest.raises(SessionError, match="could not be read"):
        LineIndex(tmp_path / "events.jsonl").page(0, 5)
