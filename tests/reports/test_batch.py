"""A batch makes the reports that its notebooks make alone, wherever they run, and continues after an interruption."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import nullcontext, suppress
from pathlib import Path

import psutil
import pytest

from peak_trade.cli import main
from peak_trade.core.errors import ConfigError, DataError
from peak_trade.core.progress import progress_shown
from peak_trade.data.holdout import seal
from peak_trade.data.sample import sample_bars
from peak_trade.data.store import load_bars, save_bars
from peak_trade.reports import batch, notebooks
from peak_trade.reports.batch import ReportSettings, read_batch, run_reports
from peak_trade.reports.notebooks import list_report_runs, run_report
from tests.examples import mostly_long
from tests.forking import exit_code, fork
from tests.reports.conftest import notebook

ROOT = Path(__file__).parents[2]
PARAMETERS = """n: int = 2  # how many
share: float = 0.5  # (0, 1] of equity
kind: str = "a"  # [a | b] which
more: dict = {}  # other values
"""


def executed(found, values, root, draft, progress):
    """Stand for a kernel: log the execution, and fail for n = 0."""
    draft.touch()
    with (root / "log.txt").open("a", encoding="utf-8") as log:
        log.write(f"{found.name} {json.dumps(values, sort_keys=True)}\n")
    content = notebooks.read_json(found.path)
    content["metadata"]["peak_trade"] = {
        "notebook": found.name,
        "title": found.title,
        "version": found.version,
        "notebook_digest": found.digest,
        "parameters": values,
        "executed_at": "2024-06-01T00:00:00Z",
        "seconds": 1.0,
        "failed_cell": 2 if values.get("n") == 0 else None,
        "error": "E: none" if values.get("n") == 0 else "",
    }
    return content


@pytest.fixture
def place(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose notebooks run without a kernel."""
    written = json.dumps(notebook("1", parameters=PARAMETERS))
    (project / "notebooks" / "wide.ipynb").write_text(written, encoding="utf-8")
    monkeypatch.setattr(notebooks, "_executed", executed)
    return project


def log(place: Path) -> list[str]:
    path = place / "log.txt"
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def wide(**grid: object) -> ReportSettings:
    return ReportSettings(notebook="wide", grid=grid)


@pytest.mark.parametrize("n_processes", mostly_long([2, 1], 1))
def test_a_batch_makes_the_reports_that_its_notebooks_make_alone(place, n_processes):
    entries = [
        ReportSettings(notebook="tiny", parameters={"n": 5}),
        ReportSettings(
            notebook="wide",
            parameters={"more": {"slow": 80}, "kind": "b"},
            grid={"n": "1..5:2", "share": [0.25, 1], "more": {"fast": [5, "10..20:10"]}},
        ),
    ]
    done = run_reports(entries, n_processes=n_processes)
    expected = [("tiny", {"n": 5})] + [
        ("wide", {"n": n, "share": share, "kind": "b", "more": {"slow": 80, "fast": fast}})
        for n in (1, 3, 5)
        for share in (0.25, 1.0)
        for fast in (5, 10, 20)
    ]
    assert [(each.notebook, each.parameters) for each in done.reports] == expected
    assert [each.entry for each in done.reports] == [1] + 18 * [2]
    assert (done.n_ran, done.n_unchanged, done.n_failed, done.n_grown) == (19, 0, 0, 0)
    assert done.execution == f"19 tasks in {'this process' if n_processes == 1 else '2 processes'}"
    assert len(log(place)) == 19
    for each, (name, given) in zip(done.reports, expected, strict=True):
        alone = run_report(name, given)
        assert alone.is_cached
        assert alone.path == each.run.path
    assert len(log(place)) == 19
    assert sorted(os.listdir("reports/runs")) == sorted(each.run.path.name for each in done.reports)
    assert all(name.endswith(".lock") for name in os.listdir("reports/.locks"))


def test_a_second_start_runs_what_is_missing_or_failed_and_force_runs_all(place):
    first = run_reports([wide(n=[0, 1, 2])], n_processes=2)
    assert (first.n_ran, first.n_unchanged, first.n_failed) == (2, 0, 1)
    assert first.reports[0].run.failed_cell == 2
    second = run_reports([wide(n=[0, 1, 2, 3])], n_processes=2)
    assert (second.n_ran, second.n_unchanged, second.n_failed) == (1, 2, 1)
    assert len(log(place)) == 5
    assert run_reports([wide(n=[1, 2])], force=True, n_processes=1).n_ran == 2
    assert len(log(place)) == 7
    (place / "requirements.lock").write_text("numpy==2\n", encoding="utf-8")
    assert run_reports([wide(n=[1, 2])], n_processes=1).n_ran == 2


