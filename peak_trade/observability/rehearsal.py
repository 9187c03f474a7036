"""Rehearsal of alerts: the rule files are evaluated over a recorded session, by `promtool test rules`.

The session is sampled as the exporter would have been scraped. Prometheus' own program evaluates the rules over these
series, with their `for`, and the firings are the values of its series `ALERTS`.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from peak_trade.core.arguments import checks_arguments
from peak_trade.core.described import Described
from peak_trade.core.errors import ConfigError
from peak_trade.core.files import read_text
from peak_trade.core.time import NS_PER_SECOND, from_ns, iso
from peak_trade.data.workspace import package_data
from peak_trade.journal.events import Event, SessionEvent, SessionPhase
from peak_trade.observability.exposition import Reading, families
from peak_trade.observability.figures import Series
from peak_trade.observability.metrics import FEED_AGE, JOURNAL_VERIFIED, SESSION_RUNNING, Metric
from peak_trade.observability.recorded import RecordedSession, read_recorded

if TYPE_CHECKING:
    import pandas as pd

RULES = Path("config/observability/rules")
"""Folder of the rule files, in the current folder or in the package."""
INTERVAL = 15
"""Seconds between two evaluations of the rules, and between two scrapes: those of prometheus.yml."""
MAX_EVALUATIONS = 10_000
"""Evaluations of a rehearsal whose speed is not given, at most; more are sampled at a higher speed."""
MOST_EVALUATIONS = 100_000
"""Evaluations of a rehearsal whose speed is given, at most."""
INTERRUPTED_FOR = 20
"""Evaluations after the last event of an interrupted session."""
TARGET = {"instance": "exporter:9108", "job": "peak_trade"}
"""Labels that Prometheus adds to the series of the exporter."""

_FIRING = 'ALERTS{alertstate="firing"}'
_SERIES = re.compile(r'\{((?:[^"{}]|"(?:[^"\\]|\\.)*")*)\}')
_LABEL = re.compile(r'(\w+)=("(?:[^"\\]|\\.)*")')
_FAILURE = re.compile(r"time: (\S+?),\s*\n\s*exp: ?nil\s*\n\s*got: ?(.*)")
_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800, "y": 31_536_000}
_NOT_SHOWN = {"__name__", "alertname", "alertstate", "severity", *TARGET}


@dataclass(frozen=True, slots=True)
class Firing:
    """One firing of an alert: its labels and its time in the session, ns UTC.

    `resolved` is the first evaluation at which the alert does not fire, None if it fires at the end.
    """

    alert: str
    severity: str
    labels: Mapping[str, str]
    fired: int
    resolved: int | None


@dataclass(frozen=True, slots=True, repr=False)
class Rehearsal(Described):
    """The alerts that would have fired in a session; times ns UTC, by the clock of the session.

    `speed` is the number of seconds of the session in one second of the rules. `alerts` are the names of all alerts.
    """

    session_id: str
    speed: float
    start: int
    end: int
    n_evaluations: int
    alerts: tuple[str, ...]
    firings: tuple[Firing, ...]

    def description(self) -> tuple[str, dict[str, object]]:
        """Return what was evaluated, and the alerts that fire."""
        fired = sorted({firing.alert for firing in self.firings})
        return (
            f"Rehearsal: {self.session_id}",
            {
                "evaluated": f"{len(self.alerts)} alerts, {self.n_evaluations:,} times",
                "span": f"{iso(self.start)} to {iso(self.end)}, speed {self.speed:g}",
                "alerts that fire": ", ".join(fired) or "none",
                "firings": f"{len(self.firings):,}",
                "each firing": "table()" if fired else "",
            },
        )

    def duration(self, firing: Firing) -> float:
        """Return how long an alert fired within the rehearsal, seconds of the session."""
        return ((self.end if firing.resolved is None else firing.resolved) - firing.fired) / NS_PER_SECOND

    @property
    def span(self) -> tuple[datetime, datetime]:
        """The first and the last evaluation, UTC."""
        return from_ns(self.start), from_ns(self.end)

    def sentences(self) -> list[str]:
        """Return what was evaluated and how many alerts fire, as sentences."""
        fired = {firing.alert for firing in self.firings}
        return [
            f"{self.session_id}: {len(self.alerts)} alerts were evaluated {self.n_evaluations:,} times from "
            f"{iso(self.start)} to {iso(self.end)}, at speed {self.speed:g}.",
            f"{len(fired)} of them fire, {len(self.firings)} times." if fired else "No alert fires.",
        ]

    def table(self) -> pd.DataFrame:
        """Return one row per firing: alert, severity, labels, fired and resolved (UTC; NaT at the end), seconds."""
        import pandas as pd

        rows = [
            (
                each.alert,
                each.severity,
                ", ".join(f"{name}={value}" for name, value in each.labels.items()),
                from_ns(each.fired),
                pd.NaT if each.resolved is None else from_ns(each.resolved),
                self.duration(each),
            )
            for each in self.firings
        ]
        return pd.DataFrame(rows, columns=["alert", "severity", "labels", "fired", "resolved", "seconds"])


@checks_arguments()
def rehearse_alerts(session: str, speed: float | None = None, rules: Path | None = None) -> Rehearsal:
    """Evaluate the alert rules over a recorded session.

    Parameters
    ----------
    session : str
        Session id, the beginning of one, a folder, or `example`, a generated session with troubles.
    speed : float, optional
        Seconds of the session in one second of the rules, at least 1: at 60, a rule with `for: 1m` waits for an hour of
        the session. By default 1, or as much as MAX_EVALUATIONS need.
    rules : Path, optional
        Folder of the rule files; by default `config/observability/rules` in the current folder, or the package's.

    Raises
    ------
    ConfigError
        If promtool is not installed, or the rule files or the speed are wrong.
    SessionError
        If the session is unknown, imported, without events, or its journal does not verify.

    Notes
    -----
    A session over a recording is sampled by the clock of its bars, any other one by the times of recording. The sample
    at an evaluation has the events up to it. Groups with recording rules are evaluated before the groups of alerts.
    A running Prometheus evaluates each group at an offset of its own, so its alerts are up to one interval later.

    """
    return rehearse(read_recorded(session), speed, rules)


def rehearse(recorded: RecordedSession, speed: float | None = None, rules: Path | None = None) -> Rehearsal:
    """Evaluate the alert rules over the events of a session; parameters and errors as of `rehearse_alerts`."""
    files = _rule_files(rules)
    start = recorded.start
    seconds = (recorded.events[-1].known - start) / NS_PER_SECOND
    if speed is None:
        speed = max(1.0, float(-(-seconds // (INTERVAL * MAX_EVALUATIONS))))
    elif not 1.0 <= speed <= 1e6:
        raise ConfigError(f"speed was {speed:g}. Give at least 1 and at most 1,000,000.")
    n_more = 2 + INTERRUPTED_FOR * recorded.is_interrupted
    n_evaluations = int(seconds / speed) // INTERVAL + n_more
    if n_evaluations > MOST_EVALUATIONS:
        least = int(seconds / (INTERVAL * (MOST_EVALUATIONS - n_more + 1))) + 1
        raise ConfigError(
            f"speed was {speed:g}: the session would have {n_evaluations:,} evaluations, and {MOST_EVALUATIONS:,} are "
            f"the most. Give {least:,} or more."
        )
    step = round(INTERVAL * speed * NS_PER_SECOND)
    program = _checked_promtool(files)
    rule_text = "\n".join(map(read_text, files))
    alerts = tuple(re.findall(r"^\s*- alert: *(\w+)", rule_text, re.MULTILINE))
    series = _Series()
    for scraped in _scrapes(recorded, start, step, n_evaluations):
        series.add(recorded, {metric: each for metric, each in scraped.items() if metric.name in rule_text})
    content = {
        "rule_files": [str(path.resolve()) for path in files],
        "evaluation_interval": f"{INTERVAL}s",
        "group_eval_order": _group_order(files),
        "tests": [
            {
                "interval": f"{INTERVAL}s",
                "input_series": series.texts(),
                "promql_expr_test": [
                    {"expr": _FIRING, "eval_time": f"{number * INTERVAL}s"} for number in range(n_evaluations)
                ],
            }
        ],
    }
    fired = _firing_alerts(program, content)
    return Rehearsal(
        recorded.session_id,
        speed,
        start,
        start + step * (n_evaluations - 1),
        n_evaluations,
        alerts,
        _firings(fired, start, step, n_evaluations),
    )


def _rule_files(folder: Path | None) -> list[Path]:
    if folder is None:
        folder = RULES if RULES.is_dir() else package_data() / RULES
    files = sorted(folder.glob("*.yml"))
    if not files:
        raise ConfigError(f"{folder} has no rule file *.yml. Name the folder of the rules.")
    return files


def _scrapes(recorded: RecordedSession, start: int, step: int, n_scrapes: int) -> Iterator[dict[Metric, Series]]:
    """Yield the series at each scrape, `step` ns apart."""
    figures, events = recorded.figures, recorded.events
    place = 0
    for now in range(start, start + step * n_scrapes, step):
        while place < len(events) and events[place].known <= now:
            figures.apply(events[place].event, events[place].ts_recorded)
            place += 1
        is_over = place == len(events) and recorded.is_sealed
        is_down = recorded.is_interrupted if place == len(events) else _is_resumption(events[place].event)
        series = figures.series(now, is_sealed=is_over)
        series[JOURNAL_VERIFIED] = (((), 1.0),)
        if not is_over:
            series[SESSION_RUNNING] = (((), float(not is_down)),)
        yield series


def _is_resumption(event: Event) -> bool:
    """Return whether no process ran the session before an event."""
    return isinstance(event, SessionEvent) and event.phase is SessionPhase.RESUMED


Key = tuple[str, tuple[tuple[str, str], ...]]


@dataclass(slots=True)
class _Series:
    """Values of series at consecutive scrapes, as runs of equal values; "_" where a series has none."""

    _runs: dict[Key, list[tuple[str, int]]] = field(default_factory=dict)
    _lengths: dict[Key, int] = field(default_factory=dict)
    _n_scrapes: int = 0
    _settled: tuple[dict[Metric, Series], dict[Key, float]] = field(default_factory=lambda: ({}, {}))
    """The last series that do not change with time alone, and their values."""

    def add(self, recorded: RecordedSession, series: Mapping[Metric, Series]) -> None:
        """Add the series of the next scrape."""
        settled = {metric: each for metric, each in series.items() if metric is not FEED_AGE}
        if settled != self._settled[0]:
            self._settled = settled, _values(recorded, settled)
        aging = _values(recorded, {metric: each for metric, each in series.items() if metric is FEED_AGE})
        for key, value in {("up", tuple(TARGET.items())): 1.0, **self._settled[1], **aging}.items():
            self._append(key, repr(float(value)))
        self._n_scrapes += 1

    def _append(self, key: Key, text: str) -> None:
        runs = self._runs.setdefault(key, [])
        missed = self._n_scrapes - self._lengths.get(key, 0)
        if missed:
            runs.append(("_", missed))
        if runs and runs[-1][0] == text:
            runs[-1] = (text, runs[-1][1] + 1)
        else:
            runs.append((text, 1))
        self._lengths[key] = self._n_scrapes + 1

    def texts(self) -> list[dict[str, str]]:
        """Return every series in the notation of promtool."""
        found = []
        for (name, labels), runs in self._runs.items():
            selector = ",".join(f"{label}={json.dumps(value)}" for label, value in labels)
            values = [text if count == 1 else f"{text}x{count - 1}" for text, count in runs]
            stale = ["stale"] if self._lengths[name, labels] < self._n_scrapes else []
            found.append({"series": f"{name}{{{selector}}}", "values": " ".join(values + stale)})
        return found


def _values(recorded: RecordedSession, series: Mapping[Metric, Series]) -> dict[Key, float]:
    """Return the values of series as the exporter shows them, with the labels that Prometheus adds."""
    found = {}
    for family in families([Reading(recorded.session_id, recorded.labels, 0, series)]):
        for name, labels, value, *_ in family.samples:
            if not name.endswith("_created"):
                found[name, tuple(sorted((labels | TARGET).items()))] = value
    return found


def _firing_alerts(program: str, content: Mapping[str, object]) -> dict[int, list[dict[str, str]]]:
    """Return the labels of the firing alerts at each evaluation at which one fires, by its number."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "session.json"
        path.write_text(json.dumps(content), encoding="utf-8")
        # Every evaluation at which an alert fires is a failure, because the test states that none does.
        output = _promtool(program, "test", "rules", str(path), exit_codes=(0, 1))
    found = {}
    for time, series in _FAILURE.findall(output):
        labels = [{k: json.loads(v) for k, v in _LABEL.findall(each)} for each in _SERIES.findall(series)]
        found[round(_seconds(time) / INTERVAL)] = labels
    if not found and "SUCCESS" not in output:
        raise ConfigError(f"promtool could not evaluate the rules: {_reason(output)}")
    return found


