"""The trading state: triggers, recovery by a named person after a cooldown, the ramp, and restarts."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peak_trade.cli import main
from peak_trade.core.errors import ConfigError
from peak_trade.core.time import NS_PER_SECOND
from peak_trade.core.values import TradingState
from peak_trade.risk.limits import StateLimits
from peak_trade.risk.state import (
    AccountObserved,
    Control,
    FeedObserved,
    KillSwitch,
    Recovery,
    StrategyEnabled,
    StrategyThrottled,
    advance,
    control_from_dict,
    control_to_dict,
)
from peak_trade.risk.state_scan import first_trigger, track_after, track_of, triggers, with_track
from peak_trade.sessions.control.state import FILE_NAME, read_control, write_control
from tests.examples import examples

HOUR = 3_600 * NS_PER_SECOND
DAY = 24 * HOUR
RULES = StateLimits(
    reduce_drawdown=0.1,
    halt_drawdown=0.2,
    reduce_daily_loss=0.05,
    halt_daily_loss=0.15,
    max_feed_age=60.0,
    cooldown=3_600.0,
    ramp_stage=7_200.0,
)


def walk(control, *equities, start=1_000 * DAY + HOUR, step=HOUR, rules=RULES):
    events = []
    for number, equity in enumerate(equities):
        control, new = advance(control, AccountObserved(start + number * step, equity), rules)
        events += new
    return control, events


@pytest.mark.parametrize(
    ("equities", "state", "reason"),
    [
        ([100.0, 96.0], TradingState.ACTIVE, ""),
        ([100.0, 95.0], TradingState.REDUCING, "daily loss"),
        ([100.0, 84.0], TradingState.HALTED, "daily loss"),
        ([100.0, 120.0, 118.0], TradingState.ACTIVE, ""),
        ([100.0, math.nan], TradingState.REDUCING, "equity unreadable"),
        ([100.0, -1.0], TradingState.REDUCING, "equity unreadable"),
    ],
)
def test_triggers(equities, state, reason):
    control, events = walk(Control(), *equities)
    assert (control.state, control.reason) == (state, reason)
    assert [event.state for event in events] == ([] if state is TradingState.ACTIVE else [state])


def test_a_drawdown_over_days_reduces_then_halts():
    falling = [100.0 * 0.97**day for day in range(9)]
    control, events = walk(Control(), *falling, step=DAY)
    assert [event.state for event in events] == [TradingState.REDUCING, TradingState.HALTED]
    assert [event.reason for event in events] == ["drawdown", "drawdown"]
    assert events[0].observed >= events[0].limit == 0.1
    assert control.peak == 100.0


def test_a_stale_feed_reduces():
    control, (event,) = advance(Control(), FeedObserved(1_000 * DAY, 61.0), RULES)
    assert (control.state, control.reason) == (TradingState.REDUCING, "stale feed")
    assert (event.observed, event.limit) == (61.0, 60.0)
    assert advance(Control(), FeedObserved(DAY, 60.0), RULES) == (Control(), ())
    assert advance(Control(), FeedObserved(DAY, 1e9), StateLimits()) == (Control(), ())
    assert advance(Control(), FeedObserved(DAY, math.nan), RULES)[0].state is TradingState.REDUCING


def test_a_close_at_midnight_ends_the_old_day():
    control, _ = walk(Control(), 100.0, 99.0, 98.0, start=1_000 * DAY - HOUR)
    assert control.day_start == 99.0


def test_the_kill_switch_halts_from_any_state_and_needs_a_name():
    control, events = advance(Control(), KillSwitch(DAY, "ada", "outage"), RULES)
    assert (control.state, events[0].actor, events[0].reason) == (TradingState.HALTED, "ada", "outage")
    with pytest.raises(ConfigError, match="give the name"):
        advance(Control(), KillSwitch(DAY, " "), RULES)


def test_recovery_needs_a_name_and_the_cooldown_and_climbs_the_ramp():
    halted, _ = walk(Control(), 100.0, 80.0)
    now = halted.changed_at
    with pytest.raises(ConfigError, match="cooldown"):
        advance(halted, Recovery(now + HOUR - 1, "ada"), RULES)
    with pytest.raises(ConfigError, match="give the name"):
        advance(halted, Recovery(now + HOUR, ""), RULES)
    control, events = advance(halted, Recovery(now + HOUR, "ada"), RULES)
    assert (control.state, control.ramp, events[0].actor) == (TradingState.ACTIVE, 0.5, "ada")
    ramps = []
    for hours in range(1, 7):
        control, _ = advance(control, AccountObserved(now + HOUR + hours * HOUR, 80.0), RULES)
        ramps.append(control.ramp)
    assert ramps == [0.5, 0.75, 0.75, 1.0, 1.0, 1.0]
    assert control.state is TradingState.ACTIVE
    assert control.recovered_at == 0


def test_after_a_recovery_losses_count_from_there():
    halted, _ = walk(Control(), 100.0, 80.0)
    control, _ = advance(halted, Recovery(halted.changed_at + HOUR, "ada"), RULES)
    control, events = walk(control, 79.0, start=halted.changed_at + 2 * HOUR)
    assert events == []
    _, events = walk(control, 71.0, start=halted.changed_at + 3 * HOUR)
    assert events[0].state is TradingState.REDUCING


def test_there_is_nothing_to_recover_from_while_active():
    with pytest.raises(ConfigError, match="nothing to recover"):
        advance(Control(), Recovery(DAY, "ada"), RULES)


def test_only_a_named_person_enables_a_throttled_strategy():
    control, _ = advance(Control(), StrategyThrottled(DAY, "ma"), RULES)
    assert control.throttled == ("ma",)
    assert advance(control, StrategyThrottled(DAY, "ma"), RULES) == (control, ())
    with pytest.raises(ConfigError, match="give the name"):
        advance(control, StrategyEnabled(DAY, "ma", ""), RULES)
    with pytest.raises(ConfigError, match="not disabled"):
        advance(control, StrategyEnabled(DAY, "rsi", "ada"), RULES)
    control, events = advance(control, StrategyEnabled(DAY, "ma", "ada"), RULES)
    assert (control.throttled, events[0].actor) == ((), "ada")


equities = st.lists(
    st.one_of(st.floats(50.0, 150.0), st.sampled_from([math.nan, -1.0, 0.0, math.inf])), min_size=1, max_size=40
)
starts = st.sampled_from(
    [
        Control(),
        Control(equity=100.0, peak=120.0, day=999, day_start=110.0),
        Control(state=TradingState.REDUCING, equity=90.0, peak=100.0, day=1_000, day_start=95.0),
        Control(state=TradingState.HALTED, equity=70.0, peak=100.0, day=1_000, day_start=95.0),
    ]
)


@settings(max_examples=examples(50), deadline=None)
@given(equities, starts, st.sampled_from([HOUR, 5 * HOUR, DAY]), st.sampled_from([RULES, StateLimits()]))
def test_scanning_bars_for_a_trigger_equals_advancing_the_state_at_every_bar(values, control, step, rules):
    times = 1_000 * DAY + np.arange(len(values)) * step
    days = (times - 1) // DAY
    track, until = track_of(control), triggers(control, rules)
    found, after = first_trigger(0.0, 1.0, np.array(values), days, 0, len(values), track, until)
    stepped = control
    for bar in range(found):
        stepped, events = advance(stepped, AccountObserved(int(times[bar]), values[bar]), rules)
        assert events == ()
    assert repr(with_track(control, after)) == repr(stepped)
    for bar in range(found):
        track = track_after(values[bar], int(days[bar]), track, until)
    assert repr(track) == repr(track_of(stepped))
    assert found == len(values) or track_after(values[found], int(days[found]), track, until) is None
    if found < len(values):
        _, events = advance(stepped, AccountObserved(int(times[found]), values[found]), rules)
        assert len(events) == 1


@settings(max_examples=examples(50), deadline=None)
@given(equities, st.randoms(use_true_random=False))
def test_the_state_only_gets_more_severe_by_itself(values, random):
    severity = list(TradingState)
    control = Control()
    for number, equity in enumerate(values):
        before = control.state
        now = 1_000 * DAY + number * HOUR
        seen = random.choice([AccountObserved(now, equity), FeedObserved(now, random.choice([0.0, 100.0]))])
        control, events = advance(control, seen, RULES)
        assert severity.index(control.state) >= severity.index(before)
        assert len(events) == (control.state is not before)


def test_a_control_survives_a_restart(tmp_path):
    assert read_control(tmp_path / "none").state is TradingState.ACTIVE
    control, _ = walk(Control(), 100.0, 80.0)
    control, _ = advance(control, StrategyThrottled(DAY, "ma"), RULES)
    write_control(tmp_path, control)
    assert read_control(tmp_path) == control
    assert control_from_dict(json.loads(json.dumps(control_to_dict(control)))) == control
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"state": "on"}', '{"state": "active"}', "\x00"])
def test_a_damaged_state_file_is_halted_and_never_active(tmp_path, text):
    (tmp_path / FILE_NAME).write_text(text)
    assert read_control(tmp_path).state is TradingState.HALTED


def test_the_commands_stop_and_resume_trading(home, capsys, monkeypatch):
    clock = [1_000 * DAY]
    monkeypatch.setattr("time.time_ns", lambda: clock[0])
    assert main(["risk", "state"]) == 0
    assert main(["risk", "kill", "--by", "ada", "--reason", "outage"]) == 0
    assert main(["risk", "state"]) == 1
    assert "halted since" in capsys.readouterr().out
    assert main(["risk", "recover", "--by", "bob"]) == 2
    assert "cooldown" in capsys.readouterr().err
    clock[0] += HOUR
    assert main(["risk", "recover", "--by", "bob"]) == 0
    assert main(["risk", "state"]) == 0
    assert "size limits at 50%" in capsys.readouterr().out
    assert main(["risk", "enable", "ma", "--by", "bob"]) == 2


def test_an_unknown_decision_is_an_error_that_lists_the_known_ones(home, capsys):
    assert main(["risk", "explain", "o-1"]) == 2
    assert "there is no decision o-1" in capsys.readouterr().err


def test_the_kill_switch_stops_a_running_session_and_none_starts_until_the_recovery(home):
    from peak_trade.data.sample import sample_bars
    from peak_trade.data.store import save_bars
    from peak_trade.journal.files import read_events
    from peak_trade.sessions.options import make_config
    from peak_trade.sessions.run import run_session

    save_bars(sample_bars("BTC/USDT", n_bars=200))
    asked = {"mode": "paper", "strategy": "buy_and_hold", "symbol": "BTC/USDT", "timeframe": "1h", "feed": "recorded"}
    config = make_config(asked, {}, None, None)

    def kill(status):
        control, _ = advance(read_control(home), KillSwitch(DAY, "ada"), RULES)
        write_control(home, control)

    outcome = run_session(config, on_status=kill)
    last = read_events(outcome.folder)[-1]
    assert (last.phase, last.reason) == ("stopped", "kill switch")
    with pytest.raises(ConfigError, match="trading is halted"):
        run_session(config)
