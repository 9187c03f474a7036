"""The files and the verbs of approvals and policies, as their users type them."""

import json
import time
import tomllib
from pathlib import Path

import pytest

from peak_trade.cli import main
from peak_trade.core.errors import GovernanceError
from peak_trade.governance.approval import Approval, read_approval
from peak_trade.governance.decision import decide
from peak_trade.governance.log import GovernanceLog
from peak_trade.governance.scope import Scope, ScopedStrategy
from peak_trade.governance.signing import read_approvals
from tests.governance.setups import TEMPLATE, evidence, key, policy_text, request, scope


@pytest.fixture
def place(home, tmp_path, monkeypatch):
    """A workspace with a policy of ada and bob, and an approval to sign."""
    monkeypatch.chdir(tmp_path)
    people = {name: key(tmp_path / "keys", name) for name in ("ada", "bob", "eve")}
    write_policy(people)
    assert main(["policy", "adopt", "policy.toml", "--by", "ada"]) == 0
    Path("request.toml").write_text(request())
    return people


def write_policy(people, **changes):
    known = {name: each.public for name, each in people.items() if name != "eve"}
    Path("policy.toml").write_text(policy_text(known, **changes))


def run(capsys, *arguments, code=0):
    capsys.readouterr()
    assert main(list(arguments)) == code
    shown = capsys.readouterr()
    return json.loads(shown.out) if "--json" in arguments and code != 2 else shown.out + shown.err


def test_the_template_explains_every_field():
    text = TEMPLATE.read_text(encoding="utf-8")
    values = tomllib.loads(text)
    optional = {"approval_id", "policy", "workspace"}
    assert (set(values) | optional | {"scope"}) - {"decision"} == set(Approval.model_fields)
    written_out = text[text.index("# [scope]") :].replace("# ", "", 1).replace("\n# ", "\n")
    scope = tomllib.loads(written_out)["scope"]
    assert set(scope) == set(Scope.model_fields)
    assert set(scope["strategies"][0]) == set(ScopedStrategy.model_fields)
    lines = text.splitlines()
    for place, line in enumerate(lines):
        if line.split(" = ")[0].strip("# ") in {*Approval.model_fields, *Scope.model_fields, "decision"}:
            is_explained = lines[place - 1].startswith("# ") or "#" in line[2:]
            assert is_explained or line.startswith("expires"), line


def test_the_session_of_a_recorded_decision_is_signed(place, home, capsys):
    log = GovernanceLog(home)
    state = log.state()
    found = decide(evidence(state.policy.digest), state, [], time.time_ns())
    log.append_decision(found)
    Path("request.toml").write_text(request(decision=found.digest()[:12]))
    shown = run(capsys, "approve", "request.toml", "--key", "keys/ada.pem", "--json")
    assert Scope.parse(shown["approval"]["scope"], "scope") == scope()
    for name, words in (("f" * 12, "not in the governance log"), (found.digest()[:11], "not in the governance log")):
        Path("request.toml").write_text(request(decision=name))
        assert words in run(capsys, "approve", "request.toml", "--key", "keys/ada.pem", code=2)
    both = request().replace("[scope]", f'decision = "{found.digest()}"\n[scope]', 1)
    Path("request.toml").write_text(both)
    assert "Leave one of them out" in run(capsys, "approve", "request.toml", "--key", "keys/ada.pem", code=2)


def test_an_approval_is_signed_written_and_used_by_this_workspace(place, home, capsys):
    found = run(capsys, "approve", "request.toml", "--key", "keys/ada.pem", "--json")
    assert (found["signers"], found["n_missing"]) == (["ada"], 0)
    (content,), faults = read_approvals(home)
    assert Path(found["file"]).read_bytes() == content
    assert faults == ()
    page = run(capsys, "approve", "request.toml", "--key", "keys/ada.pem")
    assert "signed by ada" in page
    assert "ma_crossover {'fast': 20, 'slow': 50}" in page


