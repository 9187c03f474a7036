"""The check of a site names each broken link, load from another host, folder of this machine and large page."""

from __future__ import annotations

import json
import posixpath
import re
import sys
from pathlib import Path

import pytest

from peak_trade.cli import main
from peak_trade.data.workspace import workspace
from peak_trade.reports.project import machine_folders, without_folders
from peak_trade.site import check
from peak_trade.site.build import build_site
from peak_trade.site.check import check_site
from tests.reports.test_site import needs_quarto, pages

OTHER = "https://other.example"


@pytest.fixture
def site(tmp_path, home) -> Path:
    """A site of two pages without faults: relative links, anchors, a folder with a blank, links to other hosts."""
    folder = tmp_path / "site"
    (folder / "a b").mkdir(parents=True)
    (folder / "a b" / "x.png").write_bytes(b"\x89PNG \xff")
    (folder / "a b" / "index.html").write_text(
        '<a href="../page.html#h%C3%A9">p</a><img src="x.png"><a href="#top">t</a>'
    )
    text = (
        '<h2 id="h\u00e9">H</h2><a href="a%20b/x.png">x</a><a href="a%20b/">f</a><a href="">self</a><a href="#">top</a>'
        f'<a href="{OTHER}/">o</a><a href="mailto:a@b.example">m</a><link rel="canonical" href="{OTHER}/page.html">'
        '<img src="data:image/png;base64,AAAA"><img srcset="a%20b/x.png 1x, a%20b/x.png 2x">'
        '<svg><use href="#h\u00e9"/></svg>'
    )
    (folder / "page.html").write_text(text, encoding="utf-8")
    (folder / ".hidden.html").write_text('<a href="no.html">no</a>')
    return folder


def add(site: Path, text: str, name: str = "page.html") -> list[str]:
    path = site / name
    path.write_text((path.read_text(encoding="utf-8") if path.exists() else "") + text, encoding="utf-8")
    return check_site(site, site.with_name("project"))


def test_a_site_without_faults_has_none(site):
    assert add(site, "") == []


FAULTS = {
    "missing page": ('<a href="no.html">n</a>', "it links to no.html, and there is no such file in the site."),
    "case": ('<a href="Page.html">n</a>', "it links to Page.html, and there is no such file in the site."),
    "outside": ('<a href="../x">n</a>', "it links to ../x, and there is no such file in the site."),
    "hidden": ('<a href=".hidden.html">n</a>', "it links to .hidden.html, and there is no such file in the site."),
    "anchor": ('<a href="#no">n</a>', "it links to #no, and that page has no such anchor."),
    "anchor of a page": ('<a href="a%20b/#no">n</a>', "it links to a%20b/#no, and that page has no such anchor."),
    "absolute": ('<a href="/page.html">n</a>', "it links to /page.html; write the path relative to the page."),
    "missing image": ('<img src="no.png">', "it links to no.png, and there is no such file in the site."),
    "script": (f'<script src="{OTHER}/x.js"></script>', f"it loads {OTHER}/x.js from another host."),
    "no scheme": ('<link rel="stylesheet" href="//o.example/x.css">', "it loads //o.example/x.css from another host."),
    "srcset": (f'<img srcset="x.png 1x, {OTHER}/x.png 2x">', f"it loads {OTHER}/x.png from another host."),
    "frame": (f'<iframe src="{OTHER}/"></iframe>', f"it loads {OTHER}/ from another host."),
    "style": (f"<p style=\"background: url('{OTHER}/x.png')\">", f"it loads {OTHER}/x.png from another host."),
    "import": (f'<style>@import "{OTHER}/x.css";</style>', f"it loads {OTHER}/x.css from another host."),
    "key": ("-----BEGIN OPENSSH PRIVATE KEY-----", "it holds a private key."),
}


@pytest.mark.parametrize(("text", "fault"), FAULTS.values(), ids=FAULTS)
def test_each_fault_is_named_with_its_page(site, text, fault):
    assert f"page.html: {fault}" in add(site, text)


def test_a_style_sheet_that_loads_from_another_host_is_named(site):
    assert add(site, f"@import url({OTHER}/x.css);", "site.css") == [
        f"site.css: it loads {OTHER}/x.css from another host."
    ]


def test_a_page_above_the_budget_is_named_with_its_size(site, monkeypatch):
    monkeypatch.setattr(check, "PAGE_BUDGET_KB", 2)
    assert add(site, "x" * 1_000) == []
    assert add(site, "x" * 1_000) == ["page.html: the page has 2 kB, more than 2 kB."]


