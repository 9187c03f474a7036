"""Results as the last value of a cell: a short text, short HTML, and measures that behave like numbers."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import peak_trade as pt
from peak_trade.core.errors import ConfigError
from peak_trade.data.quality import check_bars
from peak_trade.data.sample import sample_bars
from peak_trade.data.store import save_bars
from peak_trade.diff.recording import recording_of
from peak_trade.diff.result import diff
from peak_trade.metrics import Measure, drawdown, simple_returns
from peak_trade.reports.markup import SCRIPTS, TEMPLATES
from peak_trade.reports.views.drawing import GRID, NEUTRAL, TEXT
from peak_trade.reports.views.figures import FIGURES, of_kind
from peak_trade.strategies.ma_crossover import MaCrossover
from tests.examples import examples, mostly_long

MOST_LINES = 15
NUMBERS = st.none() | st.floats(-1e9, 1e9)


KINDS = (
    "backtest", "sweep", "portfolio", "regime", "diff", "session", "replay", "bars", "resampled", "trials", "causality",
    "quality",
)  # fmt: skip
SHOWN_AS_PAGES = ("backtest", "sweep", "portfolio", "regime", "diff", "session", "tear sheet")


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """One result of each kind that the facade returns."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PEAK_TRADE_HOME", str(tmp_path_factory.mktemp("results")))
        bars = [sample_bars(symbol, n_bars=1_500) for symbol in ("BTC/USDT", "ETH/USDT")]
        run = pt.backtest(MaCrossover(), bars[0])
        entries = [
            {"name": name, "symbol": each.symbol} for name, each in zip(("ma_crossover", "donchian"), bars, strict=True)
        ]
        portfolio = pt.PortfolioSettings(strategies=entries)
        save_bars(bars[0])
        names = {"symbol": "BTC/USDT", "timeframe": "1h", "exchange": "sample", "strategy": "ma_crossover"}
        config = pt.SessionConfig(mode="paper", feed="recorded", evaluation="whole", start="2023-02-25", **names)
        session = pt.run_session(config)
        yield {
            "backtest": run,
            "sweep": pt.sweep(MaCrossover, {"fast": [5, 10], "slow": [40, 50]}, bars[0]),
            "portfolio": pt.run_portfolio(portfolio, bars),
            "regime": pt.study_regimes(MaCrossover(), bars[0], pt.make_detector("rules", bars[0].timeframe, {})),
            "diff": diff(recording_of(run), recording_of(run)),
            "session": session,
            "replay": pt.replay(session.folder.name),
            "bars": bars[0],
            "resampled": pt.resample(bars[0], "4h"),
            "trials": pt.trials_of(bars[0]),
            "causality": pt.check_causality(MaCrossover(), bars[0], n_cuts=2),
            "quality": check_bars(bars[0]),
            "tear sheet": pt.tearsheet(run.returns, run.benchmark.returns, rolling_days=20),
        }


@pytest.fixture(scope="module")
def formatter():
    """The formatter of a shell; each shell collects garbage when the interpreter ends."""
    from IPython.core.interactiveshell import InteractiveShell

    shell = InteractiveShell()
    pt._register_displays(shell)
    return shell.display_formatter


@pytest.mark.parametrize("kind", KINDS)
def test_a_result_has_a_short_text_and_html(kind, results, formatter):
    shown, _ = formatter.format(results[kind])
    lines = shown["text/plain"].splitlines()
    assert 3 <= len(lines) <= MOST_LINES
    assert max(map(len, lines)) <= 200
    assert lines[0].startswith(f"{type(results[kind]).__name__}: ")
    assert 200 < len(shown["text/html"]) < 30_000
    assert "<script" not in shown["text/html"]


def test_stats_show_a_table_with_their_errors(results, formatter):
    shown, _ = formatter.format(results["backtest"].stats())
    ratio = results["backtest"].stats()["sharpe"]
    assert f"{ratio:.2f} ± {ratio.stderr:.2f}" in shown["text/html"]


@pytest.mark.long
@pytest.mark.parametrize("kind", mostly_long(["bars", *SHOWN_AS_PAGES], 1))
def test_every_figure_of_a_result_has_marks(kind, results):
    figures = of_kind(FIGURES, results[kind], "plot")
    assert pt.plot(results[kind]) == pt.plot(results[kind], next(iter(figures)))
    for name in figures:
        drawn = pt.plot(results[kind], name)
        assert drawn.data, name
        assert all(trace.type for trace in drawn.data)


