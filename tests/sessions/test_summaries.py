"""A summary that is read again from new lines is the summary of the whole journal."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peak_trade.core.errors import SessionError
from peak_trade.journal.files import EVENTS, LineIndex
from peak_trade.sessions import store
from peak_trade.sessions.store import SummaryReader, summary
from tests.examples import examples
from tests.sessions.running import sealed_sessions


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = sealed_sessions(tmp_path_factory.mktemp("summaries") / "home", 1)
    (events,) = (home / "sessions").glob(f"*/{EVENTS}")
    return events


@given(st.lists(st.floats(0.0, 1.0), max_size=5), st.booleans(), st.integers(1, 50))
@settings(max_examples=examples(25))
def test_a_summary_read_again_is_that_of_the_whole_journal(session, sizes, is_replaced, n_at_once):
    whole = session.read_bytes()
    reader = SummaryReader(session.parent)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "_LINES", n_at_once)
        for size in [*(sizes if is_replaced else sorted(sizes)), 1.0]:
            part = whole[: round(size * len(whole))]
            if is_replaced or len(part) < session.stat().st_size:
                session.with_name("new").write_bytes(part)
                session.with_name("new").replace(session)
            else:
                with session.open("ab") as file:
                    file.write(part[session.stat().st_size :])
            assert reader.read() == summary(session.parent)
    assert reader.read().n_bars == 40


def test_only_new_lines_are_read_again(session, monkeypatch):
    reader = SummaryReader(session.parent)
    first = reader.read()
    pages: list[int] = []
    page = LineIndex.page
    monkeypatch.setattr(
        LineIndex, "page", lambda self, offset, limit: (pages.append(offset), page(self, offset, limit))[1]
    )
    assert reader.read() == first
    assert pages == [len(session.read_bytes().splitlines())]


def test_a_damaged_line_is_named_until_the_journal_is_whole_again(session):
    whole = session.read_bytes()
    reader = SummaryReader(session.parent)
    session.write_bytes(whole[:5_000].rpartition(b"\n")[0] + b"\nnothing\n")
    for _ in range(2):
        with pytest.raises(SessionError, match="this is not a line of a journal"):
            reader.read()
    session.write_bytes(whole)
    assert reader.read() == SummaryReader(session.parent).read()


def test_a_journal_that_another_one_replaces_is_read_from_its_start(session):
    whole = session.read_bytes()
    reader = SummaryReader(session.parent)
    n_bars = reader.read().n_bars
    first = next(line for line in whole.splitlines(keepends=True) if b'"kind":"bar"' in line)
    session.with_name("new").write_bytes(whole.replace(first, 6 * first))
    session.with_name("new").replace(session)
    assert reader.read().n_bars == n_bars + 5
    session.write_bytes(whole)


def test_a_journal_that_is_compressed_meanwhile_has_the_same_summary(session):
    reader = SummaryReader(session.parent)
    plain = reader.read()
    whole, compressed = session.read_bytes(), session.with_name(f"{EVENTS}.gz")
    compressed.write_bytes(gzip.compress(whole))
    session.unlink()
    assert reader.read() == plain == summary(session.parent)
    session.write_bytes(whole)
    compressed.unlink()
