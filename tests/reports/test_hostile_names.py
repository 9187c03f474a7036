"""Names of strategies, symbols, parameters, sessions and orders appear on pages as text and never become HTML.

Every page is rendered twice, with harmless and with hostile names. Both must have the same elements and attributes.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from peak_trade.diff.result import diff
from peak_trade.journal.events import Event, OrderEvent, OrderEventKind
from peak_trade.reports.display import bundle, page_bundle
from peak_trade.reports.markup import markdown_text, without_shortcodes, write_figure_page
from peak_trade.reports.views import backtest, diff_table, portfolio
from peak_trade.reports.views import diff as diff_view
from peak_trade.site import explorer, pages
from peak_trade.site.build import build_site
from peak_trade.tracking.pending import RunEntry
from tests.diff.planting import bars_of, run
from tests.examples import mostly_long
from tests.replacing import replace
from tests.reports.conftest import answered, notebook

needs_quarto = pytest.mark.skipif(shutil.which("quarto") is None, reason="there is no quarto on PATH")
needs_chromium = pytest.mark.skipif(shutil.which("chromium") is None, reason="there is no chromium on PATH")
HOSTILE = {
    "script": "<script>alert(1)</script>",
    "comment": "<!--<script",
    "quotes": "' onload='x\" onmouseover=\"y",
    "rtl": "a\u202etxt.exe",
    "emoji": "🚀 é",
    "end-script": "</script><b>bold</b>",
    "template": "{{7*7}} {% raw %}",
    "link": '<a href="https://evil.example">here</a>',
    "markdown": "[x](javascript:alert) *b* `c` <https://evil.example> $m$ # h ``` \\(n\\) \\",
    "shortcode": "{{< env SECRET >}} {=html}",
    "open-shortcode": "{{<",
    "close-shortcode": ">}} {{< include /etc/passwd >}}",
    "lines": "a\n\n# b\n\n<b>c</b>\n```{=html}\n<i>d</i>\n```",
    "entity": "&lt;b&gt; &#60;b&#62;",
    "yaml": 'x": [1, # y\nz: &a *a',
}
HARMLESS = {key: f"plain {key}" for key in HOSTILE}
FEW = ("script", "markdown")
RENDERINGS = [
    pytest.param("nbconvert", FEW, FEW, id="nbconvert-few"),
    pytest.param("nbconvert", tuple(HOSTILE), tuple(HOSTILE), id="nbconvert-all"),
    pytest.param("quarto", tuple(HOSTILE), ("shortcode",), id="quarto", marks=[pytest.mark.quarto, needs_quarto]),
]
"""Renderer, the names of runs, and those that are studies too, which the home page shows."""
FORMATTING = {"span"}  # syntax highlighting of code depends on its text


class Page(HTMLParser):
    """Structure and text of a page: elements with the names of their attributes, the rest as text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, ...]] = []
        self.attributes: list[str] = []
        self.texts: list[str] = []
        self.scripts: list[str] = []
        self._is_script = False
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._is_script = tag == "script"
        if tag not in FORMATTING:
            self.elements.append((tag, *(name for name, _ in attrs)))
            self.attributes += [value or "" for _, value in attrs]

    def handle_data(self, data: str) -> None:
        (self.scripts if self._is_script else self.texts).append(data)

    def handle_endtag(self, tag: str) -> None:
        self._is_script = False
        if tag not in FORMATTING:
            self.elements.append((f"/{tag}",))

    def handle_comment(self, data: str) -> None:
        self.elements.append(("comment", data))

    @property
    def text(self) -> str:
        return "".join(self.texts).replace("\u2060", "")  # the word joiner in a shortcode that is shown as text


def one_line(text: str) -> str:
    return " ".join(text.split())


def outputs(name: str) -> list[dict[str, Any]]:
    """Outputs of a cell with the name in every kind of table, figure and text."""
    hours = pd.date_range("2024-01-01", periods=50, freq="h", tz="UTC")
    growth = pd.Series(np.linspace(1e4, 1.2e4, 50), index=hours)
    pnl = pd.DataFrame({name: growth, "other": growth / 2.0})
    bundles = [
        bundle(pd.DataFrame({name: [name], "n": [1]}), "table"),
        bundle({name: name}, "facts"),
        bundle(name, "sentence"),
        bundle([name, name], "sentences"),
        bundle(backtest.benchmark_overlay(growth, growth, name), "overlay"),
        bundle(portfolio.equity_by_strategy(pnl, 1e4), "strategies"),
        bundle(portfolio.correlation_matrix(pnl.corr()), "matrix"),
        {"text/plain": name},
        {"application/vnd.plotly.v1+json": json.loads(portfolio.equity_by_strategy(pnl, 1e4).to_json())},
        *diff_outputs(name),
    ]
    return [
        *({"output_type": "display_data", "metadata": {}, "data": each} for each in bundles),
        {"output_type": "stream", "name": "stdout", "text": f"{name}\n"},
    ]


