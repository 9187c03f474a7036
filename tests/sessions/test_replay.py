"""Each way in which a recorded session can differ from its replay has its own sentence."""

from __future__ import annotations

import pytest

from peak_trade.journal.events import (
    BarEvent,
    CashFlowEvent,
    OrderEvent,
    OrderEventKind,
    SessionEvent,
    SessionPhase,
    SignalEvent,
)
from peak_trade.journal.files import read_events, read_manifest
from peak_trade.journal.keys import WorkspaceKey
from peak_trade.journal.ledger_from_events import ledger_from_events
from peak_trade.journal.writer import JournalWriter, create_session
from peak_trade.sessions.options import make_config
from peak_trade.sessions.replay import replay
from peak_trade.sessions.run import run_session
from peak_trade.sessions.runner import LOOP_EVENTS
from peak_trade.sessions.store import keys_folder, sessions_folder
from tests.replacing import replace
from tests.sessions.test_resuming import ASKED, FAST


@pytest.fixture
def rewritten(stored):
    """Replays a session whose events were changed by the owner of the key: authentic, but not what the bars lead to."""
    true = run_session(make_config(ASKED, FAST, None, None)).folder
    key = WorkspaceKey(keys_folder())

    def run(change, *, seal=True):
        folder = sessions_folder() / "other"
        create_session(folder, read_manifest(true) | {"session_id": folder.name}, key, lambda: 1)
        with JournalWriter(folder, key, lambda: 1) as writer:
            for event in change(read_events(true)):
                writer.append(event)
            if seal:
                writer.seal()
        return replay("other")

    return run


def test_a_session_as_it_was_is_identical(rewritten):
    assert rewritten(lambda events: events).is_identical


def test_an_event_that_was_left_out_came_out_and_is_not_recorded(rewritten):
    def without_the_last(events):
        ours = [n for n, event in enumerate(events) if isinstance(event, LOOP_EVENTS)]
        return [event for n, event in enumerate(events) if n != ours[-1]]

    assert "came out, and is not recorded" in rewritten(without_the_last).first_difference


def test_an_event_too_many_is_recorded_and_did_not_come_out(rewritten):
    def with_another(events):
        signal = next(event for event in events if isinstance(event, SignalEvent))
        return [*events[:-1], signal, events[-1]]

    assert "recorded, and did not come out again" in rewritten(with_another).first_difference


def test_an_event_of_another_kind_is_named(rewritten):
    def another_kind(events):
        place = next(n for n, event in enumerate(events) if isinstance(event, SignalEvent))
        flow = CashFlowEvent(events[place].ts_event, "ma_crossover", "BTC/USDT", "funding", 1.0)
        return [*events[:place], flow, *events[place + 1 :]]

    assert "came out as signal" in rewritten(another_kind).first_difference


def test_a_fill_that_is_missing_at_the_end_is_missing_in_the_cash(rewritten):
    """Without a seal events may be missing at the end, but not when the session says that it stopped."""

    def without_the_last_fill(events):
        place = [n for n, event in enumerate(events) if isinstance(event, OrderEvent) and event.last_quantity][-1]
        return [event for n, event in enumerate(events) if n < place or not isinstance(event, LOOP_EVENTS)]

    assert "ledger: cash is" in rewritten(without_the_last_fill, seal=False).first_difference


def test_another_position_in_the_rebuilt_ledger_is_named(rewritten, monkeypatch):
    def moved(*args):
        ledger = ledger_from_events(*args)
        ledger.positions["BTC/USDT"].quantity += 0.00001
        return ledger

    monkeypatch.setattr("peak_trade.sessions.replay.ledger_from_events", moved)
    assert "ledger: BTC/USDT is" in rewritten(lambda events: events).first_difference


def test_a_session_that_was_interrupted_has_no_last_ledger_to_compare(rewritten):
    """Its last bar may have led to events that the journal lost."""

    def interrupted(events):
        n_bars = [n for n, event in enumerate(events) if isinstance(event, BarEvent)][60]
        kept = [event for event in events[:n_bars] if not isinstance(event, SessionEvent) or event.phase != "stopped"]
        assert any(isinstance(event, OrderEvent) and event.event is OrderEventKind.FILLED for event in kept)
        return [*kept, replace(events[-1], phase=SessionPhase.RESUMED)]

    assert rewritten(interrupted).is_identical
