"""A policy states every value, its version only grows, and only its own approvers change it."""

import tomllib
from pathlib import Path

import pytest

from peak_trade.core.errors import ConfigError, GovernanceError
from peak_trade.governance.envelope import Envelope
from peak_trade.governance.log import GovernanceLog
from peak_trade.governance.policy import POLICY_TYPE, PolicyFile, parse_policy, read_policy
from tests.governance.setups import Clock, adopted, key, policy_text

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "config" / "live_policies.toml"
PUBLIC = "00" * 30 + "0300"


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keys")
    return {name: key(folder, name) for name in ("ada", "bob", "eve")}


@pytest.fixture
def setup(tmp_path):
    return adopted(tmp_path / "workspace")


def text_of(setup, **changes) -> str:
    return policy_text({name: each.public for name, each in setup.keys.items()}, **changes)


def by(text: str, *signers) -> tuple[PolicyFile, bytes]:
    envelope = Envelope(POLICY_TYPE, text.encode())
    for signer in signers:
        envelope = envelope.signed_by(signer)
    return PolicyFile(text.encode()), envelope.encode()


def leaves(values, path=()):
    for name, value in values.items():
        yield (*path, name)
        if isinstance(value, dict):
            yield from leaves(value, (*path, name))


def test_the_shipped_policy_is_complete_but_for_its_approvers(people):
    with pytest.raises(ConfigError, match="approvers is empty: list who may approve"):
        read_policy(SHIPPED)
    person = f'[[approvers]]\nname = "ada"\npublic_key = "{people["ada"].public}"\n'
    text = SHIPPED.read_text(encoding="utf-8").replace("approvers = []", person + "#")
    policy = parse_policy(text.encode(), "policy")
    assert policy.version == 1
    assert policy.approvals.max_days <= 7
    assert policy.shadow.min_hours >= 24


def test_every_value_of_the_shipped_policy_has_its_reason_in_a_comment():
    for line in SHIPPED.read_text(encoding="utf-8").splitlines():
        if "=" in line and not line.startswith("#"):
            assert "#" in line, line


@pytest.mark.parametrize("path", list(leaves(tomllib.loads(policy_text({"ada": PUBLIC})))), ids=".".join)
def test_a_value_that_is_missing_is_named(people, path):
    text = policy_text({"ada": people["ada"].public})
    lines, section, kept = text.splitlines(), "", []
    for line in lines:
        section = line.strip("[]") if line.startswith("[") else section
        in_part = (section, line.split(" = ")[0]) == (path[0] if len(path) > 1 else "", path[-1])
        if not (in_part or section == path[-1]):
            kept.append(line)
    with pytest.raises(ConfigError, match=f"{path[-1]}|approvers"):
        parse_policy("\n".join(kept).encode(), "policy")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("max_days = 7", "max_days = 7.5", "max_days"),
        ("max_days = 7", "max_dyas = 7", "approvals.max_days is missing"),
        ("min_hours = 24", "min_hours = 24\nskip_shadow = true", "skip_shadow is not a setting"),
        ("testnet = 1", "testnet = 3", "there are 2 approvers"),
        ("testnet = 1", "testnet = 0", "testnet"),
        ("policy_change = 1", "policy_change = 0", "policy_change"),
        ("version = 1", "version = true", "version"),
        ("version = 1", 'version = "1"', "version"),
        ("min_sharpe = 0.5", "min_sharpe = nan", "min_sharpe"),
        ("max_clock_offset_ms = 500", "max_clock_offset_ms = inf", "max_clock_offset_ms"),
        ('name = "bob"', 'name = "ada"', "listed twice"),
        ("revoked = []", 'revoked = ["0f3c"]', "revoked"),
        ("[approvals]", "[approvals", "not TOML"),
    ],
)
def test_a_value_that_is_wrong_is_refused_by_its_name(people, old, new, words):
    text = policy_text({name: people[name].public for name in ("ada", "bob")})
    assert text.count(old) == 1
    with pytest.raises(ConfigError, match=words):
        parse_policy(text.replace(old, new).encode(), "policy")


def test_one_key_under_two_names_is_refused(people):
    with pytest.raises(ConfigError, match="each person has one key"):
        parse_policy(policy_text({name: people["ada"].public for name in ("ada", "bob")}).encode(), "policy")


