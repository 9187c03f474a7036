"""No argument and no fault of the workspace gives a traceback: every verb ends with a result or one clear line.

The calls come from the command tree and the examples in its help, so that a new verb is called without a change here.
"""

from __future__ import annotations

import zlib

import pytest

from tests.examples import mostly_long
from tests.fuzz.commands import Call, ask, calls, examples, fault_of, has_record, verbs
from tests.fuzz.conftest import Desk
from tests.fuzz.faults import FAULTS, present

VERBS = verbs()
STRIDE = 240
"""The default suite makes one of so many calls."""
LONG_STRIDE = 3
"""The long suite makes one of so many calls, so that it ends within three minutes."""
IN_PROCESSES = {"peak-trade risk drill", "peak-trade alerts rehearse"}
"""Verbs that start processes, which takes seconds: the long suite calls them in faulty workspaces."""
PAIRS = [(verb, fault) for verb in VERBS for fault in FAULTS]


def is_sampled(key: object, stride: int) -> bool:
    return zlib.crc32(repr(key).encode()) % stride == 0


def made(call: Call, desk: Desk) -> list[str]:
    return [desk.names.get(word.strip("{}"), word) if word[:1] == "{" else word for word in call.arguments]


def check(call: Call, desk: Desk) -> str:
    """Return the call and what is wrong with its outcome; empty when nothing is."""
    arguments = made(call, desk)
    outcome = ask(arguments)
    fault = fault_of(outcome)
    return fault and f"{[word[:60] for word in arguments]}: {fault}: {outcome.err[-500:]}"


def faults_of_arguments(desk: Desk, stride: int) -> list[str]:
    chosen = [call for verb, context in VERBS.items() for call in calls(verb, context) if is_sampled(call, stride)]
    return [fault for call in chosen if (fault := check(call, desk))]


def faults_of_workspace(desk: Desk, verb: str, name: str) -> list[str]:
    context = VERBS[verb]
    recorded = [tuple(word for word in arguments if word != "--no-record") for arguments in examples(verb, context)]
    with present(name, desk.home):
        found = [check(Call(verb, arguments), desk) for arguments in recorded]
    return [fault for fault in found if fault]


def test_hostile_arguments_give_a_result_or_one_line(desk: Desk) -> None:
    assert faults_of_arguments(desk, STRIDE) == []


SLOW = ("peak-trade alerts rehearse",)
"""Verbs of which a call with right arguments takes half a minute: the default suite has a few calls."""


@pytest.mark.long
@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb not in SLOW])
def test_many_hostile_arguments_give_a_result_or_one_line(desk: Desk, verb: str) -> None:
    chosen = [call for call in calls(verb, VERBS[verb]) if is_sampled(call, LONG_STRIDE)]
    assert [fault for call in chosen if (fault := check(call, desk))] == []


@pytest.mark.parametrize(
    ("verb", "name"), [pair for pair in PAIRS if is_sampled(pair, STRIDE) and pair[0] not in IN_PROCESSES]
)
def test_a_faulty_workspace_gives_a_result_or_one_line(desk: Desk, verb: str, name: str) -> None:
    assert faults_of_workspace(desk, verb, name) == []


@pytest.mark.long
@pytest.mark.parametrize(("verb", "name"), [pair for pair in PAIRS if is_sampled(pair, LONG_STRIDE)])
def test_many_faulty_workspaces_give_a_result_or_one_line(desk: Desk, verb: str, name: str) -> None:
    assert faults_of_workspace(desk, verb, name) == []


@pytest.mark.parametrize("verb", mostly_long([verb for verb, context in VERBS.items() if has_record(context)], 4))
def test_a_run_is_printed_before_the_error_of_its_recording(desk: Desk, verb: str) -> None:
    (arguments, *_) = examples(verb, VERBS[verb])
    if not all(word.strip("{}") in ("session", "run") or "{" not in word for word in arguments):
        return
    recorded = [word for word in made(Call(verb, arguments), desk) if word != "--no-record"]
    with present("damaged_registry", desk.home):
        outcome = ask(recorded)
    if "mlflow.db" in outcome.err:
        assert (outcome.code, bool(outcome.out)) == (2, True)