def test_trials_that_came_later_are_counted_and_renewed_on_request(place, monkeypatch):
    trials = [["1 trial"]]
    monkeypatch.setattr(notebooks, "_later", lambda content, is_shown=False: trials[-1])
    assert run_reports([wide(n=[1, 2])], n_processes=1).n_grown == 0
    trials.append(["3 trials"])
    kept = run_reports([wide(n=[1, 2])], n_processes=1)
    assert (kept.n_unchanged, kept.n_grown) == (2, 2)
    renewed = run_reports([wide(n=[1, 2])], n_processes=1, renew=True)
    assert (renewed.n_ran, renewed.n_grown) == (2, 0)
    assert run_reports([wide(n=[1, 2])], n_processes=1, renew=True).n_unchanged == 2


class Stop:
    """A display of progress that is interrupted after some reports."""

    def __init__(self, after: int) -> None:
        self.after = after
        self.told: list[tuple[int, int]] = []

    def __call__(self, task, unit):
        return nullcontext(self.tell if task == "report batch" else lambda *_: None)

    def tell(self, done, total):
        self.told.append((done, total))
        if done == self.after:
            raise KeyboardInterrupt


@pytest.mark.parametrize("n_processes", mostly_long([1, 2], 1))
def test_an_interrupted_batch_continues(place, caplog, n_processes):
    stop = Stop(after=2)
    with pytest.raises(KeyboardInterrupt), progress_shown(stop):
        run_reports([wide(n="1..6")], n_processes=n_processes)
    assert stop.told == [(0, 6), (1, 6), (2, 6)]
    assert "batch interrupted: 2 of 6 reports are kept" in caplog.text
    assert all(name.endswith(".lock") for name in os.listdir("reports/.locks"))
    n_kept = len(list_report_runs(place))
    assert n_kept >= 2
    done = run_reports([wide(n="1..6")], n_processes=n_processes)
    assert (done.n_ran, done.n_unchanged) == (6 - n_kept, n_kept)


def test_a_report_that_can_not_run_any_more_fails_and_the_others_run(place, monkeypatch, capsys):
    def gone(found, values, *rest):
        if values["n"] == 2:
            raise DataError("the bars are gone")
        return executed(found, values, *rest)

    monkeypatch.setattr(notebooks, "_executed", gone)
    (place / "three.toml").write_text('[[report]]\nnotebook = "wide"\ngrid.n = [1, 2, 3]\n', encoding="utf-8")
    assert main(["report", "batch", "three.toml", "--processes", "2"]) == 1
    shown = capsys.readouterr().out.splitlines()
    assert shown[1] == "wide  failed: the bars are gone"
    assert shown[3] == "3 reports: 2 ran, 0 unchanged, 1 failed; 3 tasks in 2 processes."
    assert main(["report", "batch", "three.toml", "--json"]) == 1
    content = json.loads(capsys.readouterr().out)
    assert [(each["error"], each["is_failed"]) for each in content["reports"]] == [
        ("", False),
        ("the bars are gone", True),
        ("", False),
    ]
    assert (content["n_ran"], content["n_unchanged"], content["n_failed"]) == (0, 2, 1)


def test_a_report_whose_process_was_killed_runs_again_and_at_last_fails(place, monkeypatch):
    parent = os.getpid()

    def killed(found, values, root, draft, progress):
        marker = root / f"killed-{values['n']}"
        if os.getpid() != parent and (values["n"] == 2 or (values["n"] == 3 and not marker.exists())):
            marker.touch()
            draft.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return executed(found, values, root, draft, progress)

    monkeypatch.setattr(notebooks, "_executed", killed)
    done = run_reports([wide(n=[1, 2, 3, 4, 5])], n_processes=2)
    assert (done.n_ran, done.n_failed) == (4, 1)
    assert "ended its process 3 times, the last time by SIGKILL" in done.reports[1].error
    assert done.execution == "5 tasks in 2 processes; 3 ran again after a worker ended"
    assert len(list_report_runs(place)) == 4
    assert sorted(os.listdir("reports/runs")) == sorted(run.path.name for run in list_report_runs(place))


