"""Each requirement of the checklist passes on evidence that meets it, and fails on everything less."""

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peak_trade.core.digest import canonical_json
from peak_trade.governance.approval import NS_PER_DAY
from peak_trade.governance.decision import decide, is_reproduced
from peak_trade.governance.evidence import Evidence, RiskFacts, VenueFacts
from peak_trade.governance.requirements import REQUIREMENTS
from peak_trade.governance.state import GovernanceState
from tests.examples import examples
from tests.governance.setups import LIMITS, NOW, OTHER, adopted, evidence, scope, signed

HOUR = 3_600 * 1_000_000_000
LOOPBACK = VenueFacts(place="http://127.0.0.1:80", is_sandbox=True, is_loopback=True, has_credentials=True)


@pytest.fixture(scope="module")
def setup(tmp_path_factory):
    return adopted(tmp_path_factory.mktemp("governance") / "workspace")


def failures(setup, state=None, now=NOW, **changes) -> dict[str, str]:
    found = decide(evidence(setup.policy.digest, **changes), state or setup.state, [signed(setup)], now)
    assert found.is_allowed == (not found.failed)
    assert (found.approval is None) == ("approval" in {line.name for line in found.failed})
    assert all(line.remedy for line in found.failed)
    return {line.name: line.observed for line in found.failed}


def changed(setup, part, **changes):
    return {part: getattr(evidence(setup.policy.digest), part).model_copy(update=changes)}


def test_complete_evidence_is_allowed(setup):
    assert failures(setup) == {}


@pytest.mark.parametrize(
    ("part", "name"),
    [
        ("policy_file", {"policy"}),
        ("trading_state", {"kill switch"}),
        ("risk", {"risk limits", "limits are live", "approval"}),
        ("venue", {"venue", "credentials"}),
        ("clock_offset_ms", {"clock offset"}),
        ("data_age_bars", {"fresh data"}),
        ("is_causal", {"no look-ahead"}),
        ("out_of_sample", {"out-of-sample evidence"}),
        ("shadow", {"shadow session"}),
    ],
)
def test_evidence_that_was_not_gathered_fails(setup, part, name):
    assert failures(setup, **{part: None}).keys() == name


RISK = [
    ({"max_order_notional": 100.01}, "max_order_notional is 100.01 (at most 100)"),
    ({"max_drawdown": None}, "max_drawdown is not set (at most 0.1)"),
    ({"max_orders": 10.5}, "max_orders_per_minute is 10.5 (at most 10)"),
    ({"max_orders": None}, "max_orders_per_minute is not set (at most 10)"),
]


@pytest.mark.parametrize(("limits", "words"), RISK, ids=["above", "missing", "rate", "no-rate"])
def test_limits_above_the_caps_or_missing_fail_with_both_numbers(setup, limits, words):
    values = {name: value for name, value in (LIMITS | limits).items() if value is not None}
    assert failures(setup, risk=RiskFacts(limits=values))["risk limits"] == words


def test_a_limit_that_denies_nothing_fails(setup):
    facts = RiskFacts(limits=LIMITS, silent=("max_drawdown",))
    assert failures(setup, risk=facts) == {"limits are live": "max_drawdown denied nothing"}
    assert "no limit is set" in failures(setup, risk=RiskFacts(limits={}))["limits are live"]


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"policy_file": OTHER}, "policy"),
        ({"governance_faults": ("a fault",)}, "governance log"),
        ({"trading_state": "halted"}, "kill switch"),
        ({"trading_state": "reducing"}, "kill switch"),
        ({"clock_offset_ms": -501.0}, "clock offset"),
        ({"clock_offset_ms": 501.0}, "clock offset"),
        ({"data_age_bars": 2.1}, "fresh data"),
        ({"is_causal": False}, "no look-ahead"),
        ({"journals": ()}, "journals"),
    ],
)
def test_observations_out_of_bounds_fail(setup, changes, name):
    assert list(failures(setup, **changes)) == [name]