def test_two_persons_sign_in_one_command_or_one_after_the_other(place, capsys):
    Path("request.toml").write_text(request('["ada", "bob"]'))
    keys = ["--key", "keys/ada.pem", "--key", "keys/bob.pem"]
    assert run(capsys, "approve", "request.toml", *keys, "--json")["signers"] == ["ada", "bob"]
    first = run(capsys, "approve", "request.toml", "--key", "keys/ada.pem", "--json", code=1)
    assert first["n_missing"] == 1
    second = run(capsys, "approve", first["file"], "--key", "keys/bob.pem", "--json")
    assert (second["file"], second["n_missing"]) == (first["file"], 0)
    assert "has signed this already" in run(capsys, "approve", first["file"], "--key", "keys/bob.pem", code=2)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"expires": "2999-01-09T08:00"}, "at most 7 days"),
        ({"not_before": "2020-01-01", "expires": "2020-01-02"}, "expired"),
        ({"reason": ""}, "reason"),
        ({"approvers": '["bob"]'}, "approvers does not name ada"),
        ({"not_before": "soon"}, "not_before"),
    ],
    ids=["long", "past", "reason", "other", "time"],
)
def test_an_approval_that_admits_nothing_is_not_signed(place, home, capsys, change, words):
    Path("request.toml").write_text(request(**change))
    assert words in run(capsys, "approve", "request.toml", "--key", "keys/ada.pem", code=2)
    assert read_approvals(home) == ((), ())


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("max_notional = 100.0", "max_notional = 0.0", "max_notional"),
        ("fast = 20", "fast = nan", "finite number"),
        ("fast = 20", "fast = 2020-01-01", "finite number"),
        ('symbols = ["BTC/USDT"]', 'symbol = "BTC/USDT"', "is not a setting"),
        ('stage = "testnet"', 'stage = "live"', "stage"),
        ('stage = "testnet"', 'stage = "paper"', "needs no approval"),
        ("version = 1", "version = 2", "version"),
        ("\n[scope]", "\n[scope", "not TOML"),
    ],
)
def test_a_wrong_value_is_named(place, capsys, old, new, words):
    text = request()
    assert old in text
    Path("request.toml").write_text(text.replace(old, new, 1))
    shown = run(capsys, "approve", "request.toml", "--key", "keys/ada.pem", code=2)
    assert words in shown
    assert "fault of peak_trade" not in shown


def test_only_approvers_sign(place, capsys):
    assert "not an approver's key" in run(capsys, "approve", "request.toml", "--key", "keys/eve.pem", code=2)
    assert "Name the file" in run(capsys, "approve", "request.toml", code=2)
    assert "there is no such key" in run(capsys, "approve", "request.toml", "--key", "keys/none.pem", code=2)


def test_one_thing_is_asked_for(place, capsys):
    for arguments in ([], ["request.toml", "--new-key", "k.pem"], ["--new-key", "k.pem", "--revoke", "1" * 32]):
        assert "give one of FILE" in run(capsys, "approve", *arguments, code=2)


def test_without_a_policy_nothing_is_signed(home, tmp_path, capsys):
    path = tmp_path / "request.toml"
    path.write_text(request())
    key(tmp_path / "keys", "ada")
    shown = run(capsys, "approve", str(path), "--key", str(tmp_path / "keys" / "ada.pem"), code=2)
    assert "peak-trade policy adopt" in shown


def test_a_key_is_made_and_its_passphrase_is_asked_for(place, tmp_path, capsys, monkeypatch):
    asked = ["approve", "--new-key", "keys/none.pem", "--passphrase"]
    monkeypatch.setattr("peak_trade.cli.options.has_terminal", lambda: False)
    assert "there is no terminal" in run(capsys, *asked, code=2)
    assert not Path("keys/none.pem").exists()
    monkeypatch.setattr("peak_trade.cli.options.has_terminal", lambda: True)
    monkeypatch.setattr("getpass.getpass", lambda *_, **__: "correct horse")
    made = run(capsys, "approve", "--new-key", "keys/carl.pem", "--passphrase", "--json")
    known = {"ada": place["ada"].public, "carl": made["public_key"]}
    Path("policy.toml").write_text(policy_text(known, version=2))
    run(capsys, "policy", "sign", "policy.toml", "--key", "keys/ada.pem")
    run(capsys, "policy", "adopt", "policy.toml")
    Path("request.toml").write_text(request('["carl"]'))
    shown = run(capsys, "approve", "request.toml", "--key", "keys/carl.pem")
    assert "signed by carl" in shown
    assert "correct horse" not in shown
    assert "outside the repository" in run(capsys, "approve", "--new-key", str(TEMPLATE.parent / "k.pem"), code=2)