def test_two_equal_batches_at_once_run_each_report_once(place, monkeypatch):
    def slow(*arguments):
        time.sleep(0.02)
        return executed(*arguments)

    monkeypatch.setattr(notebooks, "_executed", slow)

    def work():
        done = run_reports([wide(n="1..6")], n_processes=2)
        (place / f"ran-{os.getpid()}").write_text(str(done.n_ran), encoding="utf-8")
        assert done.n_failed == 0

    processes = [fork(work), fork(work)]
    assert [exit_code(each) for each in processes] == [0, 0]
    assert len(log(place)) == len(set(log(place))) == 6
    assert sum(int(path.read_text()) for path in place.glob("ran-*")) == 6


WIDE = '[[report]]\nnotebook = "wide"\n'


@pytest.mark.parametrize(
    ("text", "message"),
    mostly_long(
        [
            ("", "b.toml: it has no report. Write a table [[report]] with notebook"),
            ("report = 3\n", "b.toml: it has no report."),
            ("[[report]\n", "b.toml: this is not TOML:"),
            ('[[reports]]\nnotebook = "wide"\n', "b.toml: reports is not a setting. Did you mean report?"),
            (f'{WIDE}[[report]]\nnotebok = "wide"\n', "b.toml: [[report]] 2: "),
            ("[[report]]\nnotebook = 3\n", "b.toml: [[report]] 1: notebook was 3"),
            (
                f'{WIDE}[[report]]\nnotebook = "wyde"\n',
                "b.toml: [[report]] 2: there is no notebook wyde. Did you mean wide?",
            ),
            (f"{WIDE}parameters.m = 1\n", "b.toml: [[report]] 1: wide: m is not a parameter."),
            (f'{WIDE}parameters.n = "1"\n', "b.toml: [[report]] 1: wide: n was '1'; its type is int"),
            (f"{WIDE}parameters.n = [1, 2]\n", "b.toml: [[report]] 1: wide: n was [1, 2]; its type is int"),
            (
                f"{WIDE}grid.share = [0.5, 2.0]\n",
                "[[report]] 1: wide: share was 2.0 (of equity). Give a number in (0, 1].",
            ),
            (f'{WIDE}grid.kind = ["a", "c"]\n', "[[report]] 1: wide: kind was 'c' (which). Give a or b."),
            (f"{WIDE}grid.m = [1]\n", "b.toml: [[report]] 1: wide: m is not a parameter."),
            (f"{WIDE}grid.n = 1\n", "b.toml: [[report]] 1: wide: n was 1; give a list of the values to try."),
            (f"{WIDE}grid.kind = []\n", "b.toml: [[report]] 1: wide: kind was []; give a list of the values to try."),
            (f'{WIDE}grid.n = "9..1"\n', "b.toml: [[report]] 1: range was '9..1': give low..high or low..high:step"),
            (f"{WIDE}grid.more.fast = 1\n", "[[report]] 1: wide: more.fast was 1; give a list of the values to try."),
            (f"{WIDE}grid.n = [1]\nparameters.n = 1\n", "[[report]] 1: wide: n is in parameters and in grid."),
            (
                f"{WIDE}grid.more.fast = [1]\nparameters.more.fast = 1\n",
                "[[report]] 1: wide: more.fast is in parameters and in grid.",
            ),
            (
                f"{WIDE}{WIDE}parameters.n = 2\n",
                "b.toml: [[report]] 2: the same report as b.toml: [[report]] 1, wide with equal parameters. Remove one",
            ),
            (f"{WIDE}grid.n = [1, 1]\n", "b.toml: [[report]] 1: the same report twice in its grid, wide with equal"),
            (f'{WIDE}grid.n = "1..101"\n', "the batch has 101 reports, more than 100. Confirm it with --yes"),
            (
                f'{WIDE}grid.n = "1..900"\ngrid.share = "0.1..1:0.05"\n',
                "the batch has 17,100 reports, more than 10,000.",
            ),
        ],
        8,
    ),
)
def test_a_wrong_batch_is_one_line_before_a_kernel_starts(place, capsys, text, message):
    (place / "b.toml").write_text(text, encoding="utf-8")
    assert main(["report", "batch", "b.toml", *(["--yes"] if "900" in text else [])]) == 2
    shown = capsys.readouterr()
    assert message in shown.err
    assert shown.err.count("\n") == 1
    assert shown.out == ""
    assert not log(place)
    assert not (place / "reports" / "runs").exists()