RECORDING = run(bars_of(0, n_bars=150))


def diff_outputs(name: str) -> list[dict[str, Any]]:
    """Table, texts and figure of a diff of two sessions whose symbols, orders, reasons and strategies have the name."""
    sides = []
    for place, factor in enumerate((1.0, 2.0)):
        events = [named(event, name, factor) for event in RECORDING.events]
        sides.append(replace(RECORDING, name=f"{name} {place}", events=events))
    result = diff(*sides)
    assert result.roots
    shown = diff_table.table_markup(result)
    return [
        page_bundle(shown, {"kind": "table", "name": "differences"}),
        bundle(diff_view.outcome(result), "outcome"),
        bundle(diff_view.compared(result), "compared"),
        bundle(diff_view.fills_on_price(result), "fills"),
    ]


def named(event: Event, name: str, factor: float) -> Event:
    changes: dict[str, Any] = {}
    known = set(event.__struct_fields__)
    if "symbol" in known:
        changes["symbol"] = name
    if "strategy" in known:
        changes["strategy"] = name
    if isinstance(event, OrderEvent):
        changes |= {"order_id": f"{event.order_id} {name}", "fee": event.fee * factor}
        if event.event is OrderEventKind.REQUESTED:
            changes["reason"] = name
    return replace(event, **changes)


@pytest.fixture
def build(project, executed, monkeypatch):
    """Build the site of runs with these names: one executed and one failed run each, and one run of the registry."""
    monkeypatch.setenv("SECRET", "leaked")

    def make(names: dict[str, str], renderer: str, studies: Sequence[str]) -> dict[str, str]:
        entries = []
        for key, name in names.items():
            for slug, error in ((f"tiny-{key}", ""), (f"tiny-bad-{key}", name)):
                path = executed(slug, error, name)
                content = json.loads(path.read_text(encoding="utf-8"))
                about = content["metadata"]["peak_trade"]
                about["parameters"] |= {"strategy": name, "timeframe": name, name: name}
                about["digests"][name] = name
                content["cells"][1]["source"] = f"symbol = {name!r}\n"
                if not error:
                    content["cells"][3]["outputs"] = outputs(name)
                path.write_text(json.dumps(content), encoding="utf-8")
                if key not in studies:
                    continue
                study = f"study-{slug}"
                (project / "notebooks" / f"{study}.ipynb").write_text(json.dumps(notebook()), encoding="utf-8")
                about |= {"notebook": study, "title": name, "key": f"{study}-run"}
                if not error:
                    content["cells"][3]["outputs"] = answered(name)
                path.with_name(f"{study}-run.ipynb").write_text(json.dumps(content), encoding="utf-8")
            tags = dict.fromkeys(("run_id", "run_type", "strategy", "symbol", "timeframe"), name)
            entries.append(RunEntry("", True, 0, tags, {name: name}))
        monkeypatch.setattr(explorer, "latest_entries", lambda limit: entries)
        build_site(project, renderer)  # type: ignore[arg-type]
        folder = project / "reports" / "site" / "reports" / "pages"
        home = {"home": (project / "reports" / "site" / "index.html").read_text(encoding="utf-8")}
        return home | {path.stem: path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.html"))}

    return make


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("renderer", "keys", "studies"), RENDERINGS)
def test_names_are_shown_as_text_and_never_change_the_elements_of_a_page(build, project, renderer, keys, studies):
    harmless, hostile = (
        {key: Page(text) for key, text in build({key: names[key] for key in keys}, renderer, studies).items()}
        for names in (HARMLESS, HOSTILE)
    )
    assert {"index", "tiny"} < hostile.keys() == harmless.keys()
    for key, page in hostile.items():
        assert page.elements == harmless[key].elements, key
        assert not [value for value in page.attributes if value.startswith("javascript:")]
        assert "leaked" not in page.text
        assert not [script for script in page.scripts if script.startswith(("Plotly.", '{"')) and "<" in script]
    listed = {column["name"]: column for column in columns_of(project)}
    for key in keys:
        name = HOSTILE[key]
        assert {name} <= set(listed["strategy"]["texts"]) & set(listed["symbol"]["texts"])
        assert listed[f"setting.{name}"]["texts"] == ["", name]
        assert_shows(hostile[f"tiny-{key}"], name)
        assert f"E: {one_line(name)}" in one_line(hostile[f"tiny-bad-{key}"].text)
        assert one_line(name) in one_line(hostile["tiny"].text)
        if key not in studies:
            continue
        for text in (f"Verdict {name}. Sentence {name}", f"{name} bars", f"Failed in code cell 2: E: {name}"):
            assert one_line(text) in one_line(hostile["home"].text)


