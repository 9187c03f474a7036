"""Run what shows each exit criterion of the roadmap, and write the table of the roadmap: `python -m tests.roadmap`.

A result is never typed: it is the exit code of the row's commands, or that a tool is missing here. Results are kept in
`.peak_trade/roadmap.json` of the checkout, so that `--only P3` renews the rows of one phase; a row whose commands
changed since, or were never run, says so. Commands of peak-trade share a workspace of their own with the sample bars.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "roadmaps" / "REBOOT_ROADMAP_V2.md"
RESULTS = ROOT / ".peak_trade" / "roadmap.json"
START, END = "<!-- rows: start -->\n", "\n<!-- rows: end -->"
TIMEOUT = 3_600.0
EXPORTS = ("csv", "json", "parquet")
PAPER = (
    "peak-trade session run --mode paper --strategy ma_crossover -p fast=5 -p slow=20 --symbol BTC/USDT "
    "--exchange sample --timeframe 1h --feed recorded --end 2023-01-18"
)


@dataclass(frozen=True)
class Row:
    """An exit criterion and the commands that show it; all of them end with exit code 0, within `max_seconds` together.

    `not_here` says why no command can show the criterion on this machine; the commands show something else instead.
    `{session}` in a command is the id of the paper session that P3 runs.
    """

    phase: str
    criterion: str
    commands: tuple[str, ...]
    not_here: str = ""
    max_seconds: float = TIMEOUT

    @property
    def key(self) -> str:
        return " && ".join((self.criterion, *self.commands))


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
    Row("P1", "whole suite under 90 s on 2 cores", ("pytest -n 2 --dist worksteal",), max_seconds=90.0),
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


def run(row: Row, folder: Path, environment: dict[str, str]) -> dict[str, object]:
    """Run the commands of a row; return the result with its time in seconds."""
    before, said = time.monotonic(), []
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
            return {"key": row.key, "passed": False, "said": f"exit code {done.returncode}: `{last[:120]}`"}
        said += [", ".join(counts)] if counts else []
    seconds = time.monotonic() - before
    if seconds > row.max_seconds:
        return {"key": row.key, "passed": False, "said": f"{seconds:.1f} s, at most {row.max_seconds:.0f} s"}
    return {"key": row.key, "passed": True, "said": "; ".join([*said, f"{seconds:.1f} s"])}


def _session(environment: dict[str, str]) -> str:
    listed = ["peak-trade", "session", "list", "--json"]
    done = subprocess.run(listed, env=environment, capture_output=True, text=True, check=True)
    return str(json.loads(done.stdout)[0]["session_id"])


def table(rows: Sequence[Row], results: dict[str, dict[str, object]]) -> str:
    """Return the table of the roadmap: a row per criterion, with the result of its commands."""
    lines = ["| phase | exit criterion | shown by | result |", "|---|---|---|---|"]
    phase = ""
    for row in rows:
        name = "" if row.phase == phase else f"**{row.phase}** {PHASES[row.phase]}"
        phase = row.phase
        shown = ", ".join(f"`{command.replace('|', '¦')}`" for command in row.commands)
        lines.append(f"| {name} | {row.criterion} | {shown} | {verdict(row, results.get(row.key))} |")
    return "\n".join(lines)


def verdict(row: Row, result: dict[str, object] | None) -> str:
    """Return the result of a row as text, in which "passed" means that its commands ended with exit code 0."""
    state = "not run yet" if result is None else f"{'passed' if result['passed'] else '**failed**'}, {result['said']}"
    return f"**not shown here**: {row.not_here}. Instead: {state}" if row.not_here else state


def written(text: str, rows: Sequence[Row], results: dict[str, dict[str, object]], about: str) -> str:
    """Return the text of the roadmap with another table."""
    before, _, rest = text.partition(START)
    return f"{before}{START}{about}\n\n{table(rows, results)}{END}{rest.partition(END)[2]}"


def main() -> None:
    """Run the rows of the chosen phases and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", choices=PHASES, default=list(PHASES), help="phases whose rows are run")
    chosen = parser.parse_args().only
    results = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.is_file() else {}
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"PEAK_TRADE_HOME": f"{folder}/home"}
        environment["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        subprocess.run(["peak-trade", "data", "sample"], env=environment, check=True, stdout=subprocess.DEVNULL)
        if not {"P3"} & set(chosen) and {"P5"} & set(chosen):
            subprocess.run(["bash", "-c", PAPER], cwd=ROOT, env=environment, check=True, stdout=subprocess.DEVNULL)
        for row in ROWS:
            if row.phase in chosen:
                results[row.key] = run(row, Path(folder), environment)
                sys.stdout.write(f"{row.phase} {row.criterion}: {verdict(row, results[row.key])}\n")
                sys.stdout.flush()
                RESULTS.parent.mkdir(exist_ok=True)
                RESULTS.write_text(json.dumps(results, indent=1), encoding="utf-8")
    commit = subprocess.run(["git", "-C", ROOT, "describe", "--always", "--dirty"], capture_output=True, text=True)
    about = (
        f"Last run {datetime.now(UTC):%Y-%m-%d %H:%M} UTC at commit {commit.stdout.strip()[:14]}, Python "
        f"{platform.python_version()}, {os.cpu_count()} cores, load "
        f"{os.getloadavg()[0]:.1f}. The rows of another run of `--only` can be older."
    )
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8"), ROWS, results, about), encoding="utf-8")


if __name__ == "__main__":
    main()
