"""A session of a portfolio does what its backtest did, to the bit: signals, orders, fills, allocations and equity."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from peak_trade.cli import main
from peak_trade.core.bars import Bars
from peak_trade.core.time import NS_PER_SECOND, Timeframe, parse_utc, to_ns
from peak_trade.data.store import save_bars
from peak_trade.diff.recording import recording_of
from peak_trade.diff.result import diff
from peak_trade.journal.codec import encode_event
from peak_trade.journal.events import AllocationEvent, BarEvent, Event, FeedFault, FeedFaultEvent
from peak_trade.journal.files import read_events, read_manifest
from peak_trade.journal.keys import WorkspaceKey
from peak_trade.journal.writer import JournalWriter, create_session
from peak_trade.observability import metrics
from peak_trade.observability.figures import Labels, SessionFigures, _Closes
from peak_trade.sessions.config import SessionConfig
from peak_trade.sessions.control.commands import kill_session
from peak_trade.sessions.feeds.base import FeedItem, RecordedFeed
from peak_trade.sessions.feeds.live import LiveFeed
from peak_trade.sessions.options import make_config
from peak_trade.sessions.parts import buffer_of, risk_engine_of, sleeves_of
from peak_trade.sessions.replay import replay
from peak_trade.sessions.run import resume_session, run_session
from peak_trade.sessions.runner import LOOP_EVENTS, Session, Status
from peak_trade.sessions.store import check_journal, find_session, session_ids, summary
from peak_trade.studies.diff import read_session
from peak_trade.studies.portfolio.run import run_portfolio
from peak_trade.wiring.portfolio_settings import PortfolioRules, PortfolioSettings
from tests.examples import mostly_long
from tests.portfolio.conftest import made_bars
from tests.sessions.running import counting
from tests.tolerances import RTOL_SAME

SYMBOLS = ("A/USD", "B/USD", "C/USD")
PLAIN = [
    {"name": "ma_crossover", "symbol": "A/USD", "parameters": {"fast": 3, "slow": 9, "direction": "both"}},
    {"name": "tests.strategies.stepping:Watches", "symbol": "A/USD"},
    {"name": "rsi_reversion", "symbol": "B/USD", "parameters": {"window": 5}},
    {"name": "tests.strategies.stepping:Watches", "symbol": "C/USD"},
]
MOMENTUM = {
    "name": "cross_sectional_momentum",
    "symbols": SYMBOLS,
    "parameters": {"window": 12, "every": 6, "direction": "both"},
}
PAIRS = {"name": "pairs", "symbols": ["A/USD", "B/USD"], "parameters": {"window": 20}}
PANELS = [MOMENTUM, PAIRS, {"name": "macd", "symbol": "C/USD"}]
ESTIMATED = {"method": "inverse_volatility", "window": 40, "every": "day", "cash_buffer": 0.05}
TARGETED = {"method": "inverse_volatility", "window": 48, "every": "day", "annual_volatility": 0.1, "max_weight": 0.6}
N_BARS = 140


def recordings(kind: str, n_bars: int = N_BARS) -> list[Bars]:
    """Bars of three symbols; with gaps every symbol misses some closes, and one is listed late."""
    bars = [made_bars(symbol, seed, n_bars) for seed, symbol in enumerate(SYMBOLS, start=1)]
    if kind == "full":
        return bars
    draw = np.random.default_rng(5)
    kept = [np.sort(draw.choice(n_bars, n_bars - n_bars // 8, replace=False)) for _ in bars]
    kept[2] = kept[2][kept[2] > n_bars // 3]
    return [
        Bars(part.frame.iloc[rows], part.symbol, part.timeframe, part.exchange)
        for part, rows in zip(bars, kept, strict=True)
    ]


def settings_of(entries: Sequence[dict[str, Any]], **more: Any) -> PortfolioSettings:
    return PortfolioSettings.parse({"strategies": list(entries), "exchange": "made", **more}, "portfolio")


def config_of(settings: PortfolioSettings, evaluation: str = "whole") -> SessionConfig:
    """The configuration of a paper session over the recording of a portfolio."""
    symbols = sorted({symbol for entry in settings.strategies for symbol in entry.traded})
    values = {
        "mode": "paper",
        "feed": "recorded",
        "strategies": [entry.model_dump(mode="json") for entry in settings.strategies],
        "symbols": [{"name": symbol} for symbol in symbols],
        "timeframe": settings.timeframe,
        "exchange": "made",
        "start": settings.start,
        "evaluation": evaluation,
        "trading": settings.run_settings,
        "risk": settings.risk,
        "portfolio": {name: getattr(settings, name) for name in PortfolioRules.model_fields},
    }
    return SessionConfig.parse(values, "session")


def open_session(folder: Path, key: WorkspaceKey, config: SessionConfig, bars: Sequence[Bars]) -> Session:
    """A paper session of a portfolio in a folder, new or resumed."""
    if not folder.exists():
        create_session(folder, {"session_id": folder.name}, key, counting())
    buffer = buffer_of(config, sum(map(len, bars)))
    return Session(
        buffer,
        sleeves_of(config, buffer, bars if config.evaluation == "whole" else None),
        config.trading,
        JournalWriter(folder, key, counting(), commit_seconds=60.0),
        counting(),
        "paper",
        risk_engine=risk_engine_of(config, buffer, bars),
    )


def feed_of(config: SessionConfig, bars: Sequence[Bars], start: int | None = None) -> RecordedFeed:
    return RecordedFeed(*bars, starts_at=start)


def loop_lines(events: Sequence[Event]) -> list[bytes]:
    return [encode_event(event) for event in events if isinstance(event, LOOP_EVENTS)]


def assert_equal(folder: Path, session: Session, settings: PortfolioSettings, bars: Sequence[Bars]) -> list[Event]:
    """The events and the equity of a session are those of the backtest; returns the events of the backtest."""
    run = run_portfolio(settings, bars, causality_check=False).run
    expected = list(run.events)
    assert loop_lines(read_events(folder)) == loop_lines(expected)
    assert session.equity == run.equity_values.tolist()
    return expected


EVERY = itertools.product(["gaps", "full"], ["plain", "panels"], ["sleeves", "netted"], ["bar", "whole"])
KEPT = [("gaps", "plain", "netted", "bar"), ("full", "panels", "sleeves", "whole")]
CASES = [*KEPT, *(pytest.param(*case, marks=pytest.mark.long) for case in EVERY if case not in KEPT)]


@pytest.mark.parametrize(("kind", "entries", "mode", "evaluation"), CASES)
def test_a_session_of_a_portfolio_does_what_the_backtest_did(tmp_path, key, kind, entries, mode, evaluation):
    bars = recordings(kind)
    settings = settings_of(
        PLAIN if entries == "plain" else PANELS,
        mode=mode,
        allocation=ESTIMATED,
        rebalancing={"every": "day", "drift_band": 0.1},
    )
    config = config_of(settings, evaluation)
    session = open_session(tmp_path / "s", key, config, bars)
    session.run(feed_of(config, bars))
    events = assert_equal(tmp_path / "s", session, settings, bars)
    assert any(isinstance(event, AllocationEvent) for event in events) is (mode == "netted")
    assert len(session.loop.fills) > 20


class Killed(BaseException):
    """Simulates a kill: nothing catches it."""


class Cut(RecordedFeed):
    """A feed during which the session is killed before its n-th item."""

    def __init__(self, *bars: Bars, n_items: int) -> None:
        super().__init__(*bars)
        self._left = n_items

    def items(self, after: int) -> Iterator[FeedItem]:
        yield from itertools.islice(super().items(after), self._left)
        raise Killed


@pytest.mark.long
@pytest.mark.parametrize("evaluation", mostly_long(["bar", "whole"], 1))
@pytest.mark.parametrize("entries", mostly_long(["panels", "plain"], 1))
def test_a_session_that_is_killed_between_the_bars_of_a_close_continues_as_the_backtest(
    tmp_path, key, entries, evaluation
):
    bars = recordings("gaps", 160)
    settings = settings_of(
        PLAIN if entries == "plain" else PANELS, mode="netted", allocation=ESTIMATED, rebalancing={"every": "day"}
    )
    config = config_of(settings, evaluation)
    for n_items in (1, 100, 101, 2):
        session = open_session(tmp_path / "s", key, config, bars)
        with pytest.raises(Killed), session.journal:
            session.run(Cut(*bars, n_items=n_items), read_events(tmp_path / "s"))
    session = open_session(tmp_path / "s", key, config, bars)
    session.run(feed_of(config, bars), read_events(tmp_path / "s"))
    assert_equal(tmp_path / "s", session, settings, bars)
    seen = [(event.ts_event, event.symbol) for event in read_events(tmp_path / "s") if isinstance(event, BarEvent)]
    assert seen == sorted((time, part.symbol) for part in bars for time in part.times.tolist())


def test_a_close_without_the_bar_of_a_symbol_is_one_fault_that_names_it(tmp_path, key):
    bars = recordings("gaps", 60)
    config = config_of(settings_of(PLAIN))
    open_session(tmp_path / "s", key, config, bars).run(feed_of(config, bars))
    found = {
        event.ts_event: event.symbol
        for event in read_events(tmp_path / "s")
        if isinstance(event, FeedFaultEvent) and event.fault is FeedFault.INCOMPLETE
    }
    times = sorted({time for part in bars for time in part.times.tolist()})
    absent = {time: [part.symbol for part in bars if time not in set(part.times.tolist())] for time in times}
    assert found == {time: ", ".join(symbols) for time, symbols in absent.items() if symbols}
    assert len(found) > 20


MINUTE = Timeframe.parse("1m")


class TwoMarkets:
    """A client of an exchange with two symbols whose bars appear some seconds after their close."""

    id = "made"

    def __init__(self, lags: dict[tuple[str, int], float]) -> None:
        self.lags, self.now = lags, 10 * MINUTE.ns

    def clock(self) -> int:
        return self.now

    def wait(self, seconds: float) -> bool:
        self.now += max(int(seconds * 1e9), 1)
        return self.now >= 15 * MINUTE.ns - NS_PER_SECOND

    def fetch_time(self) -> int:
        return self.now // 1_000_000

    def fetch_ohlcv(self, symbol: str, timeframe: str, since: int | None = None, limit: int = 0) -> list[list[float]]:
        rows = []
        for close in range(2, 30):
            appears = close * MINUTE.ns + int(self.lags.get((symbol, close), 0.0) * 1e9)
            opened = (close - 1) * 60_000
            if self.now >= appears and (since is None or opened >= since):
                rows.append([opened, 1.0 + close, 2.0 + close, 1.0, 1.0 + close, 5.0])
        return rows


def live_items(**lags: float) -> list[tuple[int, str, str]]:
    """What a live feed of A and B yields in four minutes: minute of the close, kind or fault, symbol."""
    by_close = {(f"{name[0]}/USD", int(name[1:])): lag for name, lag in lags.items()}
    client = TwoMarkets(by_close)
    feed = LiveFeed(client, ["B/USD", "A/USD"], MINUTE, client.clock, client.wait, 3)
    assert [(bar.ts_event // MINUTE.ns, bar.symbol) for bar in feed.history()] == [
        (n, symbol) for n in (8, 9, 10) for symbol in ("A/USD", "B/USD")
    ]
    found = []
    for item in feed.items(10 * MINUTE.ns):
        if isinstance(item, BarEvent | FeedFaultEvent):
            kind = "bar" if isinstance(item, BarEvent) else item.fault.value
            found.append((item.ts_event // MINUTE.ns, kind, item.symbol))
    return found


def test_the_bars_of_a_close_come_together_although_one_is_behind():
    expected = [(n, "bar", symbol) for n in (11, 12, 13, 14) for symbol in ("A/USD", "B/USD")]
    assert live_items() == expected
    assert live_items(A12=6.0, B13=9.0) == expected


def test_a_bar_that_comes_too_late_is_recorded_and_not_used():
    found = live_items(A12=25.0)
    late = [(12, "bar", "B/USD"), (12, "incomplete", "A/USD"), (12, "out_of_order", "A/USD")]
    assert [item for item in found if item[0] == 12] == late
    assert [item for item in found if item[0] == 13] == [
        (13, "gap", "A/USD"),
        (13, "bar", "A/USD"),
        (13, "bar", "B/USD"),
    ]


def test_a_bar_that_never_comes_closes_its_close_once_a_later_one_is_there():
    found = live_items(B12=1e6, A12=0.0, B13=1e6)
    assert [item for item in found if item[0] in (12, 13)] == [
        (n, *rest) for n in (12, 13) for rest in (("bar", "A/USD"), ("incomplete", "B/USD"))
    ]


FILE = """
exchange = "made"
mode = "netted"
start = "2024-01-02"

