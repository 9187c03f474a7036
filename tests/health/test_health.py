"""Runs of the suite are shuffled, recorded and counted right, and an interrupted check keeps the runs that ended."""

from __future__ import annotations

import json
import shutil
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peak_trade.cli import main
from peak_trade.core.errors import DataError
from peak_trade.health import checks, processes
from peak_trade.health.checks import (
    Attempt,
    CiRun,
    Health,
    SuiteRun,
    latest,
    load,
    read_ci_history,
    save,
)
from peak_trade.health.report import NOTEBOOKS, ci_days, green_days, page, report_of, undetected_rate
from tests.shuffled import shuffled

ROOT = Path(__file__).parents[2]
RECORDED = Path(__file__).with_name("ci_history.json")
NAMES = st.sampled_from(["a", "b", "c"])
ATTEMPTS = st.builds(Attempt, st.sampled_from(["passed", "failed", "skipped"]), st.floats(0.0, 10.0), st.just("why"))


def health_of(runs: list[dict[str, Attempt]], profile: str = "smoke", **values: object) -> Health:
    made = tuple(SuiteRun(seed, f"2024-01-0{seed + 1}T00:00:00Z", 1.0 + seed, run) for seed, run in enumerate(runs))
    return Health(profile, "abc", "3.11", "a machine", made, **values)


@given(st.lists(st.dictionaries(NAMES, ATTEMPTS), min_size=1, max_size=9))
def test_a_test_is_flaky_if_and_only_if_it_passed_and_failed(runs):
    report = report_of(health_of(runs))
    for each in report.tests:
        outcomes = [run[each.test].outcome for run in runs if each.test in run]
        n_failed, n_passed = outcomes.count("failed"), outcomes.count("passed")
        assert each.n_runs == len(outcomes) > 0
        assert each.failure_rate == (n_failed / (n_failed + n_passed) if n_failed + n_passed else None)
        assert each.is_flaky == (n_failed > 0 < n_passed)
    parts = [report.flaky, report.failing, report.skipped]
    passed = [each for each in report.tests if each.failure_rate == 0.0]
    assert sum(map(len, parts)) + len(passed) == len(report.tests) == len({name for run in runs for name in run})
    assert report.is_good == all(test.outcome != "failed" for run in runs for test in run.values())


@given(st.integers(1, 200))
def test_a_test_with_the_undetected_rate_passes_all_runs_with_a_chance_of_five_percent(n_runs):
    assert (1.0 - undetected_rate(n_runs)) ** n_runs == pytest.approx(0.05)


def test_a_slower_test_drifts_and_a_quick_one_does_not():
    def timed(slow: float, quick: float) -> Health:
        return health_of([{"slow": Attempt("passed", slow), "quick": Attempt("passed", quick)}] * 3)

    report = report_of(timed(4.0, 0.003), timed(1.0, 0.001))
    assert [(each.test, each.drift) for each in report.drifting] == [("slow", 4.0)]
    assert [each.test for each in report.slowest] == ["slow", "quick"]
    assert report_of(timed(4.0, 0.003)).drifting == []


def test_the_status_of_a_notebook_is_that_of_its_tests():
    runs = [{f"{NOTEBOOKS}test_x.py::test_small[{name}]": Attempt(outcome, 1.0)} for name, outcome in
            (("good", "passed"), ("bad", "passed"), ("bad", "failed"), ("left", "skipped"))]  # fmt: skip
    assert report_of(health_of(runs)).notebooks == {"bad": "failed", "good": "passed", "left": "skipped"}


def test_a_recorded_history_of_ci_is_green_for_three_days():
    days = ci_days(read_ci_history(RECORDED))
    assert [(each.day, each.n_runs, each.n_failed) for each in days] == [
        ("2026-11-21", 2, 1), ("2026-11-22", 1, 1), ("2026-11-24", 1, 0), ("2026-11-25", 3, 0), ("2026-11-26", 1, 0),
    ]  # fmt: skip
    assert green_days(days) == 3
    report = report_of(health_of([{}], ci=read_ci_history(RECORDED)))
    assert report.ci_verdict == "CI was green on the last 3 days in a row, up to 2026-11-26."
    assert "3 are required" in report_of(health_of([{}], ci=read_ci_history(RECORDED)[:-1])).ci_verdict


@given(st.dictionaries(st.integers(0, 12), st.lists(st.booleans(), min_size=1, max_size=3)))
def test_green_days_are_counted_back_from_the_last_day_to_a_failure_or_a_day_without_a_run(by_day):
    start = date(2024, 2, 25)
    runs = [
        CiRun(f"{start + timedelta(day)}T10:00:00Z", "success" if is_green else "failure")
        for day, ended in by_day.items()
        for is_green in ended
    ]
    expected, day = 0, max(by_day, default=-1)
    while by_day.get(day) and all(by_day[day]):
        expected, day = expected + 1, day - 1
    assert green_days(ci_days(runs)) == expected


@pytest.mark.parametrize("text", ["", "{}", '[{"createdAt": 1, "conclusion": ""}]', "[" * 3_000])
def test_a_file_that_is_no_history_is_refused_in_one_line(tmp_path, text):
    path = tmp_path / "history.json"
    path.write_text(text)
    with pytest.raises(DataError, match=r"history\.json: "):
        read_ci_history(path)


def test_a_time_of_ci_that_is_none_is_refused():
    with pytest.raises(DataError, match="'yesterday' is no time"):
        ci_days([CiRun("yesterday", "success")])


