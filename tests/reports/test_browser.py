"""The site in headless Chromium, wide and narrow, light and dark: what a reader sees, clicks, types and prints."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from peak_trade.diff.result import diff
from peak_trade.reports.views.diff_table import table_markup
from peak_trade.site import explorer
from peak_trade.site.build import build_site
from peak_trade.studies.diff import EXAMPLES, example
from peak_trade.tracking.pending import RunEntry
from peak_trade.tracking.record import GROWTH_TAG
from tests.reports.conftest import ROOT, answered, make_project, write_executed
from tests.reports.printed import printed_texts, squashed

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Page

CHROMIUM = shutil.which("chromium")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on PATH"),
    pytest.mark.filterwarnings("ignore"),
]
N_RUNS = 650
LONG = "L" * 197 + "/USD"
RTL = "\u05d0\u05d1\u05d2 \u202eabc"
HOSTILE = '<img src=x onerror="document.title=1"><b>bold</b>'
SYMBOLS = ("BTC/USDT", "ETH/USDT", LONG, RTL, HOSTILE)
VIEWS = [(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")]
EXPERIMENTS = "reports/pages/index.html"
DATES = "## Dates\n\n" + " ".join(
    f"{'x' * (1 + n % 9)} from 2024-01-{n + 1:02d} to 2024-{n % 12 + 1:02d}," for n in range(28)
)
"""A text that is wrapped within some dates, unless they are kept whole."""


def entry(n: int) -> RunEntry:
    """Run n: its Sharpe ratio is n / 100 - 2, every tenth run has none; its drawdown falls with n."""
    tags = {
        "run_id": f"{n:016x}", "run_type": "sweep" if n % 5 == 0 else "backtest", "timeframe": "1h",
        "strategy": "breakout" if n % 3 == 0 else "ma_crossover", "symbol": SYMBOLS[n % len(SYMBOLS)],
        "start": "2024-01-01 01:00:00Z", "end": "2024-06-30 00:00:00Z", "digest.data": "ab" * 32,
        GROWTH_TAG: " ".join(f"{1.0 + n * step / 1e4:.5g}" for step in range(61)),
    }  # fmt: skip
    metrics = {"total_return": n / 1e3, "max_drawdown": 0.5 - n / 2e3, "sharpe_stderr": 0.5}
    metrics |= {"n_trades": 10_000.0 + n}
    metrics |= {} if n % 10 == 0 else {"sharpe": n / 100.0 - 2.0}
    settings = {"fast": str(5 + n % 7), "exchange": "sample", "mode": "a", HOSTILE: HOSTILE if n % 2 else "plain"}
    return RunEntry("", n != 7, 1_717_200_000_000 + n * 3_600_000, tags, settings, metrics)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site of a project with 650 recorded runs and two executed notebooks, of which one failed."""
    root = make_project(tmp_path_factory.mktemp("browser") / "project")
    path = write_executed(root, "tiny-good", when="2024-05-01T00:00:00Z")
    content = json.loads(path.read_text(encoding="utf-8"))
    content["cells"][3]["outputs"] += answered("of an idea")
    content["cells"].insert(2, {"cell_type": "markdown", "id": "dates", "metadata": {}, "source": DATES})
    path.write_text(json.dumps(content), encoding="utf-8")
    write_executed(root, "tiny-bad", error="no such bar", when="2024-05-01T01:00:00Z")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PEAK_TRADE_HOME", str(root / ".peak_trade"))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.setattr(explorer, "latest_entries", lambda limit: [entry(n) for n in range(N_RUNS)][::-1][:limit])
        patch.setattr(explorer, "count_runs", lambda: N_RUNS)
        build_site(root, "nbconvert")
    return root / "reports" / "site"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


def is_fault(said: ConsoleMessage) -> bool:
    """Whether a message is an error of the page: neither a missing icon nor the style of maps in plotly.js."""
    is_style_element = "directive 'style-src '" in said.text
    return said.type == "error" and not said.location["url"].endswith("/favicon.ico") and not is_style_element


Open = Callable[..., "Page"]


