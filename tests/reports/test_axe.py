"""axe finds nothing serious on any page of a renderer, wide and light, narrow and dark, and none scrolls sideways."""

from __future__ import annotations

import json
import shutil

import pytest

from peak_trade.site.build import build_site
from tests.reports.conftest import ROOT, answered
from tests.reports.test_browser import CHROMIUM
from tests.reports.test_hostile_names import outputs
from tests.reports.test_site import needs_chromium, needs_quarto

SERIOUS = ("serious", "critical")


@pytest.mark.browser
@needs_chromium
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("renderer", ["nbconvert", pytest.param("quarto", marks=[pytest.mark.quarto, needs_quarto])])
def test_axe_finds_nothing_serious_and_no_page_is_wider_than_its_window(project, executed, renderer):
    from axe_playwright_python.sync_playwright import Axe
    from playwright.sync_api import sync_playwright

    shutil.copytree(ROOT / "docs", project / "docs", dirs_exist_ok=True)
    path = executed("tiny-good")
    content = json.loads(path.read_text(encoding="utf-8"))
    content["cells"][3]["outputs"] += [*outputs("a name"), *answered("of an idea")]
    path.write_text(json.dumps(content), encoding="utf-8")
    executed("tiny-bad", error="no such bar")
    site = build_site(project, renderer).index.parent
    found: list[tuple[str, int, str, str]] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for width, scheme in ((1280, "light"), (390, "dark")):
            context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
            page = context.new_page()
            for name in sorted(path.relative_to(site).as_posix() for path in site.rglob("*.html")):
                page.goto(f"{site.resolve().as_uri()}/{name}")
                widths = page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
                found += [(name, width, "too wide", f"{widths[0]} px")] if widths[0] > widths[1] else []
                results = Axe().run(page).response["violations"]
                found += [
                    (name, width, each["id"], each["nodes"][0]["html"]) for each in results if each["impact"] in SERIOUS
                ]
            context.close()
        browser.close()
    assert found == []
