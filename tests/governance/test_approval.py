"""An approval admits the session that was signed and nothing else: each hostile case refuses, with its reason."""

import dataclasses
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peak_trade.core.errors import ConfigError, GovernanceError
from peak_trade.governance.approval import APPROVAL_TYPE, NS_PER_DAY, Request, sign, verify
from peak_trade.governance.envelope import Envelope
from peak_trade.governance.scope import ScopedStrategy
from tests.examples import examples
from tests.governance.setups import CODE, NOW, OTHER, REQUEST, adopted, approval, key, scope, signed

STRATEGY = scope().strategies[0]
HOUR = 3_600 * 1_000_000_000


@pytest.fixture(scope="module")
def setup(tmp_path_factory):
    return adopted(tmp_path_factory.mktemp("governance") / "workspace")


@pytest.fixture(scope="module")
def strict(tmp_path_factory):
    """A workspace whose policy asks for two keys."""
    return adopted(tmp_path_factory.mktemp("strict") / "workspace", testnet=2)


def refusal(content, state, request=REQUEST, now=NOW) -> str:
    with pytest.raises(GovernanceError) as caught:
        verify(content, state, request, now)
    return str(caught.value)


def test_an_approval_admits_its_session(setup):
    assert verify(signed(setup), setup.state, REQUEST, NOW) == approval(setup.state)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"stage": "shadow"}, "another stage"),
        ({"strategies": (ScopedStrategy(name="macd", parameters=STRATEGY.parameters),)}, "another strategy"),
        (
            {"strategies": (ScopedStrategy(name=STRATEGY.name, parameters={"fast": 21, "slow": 50}),)},
            "other parameters",
        ),
        ({"strategies": (ScopedStrategy(name=STRATEGY.name, parameters={"fast": 20.0, "slow": 50}),)}, "parameters"),
        ({"strategies": (ScopedStrategy(name=STRATEGY.name, parameters={"fast": 20}),)}, "parameters"),
        ({"strategies": (STRATEGY, STRATEGY)}, "another strategy"),
        ({"strategies": ()}, "another strategy"),
        ({"symbols": ("ETH/USDT",)}, "other symbols"),
        ({"symbols": ("BTC/USDT", "ETH/USDT")}, "other symbols"),
        ({"code": OTHER}, "other code"),
        ({"config": OTHER}, "another configuration"),
    ],
    ids=["stage", "strategy", "parameter", "type", "missing", "two", "none", "symbol", "more", "code", "config"],
)
def test_a_session_that_differs_from_the_signed_one_is_refused(setup, changes, words):
    assert words in refusal(signed(setup), setup.state, Request(scope(**changes), 100.0))
    resigned = sign(approval(setup.state, scope=scope(**changes)), [setup.keys["ada"]])
    assert words in refusal(resigned, setup.state)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"policy": OTHER}, "another policy"),
        ({"workspace": OTHER}, "another workspace"),
        ({"max_notional": 99.9}, "lower max_order_notional"),
        ({"approvers": ("bob",)}, "ada signed it"),
        ({"approvers": ("ada", "bob")}, "ada signed it"),
    ],
    ids=["policy", "workspace", "notional", "approver", "two-approvers"],
)
def test_an_approval_with_other_terms_is_refused(setup, changes, words):
    content = sign(approval(setup.state, **changes), [setup.keys["ada"]])
    assert words in refusal(content, setup.state)


@pytest.mark.parametrize("notional", [100.01, float("inf"), float("nan")])
def test_orders_that_are_larger_than_approved_or_unlimited_are_refused(setup, notional):
    assert "lower max_order_notional" in refusal(signed(setup), setup.state, Request(scope(), notional))


@pytest.mark.parametrize(
    ("now", "words"),
    [
        (NOW + NS_PER_DAY, "expired"),
        (NOW + NS_PER_DAY - 1, None),
        (NOW - NS_PER_DAY, "set back"),
        (NOW - 2 * 1_000_000_000, "set back"),
        (NOW - 1_000_000_000, None),
    ],
    ids=["at-expiry", "before-expiry", "a-day-back", "two-seconds-back", "a-second-back"],
)
def test_an_approval_is_valid_until_its_expiry_by_a_clock_that_never_goes_back(setup, now, words):
    if words is None:
        verify(signed(setup), setup.state, REQUEST, now)
    else:
        assert words in refusal(signed(setup), setup.state, now=now)


def test_an_approval_is_not_valid_before_its_start(setup):
    later = signed(setup, not_before="2027-01-15 09:00", expires="2027-01-16 09:00")
    assert "valid from 2027-01-15 09:00:00Z on" in refusal(later, setup.state)
    verify(later, setup.state, REQUEST, NOW + HOUR)


def test_an_approval_lasts_at_most_as_long_as_the_policy_allows(tmp_path, setup):
    with pytest.raises(ConfigError, match="at most 7 days"):
        approval(setup.state, expires="2027-01-21 08:00:01")
    with pytest.raises(ConfigError, match="expires must come after"):
        approval(setup.state, expires="2027-01-14 08:00")
    brief = adopted(tmp_path / "workspace", max_days=1)
    assert "longer than 1 days" in refusal(signed(brief), brief.state)