@pytest.fixture(params=VIEWS, ids=lambda view: f"{view[0]}-{view[1]}")
def visit(request: pytest.FixtureRequest, browser: Browser, site: Path) -> Iterator[Open]:
    """Open a page of the site in a window of the size and colours of the test; no page may report an error."""
    width, scheme = request.param
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, accept_downloads=True, locale="en-GB"
    )
    context.set_default_timeout(120_000)
    faults: list[str] = []
    asked: list[str] = []

    def opened(address: str, base: str | None = None) -> Page:
        page = context.new_page()
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda said: faults.append(said.text) if is_fault(said) else None)
        page.on("request", lambda sent: asked.append(sent.url))
        page.goto((base or f"{site.resolve().as_uri()}/") + address)
        return page

    yield opened
    context.close()
    assert faults == []
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:", "http://127.0.0.1"))] == []


def count(page: Page) -> str:
    return page.inner_text("#pt-count")


def names(page: Page, column: str) -> list[str]:
    """The texts of a column in the rows that are elements now."""
    heads = page.locator("#pt-runs thead th")
    place = [heads.nth(n).get_attribute("data-name") for n in range(heads.count())].index(column)
    return page.locator(f"#pt-runs tbody tr[aria-rowindex] td:nth-child({place + 1})").all_inner_texts()


def test_the_verdict_is_present_and_no_page_is_wider_than_its_window(visit, site):
    page = visit("reports/pages/tiny-good.html")
    assert page.get_by_text("Verdict of an idea").first.is_visible()
    for path in sorted(site.rglob("*.html")):
        page.goto(path.resolve().as_uri())
        widths = page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
        assert widths[0] <= widths[1], path.name


SPLIT_DATES = """() => {
  const texts = document.createTreeWalker(document.querySelector("main"), NodeFilter.SHOW_TEXT), split = [];
  for (let text; (text = texts.nextNode()); ) for (const match of text.data.matchAll(/\\d{4}-\\d\\d(-\\d\\d)?/g)) {
    const range = document.createRange();
    range.setStart(text, match.index);
    range.setEnd(text, match.index + match[0].length);
    if (new Set([...range.getClientRects()].map((box) => Math.round(box.top))).size > 1) split.push(match[0]);
  }
  return split;
}"""


def test_no_date_is_split_and_its_text_stays(visit):
    page = visit("reports/pages/tiny-good.html")
    assert DATES.partition("\n\n")[2] in page.inner_text("main").replace("\n", " ")
    assert page.evaluate(SPLIT_DATES) == []
    page.add_style_tag(content="main .pt-date { white-space: normal; word-break: break-all; }")
    assert page.evaluate(SPLIT_DATES) != [], "the control: the text is wrapped within dates"


def test_filters_narrow_the_rows_and_are_in_the_address(visit):
    page = visit(EXPERIMENTS)
    assert count(page) == "500 of the newest 500 of 652 runs match."
    page.get_by_role("button", name="Search all 652").click()
    assert count(page) == "652 of all 652 runs match."
    page.locator("#pt-filters").get_by_label("strategy", exact=True).select_option("breakout")
    assert count(page) == "217 of all 652 runs match."
    assert set(names(page, "strategy")) == {"breakout"}
    page.get_by_label("range of").select_option("sharpe")
    page.get_by_label("sharpe at least").fill("3")
    page.locator("#pt-filters").get_by_label("from", exact=True).fill("2024-06-20")
    wanted = [n for n in range(N_RUNS) if n % 3 == 0 and n % 10 and n / 100 - 2 >= 3 and n >= 456]
    assert count(page) == f"{len(wanted)} of all 652 runs match."
    assert "strategy=breakout" in page.url
    assert "sharpe=3.." in page.url
    again = visit(page.url.partition("/site/")[2])
    assert count(again) == count(page)
    page.get_by_role("button", name="Remove the filter strategy: breakout").click()
    assert "strategy" not in page.url
    page.get_by_role("button", name="Clear filters").click()
    assert count(page) == "652 of all 652 runs match."


def test_a_filter_of_the_address_that_nothing_matches_can_be_removed(visit):
    page = visit(
        f"{EXPERIMENTS}#symbol=NONE&total_return=..0.1&sort=nonsense&run=nonsense&columns=nonsense,sharpe&x=mode"
    )
    assert count(page) == "0 of the newest 500 of 652 runs match."
    page.get_by_role("button", name="Remove the filter symbol: NONE").click()
    assert count(page) == "0 of the newest 500 of 652 runs match."
    page.get_by_role("button", name="Search all 652").click()
    assert count(page) == "101 of all 652 runs match."


