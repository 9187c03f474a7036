"""Operator commands of a session: checked at once, applied once, recorded and replayed."""

from __future__ import annotations

import json
import os
import threading
import time

import pytest

from peak_trade.cli import main
from peak_trade.core.errors import ConfigError
from peak_trade.core.time import NS_PER_SECOND, iso
from peak_trade.core.values import TradingState
from peak_trade.data.store import save_bars
from peak_trade.engine.risk_engine import RiskEngine
from peak_trade.journal.codec import encode_event
from peak_trade.journal.events import (
    AlertEvent,
    BarEvent,
    CommandEvent,
    CommandKind,
    DecisionEvent,
    OrderEvent,
    OrderEventKind,
    SessionEvent,
    TradingStateEvent,
)
from peak_trade.journal.files import read_events, read_manifest
from peak_trade.journal.telemetry import TelemetrySettings
from peak_trade.journal.writer import JournalWriter
from peak_trade.risk.limits import RiskLimits, StateLimits
from peak_trade.risk.state import Control, KillSwitch, Recovery, advance, control_from_events
from peak_trade.sessions.control.commands import (
    FOLDER,
    is_kill_pending,
    kill_session,
    new_command,
    pending_commands,
    remove_command,
    send_command,
    state_of,
    write_command,
)
from peak_trade.sessions.control.state import write_control
from peak_trade.sessions.control.stop_switch import StopSwitch
from peak_trade.sessions.options import make_config
from peak_trade.sessions.replay import replay
from peak_trade.sessions.run import resume_session, run_session
from peak_trade.sessions.runner import LOOP_EVENTS
from peak_trade.sessions.store import session_ids, sessions_folder
from tests.examples import mostly_long
from tests.sessions.test_commands import wavy

HOUR = 3_600 * NS_PER_SECOND
WALL = 1_900_000_000 * NS_PER_SECOND
FALLING = RiskLimits(
    max_gross_exposure=1.0,
    size_to_limits=True,
    state=StateLimits(halt_drawdown=0.013, cooldown=7_200.0, ramp_stage=36_000.0),
)
THROTTLED = RiskLimits(max_same_side_fills=2, fill_window=360_000.0)


class Killed(BaseException):
    """Stands for kill -9: nothing after it runs."""


def die_with_what_is_pending(journal):
    """Close a journal as kill -9 does: what is not on disk is lost."""
    journal._is_closed.set()
    journal._thread.join()
    os.close(journal._file)
    journal._lock.release()


