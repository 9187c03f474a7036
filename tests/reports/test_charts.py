"""The charts of a page in Chromium: one range of dates, finer series, scales, downloads, keyboard and print."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from peak_trade.reports.display import bundle
from peak_trade.reports.views import backtest as view
from peak_trade.site.build import build_site
from tests.reports.conftest import make_project, write_executed

if TYPE_CHECKING:
    from playwright.sync_api import Page

CHROMIUM = shutil.which("chromium")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on PATH"),
    pytest.mark.filterwarnings("ignore"),
]
HOURS = pd.date_range("2023-07-01", periods=9_000, freq="h", tz="UTC")
EQUITY = pd.Series(1e4 * np.exp(np.random.default_rng(0).normal(0.0, 0.005, 9_000).cumsum()), index=HOURS)
FILLS = pd.DataFrame({"ts_event": HOURS[::900], "side": ["buy", "sell"] * 5, "price": EQUITY.to_numpy()[::900]})
N_ROWS = 60
DATED = ("figure-equity", "figure-price")


@pytest.fixture(scope="module")
def address(tmp_path_factory) -> str:
    """The page of a run with two charts over time, one without, and a table that scrolls."""
    root = make_project(tmp_path_factory.mktemp("charts") / "project")
    path = write_executed(root, "tiny-charts")
    content = json.loads(path.read_text(encoding="utf-8"))
    shown = [
        bundle(view.equity_and_drawdown(EQUITY), "equity"),
        bundle(view.trades_on_price(EQUITY, FILLS), "price"),
        bundle(view.monthly_returns(EQUITY), "months"),
        bundle(pd.DataFrame({"n": range(N_ROWS), "value": np.linspace(-1.0, 1.0, N_ROWS)}), "long"),
    ]
    cell = next(cell for cell in content["cells"] if cell.get("outputs"))
    cell["outputs"] = [{"output_type": "display_data", "metadata": {}, "data": data} for data in shown]
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PEAK_TRADE_HOME", str(root / ".peak_trade"))
        build_site(root, "nbconvert")
    return (root / "reports" / "site" / "reports" / "pages" / "tiny-charts.html").resolve().as_uri()


@pytest.fixture(scope="module")
def visit(address) -> Iterator[Callable[..., Page]]:
    from playwright.sync_api import sync_playwright

    faults: list[str] = []
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])

        def opened(end: str = "", width: int = 1280, scheme: Any = "light") -> Page:
            context = started.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
            context.set_default_timeout(120_000)
            page = context.new_page()
            page.on("pageerror", lambda error: faults.append(str(error)))
            page.goto(address + end)
            page.wait_for_function("document.querySelectorAll('.main-svg').length > 0")
            return page

        yield opened
        started.close()
    assert faults == []


def ranges(page: Page) -> list[list[str]]:
    """The first and last date of each chart over time."""
    texts = [page.evaluate(f"document.getElementById('{name}').layout.xaxis.range") for name in DATED]
    return [[text[:10] for text in ends] for ends in texts]


def n_points(page: Page) -> list[int]:
    return [page.evaluate(f"document.getElementById('{name}').data[0].x.length") for name in DATED]


def test_a_button_zooms_every_chart_into_its_whole_series_and_reset_undoes_it(visit):
    page = visit()
    before = n_points(page)
    assert max(before) < 700
    page.get_by_role("button", name="last 3 m").click()
    page.wait_for_function("document.querySelectorAll('[data-finer=loaded]').length === 2")
    assert len({tuple(each) for each in ranges(page)}) == 1
    assert min(n_points(page)) > 24 * 90
    assert page.url.partition("#")[2].startswith("from=2024-")
    assert "Tiles and tables cover the whole run" in page.locator(".pt-whole").inner_text()
    page.get_by_role("button", name="Reset the dates of all charts").click()
    assert n_points(page) == before
    assert "#" not in page.url


def test_typed_dates_and_arrow_keys_move_the_range(visit):
    page = visit("#from=2023-09-01&to=2023-10-01")
    assert ranges(page) == [["2023-09-01", "2023-10-01"]] * 2
    page.get_by_label("from", exact=True).fill("2023-09-11")
    page.get_by_label("from", exact=True).press("Enter")
    assert ranges(page) == [["2023-09-11", "2023-10-01"]] * 2
    page.get_by_role("slider", name="Start of the dates").press("ArrowRight")
    assert ranges(page) == [["2023-09-12", "2023-10-01"]] * 2
    page.get_by_label("from", exact=True).fill("soon")
    page.get_by_label("from", exact=True).press("Enter")
    assert page.get_by_label("from", exact=True).get_attribute("aria-invalid") == "true"
    assert ranges(page) == [["2023-09-12", "2023-10-01"]] * 2


def test_a_drag_in_one_chart_zooms_the_others(visit):
    page = visit()
    plot = page.locator("#figure-equity .nsewdrag").first
    box = plot.bounding_box()
    page.mouse.move(box["x"] + 100, box["y"] + 50)
    page.mouse.down()
    page.mouse.move(box["x"] + 300, box["y"] + 60, steps=5)
    page.mouse.up()
    page.wait_for_function("location.hash.startsWith('#from=')")
    first, second = ranges(page)
    assert first == second


def test_the_scale_changes_and_a_picture_is_saved(visit):
    page = visit()
    assert page.evaluate("document.getElementById('figure-price').layout.yaxis.type") == "log"
    line = page.locator("[data-figure=figure-price]")
    line.get_by_role("button", name="Linear scale").click()
    assert page.evaluate("document.getElementById('figure-price').layout.yaxis.type") == "linear"
    assert line.get_by_role("button", name="Log scale").is_visible()
    with page.expect_download() as saved:
        line.get_by_role("button", name="price, PNG").click()
    assert saved.value.suggested_filename == "figure-price.png"


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_chart_is_wider_than_its_page_and_each_has_a_text(visit, width, scheme):
    page = visit("", width, scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator(".js-plotly-plot").count() == 3
    texts = [each.get_attribute("aria-label") for each in page.locator(".js-plotly-plot").all()]
    assert re.match(r"equity: equity, \d+ points from 2023-07-01 00:00 to .*, least [\d,.]+, most ", texts[0])
    colours = page.evaluate("JSON.stringify(document.getElementById('figure-equity').data)")
    assert ("#6db0f2" in colours) == (scheme == "dark")


def test_print_has_every_row_and_chart_in_light_colours(visit):
    page = visit("", 1280, "dark")
    page.emulate_media(media="print", color_scheme="dark")
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate("document.documentElement.dataset.theme") == "light"
    assert "#6db0f2" not in page.evaluate("JSON.stringify(document.getElementById('figure-equity').data)")
    table = page.locator("#table-long")
    assert table.evaluate("(box) => box.scrollHeight - box.clientHeight") == 0
    assert table.locator("tbody tr").count() == N_ROWS
    assert page.locator(".pt-take:visible, .pt-range:visible").count() == 0
    widths = page.evaluate(
        "[...document.querySelectorAll('.js-plotly-plot .main-svg')].map((each) => each.clientWidth)"
    )
    assert max(widths) <= 680
    assert len(page.pdf(format="A4")) > 20_000