@pytest.mark.parametrize(
    ("part", "changes", "name"),
    [
        ("venue", {"is_sandbox": False}, "venue"),
        ("venue", {"has_credentials": False}, "credentials"),
        ("out_of_sample", {"n_trades": 29}, "out-of-sample evidence"),
        ("out_of_sample", {"sharpe": 0.49}, "out-of-sample evidence"),
        ("out_of_sample", {"sharpe": None}, "out-of-sample evidence"),
        ("out_of_sample", {"sharpe_error": None}, "out-of-sample evidence"),
        ("out_of_sample", {"deflated_sharpe": 0.94}, "out-of-sample evidence"),
        ("out_of_sample", {"deflated_sharpe": None}, "out-of-sample evidence"),
        ("out_of_sample", {"max_drawdown": 0.26}, "out-of-sample evidence"),
        ("out_of_sample", {"first": NOW - 90 * NS_PER_DAY}, "out-of-sample evidence"),
        ("out_of_sample", {"first": NOW - 200 * NS_PER_DAY, "last": NOW - 61 * NS_PER_DAY}, "out-of-sample evidence"),
        ("out_of_sample", {"last": NOW + 1}, "out-of-sample evidence"),
        ("out_of_sample", {"idle": ("rsi ETH/USDT",)}, "out-of-sample evidence"),
        ("shadow", {"last_recorded": NOW - NS_PER_DAY - 1}, "shadow session"),
        ("shadow", {"first_recorded": NOW - 10 * NS_PER_DAY, "last_recorded": NOW - 8 * NS_PER_DAY}, "shadow session"),
        ("shadow", {"last_recorded": NOW + 1}, "shadow session"),
        ("shadow", {"verdict": "unsealed"}, "shadow session"),
        ("shadow", {"verdict": "edited"}, "shadow session"),
        ("shadow", {"is_same": False}, "shadow session"),
        ("shadow", {"diff": None}, "shadow session"),
        ("shadow", {"n_differences": 1}, "shadow session"),
        ("shadow", {"is_clock_emulated": True}, "shadow session"),
    ],
)
def test_parts_of_the_evidence_out_of_bounds_fail(setup, part, changes, name):
    assert list(failures(setup, **changed(setup, part, **changes))) == [name]


def test_the_evidence_of_a_portfolio_is_about_the_portfolio(setup):
    portfolio = scope(symbols=("BTC/USDT", "ETH/USDT"))
    missing = failures(setup, scope=portfolio, out_of_sample=None)["out-of-sample evidence"]
    assert missing == "no run of this portfolio, these parameters and this code"
    changes = changed(setup, "out_of_sample", idle=("rsi ETH/USDT",)) | {"scope": portfolio}
    assert failures(setup, **changes)["out-of-sample evidence"].endswith("; without a trade: rsi ETH/USDT")
    assert changes["out_of_sample"].model_dump()["idle"] == ("rsi ETH/USDT",)


def test_evidence_of_earlier_versions_is_stored_as_it_was(setup):
    """Without the names of strategies that did not trade, which these versions did not have."""
    assert "idle" not in changed(setup, "out_of_sample")["out_of_sample"].model_dump()


def test_an_emulated_clock_counts_for_a_venue_on_loopback_only_and_is_named(setup):
    emulated = changed(setup, "shadow", is_clock_emulated=True)
    assert "EMULATED CLOCK" in failures(setup, **emulated)["shadow session"]
    found = decide(evidence(setup.policy.digest, **emulated, venue=LOOPBACK), setup.state, [signed(setup)], NOW)
    assert found.is_allowed
    assert "EMULATED CLOCK" in next(line.observed for line in found.lines if line.name == "shadow session")


def test_a_decision_on_an_emulated_clock_counts_for_a_venue_on_loopback_only(setup):
    """An approval would never expire by a clock that stands still."""
    assert "EMULATED CLOCK" in failures(setup, is_clock_emulated=True)["clock"]
    assert failures(setup, is_clock_emulated=True, venue=LOOPBACK) == {}
    assert failures(setup, is_clock_emulated=True, venue=None).keys() == {"clock", "venue", "credentials"}


def test_a_journal_that_does_not_verify_fails_with_its_name(setup):
    bad = evidence(setup.policy.digest).journals[0].model_copy(update={"verdict": "edited", "is_intact": False})
    assert failures(setup, journals=(bad,)) == {"journals": "s is edited"}


