"""A proof is verified without its session, and is not valid for anything that was changed."""

from __future__ import annotations

import json
import resource
from pathlib import Path

import pytest

from peak_trade.cli import main
from peak_trade.journal.events import BarEvent
from peak_trade.journal.files import EVENTS
from peak_trade.journal.keys import WorkspaceKey
from peak_trade.journal.proofs import prove_consistency, prove_inclusion
from peak_trade.journal.writer import JournalWriter, create_session

N_EVENTS = 11


@pytest.fixture
def session(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PEAK_TRADE_HOME", str(tmp_path / "home"))
    key, folder = WorkspaceKey(tmp_path / "home" / "keys"), tmp_path / "home" / "sessions" / "s"
    create_session(folder, {"session_id": "s"}, key, lambda: 1)
    writer = JournalWriter(folder, key, lambda: 2, commit_seconds=60.0)
    for n in range(N_EVENTS):
        writer.append(BarEvent(n, "BTC/USDT", 1.0, 1.0, 1.0, 1.0, 1.0))
    writer.seal()
    return folder


def test_every_event_and_every_beginning_is_proven(session):
    assert all(prove_inclusion(session, n).is_valid() for n in range(1, N_EVENTS + 1))
    assert all(prove_consistency(session, n).is_valid() for n in range(1, N_EVENTS + 1))
    assert prove_consistency(session, 4).first_root != prove_consistency(session, 4).root
    line = (session / EVENTS).read_text().splitlines()[3]
    assert prove_inclusion(session, 4).leaf == line


@pytest.mark.parametrize("asked", [["4"], ["--since", "4"]], ids=["inclusion", "consistency"])
def test_a_proof_is_checked_without_the_session(session, capsys, asked):
    assert main(["audit", "prove", "s", *asked, "--output", "proof.json"]) == 0
    assert main(["audit", "prove", "s", *asked]) == 0
    assert capsys.readouterr().out.endswith(Path("proof.json").read_text())
    session.rename(session.with_name("gone"))
    root = json.loads(Path("proof.json").read_text())["root"]
    assert main(["audit", "check", "proof.json"]) == 0
    assert main(["audit", "check", "proof.json", "--root", root.upper()]) == 0
    assert main(["audit", "check", "proof.json", "--root", "0" * 64]) == 1
    assert main(["audit", "check", "proof.json", "--root", "0"]) == 2


@pytest.mark.parametrize(
    ("asked", "change"),
    [
        (["4"], {"sequence": 5}),
        (["4"], {"tree_size": 4}),
        (["4"], {"root": "0" * 64}),
        (["4"], {"leaf": "{}"}),
        (["--since", "4"], {"first_size": 5}),
        (["--since", "4"], {"first_root": "0" * 64}),
        (["--since", "4"], {"path": []}),
    ],
    ids=lambda part: "-".join(part),
)
def test_a_changed_proof_does_not_hold(session, tmp_path, asked, change):
    proof = tmp_path / "proof.json"
    assert main(["audit", "prove", "s", *asked, "--output", str(proof)]) == 0
    proof.write_text(json.dumps(json.loads(proof.read_text()) | change))
    assert main(["audit", "check", str(proof)]) == 1


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"proof": "inclusion", "leaf": "\\ud800"}',
        '{"proof": "inclusion"}',
        '{"proof": ["inclusion"]}',
        "\x00",
    ],
)
def test_what_is_no_proof_is_refused(session, tmp_path, text, capsys):
    (tmp_path / "proof.json").write_text(text)
    assert main(["audit", "check", "proof.json"]) == 2
    assert "proof.json" in capsys.readouterr().err


@pytest.mark.parametrize(
    "asked", [["0"], ["12"], [], ["4", "--since", "4"], ["--since", "0"], ["4", "--output", "no/proof.json"]]
)
def test_what_can_not_be_proven_is_refused_in_one_line(session, asked, capsys):
    assert main(["audit", "prove", "s", *asked]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


@pytest.mark.parametrize("name", ["out.json", "out.csv", "out.parquet"])
@pytest.mark.parametrize("old", [b"old", None], ids=["replaced", "first"])
def test_a_proof_and_a_trail_are_written_whole_or_not_at_all(session, old, name, capsys):
    """A file size limit of the kernel stands for the full disk."""
    path = session.parents[2] / name
    if old is not None:
        path.write_bytes(old)
    ask = ["prove", "s", "4"] if name == "out.json" else ["export"]
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
        assert main(["audit", *ask, "--output", str(path)]) == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "it could not be written (File too large)" in capsys.readouterr().err
    assert (path.read_bytes() if path.exists() else None) == old
    assert sorted(each.name for each in path.parent.iterdir()) == sorted({"home", *([name] if old else [])})
    assert main(["audit", *ask, "--output", str(path)]) == 0
    assert path.stat().st_size > 100


def test_a_proof_is_not_written_over_a_device(session, capsys):
    assert main(["audit", "prove", "s", "4", "--output", "/dev/null"]) == 2
    assert "a device, a pipe or a socket, not a file" in capsys.readouterr().err
    assert not Path("/dev/null").is_file()


def test_an_edited_journal_proves_nothing(session, capsys):
    path = session / EVENTS
    path.write_text(path.read_text().replace('"close":1.0', '"close":2.0', 1))
    assert main(["audit", "prove", "s", "1"]) == 2
    assert "edited" in capsys.readouterr().err
