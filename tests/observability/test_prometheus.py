"""A real Prometheus scrapes running sessions: its answers are the journal's counts, and no panel is empty."""

from __future__ import annotations

import math
from collections import Counter

import pytest

from peak_trade.journal.events import TERMINAL, OrderEvent
from peak_trade.journal.files import read_events
from tests.observability import programs
from tests.observability.panels import BOARDS, with_matchers
from tests.observability.promql import expanded
from tests.observability.scraping import WRITTEN, scraped

pytestmark = [pytest.mark.long, programs.needs("prometheus")]
VARIABLES = ("job", "instance", "mode", "strategy", "symbol")


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory):
    with scraped(tmp_path_factory.mktemp("scraped")) as found:
        yield found


def asked(query):
    """The query as Grafana sends it when every variable is All; a rate spans at least four scrapes."""
    text = with_matchers(query.expression).replace("$__rate_interval", "10s")
    for name in VARIABLES:
        text = text.replace(f"${name}", ".+")
    return expanded(text)


PANELS = [(board.uid, panel) for board in BOARDS for row in board.rows.values() for panel in row]


def test_the_orders_that_prometheus_counts_are_those_of_the_journals(prometheus):
    for folder in sorted((prometheus.home / "sessions").glob("2*")):
        events = [event for event in read_events(folder) if isinstance(event, OrderEvent)]
        counts = Counter((event.side, event.event.lower()) for event in events if event.event in TERMINAL)
        mode = folder.name.split("_")[2]
        found = prometheus.query(f'peak_trade_orders_total{{mode="{mode}"}} > 0')
        assert {(labels["side"], labels["status"]): value for labels, value in found} == counts
        assert sum(counts.values()) > 0


def test_prometheus_saw_the_sessions_run(prometheus):
    running = {labels["mode"]: values for labels, values in prometheus.query_range("peak_trade_session_running")}
    assert {mode for mode, values in running.items() if [value for _, value in values][:5] == ["1"] * 5} == {
        "paper",
        "testnet",
    }
    counts = [float(value) for _, value in prometheus.query_range("sum(peak_trade_orders_total)")[0][1]]
    assert counts == sorted(counts)
    assert len(set(counts)) > 5


@pytest.mark.parametrize(("uid", "panel"), PANELS, ids=[f"{uid}: {panel.title}" for uid, panel in PANELS])
def test_no_panel_is_empty(prometheus, uid, panel):
    for query in panel.queries:
        series = prometheus.query_range(asked(query))
        values = [float(value) for _, pairs in series for _, value in pairs]
        assert [value for value in values if math.isfinite(value)], query.expression


def test_the_alerts_of_the_planted_troubles_fire(prometheus):
    fired = {labels["alertname"] for labels, _ in prometheus.query_range('ALERTS{alertstate="firing"}')}
    assert fired >= {
        "PeakTradeExitRefused",
        "PeakTradeKillSwitch",
        "PeakTradePositionMismatch",
        "PeakTradeRejectionBurst",
    }
    assert "PeakTradeExporterDown" not in fired
    rules = prometheus.get("rules")["groups"]
    assert {rule["health"] for group in rules for rule in group["rules"]} == {"ok"}


def test_no_scrape_failed(prometheus):
    (target,) = prometheus.get("targets")["activeTargets"]
    assert (target["health"], target["lastError"]) == ("up", "")
    assert WRITTEN in {folder.name for folder in (prometheus.home / "sessions").iterdir()}
