"""Length and pace of a session: senseless lengths are refused, and stopping does not wait."""

from __future__ import annotations

import math
import threading

import pytest

from peak_trade.cli import main
from peak_trade.journal.events import BarEvent, SessionEvent, SessionPhase
from peak_trade.journal.files import read_events, read_manifest
from peak_trade.sessions.feeds.base import RecordedFeed, bar_events
from peak_trade.sessions.replay import replay
from peak_trade.sessions.runner import StopSwitch
from peak_trade.sessions.store import find_session, session_ids
from peak_trade.strategies.ma_crossover import MaCrossover
from tests.examples import mostly_long
from tests.sessions.running import RUN, open_session, wavy

STRATEGY = MaCrossover(fast=3, slow=9)
BTC = "session run --quiet --no-record --symbol BTC/USDT --timeframe 1h"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("--feed recorded --pace 0.0000000001x", "pace was 1e-10"),
        ("--feed recorded --duration 99999999d", "a session has at most 3,000,000"),
        ("--duration 99999999d", "a session has at most 3,000,000"),
        ("--duration 999999999999999999999999999d", "a session has at most 3,000,000"),
        ("--feed recorded --duration 10m", "a bar of 1h is longer"),
        ("--duration 10m", "a bar of 1h is longer"),
        ("--start 2024-01-02", "only a recording has a start"),
        ("--end 2024-01-02", "only a recording has an end"),
        ("--feed recorded --start 2030-01-01", "the last bar of the recording closes at 2024-01-06 00:00:00Z"),
        ("--feed recorded --start 2024-01-03 --end 2024-01-02", "the last bar of the recording closes at 2024-01-01"),
        ("--feed recorded --end 2023-01-01", "BTC/USDT"),
        ("--feed recorded --start yesterday", "start was 'yesterday'"),
    ],
)
def test_a_senseless_span_is_refused_in_one_line_and_leaves_nothing(stored, capsys, options, says):
    assert main([*BTC.split(), *options.split()]) == 2
    (shown,) = capsys.readouterr().err.splitlines()
    assert says in shown
    assert list(stored.glob("sessions/*")) == []


@pytest.mark.parametrize(
    ("options", "says"),
    mostly_long(
        [
            ("--duration 99999999d", "a session has at most 3,000,000"),
            ("--duration 10m", "a bar of 1h is longer"),
            ("--start 2024-01-02", "only a recording has a start"),
            ("--end 2024-01-02", "only a recording has an end"),
        ],
        1,
    ),
)
def test_a_senseless_span_of_a_shadow_is_refused_too(stored, capsys, options, says):
    assert main(RUN) == 0
    (name,) = session_ids()
    capsys.readouterr()
    assert main(["session", "run", "--mode", "shadow", "--follow", name, *options.split()]) == 2
    assert says in capsys.readouterr().err
    assert session_ids() == [name]


def test_a_start_makes_the_bars_before_it_history(stored):
    assert main([*RUN, "--start", "2024-01-02 01:00"]) == 0
    (name,) = session_ids()
    events = read_events(find_session(name))
    started = next(n for n, event in enumerate(events) if isinstance(event, SessionEvent))
    bars = bar_events(wavy())
    assert events[:started] == bars[:24]
    assert [event for event in events[started:] if isinstance(event, BarEvent)] == bars[24:]
    assert events[started + 1].ts_event == bars[24].ts_event
    manifest = read_manifest(find_session(name))
    assert manifest["history_start"] == "2024-01-01 01:00:00Z"
    assert replay(name).is_identical
    assert replay(name).n_fills > 0


@pytest.mark.parametrize("options", mostly_long([["--start", "2024-01-02"], []], 1), ids=["history", "no-history"])
def test_a_shadow_has_the_history_of_the_followed_session(stored, options):
    assert main([*RUN, *options]) == 0
    (name,) = session_ids()
    assert main(["session", "run", "--mode", "shadow", "--quiet", "--no-record", "--follow", name]) == 0
    shadow = next(session for session in session_ids() if "_shadow_" in session)
    manifest = read_manifest(find_session(shadow))
    assert manifest["history_start"] == "2024-01-01 01:00:00Z"
    assert "not measured" in manifest["clock"]
    assert replay(shadow).is_identical


def test_a_recording_is_paced_by_the_time_between_its_bars():
    waits = []
    bars = wavy(30)
    feed = RecordedFeed(bars, pace=60.0, wait=waits.append)
    assert list(feed.items(-1)) == bar_events(bars)
    assert waits == [60.0] * 29
    late = RecordedFeed(bars, pace=60.0, wait=waits.append, starts_at=int(bars.times[9]))
    assert list(late.items(-1)) == bar_events(bars)[10:]
    assert sum(waits) == 60.0 * (29 + 19)


def test_a_stop_while_a_bar_is_waited_for_takes_no_other_bar(tmp_path, key):
    bars, switch = wavy(30), StopSwitch()
    n_waits = []

    def wait(seconds):
        n_waits.append(seconds)
        if len(n_waits) == 12:
            switch.stop("Ctrl-C")
        return switch.is_stopping

    session = open_session(tmp_path / "s", key, STRATEGY, bars, switch=switch)
    assert session.run(RecordedFeed(bars, pace=1.0, wait=wait)) == "Ctrl-C"
    events = read_events(tmp_path / "s")
    assert [event for event in events if isinstance(event, BarEvent)] == bar_events(bars)[:12]
    assert isinstance(events[-1], SessionEvent)
    assert events[-1].phase is SessionPhase.STOPPED


@pytest.mark.parametrize("seconds", [1e30, math.inf])
def test_a_wait_of_any_length_ends_when_a_stop_is_asked_for(seconds):
    switch = StopSwitch()
    threading.Timer(0.02, switch.stop, ["Ctrl-C"]).start()
    assert switch.wait(seconds)


def test_an_undisturbed_wait_lasts_as_long_as_asked_and_polls_meanwhile(monkeypatch):
    slept, polls, switch = [], [], StopSwitch()
    switch.poll = lambda: polls.append(sum(slept))
    monkeypatch.setattr("peak_trade.sessions.control.stop_switch.time.monotonic", lambda: sum(slept))
    monkeypatch.setattr(switch._changed, "wait_for", lambda _, seconds: slept.append(seconds))
    assert not switch.wait(10.25)
    assert sum(slept) == 10.25
    assert max(slept) <= 0.5
    assert len(polls) == len(slept) == 21
