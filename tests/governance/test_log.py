"""The governance log: what it adds up to, what it refuses to take, and how tampering shows."""

import dataclasses
import json
import shutil
import threading

import pytest

from peak_trade.cli import main
from peak_trade.core.digest import canonical_json, digest_of, package_digest
from peak_trade.core.errors import GovernanceError, PeakTradeError
from peak_trade.governance import log as log_module
from peak_trade.governance.approval import NS_PER_DAY
from peak_trade.governance.decision import decide
from peak_trade.governance.log import GovernanceLog
from peak_trade.journal.events import GovernanceAction, GovernanceEvent
from peak_trade.journal.keys import WorkspaceKey
from peak_trade.journal.writer import JournalWriter
from tests.governance.setups import NOW, Clock, adopted, evidence, signed

ID = "1" * 32


@pytest.fixture
def setup(tmp_path):
    return adopted(tmp_path / "workspace")


def decision(setup, **changes):
    return decide(evidence(setup.policy.digest, **changes), setup.log.state(), [signed(setup)], NOW)


def append(setup, *events):
    """Append events as the owner of the workspace's key could, without the checks of the log."""
    with JournalWriter(setup.log.folder, WorkspaceKey(setup.log.folder.parent / "keys"), setup.clock) as journal:
        for event in events:
            journal.append(event)
        journal.checkpoint()


def test_a_fresh_workspace_has_no_log_and_reading_makes_none(tmp_path):
    log = GovernanceLog(tmp_path / "workspace", Clock())
    assert log.state().policy is None
    assert log.entries() == []
    assert log.verify().is_intact
    assert not (tmp_path / "workspace").exists()


def test_the_state_is_the_sum_of_the_entries(setup):
    setup.clock.now += 5
    setup.log.use_approval(ID, "s-1")
    setup.log.revoke("2" * 32, "bob", "a doubt")
    setup.log.append_drill("ada", False, "an order stayed open")
    state = setup.log.state()
    assert (state.used, state.revoked) == ({ID: "s-1"}, {"2" * 32})
    assert (state.drilled, state.clock_floor) == (NOW, NOW + 5)
    assert (state.n_entries, state.head) == (5, setup.log.verify().head)
    actions = [each.action for each in setup.log.entries()]
    assert actions == ["policy_adopted", "drilled", "approval_used", "approval_revoked", "drilled"]


def test_decisions_are_stored_with_their_evidence_and_follow_from_it(setup):
    allowed, refused = decision(setup), decision(setup, is_causal=False)
    setup.log.append_decision(allowed)
    setup.log.append_decision(refused)
    stored = [json.loads(each.content) for each in setup.log.entries()[-2:]]
    assert [each["is_allowed"] for each in stored] == [True, False]
    assert stored[0]["evidence"] == allowed.evidence.model_dump(mode="json")
    assert setup.log.entries()[-1].summary == "testnet session refused: no look-ahead"
    assert setup.log.verify().is_intact


def test_a_stored_decision_that_does_not_follow_is_found(setup):
    content = decision(setup, is_causal=False).to_dict()
    content["is_allowed"] = True
    for line in content["lines"]:
        line["passed"] = True
    digest = digest_of(content)
    for subject, package, faults in (
        (digest, package_digest(), ("entry 3: the decision does not follow from its evidence.",)),
        ("0" * 64, "0" * 64, ("entry 3: the decision does not follow from its evidence.",)),
        (digest, "0" * 64, ()),
    ):
        kept = {path: path.read_bytes() for path in setup.log.folder.glob("*.jsonl")}
        forged = canonical_json(content | {"package": package})
        append(setup, GovernanceEvent(NOW, GovernanceAction.DECIDED, subject, "", forged))
        assert setup.log.verify().faults == faults
        assert setup.log.verify().n_of_other_versions == (not faults)
        for path, text in kept.items():
            path.write_bytes(text)


def test_decisions_of_another_version_are_counted_and_no_fault(setup, capsys, monkeypatch):
    """Its rules and its sentences may differ; after an upgrade the log is as intact as before."""
    with monkeypatch.context() as patched:
        patched.setattr(log_module, "package_digest", lambda: "0" * 64)
        setup.log.append_decision(decision(setup, is_causal=False))
    setup.log.append_decision(decision(setup))
    check = setup.log.verify()
    assert (check.faults, check.n_of_other_versions) == ((), 1)
    monkeypatch.setenv("PEAK_TRADE_HOME", str(setup.log.folder.parent))
    assert main(["governance", "verify"]) == 0
    assert "1 decisions are of another version of peak_trade" in capsys.readouterr().out