def test_a_key_in_capitals_or_of_small_order_is_refused(people):
    for public in (people["ada"].public.upper(), "01" + "00" * 31):
        with pytest.raises(ConfigError, match="public"):
            parse_policy(policy_text({"ada": public}).encode(), "policy")


def test_the_file_of_a_policy_is_a_small_regular_file_in_utf_8(tmp_path, people):
    file, link, huge = tmp_path / "p.toml", tmp_path / "link.toml", tmp_path / "huge.toml"
    file.write_text(policy_text({"ada": people["ada"].public}))
    link.symlink_to(file)
    huge.write_text(file.read_text() + "#" * 200_000)
    assert read_policy(file).policy.version == 1
    for path, words in ((link, "symbolic link"), (huge, "more than"), (tmp_path / "none", "No such file")):
        with pytest.raises(GovernanceError, match=words):
            read_policy(path)
    file.write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="not TOML"):
        read_policy(file)


def test_the_first_version_is_1(tmp_path, people):
    log = GovernanceLog(tmp_path / "workspace", Clock())
    with pytest.raises(GovernanceError, match="has version 1"):
        log.adopt(PolicyFile(policy_text({"ada": people["ada"].public}, version=2).encode()))
    assert log.state().policy is None


def test_the_next_version_needs_the_signatures_of_the_one_in_force(setup):
    text = text_of(setup, version=2, min_trades=10)
    with pytest.raises(GovernanceError, match="has no signature"):
        setup.log.adopt(PolicyFile(text.encode()))
    assert setup.log.adopt(*by(text, setup.keys["bob"])).policy.policy.out_of_sample.min_trades == 10
    assert setup.log.verify().is_intact


@pytest.mark.parametrize("version", [1, 3])
def test_a_policy_is_neither_rolled_back_nor_skips_a_version(setup, version):
    setup.log.adopt(*by(text_of(setup, version=2), setup.keys["ada"]))
    text = text_of(setup, version=version + (version > 1), min_trades=31)
    with pytest.raises(GovernanceError, match="versions only grow, one at a time"):
        setup.log.adopt(*by(text, setup.keys["ada"], setup.keys["bob"]))


def test_a_policy_can_not_loosen_its_own_threshold(tmp_path):
    """The signatures are counted by the version in force, and a new key does not vote for itself."""
    setup = adopted(tmp_path / "workspace", policy_change=2)
    eve = key(tmp_path, "eve")
    loose = text_of(setup, version=2, policy_change=1)
    with pytest.raises(GovernanceError, match="needs 2"):
        setup.log.adopt(*by(loose, setup.keys["ada"]))
    people = {name: each.public for name, each in (setup.keys | {"eve": eve}).items()}
    taken = policy_text(people, version=2, policy_change=1)
    with pytest.raises(GovernanceError, match="needs 2"):
        setup.log.adopt(*by(taken, setup.keys["ada"], eve))
    setup.log.adopt(*by(loose, setup.keys["ada"], setup.keys["bob"]))
    setup.log.adopt(*by(text_of(setup, version=3), setup.keys["ada"]))


def test_a_policy_that_its_own_approvers_could_not_change_is_refused(setup):
    """The new version asks for two keys of its own, so two of its approvers sign it."""
    text = text_of(setup, version=2, policy_change=2)
    with pytest.raises(GovernanceError, match="is new signed it; version 2 needs 2"):
        setup.log.adopt(*by(text, setup.keys["ada"]))


def test_signatures_for_another_text_or_of_a_stranger_do_not_count(setup, people):
    wanted, other = text_of(setup, version=2), text_of(setup, version=2, min_trades=10)
    with pytest.raises(GovernanceError, match="another text"):
        setup.log.adopt(PolicyFile(wanted.encode()), by(other, setup.keys["ada"])[1])
    with pytest.raises(GovernanceError, match="not an approver's key"):
        setup.log.adopt(*by(wanted, people["eve"]))
    with pytest.raises(GovernanceError, match="in force already"):
        setup.log.adopt(setup.policy)


def test_ids_that_a_policy_revokes_stay_revoked(setup):
    setup.log.adopt(*by(text_of(setup, version=2, revoked=f'["{"1" * 32}"]'), setup.keys["ada"]))
    setup.log.adopt(*by(text_of(setup, version=3), setup.keys["ada"]))
    assert setup.log.state().revoked == {"1" * 32}