[[strategies]]
name = "ma_crossover"
symbol = "A/USD"
parameters = { fast = 3, slow = 9 }

[[strategies]]
name = "cross_sectional_momentum"
symbols = ["A/USD", "B/USD"]
parameters = { window = 12, every = 6 }

[risk]
max_order_notional = 1e6
"""


@pytest.fixture
def portfolio_file(home, tmp_path):
    for part in recordings("gaps", 80)[:2]:
        save_bars(part)
    path = tmp_path / "portfolio.toml"
    path.write_text(FILE, encoding="utf-8")
    return path


def test_a_portfolio_file_runs_as_a_session_that_is_followed_replayed_and_compared(portfolio_file, capsys):
    run = ["session", "run", "--quiet", "--no-record"]
    assert main([*run, "--feed", "recorded", "--config", str(portfolio_file)]) == 0
    (name,) = session_ids()
    assert name.endswith("_paper_portfolio_2-symbols_1h")
    result = run_portfolio(PortfolioSettings.from_toml(portfolio_file)).run
    events = read_events(find_session(name))
    assert loop_lines(events) == loop_lines(list(result.events))
    found = summary(find_session(name))
    assert (found.strategies, found.symbols) == (("ma_crossover", "cross_sectional_momentum"), ("A/USD", "B/USD"))
    assert found.n_bars == len({event.ts_event for event in events if isinstance(event, BarEvent)})
    assert found.equity == result.equity_values[-1]
    assert main([*run, "--mode", "shadow", "--follow", name]) == 0
    (other,) = [each for each in session_ids() if each != name]
    assert loop_lines(read_events(find_session(other))) == loop_lines(events)
    assert all(replay(each).is_identical for each in (name, other))
    assert check_journal(find_session(name)).is_intact
    capsys.readouterr()
    assert main(["diff", other, name]) == 0
    assert not diff(read_session(find_session(name)), recording_of(result, "portfolio", result.limits)).roots


def test_the_metrics_of_a_portfolio_session_observe_equity_once_per_close(portfolio_file, monkeypatch):
    run = ["session", "run", "--quiet", "--no-record", "--feed", "recorded"]
    assert main([*run, "--config", str(portfolio_file)]) == 0
    manifest, events = read_manifest(find_session(session_ids()[0])), read_events(find_session(session_ids()[0]))
    observed: list[float] = []
    monkeypatch.setattr(_Closes, "add", lambda closes, equity, day: observed.append(equity))
    figures = SessionFigures.of_manifest(manifest)
    for event in events:
        figures.apply(event, event.ts_event)
    equity = run_portfolio(PortfolioSettings.from_toml(portfolio_file)).run.equity_values
    np.testing.assert_allclose(observed, equity[:-1], rtol=RTOL_SAME)
    assert figures.series(0)[metrics.EQUITY][0][1] == pytest.approx(equity[-1], rel=RTOL_SAME)
    assert Labels.of_manifest(manifest) == ("paper", "portfolio", "2-symbols")


def test_a_killed_portfolio_session_resumes_and_an_operator_ends_it(portfolio_file):
    config = make_config({"mode": "paper", "feed": "recorded"}, {}, None, portfolio_file)

    def die(status: Status) -> None:
        if status.n_bars == 20:
            raise Killed

    with pytest.raises(Killed):
        run_session(config, on_status=die)
    (name,) = session_ids()

    def kill(status: Status) -> None:
        if status.n_bars == 40 and status.state.startswith("running"):
            kill_session(name, "Ada", status.last_bar, "test")

    result = resume_session(name, on_status=kill)
    assert (result.reason, result.status.n_bars) == ("kill switch", 40)
    assert set(result.status.positions) == {"A/USD", "B/USD"}
    assert replay(name).is_identical
    expected = loop_lines(list(run_portfolio(PortfolioSettings.from_toml(portfolio_file)).run.events))
    before = [
        event for event in read_events(find_session(name)) if getattr(event, "cause", "") not in ("kill", "killed")
    ]
    until_the_kill = loop_lines(before)
    assert until_the_kill == expected[: len(until_the_kill)]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("--strategy momentum", "is a portfolio and names its own. Leave --strategy out"),
        ("--symbol A/USD", "Leave --symbol out"),
        ("--timeframe 1h", "Leave --timeframe out"),
        ("-p fast=3", "Leave -p out"),
        ("--mode testnet", "exchange was 'made': it has no sandbox"),
        ("--feed recorded --start 2030-01-01", "the last bar of the recording of A/USD closes at"),
    ],
)
def test_what_a_portfolio_file_does_not_go_with_is_one_line(portfolio_file, capsys, options, says):
    assert main(["session", "run", "--quiet", "--config", str(portfolio_file), *options.split()]) == 2
    shown = capsys.readouterr().err
    assert says in shown
    assert shown.count("\n") == 1
    assert session_ids() == []


def test_orders_that_a_netted_portfolio_does_not_send_are_refused_before_the_session_starts(portfolio_file, capsys):
    portfolio_file.write_text(FILE + '[execution]\norder_type = "limit"\n', encoding="utf-8")
    assert main(["session", "run", "--quiet", "--feed", "recorded", "--config", str(portfolio_file)]) == 2
    assert "netted sleeves trade with market orders" in capsys.readouterr().err
    assert session_ids() == []


FIXED = [
    {**PLAIN[0], "weight": 0.5},
    {**MOMENTUM, "weight": 0.3, "max_gross": 2.0},
    {"name": "tests.strategies.stepping:Watches", "symbol": "C/USD", "weight": 0.2},
]
LIMITS = {
    "max_order_notional": 4_000.0,
    "max_symbol_exposure": 0.5,
    "size_to_limits": True,
    "state": {"reduce_drawdown": 0.01, "halt_drawdown": 0.05},
}
MORE = {
    "from-a-start-with-a-target-volatility": (PLAIN, {"start": "2024-01-04", "allocation": TARGETED}),
    "fixed-weights-and-limits": (FIXED, {"allocation": {"method": "fixed"}, "risk": LIMITS, "mode": "netted"}),
    "protective-orders": (PLAIN, {"execution": {"stop_loss_atr": 1.5, "take_profit": 0.02, "trailing_stop": 0.03}}),
    "carry-and-small-fills": (
        PANELS,
        {
            "costs": {"funding_bps_per_8h": 1.0, "borrow_rate": 0.05, "max_participation": 1e-5},
            "mode": "netted",
        },
    ),
    "stateful-with-ranges-and-estimates": (
        PLAIN,
        {
            "allocation": ESTIMATED | {"method": "risk_parity"},
            "execution": {"stop_loss_atr": 2.0, "atr_window": 14},
            "start": "2024-01-03",
        },
    ),
}


@pytest.mark.parametrize("evaluation", mostly_long(["bar", "whole"], 1))
@pytest.mark.parametrize(("entries", "more"), mostly_long(MORE.values(), 2), ids=MORE)
def test_parity_holds_with_other_settings_of_a_portfolio(tmp_path, key, entries, more, evaluation):
    bars = recordings("gaps", 160)
    settings = settings_of(entries, **more)
    config = config_of(settings, evaluation)
    start = None if settings.start is None else to_ns(parse_utc(settings.start, "start")) - 1
    session = open_session(tmp_path / "s", key, config, bars)
    session.run(feed_of(config, bars, start))
    events = assert_equal(tmp_path / "s", session, settings, bars)
    assert len(session.loop.fills) > 4
    if settings.risk is not None:
        assert {event.kind for event in events} > {"decision", "trading_state"}
