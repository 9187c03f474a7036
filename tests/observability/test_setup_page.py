"""The tables, the queries and the pictures of docs/obs/OBSERVABILITY_SETUP.md."""

from __future__ import annotations

import re

import pytest

from tests.observability import tables
from tests.observability.alert_cases import rules
from tests.observability.promql import faults, known_series

TEXT = tables.PAGE.read_text(encoding="utf-8")
SERIES = known_series({rule["record"]: rule["expr"] for rule in rules() if "record" in rule})


def test_the_tables_are_the_generated_ones():
    assert tables.with_tables(TEXT) == TEXT, "run `python -m tests.observability.tables`"


def test_a_changed_table_is_found():
    assert tables.with_tables(TEXT.replace("peak_trade_orders_open", "peak_trade_orders")) == TEXT
    assert tables.with_tables(TEXT.replace("PeakTradeDrawdown", "Drawdown")) == TEXT


QUERIES = re.findall(r"^\| [^|]+ \| `([^`]+)` \|$", TEXT.split("## Queries")[1].split("\n## ")[0], re.MULTILINE)


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_of_the_page_names_exposed_metrics(query):
    assert faults(query, SERIES) == []


def test_the_page_has_the_queries_and_five_commands():
    assert len(QUERIES) == 9
    commands = re.search(r"```console\n(.*?)```", TEXT, re.DOTALL)[1].splitlines()
    assert len(commands) == 5


def test_every_panel_preview_is_named_as_such():
    pictures = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", TEXT)
    assert sorted(pictures) == ["fleet.png", "live_trading.png"]
    assert all((tables.PAGE.parent / name).exists() for name in pictures)
    assert "panel preview, not Grafana's drawing" in TEXT
