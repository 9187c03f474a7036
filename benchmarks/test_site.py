"""Time of `peak-trade site build` on an unchanged site of thirty executed notebooks, in a new process."""

import subprocess
import sys

from peak_trade.site.build import build_site
from tests.reports.conftest import make_project, write_executed

N_PAGES = 30
PROGRAM = "from peak_trade.cli import main; main(['site', 'build', '--renderer', 'nbconvert'])"


def test_unchanged_site_of_thirty_pages(benchmark, tmp_path, monkeypatch):
    monkeypatch.setenv("PEAK_TRADE_HOME", str(tmp_path / "home"))
    root = make_project(tmp_path / "project")
    for number in range(N_PAGES):
        write_executed(root, f"tiny-{number}")
    monkeypatch.chdir(root)
    build_site(root, "nbconvert")
    done = benchmark(subprocess.run, [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert " 0 rendered now" in done.stdout