def columns_of(root: Path) -> list[dict[str, Any]]:
    """Return the columns of the explorer, as the browser reads them: a JSON text in a JSON text."""
    script = (root / "reports" / "site" / "reports" / "lib" / explorer.DATA).read_text(encoding="ascii")
    columns: list[dict[str, Any]] = json.loads(json.loads(script.partition("JSON.parse(")[2].removesuffix(");\n")))[
        "columns"
    ]
    return columns


def assert_shows(page: Page, name: str) -> None:
    text = one_line(page.text)
    assert f"Tiny: {one_line(name)}, {one_line(name)}" in text
    assert text.count(one_line(name)) >= 12
    (content,) = [json.loads(script) for script in page.scripts if script.startswith('{"')]
    assert any(name in row["text"] for row in content["rows"])
    assert any(f"({name})" in line for texts in content["events"] for line in texts.values())


def test_a_page_of_one_figure_escapes_its_title(tmp_path):
    figure = portfolio.correlation_matrix(pd.DataFrame({"a": [1.0]}, index=["a"]))
    read: list[list[tuple[str, ...]]] = []
    for name in ("plain", *HOSTILE.values()):
        write_figure_page(figure, name, tmp_path / "page.html")
        page = Page((tmp_path / "page.html").read_text(encoding="utf-8"))
        assert page.text.count(name) == 2
        read.append(page.elements)
    assert all(elements == read[0] for elements in read)


@pytest.mark.parametrize("name", mostly_long(HOSTILE.values(), 5), ids=HOSTILE)
def test_markdown_text_is_read_back_by_the_markdown_reader(name):
    from peak_trade.site.fallback import markdown_html

    page = Page(markdown_html(markdown_text(name)))
    assert page.elements == [("p",), ("/p",)]
    assert page.text.strip() == one_line(name)


@pytest.mark.parametrize(
    "text", ["{{< include /etc/passwd >}}", "a {{<b>}} c", "{{{< x >}}}", "{{<{{<", ">}}>}}", "plain {{ x }} <a>"]
)
def test_a_text_without_shortcodes_reads_the_same_and_has_none(text):
    changed = without_shortcodes(text)
    assert "{{<" not in changed
    assert ">}}" not in changed
    assert changed.replace("\u2060", "") == text
    assert (changed == text) == ("{{<" not in text and ">}}" not in text)
    assert without_shortcodes(changed) == changed


def test_every_page_template_escapes():
    from jinja2 import Environment

    from peak_trade.reports import markup

    environment: Environment = markup._environment()
    assert environment.autoescape is True
    sources = {path: path.read_text(encoding="utf-8") for path in markup.TEMPLATES.glob("*.j2")}
    unescaped = sorted(path.name for path, text in sources.items() if re.search(r"\|\s*safe|autoescape", text))
    # The body that nbconvert rendered; and the scripts, styles and parts of `pt.report`, which templates rendered.
    assert unescaped == ["page.html.j2", "report_page.html.j2"]


def test_no_python_code_writes_html():
    tag = re.compile(r"</?(a|b|br|code|details|div|form|h[1-6]|label|li|link|ol|option|p|pre|script|span|strong|style|"
                     r"summary|table|tbody|td|th|thead|tr|ul)\b[^>]*>")  # fmt: skip
    found: dict[str, Sequence[str]] = {}
    for path in sorted(Path(pages.__file__).parents[1].rglob("*.py")):
        # Patterns that read HTML, and the line break of a plotly axis label, write no HTML.
        read = re.compile(r"""re\.(?:compile|findall|sub)\(r?(?:'[^']*'|"[^"]*")|<br>|^ *>>>.*""")
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if tag.search(read.sub("", line))]
        if lines:
            found[path.name] = lines
    assert found == {}


@pytest.mark.browser
@needs_chromium
@pytest.mark.filterwarnings("ignore")
def test_figures_draw_names_as_text(build, project, tmp_path):
    build(HOSTILE, "nbconvert", ())
    for key in ("link", "end-script"):
        page = project / "reports" / "site" / "reports" / "pages" / f"tiny-{key}.html"
        done = subprocess.run(
            ["chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / key}",
             "--virtual-time-budget=8000", "--dump-dom", page.resolve().as_uri()],
            capture_output=True, text=True, timeout=120, check=True,
        )  # fmt: skip
        drawn = Page(done.stdout)
        assert drawn.text.count(HOSTILE[key]) > 15
        assert "https://evil.example" not in drawn.attributes
        assert ("b",) not in drawn.elements
