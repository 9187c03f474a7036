"""The changelog names every fixed run whose results changed since the last release, and no other one."""

from __future__ import annotations

import json

import peak_trade as pt
from tests.behaviour.fixed_runs import read_digests
from tests.behaviour.releases import CHANGELOG, PINNED, changed, results, versions

VERSIONS = versions(CHANGELOG.read_text(encoding="utf-8"))
RELEASED = json.loads(PINNED.read_text(encoding="utf-8"))
EXAMPLE = """# Changelog

## 1.1 (unreleased)

**Results**

- `strategy a`, `strategy b`: the crossing counts
  from the first bar.
- `sweep`: it has another order.

**Added**

- `strategy c`: new.

## 1.0

**Results**

- `strategy d`: rounding.
"""


def test_the_changelog_names_each_run_whose_results_changed_since_the_last_release():
    explained = VERSIONS[0].explained
    assert changed(RELEASED["results"], results(read_digests())) == explained.keys()
    assert all(len(reason.split()) >= 3 for reason in explained.values())


def test_the_results_of_the_newest_release_are_pinned():
    assert RELEASED["version"] == next(version.name for version in VERSIONS if version.is_released)
    assert sum(name.startswith("strategy ") for name in RELEASED["results"]) > 10


def test_the_first_section_is_that_of_the_version_of_the_package():
    assert VERSIONS[0].name == pt.__version__


def test_runs_and_reasons_are_read_from_the_section_of_results_alone():
    newest, released = versions(EXAMPLE)
    assert (newest.name, newest.is_released, released.name, released.is_released) == ("1.1", False, "1.0", True)
    reason = "the crossing counts\n  from the first bar."
    assert newest.explained == {"strategy a": reason, "strategy b": reason, "sweep": "it has another order."}
    assert released.explained == {"strategy d": "rounding."}


def test_changed_new_and_removed_runs_count_and_equal_ones_do_not():
    assert changed({"a": "1", "b": "1", "c": "1"}, {"a": "1", "b": "2", "d": "1"}) == {"b", "c", "d"}