@pytest.mark.long
@pytest.mark.parametrize("kind", mostly_long(SHOWN_AS_PAGES, 1))
def test_a_page_holds_its_scripts_and_every_section(kind, results, tmp_path):
    path = pt.report(results[kind], tmp_path / "new" / f"{kind.replace(' ', '-')}.html", title="<i>A title</i>")
    text = path.read_text(encoding="utf-8")
    assert "&lt;i&gt;A title&lt;/i&gt;" in text
    assert "<i>A title" not in text
    assert not re.findall(r'<(?:script|link|img)[^>]+(?:src|href)="', text)
    headings = re.findall(r'<h2 id="section-\d+">(.*?)</h2>', text)
    assert len(headings) == len(set(headings)) >= 2
    assert all((TEMPLATES / name).read_text(encoding="utf-8") in text for name in SCRIPTS[1:])
    ids = re.findall(r'<div id="(figure-[^"]+)"', text)
    assert len(ids) == len(set(ids)) >= 1


@pytest.mark.long
def test_names_on_a_page_are_text(results, tmp_path):
    name = "<script>alert(1)</script>"
    hostile = replace(results["backtest"], strategies=(name,), parameters={name: {name: name}})
    text = pt.report(hostile, tmp_path / "page.html").read_text(encoding="utf-8")
    assert "&lt;script&gt;alert(1)" in text
    assert "<script>alert(1)" not in text


@pytest.mark.browser
def test_a_browser_draws_every_figure_of_a_page(results, tmp_path):
    path = pt.report(results["backtest"], tmp_path / "page.html")
    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=8000", "--dump-dom"]
    page = subprocess.run(["chromium", *flags, path.as_uri()], capture_output=True, text=True, check=True, timeout=120)
    n_figures = len(re.findall(r'<div id="figure-', path.read_text(encoding="utf-8")))
    assert len(re.findall(r"js-plotly-plot", page.stdout)) >= n_figures > 5


@pytest.mark.long
def test_a_figure_in_a_notebook_can_be_read_on_a_dark_ground(results):
    drawn = pt.plot(results["backtest"]).to_plotly_json()
    assert drawn["layout"]["font"]["color"] == NEUTRAL[TEXT]
    assert GRID not in str(drawn["layout"])


@pytest.mark.parametrize(
    ("call", "message"),
    mostly_long(
        [
            (lambda it: pt.plot(it["backtest"], "equty"), "has no figure equty. Did you mean equity?"),
            (lambda it: pt.plot(3), "plot: result was an int. Give one of Bars, BacktestResult"),
            (lambda it: pt.report(it["bars"], "a.html"), "report: result was Bars. Give one of BacktestResult"),
            (lambda it: pt.report(it["backtest"], "a.pdf"), "path was 'a.pdf'. Name a file that ends with .html."),
            (lambda it: pt.report(it["backtest"], "/dev/null/a.html"), "/dev/null/a.html could not be written"),
        ],
        1,
    ),
    ids=["unknown-figure", "number", "no-page", "suffix", "unwritable"],
)
def test_what_cannot_be_shown_is_refused_in_one_sentence(call, message, results):
    with pytest.raises(ConfigError) as refusal:
        call(results)
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_sweep_is_drawn_over_its_varied_parameters(results):
    (over,) = pt.plot(results["sweep"]).data
    table = results["sweep"].table
    assert (list(over.x), list(over.y)) == (["40", "50"], ["5", "10"])
    drawn = {(int(y), int(x)): over.z[row][column] for row, y in enumerate(over.y) for column, x in enumerate(over.x)}
    assert drawn == table.set_index(["fast", "slow"])["sharpe"].to_dict()
    one = replace(results["sweep"], table=table[table["slow"] == 40].reset_index(drop=True))
    assert list(pt.plot(one).data[0].x) == ["5", "10"]


@pytest.mark.long
def test_the_equity_of_a_session_is_drawn_from_its_journal(results):
    equity = pt.plot(results["session"]).data[0]
    assert equity.y[-1] == pytest.approx(results["session"].status.equity, rel=1e-9)


def test_returns_and_drawdown_are_those_of_the_equity(results):
    run = results["backtest"]
    assert run.returns.to_numpy().tolist() == simple_returns(run.equity_values).tolist()
    assert run.returns.index.equals(run.index[1:])
    assert run.drawdown.equals(drawdown(run.equity))
    stats = run.stats()
    assert stats.to_series()["sharpe"] == float(stats["sharpe"])
    assert stats.errors["sharpe"] == stats["sharpe"].stderr
    assert math.isnan(stats.errors["total_return"])
    assert repr(stats) == str(stats)


@settings(max_examples=examples(100))
@given(NUMBERS, NUMBERS)
def test_measures_compare_as_their_values(one, other):
    left, right = Measure(one, 1), Measure(other, 1)
    a, b = float(left), float(right)
    assert (left < right, left <= right, left > right, left >= right) == (a < b, a <= b, a > b, a >= b)
    assert (left < b, b < left) == (a < b, b < a)
    assert (left == b, b == left) == (a == b, a == b)
    assert left == Measure(one, 1)
    assert hash(left) == hash(one)
    assert f"{left:.2f}" == (left.note if one is None else f"{one:.2f}")


def test_the_facade_stays_light_and_asks_ipython_only_where_it_runs():
    code = "import sys, peak_trade; print(sorted({'IPython', 'pandas', 'numpy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
