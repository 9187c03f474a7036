"""Sessions recorded by an earlier version still verify, replay and compare.

`recorded/` holds a workspace without its private key: a paper session with limits (denials, a halt, an operator's
recovery, the halt after it), a testnet session at the emulator, and its shadow. A development version of November
2026 with one comment added recorded them over sample bars, so that their code digest is of no other version. Never
record them again: they stand for the sessions that users keep.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from peak_trade.cli import main

RECORDED = Path(__file__).with_name("recorded")
PAPER = "20261128_181451_paper_ma_crossover_BTC-USDT_1h"
TESTNET = "20230102_160000_testnet_ma_crossover_BTC-USDT_1h"
SHADOW = "20261128_181452_shadow_ma_crossover_BTC-USDT_1h"
EVENTS = {PAPER: 429, TESTNET: 523, SHADOW: 500}
REPLAYED = {
    PAPER: {"n_bars": 162, "n_signals": 21, "n_orders": 21, "n_decisions": 21, "n_fills": 7},
    TESTNET: {"n_bars": 200, "n_signals": 23, "n_orders": 23, "n_decisions": 23, "n_fills": 38},
    SHADOW: {"n_bars": 200, "n_signals": 23, "n_orders": 23, "n_decisions": 23, "n_fills": 23},
}
SESSIONS = pytest.mark.parametrize("session", [PAPER, TESTNET, SHADOW], ids=["paper", "testnet", "shadow"])


@pytest.fixture
def workspace(home: Path) -> Path:
    """A copy of the recorded workspace."""
    shutil.copytree(RECORDED, home)
    return home


def printed(capsys, *words: str, code: int = 0):
    capsys.readouterr()
    assert main([*words, "--json"]) == code
    return json.loads(capsys.readouterr().out)


@SESSIONS
def test_a_recorded_session_verifies(workspace, capsys, session):
    verdict = printed(capsys, "audit", "verify", session)
    assert (verdict["finding"], verdict["n_events"]) == ("intact", EVENTS[session])
    key = (workspace / "keys" / "journal.pub").read_text(encoding="ascii").strip()
    assert printed(capsys, "audit", "verify", session, "--key", key)["finding"] == "intact"
    assert printed(capsys, "audit", "verify", session, "--key", "0" * 64, code=1)["finding"] == "rewritten"


@SESSIONS
def test_a_recorded_session_replays_under_other_code_and_the_replay_says_so(workspace, capsys, session):
    outcome = printed(capsys, "replay", "--session", session)
    assert outcome["is_identical"], outcome["first_difference"]
    assert {name: outcome[name] for name in REPLAYED[session]} == REPLAYED[session]
    assert outcome["note"]


def test_a_changed_line_of_a_recorded_session_is_found(workspace, capsys):
    path = workspace / "sessions" / PAPER / "events.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"side":"sell"', b'"side":"buy"', 1))
    assert printed(capsys, "audit", "verify", PAPER, code=1)["finding"] == "edited"


def test_a_recorded_shadow_compares_with_its_testnet_session(workspace, capsys):
    result = printed(capsys, "diff", SHADOW, TESTNET, code=1)
    assert (result["n_roots"], result["n_differences"], result["orders"]["matched"]) == (21, 102, 23)
    assert result["unexplained"]["passes"]
    assert result["shadow"]["pnl"] == pytest.approx(44.17902105119971, abs=1e-9)
    assert result["live"]["pnl"] == pytest.approx(192.99566311490068, abs=1e-9)


def test_a_recorded_session_agrees_with_itself(workspace, capsys):
    assert printed(capsys, "diff", PAPER, PAPER)["agree"]


def test_recorded_sessions_are_listed(workspace, capsys):
    found = {each["session_id"]: each for each in printed(capsys, "session", "list")}
    assert found.keys() == {PAPER, TESTNET, SHADOW}
    assert {each["state"] for each in found.values()} == {"sealed"}
    assert found[PAPER]["n_denials"] == 14
