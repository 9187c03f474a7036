"""The trial ledger is chained, is extended by many processes, and says what is missing, moved or changed."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from typing import Any

import numpy as np
import pytest

from peak_trade.core import chained_lines
from peak_trade.core.errors import ConfigError
from peak_trade.tracking.assets import Closes
from peak_trade.tracking.gaps import ledger_sentence
from peak_trade.tracking.ledger import LEDGER, LEDGER_VERSION, TrialLedger
from tests.forking import exit_code, fork

CONTENT = Closes("BTC/USDT", "x", "1d", 86_400 * 10**9, 19_000, np.arange(3.0)).encode()


def data(name: str) -> dict[str, Any]:
    return CONTENT | {"id": name}


@pytest.fixture
def path(home):
    return home / LEDGER


def extended(path, *names: str) -> TrialLedger:
    found = TrialLedger(path)
    with found.extending():
        found.append([data(name) for name in names])
    return found


def read(path) -> TrialLedger:
    found = TrialLedger(path)
    found.refresh()
    return found


def test_a_new_ledger_states_its_version_and_chains_its_lines(path):
    assert (read(path).n_lines, read(path).since) == (0, None)
    extended(path, "one")
    extended(path, "two", "three")
    found = read(path)
    lines = [json.loads(text) for text in path.read_text().splitlines()]
    assert (lines[0]["kind"], lines[0]["version"], lines[0]["ts_recorded"]) == ("start", LEDGER_VERSION, found.since)
    assert list(found.series) == ["one", "two", "three"]
    assert [each["previous"] for each in lines[1:]] == list(found.heads)[:-1]
    assert (found.faults, found.n_lines, found.head) == ([], 4, list(found.heads)[-1])


def write_one_by_one(path, name: str) -> None:
    ledger = TrialLedger(path)
    for n in range(25):
        with ledger.extending():
            ledger.append([data(f"{name}-{n}")])


def test_processes_that_write_at_once_lose_nothing(path):
    running = [fork(lambda name=name: write_one_by_one(path, name)) for name in "01"]
    assert [exit_code(process) for process in running] == [0, 0]
    found = read(path)
    assert set(found.series) == {f"{n}-{k}" for n in range(2) for k in range(25)}
    assert (found.faults, found.n_lines) == ([], 51)


def test_an_open_ledger_sees_what_others_added(path):
    one = extended(path, "one")
    extended(path, "two")
    one.refresh()
    assert list(one.series) == ["one", "two"]
    with one.extending():
        one.append([data("three")])
    assert (read(path).faults, one.faults, read(path).n_lines) == ([], [], 4)


def test_an_unfinished_last_line_is_no_gap_and_is_replaced(path):
    extended(path, "one", "two")
    whole = path.read_bytes()
    for n in (1, 40, len(whole.splitlines(keepends=True)[-1]) - 1):
        path.write_bytes(whole[:-n])
        assert (read(path).n_lines, read(path).faults) == (2, [])
        assert list(extended(path, "three").series) == ["one", "three"]
        assert (read(path).n_lines, read(path).faults) == (3, [])


@pytest.mark.parametrize("line", range(3))
def test_a_changed_line_is_one_gap(path, line):
    extended(path, "one", "two", "three")
    lines = path.read_bytes().splitlines(keepends=True)
    lines[line] = lines[line].replace(b'"kind":', b'"kind" :')
    path.write_bytes(b"".join(lines))
    assert read(path).faults == [f"line {line + 2} of the trial ledger does not follow from the one before it"]


@pytest.mark.parametrize("line", range(4))
def test_a_removed_line_is_one_gap(path, line):
    extended(path, "one", "two", "three")
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:line] + lines[line + 1 :]))
    assert len(read(path).faults) == (1 if line < 3 else 0)  # the head in run records shows that the last one is gone


def test_lines_that_cannot_be_read_are_gaps_and_the_rest_is_kept(path):
    extended(path, "one", "two")
    with path.open("ab") as file:
        file.write(b'\x00\xff\n[1]\n{"kind":"trials"}\n' + b"[" * 100_000 + b"\n")
    found = extended(path, "three")
    assert list(found.series) == ["one", "two", "three"]
    assert len(found.faults) == 4
    assert all("cannot be read" in each for each in read(path).faults)
    assert read(path).faults == found.faults


def test_a_ledger_of_a_later_version_is_refused_and_left_as_it_is(path):
    extended(path, "one")
    text = path.read_text().replace(f'"version":{LEDGER_VERSION}', f'"version":{LEDGER_VERSION + 1}')
    path.write_text(text)
    for refused in (lambda: read(path), lambda: extended(path, "two")):
        with pytest.raises(ConfigError, match=f"its version is {LEDGER_VERSION + 1}; this version of peak_trade reads"):
            refused()
    assert path.read_text() == text


def test_a_replaced_ledger_is_read_again(path):
    open_one = extended(path, "one", "two")
    path.unlink()
    open_one.refresh()
    assert open_one.n_lines == 0
    extended(path, "other")
    open_one.refresh()
    assert list(open_one.series) == ["other"]
    path.write_bytes(path.read_bytes().replace(b"other", b"third"))
    open_one.refresh()
    assert list(open_one.series) == ["third"]


def test_a_ledger_that_another_process_holds_is_an_error_that_names_it(path, monkeypatch):
    extended(path, "one")
    monkeypatch.setattr(chained_lines, "LOCK_WAIT_SECONDS", 0.01)
    with (
        TrialLedger(path).extending(),
        pytest.raises(ConfigError, match=r"process \d+ \(.*\) has held the lock .* Wait for that process, or stop it"),
    ):
        extended(path, "two")


@pytest.mark.parametrize("place", ["file", "folder", "nowhere"])
def test_a_place_that_takes_no_ledger_is_an_error_in_one_line(place, home, path):
    if place == "file":
        home.write_text("")
    elif place == "folder":
        path.mkdir(parents=True)
    else:
        path = type(path)("/proc/peak_trade/trials.jsonl")
    with pytest.raises(ConfigError, match=r"^trial ledger .*PEAK_TRADE_HOME\.$"):
        extended(path, "one")


@pytest.mark.parametrize(
    ("trials", "held"),
    [([], None), ([("d", "c")], "1 trial"), ([("d", "c"), ("d", "e")], "2 trials"), (None, "trials")],
)
def test_a_ledger_of_an_earlier_version_is_read_and_named(home, trials, held):
    """It has pairs of digests only, which can not be compared with bars."""
    home.mkdir(exist_ok=True)
    if trials is None:
        (home / "trials.db").write_bytes(b"no database")
    else:
        with contextlib.closing(sqlite3.connect(home / "trials.db")) as table, table:
            table.execute("CREATE TABLE trials (data TEXT, config TEXT, PRIMARY KEY (data, config)) WITHOUT ROWID")
            table.executemany("INSERT INTO trials VALUES (?, ?)", trials)
    said = ledger_sentence()
    assert ("trials.db" in said) is (held is not None)
    if held is not None:
        assert f"trials.db holds {held} of an earlier version, not counted because it names no bars." in said
