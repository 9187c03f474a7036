"""A session of a portfolio does what its backtest did, to the bit: signals, orders, fills, allocations and equity."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from peak_trade.core.bars import Bars
from peak_trade.journal.codec import encode_event
from peak_trade.journal.events import AllocationEvent, BarEvent, Event, FeedFault, FeedFaultEvent
from peak_trade.journal.files import read_events
from peak_trade.journal.keys import WorkspaceKey
from peak_trade.journal.writer import JournalWriter, create_session
from peak_trade.sessions.config import SessionConfig
from peak_trade.sessions.feeds.base import FeedItem, RecordedFeed
from peak_trade.sessions.parts import buffer_of, risk_engine_of, sleeves_of
from peak_trade.sessions.runner import LOOP_EVENTS, Session
from peak_trade.studies.portfolio.run import run_portfolio
from peak_trade.wiring.portfolio_settings import PortfolioRules, PortfolioSettings
from tests.examples import mostly_long
from tests.portfolio.conftest import made_bars
from tests.sessions.running import counting

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
TARGETED = {"method": "risk_parity", "window": 48, "every": "week", "annual_volatility": 0.1, "max_weight": 0.6}
N_BARS = 220


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
    run = run_portfolio(settings, bars).run
    expected = list(run.events)
    assert loop_lines(read_events(folder)) == loop_lines(expected)
    assert session.equity == run.equity_values.tolist()
    return expected


CASES = list(itertools.product(["gaps", "full"], ["plain", "panels"], ["sleeves", "netted"], ["bar", "whole"]))


@pytest.mark.parametrize(("kind", "entries", "mode", "evaluation"), mostly_long(CASES, 4))
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
