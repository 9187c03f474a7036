"""The live-execution gate: only a grant starts a session at a sandbox, and an approval that lapses reduces it."""

from __future__ import annotations

import copy
import json
import pickle
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from peak_trade.core.errors import ConfigError, GovernanceError, SessionError
from peak_trade.core.time import iso
from peak_trade.core.values import TradingState
from peak_trade.data.workspace import workspace, workspace_at
from peak_trade.governance.decision import Decision, decide
from peak_trade.governance.evidence import Evidence, VenueFacts
from peak_trade.governance.grant import Grant, issue
from peak_trade.governance.log import GovernanceLog
from peak_trade.governance.policy import read_policy
from peak_trade.governance.signing import read_approvals
from peak_trade.journal.events import CommandEvent, CommandKind, OrderEvent, OrderEventKind, TradingStateEvent
from peak_trade.journal.files import read_events
from peak_trade.risk.limits import StateLimits
from peak_trade.sessions.control.commands import new_command, write_command
from peak_trade.sessions.feeds.live import LiveFeed
from peak_trade.sessions.options import make_config
from peak_trade.sessions.replay import replay
from peak_trade.sessions.run import resume_session, run_session
from peak_trade.sessions.runner import LIVE_GATE
from peak_trade.sessions.sandbox.admission import Admission, admission_of
from peak_trade.sessions.sandbox.binance import BinanceSpot
from peak_trade.sessions.sandbox.client import connect_sandbox
from peak_trade.sessions.sandbox.venue import SandboxVenue
from peak_trade.sessions.store import session_ids
from peak_trade.site.pages import last_decisions, readiness_page
from peak_trade.studies import readiness
from tests.emulator.server import emulated
from tests.sessions import granting
from tests.sessions.running import BTC, part_of
from tests.sessions.trading import KEYS, NS_PER_MS, EmulatedSwitch, exchange_at

MINUTE = 60_000_000_000


