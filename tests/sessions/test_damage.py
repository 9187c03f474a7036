"""Whatever happens to a session's files, every command returns a verdict or one clear line."""

from __future__ import annotations

import gzip
import json
import shutil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peak_trade.cli import main
from peak_trade.journal.files import CHECKPOINTS, EVENTS, MANIFEST, read_events
from peak_trade.journal.verify import VerdictKind
from peak_trade.sessions.store import check_journal, find_session, session_ids, sessions_folder, summaries
from tests.examples import mostly_long
from tests.sessions.running import sealed_sessions

PACKED = f"{EVENTS}.gz"
FILES = (MANIFEST, EVENTS, CHECKPOINTS, PACKED)
DEEP = b'{"event":{"kind":' + b"[" * 100_000 + b'},"hash":"' + b"0" * 64 + b'","sequence":1,"ts_recorded":1}\n'
HUGE = b'{"event":{"kind":"bar"},"hash":"' + b"0" * 64 + b'","sequence":' + b"1" * 5_000 + b',"ts_recorded":1}\n'


@pytest.fixture(scope="module")
def two_sessions(tmp_path_factory):
    """A workspace with two sealed sessions with orders."""
    return sealed_sessions(tmp_path_factory.mktemp("template") / "home", 2)


@pytest.fixture
def session(two_sessions, home):
    """A sealed session, and a second one that stays unchanged."""
    shutil.copytree(two_sessions, home)
    return session_ids()[0]


def damage(name, file, change):
    """Change a file of a session, compressed or not."""
    folder = find_session(name)
    if file == PACKED:
        (folder / PACKED).write_bytes(gzip.compress((folder / EVENTS).read_bytes(), mtime=0))
        (folder / EVENTS).unlink()
    path = folder / file
    path.write_bytes(change(path.read_bytes()))


def every_verb_answers(name, capsys, tmp_path):
    """Run every command on a session; return the exit code of its verification."""
    capsys.readouterr()
    codes = []
    for verb in (["audit", "verify", name], ["session", "show", name], ["replay", "--session", name],
                 ["audit", "export", "--session", name, "--output", str(tmp_path / "trail.csv")],
                 ["audit", "export", "--session", name, "--output", str(tmp_path / "trail.parquet")],
                 ["session", "list"], ["session", "list", "--json"]):  # fmt: skip
        codes.append(main(verb))
        shown = capsys.readouterr()
        assert codes[-1] in (0, 1, 2), verb
        errors = [line for line in shown.err.splitlines() if not line.startswith("peak-trade: note: ")]
        assert len(errors) == (codes[-1] == 2), (verb, shown.err)
    listed = json.loads(shown.out, parse_constant=pytest.fail)
    assert codes[-2:] == [0, 0]
    assert [row["state"] for row in listed if row["session_id"] != name] == ["sealed"]
    assert name in [row["session_id"] for row in listed]
    return codes[0]


ACTS = ("flip", "insert", "delete", "cut", "digits")
edit = st.tuples(st.sampled_from(ACTS), st.integers(0, 2**31), st.binary(min_size=1, max_size=6))


def edited(content, changes):
    for change, place, chunk in changes:
        at = place % max(1, len(content))
        if change == "flip":
            content = content[:at] + chunk[:1] + content[at + 1 :]
        elif change == "insert":
            content = content[:at] + chunk + content[at:]
        elif change == "delete":
            content = content[:at] + content[at + len(chunk) :]
        elif change == "cut":
            content = content[:at]
        else:
            content = content[:at] + b"7" * 400 + content[at:]
    return content


@pytest.mark.long
@pytest.mark.parametrize(
    "n_examples", [pytest.param(10, id="ten"), pytest.param(200, id="two-hundred", marks=pytest.mark.long)]
)
def test_random_damage_gives_a_verdict_or_one_clear_line(session, capsys, tmp_path, n_examples):
    folder, kept = find_session(session), tmp_path / "kept"
    shutil.copytree(folder, kept)
    true = read_events(kept)

    @given(file=st.sampled_from(FILES), changes=st.lists(edit, min_size=1, max_size=3))
    @settings(max_examples=n_examples, deadline=None)
    def answers(file, changes):
        shutil.rmtree(folder)
        shutil.copytree(kept, folder)
        damage(session, file, lambda content: edited(content, changes))
        code = every_verb_answers(session, capsys, tmp_path)
        assert code != 0 or check_journal(folder).finding is VerdictKind.UNSEALED or read_events(folder) == true

    answers()


