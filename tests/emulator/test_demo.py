"""The demo's pair of sessions."""

from __future__ import annotations

import pytest

from tests.emulator import demo

pytestmark = pytest.mark.smoke


def test_the_demo_trades_its_pair_once_and_then_names_it_again(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("PEAK_TRADE_HOME", str(tmp_path))
    assert demo.main() == 0
    first = capsys.readouterr().out
    assert demo.main() == 0
    assert capsys.readouterr().out == first
    shadow, live = first.split()
    assert "_shadow_" in shadow
    assert "_testnet_" in live
