"""Recorded sessions as the input of a rehearsal: from their journals, and a generated example."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from msgspec.structs import replace

from peak_trade.core.bars import Bars
from peak_trade.core.errors import SessionError
from peak_trade.core.values import Instrument
from peak_trade.data.sample import sample_bars
from peak_trade.diff.recording import events_with_bars
from peak_trade.engine.market import Market
from peak_trade.journal.events import BarEvent, Event, FeedFaultEvent, SessionEvent, SessionPhase
from peak_trade.journal.files import is_sealed, read_lines, read_manifest
from peak_trade.journal.lock import is_open
from peak_trade.observability.figures import Labels, SessionFigures
from peak_trade.risk.limits import RiskLimits, StateLimits
from peak_trade.risk.state import Control
from peak_trade.sessions.config import SessionConfig
from peak_trade.sessions.store import check_journal, config_of, find_session
from peak_trade.wiring.feeds import FEEDS
from peak_trade.wiring.gates import make_risk_engine
from peak_trade.wiring.sleeves import sleeve_for
from peak_trade.wiring.strategies import make_strategy

EXAMPLE = "example"
"""Name of a generated session over hourly bars with troubles."""
GAP, CRASH = range(120, 150), range(250, 270)
"""Bars of the example that are missing, and those in which its prices fall to 60 %."""
_SYMBOL, _N_BARS = "BTC/USDT", 500


class TimedEvent(NamedTuple):
    """An event, the time at which the exporter could read it, and the time of recording, ns UTC."""

    known: int
    event: Event
    ts_recorded: int


@dataclass(frozen=True, slots=True)
class RecordedSession:
    """A session to rehearse: its figures without events, its events in order, and how it ended."""

    session_id: str
    labels: Labels
    figures: SessionFigures
    events: Sequence[TimedEvent]
    is_sealed: bool = True
    is_interrupted: bool = False

    @property
    def start(self) -> int:
        """Time of the first bar that was traded, or of the start where bars have no clock of their own, ns UTC."""
        is_started = False
        for each in self.events:
            is_started = is_started or isinstance(each.event, SessionEvent)
            if is_started and each.known:
                return each.known
        raise SessionError(f"{self.session_id}: the session has no bars; there is nothing to rehearse.")


def read_recorded(session: str) -> RecordedSession:
    """Return a session of the workspace from its verified journal, or the generated session `example`."""
    if session == EXAMPLE:
        return example()
    folder = find_session(session, (EXAMPLE,))
    config = config_of(folder)
    verdict = check_journal(folder)
    if not verdict.is_intact:
        raise SessionError(f"{folder.name}: the journal is {verdict.finding} ({verdict.message}); it is not rehearsed.")
    has_bar_clock = FEEDS[config.feed].is_recorded
    manifest = read_manifest(folder)
    figures = SessionFigures.of_manifest(manifest, has_event_times=True if has_bar_clock else None)
    events, known = [], 0
    for line in read_lines(folder):
        event = line.event
        if not has_bar_clock:
            known = max(known, line.ts_recorded)
        elif isinstance(event, BarEvent | FeedFaultEvent):
            known = max(known, event.ts_event)
        elif isinstance(event, SessionEvent):  # its time is that of the machine
            event = replace(event, ts_event=known)
        events.append(TimedEvent(known, event, line.ts_recorded))
    sealed = is_sealed(folder)
    labels = Labels.of_manifest(manifest)
    return RecordedSession(folder.name, labels, figures, events, sealed, not sealed and not is_open(folder))


def example() -> RecordedSession:
    """Return the generated session: its feed has a gap, its prices crash, and its limits then deny every entry."""
    from peak_trade.engine.loop import EventLoop

    bars, instrument = _troubled_bars(), Instrument(_SYMBOL, tick_size=0.01, lot_size=1e-5, min_notional=5.0)
    config = SessionConfig.from_manifest(
        {
            "mode": "paper",
            "strategies": [{"name": "ma_crossover", "parameters": {"fast": 2, "slow": 3}}],
            "symbols": [{"name": _SYMBOL}],
            "timeframe": "1h",
            "exchange": "sample",
            "feed": "recorded",
        },
        EXAMPLE,
    ).model_copy(update={"risk": RiskLimits(state=StateLimits(reduce_drawdown=0.15))})
    market, strategy = Market.of([bars], {_SYMBOL: instrument}), make_strategy(config.label, config.parameters)
    events: list[Event] = []
    sleeve = sleeve_for(strategy, strategy.name, bars, market, config.trading, 1.0, 0)
    engine = make_risk_engine(config.risk, [bars])
    loop = EventLoop(market, [sleeve], config.trading, emit=events.append, alert=events.append, risk_engine=engine)
    loop.run()
    start = SessionEvent(int(bars.times[0]), SessionPhase.STARTED, config.mode, "", config.trading.initial_cash)
    timed, known = [], 0
    for event in [start, *events_with_bars(market, events, loop.fill_bars)]:
        known = max(known, event.ts_event) if isinstance(event, BarEvent) else known
        timed.append(TimedEvent(known, event, known))
    figures = SessionFigures(config, Control(), has_event_times=True)
    return RecordedSession(EXAMPLE, Labels.of(config.mode, config.label, _SYMBOL), figures, timed)


def _troubled_bars() -> Bars:
    bars = sample_bars(_SYMBOL, n_bars=_N_BARS)
    place = np.clip(np.arange(_N_BARS) - CRASH.start, 0, len(CRASH)) / len(CRASH)
    frame = bars.frame.copy()
    frame[["open", "high", "low", "close"]] *= (0.6**place)[:, np.newaxis]
    return Bars(frame.drop(frame.index[GAP.start : GAP.stop]), bars.symbol, bars.timeframe, bars.exchange)