def test_a_missing_file_is_one_line(place, capsys):
    assert main(["report", "batch", "none.toml"]) == 2
    assert capsys.readouterr().err == "peak-trade: none.toml: there is no such file. Check the path.\n"


@pytest.mark.parametrize("reports", [["risk_study"], [{"notebook": "risk_study"}], 3, None])
def test_a_value_that_is_no_batch_is_one_line(place, reports):
    with pytest.raises(ConfigError, match=r"^run_reports: reports.* was .*\.$"):
        run_reports(reports, place)


def test_a_sealed_holdout_or_missing_bars_are_refused_before_a_kernel_starts(place):
    save_bars(sample_bars("BTC/USDT", n_bars=60))
    entry = ReportSettings(notebook="strategy_backtest")
    other = ReportSettings(notebook="strategy_backtest", parameters={"symbol": "ETH/USDT"})
    with pytest.raises(DataError, match=r"^report 2: .*ETH/USDT"):
        run_reports([entry, other])
    seal(load_bars("BTC/USDT", "1h", start="2023-01-02"), 0)
    with pytest.raises(DataError, match=r"^report 2: .*sealed.*--open-holdout"):
        run_reports([wide(), entry])
    assert not log(place)


def test_dates_of_toml_are_text(place):
    path = place / "dates.toml"
    path.write_text('[[report]]\nnotebook = "wide"\nparameters.more = { day = 2024-03-10, days = [2024-03-11] }\n')
    (entry,) = read_batch(path)
    assert entry.parameters == {"more": {"day": "2024-03-10", "days": ["2024-03-11"]}}


def test_the_example_names_reports_that_can_run(place):
    for symbol in ("BTC/USDT", "ETH/USDT", "SOL/USDT"):
        save_bars(sample_bars(symbol, n_bars=200))
    (place / "config").symlink_to(ROOT / "config")
    done = run_reports(read_batch(ROOT / "config" / "reports" / "ma_crossover.toml"), n_processes=1)
    assert done.n_ran == len(log(place)) == 7


def test_a_worker_that_does_not_share_the_folders_is_refused(place, home):
    with batch._sharing(Path(), False, False, "tcp://127.0.0.1:9") as setup:
        assert {mark.parent for mark in setup.marks} == {place / "reports" / ".locks", home}
        assert all(mark.is_file() for mark in setup.marks)
        setup.marks[1].unlink()
        assert batch._fault(setup, None) == (
            f"does not see the folder {setup.marks[1].parent} of this machine. Share it under the same path."
        )
        assert batch._run(setup, ("wide", {})).startswith("the worker does not see the folder")
    assert not any(mark.exists() for mark in setup.marks)
    assert not log(place)


def test_a_worker_elsewhere_has_the_folder_and_the_environment_of_the_command(place, tmp_path, monkeypatch):
    with batch._sharing(Path(), False, False, "") as setup:
        pass
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PEAK_TRADE_HOME", "elsewhere")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://elsewhere")
    run = batch._run(setup, ("wide", {"n": 7}))
    assert run.path == Path("reports/runs") / run.path.name
    assert (place / run.path).is_file()
    assert Path.cwd() == tmp_path
    assert os.environ["PEAK_TRADE_HOME"] == "elsewhere"
    assert os.environ["MLFLOW_TRACKING_URI"] == "http://elsewhere"


SLOW = '[[report]]\nnotebook = "slow"\ngrid.n = [0, 1, 60, 61]\n'


@pytest.fixture
def slow(project: Path) -> Path:
    """A project with a notebook that sleeps for n seconds, and a batch of it."""
    written = json.dumps(notebook("import time\ntime.sleep(n)"))
    (project / "notebooks" / "slow.ipynb").write_text(written, encoding="utf-8")
    (project / "slow.toml").write_text(SLOW, encoding="utf-8")
    return project


def started(place: Path, *words: str) -> subprocess.Popen[str]:
    program = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    program += "from peak_trade.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", program, "report", "batch", "slow.toml", *words]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        command, cwd=place, env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip


def kernels(process: psutil.Process) -> list[psutil.Process]:
    found = []
    for each in process.children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            found += [each] if "ipykernel_launcher" in " ".join(each.cmdline()) else []
    return found


