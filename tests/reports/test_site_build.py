"""A build is atomic and reproducible: it leaves the previous site or the new one, and equal inputs give equal bytes."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from peak_trade.cli import main
from peak_trade.core import files
from peak_trade.core.errors import ReportError
from peak_trade.reports.notebooks import ReportRun
from peak_trade.reports.project import SITE
from peak_trade.site import build, pages
from peak_trade.site.build import build_site, site_lock, staging_folder
from tests.reports.conftest import make_project, write_executed
from tests.reports.test_site import needs_quarto

pytestmark = pytest.mark.filterwarnings("ignore")
ROOT = Path(__file__).parents[2]


def contents(folder: Path) -> dict[str, bytes]:
    """The files of a folder, and its empty folders."""
    found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*")}
    return {name: path.read_bytes() if path.is_file() else b"" for name, path in found.items()}


def sources(root: Path) -> dict[str, bytes]:
    """Everything in a project but the site and the lock files."""
    return {
        name: text for name, text in contents(root).items() if not name.startswith(("reports/site", "reports/.locks"))
    }


def change(root: Path, text: str = "Another.") -> None:
    for name in ("docs/metrics.md", "docs/tutorial.md"):
        (root / name).write_text(f"# Changed\n\n## A table\n\n{text}\n", encoding="utf-8")


@pytest.fixture(scope="module")
def pattern(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a project whose site is built, and with its staging folder."""
    folder = tmp_path_factory.mktemp("pattern")
    root = make_project(folder / "project")
    write_executed(root, "tiny-good")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PEAK_TRADE_HOME", str(folder / "home"))
        patch.chdir(root)
        build_site(root, "nbconvert")
        staging_folder(root).rename(folder / "stage")
    return folder


