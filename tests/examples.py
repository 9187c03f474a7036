"""The share of examples and parameters that the default suite tries.

The default profile `quick` of Hypothesis tries 10 % of the examples of a property test, `thorough` all of them.
`make test-laws` runs the thorough one; `make test-slow` runs the parameters that are marked as long.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import settings

FEWEST = 5
"""Smallest number that a test is reduced to."""

QUICK = "quick"
"""Name of the profile of the default suite."""

settings.register_profile(QUICK, max_examples=10)
settings.register_profile("thorough", max_examples=100)


def examples(n: int) -> int:
    """Return the number of examples to try where the thorough profile tries n."""
    return max(min(n, FEWEST), n * settings.default.max_examples // 100)


def mostly_long(values: Iterable[Any], n: int) -> list[Any]:
    """Return values as parameters of a test; all but n of them, spread evenly, are marked as long.

    A tuple gives several arguments.
    """
    every = [value if isinstance(value, tuple) else (value,) for value in values]
    kept = {place * len(every) // n for place in range(n)}
    return [pytest.param(*value, marks=[] if place in kept else pytest.mark.long) for place, value in enumerate(every)]
