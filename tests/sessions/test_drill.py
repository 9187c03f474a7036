"""The drill of the kill switch: a session that does not start is named."""

from __future__ import annotations

import pytest

from peak_trade.core.errors import SessionError
from peak_trade.sessions.control import drill


def test_a_drill_whose_session_does_not_start_says_so(home, monkeypatch):
    monkeypatch.setattr(drill, "START_SECONDS", 0.0)
    with pytest.raises(SessionError, match="the drill's session did not start: it had no open order in time"):
        drill.run_drill("ada")
