"""A notebook runs once per key and is kept; bad input is refused before a kernel starts."""

from __future__ import annotations

import json
import signal
import subprocess
from dataclasses import replace
from types import SimpleNamespace

import pytest

from peak_trade.cli import main
from peak_trade.core.errors import ConfigError, DataError, PeakTradeError, ReportError
from peak_trade.reports import notebooks
from peak_trade.reports.notebooks import list_report_runs, read_json, results, run_report
from tests.examples import mostly_long
from tests.reports.conftest import CALL, notebook


@pytest.fixture(params=["in this process", pytest.param("kernel", marks=pytest.mark.long)])
def engine(request, monkeypatch):
    """What runs the cells of a notebook."""
    if request.param != "kernel":
        from papermill.engines import papermill_engines

        from tests.reports.in_process import InProcess

        monkeypatch.setitem(papermill_engines._engines, None, InProcess)


@pytest.mark.filterwarnings("ignore")
def test_a_notebook_runs_once_per_key_and_failures_are_kept(engine, project, capsys):
    assert main(["report", "run", "tiny", "-p", "n=4"]) == 0
    (run,) = list_report_runs(project)
    assert (run.title, run.version, run.parameters, run.failed_cell) == ("Tiny", "1.2", {"n": 4}, None)
    content = read_json(run.path)
    assert [result["rows"] for result in results(content)] == [[["n", "4"], ["inverse", "0.25"]]]
    assert any(f"version 1.2, digest `{run.notebook_digest[:16]}`" in str(cell["source"]) for cell in content["cells"])

    written = run.path.stat().st_mtime_ns
    again = run_report("tiny", {"n": 4})
    assert again.is_cached
    assert run.path.stat().st_mtime_ns == written

    assert main(["report", "run", "tiny", "-p", "n=0"]) == 1
    failed = next(run for run in list_report_runs(project) if run.is_failed)
    assert (failed.failed_cell, failed.error) == (3, "ZeroDivisionError: division by zero")
    assert main(["report", "list"]) == 0
    assert "failed in code cell 3: ZeroDivisionError" in capsys.readouterr().out
    assert not list((project / "reports" / "runs").glob(".*"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_kills_the_kernel_and_interrupts(number):
    before = signal.getsignal(number)
    kernel = subprocess.Popen(["sleep", "60"], start_new_session=True)
    with notebooks._killing_kernel_on_signal() as manager:
        manager().provisioner = SimpleNamespace(pgid=kernel.pid)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
    assert kernel.wait(10.0) == -signal.SIGKILL
    assert signal.getsignal(number) == before


def test_an_ignored_signal_stays_ignored_while_a_notebook_runs():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with notebooks._killing_kernel_on_signal():
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.fixture
def no_kernel(monkeypatch):
    monkeypatch.setattr(notebooks, "_executed", lambda *_: pytest.fail("a kernel would have started"))


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("tiny", {"m": 1}, "m is not a parameter"),
        ("tiny", {"n": "1"}, "n was '1'; its type is int"),
        ("tinny", {}, "there is no notebook tinny. Did you mean tiny?"),
    ],
    ids=["unknown-parameter", "mistyped", "unknown-notebook"],
)
def test_bad_parameters_are_refused_before_a_kernel_starts(project, no_kernel, name, given, message):
    with pytest.raises(ConfigError) as refusal:
        run_report(name, given)
    assert message in str(refusal.value)


def test_an_unknown_symbol_or_strategy_is_refused_before_a_kernel_starts(project, no_kernel):
    cell = 'symbol: str = "BTC/USDT"  # what\ntimeframe: str = "1h"  # bar\nstrategy: str = "ma_crossover"  # which\n'
    content = json.loads((project / "notebooks" / "tiny.ipynb").read_text(encoding="utf-8"))
    content["cells"][1]["source"] = cell
    (project / "notebooks" / "tiny.ipynb").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(DataError, match="is empty"):
        run_report("tiny")
    from peak_trade.data.sample import sample_bars
    from peak_trade.data.store import save_bars

    save_bars(sample_bars("BTC/USDT", n_bars=50))
    with pytest.raises(ConfigError, match="Did you mean ma_crossover"):
        run_report("tiny", {"strategy": "ma_crosover"})


def test_the_key_depends_on_parameters_data_and_lock_file(project):
    from peak_trade.data.sample import sample_bars
    from peak_trade.data.store import save_bars

    notebook = notebooks.find_notebook("tiny", project)
    first = notebooks._digests(notebook, {"n": 2}, project)
    assert notebooks._digests(notebook, {"n": 2}, project) == first
    save_bars(sample_bars("BTC/USDT", n_bars=50))
    (project / "requirements.lock").write_text("numpy==2\n", encoding="utf-8")
    after = notebooks._digests(notebook, {"n": 2}, project)
    assert {name for name in first if first[name] != after[name]} == {"data", "lock"}