@pytest.fixture
def desk(home, btc_1m):
    """A workspace with evidence, an emulator, and the configuration of a session at it."""
    bars = part_of(btc_1m, 900, 105)
    exchange = exchange_at(bars, 60)
    asked = {"mode": "testnet", "strategy": "ma_crossover", "symbol": "BTC/USDT", "timeframe": "1m"}
    config = make_config(asked, {"fast": 3, "slow": 9}, 5_000.0, None)
    config = config.model_copy(update={"n_history": 50, "risk": granting.with_all_limits(None)})
    granting.prepare(config)
    with emulated(exchange) as emulator:

        def sandbox():
            client = connect_sandbox("binance", KEYS, emulator.url)
            client.enableRateLimit = False
            client.milliseconds = lambda: exchange.now_ms
            return client

        yield SimpleNamespace(
            config=config,
            exchange=exchange,
            sandbox=sandbox,
            clock=lambda: exchange.now_ms * NS_PER_MS,
            switch=EmulatedSwitch(exchange, int(bars.times[99]) // NS_PER_MS),
        )


def gate_of(desk, **changes):
    given = {"policy": workspace() / "policy.toml", "clock": desk.clock, "sandbox": desk.sandbox}
    return readiness.Gate(**given | changes)


def grant_of(desk):
    granting.approve(desk.config, desk.clock())
    return granting.granted(readiness.admit(desk.config, gate_of(desk)))


def run(desk, grant, config=None, **changes):
    given = {"switch": desk.switch, "clock": desk.clock, "sandbox": desk.sandbox}
    return run_session(config or desk.config, grant=grant, **given | changes)


def failed(found):
    assert isinstance(found, Decision)
    return {line.name: line.observed for line in found.failed}


def assert_nothing_was_created(desk):
    assert desk.exchange.orders == []
    assert not [name for name in session_ids() if "_testnet_" in name]


@contextmanager
def refused(desk, message):
    with pytest.raises((ConfigError, GovernanceError, SessionError), match=message):
        yield
    assert_nothing_was_created(desk)


def lapse_at(desk, n_bars, lapse):
    """Run a session whose approval lapses once some bars have closed; return its events and the bar of the lapse."""
    seen, lapsed = [], []

    def on_status(status):
        seen.append(status.last_bar)
        if len(seen) == n_bars:
            lapse()
            lapsed.append(status.last_bar)

    outcome = run(desk, grant_of(desk), on_status=on_status)
    return outcome, read_events(outcome.folder), lapsed[0]


def assert_reduced_within_one_bar(outcome, events, lapsed, reason):
    (command,) = [event for event in events if isinstance(event, CommandEvent)]
    assert (command.act, command.actor) == (CommandKind.REDUCE, LIVE_GATE)
    assert reason in command.reason
    assert command.ts_event <= lapsed + MINUTE
    (change,) = [event for event in events if isinstance(event, TradingStateEvent)]
    assert (change.state, change.cause.value) == (TradingState.REDUCING, "approval_lapsed")
    opened = [
        event
        for event in events
        if isinstance(event, OrderEvent)
        and event.event is OrderEventKind.SUBMITTED
        and event.side.value == "buy"
        and event.ts_event > lapsed
    ]
    assert opened == []
    assert replay(outcome.folder.name).is_identical


@pytest.mark.long
def test_a_revocation_reduces_a_session_within_one_bar(desk):
    def revoke():
        log = GovernanceLog(workspace(), desk.clock)
        log.revoke(next(iter(log.state().used)), "ada", "enough")

    assert_reduced_within_one_bar(*lapse_at(desk, 12, revoke), "it was revoked.")


@pytest.mark.long
def test_an_expiry_reduces_a_session_within_one_bar(desk):
    granting.approve(desk.config, desk.clock(), expires=iso(desk.clock() + 20 * MINUTE))
    grant = granting.granted(readiness.admit(desk.config, gate_of(desk)))
    outcome = run(desk, grant)
    events = read_events(outcome.folder)
    (command,) = [event for event in events if isinstance(event, CommandEvent)]
    assert command.act is CommandKind.REDUCE
    assert "it expired at" in command.reason
    assert_reduced_within_one_bar(outcome, events, command.ts_event, "it expired at")


@pytest.mark.long
def test_a_session_whose_approval_expired_is_not_resumed(desk):
    granting.approve(desk.config, desk.clock(), expires=iso(desk.clock() + 30 * MINUTE))
    grant = granting.granted(readiness.admit(desk.config, gate_of(desk)))

    def on_status(status):
        if status.n_fills:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(desk, grant, on_status=on_status)
    (name,) = [each for each in session_ids() if "_testnet_" in each]
    again = granting.granted(readiness.admit_again(name, gate_of(desk)))
    n_orders = len(desk.exchange.orders)
    desk.exchange.advance_to(desk.exchange.now_ms + 31 * 60_000)
    assert "it expired at" in failed(readiness.admit_again(name, gate_of(desk)))["approval"]
    with pytest.raises(GovernanceError, match="it expired at"):
        resume_session(name, grant=again, clock=desk.clock, sandbox=desk.sandbox, switch=desk.switch)
    assert len(desk.exchange.orders) == n_orders


def test_no_grant_no_session_and_no_other_value_passes_for_one(desk):
    with refused(desk, "starts through the live-execution gate only"):
        run(desk, None)
    grant = grant_of(desk)
    forged = object.__new__(Grant)
    for name in ("scope", "decision", "log_id", "envelope"):
        object.__setattr__(forged, name, getattr(grant, name))
    with refused(desk, "not made by the gate"):
        run(desk, forged)
    twin = SimpleNamespace(**{name: getattr(grant, name) for name in ("scope", "decision", "log_id", "envelope")})
    with refused(desk, "grant was a SimpleNamespace: give a Grant"):
        run(desk, twin)
    for copied in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="can not be pickled or copied"):
            copied(grant)
    with pytest.raises(TypeError, match="comes from the gate only"):
        Grant(grant.scope, grant.decision, grant.log_id, grant.envelope, object())
    object.__setattr__(grant, "scope", grant.scope.model_copy(update={"config": "0" * 64}))
    with refused(desk, "not made by the gate, or was changed"):
        run(desk, grant)