def test_names_are_text_whatever_they_contain(visit):
    page = visit(f"{EXPERIMENTS}#sort=symbol")
    assert page.title() == "Experiments – peak_trade"
    assert page.locator("#pt-explorer img").count() == 0
    page.locator("#pt-filters").get_by_label("symbol", exact=True).select_option(HOSTILE)
    assert set(names(page, "symbol")) == {HOSTILE}
    page.locator("#pt-filters").get_by_label("symbol", exact=True).select_option(LONG)
    assert set(names(page, "symbol")) == {LONG}
    page.locator("#pt-filters").get_by_label("symbol", exact=True).select_option(RTL)
    assert page.locator("#pt-runs tbody td span[dir=auto]").first.is_visible()
    for place in range(2):
        page.locator("#pt-runs tbody input").nth(place).check()
    assert page.locator("#pt-compare b b, #pt-compare img").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


def test_heads_sort_and_runs_without_a_value_are_last(visit):
    page = visit(EXPERIMENTS)
    head = page.locator("th[data-name=sharpe]")
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    shown = [float(text.split()[0].replace("\u2212", "-")) for text in names(page, "sharpe")]
    assert shown == sorted(shown, reverse=True)
    assert shown[0] == 4.49
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    assert head.get_by_role("button").evaluate("each => each === document.activeElement")
    page.locator("#pt-box").evaluate("box => { box.scrollTop = box.scrollHeight; }")
    page.wait_for_function("document.querySelector('#pt-runs tbody tr[aria-rowindex=\"501\"]')")
    assert names(page, "sharpe")[-1] == "–"


def test_columns_are_chosen(visit):
    page = visit(EXPERIMENTS)
    page.locator("#pt-columns summary").click()
    page.locator("#pt-columns").get_by_label("fast", exact=True).check()
    page.locator("#pt-columns").get_by_label("symbol", exact=True).uncheck()
    heads = page.locator("#pt-runs thead th").all_inner_texts()
    assert any(text.startswith("fast") for text in heads)
    assert not any(text.startswith("symbol") for text in heads)
    assert "columns=" in page.url


def test_runs_are_compared_with_a_pinned_baseline(visit):
    page = visit(EXPERIMENTS)
    for n in (649, 648, 641):
        page.locator(f"#pt-runs tr[aria-rowindex='{651 - n}'] input").check()
    panel = page.locator("#pt-compare")
    assert panel.get_by_role("heading", name="Compare 3 runs").is_visible()
    assert panel.get_by_role("img").get_attribute("aria-label") == "Growth of one unit: A ×4.89, B ×4.89, C ×4.85"
    assert panel.get_by_text("inputs differ").inner_text().startswith("4 of ")
    changed = panel.get_by_role("region", name="Inputs that differ").inner_text()
    assert "strategy" in changed
    assert "=" in changed
    results = panel.get_by_role("region", name="Results")
    assert "\u22120.10\u00a0pp" in results.get_by_role("row", name="total return").inner_text()
    panel.get_by_role("button", name=re.compile("^Baseline: B")).click()
    assert "+0.10\u00a0pp" in results.get_by_role("row", name="total return").inner_text()
    assert "baseline=" in page.url
    again = visit(page.url.partition("/site/")[2])
    assert again.locator("#pt-compare").inner_text() == panel.inner_text()
    panel.get_by_role("button", name=re.compile("^Remove C")).click()
    assert panel.get_by_role("heading", name="Compare 2 runs").is_visible()
    panel.get_by_role("button", name="Clear the comparison").click()
    assert not panel.is_visible()


