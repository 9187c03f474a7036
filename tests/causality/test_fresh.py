"""State in files and libraries is found, in fresh processes where it has to be, and files are left as they were."""

from __future__ import annotations

import builtins
import io
import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import pytest

from peak_trade.causality import check
from peak_trade.causality.check import check_causality, check_in_fresh_processes
from peak_trade.causality.kept_state import LARGEST_RESTORED, FileLog
from peak_trade.causality.short import check_run
from peak_trade.cli import main
from peak_trade.core.arrays import FloatArray
from peak_trade.core.bars import Bars
from peak_trade.core.causality import CausalityVerdict
from peak_trade.core.errors import StrategyError
from peak_trade.data.sample import synthetic_bars
from peak_trade.strategies.base import Strategy
from tests.causality import planted


@pytest.fixture(scope="module")
def bars() -> Bars:
    return synthetic_bars(600)


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_leak_through_a_file_is_found_in_process_and_the_file_is_gone(bars: Bars) -> None:
    report = check_causality(planted.KeptFile(), bars, n_cuts=2)
    assert not report.is_causal
    assert [Path(place).name for place in report.files_written] == ["kept_mean.txt"]
    (outcome,) = check_run([(planted.KeptFile(), bars)])
    assert outcome.verdict is CausalityVerdict.LOOKS_AHEAD
    assert not list(Path().iterdir())


@pytest.mark.parametrize("is_fresh", [pytest.param(True, marks=pytest.mark.long), False], ids=["fresh", "here"])
def test_a_file_of_an_earlier_run_does_not_hide_the_leak(
    is_fresh: bool, bars: Bars, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not is_fresh:
        monkeypatch.setattr(check, "_answer_of", check._answer)
    Path("kept_mean.txt").write_text("15000.0")
    assert check_causality(planted.KeptFile(), bars, n_cuts=2).is_causal
    report = check_in_fresh_processes("tests.causality.planted:KeptFile", {}, bars, 2)
    assert "fresh process" in {leak.kind for leak in report.leaks}
    assert "removed" in {leak.kind for leak in report.leaks}
    assert Path("kept_mean.txt").read_text() == "15000.0"


def test_labels_on_disk_are_named(bars: Bars) -> None:
    Path("level.txt").write_text("20000")
    report = check_causality(planted.ReadsALevel(), bars, n_cuts=1)
    assert report.verdict == "causal"
    assert "level.txt" in report.limits[-1]


@pytest.mark.long
def test_state_counts_as_checked_in_fresh_processes(capsys: pytest.CaptureFixture[str]) -> None:
    Path("level.txt").write_text("20000")
    command = ["check", "strategy", "tests.causality.planted:ReadsALevel", "--bars", "300", "--cuts", "3", "--json"]
    assert main(command) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["verdict"] == "causal"
    assert answer["state_note"] == ""
    assert [Path(place).name for place in answer["files_read"]] == ["level.txt"]
    assert "level.txt" in answer["limits"][-1]


@pytest.mark.long
def test_state_inside_a_library_is_found_in_fresh_processes_only(bars: Bars) -> None:
    report = check_in_fresh_processes("tests.causality.planted:KeptInALibrary", {}, bars, 2)
    assert {leak.kind for leak in report.leaks} == {"fresh process"}


@pytest.mark.long
def test_a_process_that_ends_without_an_answer_is_an_error(bars: Bars) -> None:
    with pytest.raises(StrategyError, match="ended with code 7"):
        check_in_fresh_processes("tests.causality.planted:Ends", {}, bars, 2)


def test_a_class_that_no_other_process_can_import_is_checked_here(bars: Bars) -> None:
    class Local(planted.NegativeShift):
        pass

    for part, note in ((Local, "State not checked"), (planted.NegativeShift, "State inside libraries")):
        report = check_causality(part(), bars, n_cuts=1)
        assert report.limits[-1].startswith(note)


def test_written_files_are_restored_and_reads_are_noted() -> None:
    Path("old.txt").write_text("old")
    Path("large.bin").write_bytes(b"")
    os.truncate("large.bin", LARGEST_RESTORED + 1)
    Path("read.csv").write_text("1")
    log = FileLog()
    with log.watched():
        Path("new.txt").write_text("new")
        for mode in ("w", "a", "r+"):
            with open("old.txt", mode) as file:
                file.write("other")
        with open("large.bin", "ab") as large:
            large.write(b"x")
        Path("read.csv").read_text()
        Path(planted.__file__).read_text()
        open(os.open("read.csv", os.O_RDONLY)).close()
    log.restore()
    assert Path("old.txt").read_text() == "old"
    assert not Path("new.txt").exists()
    assert Path("large.bin").stat().st_size == LARGEST_RESTORED + 2, "too large to keep a copy: left as it is"
    assert [Path(place).name for place in log.read] == ["read.csv"]
    assert [Path(place).name for place in log.written] == ["large.bin", "new.txt", "old.txt"]
    assert builtins.open is io.open


def test_files_of_other_threads_are_left_as_they_are() -> None:
    """A thread of the caller may write its results while a check runs; the subject's own threads are watched."""
    log = FileLog()
    with ThreadPoolExecutor(1) as caller:
        caller.submit(int).result()
        with log.watched(), ThreadPoolExecutor(1) as own:
            caller.submit(Path("result.csv").write_text, "kept").result()
            own.submit(Path("label.txt").write_text, "gone").result()
    log.restore()
    assert [Path(place).name for place in log.written] == ["label.txt"]
    assert [place.name for place in Path().iterdir()] == ["result.csv"]


def test_hidden_files_seem_not_to_exist_until_they_are_written() -> None:
    place = Path("label.txt").absolute()
    place.write_text("old")
    log = FileLog([str(place)])
    for _ in range(2):
        with log.watched():
            assert not place.exists()
            with pytest.raises(FileNotFoundError):
                place.read_text()
            place.write_text("own")
            assert place.exists()
            assert place.read_text() == "own"
        log.restore()
        assert place.read_text() == "old"


def test_checks_in_several_threads_leave_open_as_it_was(bars: Bars) -> None:
    with ThreadPoolExecutor(4) as pool:
        reports = list(pool.map(lambda _: check_causality(planted.NegativeShift(), bars, n_cuts=1), range(8)))
    assert all(report.leaks == reports[0].leaks for report in reports)
    assert builtins.open is io.open


def test_a_cached_function_that_ran_before_does_not_hide_its_leak(bars: Bars) -> None:
    planted.CachedFunction().exposure(bars.for_strategy())
    assert not check_causality(planted.CachedFunction(), bars, n_cuts=1).is_causal


def test_a_strategy_that_raises_leaves_open_as_it_was(bars: Bars) -> None:
    class Raises(Strategy):
        @property
        def warm_up(self) -> int:
            return 0

        def exposure(self, bars: pd.DataFrame) -> FloatArray:
            raise RuntimeError("no")

    with pytest.raises(StrategyError):
        check_causality(Raises(), bars, n_cuts=1)
    assert builtins.open is io.open