@pytest.fixture
def stored(home, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_bars(wavy(120))
    return home


def config_with(risk, **asked):
    base = {"mode": "paper", "strategy": "ma_crossover", "symbol": "BTC/USDT", "timeframe": "1h", "feed": "recorded"}
    config = make_config(base | asked, {"fast": 3, "slow": 8}, 5_000.0, None)
    return config.model_copy(update={"risk": risk})


def running():
    """The folder of the session that runs."""
    return sessions_folder() / session_ids()[-1]


def run(config, **options):
    return run_session(config, telemetry=TelemetrySettings(commit_seconds=0.01), **options)


def of(folder, *kinds):
    return [event for event in read_events(folder) if isinstance(event, kinds)]


def loop_events(folder):
    return [encode_event(event) for event in of(folder, *LOOP_EVENTS)]


def wait_for_disk(status, is_there=lambda found: True):
    """Wait until the journal holds all that the session has done."""
    for _ in range(2_000):
        found = state_of(status.session_id, WALL)
        if found.now == status.last_bar and is_there(found.control):
            return
        time.sleep(0.005)
    raise AssertionError(f"{status.session_id} never recorded what it had done")


def recovering(refused=None):
    """An `on_status` that recovers the session as soon as that is possible, once."""
    done = []

    def on_status(status):
        if not done and "halted" in status.state:
            wait_for_disk(status, lambda control: control.state is TradingState.HALTED)
            try:
                send_command(status.session_id, CommandKind.RECOVER, "ada", WALL)
            except ConfigError as error:
                if refused is not None:
                    refused.append(str(error))
            else:
                done.append(status.last_bar)

    return on_status, done


@pytest.mark.long
def test_a_session_that_halted_by_itself_is_recovered_climbs_the_ramp_and_trades_again(stored):
    refused = []
    on_status, done = recovering(refused)
    outcome = run(config_with(FALLING), on_status=on_status)
    (command,) = of(outcome.folder, CommandEvent)
    halted, recovered, *climbs = of(outcome.folder, TradingStateEvent)[:4]
    assert (halted.state, halted.reason) == (TradingState.HALTED, "drawdown")
    assert len(refused) == 2, refused
    assert "the cooldown of 7200 s is not over" in refused[0]
    assert (command.act, command.actor, command.given_at) == (CommandKind.RECOVER, "ada", WALL)
    assert command.ts_event == recovered.ts_event == halted.ts_event + 3 * HOUR == done[0] + HOUR
    assert (recovered.state, recovered.actor, recovered.observed) == (TradingState.ACTIVE, "ada", 0.5)
    assert [(event.reason, event.ts_event - command.ts_event) for event in climbs] == [
        ("ramp at 75%", 10 * HOUR),
        ("ramp at 100%", 20 * HOUR),
    ]
    assert replay(outcome.folder.name).is_identical


@pytest.mark.long
@pytest.mark.parametrize(("stage_hours", "share"), mostly_long([(10, 0.75), (36, 0.5), (5, 1.0)], 1))
def test_after_a_recovery_orders_are_limited_by_the_stage_of_the_ramp(stored, stage_hours, share):
    on_status, _ = recovering()
    stages = FALLING.state.model_copy(update={"ramp_stage": stage_hours * 3_600.0})
    outcome = run(config_with(FALLING.model_copy(update={"state": stages})), on_status=on_status)
    (command,) = of(outcome.folder, CommandEvent)
    bought = next(
        event for event in of(outcome.folder, OrderEvent)
        if event.event is OrderEventKind.SUBMITTED and event.side == "buy" and event.ts_event > command.ts_event
    )  # fmt: skip
    equity = next(event for event in of(outcome.folder, DecisionEvent) if event.order_id == bought.order_id)
    held = json.loads(equity.inputs)["account"]["equity"]
    assert bought.quantity * bought.decision_price / held == pytest.approx(share, rel=1e-3)
    assert replay(outcome.folder.name).is_identical


def test_a_command_is_in_the_journal_before_the_bar_it_is_applied_with(stored):
    on_status, _ = recovering()
    outcome = run(config_with(FALLING), on_status=on_status)
    events = [event for event in read_events(outcome.folder) if isinstance(event, CommandEvent | BarEvent)]
    place = next(n for n, event in enumerate(events) if isinstance(event, CommandEvent))
    assert events[place + 1].ts_event == events[place].ts_event
    assert pending_commands(outcome.folder) == []


@pytest.mark.parametrize("moment", mostly_long(["after recording", "before recording", "after the state"], 1))
def test_a_command_is_applied_once_however_the_session_is_killed(stored, monkeypatch, moment):
    config = config_with(FALLING)
    on_status, _ = recovering()
    whole = run(config, on_status=on_status)

    def die(*_):
        raise Killed

    append = JournalWriter.append

    def dying(self, event):
        if isinstance(event, CommandEvent):
            if moment == "before recording":
                raise Killed
            result = append(self, event)
            if moment == "after recording":
                self.commit()
                raise Killed
            return result
        return append(self, event)

    on_status, _ = recovering()
    with monkeypatch.context() as patched:
        patched.setattr(JournalWriter, "append", dying)
        patched.setattr(JournalWriter, "close", die_with_what_is_pending)
        if moment == "after the state":
            patched.setattr("peak_trade.sessions.runner.remove_command", die)
        with pytest.raises(Killed):
            run(config, on_status=on_status)
    folder = running()
    assert len(pending_commands(folder)) == 1
    assert len(of(folder, CommandEvent)) == (moment != "before recording")
    outcome = resume_session(folder.name)
    assert loop_events(outcome.folder) == loop_events(whole.folder)
    assert len(of(outcome.folder, CommandEvent)) == 1
    assert pending_commands(folder) == []
    assert replay(folder.name).is_identical


def test_a_command_that_the_session_refuses_is_an_alert(stored):
    """Written without the check: the session checks it against its own cooldown."""
    done = []

    def on_status(status):
        if not done and "halted" in status.state:
            done.append(status.last_bar)
            write_command(running(), new_command(CommandKind.RECOVER, "bob", WALL))
            write_command(running(), new_command(CommandKind.ENABLE, "bob", WALL + 1, strategy="other"))

    outcome = run(config_with(FALLING), on_status=on_status)
    alerts = of(outcome.folder, AlertEvent)
    assert [alert.code for alert in alerts] == ["act_refused", "act_refused"]
    assert "the cooldown of 7200 s is not over" in alerts[0].message
    assert "other is not disabled" in alerts[1].message
    assert [command.actor for command in of(outcome.folder, CommandEvent)] == ["bob", "bob"]
    assert of(outcome.folder, TradingStateEvent)[-1].state is TradingState.HALTED
    assert replay(outcome.folder.name).is_identical


def test_a_refusal_that_a_kill_lost_is_recorded_on_resume(stored, monkeypatch):
    append = JournalWriter.append

    def dying(self, event):
        if isinstance(event, AlertEvent):
            raise Killed
        return append(self, event)

    def on_status(status):
        if status.n_bars == 10:
            write_command(running(), new_command(CommandKind.RECOVER, "bob", WALL))

    with monkeypatch.context() as patched:
        patched.setattr(JournalWriter, "append", dying)
        with pytest.raises(Killed):
            run(config_with(FALLING), on_status=on_status)
    folder = running()
    assert (len(of(folder, CommandEvent)), of(folder, AlertEvent)) == (1, [])
    resume_session(folder.name)
    (alert,) = of(folder, AlertEvent)
    assert "there is nothing to recover from" in alert.message
    assert len(of(folder, CommandEvent)) == 1


@pytest.mark.long
def test_a_strategy_that_the_throttle_disabled_is_enabled_by_name(stored):
    done = []

    def on_status(status):
        if done or not status.n_denials:
            return
        wait_for_disk(status, lambda control: control.throttled)
        with pytest.raises(ConfigError, match="rsi is not disabled"):
            send_command(status.session_id, CommandKind.ENABLE, "ada", WALL, strategy="rsi")
        with pytest.raises(ConfigError, match="Did you mean ma_crossover"):
            send_command(status.session_id, CommandKind.ENABLE, "ada", WALL, strategy="ma_crosover")
        send_command(status.session_id, CommandKind.ENABLE, "ada", WALL, strategy="ma_crossover")
        done.append(status.last_bar)

    outcome = run(config_with(THROTTLED), on_status=on_status)
    reasons = [(event.reason, event.actor) for event in of(outcome.folder, TradingStateEvent)]
    assert reasons[:2] == [("ma_crossover disabled", ""), ("ma_crossover enabled", "ada")]
    decisions = of(outcome.folder, DecisionEvent)
    (command,) = of(outcome.folder, CommandEvent)
    first_after = next(event for event in decisions if event.ts_event >= command.ts_event)
    assert [denial.code for denial in decisions[decisions.index(first_after) - 1].denials] == ["repeated_execution"]
    assert first_after.is_approved
    assert replay(outcome.folder.name).is_identical


def test_the_verbs_command_a_session_and_name_errors(stored, capsys):
    def on_status(status):
        if status.n_bars == 10 and status.state.startswith("running"):
            wait_for_disk(status)
            name = status.session_id
            assert main(["risk", "state", "--session", name]) == 0
            assert main(["risk", "recover", "--session", name, "--by", "ada"]) == 2
            assert "there is nothing to recover from" in capsys.readouterr().err
            assert main(["risk", "recover", "--session", name, "--by", " "]) == 2
            assert main(["risk", "recover", "--session", name, "--by", "ada", "--risk", "x.toml"]) == 2
            assert main(["risk", "kill", "--session", name, "--by", "ada", "--reason", "enough"]) == 0
            assert "applies it at once" in capsys.readouterr().out
            assert main(["risk", "state", "--session", name]) == 0
            assert "pending: kill, by ada" in capsys.readouterr().out

    outcome = run(config_with(FALLING), on_status=on_status)
    name = outcome.folder.name
    assert outcome.reason == "kill switch"
    assert outcome.status.n_bars == 10
    assert main(["risk", "state", "--session", name]) == 1
    assert "(enough)" in capsys.readouterr().out
    for verb in (["recover"], ["enable", "ma_crossover"], ["kill"]):
        assert main(["risk", *verb, "--session", name, "--by", "ada"]) == 2
        assert "is sealed" in capsys.readouterr().err
    assert main(["risk", "recover", "--session", name.replace("paper", "papre"), "--by", "ada"]) == 2
    assert f"Did you mean {name}?" in capsys.readouterr().err
    assert replay(name).is_identical


def test_several_commands_can_be_pending_and_a_damaged_one_is_a_kill(tmp_path):
    given = [new_command(CommandKind.RECOVER, "ada", 5), new_command(CommandKind.ENABLE, "bob", 5, strategy="ma")]
    for command in given:
        write_command(tmp_path, command)
    assert sorted(pending_commands(tmp_path), key=lambda command: command.actor) == given
    remove_command(tmp_path, given[0].command_id)
    assert pending_commands(tmp_path) == given[1:]
    (tmp_path / FOLDER / "00.json").write_text("{")
    assert pending_commands(tmp_path)[0].kind is CommandKind.KILL
    assert is_kill_pending(tmp_path)


def test_a_command_in_a_live_session_waits_for_a_bar_that_closes_after_it(stored, tmp_path, key):
    """Bars fetched after an outage closed before the command was given."""
    from peak_trade.sessions.feeds.base import RecordedFeed
    from peak_trade.strategies.ma_crossover import MaCrossover
    from tests.sessions.running import open_session

    bars = wavy(40)
    session = open_session(tmp_path / "s", key, MaCrossover(fast=3, slow=8), bars, risk=FALLING, is_live=True)
    write_command(tmp_path / "s", new_command(CommandKind.RECOVER, "ada", int(bars.times[30]) - 1))
    session.run(RecordedFeed(bars))
    (command,) = of(tmp_path / "s", CommandEvent)
    assert command.ts_event == int(bars.times[30])


def kill_workspace(home):
    control, _ = advance(Control(), KillSwitch(WALL, "ada"), StateLimits())
    write_control(home, control)


@pytest.mark.parametrize("aim", mostly_long(["workspace", "session"], 1))
def test_a_kill_reaches_a_session_whose_next_bar_is_an_hour_away(stored, aim):
    """At this pace the next bar is an hour away."""
    switch, first = StopSwitch(), threading.Event()
    took = []

    def strike():
        first.wait(10.0)
        time.sleep(0.05)
        took.append(time.monotonic())
        if aim == "workspace":
            kill_workspace(stored)
        else:
            kill_session(running().name, "ada", WALL, "kill switch")

    thread = threading.Thread(target=strike)
    thread.start()
    outcome = run(config_with(None, pace=1.0), switch=switch, on_status=lambda status: first.set())
    took.append(time.monotonic())
    thread.join()
    assert took[1] - took[0] < 60.0
    assert outcome.reason == "kill switch"
    assert outcome.status.n_bars == 1
    assert of(outcome.folder, SessionEvent)[-1].reason == "kill switch"
    assert len(of(outcome.folder, CommandEvent)) == (aim == "session")
    assert replay(outcome.folder.name).is_identical


def test_a_kill_cancels_the_open_orders_and_one_that_comes_between_is_finished_on_resume(stored, monkeypatch):
    from peak_trade.sessions.runner import Session

    def on_status(status):
        if status.n_open_orders:
            kill_session(status.session_id, "ada", WALL, "kill switch")

    def die(self, reason):
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(Session, "_stop", die)
        with pytest.raises(Killed):
            run(config_with(FALLING), on_status=on_status)
    folder = running()
    assert of(folder, OrderEvent)[-1].leaves > 0.0
    outcome = resume_session(folder.name)
    assert outcome.reason == "kill switch"
    last = of(folder, OrderEvent)[-1]
    assert (last.event, last.reason) == (OrderEventKind.CANCELED, "kill switch")
    assert len(of(folder, CommandEvent)) == 1
    assert replay(folder.name).is_identical


@pytest.mark.parametrize("n_history", mostly_long([0, 40], 1))
@pytest.mark.parametrize(("elapsed", "ramp"), mostly_long([(11 * HOUR, 0.75), (0, 0.5), (30 * HOUR, 1.0)], 1))
def test_a_session_starts_on_the_ramp_of_the_workspace_and_climbs_it_in_its_own_time(stored, elapsed, ramp, n_history):
    rules = StateLimits(cooldown=0.0, ramp_stage=36_000.0)
    control, _ = advance(Control(), KillSwitch(WALL - elapsed, "ada"), rules)
    control, _ = advance(control, Recovery(WALL - elapsed, "ada"), rules)
    write_control(stored, control)
    first = int(wavy(1).times[0]) + (n_history - 1) * HOUR
    start = iso(first + HOUR) if n_history else None
    outcome = run(config_with(replace_state(FALLING), start=start), clock=lambda: WALL)
    recorded = read_manifest(outcome.folder).get("trading_state")
    assert (recorded is None) == (ramp == 1.0)
    climbs = of(outcome.folder, TradingStateEvent)
    expected = [hours for hours, stage in ((10, 0.75), (20, 1.0)) if stage > ramp]
    assert [event.ts_event for event in climbs] == [first + hours * HOUR - elapsed for hours in expected]
    assert state_of(outcome.folder.name, WALL).control.ramp == 1.0
    if recorded is not None:
        assert recorded["ramp"] == ramp
        assert recorded["recovered_at"] == first - elapsed
    assert replay(outcome.folder.name).is_identical


def replace_state(limits):
    return limits.model_copy(update={"state": StateLimits()})


def test_the_state_of_the_workspace_shows_the_ramp_that_time_has_led_to(home, capsys, monkeypatch):
    clock = [WALL]
    monkeypatch.setattr("time.time_ns", lambda: clock[0])
    assert main(["risk", "kill", "--by", "ada"]) == 0
    clock[0] += HOUR
    assert main(["risk", "recover", "--by", "ada"]) == 0
    for days, shown in ((0, "50%"), (1, "75%"), (2, "100%")):
        clock[0] = WALL + HOUR + days * 24 * HOUR
        capsys.readouterr()
        assert main(["risk", "state"]) == 0
        assert f"size limits at {shown}" in capsys.readouterr().out


def test_a_session_starts_reducing_where_the_workspace_is(stored):
    write_control(stored, Control(state=TradingState.REDUCING, reason="a person", changed_at=WALL - HOUR))
    with pytest.raises(ConfigError, match="trading is reducing"):
        run(config_with(None))
    outcome = run(config_with(FALLING), clock=lambda: WALL)
    decisions = of(outcome.folder, DecisionEvent)
    assert decisions
    assert all("trading_state" in [denial.code for denial in decision.denials] for decision in decisions)
    control = state_of(outcome.folder.name, WALL).control
    assert (control.state, control.reason) == (TradingState.REDUCING, "a person")
    assert control.changed_at == int(wavy(1).times[0]) - 2 * HOUR
    assert replay(outcome.folder.name).is_identical


def test_the_control_from_a_journal_is_the_one_the_session_had(stored, monkeypatch):
    on_status, _ = recovering()
    controls = []

    class Watched(RiskEngine):
        def observe(self, observation):
            super().observe(observation)
            controls.append(self.control)

    monkeypatch.setattr("peak_trade.wiring.gates.RiskEngine", Watched)
    outcome = run(config_with(FALLING), on_status=on_status)
    derived = control_from_events(Control(), read_events(outcome.folder))
    names = ("state", "reason", "changed_at", "recovered_at", "ramp", "throttled")
    assert {name: getattr(derived, name) for name in names} == {name: getattr(controls[-1], name) for name in names}
    assert derived.changed_at > 0
