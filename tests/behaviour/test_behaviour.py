"""Every fixed run does what `digests.json` recorded; `make behaviour` rewrites the file and prints what changed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.behaviour.fixed_runs import Runs, differences, read_digests
from tests.sessions import granting

TO_DO = "behaviour changed; if that is intended, run `make behaviour`, read what it prints and commit the file:\n"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, empty_registry: Path) -> Iterator[Runs]:
    """The runs in a workspace of their own."""
    home = tmp_path_factory.mktemp("behaviour")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PEAK_TRADE_HOME", str(home))
        patch.chdir(home)
        patch.setattr(granting, "find_registry", lambda: empty_registry)
        yield Runs(home)


def changes(runs: Runs, names: set[str]) -> str:
    recorded = read_digests()
    table = runs.fast | runs.slow
    found = {name: run() for name, run in table.items() if name in names}
    return "\n".join(differences({name: recorded[name] for name in names & recorded.keys()}, found))


def test_the_file_names_every_run(runs):
    assert read_digests().keys() == runs.fast.keys() | runs.slow.keys()


def test_the_fast_runs_do_what_they_did(runs):
    changed = changes(runs, set(runs.fast))
    assert not changed, TO_DO + changed


@pytest.mark.long
def test_the_slow_runs_do_what_they_did(runs):
    changed = changes(runs, set(runs.slow))
    assert not changed, TO_DO + changed


def test_a_difference_is_named_by_run_and_fact():
    before = {"a": {"content": "1", "figures": "1"}, "b": {"content": "1", "figures": "1"}, "c": {"n_fills": 1}}
    after = {"a": {"content": "2", "figures": "1"}, "b": {"content": "2", "figures": "2"}}
    assert differences(before, before) == []
    assert differences(before, after) == [
        "a: words alone: content 1 -> 2",
        "b: behaviour: content 1 -> 2; figures 1 -> 2",
        "c: behaviour: n_fills 1 -> None",
    ]
