"""Each input of a run changes its id and the name of its page; nothing else does."""

from __future__ import annotations

import importlib
import json
import linecache
import os
import platform
import random
import shutil
import socket
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType

import pytest

from peak_trade.core import digest
from peak_trade.core.errors import ReportError
from peak_trade.core.lock import held_lock
from peak_trade.data.sample import sample_bars
from peak_trade.data.store import load_bars, save_bars
from peak_trade.data.workspace import workspace
from peak_trade.reports import notebooks
from peak_trade.reports.display import bundle
from peak_trade.reports.notebooks import ReportRun, run_report
from peak_trade.reports.views import backtest as view
from peak_trade.studies.backtest import backtest
from peak_trade.studies.trials import trials_sentence
from peak_trade.tracking import entries as entries_module
from peak_trade.wiring.run_file import read_run_file
from peak_trade.wiring.strategies import make_strategy
from tests.examples import mostly_long
from tests.reports.conftest import notebook

OWN = """
from peak_trade.strategies.base import Strategy


class Own(Strategy):
    signals: str = "signals.csv"

    @property
    def warm_up(self):
        return 0

    def exposure(self, bars):
        from idea_helper import SHARE

        return bars["close"].to_numpy() * 0.0 + SHARE
"""
RUN_FILE = """
initial_cash = 10000.0
seed = 1

[costs]
fee_bps = 10.0
slippage_bps = 5.0

[risk]
file = "limits.toml"
"""
LIMITS = "[risk]\nmax_gross_exposure = 2.0\nmax_drawdown = 0.5\n"
CELL = """from peak_trade.strategies.base import Strategy
LEVEL = 0.5
class InACell(Strategy):
    @property
    def warm_up(self):
        return 0
    def exposure(self, bars):
        return bars["close"].to_numpy() * 0.0 + LEVEL
"""
PARAMETERS = """run_file: str = "run.toml"  # settings of the run
strategy: str = "idea_own:Own"  # which
symbol: str = "BTC/USDT"  # what
timeframe: str = "1h"  # length of a bar
"""


