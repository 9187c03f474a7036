"""The share of examples and parameters that the default suite tries.

The default profile `quick` of Hypothesis tries 5 % of the examples of a property test, `thorough` all of them.
`make test-laws` runs the thorough one; `make test-slow` runs the parameters that are marked as long.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import settings

FEWEST = 3
"""Smallest number that a test is reduced to."""

QUICK = "quick"
"""Name of the profile of the default suite."""

settings.register_profile(QUICK, deadline=None, derandomize=True, max_examples=5)
settings.register_profile("thorough", deadline=None, derandomize=True, max_examples=100)


def examples(n: int) -> int:
    """Return the number of examples to try where the thorough profile tries n."""
    return max(min(n, FEWEST), n * settings.default.max_examples // 100)


def mostly_long(values: Iterable[Any], n: int) -> list[Any]:
    """Return values as parameters of a test; all but n of them, spread evenly, are marked as long.

    A tuple gives several arguments. A `pytest.param` keeps its name and its marks.
    """
    every = [_as_param(value) for value in values]
    kept = {place * len(every) // n for place in range(n)}
    return [each if place in kept else _marked_long(each) for place, each in enumerate(every)]


def _as_param(value: Any) -> Any:
    if hasattr(value, "marks"):
        return value
    return pytest.param(*value) if isinstance(value, tuple) else pytest.param(value)


def _marked_long(value: Any) -> Any:
    return pytest.param(*value.values, marks=[*value.marks, pytest.mark.long], id=value.id)
