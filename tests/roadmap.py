"""Run what shows each exit criterion of the roadmap, and write the table of the roadmap: `python -m tests.roadmap`.

A result is never typed: it is the exit code of the row's commands, what they print, and their time. The table keeps the
results of earlier runs with their time and commit, so that `--only P3` or `--only "parseable export"` renews some of
its rows; a row whose commands changed since, or were never run, says so. Commands of peak-trade share a workspace of
their own with the sample bars.

The limit of a time is that of the processor time of each process, in which other work on the machine counts less.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "roadmaps" / "REBOOT_ROADMAP_V2.md"
START, END = "<!-- rows: start -->\n", "\n<!-- rows: end -->"
TIMEOUT = 3_600.0
NOT_RUN = "not run yet"
EXPORTS = ("csv", "json", "parquet")
PAPER = (
    "peak-trade session run --mode paper --strategy ma_crossover -p fast=5 -p slow=20 --symbol BTC/USDT "
    "--exchange sample --timeframe 1h --feed recorded --end 2023-01-18"
)


@dataclass(frozen=True)
class Row:
    """An exit criterion and the commands that show it.

    All of them end with exit code 0, within `max_seconds` of processor time in each of `n_processes`, and they print
    the name of `least` before a number that is not smaller than its own. `not_here` says why no command can show the
    criterion on this machine; the commands show something else instead. `{session}` in a command is the id of the
    paper session that P3 runs.
    """

    phase: str
    criterion: str
    commands: tuple[str, ...]
    not_here: str = ""
    max_seconds: float = TIMEOUT
    n_processes: int = 1
    least: tuple[str, int] | None = None

    @property
    def shown_by(self) -> str:
        """The commands, as the table has them."""
        return ", ".join(f"`{command.replace('|', '¦')}`" for command in self.commands)

    @property
    def key(self) -> tuple[str, str]:
        """What a result belongs to."""
        return self.criterion, self.shown_by


@dataclass(frozen=True)
class Result:
    """How the commands of a row ended, as the cells of the table: what they showed, and their time and commit."""

    said: str
    ran: str


PHASES = {
    "P0": "documents",
    "P1": "CI, test health",
    "P2": "governance gate",
    "P3": "telemetry, audit trail",
    "P4": "risk layer",
    "P5": "replay, diff",
    "P6": "experiment dashboard",
    "P7": "regimes",
    "P8": "portfolio",
    "P9": "observability",
}
ROWS = (
    Row(
        "P0",
        "the three roadmap documents exist and are linked, no link is broken",
        ("pytest tests/docs/test_links.py",),
    ),
    Row("P1", "smoke suite under 5 s on 2 cores", ("pytest -m smoke",), max_seconds=5.0),
    Row("P1", "whole suite under 90 s on 2 cores", ("pytest -n 2 --dist worksteal",), max_seconds=90.0, n_processes=2),
    Row(
        "P1",
        "▲ no flaky test in ten runs (the first roadmap allowed 2 %)",
        ("peak-trade health --profile full --runs 10",),
    ),
    Row(
        "P1",
        "CI green on three consecutive days",
        ("pytest tests/health -k ci",),
        "the runs of CI are on the host of the repository, which keeps their history; the verdict on a recorded one "
        "is tested, and `peak-trade health --ci-history FILE` gives it for another one",
    ),
    Row(
        "P2",
        "a session does not start after a failed check; there is no bypass",
        ('pytest tests/sessions/test_gate.py tests/sessions/test_no_bypass.py -m "long or not long"',),
    ),
    Row("P2", "every refusal is in the audit log", ("pytest tests/governance tests/sessions/test_gate.py",)),
    Row(
        "P3",
        "▲ every order's trail is complete and ends in exactly one terminal event",
        (PAPER, "peak-trade audit verify {session}", "pytest tests/journal"),
    ),
    Row(
        "P3",
        "parseable export with all mandatory fields",
        (
            *(f"peak-trade audit export --session {{session}} --output trail.{kind}" for kind in EXPORTS),
            "pytest tests/journal/test_export.py",
        ),
    ),
    Row(
        "P3",
        "overhead under 1 % of a session's run time",
        ("pytest benchmarks/test_journal.py -p no:xdist",),
    ),
    Row("P4", "blocks on slippage over the limit", ("pytest tests/risk/test_liquidity_gate.py",)),
    Row(
        "P4",
        "blocks on VaR over the limit; conservative defaults (VaR 95 % at most 2 % of equity)",
        ("pytest tests/risk/test_stress_gate.py", "pytest tests/risk/test_docs.py"),
    ),
    Row(
        "P4",
        "▲ the VaR model itself is backtested (Kupiec, Christoffersen, traffic light)",
        ('pytest tests/risk/test_var_backtest.py tests/risk/test_var_backtest_size.py -m "long or not long"',),
    ),
    Row(
        "P4",
        "▲ false positives under 5 % on a labelled set of orders",
        ('pytest tests/risk/test_false_alarms.py -m "long or not long"',),
    ),
    Row(
        "P5",
        "▲ replay reproduces time, side, size and price of every signal and order",
        ("peak-trade replay --session {session}",),
    ),
    Row("P5", "the diff shows fills, slippage and PnL, each difference with one cause", ("pytest tests/diff",)),
    Row(
        "P5", "HTML with Plotly charts", ("pytest tests/notebooks -k shadow_vs_live", "pytest tests/diff/test_page.py")
    ),
    Row(
        "P6",
        "at least ten latest runs; filters by type, symbol and date; read-only",
        ("peak-trade runs list", "pytest tests/reports/test_server.py tests/reports/test_explorer.py"),
    ),
    Row(
        "P7",
        "runs on two years of BTC/USDT with at least three transitions; Sharpe per regime",
        ("peak-trade regime --strategy ma_crossover --symbol BTC/USDT --start 2021-01-01 --exchange sample",),
        least=("transitions", 3),
    ),
    Row(
        "P7", "recorded fallback to rules when the HMM fails; ▲ causal labels, noise control", ("pytest tests/regimes",)
    ),
    Row(
        "P8",
        "three strategies in parallel, aggregated equity, correct portfolio Sharpe",
        ("peak-trade portfolio --config config/portfolios/multi_strategy_example.toml",),
    ),
    Row(
        "P8",
        "correlation of the *returns* of each pair; ▲ simultaneous orders in a fixed sequence",
        ("pytest tests/portfolio",),
    ),
    Row(
        "P9",
        "scraped every 15 s; order rate, PnL and risk events in the exporter",
        ("pytest tests/observability", "pytest -m long tests/observability/test_prometheus.py"),
    ),
    Row(
        "P9",
        "the dashboards are drawn by Grafana",
        ("pytest tests/observability/test_dashboards.py",),
        "there is no Grafana here; the dashboards are checked against the schema of Grafana 11.6, and every query of a "
        "panel is evaluated over recorded sessions",
    ),
    Row(
        "P9",
        "the containers start",
        ("pytest tests/observability/test_compose.py",),
        "there is no container engine here; the compose file and the configurations that it mounts are checked",
    ),
)


def run(row: Row, folder: Path, environment: dict[str, str]) -> str:
    """Run the commands of a row; return what they showed, which starts with "passed" or "**failed**"."""
    began, used, said, printed = time.monotonic(), _processor_seconds(), [], ""
    for command in row.commands:
        if "{session}" in command:
            command = command.replace("{session}", _session(environment))
        command = command.replace("trail.", f"{folder}/trail.")
        command = re.sub(r"^pytest", f"{sys.executable} -m pytest", command)
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
        lines = (done.stdout if done.returncode == 0 else done.stderr or done.stdout).strip().splitlines()
        counts = re.findall(r"\d+ (?:passed|failed|skipped)", lines[-1] if lines else "")
        if done.returncode:
            last = lines[-1].replace("|", "¦") if lines else ""
            return f"**failed**, exit code {done.returncode}: `{last[:120]}`"
        said += [", ".join(counts)] if counts else []
        printed += done.stdout
    seconds = (_processor_seconds() - used) / row.n_processes
    each = " in each process" if row.n_processes > 1 else ""
    time_text = f"{seconds:.1f} s of processor time{each}, {time.monotonic() - began:.0f} s by the clock"
    if seconds > row.max_seconds:
        return f"**failed**, {time_text}, at most {row.max_seconds:.0f} s"
    if row.least is not None:
        name, smallest = row.least
        found = re.search(rf"^\W*{name}\W+(\d+)", printed, re.MULTILINE)
        told = f"{name}: {found[1] if found else 'not printed'}, at least {smallest}"
        if found is None or int(found[1]) < smallest:
            return f"**failed**, {told}"
        said.append(told)
    return f"passed, {'; '.join([*said, time_text])}"


def _processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _session(environment: dict[str, str]) -> str:
    listed = ["peak-trade", "session", "list", "--json"]
    done = subprocess.run(listed, env=environment, capture_output=True, text=True, check=True)
    return str(json.loads(done.stdout)[0]["session_id"])


def table(rows: Sequence[Row], results: Mapping[tuple[str, str], Result]) -> str:
    """Return the table of the roadmap: a row per criterion, with the result of its commands and when they ran."""
    lines = ["| phase | exit criterion | shown by | result | run |", "|---|---|---|---|---|"]
    phase = ""
    for row in rows:
        name = "" if row.phase == phase else f"**{row.phase}** {PHASES[row.phase]}"
        phase = row.phase
        result = results.get(row.key, Result(NOT_RUN, ""))
        said = f"**not shown here**: {row.not_here}. Instead: {result.said}" if row.not_here else result.said
        lines.append(f"| {name} | {row.criterion} | {row.shown_by} | {said} | {result.ran} |")
    return "\n".join(lines)


def results_in(text: str) -> dict[tuple[str, str], Result]:
    """Return the results that a table of `table` holds, by criterion and commands."""
    found = {}
    for line in text.partition(START)[2].partition(END)[0].splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 5 and cells[4] and cells[4] not in ("run", "---"):
            said = cells[3].rpartition("Instead: ")[2] if cells[3].startswith("**not shown here**") else cells[3]
            found[cells[1], cells[2]] = Result(said, cells[4])
    return found


def written(text: str, rows: Sequence[Row], new: Mapping[tuple[str, str], Result]) -> str:
    """Return the text of the roadmap with new results; the other rows keep those that they have."""
    before, _, rest = text.partition(START)
    return f"{before}{START}{table(rows, results_in(text) | dict(new))}{END}{rest.partition(END)[2]}"


def main() -> None:
    """Run the chosen rows, and write the page after each of them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", default=list(PHASES), help="phases, or beginnings of criteria, to run")
    chosen = parser.parse_args().only
    rows = [row for row in ROWS if row.phase in chosen or row.criterion.startswith(tuple(chosen))]
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"PEAK_TRADE_HOME": f"{folder}/home"}
        environment["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        commands = [command for row in rows for command in row.commands]
        if any(command.startswith("peak-trade") for command in commands):
            subprocess.run(["peak-trade", "data", "sample"], env=environment, check=True, stdout=subprocess.DEVNULL)
        if any("{session}" in command for command in commands) and PAPER not in commands:
            subprocess.run(["bash", "-c", PAPER], cwd=ROOT, env=environment, check=True, stdout=subprocess.DEVNULL)
        for row in rows:
            result = Result(run(row, Path(folder), environment), _now())
            sys.stdout.write(f"{row.phase} {row.criterion}: {result.said}\n")
            sys.stdout.flush()
            PAGE.write_text(written(PAGE.read_text(encoding="utf-8"), ROWS, {row.key: result}), encoding="utf-8")


def _now() -> str:
    """Return the time, commit and machine of a run. That the page itself changed since the commit does not count."""
    git = ["git", "-C", str(ROOT)]
    commit = subprocess.run([*git, "rev-parse", "--short=8", "HEAD"], capture_output=True, text=True, check=False)
    status = ["status", "--porcelain", "--", ".", f":!{PAGE.relative_to(ROOT)}"]
    changed = subprocess.run([*git, *status], capture_output=True, text=True, check=False).stdout
    name = (commit.stdout.strip() or "unknown") + ("-dirty" if changed.strip() else "")
    load = f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    return f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {name}, Python {platform.python_version()}, {load}"


if __name__ == "__main__":
    main()