@pytest.fixture
def place(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A project with an own strategy, a helper module, a run file that names a risk file, and a notebook."""
    root = tmp_path / "project"
    (root / "notebooks").mkdir(parents=True)
    (root / "notebooks" / "study.ipynb").write_text(json.dumps(notebook(CELL, parameters=PARAMETERS)), encoding="utf-8")
    (root / "run.toml").write_text(RUN_FILE, encoding="utf-8")
    (root / "limits.toml").write_text(LIMITS, encoding="utf-8")
    (root / "signals.csv").write_text("1.0\n", encoding="utf-8")
    (root / "idea_own.py").write_text(OWN, encoding="utf-8")
    (root / "idea_helper.py").write_text("SHARE = 0.25\n", encoding="utf-8")
    (root / "idea_unrelated.py").write_text("SHARE = 0.25\n", encoding="utf-8")
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.chdir(root)
    monkeypatch.syspath_prepend("")
    save_bars(sample_bars("BTC/USDT", n_bars=60))
    monkeypatch.setattr(notebooks, "_executed", _without_kernel)
    digest.environment_digest.cache_clear()
    yield root
    digest.environment_digest.cache_clear()
    _forget()


def _without_kernel(notebook: notebooks.Notebook, values: dict[str, object], *_: object) -> dict[str, object]:
    content = notebooks.read_json(notebook.path)
    content["metadata"]["peak_trade"] = {
        "notebook": notebook.name,
        "title": notebook.title,
        "version": notebook.version,
        "notebook_digest": notebook.digest,
        "parameters": values,
        "executed_at": "2024-06-01T00:00:00Z",
        "seconds": 1.0,
    }
    return content


def _forget() -> None:
    for name in [each for each in sys.modules if each.startswith("idea")]:
        del sys.modules[name]
    importlib.invalidate_caches()
    linecache.clearcache()


def run_and_page(monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """Return the run id and the name of the page as a new process in the working folder finds them."""
    _forget()
    digest.environment_digest.cache_clear()
    settings = read_run_file(Path("run.toml"))
    text = "".join(json.loads(Path("notebooks/study.ipynb").read_text(encoding="utf-8"))["cells"][2]["source"])
    main = ModuleType("__main__")
    linecache.cache["a cell"] = len(text), None, text.splitlines(keepends=True), "a cell"
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "__main__", main)
        exec(compile(text, "a cell", "exec", dont_inherit=True), vars(main))
        parts = [make_strategy("idea_own:Own"), vars(main)["InACell"]()]
        bars = load_bars("BTC/USDT", "1h")
        result = backtest(parts, bars, settings.settings, risk=settings.risk, causality_check=False)
    assert result.not_rerunnable == ""
    return result.run_id, run_report("study", root=Path()).slug


def edit(name: str, before: str, after: str) -> Callable[[Path, pytest.MonkeyPatch], None]:
    def change(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        text = (root / name).read_text(encoding="utf-8")
        assert before in text
        (root / name).write_text(text.replace(before, after), encoding="utf-8")

    return change


def change_a_bar(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(workspace() / "bars")
    bars = sample_bars("BTC/USDT", n_bars=60)
    frame = bars.frame.copy()
    frame.iloc[7, frame.columns.get_loc("volume")] += 1.0
    save_bars(type(bars)(frame, bars.symbol, bars.timeframe, bars.exchange))


def change_a_version(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = digest.version
    monkeypatch.setattr(digest, "version", lambda name: known(name) + ("+1" if name == "scipy" else ""))


def change_the_package(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = root.parent / "package"
    (package / "core").mkdir(parents=True)
    (package / "core" / "digest.py").write_text("changed = True\n", encoding="utf-8")
    monkeypatch.setattr(digest, "__file__", str(package / "core" / "digest.py"))


INPUTS = {
    "a setting": edit("run.toml", "fee_bps = 10.0", "fee_bps = 11.0"),
    "a file that the run file names": edit("limits.toml", "max_drawdown = 0.5", "max_drawdown = 0.4"),
    "a file that a parameter names": edit("signals.csv", "1.0", "2.0"),
    "the strategy's module": edit("idea_own.py", "* 0.0", "* 0.00"),
    "a helper module": edit("idea_helper.py", "0.25", "0.50"),
    "a bar": change_a_bar,
    "the seed": edit("run.toml", "seed = 1", "seed = 2"),
    "the version of a package": change_a_version,
    "the text of the notebook": edit("notebooks/study.ipynb", "LEVEL = 0.5", "LEVEL = 0.25"),
    "the code of the package": change_the_package,
    "the operating system": lambda root, patch: patch.setattr(platform, "system", lambda: "Plan9"),
    "the architecture": lambda root, patch: patch.setattr(platform, "machine", lambda: "vax"),
    "the version of Python": lambda root, patch: patch.setattr(platform, "python_version", lambda: "3.99.0"),
}


def order_keys(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "limits.toml").write_text("[risk]\nmax_drawdown = 0.5\nmax_gross_exposure = 2.0\n", encoding="utf-8")
    head, costs, risk = RUN_FILE.strip().split("\n\n")
    swapped = ["\n".join(reversed(head.splitlines())), risk, costs.replace("fee_bps = 10.0\n", "") + "\nfee_bps = 10.0"]
    (root / "run.toml").write_text("\n\n".join(swapped) + "\n", encoding="utf-8")


def move(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = root.parent / "elsewhere" / "checkout"
    shutil.copytree(root, other)
    monkeypatch.chdir(other)
    shutil.rmtree(root)


NON_INPUTS = {
    "nothing": lambda root, patch: None,
    "the order of keys": order_keys,
    "the path of the checkout": move,
    "the time": lambda root, patch: patch.setattr(time, "time", lambda: 2e9),
    "the host": lambda root, patch: (
        patch.setattr(platform, "node", lambda: "elsewhere"),
        patch.setattr(socket, "gethostname", lambda: "elsewhere"),
    ),
    "an import": lambda root, patch: importlib.import_module("idea_unrelated"),
    "a module that nothing imports": edit("idea_unrelated.py", "0.25", "0.50"),
    "random numbers": lambda root, patch: random.random(),
}


@pytest.fixture(scope="module")
def kept() -> list[tuple[str, str]]:
    return []


@pytest.fixture
def unchanged(place: Path, kept: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """What the project gives before a change: the same in the folder of every test, so it is computed in one."""
    if not kept:
        kept.append(run_and_page(monkeypatch))
    return kept[0]


@pytest.mark.parametrize("changed", mostly_long(INPUTS, 3))
def test_an_input_changes_the_run_and_the_page(
    changed: str, place: Path, unchanged: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, page = unchanged
    INPUTS[changed](place, monkeypatch)
    after, page_after = run_and_page(monkeypatch)
    assert after != run
    assert page_after != page


@pytest.mark.parametrize("changed", mostly_long(NON_INPUTS, 2))
def test_anything_else_changes_neither(
    changed: str, place: Path, unchanged: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    NON_INPUTS[changed](place, monkeypatch)
    assert run_and_page(monkeypatch) == unchanged


def _with_a_run(notebook: notebooks.Notebook, values: dict[str, object], *_: object) -> dict[str, object]:
    """Run the notebook's strategy in this process, and show the run and its trials."""
    content = _without_kernel(notebook, values)
    result = backtest(make_strategy("idea_own:Own"), load_bars("BTC/USDT", "1h"), causality_check=False)
    shown = bundle(view.run_facts(result), "run"), bundle(trials_sentence(result.digests), "trials")
    outputs = [{"output_type": "display_data", "metadata": {}, "data": each} for each in shown]
    content["cells"][-1]["outputs"] = outputs
    content["metadata"]["peak_trade"]["executed_at"] = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    return content


@pytest.fixture
def page(place: Path, monkeypatch: pytest.MonkeyPatch) -> ReportRun:
    monkeypatch.setattr(notebooks, "_executed", _with_a_run)
    return run_report("study")


@pytest.mark.long
def test_a_later_trial_on_the_data_renews_the_page_and_not_the_run(page: ReportRun) -> None:
    assert run_report("study").is_cached
    bars = load_bars("BTC/USDT", "1h")
    before = backtest(make_strategy("idea_own:Own"), bars, causality_check=False)
    assert run_report("study").is_cached
    backtest(make_strategy("ma_crossover"), bars)
    renewed = run_report("study")
    assert not renewed.is_cached
    assert (renewed.run_id, renewed.slug) == (page.run_id, page.slug)
    assert renewed.key != page.key
    assert "2 trials" in json.dumps(notebooks.results(notebooks.read_json(renewed.path)))
    assert run_report("study").is_cached
    after = backtest(make_strategy("idea_own:Own"), bars, causality_check=False)
    assert (after.run_id, after.content_digest) == (before.run_id, before.content_digest)


def test_a_trial_on_other_data_renews_no_page(page: ReportRun) -> None:
    bars = replace(sample_bars("ETH/USDT", n_bars=60), symbol="ETH/USDT")
    backtest(make_strategy("ma_crossover"), bars)
    assert run_report("study").is_cached


def test_the_outcome_of_a_check_for_look_ahead_renews_the_page_and_not_the_run(
    page: ReportRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes = {(page.run_id, "causality"): "own shows no look-ahead in a short check."}
    monkeypatch.setattr(entries_module, "local_note", lambda *asked: notes.get(asked, ""))
    renewed = run_report("study")
    assert not renewed.is_cached
    assert renewed.run_id == page.run_id
    assert run_report("study").is_cached


@pytest.mark.long
def test_a_page_counts_as_what_it_shows_although_a_trial_comes_meanwhile(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def overtaken(*arguments: object) -> dict[str, object]:
        content = _with_a_run(*arguments)
        backtest(make_strategy("ma_crossover"), load_bars("BTC/USDT", "1h"))
        return content

    monkeypatch.setattr(notebooks, "_executed", overtaken)
    run_report("study")
    assert not run_report("study").is_cached
    assert run_report("study").is_cached


def test_equal_runs_at_the_same_time_wait_for_one_result(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    executed = []

    def slow(notebook: notebooks.Notebook, values: dict[str, object], *rest: object) -> dict[str, object]:
        executed.append(values["strategy"])
        time.sleep(0.1)
        return _without_kernel(notebook, values, *rest)

    monkeypatch.setattr(notebooks, "_executed", slow)
    digest.environment_digest.cache_clear()  # the threads read the versions of all packages at once
    with ThreadPoolExecutor(4) as pool:
        runs = list(pool.map(lambda _: run_report("study"), range(4)))
        assert executed == ["idea_own:Own"]
        assert sorted(run.is_cached for run in runs) == [False, True, True, True]
        list(pool.map(lambda name: run_report("study", {"strategy": name}), ["cash", "ma_crossover"]))
    assert sorted(executed) == ["cash", "idea_own:Own", "ma_crossover"]


def test_a_run_that_waits_too_long_names_the_process_that_runs_it(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = run_report("study").path
    monkeypatch.setattr(notebooks, "WAIT_SECONDS", 0.05)
    with (
        held_lock(place / "reports" / ".locks" / f"{path.stem}.lock", 0.0),
        pytest.raises(ReportError, match=rf"under way: .*process {os.getpid()} \(.+\) has held the lock since 20"),
    ):
        run_report("study", force=True)
    assert run_report("study").is_cached