def _checked_promtool(files: Sequence[Path]) -> str:
    """Return the path of promtool, which has accepted the rule files."""
    program = shutil.which("promtool")
    if program is None:
        raise ConfigError("promtool is not on PATH. Install Prometheus, for example `apt-get install prometheus`.")
    _promtool(program, "check", "rules", *map(str, files))
    return program


def _group_order(files: Sequence[Path]) -> list[str]:
    """Return the names of the groups, those with recording rules first; promtool's own order is random."""
    import yaml  # type: ignore[import-untyped]

    groups = [group for path in files for group in yaml.safe_load(read_text(path))["groups"]]
    groups.sort(key=lambda group: not any("record" in rule for rule in group.get("rules", ())))
    return [group["name"] for group in groups]


def _promtool(program: str, *arguments: str, exit_codes: Sequence[int] = (0,)) -> str:
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
    output = f"{done.stdout}\n{done.stderr}"
    if done.returncode not in exit_codes:
        raise ConfigError(f"promtool refused the rules: {_reason(output)}")
    return output


def _reason(output: str) -> str:
    """Return what promtool says after its first failure, as one line."""
    _, _, reason = output.partition("FAILED")
    return " ".join((reason or output).strip(" :\n").split())[:400]


def _seconds(text: str) -> float:
    return sum(float(number) * _UNITS[unit] for number, unit in re.findall(r"(\d+)(ms|[smhdwy])", text))


def _firings(
    fired: Mapping[int, Sequence[Mapping[str, str]]], start: int, step: int, n_evaluations: int
) -> tuple[Firing, ...]:
    """Return the firings, one per stretch of consecutive evaluations, by their beginning."""
    numbers: dict[tuple[tuple[str, str], ...], list[int]] = {}
    for number, alerts in sorted(fired.items()):
        for labels in alerts:
            numbers.setdefault(tuple(labels.items()), []).append(number)
    found = []
    for pairs, at in numbers.items():
        labels = dict(pairs)
        shown = {name: value for name, value in labels.items() if name not in _NOT_SHOWN}
        firsts = [n for place, n in enumerate(at) if place == 0 or at[place - 1] != n - 1]
        for first, after in zip(firsts, [*firsts[1:], n_evaluations + 1], strict=True):
            last = max(n for n in at if first <= n < after)
            resolved = None if last == n_evaluations - 1 else start + step * (last + 1)
            found.append(Firing(labels["alertname"], labels.get("severity", ""), shown, start + step * first, resolved))
    return tuple(sorted(found, key=lambda firing: (firing.fired, firing.alert)))
