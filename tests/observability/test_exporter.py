"""The counters are the journal's counts, whatever the exporter and the session went through."""

from __future__ import annotations

import math
import random
import shutil

import pytest

from peak_trade.journal.events import BarEvent
from peak_trade.journal.files import read_events
from peak_trade.journal.telemetry import Retention, tidy
from peak_trade.observability.metrics import LABEL_VALUES, METRICS, OTHER
from peak_trade.sessions.store import config_of, summary
from tests.examples import mostly_long
from tests.observability.following import (
    EACH,
    RECORDED,
    SESSIONS,
    GrowingSession,
    counters_of,
    counts_of,
    exporter_of,
    is_counter,
    reference_text,
    text_of,
    value,
    values_of,
)


@pytest.fixture
def workspace(home):
    """A workspace with the key of the recorded sessions and no session."""
    shutil.copytree(RECORDED / "keys", home / "keys")
    return home


@pytest.fixture
def growing(workspace, recorded):
    """A recorded session that grows again."""
    return GrowingSession(recorded, workspace / "sessions" / recorded.name)


@EACH
def test_the_counters_of_a_session_are_the_counts_of_its_journal(workspace, recorded):
    exporter, events = exporter_of(recorded), read_events(recorded)
    counts = counts_of(events)
    assert sum(counts["orders_total"].values()) > 20
    for name, expected in counts.items():
        labels = next(metric.labels for metric in METRICS if metric.short_name == name)
        assert counters_of(exporter, name, *labels) == expected, name
    fills = [event for event in events if event.kind == "order" and event.last_quantity > 0.0]
    notional = sum(event.last_quantity * event.last_price for event in fills)
    total = sum(number for (name, _), number in values_of(exporter).items() if name.endswith("notional_quote_total"))
    assert math.isclose(total, notional, rel_tol=1e-12)
    assert math.isclose(value(exporter, "fees_quote_total"), sum(event.fee for event in fills), rel_tol=1e-12)
    bars = [event for event in events if isinstance(event, BarEvent)]
    assert value(exporter, "last_bar_timestamp_seconds") == bars[-1].ts_event / 1e9
    assert value(exporter, "slippage_bps_bucket", le="+Inf") == len(fills)
    assert value(exporter, "orders_open") == 0
    assert value(exporter, "journal_verified") == 1


@EACH
def test_equity_is_that_of_the_session_and_its_parts_add_up(workspace, recorded):
    exporter = exporter_of(recorded)
    equity = value(exporter, "equity_quote")
    assert equity == pytest.approx(summary(recorded).equity, rel=1e-12)
    gain = value(exporter, "pnl_quote", kind="realised") + value(exporter, "pnl_quote", kind="unrealised")
    assert gain == pytest.approx(equity - config_of(recorded).trading.initial_cash, rel=1e-9)


@pytest.mark.parametrize(
    ("recorded", "seed"),
    mostly_long([(path, seed) for seed in range(12) for path in SESSIONS], 1),
    ids=lambda part: getattr(part, "name", str(part))[16:22],
)
def test_counters_never_fall_and_a_restart_of_the_exporter_changes_nothing(growing, seed):
    """The journal grows by pieces that end anywhere, also within a line; the session is at times interrupted."""
    chance = random.Random(seed)
    exporter = exporter_of(growing.folder)
    before = values_of(exporter)
    for size in [*sorted(chance.randrange(growing.size) for _ in range(12)), growing.size]:
        growing.grow(size)
        now = values_of(exporter)
        assert before.keys() >= {series for series in now if is_counter(series)}, "a counter that did not start at 0"
        assert all(now[series] >= before[series] for series in before if is_counter(series))
        assert text_of(exporter) == text_of(exporter_of(growing.folder)) == reference_text(exporter)
        before = now
    assert (
        counters_of(exporter, "orders_total", "side", "status")
        == counts_of(read_events(growing.folder))["orders_total"]
    )


@EACH
def test_a_compressed_journal_has_the_same_metrics(workspace, growing, recorded):
    growing.grow(growing.size)
    exporter = exporter_of(growing.folder)
    text = text_of(exporter)
    tidy(growing.folder.parent, Retention(compress_after_days=0.0), 2**62, lambda: pytest.fail("nothing is deleted"))
    assert not (growing.folder / "events.jsonl").exists()
    assert text_of(exporter) == text == text_of(exporter_of(growing.folder))


def test_every_value_of_a_label_is_in_its_list(workspace):
    by_name = {metric.name: metric for metric in METRICS if metric.is_of_session}
    for (name, labels), number in values_of(exporter_of(*SESSIONS)).items():
        for label in by_name[name].labels if name in by_name else ():
            assert dict(labels)[label] in LABEL_VALUES[f"{by_name[name].short_name} {label}"]
            assert dict(labels)[label] != OTHER or number == 0.0, "recorded sessions have no value outside the lists"
