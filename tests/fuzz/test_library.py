"""No argument of a public function or class gives another exception than one of this package, in one clear line.

The calls come from `peak_trade.__all__`, so that a new function or class is called without a change here.
"""

from __future__ import annotations

import warnings
import zlib

import pytest

from tests.fuzz.conftest import Desk
from tests.fuzz.library import calls, outcome_of, public

STRIDE = 1_500
"""The default suite makes one of so many calls, the long one all of them, or one of ten of SLOW."""
SLOW = {"record", "second_opinion"}
"""Functions that load MLflow or vectorbt: the long suite calls them."""


def faults_of(name: str, stride: int) -> list[str]:
    part = public()[name]
    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for label, arguments in calls(name, part, lambda label: zlib.crc32(label.encode()) % stride == 0):
            if fault := outcome_of(part, arguments):
                found.append(f"{label}: {fault}")
    return found


@pytest.mark.usefixtures("desk")
def test_hostile_arguments_give_a_result_or_one_line() -> None:
    assert [fault for name in public() if name not in SLOW for fault in faults_of(name, STRIDE)] == []


@pytest.mark.long
@pytest.mark.parametrize("name", public())
def test_every_hostile_argument_gives_a_result_or_one_line(desk: Desk, name: str) -> None:
    assert faults_of(name, 10 if name in SLOW else 1) == []