def test_a_revocation_is_recorded_and_shown(place, capsys):
    assert "names the person" in run(capsys, "approve", "--revoke", "1" * 32, code=2)
    run(capsys, "approve", "--revoke", "1" * 32, "--by", "bob", "--reason", "wrong size")
    page = run(capsys, "governance", "log")
    assert "approval_revoked" in page
    assert "wrong size" in page
    entries = run(capsys, "governance", "log", "--json")
    assert [(each["action"], each["actor"]) for each in entries] == [
        ("policy_adopted", "ada"),
        ("approval_revoked", "bob"),
    ]


def test_the_next_policy_is_signed_next_to_its_file(place, capsys):
    write_policy(place, version=2, policy_change=2)
    assert "has no signature" in run(capsys, "policy", "adopt", "policy.toml", code=2)
    run(capsys, "policy", "sign", "policy.toml", "--key", "keys/ada.pem")
    assert "needs 2 distinct keys" in run(capsys, "policy", "adopt", "policy.toml", code=2)
    run(capsys, "policy", "sign", "policy.toml", "--key", "keys/bob.pem")
    Path("policy.toml").write_bytes(Path("policy.toml").read_bytes() + b"\n")
    assert "another text" in run(capsys, "policy", "adopt", "policy.toml", code=2)
    write_policy(place, version=2, policy_change=2)
    assert run(capsys, "policy", "adopt", "policy.toml", "--json")["policy"]["version"] == 2
    write_policy(place, version=3)
    assert run(capsys, "policy", "sign", "policy.toml", "--key", "keys/ada.pem", "--json", code=1)["n_missing"] == 1


def test_a_tampered_log_is_named_with_exit_1(place, home, capsys):
    assert run(capsys, "governance", "verify", "--json") == {
        "n_entries": 1,
        "head": run(capsys, "governance", "log", "--json")[0]["hash"],
        "faults": [],
        "n_unsigned": 0,
        "n_of_other_versions": 0,
    }
    events = home / "governance" / "events.jsonl"
    events.write_bytes(events.read_bytes().replace(b"ada", b"eve", 1))
    assert "hash was made of" in run(capsys, "governance", "verify", code=1)
    assert "governance verify" in run(capsys, "policy", "adopt", "policy.toml", code=2)


def test_links_and_huge_files_among_the_approvals_are_skipped_with_their_reason(place, home, capsys):
    found = run(capsys, "approve", "request.toml", "--key", "keys/ada.pem", "--json")
    (home / "approvals" / "link.json").symlink_to(found["file"])
    (home / "approvals" / "huge.json").write_bytes(b"x" * 200_000)
    contents, faults = read_approvals(home)
    assert contents == (Path(found["file"]).read_bytes(),)
    assert any("symbolic link" in each for each in faults)
    assert any("more than" in each for each in faults)


def test_an_approval_is_not_read_through_a_link(place):
    Path("link.toml").symlink_to("request.toml")
    assert main(["approve", "link.toml", "--key", "keys/ada.pem"]) == 2
    with pytest.raises(GovernanceError, match="symbolic link"):
        read_approval(Path("link.toml"))


def test_a_log_that_lost_the_decision_of_a_session_is_named(place, home, capsys):
    """As after a log was rolled back: the session that started since names its decision in its manifest."""
    log = GovernanceLog(home)
    state = log.state()
    found = decide(evidence(state.policy.digest), state, [], time.time_ns())
    log.append_decision(found)
    session = home / "sessions" / "20270115_080000_testnet_ma_crossover_BTC-USDT_1m"
    session.mkdir(parents=True)
    manifest = {"governance_log": log.log_id, "decision": found.digest()}
    for decision, code in ((found.digest(), 0), ("0" * 64, 1)):
        (session / "manifest.json").write_text(json.dumps(manifest | {"decision": decision}))
        shown = run(capsys, "governance", "verify", code=code)
        assert (f"session {session.name} names an entry that is not in the log" in shown) == bool(code)
    (session / "manifest.json").write_text(json.dumps({"governance_log": "0" * 64, "decision": "0" * 64}))
    run(capsys, "governance", "verify")