def test_evidence_that_was_built_by_hand_makes_no_grant(desk):
    granting.approve(desk.config, desk.clock())
    log = GovernanceLog(workspace(), desk.clock)
    approvals, _ = read_approvals(workspace())
    found = readiness.admit(desk.config, gate_of(desk))
    assert isinstance(found, Grant)
    stored = [entry for entry in log.entries() if entry.action == "decided"][-1]
    evidence = Evidence.parse(json.loads(stored.content)["evidence"], "test")
    sandbox = VenueFacts(
        place="https://testnet.binance.vision", is_sandbox=True, is_loopback=True, has_credentials=True
    )
    decision = decide(evidence.model_copy(update={"venue": sandbox}), log.state(), approvals, desk.clock())
    assert decision.is_allowed
    with pytest.raises(TypeError, match="only the gate"):
        issue(log, decision)
    log.append_decision(decision)
    assert_nothing_was_created(desk)


def test_the_venue_is_built_from_an_admission_only(desk):
    client = desk.sandbox()
    with refused(desk, "built from a grant of the live-execution gate only"):
        SandboxVenue(BinanceSpot(client, [BTC]), SimpleNamespace(), "pt-", lambda seconds: None)
    grant = grant_of(desk)
    admission = admission_of(desk.config, grant, "20240101_000000_testnet_a", desk.clock)
    with refused(desk, "its approval is not used up for it"):
        admission.sandbox("binance", client, [BTC])
    made = Admission(SimpleNamespace(fault=lambda *_: "", decision=grant.decision), admission.request, admission.log,
                     desk.clock)  # fmt: skip
    with refused(desk, "its approval is not used up for it"):
        made.sandbox("binance", client, [BTC])
    admission.use()
    found = admission.sandbox("binance", client, [BTC])
    with refused(desk, "another session than that of the orders"):
        SandboxVenue(found, SimpleNamespace(), "pt-", lambda seconds: None)
    client.session.close()


@pytest.mark.long
def test_what_changes_after_the_check_voids_the_grant(desk, monkeypatch):
    grant = grant_of(desk)
    more = desk.config.trading.model_copy(update={"initial_cash": 50_000.0})
    with refused(desk, "another configuration"):
        run(desk, grant, desk.config.model_copy(update={"trading": more}))
    monkeypatch.setattr("peak_trade.sessions.sandbox.admission.code_digest", lambda parts: "0" * 64)
    with refused(desk, "other code"):
        run(desk, grant)


@pytest.mark.long
def test_a_client_of_another_place_than_the_gate_has_seen_is_refused(desk, monkeypatch):
    grant = grant_of(desk)

    def real():
        client = connect_sandbox("binance", KEYS)
        client.load_markets = desk.sandbox().load_markets
        return client

    monkeypatch.setattr(LiveFeed, "history", lambda self: [])
    with pytest.raises(GovernanceError, match=r"the gate has seen http://127\.0\.0\.1"):
        run(desk, grant, sandbox=real)
    assert desk.exchange.orders == []


@pytest.mark.long
@pytest.mark.parametrize("url", ["https://api.binance.com", "https://testnet.binance.vision.example.org"])
def test_a_production_url_is_no_sandbox(desk, url):
    granting.approve(desk.config, desk.clock())

    def production():
        client = desk.sandbox()
        client.urls["api"] = {name: f"{url}/api/v3" for name in client.urls["api"]}
        return client

    found = failed(readiness.admit(desk.config, gate_of(desk, sandbox=production)))
    assert url in found["venue"]
    assert_nothing_was_created(desk)


@pytest.mark.long
def test_evidence_of_an_emulated_clock_is_refused_for_the_host_of_a_sandbox(desk, monkeypatch):
    def silent(self):
        raise GovernanceError("no network in tests")

    monkeypatch.setattr(LiveFeed, "measure", silent)
    granting.approve(desk.config, desk.clock())
    found = failed(readiness.admit(desk.config, gate_of(desk, sandbox=lambda: connect_sandbox("binance", KEYS))))
    assert "EMULATED CLOCK, which counts for a venue on loopback only" in found["shadow session"]
    assert "venue" not in found