def has_ended(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return process.status() == psutil.STATUS_ZOMBIE
    return True


def until(condition, seconds=60.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.long
@pytest.mark.parametrize(("n_processes", "number"), [(1, signal.SIGINT), (2, signal.SIGINT), (2, signal.SIGTERM)])
def test_ctrl_c_keeps_what_is_finished_and_leaves_no_kernel(slow, n_processes, number):
    process = started(slow, "--processes", str(n_processes))
    parent = psutil.Process(process.pid)
    until(lambda: len(list_report_runs(slow)) == 2 and len(kernels(parent)) == n_processes)
    below = parent.children(recursive=True)
    if number == signal.SIGTERM:  # of the workers alone: each report is tried three times
        for each in below:
            if each.ppid() == process.pid:
                each.terminate()
        until(lambda: len({each.pid for each in kernels(parent)} - {each.pid for each in below}) == n_processes)
        below += parent.children(recursive=True)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=30.0)
    assert process.returncode == 130
    assert out == ""
    assert err.splitlines() == [
        "batch interrupted: 2 of 4 reports are kept, and the same batch continues there.",
        "peak-trade: stopped",
    ]
    until(lambda: all(map(has_ended, below)), 10.0)
    assert len(os.listdir("reports/runs")) == len(list_report_runs(slow)) == 2
    assert all(name.endswith(".lock") for name in os.listdir("reports/.locks"))
    (slow / "slow.toml").write_text(SLOW.replace("60, 61", "2"), encoding="utf-8")
    out, err = started(slow).communicate(timeout=60.0)
    assert "3 reports: 1 ran, 2 unchanged, 0 failed; 1 task in this process." in out


@pytest.mark.long
def test_a_killed_worker_leaves_no_kernel_and_its_report_runs_again(slow):
    (slow / "slow.toml").write_text(SLOW.replace("60, 61", "4, 5"), encoding="utf-8")
    process = started(slow, "--processes", "2")
    parent = psutil.Process(process.pid)
    until(lambda: len(list_report_runs(slow)) == 2 and len(kernels(parent)) == 2)
    kernel = kernels(parent)[0]
    kernel.parent().kill()
    until(lambda: has_ended(kernel), 10.0)
    out, err = process.communicate(timeout=60.0)
    assert (process.returncode, err) == (0, "")
    assert out.splitlines()[-1] == (
        "4 reports: 4 ran, 0 unchanged, 0 failed; 4 tasks in 2 processes; 1 ran again after a worker ended."
    )
    assert len(os.listdir("reports/runs")) == len(list_report_runs(slow)) == 4


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")
def test_a_cluster_makes_the_same_reports(project, tmp_path, monkeypatch):
    """The workers were started in another folder, without the environment of the command."""
    distributed = pytest.importorskip("distributed")
    entries = [ReportSettings(notebook="tiny", grid={"n": [0, 1, 2]})]
    home = os.environ["PEAK_TRADE_HOME"]
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PEAK_TRADE_HOME")
    options = {"processes": True, "dashboard_address": ":0", "silence_logs": 50}
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, **options) as cluster,
        distributed.LocalCluster(n_workers=1, threads_per_worker=2, **options) as threaded,
    ):
        monkeypatch.chdir(project)
        monkeypatch.setenv("PEAK_TRADE_HOME", home)
        with pytest.raises(ConfigError, match=r"worker tcp://\S+ runs 2 tasks at a time .* Start it with --nthreads 1"):
            run_reports(entries, cluster=threaded.scheduler_address)
        assert not list_report_runs(project)
        done = run_reports(entries, cluster=cluster.scheduler_address)
    assert done.execution == f"3 tasks on 2 Dask workers at {cluster.scheduler_address}"
    assert [each.is_failed for each in done.reports] == [True, False, False]
    contents = [notebooks.results(notebooks.read_json(each.run.path)) for each in done.reports]
    here = run_reports(entries, force=True, n_processes=1)
    assert [each.run.path for each in here.reports] == [each.run.path for each in done.reports]
    assert [notebooks.results(notebooks.read_json(each.run.path)) for each in here.reports] == contents
    assert sorted(os.listdir("reports/runs")) == sorted(each.run.path.name for each in done.reports)
    assert not list(Path(home).glob(".shared-*"))