def test_a_brush_filters_the_table(visit):
    page = visit(EXPERIMENTS)
    page.wait_for_function("document.getElementById('pt-scatter').getAttribute('aria-label')")
    for canvas, names_set in (("#pt-scatter", {"max_drawdown", "sharpe"}), ("#pt-parallel", {"fast"})):
        target = page.locator(canvas)
        target.scroll_into_view_if_needed()
        edge = target.bounding_box()
        assert edge
        left = edge["x"] + (34 if canvas == "#pt-parallel" else edge["width"] * 0.4)
        page.mouse.move(left, edge["y"] + 70)
        page.mouse.down()
        page.mouse.move(left + (0 if canvas == "#pt-parallel" else 60), edge["y"] + 120, steps=4)
        page.mouse.up()
        assert {name for name in names_set if f"{name}=" in page.url}, page.url
        assert not count(page).startswith("500 ")
        page.get_by_role("button", name="Clear filters").click()
        assert count(page).startswith("500 ")


def test_the_download_has_every_row_that_matches(visit):
    page = visit(f"{EXPERIMENTS}#all=1&strategy=breakout")
    with page.expect_download() as waited:
        page.get_by_role("button", name="Download CSV").click()
    text = Path(waited.value.path()).read_text(encoding="utf-8")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["run_id"] for row in rows] == [f"{n:016x}" for n in range(N_RUNS)[::-1] if n % 3 == 0]
    assert float(rows[0]["total_return"]) == 0.648
    assert {row["symbol"] for row in rows} == set(SYMBOLS)


def test_the_theme_follows_the_system_and_the_button(visit, request):
    scheme = request.node.callspec.params["visit"][1]
    page = visit(EXPERIMENTS)
    assert page.locator("html").get_attribute("data-theme") == scheme
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == ("rgb(15, 19, 22)" if scheme == "dark" else "rgb(251, 251, 249)")
    theme = page.get_by_role("button", name="Theme")
    theme.click()
    theme.click()
    assert page.locator("html").get_attribute("data-theme") == "dark"
    page.reload()
    assert page.locator("html").get_attribute("data-theme") == "dark"


def test_the_explorer_works_with_the_keyboard_alone(visit):
    page = visit(EXPERIMENTS)
    seen: list[str] = []
    for _ in range(80):
        page.keyboard.press("Tab")
        what = page.evaluate(
            "(({id, dataset, className, textContent, tagName}) => id || dataset.text || dataset.date || "
            "dataset.row && 'row' || (tagName === 'BUTTON' && textContent) || className)(document.activeElement)"
        )
        seen.append(what)
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline != "none", what
        if what == "row":
            break
    assert {"pt-scope", "strategy", "from", "pt-range", "Clear filters", "pt-y", "pt-csv", "sharpe"} <= set(seen)
    page.keyboard.press("Space")
    assert page.get_by_role("heading", name="Compare 1 run").is_visible()
    for _ in range(40):
        page.keyboard.press("Tab")
        assert page.evaluate(
            "document.activeElement.dataset.row !== undefined || document.activeElement.tagName === 'A'"
        )
    page.locator("#pt-filters").get_by_label("strategy", exact=True).focus()
    page.keyboard.press("b")
    assert count(page).startswith("167 of the newest 500")


def test_a_print_has_every_row(visit, tmp_path):
    page = visit(f"{EXPERIMENTS}#all=1")
    page.evaluate(
        "addEventListener('beforeprint', () => "
        "{ window.n = document.querySelectorAll('#pt-runs tr[aria-rowindex]').length; })"
    )
    page.pdf(path=tmp_path / "page.pdf", format="A4")
    assert page.evaluate("window.n") == N_RUNS + 2
    n_pages = max(int(found) for found in re.findall(rb"/Count (\d+)", (tmp_path / "page.pdf").read_bytes()))
    assert n_pages > N_RUNS / 60
    assert page.locator("#pt-runs tr[aria-rowindex]").count() < 60


@pytest.mark.parametrize(
    ("address", "n_rows"), [(f"{EXPERIMENTS}#all=1", N_RUNS + 2), ("reports/pages/tiny-good.html", 4)]
)
def test_a_print_has_the_text_of_every_row(visit, tmp_path, address, n_rows):
    page = visit(address)
    page.evaluate(
        "addEventListener('beforeprint', () => { window.rows = "
        "[...document.querySelectorAll('main tbody tr')].map(row => row.innerText || row.textContent); })"
    )
    text = "".join(printed_texts(page.pdf(format="A4")))
    rows = [squashed(row) for row in page.evaluate("window.rows")]
    assert len(rows) >= n_rows
    parts = [part for row in rows for part in row.split(squashed(RTL))]  # text from right to left is drawn backwards
    assert [part for part in parts if part not in text] == []
    assert squashed(rows[0] + "0") not in text, "the control: a row that is not there"


