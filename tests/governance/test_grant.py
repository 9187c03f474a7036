"""A grant comes of an allowed decision, admits one session, and can be made by the gate only."""

import copy
import pickle

import pytest

from peak_trade.core.errors import GovernanceError
from peak_trade.core.values import Instrument
from peak_trade.governance import grant as grants
from peak_trade.governance.approval import NS_PER_DAY, Request
from peak_trade.governance.decision import Decision, decide
from peak_trade.governance.grant import Grant, issue
from peak_trade.sessions.sandbox.admission import Admission
from peak_trade.sessions.sandbox.client import connect_sandbox
from peak_trade.wiring.exchanges import sandbox_class
from tests.governance.setups import NOW, adopted, evidence, scope, signed

SESSION = Request(scope(), 100.0, "s-1")


@pytest.fixture
def setup(tmp_path, monkeypatch):
    monkeypatch.setattr(grants, "GATE", __name__)
    monkeypatch.setitem(grants.sys.modules, __name__, _Module())
    return adopted(tmp_path / "workspace")


class _Module:
    """This module under its own name, which pytest does not import by it."""

    def __init__(self):
        self.__dict__ = globals()


def granted(setup, **changes) -> Grant | Decision:
    found = decide(evidence(setup.policy.digest, **changes), setup.log.state(), [signed(setup)], NOW)
    return issue(setup.log, found)


def test_an_allowed_decision_admits_its_session_and_its_resumptions_only(setup):
    grant = granted(setup)
    assert isinstance(grant, Grant)
    for _ in range(2):
        grant.verify(setup.log, SESSION, NOW)
        assert grant.fault(setup.log, SESSION, NOW) == ""
    with pytest.raises(GovernanceError, match="used by session s-1"):
        grant.verify(setup.log, Request(scope(), 100.0, "s-2"), NOW)
    with pytest.raises(GovernanceError, match="code changed after the check"):
        grant.verify(setup.log, Request(scope(code="9" * 64), 100.0, "s-1"), NOW)
    assert setup.log.verify().is_intact


def test_a_refused_decision_is_recorded_and_gives_no_grant(setup):
    refused = granted(setup, trading_state="halted")
    assert isinstance(refused, Decision)
    assert [line.name for line in refused.failed] == ["kill switch"]
    assert setup.log.entries()[-1].subject == refused.digest()
    assert setup.log.verify().is_intact


def test_a_running_session_may_trade_no_longer_after_expiry_or_revocation(setup):
    grant = granted(setup)
    grant.verify(setup.log, SESSION, NOW)
    assert "expired" in grant.fault(setup.log, SESSION, NOW + NS_PER_DAY)
    setup.log.revoke("1" * 32, "bob", "a doubt")
    assert "revoked" in grant.fault(setup.log, SESSION, NOW)
    with pytest.raises(GovernanceError, match="revoked"):
        grant.verify(setup.log, SESSION, NOW)


def test_a_grant_is_neither_made_nor_copied_nor_changed_by_hand(setup, monkeypatch):
    grant = granted(setup)
    with pytest.raises(TypeError, match="from the gate only"):
        Grant(scope(), "0" * 64, setup.state.log_id, None, object())
    for attempt in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="can not be pickled or copied"):
            attempt(grant)
    with pytest.raises(GovernanceError, match="not made by the gate"):
        object.__new__(Grant).verify(setup.log, SESSION, NOW)
    object.__setattr__(grant, "scope", scope(code="9" * 64))
    with pytest.raises(GovernanceError, match="was changed"):
        grant.verify(setup.log, Request(scope(code="9" * 64), 100.0, "s-1"), NOW)
    monkeypatch.setattr(grants, "GATE", "peak_trade.studies.readiness")
    with pytest.raises(TypeError, match="only the gate"):
        granted(setup)


def test_a_grant_of_another_workspace_is_refused(setup, tmp_path):
    grant = granted(setup)
    other = adopted(tmp_path / "other")
    with pytest.raises(GovernanceError, match="another workspace"):
        grant.verify(other.log, SESSION, NOW)


def test_an_emulated_clock_admits_to_a_venue_on_loopback_only(setup):
    """By a clock that stands still an approval would not expire."""
    grant = granted(setup)
    grant.verify(setup.log, SESSION, NOW)
    access = sandbox_class("binance").access
    client = connect_sandbox("binance", dict.fromkeys((access.key_variable, access.secret_variable), "x"))
    admission = Admission(grant, SESSION, setup.log, setup.clock)
    with pytest.raises(GovernanceError, match="its clock is emulated"):
        admission.sandbox("binance", client, [Instrument("BTC/USDT")])