@pytest.fixture
def built(pattern: Path, tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a built site; it is copied, because a build takes ten times as long."""
    root = tmp_path / "project"
    shutil.copytree(pattern / "project", root)
    shutil.copytree(pattern / "stage", staging_folder(root))
    monkeypatch.chdir(root)
    return root


@pytest.mark.long
def test_a_copy_of_a_project_with_its_staging_folder_has_nothing_to_render(built):
    site = contents(built / SITE)
    assert build_site(built, "nbconvert").rendered == ()
    assert contents(built / SITE) == site


def test_a_build_writes_the_site_alone_into_the_project(project, executed):
    executed("tiny-good")
    before = sources(project)
    build_site(project, "nbconvert")
    assert sources(project) == before


CTRL_C, FULL = KeyboardInterrupt(), OSError(28, "No space left on device")
PLACES = (
    "fallback.write_text",
    "build.replace_folder",
    "build.copy_scripts",
    "build.write_pages",
    "build.render_pages",
    "build.check_site",
    "build.shutil.copytree",
)


@pytest.mark.long
@pytest.mark.parametrize(
    ("place", "error"),
    [(place, error) for place in PLACES for error in (CTRL_C, FULL)],
    ids=lambda part: part if isinstance(part, str) else "Ctrl-C" if part is CTRL_C else "full",
)
def test_a_build_that_ends_early_leaves_the_previous_site_and_the_sources(built, monkeypatch, place, error):
    site, tree = contents(built / SITE), sources(built)
    change(built)
    changed = sources(built)
    with monkeypatch.context() as patch:
        patch.setattr(f"peak_trade.site.{place}", lambda *_, **__: (_ for _ in ()).throw(error))
        with pytest.raises(type(error)):
            build_site(built, "nbconvert")
    assert contents(built / SITE) == site
    assert sources(built) == changed != tree
    build_site(built, "nbconvert")
    after = contents(built / SITE)
    shutil.rmtree(staging_folder(built))
    build_site(built, "nbconvert")
    assert contents(built / SITE) == after != site


@pytest.mark.long
@pytest.mark.parametrize("n_rendered", [1, 2])
def test_a_page_that_changed_during_an_interrupted_build_is_rendered_again(built, n_rendered):
    site = contents(built / SITE)
    original = {path: path.read_bytes() for path in (built / "docs").glob("*.md")}
    change(built)
    seen: list[str] = []

    def stop(page: str) -> None:
        seen.append(page)
        if len(seen) > n_rendered:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_site(built, "nbconvert", stop if n_rendered == 1 else lambda page: stop(page) or stop(page))
    for path, text in original.items():
        path.write_bytes(text)
    build_site(built, "nbconvert")
    assert contents(built / SITE) == site


@pytest.mark.long
def test_equal_inputs_give_equal_bytes_elsewhere_and_after_other_builds(project, executed, monkeypatch, tmp_path):
    executed("tiny-good")
    executed("tiny-bad", error="no such bar")
    original = tmp_path / "original"
    shutil.copytree(project, original)
    build_site(project, "nbconvert")
    change(project)
    (project / "docs" / "new.md").write_text("# New\n", encoding="utf-8")
    build_site(project, "nbconvert")
    for name in ("metrics.md", "tutorial.md"):
        shutil.copyfile(original / "docs" / name, project / "docs" / name)
    (project / "docs" / "new.md").unlink()
    build_site(project, "nbconvert")
    monkeypatch.setenv("PEAK_TRADE_HOME", str(tmp_path / "other home"))
    monkeypatch.chdir(original)
    build_site(Path(), "nbconvert")
    assert contents(original / SITE) == contents(project / SITE)


@pytest.mark.long
def test_the_page_of_a_run_is_made_again_only_when_its_notebook_changes(built, monkeypatch):
    made: list[str] = []
    page_of = pages.page_of

    def counted(run: ReportRun, *others: Any) -> dict[str, Any]:
        made.append(run.slug)
        return page_of(run, *others)

    build_site(built, "nbconvert")
    monkeypatch.setattr(pages, "page_of", counted)
    build_site(built, "nbconvert")
    write_executed(built, "tiny-more", symbol="ETH/USDT")
    build_site(built, "nbconvert")
    write_executed(built, "tiny-good", symbol="ETH/USDT")
    build_site(built, "nbconvert")
    assert made == ["tiny-more", "tiny-good"]
    assert "ETH" in (built / SITE / "reports" / "pages" / "tiny-good.html").read_text(encoding="utf-8")


@pytest.mark.long
def test_a_damaged_site_is_installed_again_without_rendering(built):
    site = contents(built / SITE)
    (built / SITE / "index.html").unlink()
    (built / SITE / "docs" / "tutorial.html").write_text("x", encoding="utf-8")
    (built / SITE / "foreign.html").write_text("x", encoding="utf-8")
    assert build_site(built, "nbconvert").rendered == ()
    assert contents(built / SITE) == site


@pytest.mark.long
def test_a_changed_image_is_copied_although_its_page_is_the_same(built):
    (built / "docs" / "pictures" / "one.png").write_bytes(b"\x89PNG2")
    assert build_site(built, "nbconvert").rendered == ()
    assert (built / SITE / "docs" / "pictures" / "one.png").read_bytes() == b"\x89PNG2"


@pytest.mark.long
def test_a_site_that_is_a_link_stays_one(built, tmp_path):
    shutil.move(built / SITE, tmp_path / "www")
    (built / SITE).symlink_to(tmp_path / "www")
    change(built)
    build_site(built, "nbconvert")
    assert (built / SITE).is_symlink()
    assert "Another" in (tmp_path / "www" / "docs" / "tutorial.html").read_text(encoding="utf-8")


@pytest.mark.long
def test_what_a_killed_build_left_is_removed(built):
    (built / "reports" / ".site-left").mkdir()
    build_site(built, "nbconvert")
    assert not (built / "reports" / ".site-left").exists()


@pytest.mark.long
def test_a_second_build_at_the_same_time_is_refused_in_one_line(built, capsys):
    site = contents(built / SITE)
    with site_lock(built):
        assert main(["site", "build", "--renderer", "nbconvert"]) == 2
    line = capsys.readouterr().err
    assert line.startswith("peak-trade: the site is being built or published: reports/.locks/site.lock: process ")
    assert line.count("\n") == 1
    assert contents(built / SITE) == site


@pytest.mark.long
def test_an_unchanged_site_is_built_without_mlflow(built, monkeypatch):
    program = (
        "import sys; from peak_trade.cli import main; code = main(['site', 'build', '--renderer', 'nbconvert'])\n"
        "assert not [name for name in sys.modules if name.partition('.')[0] in ('mlflow', 'nbconvert')]; sys.exit(code)"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=built, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert ", 0 rendered now" in done.stdout


@pytest.mark.parametrize("can_exchange", [True, False])
def test_a_folder_is_replaced_with_all_its_files(tmp_path, monkeypatch, can_exchange):
    if not can_exchange:
        monkeypatch.setattr(files, "_exchange", lambda first, second: False)
    for round_ in range(3):
        new = tmp_path / f"new-{round_}"
        (new / "a").mkdir(parents=True)
        (new / "a" / f"{round_}.txt").write_text("x")
        files.replace_folder(new, tmp_path / "site")
        assert set(contents(tmp_path)) == {"site", "site/a", f"site/a/{round_}.txt"}


INTERRUPTIONS = 12


@pytest.mark.long
def test_ctrl_c_at_any_moment_leaves_a_whole_site_and_the_sources(built, tmp_path):
    """Ctrl-C reaches the process at random moments; afterwards the site is the previous or the new one."""
    program = "import sys; from peak_trade.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", program, "site", "build", "--renderer", "nbconvert"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    draw = random.Random(1)
    known = [contents(built / SITE)]
    ended_early = 0
    for number in range(INTERRUPTIONS):
        change(built, f"Round {number}.")
        tree = sources(built)
        process = subprocess.Popen(
            command, cwd=built, env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL
        )
        time.sleep(draw.uniform(0.2, 3.0))
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
        assert process.returncode in (0, 130, -signal.SIGINT), said  # the last one while Python starts or ends
        ended_early += process.returncode != 0
        assert sources(built) == tree
        now = contents(built / SITE)
        if now != known[-1]:
            assert f"Round {number}." in now["docs/tutorial.html"].decode()
            known.append(now)
    assert ended_early
    build_site(built, "nbconvert")
    after = contents(built / SITE)
    shutil.rmtree(staging_folder(built))
    build_site(built, "nbconvert")
    assert contents(built / SITE) == after


def test_an_interruption_ends_the_processes_of_quarto(tmp_path, monkeypatch):
    script = tmp_path / "quarto"
    script.write_text('#!/bin/sh\nsleep 60 & echo $! > "$0.pid"\nsleep 0.2\nkill -INT $PPID\nwait\n', encoding="utf-8")
    script.chmod(0o755)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a program in the background ignores it
    try:
        with pytest.raises(KeyboardInterrupt):
            build._run([str(script)], tmp_path)
    finally:
        signal.signal(signal.SIGINT, before)
    pid = int((tmp_path / "quarto.pid").read_text())
    for _ in range(200):
        status = Path(f"/proc/{pid}/stat")
        if not status.exists() or status.read_text().split()[2] == "Z":
            return
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    pytest.fail("a process of quarto went on")


@pytest.mark.quarto
@needs_quarto
def test_quarto_gives_equal_bytes_for_equal_inputs(project, executed, monkeypatch, tmp_path):
    executed("tiny-good")
    other = tmp_path / "other"
    shutil.copytree(project, other)
    build_site(project, "quarto")
    monkeypatch.setenv("PEAK_TRADE_HOME", str(tmp_path / "other home"))
    build_site(other, "quarto")
    assert contents(other / SITE) == contents(project / SITE)


@pytest.mark.long
def test_a_project_without_a_folder_for_reports_is_built(project):
    shutil.rmtree(project / "reports" / "runs", ignore_errors=True)
    assert build_site(project, "nbconvert").n_pages > 4


@pytest.mark.long
def test_a_renderer_that_fails_leaves_the_previous_site(built, monkeypatch):
    site = contents(built / SITE)
    change(built)

    def fail(*_: object, **__: object) -> None:
        raise ReportError("quarto render failed")

    monkeypatch.setattr(build, "quarto_version", lambda: (1, 7, 34))
    monkeypatch.setattr(build, "_render_with_quarto", fail)
    with pytest.raises(ReportError, match="quarto render failed"):
        build_site(built, "quarto")
    assert contents(built / SITE) == site
    assert "Rendered" not in (found := build_site(built, "auto")).notice
    assert found.notice == "quarto render failed The pages were rendered with nbconvert."
    assert found.renderer == "nbconvert"
