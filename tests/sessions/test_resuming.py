"""A session that was killed is listed as it stood, verifies, and goes on from its journal."""

from __future__ import annotations

import json

import pytest

from peak_trade.cli import main
from peak_trade.journal.files import CHECKPOINTS, EVENTS
from peak_trade.journal.verify import Finding
from peak_trade.sessions.feeds import RecordedFeed
from peak_trade.sessions.runner import Session
from peak_trade.sessions.store import find_session, session_ids
from peak_trade.studies.session import check_journal
from tests.sessions.test_commands import RUN


class Killed(BaseException):
    """Stands for a kill: nothing catches it."""


@pytest.fixture
def killed(stored, monkeypatch):
    """Starts a session, kills it at its n-th bar (0: before its first event) and returns its id."""
    items = RecordedFeed.items

    def run(n_bars, *options):
        def until(self, after):
            for n, item in enumerate(items(self, after)):
                if n == n_bars:
                    raise Killed
                yield item

        def at_once(self, feed, events=()):
            raise Killed

        with monkeypatch.context() as patch:
            patch.setattr(RecordedFeed, "items", until)
            if n_bars == 0:
                patch.setattr(Session, "run", at_once)
            with pytest.raises(Killed):
                main([*RUN, *options])
        (name,) = session_ids()
        return name

    return run


def test_a_session_that_was_killed_at_its_birth_goes_on(killed, capsys):
    name = killed(0)
    folder = find_session(name)
    (folder / EVENTS).unlink()
    first, *_ = (folder / CHECKPOINTS).read_bytes().splitlines(keepends=True)
    (folder / CHECKPOINTS).write_bytes(first)
    capsys.readouterr()
    assert main(["audit", "verify", name]) == 0
    assert "unsealed" in capsys.readouterr().out
    assert main(["session", "list"]) == 0
    assert "nan" not in capsys.readouterr().out
    assert main(["session", "list", "--json"]) == 0
    (listed,) = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert (listed["state"], listed["equity"]) == ("interrupted", 10_000.0)
    assert main(["replay", "--session", name]) == 0
    assert main(["session", "resume", name, "--quiet", "--no-record"]) == 0
    assert check_journal(folder).finding is Finding.INTACT


def test_a_session_is_seen_only_once_it_is_signed(stored, monkeypatch):
    from peak_trade.journal.keys import WorkspaceKey

    def killed(self, content):
        assert session_ids() == []
        raise Killed

    monkeypatch.setattr(WorkspaceKey, "sign", killed)
    with pytest.raises(Killed):
        main(RUN)
    assert session_ids() == []
    assert main(["session", "list"]) == 0
