"""The demo's pair of sessions."""

from __future__ import annotations

import shutil

import pytest

from peak_trade.governance.log import GovernanceLog
from tests.emulator import demo

pytestmark = pytest.mark.long


def test_the_demo_trades_its_pair_once_and_then_names_it_again(monkeypatch, tmp_path, capsys, empty_registry):
    monkeypatch.setenv("PEAK_TRADE_HOME", str(tmp_path))
    monkeypatch.setattr(demo, "N_TRADED", 40)
    (tmp_path / demo.HOME).mkdir()
    shutil.copy(empty_registry, tmp_path / demo.HOME / "mlflow.db")
    assert demo.main() == 0
    first = capsys.readouterr()
    assert "The session was refused:\n  approval: there is none\n" in first.err
    assert "EMULATED CLOCK" in first.err
    assert demo.main() == 0
    assert capsys.readouterr().out == first.out
    home, shadow, live = first.out.split()
    assert "_shadow_" in shadow
    assert "_testnet_" in live
    log = GovernanceLog(tmp_path / demo.HOME)
    assert log.verify().is_intact
    summaries = [entry.summary for entry in log.entries() if entry.action == "decided"]
    assert summaries == ["testnet session refused: approval", "testnet session allowed"]
    assert home == str(tmp_path / demo.HOME)