def test_an_unknown_approver_is_refused(setup, tmp_path):
    stranger = key(tmp_path, "eve")
    forged = sign(approval(setup.state), [stranger])
    assert "not an approver's key" in refusal(forged, setup.state)
    both = sign(approval(setup.state), [setup.keys["ada"], stranger])
    assert "not an approver's key" in refusal(both, setup.state)


def test_an_approver_whom_the_policy_no_longer_lists_is_refused(setup, tmp_path):
    other = adopted(tmp_path / "workspace")
    content = sign(approval(other.state), [setup.keys["ada"]])
    assert "not an approver's key" in refusal(content, other.state)


def test_two_keys_are_two_persons_and_no_signature_counts_twice(strict):
    ada, bob = strict.keys["ada"], strict.keys["bob"]
    verify(sign(approval(strict.state, approvers=("ada", "bob")), [ada, bob]), strict.state, REQUEST, NOW)
    verify(sign(approval(strict.state, approvers=("ada", "bob")), [bob, ada]), strict.state, REQUEST, NOW)
    assert "the policy needs 2" in refusal(signed(strict), strict.state)
    once = Envelope(APPROVAL_TYPE, approval(strict.state, approvers=("ada", "bob")).to_bytes()).signed_by(ada)
    again = once.signatures[0]
    assert "each key counts once" in refusal(
        dataclasses.replace(once, signatures=(again, again)).encode(), strict.state
    )
    renamed = dataclasses.replace(again, public_key=bob.public)
    assert "is not valid" in refusal(dataclasses.replace(once, signatures=(again, renamed)).encode(), strict.state)


def test_one_key_under_two_spellings_of_its_id_counts_once(strict):
    once = Envelope(APPROVAL_TYPE, approval(strict.state, approvers=("ada", "bob")).to_bytes()).signed_by(
        strict.keys["ada"]
    )
    upper = dataclasses.replace(once.signatures[0], public_key=once.signatures[0].public_key.upper())
    assert "not an approver's key" in refusal(
        dataclasses.replace(once, signatures=(*once.signatures, upper)).encode(), strict.state
    )


def test_a_used_approval_admits_its_own_session_only(setup):
    used = dataclasses.replace(setup.state, used={"1" * 32: "s-1"})
    verify(signed(setup), used, Request(scope(), 100.0, "s-1"), NOW)
    for session in ("s-2", ""):
        assert "used by session s-1" in refusal(signed(setup), used, Request(scope(), 100.0, session))


def test_a_revoked_approval_is_refused(setup):
    revoked = dataclasses.replace(setup.state, revoked=frozenset({"1" * 32}))
    assert "revoked" in refusal(signed(setup), revoked)


def test_without_a_policy_nothing_is_approved(setup):
    assert "no policy is adopted" in refusal(signed(setup), dataclasses.replace(setup.state, policy=None))


@pytest.mark.parametrize(
    "payload",
    [b"", b"{}", b"null", b"[" * 50_000, b"\xff", b'{"version": 1}'],
    ids=["empty", "object", "null", "deep", "bytes", "few"],
)
def test_signed_content_that_is_no_approval_is_refused(setup, payload):
    content = Envelope(APPROVAL_TYPE, payload).signed_by(setup.keys["ada"]).encode()
    assert "not an approval" in refusal(content, setup.state)


def test_signed_content_has_one_spelling(setup):
    spaced = json.dumps(approval(setup.state).model_dump(mode="json"), indent=1).encode()
    doubled = approval(setup.state).to_bytes().replace(b"{", b'{"max_notional":1e9,', 1)
    for payload in (spaced, doubled):
        content = Envelope(APPROVAL_TYPE, payload).signed_by(setup.keys["ada"]).encode()
        assert "as `peak-trade approve` writes it" in refusal(content, setup.state)


@given(data=st.data())
@settings(max_examples=examples(120), deadline=None)
def test_any_changed_byte_of_an_approval_refuses(setup, data):
    content = signed(setup)
    place = data.draw(st.integers(0, len(content) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda each: each != content[place]))
    refusal(content[:place] + bytes([byte]) + content[place + 1 :], setup.state)


TEXTS = st.text("abcdef0123456789/", min_size=1, max_size=6)
PARAMETERS = st.dictionaries(
    TEXTS, st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS, max_size=3
)
SCOPES = st.fixed_dictionaries(
    {
        "stage": st.sampled_from(["paper", "shadow", "testnet"]),
        "strategies": st.lists(st.builds(ScopedStrategy, name=TEXTS, parameters=PARAMETERS), max_size=2).map(tuple),
        "symbols": st.lists(TEXTS, max_size=2).map(tuple),
        "code": st.sampled_from([CODE, OTHER]),
        "config": st.sampled_from([CODE, OTHER]),
    }
)


@given(asked=SCOPES, given_=SCOPES)
@settings(max_examples=examples(100), deadline=None)
def test_a_session_is_admitted_only_if_all_that_is_bound_is_equal(setup, asked, given_):
    content = sign(approval(setup.state, scope=scope(**given_)), [setup.keys["ada"]])
    request = Request(scope(**asked), 100.0)
    if json.dumps(scope(**asked).model_dump()) == json.dumps(scope(**given_).model_dump()):
        verify(content, setup.state, request, NOW)
    else:
        assert refusal(content, setup.state, request).startswith("it is for")
