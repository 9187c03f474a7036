"""`peak-trade health`: run the test suite of a checkout again and again, and report what failed."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from peak_trade.cli import options, output
from peak_trade.cli.verbs import verb_app

if TYPE_CHECKING:
    from peak_trade.health.checks import Health
    from peak_trade.health.report import HealthReport

app = verb_app()
PAGE = Path("docs/ops/CI_HEALTH_REPORT.md")
HISTORY = Path(".ci/history.json")
MOST_ROWS = 20


class Profile(StrEnum):
    """Which tests are run."""

    SMOKE = "smoke"
    FULL = "full"


@app.command()
def health(
    runs: Annotated[int, typer.Option(min=1, max=1_000, metavar="N", help="Number of runs of the suite.")] = 10,
    profile: Annotated[
        Profile, typer.Option(help="The fastest tests, or the default suite on two processes.")
    ] = Profile.SMOKE,
    seed: Annotated[int, typer.Option(min=0, max=2**31, metavar="N", help="Seed of the first run.")] = 1,
    coverage: Annotated[bool, typer.Option("--coverage", help="Measure branch coverage in three more runs.")] = False,
    ci_history: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Runs of CI, as `gh run list --json createdAt,conclusion,headSha` prints them.",
            show_default=f"{HISTORY}, if it is there",
        ),
    ] = None,
    write_page: Annotated[bool, typer.Option("--write-page", help=f"Write the report to {PAGE} too.")] = False,
    as_json: options.AsJson = False,
) -> None:
    """Run the test suite repeatedly and report flaky tests.

    This is a command for developers in a checkout of peak_trade. It reports failing, slow and skipped tests, too. Each
    run has another order of tests, hash seed and seed of Hypothesis. The runs are kept in a file in the folder `health`
    of the workspace, and the home page of the site shows the latest one. It is written after each run: Ctrl-C keeps the
    runs that ended.

    \b
    Examples:
        peak-trade health
        peak-trade health --profile full --runs 3 --write-page

    Exits 0 when no test failed, 1 when one did, 2 on bad input, outside of a checkout or when pytest cannot run.
    """
    from peak_trade.health import checks, report
    from peak_trade.health.rederivation import latest_rederivation

    root = Path.cwd()
    checks.require_checkout(root, coverage)
    history = ci_history or (HISTORY if HISTORY.is_file() else None)
    ci = () if history is None else checks.read_ci_history(history)
    earlier = checks.latest(profile.value)
    saved: list[tuple[Health, Path]] = []
    try:
        checks.check_health(root, profile.value, runs, seed, coverage, ci, lambda *each: saved.append(each))
    except KeyboardInterrupt:
        if saved:
            output.error(f"{output.count(len(saved[-1][0].runs), 'finished run')} kept in {saved[-1][1]}")
        raise
    done, path = saved[-1]
    found, rederived = report.report_of(done, earlier), latest_rederivation()
    if write_page:
        report.write_page(PAGE, found, rederived)
    output.show(
        found,
        as_json,
        lambda shown: _page(shown, path),
        lambda shown: report.content(shown, rederived) | {"file": str(path)},
    )
    if not found.is_good:
        raise typer.Exit(1)


def _page(report: HealthReport, path: Path) -> output.Page:
    from peak_trade.health.report import coverage_lines

    yield report.verdict
    yield f"A failure rate of less than {report.undetected_rate:.0%} can be missed by so many runs."
    bad = [*report.failing, *report.flaky]
    if bad:
        rows = [(each.test, f"{each.failure_rate:.0%}", each.reason) for each in bad]
        yield output.Table(("test", "failed", "reason"), rows, "Failures", right=("failed",), max_rows=MOST_ROWS)
    slow = [(each.test, each.seconds, "" if each.drift is None else f"× {each.drift:.2f}") for each in report.slowest]
    yield output.Table(("test", "seconds", "since last"), slow, "Slowest tests", right=("seconds", "since last"))
    if report.drifting:
        rows = [(each.test, f"{each.seconds:.2f}", f"× {each.drift:.2f}") for each in report.drifting]
        yield output.Table(("test", "seconds", "since last"), rows, "Drift", right=("seconds", "since last"))
    if report.skipped:
        skipped = [(each.test, each.reason) for each in report.skipped]
        yield output.Table(("test", "reason"), skipped, "Skipped in every run", max_rows=MOST_ROWS)
    if report.notebooks:
        yield output.Table(("notebook", "small run"), list(report.notebooks.items()), "Notebooks")
    if report.health.coverage:
        columns = ("package", "branches reached", "at least")
        yield output.Table(columns, coverage_lines(report.health), "Coverage", right=columns[1:])
    yield report.ci_verdict
    yield f"Kept in {path}"
