"""The documents have a sidebar of titles, a page before and after, and a search that needs no server."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest

from peak_trade.reports.project import LIBRARY
from peak_trade.site.build import build_site
from peak_trade.site.documents import SEARCH, places, title_of, write_search
from tests.reports.conftest import ROOT, documents


def entries(root: Path) -> list[list[str]]:
    script = (root / LIBRARY / SEARCH).read_text(encoding="ascii")
    found: list[list[str]] = json.loads(json.loads(script.partition("JSON.parse(")[2].removesuffix(");\n")))
    return found


def test_every_document_is_in_one_sidebar():
    known = sorted(path.relative_to(ROOT) for path in (ROOT / "docs").rglob("*.md"))
    assert sorted(documents()) == known == sorted(places(ROOT))


def test_a_sidebar_has_titles_and_each_page_follows_the_one_before():
    found = places(ROOT)
    place = found[Path("docs/library.md")]
    assert [section for section, _ in place.groups] == [
        "Tutorials",
        "How-to guides",
        "Explanation",
        "Reference",
        "Project",
    ]
    assert place.before == (Path("docs/cli.md"), "Command line")
    assert place.after == (Path("docs/reference/api.md"), "Public interface")
    for groups in {each.groups for each in found.values()}:
        listed = [page for _, pages in groups for page in pages]
        assert found[listed[0][0]].before is None
        assert found[listed[-1][0]].after is None
        for one, other in pairwise(listed):
            assert (found[one[0]].after, found[other[0]].before) == (other, one)


def test_a_document_that_does_not_exist_is_left_out(project):
    (project / "docs" / "jupyterlab.md").unlink()
    assert Path("docs/jupyterlab.md") not in places(project)
    assert places(project)[Path("docs/data.md")].before == (Path("docs/tutorial.md"), "The tutorial")


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")
def test_the_page_of_a_document_shows_its_place_and_a_new_title_renders_the_others(project):
    build_site(project, "nbconvert")
    page = project / "reports" / "site" / "docs" / "portfolio" / "PORTFOLIO_BACKTEST_GUIDE.html"
    text = page.read_text(encoding="utf-8")
    assert '<a href="../../docs/portfolio/PORTFOLIO_BACKTEST_GUIDE.html" aria-current="page">' in text
    assert 'rel="prev">← The out_of_sample</a>' in text
    assert 'rel="next">The dask-cluster →</a>' in text
    assert "pt-sidebar" not in (project / "reports" / "site" / "index.html").read_text(encoding="utf-8")
    (project / "docs" / "how-to" / "dask-cluster.md").write_text("# Another title\n", encoding="utf-8")
    build_site(project, "nbconvert")
    assert 'rel="next">Another title →</a>' in page.read_text(encoding="utf-8")


def test_the_search_has_each_section_of_a_document_as_plain_text(project):
    (project / "docs" / "risk.md").write_text(
        "# Risk `x`\n\nFirst words.\n\n## Limits & *more*\n\nSee [the page](data.md#a), `code` | cell |\n\n"
        "```{=html}\n<b>hidden</b>\n```\n",
        encoding="utf-8",
    )
    pages = {"a.md": '---\ntitle: "A &#60;b&#62;"\n---\n\nWords.', "_part.md": "left out"}
    notebook = {"cells": [{"cell_type": "raw", "source": ['---\ntitle: "N"\n---']},
                          {"cell_type": "markdown", "source": ["## Found\n", "text"]},
                          {"cell_type": "code", "source": ["secret"]}]}  # fmt: skip
    write_search(project, project, pages | {"n.ipynb": json.dumps(notebook)})
    found = entries(project)
    assert ["Risk `x`", "docs/risk.html", "", "Risk x First words."] in found
    assert ["Risk `x`", "docs/risk.html", "Limits & more", "See the page, code cell"] in found
    assert ["A <b>", "reports/pages/a.html", "", "Words."] in found
    assert ["N", "reports/pages/n.html", "", "Found"] in found
    assert not [entry for entry in found if "left out" in entry[3] or "hidden" in entry[3]]
    assert title_of(project, Path("docs/risk.md")) == "Risk `x`"