def test_a_folder_of_this_machine_is_named_wherever_it_stands(site):
    root = site.with_name("project")
    folders = machine_folders(root)
    for folder in folders:
        for text in (folder, f"{folder}/x.py", f"file://{folder}/x", f'{{"a":"{folder}/x"}}', f"see {folder}."):
            (fault,) = add(site, text, "runs.js")
            assert fault == f"runs.js: it names {folder}, a folder of this machine."
            assert add(site, without_folders(text, root), "other.js") == [fault]
            (site / "runs.js").unlink()
            (site / "other.js").unlink()
        if not any(folder.startswith(f"{other}/") for other in folders):  # else the text names the other one
            assert add(site, f"/mnt{folder}/x {folder}x {folder}.old", "runs.js") == []
            (site / "runs.js").unlink()


def test_a_page_shows_paths_of_the_project_relative_to_it(project, home):
    root = project.resolve()
    texts = {f"{root}/config/x.toml": "config/x.toml", f"in {root}": "in .", f"{Path.home()}/a": "~/a"}
    texts |= {
        f"{workspace().resolve()}/s": "workspace/s",
        "a/b": "a/b",
        "https://x.example/a/": "https://x.example/a/",
    }
    for text, shown in texts.items():
        assert without_folders(text, root) == shown


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")
def test_a_built_site_names_no_folder_of_this_machine(project, executed):
    folders = [str(project.resolve()), str(Path.home()), str(workspace().resolve()), sys.prefix]
    error = "; ".join(f"{folder}/secret.py" for folder in folders)
    path = executed("tiny-bad", error=error, symbol=error)
    content = json.loads(path.read_text(encoding="utf-8"))
    content["metadata"]["peak_trade"]["parameters"]["config"] = f"{project.resolve()}/config/x.toml"
    path.write_text(json.dumps(content), encoding="utf-8")
    assert build_site(project, "nbconvert").faults == ()
    built = pages(project)
    assert "secret.py" in built["reports/pages/tiny-bad.html"]
    assert "config=config/x.toml" in built["reports/pages/tiny-bad.html"]
    assert [name for name, text in built.items() for folder in folders if f"{folder}/" in text] == []


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")
def test_a_build_with_faults_names_them_and_exits_1_until_they_are_gone(project, capsys):
    tutorial = project / "docs" / "tutorial.md"
    tutorial.write_text(f"[x](no.md#y), [z](metrics.md#no), {Path.home()}/key.pem\n", encoding="utf-8")
    faults = [
        f"docs/tutorial.html: it names {Path.home()}, a folder of this machine.",
        "docs/tutorial.html: it links to metrics.html#no, and that page has no such anchor.",
        "docs/tutorial.html: it links to no.html#y, and there is no such file in the site.",
    ]
    for _ in range(2):  # the second build renders nothing
        assert main(["site", "build", "--renderer", "nbconvert"]) == 1
        assert [line for line in capsys.readouterr().out.splitlines() if line.startswith("docs/")] == sorted(faults)
    tutorial.write_text("# Tutorial\n", encoding="utf-8")
    assert main(["site", "build", "--renderer", "nbconvert"]) == 0


HEADINGS = """# Title

## Costs, fees & slippage (1.2) — `code`

## 3 *ways* of <b>it</b>

## 3 *ways* of <b>it</b>

### [A link](metrics.md) and snake_case

## 2024

[one](#ways-of-it-1), [two](#section), [three](metrics.md#a-table)
"""


def links_and_anchors(site: Path) -> dict[str, tuple[set[str], set[str]]]:
    """Targets of the links of the text of each page, and the anchors of its headings that are of the text."""
    found = {}
    for name, text in sorted(pages(site).items()):
        main = text[text.index("<main") : text.index("</main>")]
        folder = posixpath.dirname(name)
        targets = [link for link in check.read_page_links(main).links if link[0] != "#"]
        links = {posixpath.normpath(posixpath.join(folder, target)) for target in targets}
        headings = set(re.findall(r'<h[2-6][^>]*? (?:id|data-anchor-id)="([^"]+)"', main))
        headings |= set(re.findall(r'<section id="([^"]+)"', main))
        found[name] = (links, headings - {"toc-title"})
    return found


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")
def test_headings_have_the_anchors_of_pandoc(project):
    (project / "docs" / "tutorial.md").write_text(HEADINGS, encoding="utf-8")
    assert build_site(project, "nbconvert").faults == ()
    assert links_and_anchors(project)["docs/tutorial.html"][1] == {
        "costs-fees-slippage-1.2-code", "ways-of-it", "ways-of-it-1", "a-link-and-snake_case", "section",
    }  # fmt: skip


@pytest.mark.quarto
@needs_quarto
@pytest.mark.filterwarnings("ignore")
def test_both_renderers_give_the_same_links_and_anchors(project, executed):
    (project / "docs" / "tutorial.md").write_text(HEADINGS, encoding="utf-8")
    executed("tiny-good")
    build_site(project, "nbconvert")
    plain = links_and_anchors(project)
    build_site(project, "quarto")
    full = links_and_anchors(project)
    assert plain.keys() == full.keys()
    for name, (links, anchors) in plain.items():
        assert links == full[name][0], name
        assert anchors <= full[name][1], name