def test_the_runs_fit_into_a_wide_window(visit):
    """All columns that the page shows at first, with names as long as a cell shows them."""
    page = visit(EXPERIMENTS)
    assert page.locator("#pt-runs thead th[data-name=n_trades]").count() == 1
    page.evaluate(
        """for (const name of ["strategy", "symbol", "verdict", "data"]) {
          const place = document.querySelector(`#pt-runs thead th[data-name=${name}]`).cellIndex;
          for (const row of document.querySelectorAll("#pt-runs tbody tr[aria-rowindex]"))
            row.cells[place].append("W".repeat(40));
        }"""
    )
    wide = page.evaluate("(box => [box.scrollWidth, box.clientWidth])(document.querySelector('#pt-box'))")
    assert wide[0] <= wide[1] or page.viewport_size["width"] < 1280


def test_the_table_of_differences_writes_numbers_as_the_other_tables_do(browser):
    markup = table_markup(diff(*map(example, EXAMPLES)))
    page = browser.new_page()
    page.set_content(f"<main>{markup}</main>")
    cells = page.locator("td.pt-float").all_inner_texts()
    assert any(cell.startswith("\u2212") for cell in cells)
    assert any(cell.startswith("+") for cell in cells)
    assert [cell for cell in cells if "-" in cell] == []
    page.close()


def test_every_control_has_a_name(visit):
    page = visit(EXPERIMENTS)
    unnamed = page.evaluate(
        "[...document.querySelectorAll('#pt-explorer :is(button, input, select, canvas, summary)')]"
        ".filter((each) => each.checkVisibility() && !(each.labels?.length || each.getAttribute('aria-label')"
        " || each.textContent.trim())).map((each) => each.outerHTML)"
    )
    assert unnamed == []


def test_the_policy_of_the_server_allows_the_explorer(visit, site):
    import uvicorn

    from peak_trade.site import server

    listener = server.open_socket("127.0.0.1", 0)
    running = uvicorn.Server(uvicorn.Config(server.make_app(site.parents[1]), log_level="critical", lifespan="off"))
    thread = threading.Thread(target=running.run, args=([listener],))
    thread.start()
    try:
        page = visit(f"{EXPERIMENTS}#strategy=breakout", f"http://127.0.0.1:{listener.getsockname()[1]}/")
        assert count(page).startswith("167 of the newest 500")
        page.locator("#pt-runs tbody input").nth(0).check()
        page.locator("#pt-runs tbody input").nth(1).check()
        lines = page.locator("#pt-compare svg path[stroke-dasharray]").all()
        assert len({line.evaluate("line => getComputedStyle(line).stroke") for line in lines}) == len(lines) == 2
        with page.expect_download() as waited:
            page.get_by_role("button", name="Download CSV").click()
        assert waited.value.suggested_filename == "experiments.csv"
    finally:
        running.should_exit = True
        thread.join()


def rows_of(values: Any) -> list[RunEntry]:
    return [entry(n) for n in values]


