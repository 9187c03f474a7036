"""Long work says how far it is, once, and nothing is shown unless somebody asks for it."""

from __future__ import annotations

import sys
from contextlib import contextmanager

import pytest

import peak_trade as pt
from peak_trade.core.progress import progress, progress_shown, show_progress
from peak_trade.data.sample import sample_bars
from peak_trade.data.store import save_bars
from peak_trade.strategies.ma_crossover import MaCrossover
from tests.examples import mostly_long

BARS = sample_bars("BTC/USDT", n_bars=1_500)


class Recorder:
    """A display that keeps what it was told."""

    def __init__(self):
        self.opened: list[tuple[str, str]] = []
        self.told: list[tuple[int, int]] = []
        self.n_open = 0

    @contextmanager
    def __call__(self, task, unit):
        self.opened.append((task, unit))
        self.n_open += 1
        assert self.n_open == 1
        try:
            yield lambda done, total: self.told.append((done, total))
        finally:
            self.n_open -= 1


def study():
    return pt.study_regimes(MaCrossover(), BARS, pt.make_detector("rules", BARS.timeframe, {}))


def session():
    save_bars(BARS)
    names = {"symbol": "BTC/USDT", "timeframe": "1h", "exchange": "sample", "strategy": "ma_crossover"}
    config = pt.SessionConfig(mode="paper", feed="recorded", evaluation="whole", start="2023-02-25", **names)
    pt.replay(pt.run_session(config).folder.name)


def portfolio():
    pt.run_portfolio(pt.PortfolioSettings(strategies=[{"name": "ma_crossover", "symbol": "BTC/USDT"}]), [BARS])


@pytest.mark.parametrize(
    ("work", "expected"),
    mostly_long(
        [
            (lambda: pt.backtest(MaCrossover(), BARS), {("backtest", "bars")}),
            (portfolio, {("portfolio", "bars")}),
            (lambda: pt.sweep(MaCrossover, {"fast": [5, 8], "slow": [20]}, BARS), {("sweep", "combinations")}),
            (lambda: pt.check_causality(MaCrossover(), BARS, n_cuts=2), {("check for look-ahead", "cuts")}),
            (lambda: pt.noise_controls(study(), 2, 600), {("noise, edge-free", "series")}),
            (session, {("session", "bars"), ("replay", "events")}),
        ],
        2,
    ),
    ids=["backtest", "portfolio", "sweep", "causality", "noise", "session"],
)
def test_long_work_says_how_far_it_is(work, expected, home):
    shown = Recorder()
    with progress_shown(shown):
        work()
    assert expected <= set(shown.opened)
    assert shown.n_open == 0
    assert shown.told
    assert all(0 <= done <= total and total > 0 for done, total in shown.told)


def test_regimes_of_a_model_say_how_far_they_are(home):
    shown = Recorder()
    settings = {"min_bars": 500, "window": 500, "refit_every": 400}
    with progress_shown(shown):
        pt.filter_regimes(BARS.frame, pt.make_detector("hmm", BARS.timeframe, settings))
    assert shown.opened == [("hmm regimes", "bars")]
    assert shown.told[-1] == (1_500, 1_500)


def test_work_within_other_work_is_not_shown_and_an_error_closes_its_bar():
    shown = Recorder()

    def interrupted():
        with progress_shown(shown), progress("outer"):
            with progress("inner") as on_progress:
                on_progress(1, 2)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert (shown.opened, shown.told, shown.n_open) == ([("outer", "bars")], [], 0)
    assert show_progress(None) is None
    with progress("alone") as on_progress:
        on_progress(1, 2)
    assert shown.opened == [("outer", "bars")]


def test_a_notebook_shows_long_work_only_and_clears_it(monkeypatch):
    from peak_trade.reports.views import cell_values

    shown: list[str] = []
    now = [0.0]
    monkeypatch.setattr(cell_values, "show_html", lambda markup, place=None: shown.append(markup) or shown)
    monkeypatch.setattr(cell_values.time, "perf_counter", lambda: now[0])
    with cell_values.notebook_progress("short", "bars") as on_progress:
        on_progress(1, 2)
    assert shown == []
    with cell_values.notebook_progress("<b>sweep</b>", "combinations") as on_progress:
        for now[0], done in ((0.5, 1), (2.0, 1_000), (2.1, 1_001), (4.0, 2_000)):
            on_progress(done, 4_000)
    assert len(shown) == 3
    assert "1,000 of 4,000 combinations, 6 s left" in shown[0]
    assert "&lt;b&gt;sweep" in shown[0]
    assert shown[-1] == ""


def test_a_terminal_shows_a_bar_on_standard_error(monkeypatch, capsys):
    from peak_trade.cli import output

    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with progress_shown(output.progress), progress("sweep", "combinations") as on_progress:
        on_progress(2, 4)
    told = capsys.readouterr()
    assert "sweep" in told.err
    assert "combinations" in told.err
    assert told.out == ""