def test_the_drill_is_recent(setup):
    assert failures(setup, dataclasses.replace(setup.state, drilled=0)) == {"kill switch drill": "never exercised"}
    old = dataclasses.replace(setup.state, drilled=NOW - 8 * NS_PER_DAY)
    assert failures(setup, old) == {"kill switch drill": "8.0 days ago"}


def test_a_clock_that_was_set_back_fails(setup):
    assert failures(setup, now=NOW - 2 * 1_000_000_000).keys() == {"clock", "approval"}


def test_without_a_policy_a_testnet_session_is_told_to_adopt_one(setup):
    found = decide(evidence(setup.policy.digest), GovernanceState(), [signed(setup)], NOW)
    lines = {line.name: line for line in found.failed}
    assert "peak-trade policy adopt" in lines["policy"].remedy
    assert lines["policy"].observed == "no policy is adopted in this workspace"
    assert "approval" in lines


def test_a_strategy_and_symbol_that_were_not_named_fail(setup):
    found = failures(setup, scope=scope(strategies=(), symbols=()))
    assert found["strategy and symbol"] == "strategies: not named and symbols: not named"


@pytest.mark.parametrize("stage", ["paper", "shadow"])
def test_paper_and_shadow_need_neither_policy_nor_key(stage):
    simulated = VenueFacts(place="simulated", is_sandbox=False, is_loopback=False, has_credentials=False)
    bare = Evidence(scope=scope(stage=stage), gathered_at=NOW, trading_state="active", venue=simulated)
    assert decide(bare, GovernanceState(), [], NOW).is_allowed
    halted = bare.model_copy(update={"trading_state": "halted"})
    assert [line.name for line in decide(halted, GovernanceState(), [], NOW).failed] == ["kill switch"]
    outside = bare.model_copy(update={"venue": LOOPBACK})
    assert [line.name for line in decide(outside, GovernanceState(), [], NOW).failed] == ["venue"]


def test_of_several_approvals_one_that_is_valid_suffices(setup):
    good, bad = signed(setup), signed(setup, max_notional=1.0)
    for approvals in ([bad, good], [good, b"junk"], [b"", bad, good]):
        assert decide(evidence(setup.policy.digest), setup.state, approvals, NOW).envelope == good
    found = decide(evidence(setup.policy.digest), setup.state, [bad, b"junk"], NOW)
    assert found.envelope is None
    assert "max_order_notional; it is not a signed envelope" in found.failed[0].observed.replace(".", "")


def test_the_lines_are_those_of_the_stage(setup):
    for stage, requirements in REQUIREMENTS.items():
        found = decide(evidence(setup.policy.digest, scope=scope(stage=stage)), setup.state, [], NOW)
        assert [line.name for line in found.lines] == [each.name for each in requirements]


@given(gone=st.sets(st.sampled_from(["risk", "venue", "shadow", "out_of_sample", "is_causal", "data_age_bars"])))
@settings(max_examples=examples(30), deadline=None)
def test_less_evidence_never_passes_more_lines(setup, gone):
    full = decide(evidence(setup.policy.digest), setup.state, [signed(setup)], NOW)
    less = decide(evidence(setup.policy.digest, **dict.fromkeys(gone)), setup.state, [signed(setup)], NOW)
    assert less.is_allowed == (not gone)
    assert all(one.passed or not other.passed for one, other in zip(full.lines, less.lines, strict=True))


@given(emulated=st.booleans(), notional=st.floats(1.0, 200.0), state=st.sampled_from(["active", "halted"]))
@settings(max_examples=examples(30), deadline=None)
def test_a_stored_decision_is_made_again_from_what_is_stored(setup, emulated, notional, state):
    facts = RiskFacts(limits=LIMITS | {"max_order_notional": notional})
    values = changed(setup, "shadow", is_clock_emulated=emulated) | {"risk": facts, "trading_state": state}
    found = decide(evidence(setup.policy.digest, **values), setup.state, [signed(setup), b"\xff\x00"], NOW)
    assert is_reproduced(canonical_json(found.to_dict()), setup.state)