@pytest.mark.long
def test_a_link_an_old_policy_and_a_clock_that_was_set_back_are_refused(desk):
    path = granting.approve(desk.config, desk.clock())
    moved = path.with_suffix(".moved")
    path.rename(moved)
    path.symlink_to(moved)
    assert "symbolic link" in failed(readiness.admit(desk.config, gate_of(desk)))["approval"]
    path.unlink()
    moved.rename(path)
    policy = workspace() / "policy.toml"
    text = policy.read_text(encoding="utf-8")
    policy.write_text(text.replace("max_open_orders = 1000", "max_open_orders = 1001"), encoding="utf-8")
    assert "in force is version 1" in failed(readiness.admit(desk.config, gate_of(desk)))["policy"]
    policy.write_text(text, encoding="utf-8")
    back = desk.clock() - 3_600 * 10**9
    found = failed(readiness.admit(desk.config, gate_of(desk, clock=lambda: back)))
    assert "it was set back" in found["clock"]
    assert isinstance(readiness.admit(desk.config, gate_of(desk)), Grant)
    assert_nothing_was_created(desk)


@pytest.mark.long
def test_another_workspace_takes_neither_the_grant_nor_the_approval(desk, tmp_path):
    grant, policy = grant_of(desk), read_policy(workspace() / "policy.toml")
    approvals = list((workspace() / "approvals").iterdir())
    second = tmp_path / "second"
    with workspace_at(second):
        with refused(desk, "no policy is adopted"):
            run(desk, grant)
        second.mkdir(exist_ok=True)
        (second / "policy.toml").write_bytes(policy.content)
        GovernanceLog(second, desk.clock).adopt(policy, actor="eve")
        (second / "approvals").mkdir()
        for path in approvals:
            (second / "approvals" / path.name).write_bytes(path.read_bytes())
        assert "another workspace" in failed(readiness.admit(desk.config, gate_of(desk)))["approval"]
        with refused(desk, "another workspace"):
            run(desk, grant)


@pytest.mark.long
def test_one_approval_admits_one_session(desk):
    grant = grant_of(desk)
    run(desk, grant)
    assert "was used by session" in failed(readiness.admit(desk.config, gate_of(desk)))["approval"]
    with pytest.raises(GovernanceError, match="was used by session"):
        run(desk, grant)
    assert len([name for name in session_ids() if "_testnet_" in name]) == 1


@pytest.mark.long
def test_a_workspace_that_is_read_only_refuses(desk, monkeypatch):
    granting.approve(desk.config, desk.clock())

    def denied(path, *_):
        raise PermissionError(13, "Permission denied", str(path))

    # Root, as which continuous integration runs, writes to folders without the permission.
    monkeypatch.setattr("peak_trade.governance.log.held_lock", denied)
    with refused(desk, "could not be written"):
        readiness.admit(desk.config, gate_of(desk))


@pytest.mark.long
def test_a_disk_that_is_full_refuses(desk, monkeypatch):
    granting.approve(desk.config, desk.clock())

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("peak_trade.journal.writer.write_all", full)
    with refused(desk, "No space left"):
        readiness.admit(desk.config, gate_of(desk))


def shadow_of_the_evidence():
    (name,) = [each for each in session_ids() if "_shadow_" in each]
    return workspace() / "sessions" / name


@pytest.mark.long
def test_evidence_is_read_and_verified_at_every_decision(desk):
    granting.approve(desk.config, desk.clock())
    journal = shadow_of_the_evidence() / "events.jsonl"
    content = journal.read_bytes()
    journal.write_bytes(content.replace(b'"close":', b'"close":1', 1))
    found = failed(readiness.admit(desk.config, gate_of(desk)))
    assert "its journal is edited" in found["shadow session"]
    assert "edited" in found["journals"]
    journal.write_bytes(content)
    recorded = [*workspace().rglob("events.jsonl.gz")]
    assert recorded
    for path in recorded:
        path.write_bytes(b"")
    assert set(failed(readiness.admit(desk.config, gate_of(desk)))) == {"out-of-sample evidence"}
    assert_nothing_was_created(desk)


