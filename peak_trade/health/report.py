"""What repeated runs of the suite show: failure rates, durations and their drift, and the history of CI."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from itertools import takewhile
from pathlib import Path
from statistics import median
from typing import Any

import msgspec

from peak_trade.core.errors import DataError
from peak_trade.core.files import make_folder, write_text
from peak_trade.health.checks import CiRun, Health, Outcome, durations
from peak_trade.health.coverage import LEAST_COVERAGE, REQUIRED
from peak_trade.health.rederivation import Rederivation

NOTEBOOKS = "tests/notebooks/"
"""Folder of the tests that execute notebooks; the parameter of such a test is the name of the notebook."""
GREEN_DAYS = 3
"""Number of consecutive days on which every run of CI has to succeed."""
N_SLOWEST = 10
LEAST_DRIFT = 0.05
"""Smallest change of a duration, in seconds, that is listed; below it, the clock and the load decide."""
CONFIDENCE = 0.95
ELSEWHERE = (
    "Of 10,388 notebooks of biomedical publications whose dependencies could be installed, 879 (8.5 %) did: "
    "[Samuel and Mietchen, 2024](https://doi.org/10.1093/gigascience/giad113)."
)
"""What others measured in the same way."""
NOT_REDERIVED = "Not known in this workspace: run `make rederive` in a checkout."


class SuiteTest(msgspec.Struct, frozen=True):
    """Figures of one test.

    `failure_rate` is the fraction of its runs that failed, None if every run skipped it. `seconds` is the median
    duration, and `drift` its ratio to the median of the earlier check, None without one.
    """

    test: str
    n_runs: int
    failure_rate: float | None
    seconds: float
    drift: float | None
    reason: str

    @property
    def is_flaky(self) -> bool:
        """Whether some runs of the test failed and others passed."""
        return self.failure_rate is not None and 0.0 < self.failure_rate < 1.0

    @property
    def is_skipped(self) -> bool:
        """Whether every run skipped the test."""
        return self.failure_rate is None


class CiDay(msgspec.Struct, frozen=True):
    """The runs of CI on one day in UTC: how many ended, and how many of them failed."""

    day: str
    n_runs: int
    n_failed: int


class HealthReport(msgspec.Struct, frozen=True):
    """Figures of a health check; `undetected_rate` is the failure rate that its runs can miss."""

    health: Health
    tests: tuple[SuiteTest, ...]
    notebooks: Mapping[str, str]
    undetected_rate: float
    ci_days: tuple[CiDay, ...]
    n_green_days: int

    @property
    def flaky(self) -> list[SuiteTest]:
        """Tests that both passed and failed, the highest failure rate first."""
        return sorted((each for each in self.tests if each.is_flaky), key=lambda each: -(each.failure_rate or 0.0))

    @property
    def failing(self) -> list[SuiteTest]:
        """Tests that failed in every run."""
        return [each for each in self.tests if each.failure_rate == 1.0]

    @property
    def skipped(self) -> list[SuiteTest]:
        """Tests that every run skipped."""
        return [each for each in self.tests if each.is_skipped]

    @property
    def slowest(self) -> list[SuiteTest]:
        """The N_SLOWEST tests by median duration."""
        return sorted(self.tests, key=lambda each: -each.seconds)[:N_SLOWEST]

    @property
    def drifting(self) -> list[SuiteTest]:
        """Tests whose duration changed by more than a half and by LEAST_DRIFT seconds, the largest change first."""
        moved = [each for each in self.tests if each.drift and not 2 / 3 <= each.drift <= 1.5]
        changes = {each.test: abs(each.seconds - each.seconds / (each.drift or 1.0)) for each in moved}
        kept = [each for each in moved if changes[each.test] >= LEAST_DRIFT]
        return sorted(kept, key=lambda each: -changes[each.test])[:N_SLOWEST]

    @property
    def is_good(self) -> bool:
        """Whether no test failed in any run."""
        return not self.flaky and not self.failing

    @property
    def verdict(self) -> str:
        """One sentence: the runs, the tests, and how many of them are flaky and fail always."""
        n_runs, n_tests = len(self.health.runs), len(self.tests)
        runs = "1 run" if n_runs == 1 else f"{n_runs} runs"
        return (
            f"{len(self.flaky)} flaky and {len(self.failing)} failing of {n_tests:,} tests in {runs} "
            f"of the {self.health.profile} suite."
        )

    @property
    def ci_verdict(self) -> str:
        """One sentence on the history of CI."""
        if not self.ci_days:
            return "The history of CI is not known here."
        last = self.ci_days[-1].day
        if self.n_green_days >= GREEN_DAYS:
            return f"CI was green on the last {self.n_green_days} days in a row, up to {last}."
        return f"CI was green on {self.n_green_days} days in a row up to {last}; {GREEN_DAYS} are required."


def report_of(health: Health, earlier: Health | None = None) -> HealthReport:
    """Return the figures of a check, with the drift of durations since an earlier one."""
    outcomes: dict[str, list[Outcome]] = defaultdict(list)
    reasons: dict[str, str] = {}
    for run in health.runs:
        for name, test in run.tests.items():
            outcomes[name].append(test.outcome)
            if test.reason and (test.outcome == "failed" or name not in reasons):
                reasons[name] = test.reason
    now, before = durations(health.runs), durations(earlier.runs) if earlier else {}
    tests = tuple(
        _figures(name, counted, now.get(name, []), before.get(name, []), reasons.get(name, ""))
        for name, counted in sorted(outcomes.items())
    )
    days = ci_days(health.ci)
    return HealthReport(health, tests, _notebooks(tests), undetected_rate(len(health.runs)), days, green_days(days))


def _figures(
    name: str, outcomes: Sequence[Outcome], now: Sequence[float], before: Sequence[float], reason: str
) -> SuiteTest:
    counts = Counter(outcomes)
    n_ran = counts["passed"] + counts["failed"]
    seconds = median(now) if now else 0.0
    usual = median(before) if before else 0.0
    return SuiteTest(
        test=name,
        n_runs=len(outcomes),
        failure_rate=counts["failed"] / n_ran if n_ran else None,
        seconds=round(seconds, 4),
        drift=round(seconds / usual, 3) if usual and now else None,
        reason=reason,
    )


def _notebooks(tests: Sequence[SuiteTest]) -> dict[str, str]:
    """Return, by notebook, how its tests ended: "passed", "failed" or "skipped"."""
    found: dict[str, str] = {}
    for each in tests:
        if each.test.startswith(NOTEBOOKS) and each.test.endswith("]"):
            name = each.test.rpartition("[")[2].removesuffix("]")
            state = "skipped" if each.is_skipped else "failed" if each.failure_rate else "passed"
            if found.get(name) != "failed":
                found[name] = (
                    "failed" if state == "failed" else "passed" if "passed" in (state, found.get(name)) else state
                )
    return found


def undetected_rate(n_runs: int) -> float:
    """Return the failure rate of a test that passes n_runs independent runs with a chance of 5 %.

    >>> round(undetected_rate(10), 3)
    0.259
    """
    return 1.0 - (1.0 - CONFIDENCE) ** (1.0 / n_runs) if n_runs else 1.0


def ci_days(runs: Sequence[CiRun]) -> tuple[CiDay, ...]:
    """Return the days with runs of CI that succeeded or failed, oldest first; others, as cancelled ones, do not count.

    Raises
    ------
    DataError
        If a time is not ISO 8601.

    """
    ended: dict[date, list[bool]] = defaultdict(list)
    for run in runs:
        if run.conclusion in ("success", "failure", "timed_out", "startup_failure"):
            try:
                day = datetime.fromisoformat(run.created_at).date()
            except ValueError:
                raise DataError(f"history of CI: {run.created_at!r} is no time. Write it as ISO 8601.") from None
            ended[day].append(run.conclusion == "success")
    return tuple(CiDay(day.isoformat(), len(ended[day]), ended[day].count(False)) for day in sorted(ended))


def green_days(days: Sequence[CiDay]) -> int:
    """Return the number of consecutive days, up to the last one, on which there was a run and none failed."""
    last = date.fromisoformat(days[-1].day) if days else date.min
    by_age = {(last - date.fromisoformat(each.day)).days: each for each in days}
    return len(list(takewhile(lambda age: age in by_age and not by_age[age].n_failed, range(len(days)))))


def content(report: HealthReport, rederived: Rederivation | None) -> dict[str, Any]:
    """Return a report as the values of its JSON, with every test and the latest re-derivation of the notebooks."""
    health = report.health
    return {
        "profile": health.profile,
        "started": health.started,
        "commit": health.commit,
        "python": health.python,
        "machine": health.machine,
        "n_runs": len(health.runs),
        "n_tests": len(report.tests),
        "verdict": report.verdict,
        "undetected_rate": report.undetected_rate,
        "seconds": [run.seconds for run in health.runs],
        "seeds": [run.seed for run in health.runs],
        "flaky": report.flaky,
        "failing": report.failing,
        "skipped": report.skipped,
        "slowest": report.slowest,
        "drifting": report.drifting,
        "notebooks": report.notebooks,
        "rederivation": rederived and {"fraction": rederived.fraction, **msgspec.structs.asdict(rederived)},
        "coverage": health.coverage,
        "ci": {"verdict": report.ci_verdict, "n_green_days": report.n_green_days, "days": report.ci_days},
        "tests": report.tests,
    }


def write_page(path: Path, report: HealthReport, rederived: Rederivation | None) -> None:
    """Write a report to a file as Markdown with its title; see `page`."""
    make_folder(path.parent)
    title = "# CI health report\n\n`peak-trade health --write-page` writes this page."
    write_text(path, f"{title}\n\n{page(report, rederived)}")


def page(report: HealthReport, rederived: Rederivation | None) -> str:
    """Return a report as Markdown without a title, with the latest re-derivation of the notebooks."""
    health = report.health
    seconds = [run.seconds for run in health.runs]
    facts = {
        "first run": health.started,
        "commit": health.commit,
        "Python": health.python,
        "machine": health.machine,
        "seconds of a run, median and range": f"{median(seconds):.1f} ({min(seconds):.1f} to {max(seconds):.1f})",
    }
    timed = ("test", "median seconds", "since the earlier check")
    blocks = [
        f"**{report.verdict}** Each run had another order of tests, hash seed and seed of Hypothesis. A test that "
        f"fails in less than {100.0 * report.undetected_rate:.0f} % of its runs passes all of these with a chance of "
        "more than 5 %.",
        _table(("fact", "value"), facts.items()),
    ]
    for title, tests in (("Flaky tests", report.flaky), ("Failing tests", report.failing)):
        failed = [(_code(each.test), _percent(each.failure_rate), _code(each.reason)) for each in tests]
        blocks += [f"## {title}", _table(("test", "failed", "reason"), failed) or "None."]
    blocks += ["## Slowest tests", _table(timed, map(_timed, report.slowest))]
    unchanged = f"No test changed by a half and {LEAST_DRIFT} s since an earlier check of this profile."
    blocks += ["## Drift of durations", _table(timed, map(_timed, report.drifting)) or unchanged]
    skipped = [(_code(each.test), _code(each.reason)) for each in report.skipped]
    blocks += ["## Skipped tests", _table(("test", "reason"), skipped) or "None."]
    notebooks = _table(("notebook", "small run"), report.notebooks.items())
    blocks += ["## Notebooks", notebooks or "This profile runs no notebook.", rederivation_section(rederived)]
    shares = _table(("package", "branches reached", "at least"), coverage_lines(health))
    blocks += ["## Coverage", shares or "Not measured: use `--coverage`."]
    days = [(each.day, str(each.n_runs), str(each.n_failed)) for each in report.ci_days]
    blocks += ["## Continuous integration", report.ci_verdict]
    blocks += [_table(("day, UTC", "runs that ended", "failed"), days)] if days else []
    return "\n\n".join(blocks) + "\n"


def coverage_lines(health: Health) -> list[tuple[str, str, str]]:
    """Return package, fraction of branches that the tests reach, and the fraction that they have to reach, as texts."""
    return [
        (name, _percent(share), _percent(LEAST_COVERAGE) if name in REQUIRED else "")
        for name, share in health.coverage.items()
    ]


def rederivation_section(found: Rederivation | None) -> str:
    """Return the section on notebooks that ran again in a clean clone, as Markdown."""
    if found is None:
        return f"## Re-derived notebooks\n\n{NOT_REDERIVED}"
    told = {"passed": "equal results", "skipped": "not run", "failed": "not equal"}
    rows = [(name, told[each.outcome], _code(each.reason)) for name, each in found.notebooks.items()]
    about = f"Run at {found.started}, commit {found.commit}, Python {found.python}."
    blocks = [f"**{found.verdict}** {about} {ELSEWHERE}", _table(("notebook", "typed results", "reason"), rows)]
    return "\n\n".join(["## Re-derived notebooks", *blocks])


def _timed(each: SuiteTest) -> tuple[str, ...]:
    return _code(each.test), f"{each.seconds:.2f}", "–" if each.drift is None else f"× {each.drift:.2f}"


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown; empty if it has only its heads."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) if len(lines) > 2 else ""


def _code(text: str) -> str:
    plain = text.replace("`", "'").replace("|", "¦").replace("{", "(").replace("}", ")")
    return f"`{plain}`" if plain else "–"


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100.0 * share:.1f} %"