def test_the_key_depends_on_the_bars_of_each_named_symbol_and_of_no_other(project):
    from peak_trade.data.sample import sample_bars
    from peak_trade.data.store import save_bars

    notebook = notebooks.find_notebook("tiny", project)
    values = {"symbol": "BTC/USDT", "timeframe": "1h", "others": "ETH/USDT,SOL/USDT"}
    digests = []
    for symbol in ("BTC/USDT", "SOL/USDT", "XRP/USDT"):
        save_bars(replace(sample_bars("BTC/USDT", n_bars=50), symbol=symbol))
        digests.append(notebooks._digests(notebook, values, project)["data"])
    assert digests[0] != digests[1] == digests[2]


@pytest.mark.parametrize("text", ["x" * 5_000, "a\0b"], ids=["longer than a path", "no path at all"])
def test_text_that_is_not_a_path_is_not_read_as_a_file(project, text):
    notebook = notebooks.find_notebook("tiny", project)
    assert notebooks._digests(notebook, {"note": text}, project) == notebooks._digests(notebook, {}, project)


@pytest.mark.parametrize(
    "text", ["", "{}", '{"nbformat": 4, "cells": [], "metadata": {}}'], ids=["empty", "no-notebook", "no-title"]
)
def test_a_file_that_is_not_a_notebook_gives_an_error_of_one_line(project, capsys, text):
    (project / "notebooks" / "broken.ipynb").write_text(text, encoding="utf-8")
    assert main(["report", "run", "broken"]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_a_stray_notebook_among_the_runs_is_named(project):
    (project / "reports" / "runs").mkdir(parents=True)
    (project / "reports" / "runs" / "stray.ipynb").write_text(
        '{"nbformat": 4, "cells": [], "metadata": {}}', encoding="utf-8"
    )
    with pytest.raises(ReportError, match=r"stray\.ipynb"):
        list_report_runs(project)


def test_notebooks_and_their_parameters_are_listed(project, capsys):
    assert main(["report", "list", "--notebooks"]) == 0
    assert "n          int           2        how many" in capsys.readouterr().out


def test_the_failed_cell_is_the_last_with_a_duration():
    cells = [
        {"cell_type": "code", "metadata": {"papermill": {"status": "completed", "duration": seconds}}}
        for seconds in (0.1, 1.0, None)
    ]
    assert notebooks._failed_cell({"cells": cells}) == 2


NOTES = "day: str = ''  # [date] when\nkind: str = 'a'  # [a | b] which\nshare: float = 0.5  # (0, 1] of equity\n"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"day": "2024-02-30"}, "day was '2024-02-30' (when). Give a UTC date or time like 2024-03-10"),
        ({"kind": "c"}, "kind was 'c' (which). Give a or b."),
        ({"share": 0.0}, "share was 0.0 (of equity). Give a number in (0, 1]."),
        ({"share": 1.5}, "share was 1.5 (of equity). Give a number in (0, 1]."),
    ],
    ids=["date", "alternative", "open-end", "above"],
)
def test_values_outside_their_range_are_refused_before_a_kernel_starts(project, no_kernel, given, message):
    path = project / "ideas.ipynb"
    path.write_text(json.dumps(notebook("1", parameters=NOTES)), encoding="utf-8")
    with pytest.raises(ConfigError) as refusal:
        run_report(str(path), given)
    assert message in str(refusal.value)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"start": "2023-01-03", "end": "2023-01-02"}, "start must be before end"),
        ({"start": "2024-01-01"}, "no bar lies in the requested span"),
        ({"end": "2023-01-01"}, "no bar lies in the requested span"),
        ({"config": "none.toml"}, "config was 'none.toml'. none.toml: there is no such file"),
        ({"fee_bps": -1.0}, "Give a number in [0, 10_000]."),
    ],
    ids=["order", "late-start", "early-end", "run-file", "number"],
)
def test_a_span_without_bars_or_a_missing_run_file_is_refused_before_a_kernel_starts(
    project, no_kernel, given, message
):
    from peak_trade.data.sample import sample_bars
    from peak_trade.data.store import save_bars

    save_bars(sample_bars("BTC/USDT", n_bars=50))
    with pytest.raises(PeakTradeError) as refusal:
        run_report("strategy_backtest", given)
    assert message in str(refusal.value)


RUN_FILE = "initial_cash = 5000.0\n"