DAMAGES = {
    "json-in-a-line": (EVENTS, lambda text: text.replace(b'"kind":"bar"', b'"kind":bar', 1), 1),
    "a-kind-that-is-a-list": (EVENTS, lambda text: text.replace(b'"kind":"bar"', b'"kind":["bar"]', 1), 1),
    "a-number-that-is-a-word": (EVENTS, lambda text: text.replace(b'"close":1', b'"close":"x","z":1', 1), 1),
    "a-time-that-is-a-word": (EVENTS, lambda text: text.replace(b'"ts_event":1', b'"ts_event":"x","z":1', 1), 1),
    "a-time-out-of-range": (EVENTS, lambda text: text.replace(b'"ts_event":1', b'"ts_event":' + b"1" * 60, 1), 1),
    "half-a-character": (EVENTS, lambda text: text.replace(b'"symbol":"BTC', b'"symbol":"\\ud800', 1), 1),
    "json-too-deep": (EVENTS, lambda text: DEEP + text, 1),
    "a-sequence-of-5000-digits": (EVENTS, lambda text: HUGE + text, 1),
    "a-sequence-with-a-zero-before": (EVENTS, lambda text: text.replace(b'"sequence":1,', b'"sequence":01,', 1), 1),
    "manifest-is-a-list": (MANIFEST, lambda text: b"[]", 1),
    "manifest-is-no-json": (MANIFEST, lambda text: text[:-5], 1),
    "manifest-is-too-deep": (MANIFEST, lambda text: b"[" * 100_000, 1),
    "manifest-without-a-config": (MANIFEST, lambda text: b'{"config":5,"digests":[]}', 1),
    "manifest-with-nan": (MANIFEST, lambda text: text.replace(b'"seed":0', b'"seed":NaN', 1), 1),
    "signature-is-a-number": (CHECKPOINTS, lambda text: number_for(text, "signature"), 1),
    "key-is-a-number": (CHECKPOINTS, lambda text: number_for(text, "public_key"), 1),
    "hash-is-a-number": (CHECKPOINTS, lambda text: number_for(text, "hash"), 1),
    "sequence-is-a-fraction": (CHECKPOINTS, lambda text: text.replace(b'"sequence":0', b'"sequence":0.5', 1), 1),
    "checkpoint-is-a-list": (CHECKPOINTS, lambda text: b"[]\n" + text, 1),
    "checkpoint-is-too-deep": (CHECKPOINTS, lambda text: b"[" * 100_000 + b"\n" + text, 1),
    "half-a-packed-file": (PACKED, lambda text: text[: len(text) // 2], 1),
    "another-sum": (PACKED, lambda text: text[:-8] + b"\0\0\0\0" + text[-4:], 1),
    "another-block": (PACKED, lambda text: text[:10] + b"\xff" * 20 + text[30:], 1),
    "no-packed-file": (PACKED, lambda text: b"", 1),
}  # fmt: skip


def number_for(text, name):
    lines = [json.loads(line) for line in text.splitlines()]
    lines[0][name] = 5
    return b"".join(json.dumps(line, sort_keys=True, separators=(",", ":")).encode() + b"\n" for line in lines)


@pytest.mark.parametrize(("file", "change", "code"), mostly_long(DAMAGES.values(), 5), ids=DAMAGES)
def test_each_known_damage_is_found(session, capsys, tmp_path, file, change, code):
    damage(session, file, change)
    assert every_verb_answers(session, capsys, tmp_path) == code


def test_a_session_that_is_unreadable_hides_no_other(session, capsys):
    damage(session, MANIFEST, lambda text: b"[]")
    assert [each.state for each in summaries()] == ["unreadable", "sealed"]
    capsys.readouterr()
    assert main(["session", "list"]) == 0
    assert f"{session} is unreadable; see `peak-trade audit verify {session}`" in capsys.readouterr().out.replace(
        "\n", " "
    )
    assert check_journal(sessions_folder() / session).finding is VerdictKind.EDITED


def test_a_trail_is_not_written_onto_a_folder(session, capsys, tmp_path):
    (tmp_path / "trail.csv").mkdir()
    assert main(["audit", "export", "--output", str(tmp_path / "trail.csv")]) == 2
    assert "could not be written" in capsys.readouterr().err


@pytest.mark.parametrize("key", ["abc", "x" * 64, "é" * 64, "0" * 63 + " "])
def test_a_key_that_is_none_is_bad_input(session, capsys, key):
    capsys.readouterr()
    assert main(["audit", "verify", session, "--key", key]) == 2
    assert "64 hex digits" in capsys.readouterr().err


def test_a_session_of_the_folder_here_has_its_name(session, capsys, monkeypatch):
    monkeypatch.chdir(find_session(session))
    capsys.readouterr()
    assert main(["audit", "verify", "."]) == 0
    assert capsys.readouterr().out.startswith(f"{session}: intact")