def test_a_decision_made_before_a_revocation_is_not_recorded_after_it(setup):
    early = decision(setup)
    setup.log.revoke(ID, "bob", "a doubt")
    with pytest.raises(GovernanceError, match="changed after the decision"):
        setup.log.append_decision(early)


def test_an_approval_is_used_by_one_session(setup):
    setup.log.use_approval(ID, "s-1")
    setup.log.use_approval(ID, "s-1")
    with pytest.raises(GovernanceError, match="used by session s-1"):
        setup.log.use_approval(ID, "s-2")
    setup.log.revoke(ID, "bob", "a doubt")
    with pytest.raises(GovernanceError, match="revoked"):
        setup.log.use_approval(ID, "s-1")
    assert setup.log.state().n_entries == 4


def test_of_sessions_that_start_at_once_one_uses_the_approval(setup):
    outcomes = []

    def use(name):
        try:
            GovernanceLog(setup.log.folder.parent, setup.clock).use_approval(ID, name)
            outcomes.append(name)
        except GovernanceError:
            outcomes.append(None)

    threads = [threading.Thread(target=use, args=(f"s-{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(each is not None for each in outcomes) == [False, False, False, True]
    assert setup.log.verify().is_intact


def test_a_clock_that_was_set_back_is_refused_and_lowers_no_floor(setup):
    setup.clock.now = NOW - NS_PER_DAY
    for write in (
        lambda: setup.log.use_approval(ID, "s-1"),
        lambda: setup.log.adopt(setup.policy),
        lambda: setup.log.append_drill("ada", True, ""),
    ):
        with pytest.raises(GovernanceError, match="set back"):
            write()
    setup.log.revoke(ID, "bob", "works at any time")
    assert setup.log.state().clock_floor == NOW
    assert setup.log.verify().is_intact


@pytest.mark.parametrize(
    ("tamper", "words"),
    [
        (lambda text: text.replace(b'"actor":"ada"', b'"actor":"eve"', 1), "hash was made of"),
        (lambda text: text[text.index(b"\n") + 1 :], "missing|does not follow|not what its hash"),
        (lambda text: text[: text.index(b"\n") + 1], "signed and are missing"),
        (lambda text: text + text.splitlines(keepends=True)[-1], "occurs|not what|does not follow|added"),
    ],
    ids=["edited", "first-removed", "last-removed", "repeated"],
)
def test_a_changed_log_is_refused(setup, tamper, words):
    events = setup.log.folder / "events.jsonl"
    events.write_bytes(tamper(events.read_bytes()))
    assert not setup.log.verify().is_intact
    for act in (setup.log.state, lambda: setup.log.revoke(ID, "bob", ""), lambda: setup.log.use_approval(ID, "s")):
        with pytest.raises(GovernanceError, match=words):
            act()


def test_a_log_that_another_key_signed_is_refused(setup, tmp_path):
    other = adopted(tmp_path / "other")
    shutil.rmtree(setup.log.folder)
    shutil.copytree(other.log.folder, setup.log.folder)
    with pytest.raises(GovernanceError, match="rewritten elsewhere"):
        setup.log.state()


def test_a_log_that_was_rolled_back_is_found_by_a_head_that_is_kept_elsewhere(setup, tmp_path):
    shutil.copytree(setup.log.folder, tmp_path / "earlier")
    setup.log.use_approval(ID, "s-1")
    head = setup.log.state().head
    assert setup.log.verify({"session s-1": head}).is_intact
    shutil.rmtree(setup.log.folder)
    shutil.copytree(tmp_path / "earlier", setup.log.folder)
    assert setup.log.verify().is_intact
    faults = setup.log.verify({"session s-1": head}).faults
    assert faults == ("session s-1 names an entry that is not in the log: entries were removed.",)


def test_a_log_that_was_replaced_accepts_no_earlier_approval(setup):
    content = signed(setup)
    shutil.rmtree(setup.log.folder)
    setup.log.adopt(setup.policy, actor="ada")
    setup.log.append_drill("ada", True, "")
    found = decide(evidence(setup.policy.digest), setup.log.state(), [content], NOW)
    assert [line.name for line in found.failed] == ["approval"]
    assert "another workspace" in found.failed[0].observed


def test_an_entry_that_may_not_follow_is_a_fault_though_it_is_signed(setup):
    earlier = GovernanceEvent(NOW, GovernanceAction.APPROVAL_USED, ID, "", '{"session_id":"s-1"}')
    append(setup, earlier, earlier)
    assert "used or revoked before" in setup.log.verify().faults[0]
    with pytest.raises(GovernanceError, match="used or revoked before"):
        setup.log.state()


def test_an_unsigned_line_does_not_count_and_the_next_entry_replaces_it(setup, capsys, monkeypatch):
    """Anyone could have written it; its process was killed before it acknowledged the entry."""
    before = setup.log.state()
    marks = (setup.log.folder / "checkpoints.jsonl").read_bytes()
    append(setup, GovernanceEvent(NOW, GovernanceAction.DRILLED, "passed", "eve", '{"detail":""}'))
    (setup.log.folder / "checkpoints.jsonl").write_bytes(marks)
    assert setup.log.state() == before
    assert (setup.log.verify().n_entries, setup.log.verify().n_unsigned) == (2, 1)
    assert [each.actor for each in setup.log.entries()] == ["ada", "ada"]
    monkeypatch.setenv("PEAK_TRADE_HOME", str(setup.log.folder.parent))
    assert main(["governance", "verify"]) == 0
    assert "1 lines after them are not signed" in capsys.readouterr().out
    setup.log.use_approval(ID, "s-1")
    assert [each.action for each in setup.log.entries()] == ["policy_adopted", "drilled", "approval_used"]
    assert setup.log.verify() == dataclasses.replace(setup.log.verify(), faults=(), n_unsigned=0)


def test_a_state_that_is_kept_in_memory_is_read_again_after_a_change(setup, monkeypatch):
    monkeypatch.setattr(log_module, "_CLOCK_STEP", -NS_PER_DAY)
    assert setup.log.state() is setup.log.state()
    setup.log.use_approval(ID, "s-1")
    assert setup.log.state().used == {ID: "s-1"}
    events = setup.log.folder / "events.jsonl"
    events.write_bytes(events.read_bytes().replace(b"ada", b"eve", 1) + b" ")
    with pytest.raises(GovernanceError, match="hash was made of"):
        setup.log.state()


def test_a_malformed_entry_is_a_fault_and_no_traceback(setup):
    append(setup, GovernanceEvent(NOW, GovernanceAction.POLICY_ADOPTED, "", "", "{}"))
    assert not setup.log.verify().is_intact
    with pytest.raises(GovernanceError):
        setup.log.state()
    with pytest.raises(GovernanceError, match="malformed"):
        setup.log.entries()


def test_a_full_disk_refuses_and_leaves_the_log_as_it_was(setup, monkeypatch):
    before = setup.log.state()

    def full(descriptor, *content):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("peak_trade.journal.writer.write_all", full)
        for write in (
            lambda: setup.log.use_approval(ID, "s-1"),
            lambda: setup.log.append_decision(decision(setup)),
            lambda: setup.log.append_drill("ada", True, ""),
        ):
            with pytest.raises(PeakTradeError, match="No space left"):
                write()
    assert setup.log.state() == before


def test_a_workspace_that_cannot_be_written_refuses(setup, monkeypatch):
    def refused(path, *arguments):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("peak_trade.governance.log.held_lock", refused)
    with pytest.raises(GovernanceError, match="could not be written"):
        setup.log.use_approval(ID, "s-1")


def test_a_workspace_that_is_no_folder_refuses(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    log = GovernanceLog(tmp_path / "file" / "workspace", Clock())
    with pytest.raises(GovernanceError, match="could not be written"):
        log.append_drill("ada", True, "")


def test_a_revocation_names_a_person_and_an_id(setup):
    for approval_id, actor in (("x", "ada"), (ID, " ")):
        with pytest.raises(GovernanceError, match=r"32 hex digits|names the person"):
            setup.log.revoke(approval_id, actor, "")
