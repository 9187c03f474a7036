"""The kill-switch drill: it kills a real session in a process of its own, and says when the kill did not work."""

from __future__ import annotations

import json

import pytest

from peak_trade.cli import main
from peak_trade.core.errors import ConfigError
from peak_trade.core.values import TradingState
from peak_trade.data.workspace import workspace
from peak_trade.governance.log import GovernanceLog
from peak_trade.sessions.control import drill
from peak_trade.sessions.control.commands import KillResult
from peak_trade.sessions.control.state import read_control
from peak_trade.sessions.store import session_ids


def entries():
    return [(entry.action.value, entry.actor) for entry in GovernanceLog(workspace()).entries()]


@pytest.mark.long
def test_a_drill_halts_a_real_session_and_is_recorded(home, capsys):
    assert main(["risk", "drill", "--by", "ada", "--json"]) == 0
    done = json.loads(capsys.readouterr().out)
    assert done["findings"] == []
    assert done["seconds"] < 10.0
    assert entries() == [("drilled", "ada")]
    assert GovernanceLog(workspace()).state().drilled > 0
    assert session_ids() == []
    assert read_control(workspace()).state is TradingState.ACTIVE
    assert not list(workspace().glob(".drill-*"))


@pytest.mark.long
def test_a_drill_whose_kill_does_nothing_fails_and_does_not_count(home, capsys, monkeypatch):
    monkeypatch.setattr(drill, "kill_workspace", lambda *_: KillResult())
    monkeypatch.setattr(drill, "HALT_SECONDS", 0.5)
    assert main(["risk", "drill", "--by", "ada"]) == 1
    shown = capsys.readouterr().out
    findings = ("the session still ran", "does not end with the kill", "an order is still open")
    findings += ("the workspace is not halted", "a session could start", "the kill switch does not work")
    for finding in findings:
        assert finding in shown
    assert entries() == [("drilled", "ada")]
    assert GovernanceLog(workspace()).state().drilled == 0


def test_a_drill_names_a_person(home):
    with pytest.raises(ConfigError, match="needs the name of the person"):
        drill.run_drill(" ")
    assert entries() == []