@pytest.mark.long
@pytest.mark.parametrize("change", ["parameters", "code", "timeframe"])
def test_evidence_of_another_strategy_does_not_count(desk, monkeypatch, change):
    config = desk.config
    if change == "parameters":
        strategy = config.strategies[0].model_copy(update={"parameters": config.parameters | {"slow": 10}})
        config = config.model_copy(update={"strategies": (strategy,)})
    elif change == "timeframe":
        config = config.model_copy(update={"timeframe": "5m"})
    else:
        monkeypatch.setattr("peak_trade.sessions.sandbox.admission.code_digest", lambda parts: "0" * 64)
    granting.approve(config, desk.clock())
    found = failed(readiness.admit(config, gate_of(desk)))
    assert "another strategy, parameters, symbols or code" in found["shadow session"]
    assert "no run of this strategy, these parameters and this code" in found["out-of-sample evidence"]
    assert "approval" not in found


@pytest.mark.long
def test_a_recovery_does_not_undo_the_reduction_of_a_lapsed_approval(desk):
    log, sent = GovernanceLog(workspace(), desk.clock), []

    def on_status(status):
        if status.n_bars == 10:
            log.revoke(next(iter(log.state().used)), "ada", "enough")
        if status.n_bars == 14 and not sent:
            folder = workspace() / "sessions" / status.session_id
            sent.append(new_command(CommandKind.RECOVER, "eve", desk.clock()))
            write_command(folder, sent[0])

    risk = desk.config.risk.model_copy(update={"state": StateLimits(cooldown=0.0)})
    desk.config = desk.config.model_copy(update={"risk": risk})
    outcome = run(desk, grant_of(desk), on_status=on_status)
    events = read_events(outcome.folder)
    acts = [event.act for event in events if isinstance(event, CommandEvent)]
    assert acts == [CommandKind.REDUCE, CommandKind.RECOVER, CommandKind.REDUCE]
    states = [event for event in events if isinstance(event, TradingStateEvent)]
    assert [event.state.value for event in states] == ["reducing", "active", "reducing"]
    assert states[1].ts_event == states[2].ts_event
    assert replay(outcome.folder.name).is_identical


@pytest.mark.long
def test_the_page_of_readiness_shows_the_last_decision_and_the_emulated_clock(desk):
    assert "No session has asked" in readiness_page(*last_decisions([workspace() / "nowhere"]))
    readiness.admit(desk.config, gate_of(desk))
    first = readiness_page(*last_decisions([workspace()]))
    assert first.count("FAIL") == 1
    assert "EMULATED CLOCK" in first
    assert "testnet: ma_crossover direction=long, fast=3, slow=9 on BTC/USDT" in first
    grant_of(desk)
    assert "FAIL" not in readiness_page(*last_decisions([workspace()]))
    log = workspace() / "governance" / "events.jsonl"
    log.write_bytes(log.read_bytes().replace(b"ma_crossover", b"my_crossover", 1))
    assert "testnet: " not in readiness_page(*last_decisions([workspace()]))


UNTYPED = """
from peak_trade.engine.market import Market
from peak_trade.governance.decision import Decision
from peak_trade.governance.grant import Grant
from peak_trade.sessions.config import SessionConfig
from peak_trade.sessions.run import run_session
from peak_trade.sessions.sandbox.base import Sandbox
from peak_trade.sessions.sandbox.venue import SandboxVenue

def attempt(sandbox: Sandbox, market: Market, config: SessionConfig, decision: Decision) -> None:
    SandboxVenue(sandbox, market, "pt-", lambda seconds: None)
    run_session(config, grant=decision)
    Grant(decision.evidence.scope, "", "", None)
"""


@pytest.mark.long
def test_a_venue_without_an_admission_is_an_error_of_types(tmp_path):
    root, file = Path(__file__).parents[2], tmp_path / "attempt.py"
    file.write_text(UNTYPED, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", str(file)], cwd=root, capture_output=True, text=True, check=False
    )
    errors = [line for line in done.stdout.splitlines() if "error:" in line]
    assert len(errors) == 3, done.stdout + done.stderr
    assert 'has incompatible type "Sandbox"; expected "AdmittedSandbox | None"' in errors[0]
    assert 'has incompatible type "Decision"; expected "Grant | None"' in errors[1]
    assert 'Missing positional argument "seal"' in errors[2]