@pytest.mark.parametrize(
    ("name", "parameter", "text", "message"),
    mostly_long(
        [
            ("strategy_backtest", "config", "fee = 1.0\n", "own.toml: fee is not a setting."),
            ("strategy_backtest", "config", "[costs]\nfee_bps = -1.0\n", "fee_bps"),
            ("strategy_backtest", "config", "[risk]\nmax_order = 1\n", "max_order"),
            ("risk_study", "config", "initial_cash = 'much'\n", "initial_cash"),
            ("regime_study", "config", "[risk]\n", "regime_study takes no table [risk] of a run file. Leave it out."),
            ("portfolio_backtest", "config", RUN_FILE, "own.toml"),
            ("risk_study", "risk_file", RUN_FILE, "initial_cash is not a table of a risk file."),
            ("shadow_vs_live_diff", "config", "fee = 1.0\n", "own.toml: fee is not a setting."),
        ],
        3,
    ),
)
def test_the_values_in_a_file_are_refused_before_a_kernel_starts(
    project, no_kernel, capsys, name, parameter, text, message
):
    (project / "own.toml").write_text(text, encoding="utf-8")
    assert main(["report", "run", name, "-p", f"{parameter}=own.toml"]) == 2
    shown = capsys.readouterr()
    assert shown.err.startswith(f"peak-trade: {name}: {parameter} was 'own.toml'. ")
    assert message in shown.err
    assert shown.err.count("\n") == 1
    assert shown.out == ""


@pytest.mark.parametrize(
    "name", mostly_long(["strategy_backtest", "risk_study", "regime_study", "shadow_vs_live_diff"], 2)
)
def test_a_file_with_valid_values_starts_the_notebook(project, no_kernel, name):
    """The kernel that must not start is the control of the refusals."""
    from peak_trade.data.sample import sample_bars
    from peak_trade.data.store import save_bars

    save_bars(sample_bars("BTC/USDT", n_bars=50))
    (project / "own.toml").write_text(RUN_FILE, encoding="utf-8")
    (project / "config").mkdir()
    (project / "config" / "risk.toml").write_text("[risk]\n", encoding="utf-8")
    with pytest.raises(pytest.fail.Exception, match="kernel"):
        run_report(name, {"config": "own.toml"})


@pytest.mark.filterwarnings("ignore")
def test_a_notebook_at_a_path_runs_with_a_parameters_file_and_leaves_a_copy(engine, project, tmp_path):
    folder = tmp_path / "other place"
    folder.mkdir()
    content = notebook(CALL)
    content["cells"][0] = {"cell_type": "markdown", "id": "head", "metadata": {}, "source": "# An idea"}
    path, values, copy = folder / "idea.ipynb", folder / "values.yaml", folder / "done.ipynb"
    path.write_text(json.dumps(content), encoding="utf-8")
    values.write_text("n: 4\n", encoding="utf-8")
    assert main(["report", "run", str(path), str(copy), "-f", str(values)]) == 0
    (run,) = list_report_runs(project)
    assert (run.notebook, run.title, run.version, run.parameters) == ("idea", "An idea", "0", {"n": 4})
    assert copy.read_text(encoding="utf-8") == run.path.read_text(encoding="utf-8")
    assert 'title: "An idea"' in read_json(copy)["cells"][0]["source"]
    assert main(["report", "run", str(path), str(copy), "-f", str(values), "-p", "n=0"]) == 1
    assert notebooks.read_run(copy).is_failed
    assert json.loads(path.read_text(encoding="utf-8")) == content


@pytest.mark.parametrize(
    ("arguments", "message"),
    mostly_long(
        [
            (["none.ipynb"], "none.ipynb: there is no such notebook"),
            (["x" * 5_000 + ".ipynb"], "there is no such notebook"),
            (["notebooks/tiny.ipynb", "out.txt"], "out.txt: the output is a notebook"),
            (["notebooks/tiny.ipynb", "nowhere/out.ipynb"], "nowhere: there is no such folder"),
            (["tiny", "notebooks/tiny.ipynb"], "notebooks/tiny.ipynb exists and is no executed notebook"),
            (["tiny", "-f", "none.yaml"], "none.yaml: could not be read: No such file or directory"),
            (["tiny", "-f", "list.yaml"], "list.yaml: this is not a table of parameters"),
            (["tiny", "-f", "broken.yaml"], "broken.yaml, line 2: this is not YAML"),
            (["tiny", "-f", "unknown.yaml"], "m is not a parameter"),
            (["tiny", "-p", "n", "4"], "parameter was 'n'. Write name=value"),
        ],
        4,
    ),
    ids=lambda value: value[-1][-12:] if isinstance(value, list) else "",
)
def test_a_wrong_path_or_file_is_one_line_before_a_kernel_starts(project, no_kernel, capsys, arguments, message):
    for name, text in (("list", "- 1\n"), ("broken", "n: [1\n"), ("unknown", "m: 1\n")):
        (project / f"{name}.yaml").write_text(text, encoding="utf-8")
    before = (project / "notebooks" / "tiny.ipynb").read_bytes()
    assert main(["report", "run", *arguments]) == 2
    told = capsys.readouterr().err
    assert message in told
    assert told.count("\n") == 1
    assert (project / "notebooks" / "tiny.ipynb").read_bytes() == before
