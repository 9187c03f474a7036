"""Recorded sessions that grow again, line by line, and what an exporter says about them."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from peak_trade.core.time import NS_PER_SECOND
from peak_trade.journal.events import TERMINAL, Event, OrderEvent, OrderEventKind
from peak_trade.journal.files import CHECKPOINTS, EVENTS, MANIFEST, read_content
from peak_trade.observability.exporter import Exporter

RECORDED = Path(__file__).parents[1] / "sessions" / "recorded"
SESSIONS = sorted((RECORDED / "sessions").glob("*_*"))
EACH = pytest.mark.parametrize("recorded", SESSIONS, ids=[path.name.split("_")[2] for path in SESSIONS])
PAPER = SESSIONS[1]
"""A paper session with denials, a halt, a recovery and the halt after it."""

NOW = 1_800_000_000 * NS_PER_SECOND
Values = dict[tuple[str, frozenset[tuple[str, str]]], float]


def exporter_of(*folders: Path, now: int = NOW, label_session: bool = False) -> Exporter:
    """An exporter of these folders with a fixed clock."""
    return Exporter(folders, label_session=label_session, clock=lambda: now)


def text_of(exporter: Exporter) -> str:
    """The text that Prometheus reads."""
    return exporter.text().decode()


def reference_text(exporter: Exporter) -> str:
    """The same metrics, as prometheus_client writes them."""
    registry = CollectorRegistry(support_collectors_without_names=True)
    registry.register(exporter)
    return generate_latest(registry).decode()


def values_of(exporter: Exporter) -> Values:
    """Every series with its value."""
    families = list(exporter.collect())
    return {(each.name, frozenset(each.labels.items())): each.value for part in families for each in part.samples}


def value(exporter: Exporter, name: str, **labels: str) -> float | None:
    """The value of the one series of a metric with these labels, None without one."""
    found = [
        number
        for (series, own), number in values_of(exporter).items()
        if series == f"peak_trade_{name}" and labels.items() <= dict(own).items()
    ]
    assert len(found) <= 1, f"{len(found)} series of {name} {labels}"
    return found[0] if found else None


def is_counter(series: tuple[str, frozenset[tuple[str, str]]]) -> bool:
    """Whether a series must never fall."""
    return series[0].endswith(("_total", "_bucket", "_count", "_created"))


def counts_of(events: Iterable[Event]) -> dict[str, Counter[tuple[str, ...]]]:
    """Count what the counters count, from the events and without the exporter's code."""
    orders = [event for event in events if isinstance(event, OrderEvent)]
    fills = [event for event in orders if event.last_quantity > 0.0]
    denied = [event for event in orders if event.event is OrderEventKind.DENIED]
    return {
        "orders_total": Counter((event.side, event.event.lower()) for event in orders if event.event in TERMINAL),
        "order_denials_total": Counter((code,) for event in denied for code in event.reason.split(", ")),
        "order_rejections_total": Counter(
            (str(event.cause),) for event in orders if event.event is OrderEventKind.REJECTED
        ),
        "fills_total": Counter((str(event.side),) for event in fills),
        "alerts_total": Counter((event.code,) for event in events if event.kind == "alert"),
        "trading_state_changes_total": Counter(
            (str(event.cause),) for event in events if event.kind == "trading_state"
        ),
    }


def counters_of(exporter: Exporter, name: str, *labels: str) -> Counter[tuple[str, ...]]:
    """The counters of a metric that are not 0, by the values of these labels."""
    found: Counter[tuple[str, ...]] = Counter()
    for (series, own), number in values_of(exporter).items():
        if series == f"peak_trade_{name}" and number:
            found[tuple(dict(own)[label] for label in labels)] += int(number)
    return found


class GrowingSession:
    """A session in a folder of its own that gets the lines of a recorded one; a checkpoint follows its lines."""

    def __init__(self, recorded: Path, target: Path) -> None:
        self.folder = target
        target.mkdir(parents=True)
        shutil.copy(recorded / MANIFEST, target / MANIFEST)
        self._content = read_content(recorded)
        self._marks = (recorded / CHECKPOINTS).read_bytes().splitlines(keepends=True)
        self.size = len(self._content)
        self.grow(0)

    def grow(self, size: int) -> None:
        """Have the first bytes of the journal, and every checkpoint of the complete lines among them."""
        content = self._content[:size]
        (self.folder / EVENTS).write_bytes(content)
        n_lines = content.count(b"\n")
        kept = [mark for mark in self._marks if json.loads(mark)["sequence"] <= n_lines]
        (self.folder / CHECKPOINTS).write_bytes(b"".join(kept))