def test_a_record_is_read_as_it_was_written_and_the_latest_is_found_by_profile(home):
    assert latest() is None
    smoke = health_of([{"a": Attempt("failed", 0.5, "why")}], coverage={"all": 0.9})
    full = health_of([{}], "full")
    assert load(save(smoke)) == smoke == latest()
    later = save(full)
    assert later.name == "20240101_000000_full.json"
    assert (latest("smoke"), latest("full")) == (smoke, full)
    later.write_text("{}")
    with pytest.raises(DataError, match=r"20240101_000000_full\.json: .*Remove the file"):
        latest("full")


@given(st.lists(st.integers(0, 5), max_size=30), st.integers(0, 2**32))
def test_shuffled_tests_are_the_same_ones_with_modules_together(modules, seed):
    items = [SimpleNamespace(path=path, number=number) for number, path in enumerate(sorted(modules))]
    one, other = (shuffled(list(items), seed) for _ in range(2))  # type: ignore[arg-type]
    assert one == other
    assert sorted(item.number for item in one) == list(range(len(items)))  # type: ignore[attr-defined]
    paths = [item.path for item in one]
    assert sum(first != second for first, second in pairwise(paths)) == max(len({*paths}) - 1, 0)


SUITE = """
import os
import pytest

pytestmark = pytest.mark.smoke
def test_passes(): pass
def test_fails(): assert 1 == 2
def test_is_skipped(): pytest.skip("no such program")
def test_is_flaky(): assert os.environ["PYTHONHASHSEED"] != "8", "of the seed"
@pytest.mark.xfail(strict=True)
def test_fails_as_expected(): assert False
"""


@pytest.fixture
def checkout(tmp_path, home, monkeypatch):
    """A checkout with five tests."""
    root = tmp_path / "checkout"
    for folder in ("tests", "peak_trade"):
        (root / folder).mkdir(parents=True)
    shutil.copyfile(ROOT / "tests" / "shuffled.py", root / "tests" / "shuffled.py")
    (root / "tests" / "test_some.py").write_text(SUITE, encoding="utf-8")
    (root / "pytest.ini").write_text(
        "[pytest]\nmarkers = smoke\naddopts = -p _hypothesis_pytestplugin -p no:cacheprovider\n", encoding="utf-8"
    )
    monkeypatch.chdir(root)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # the plugins take half of the time
    return root


@pytest.mark.long
def test_a_flaky_test_of_a_real_suite_is_found(checkout, capsys):
    """Two runs in fresh processes; the order of the tests differs, because the seed of each run does."""
    assert main(["health", "--runs", "2", "--seed", "7", "--json", "--write-page"]) == 1
    found = json.loads(capsys.readouterr().out)
    rates = {each["test"].rpartition("_")[2]: each["failure_rate"] for each in found["tests"]}
    assert rates == {"passes": 0.0, "fails": 1.0, "skipped": None, "flaky": 0.5, "expected": 0.0}
    assert [(each["reason"], each["failure_rate"]) for each in found["flaky"]] == [("AssertionError: of the seed", 0.5)]
    assert found["skipped"][0]["reason"] == "no such program"
    assert found["seeds"] == [7, 8]
    record = load(Path(found["file"]))
    first, second = (list(run.tests) for run in record.runs)
    assert first != second
    assert sorted(first) == sorted(second)
    assert page(report_of(record), None) in (checkout / "docs/ops/CI_HEALTH_REPORT.md").read_text(encoding="utf-8")


def test_ctrl_c_keeps_the_runs_that_ended(checkout, capsys, monkeypatch):
    done = [SuiteRun(1, "2024-01-01T00:00:00Z", 1.0, {"a": Attempt("passed", 1.0)})]

    def run(*_: object) -> SuiteRun:
        if not done:
            raise KeyboardInterrupt
        return done.pop()

    monkeypatch.setattr(checks, "_run", run)
    assert main(["health"]) == 130
    told = capsys.readouterr().err.splitlines()
    assert told[0].startswith("peak-trade: 1 finished run kept in ")
    assert told[1:] == ["peak-trade: stopped"]
    assert [each.seed for each in latest().runs] == [1]


def test_ctrl_c_ends_the_processes_of_pytest(checkout, monkeypatch):
    (checkout / "tests" / "test_some.py").write_text("import time\ntime.sleep(60)\n")
    started = []

    def interrupt(_: Path) -> None:
        raise KeyboardInterrupt

    def popen(*words: object, _popen=processes.subprocess.Popen, **options: object) -> object:
        started.append(_popen(*words, **options))
        return started[-1]

    monkeypatch.setattr(checks, "read_outcomes", interrupt)
    monkeypatch.setattr(processes.subprocess, "Popen", popen)
    assert main(["health"]) == 130
    assert started[-1].returncode is not None
    assert latest() is None


@pytest.mark.parametrize("words", [["health"], ["health", "--coverage"]])
def test_outside_a_checkout_is_one_line(home, tmp_path, monkeypatch, capsys, words):
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    assert capsys.readouterr().err.endswith("has no tests of peak_trade. Run the command in a checkout.\n")
    assert not home.exists()


@pytest.mark.long
def test_a_suite_that_can_not_run_is_one_line(checkout, capsys):
    (checkout / "tests" / "test_some.py").write_text("import nothing_of_this_name\n")
    assert main(["health", "--runs", "1"]) == 2
    told = capsys.readouterr().err
    assert told.startswith("peak-trade: pytest ended with code 2: ")
    assert told.count("\n") == 1
