"""The site is built from executed notebooks, needs no network, and renders only pages that changed."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from peak_trade.cli import main
from peak_trade.core.errors import ReportError
from peak_trade.reports.project import SITE
from peak_trade.site import build as site
from peak_trade.site.build import build_site
from tests.reports.conftest import documents

needs_quarto = pytest.mark.skipif(shutil.which("quarto") is None, reason="there is no quarto on PATH")
needs_chromium = pytest.mark.skipif(shutil.which("chromium") is None, reason="there is no chromium on PATH")


def pages(root: Path) -> dict[str, str]:
    folder = root / "reports" / "site"
    return {path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8") for path in folder.rglob("*.html")}


@pytest.fixture
def two_runs(executed):
    executed("tiny-good")
    executed("tiny-bad", error="no such bar")


@pytest.mark.filterwarnings("ignore")
def test_nbconvert_renders_every_page_with_its_outputs(project, two_runs, capsys):
    assert main(["site", "build", "--renderer", "nbconvert"]) == 0
    built = pages(project)
    studies = {f"reports/pages/{path.stem}.html" for path in (project / "notebooks").glob("*.ipynb")}
    listed = {page.with_suffix(".html").as_posix() for page in documents()}
    assert set(built) == studies | listed | {
        "index.html", "reports/pages/index.html", "reports/pages/readiness.html",
        "reports/pages/sessions.html", "reports/pages/rejected.html", "reports/pages/methods.html",
        "reports/pages/health.html",
        "reports/pages/tiny-good.html", "reports/pages/tiny-bad.html",
    }  # fmt: skip
    assert 'href="tiny-good.html"' in built["reports/pages/tiny.html"]
    assert "There are no runs yet" in built["reports/pages/regime_study.html"]
    good = built["reports/pages/tiny-good.html"]
    assert 'id="figure-equity"' in good
    assert "peakTrade.draw" in good
    assert "a &lt; b" in good
    assert "<b>bare html</b>" in good
    assert "{=html}" not in good
    assert "<summary>Notebook, parameters and digests</summary>" in good
    assert re.search(r"<h2 id=[^>]*>A heading", good)
    assert "&lt;h2" not in good
    bad = built["reports/pages/tiny-bad.html"]
    assert "This run failed</strong> in code cell 2: E: no such bar" in bad
    assert '<pre class="pt-traceback">no such bar</pre>' in bad
    assert "never()" not in bad
    assert "tiny-bad.html" in (project / "reports" / "site" / "reports" / "lib" / "runs.js").read_text(encoding="ascii")
    assert all("Rendered by nbconvert" in text for text in built.values())
    assert 'href="metrics.html#a-table"' in built["docs/README.html"]
    capsys.readouterr()
    assert main(["site", "build", "--renderer", "nbconvert"]) == 0
    assert "0 rendered now" in capsys.readouterr().out
    (project / "docs" / "metrics.md").write_text("# Metrics\n\nAnother.\n", encoding="utf-8")
    (project / "reports" / "runs" / "tiny-bad.ipynb").unlink()
    rendered = build_site(project, "nbconvert").rendered
    assert [page.as_posix() for page in rendered] == [
        "docs/metrics.md",
        "reports/pages/index.md",
        "reports/pages/tiny.md",
    ]
    assert "reports/pages/tiny-bad.html" not in pages(project)


def test_auto_says_why_it_renders_with_nbconvert(project, monkeypatch):
    monkeypatch.setattr(site, "quarto_version", lambda: None)
    version, notice = site._find_quarto("auto")
    assert version is None
    assert notice.startswith("There is no quarto on PATH; the pages were rendered with nbconvert.")
    monkeypatch.setattr(site, "quarto_version", lambda: (1, 4, 2))
    with pytest.raises(ReportError, match=r"quarto is 1\.4\.2; version 1\.7 or later is needed"):
        site._find_quarto("quarto")


def test_a_folder_that_is_not_a_project_is_refused(tmp_path):
    with pytest.raises(ReportError, match=r"_quarto\.yml"):
        build_site(tmp_path)


@pytest.mark.quarto
@needs_quarto
def test_quarto_renders_the_same_site_without_error_or_warning(project, two_runs):
    said: list[str] = []
    assert build_site(project, "quarto", said.append).faults == ()
    assert said == ["all pages with Quarto"]
    built = pages(project)
    assert "tiny-good.html" in str(built.keys())
    assert all("Rendered by Quarto" in text for text in built.values())
    assert "This run failed</strong> in code cell 2" in built["reports/pages/tiny-bad.html"]
    assert "require.min.js" not in built["reports/pages/tiny-good.html"]
    assert build_site(project, "quarto").rendered == ()


@pytest.mark.browser
@needs_chromium
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("renderer", ["nbconvert", pytest.param("quarto", marks=[pytest.mark.quarto, needs_quarto])])
def test_a_page_draws_its_figures_without_other_hosts(project, two_runs, tmp_path, renderer):
    build_site(project, renderer)
    page = project / "reports" / "site" / "reports" / "pages" / "tiny-good.html"
    log = tmp_path / "net.json"
    done = subprocess.run(
        [
            "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync",
            f"--user-data-dir={tmp_path / 'profile'}", f"--log-net-log={log}", "--virtual-time-budget=8000",
            "--dump-dom", page.resolve().as_uri(),
        ],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert 'class="main-svg"' in done.stdout
    assert re.search(r'<path class="[^"]*js-line', done.stdout)
    events = [event["params"] for event in json.loads(log.read_text(encoding="utf-8"))["events"] if "params" in event]
    # Requests that no page began are the browser's own.
    asked = [event["url"] for event in events if event.get("initiator", "not an origin") != "not an origin"]
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []


def test_reports_write_every_file_atomically():
    package = Path(site.__file__).parents[1]
    paths = [path for folder in ("reports", "site") for path in (package / folder).rglob("*.py")]
    sources = {path.name: path.read_text(encoding="utf-8") for path in paths}
    assert [name for name, text in sources.items() if ".write_text(" in text or ".write_bytes(" in text] == []


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")
def test_an_incomplete_cache_is_rebuilt(project, two_runs):
    whole = build_site(project, "nbconvert")
    path = site.staging_folder(project) / SITE / site.BUILT
    path.write_text(path.read_text(encoding="utf-8")[:9], encoding="utf-8")
    assert build_site(project, "nbconvert").rendered == whole.rendered
    assert build_site(project, "nbconvert").rendered == ()