@pytest.mark.parametrize("n_runs", [0, 1])
def test_no_run_and_one_run(browser, tmp_path, monkeypatch, n_runs):
    root = make_project(tmp_path / "project")
    monkeypatch.setenv("PEAK_TRADE_HOME", str(root / ".peak_trade"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr(explorer, "latest_entries", lambda limit: rows_of(range(n_runs)))
    build_site(root, "nbconvert")
    page = browser.new_page()
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.goto((root / "reports" / "site" / EXPERIMENTS).as_uri())
    if n_runs:
        assert count(page) == "1 of 1 run matches."
        page.locator("#pt-runs tbody input").check()
        assert page.get_by_text("Tick another run in the table.").is_visible()
    else:
        assert page.get_by_text("There are no runs yet").is_visible()
    page.close()
    assert faults == []


def test_the_search_finds_a_page_from_a_file(visit):
    page = visit("docs/tutorial.html")
    page.keyboard.press("/")
    page.get_by_label("Search pages").fill("words glossary")
    page.wait_for_selector(".pt-search li")
    assert page.locator(".pt-search output").inner_text() == "1 result"
    page.locator(".pt-search li a").click()
    page.wait_for_url("**/docs/glossary.html*")
    assert page.get_by_role("heading", name="The glossary").is_visible()
    page.get_by_role("button", name="Search").click()
    page.get_by_label("Search pages").fill("<b>nothing</b>")
    assert page.locator(".pt-search output").inner_text() == "0 results"
    page.keyboard.press("Escape")  # clears the field
    page.keyboard.press("Escape")
    assert not page.locator(".pt-search").is_visible()


def test_documents_have_a_sidebar_and_a_page_before_and_after(visit):
    page = visit("docs/library.html")
    sidebar = page.get_by_role("navigation", name="Documents")
    if not sidebar.is_visible():
        page.locator(".pt-sidebar summary").click()
    assert sidebar.get_by_role("link", name="The library").get_attribute("aria-current") == "page"
    page.get_by_role("link", name="The api →").click()
    page.wait_for_url("**/docs/reference/api.html")
    assert page.get_by_role("link", name="← The library").is_visible()


QUARTO_FRAME = """<!doctype html><html data-theme="dark"><style>
nav.sidebar.sidebar-navigation:not(.rollup), .nav-footer { background-color: #fff; }
.nav-page-text { color: #6c757d; } .page-columns .column-page table { background: #fff; }
div.sidebar-item-container { color: #595959; } .nav-footer { color: #757575; } .mx-auto { margin: 0 auto !important; }
code, pre, .math { white-space: pre; overflow: visible; }
.navbar-container { display: flex; } .navbar-brand { margin-right: 16px; font-size: 20px; }
</style><style>STYLE</style><body><header id="quarto-header"><nav class="navbar"><div class="navbar-container">
<button class="navbar-toggler" style="width: 70px">=</button>
<div class="navbar-brand-container mx-auto"><a class="navbar-brand">
<span class="navbar-title">peak_trade</span></a></div>
</div></nav></header>
<div class="pt-corner"><button class="pt-button">Search</button><button class="pt-button">Theme: auto</button></div>
<nav id="quarto-sidebar" class="sidebar sidebar-navigation"><div class="sidebar-item-container">Trials</div></nav>
<main><ul><li><code>LONG</code></li></ul><div class="sourceCode"><pre class="sourceCode">LONG</pre></div>
<p><span class="math display">LONG</span></p><p><math display="block"><mtext>LONG</mtext></math></p>
<p><img alt="" width="900" height="9"></p>
<div class="page-columns"><div class="column-page"><div class="pt-table"><table><tr><td>a run</td></tr></table></div>
</div></div>
<div class="nav-page"><span class="nav-page-text">Trials</span></div></main>
<footer class="footer"><div class="nav-footer">Research</div></footer></body></html>"""
"""The frame of a page of Quarto 1.7, with those of its rules that the style replaces."""


def test_the_frame_of_quarto_takes_the_colours_and_leaves_room_for_the_buttons(browser):
    style = (ROOT / "reports" / "styles" / "site.css").read_text(encoding="utf-8")
    page = browser.new_page(viewport={"width": 390, "height": 600})
    page.set_content(QUARTO_FRAME.replace("STYLE", style).replace("LONG", "peak-trade approve " * 9))
    colour = "each => getComputedStyle(each).%s"
    shown = page.eval_on_selector("body", colour % "backgroundColor")
    for selector, text in (("#quarto-sidebar", ".sidebar-item-container"), (".nav-footer", ".nav-footer")):
        assert page.eval_on_selector(selector, colour % "backgroundColor") == shown
        assert page.eval_on_selector(text, colour % "color") == "rgb(184, 194, 200)"
    assert page.eval_on_selector(".nav-page-text", colour % "color") == "rgb(184, 194, 200)"
    assert page.eval_on_selector(".pt-table table", colour % "backgroundColor") == "rgba(0, 0, 0, 0)"
    name, corner = page.locator(".navbar-title").bounding_box(), page.locator(".pt-corner").bounding_box()
    assert name is not None
    assert corner is not None
    assert name["x"] + name["width"] <= corner["x"]
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    page.close()
