"""The commands of a session: run, list, show, verify, export, replay, and their errors."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pandas as pd
import pytest

from peak_trade.cli import main
from peak_trade.core.errors import ConfigError
from peak_trade.core.time import iso
from peak_trade.data.store import save_bars
from peak_trade.journal.events import OrderEvent, SessionEvent
from peak_trade.journal.files import EVENTS, MANIFEST, is_sealed, read_events, read_manifest
from peak_trade.journal.keys import WorkspaceKey
from peak_trade.journal.writer import JournalWriter, create_session
from peak_trade.sessions.config import SessionConfig, names_in
from peak_trade.sessions.control.stop_switch import StopSwitch
from peak_trade.sessions.options import make_config
from peak_trade.sessions.replay import replay
from peak_trade.sessions.run import resume_session, run_session
from peak_trade.sessions.store import config_of, find_session, keys_folder, session_ids, sessions_folder
from peak_trade.studies.recording import session_record
from peak_trade.tracking import record_run
from tests.examples import mostly_long
from tests.replacing import replace
from tests.sessions.running import RUN, wavy


def test_a_session_is_run_listed_shown_verified_exported_and_replayed(stored, capsys, monkeypatch, tmp_path):
    assert main(RUN) == 0
    assert "end of run; 120 bars" in capsys.readouterr().out
    (name,) = session_ids()
    assert name.endswith("_paper_ma_crossover_BTC-USDT_1h")
    assert main(["session", "list", "--json"]) == 0
    (listed,) = json.loads(capsys.readouterr().out)
    assert (listed["state"], listed["n_bars"]) == ("sealed", 120)
    assert listed["n_fills"] > 0
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["session", "list"]) == 0
    assert "…" not in capsys.readouterr().out
    assert main(["session", "show", name]) == 0
    shown = capsys.readouterr().out
    assert "sealed" in shown
    assert f"{iso(listed['last_bar'])} " in shown
    assert str(listed["last_bar"]) not in shown
    assert main(["audit", "verify", name[:15]]) == 0
    assert "intact" in capsys.readouterr().out
    for suffix in ("csv", "json", "parquet"):
        assert main(["audit", "export", "--session", name, "--output", str(tmp_path / f"trail.{suffix}")]) == 0
    assert main(["audit", "export", "--all", "--output", str(tmp_path / "all.csv")]) == 0
    assert len(pd.read_csv(tmp_path / "all.csv")) == len(read_events(find_session(name)))
    capsys.readouterr()
    assert main(["replay", "--session", name, "--json"]) == 0
    outcome = json.loads(capsys.readouterr().out)
    assert outcome["is_identical"]
    assert outcome["n_fills"] == listed["n_fills"]


@pytest.mark.long
def test_a_session_has_one_entry_in_the_registry(registry, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    save_bars(wavy())
    assert main(RUN) == 0
    folder = find_session(session_ids()[0])
    assert session_record(folder) == session_record(folder)
    record_run(session_record(folder))
    capsys.readouterr()
    assert main(["runs", "list", "--type", "paper", "--json"]) == 0
    (run,) = json.loads(capsys.readouterr().out)
    assert (run["run_id"], run["strategy"]) == (session_record(folder).run_id, "ma_crossover")


def test_the_manifest_says_what_a_replay_needs(ran, capsys):
    manifest = json.loads((find_session(ran) / MANIFEST).read_text())
    assert set(manifest["digests"]) == {"config", "data", "code", "seed", "environment"}
    assert manifest["history_start"] == "2024-01-01 01:00:00Z"
    assert {"config", "versions", "seed", "clock", "session_id"} <= manifest.keys()
    assert config_of(find_session(ran)).digest() == manifest["digests"]["config"]


def test_a_session_with_gates_replays_and_records_every_decision(stored, capsys, tmp_path):
    risk = Path(__file__).parents[2] / "config" / "risk.toml"
    (tmp_path / "run.toml").write_text(f'initial_cash = 5000.0\n[risk]\nfile = "{risk}"\n')
    assert main([*RUN, "--config", "run.toml"]) == 0
    (name,) = session_ids()
    capsys.readouterr()
    assert main(["replay", "--session", name, "--json"]) == 0
    outcome = json.loads(capsys.readouterr().out)
    assert outcome["n_decisions"] == outcome["n_orders"] > 0


def test_a_journal_that_was_tampered_with_is_named_and_not_replayed(ran, capsys):
    path = find_session(ran) / EVENTS
    path.write_bytes(path.read_bytes().replace(b'"side":"sell"', b'"side":"buy"', 1))
    capsys.readouterr()
    assert main(["audit", "verify", ran]) == 1
    assert "edited" in capsys.readouterr().out
    assert main(["replay", "--session", ran]) == 2
    assert "edited" in capsys.readouterr().err
    assert main(["session", "resume", ran]) == 2


def test_a_replay_names_the_first_difference(ran, capsys):
    """A journal signed with the right key in which the price of one fill differs."""
    true = find_session(ran)
    folder, key = sessions_folder() / "other", WorkspaceKey(keys_folder())
    create_session(folder, read_manifest(true) | {"session_id": folder.name}, key, lambda: 1)
    with JournalWriter(folder, key, lambda: 1) as writer:
        for event in read_events(true):
            if isinstance(event, OrderEvent) and event.last_quantity > 0.0:
                writer.append(replace(event, last_price=event.last_price + 1.0))
            else:
                writer.append(event)
        writer.seal()
    capsys.readouterr()
    assert main(["audit", "verify", "other"]) == 0
    assert main(["replay", "--session", "other"]) == 1
    printed = capsys.readouterr().out
    assert "Different, first at" in printed
    assert "last_price was" in printed


@pytest.mark.long
def test_a_shadow_has_room_for_all_that_its_session_recorded(stored, monkeypatch):
    monkeypatch.setattr("peak_trade.sessions.run._n_expected", lambda config: 10)
    save_bars(wavy(700))
    assert main(RUN) == 0
    (name,) = session_ids()
    assert main(["session", "run", "--mode", "shadow", "--quiet", "--no-record", "--follow", name]) == 0


@pytest.mark.long
def test_a_shadow_does_what_the_followed_session_did(stored, capsys):
    assert main(RUN) == 0
    (name,) = session_ids()
    shadow = ["session", "run", "--mode", "shadow", "--quiet", "--no-record", "--follow"]
    assert main([*shadow, name]) == 0
    other = next(session for session in session_ids() if "_shadow_" in session)
    orders = [
        [event for event in read_events(find_session(session)) if isinstance(event, OrderEvent)]
        for session in (name, other)
    ]
    assert orders[0] == orders[1]
    assert replay(other).is_identical


@pytest.mark.long
def test_the_former_name_of_follow_is_read_with_one_line_that_names_the_new_one(stored, capsys):
    assert main(RUN) == 0
    (name,) = session_ids()
    capsys.readouterr()
    assert main(["session", "run", "--mode", "shadow", "--quiet", "--no-record", "--beside", name]) == 0
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "--beside" in line]
    assert line.endswith("--beside is deprecated and will be removed in the next version. Use --follow.")
    asked = {"mode": "shadow", "strategy": "cash", "symbol": "BTC/USDT", "timeframe": "1h", "exchange": "sample"}
    with pytest.warns(DeprecationWarning, match="Use follow"):
        former = SessionConfig.parse(asked | {"feed": "beside", "beside": name}, "session")
    current = SessionConfig.parse(asked | {"feed": "follow", "follow": name}, "session")
    assert former == current == SessionConfig.from_manifest(asked | {"feed": "beside", "beside": name}, "manifest")


def test_a_stop_cancels_open_orders_marks_and_seals(stored):
    switch = StopSwitch()
    asked = {"mode": "paper", "strategy": "buy_and_hold", "symbol": "BTC/USDT", "timeframe": "1h", "feed": "recorded"}
    outcome = run_session(
        make_config(asked, {}, None, None), switch=switch, on_status=lambda status: switch.stop("Ctrl-C")
    )
    events = read_events(outcome.folder)
    (order,) = [event for event in events if isinstance(event, OrderEvent)][-1:]
    assert (order.event, order.reason) == ("CANCELED", "Ctrl-C")
    last = events[-1]
    assert isinstance(last, SessionEvent)
    assert (last.phase, last.reason) == ("stopped", "Ctrl-C")
    assert is_sealed(outcome.folder)
    assert replay(outcome.folder.name).is_identical


def test_a_session_has_lists_of_strategies_and_symbols_and_reads_one_of_each(ran, capsys):
    folder = find_session(ran)
    config = read_manifest(folder)["config"]
    assert [each["name"] for each in config["strategies"]] == ["ma_crossover"]
    assert [each["name"] for each in config["symbols"]] == ["BTC/USDT"]
    (start,) = [event for event in read_events(folder) if isinstance(event, SessionEvent) and event.phase == "started"]
    assert (start.strategies, start.symbols) == (("ma_crossover",), ("BTC/USDT",))
    (strategy,), (symbol,) = config.pop("strategies"), config.pop("symbols")
    flat = {"strategy": "ma_crossover", "parameters": strategy["parameters"], "symbol": "BTC/USDT"}
    flat["instrument"] = symbol["instrument"]
    assert SessionConfig.from_manifest(config | flat, "manifest") == config_of(folder)
    assert names_in(flat) == names_in({"strategies": [strategy], "symbols": [symbol]})
    two = {"strategies": [strategy] * 2, "symbols": [symbol]}
    with pytest.raises(ConfigError, match="strategies are 2: a session without a portfolio has one"):
        SessionConfig.from_manifest(config | two, "manifest")
    with pytest.raises(ConfigError, match="parameters is not a setting"):
        SessionConfig.from_manifest(config | two | {"strategies": [strategy], "parameters": {}}, "manifest")
    capsys.readouterr()
    assert main(["session", "list", "--json"]) == 0
    (listed,) = json.loads(capsys.readouterr().out)
    assert (listed["strategies"], listed["symbols"]) == (["ma_crossover"], ["BTC/USDT"])
    assert (listed["strategy"], listed["symbol"]) == ("ma_crossover", "BTC/USDT")


@pytest.mark.long
def test_the_list_has_one_line_per_session_at_any_width(stored, capsys, monkeypatch):
    for _ in range(2):
        assert main(RUN) == 0
    for width in (1, 20, 80, 300):
        monkeypatch.setenv("COLUMNS", str(width))
        capsys.readouterr()
        assert main(["session", "list"]) == 0
        header, *lines = capsys.readouterr().out.splitlines()
        assert header.split()[:3] == ["session", "state", "bars"]
        assert [line.split()[0] for line in lines] == session_ids()
        assert all(line.split()[1] == "sealed" and line.endswith(line.split()[-1]) for line in lines)
        assert len({len(line) for line in lines}) == 1


@pytest.mark.parametrize(
    ("config", "names"),
    [
        ({"strategy": "a", "symbol": "A/B, C/D"}, (("a",), ("A/B", "C/D"))),
        ({}, ((), ())),
        ({"strategies": 3, "symbols": "A/B"}, ((), ())),
        ({"strategies": [3], "symbols": [{}]}, ((), ("",))),
    ],
)
def test_the_names_in_a_manifest_of_any_shape(config, names):
    assert names_in(config) == names


def test_a_stop_is_read_by_its_code_and_not_by_its_text(stored):
    switch = StopSwitch()
    asked = {"mode": "paper", "strategy": "buy_and_hold", "symbol": "BTC/USDT", "timeframe": "1h", "feed": "recorded"}
    outcome = run_session(
        make_config(asked, {}, None, None), switch=switch, on_status=lambda status: switch.stop("end of run")
    )
    events = read_events(outcome.folder)
    (order,) = [event for event in events if isinstance(event, OrderEvent)][-1:]
    assert (order.event, order.cause, events[-1].cause) == ("CANCELED", "stopped", "stopped")
    assert replay(outcome.folder.name).is_identical


@pytest.mark.parametrize(
    ("signals", "reason"),
    mostly_long(
        [
            ([signal.SIGINT], "Ctrl-C"),
            ([signal.SIGINT, signal.SIGTERM], "Ctrl-C"),
            ([signal.SIGTERM, signal.SIGINT], "Ctrl-C"),
            ([signal.SIGTERM, signal.SIGTERM], "terminated by a signal"),
        ],
        1,
    ),
    ids=["Ctrl-C", "Ctrl-C, then a kill", "a kill, then Ctrl-C", "two kills"],
)
def test_one_ctrl_c_and_a_kill_stop_cleanly_in_any_order(stored, capsys, monkeypatch, signals, reason):
    from peak_trade.sessions.control import stop_switch
    from peak_trade.sessions.feeds.base import RecordedFeed

    items = RecordedFeed.items

    def interrupted(self, after):
        for n, item in enumerate(items(self, after)):
            if n == 10:
                for number in signals:
                    signal.raise_signal(number)
            yield item

    monkeypatch.setattr(RecordedFeed, "items", interrupted)
    monkeypatch.setattr(stop_switch, "_GRACE_SECONDS", 0.05)
    assert main(RUN) == 0
    assert f"{reason}; 11 bars" in capsys.readouterr().out
    assert is_sealed(find_session(session_ids()[0]))


@pytest.mark.long
def test_a_second_ctrl_c_stops_at_once_and_the_session_can_be_resumed(stored, capsys, monkeypatch):
    from peak_trade.sessions.feeds.base import RecordedFeed

    items = RecordedFeed.items

    def interrupted(self, after):
        for n, item in enumerate(items(self, after)):
            if n == 10:
                signal.raise_signal(signal.SIGINT)
                signal.raise_signal(signal.SIGINT)
            yield item

    with monkeypatch.context() as patch:
        patch.setattr(RecordedFeed, "items", interrupted)
        assert main(RUN) == 130
    (name,) = session_ids()
    assert main(["session", "show", name, "--json"]) == 0
    assert '"state": "interrupted"' in capsys.readouterr().out
    assert resume_session(name).reason == "end of run"
    assert replay(name).is_identical


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("--mode testnet --exchange kraken", "Did you mean krakenfutures"),
        ("--duration 10x", "duration was '10x'"),
        ("--duration 0m", "duration was '0m'"),
        ("--feed recorded --pace 0x", "pace was '0x'"),
        ("--feed recorded --pace quick", "pace was 'quick'"),
        ("--pace 60x", "only a recorded feed has one"),
        ("--feed recorded --symbol BTC/USDC", "BTC/USDT"),
        ("--strategy ma_crosover", "Did you mean ma_crossover"),
        ("-p fsat=3", "Did you mean fast"),
        ("--exchange binanec", "Did you mean binance"),
        ("--mode shadow", "--follow"),
        ("--mode shadow --follow 2024", "there is no session 2024"),
        ("--timeframe 1x", "timeframe was '1x'"),
    ],
)
def test_bad_input_is_one_line_that_says_what_to_do(stored, capsys, options, says):
    base = [] if "--follow" in options else ["--symbol", "BTC/USDT", "--timeframe", "1h"]
    assert main(["session", "run", "--quiet", *base, *options.split()]) == 2
    shown = capsys.readouterr()
    assert says in shown.err
    assert shown.err.count("\n") == 1
    assert session_ids() == []


@pytest.mark.parametrize("exchange", mostly_long(["binance", "krakenfutures"], 1))
def test_a_testnet_session_is_refused_with_the_requirements_that_it_does_not_meet(stored, capsys, exchange):
    asked = ["--symbol", "BTC/USDT", "--timeframe", "1h", "--exchange", exchange]
    assert main(["session", "run", "--mode", "testnet", "--quiet", *asked]) == 1
    shown = capsys.readouterr()
    for name in ("policy", "approval", "shadow session", "kill switch drill", "credentials"):
        assert f"FAIL  {name}: " in shown.out
    assert shown.out.splitlines()[-1].startswith("The session was not started. testnet: not ready, ")
    assert session_ids() == []
    assert main(["session", "run", "--mode", "testnet", "--quiet", *asked, "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["is_ready"] is False


def test_tidying_compresses_a_session_that_still_verifies_and_replays(ran, capsys, tmp_path):
    assert main(["audit", "tidy"]) == 0
    assert "No session is old enough" in capsys.readouterr().out
    (tmp_path / "telemetry.toml").write_text("[retention]\ncompress_after_days = 0.0\n")
    assert main(["audit", "tidy", "--telemetry", "telemetry.toml"]) == 0
    assert f"{ran}: compressed" in capsys.readouterr().out
    assert main(["audit", "verify", ran]) == 0
    assert main(["replay", "--session", ran]) == 0


def test_an_unknown_session_names_the_nearest(ran, capsys):
    capsys.readouterr()
    for verb in (["session", "show"], ["audit", "verify"], ["replay", "--session"]):
        assert main([*verb, ran.replace("paper", "papre")]) == 2
        assert f"Did you mean {ran}?" in capsys.readouterr().err


def test_a_session_does_not_resume_on_other_bars(stored, capsys):
    outcome = run_session(make_config({"mode": "paper", "strategy": "cash", "symbol": "BTC/USDT", "timeframe": "1h",
                                       "feed": "recorded"}, {}, None, None))  # fmt: skip
    assert main(["session", "resume", outcome.folder.name]) == 2
    assert "sealed" in capsys.readouterr().err
