"""The committed dashboards: generated, about metrics that exist, and in line with the rules of Grafana's linter.

The rules are those of github.com/grafana/dashboard-linter, by their names there. The rules on logs do not apply.
"""

from __future__ import annotations

import json
import re

import promql_parser
import pytest

from peak_trade.observability.metrics import METRICS
from tests.observability.alert_cases import OBSERVABILITY, rules
from tests.observability.dashboards import dashboard_json
from tests.observability.panels import BOARDS
from tests.observability.promql import expanded, faults, known_series

FOLDER = OBSERVABILITY / "grafana" / "dashboards"
DASHBOARDS = {board.uid: json.loads((FOLDER / f"{board.uid}.json").read_text(encoding="utf-8")) for board in BOARDS}
SERIES = known_series({rule["record"]: rule["expr"] for rule in rules() if "record" in rule})
OF_ALERTS = "ALERTS{"
"""Alerts are series of Prometheus, not of a scraped job: the rules that every selector has a job and an instance do
not apply to them."""
DECLARED = {metric.name for metric in METRICS}
SHOWN_SUBJECTS = "orders_total pnl_quote equity_quote drawdown_ratio order_denials_total exposure_ratio "
SHOWN_SUBJECTS += "limit_usage_ratio order_latency_seconds feed_age_seconds"


def panels_of(dashboard):
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


PANELS = [(uid, panel) for uid, dashboard in DASHBOARDS.items() for panel in panels_of(dashboard)]
IDS = [f"{uid}: {panel['title']}" for uid, panel in PANELS]
TARGETS = [(panel, target) for _, panel in PANELS for target in panel["targets"]]
each_dashboard = pytest.mark.parametrize("dashboard", DASHBOARDS.values(), ids=DASHBOARDS)
each_panel = pytest.mark.parametrize("panel", [panel for _, panel in PANELS], ids=IDS)


def variables(dashboard):
    return {variable["name"]: variable for variable in dashboard["templating"]["list"]}


def nodes(expression, kind):
    found = []
    promql_parser.walk(promql_parser.parse(expanded(expression)), found.append)
    return [node for node in found if isinstance(node, kind)]


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.uid)
def test_the_committed_dashboard_is_the_generated_one(board):
    committed = (FOLDER / f"{board.uid}.json").read_text(encoding="utf-8")
    assert committed == dashboard_json(board), "run `python -m tests.observability.dashboards`"


def test_every_file_in_the_folder_is_generated():
    assert {path.stem for path in FOLDER.iterdir()} == set(DASHBOARDS)


def test_the_first_dashboard_shows_what_a_trader_watches():
    text = json.dumps(DASHBOARDS["live_trading"])
    assert [name for name in SHOWN_SUBJECTS.split() if f"peak_trade_{name}" not in text] == []


def test_every_query_parses_and_names_exposed_metrics_and_labels():
    assert [fault for _, target in TARGETS for fault in faults(target["expr"], SERIES)] == []


def test_every_legend_names_labels_that_its_query_returns():
    for panel, target in TARGETS:
        named = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
        used = {selector.name for selector in nodes(target["expr"], promql_parser.VectorSelector)}
        assert named <= set().union(*(SERIES[name] for name in used)), panel["title"]


@each_dashboard
def test_template_rules(dashboard):
    source = variables(dashboard)["datasource"]
    assert (source["type"], source["query"], source["label"]) == ("datasource", "prometheus", "Data source")
    assert {"job", "instance"} <= set(variables(dashboard))
    for name, variable in variables(dashboard).items():
        if name == "datasource":
            continue
        assert variable["type"] == "query"
        assert variable["datasource"]["uid"] == "${datasource}"
        assert variable["label"] == name.title()
        assert variable["multi"] is True
        assert variable["allValue"] == ".+"
        assert variable["refresh"] == 2, "template-on-time-change-reload-rule"
        metric, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["query"]).groups()
        assert metric in DECLARED
        assert label in SERIES[metric]


@each_dashboard
def test_uneditable_dashboard(dashboard):
    assert dashboard["editable"] is False
    assert dashboard["refresh"] == "15s"
    assert dashboard["uid"].startswith("peak_trade_")


@each_dashboard
def test_panels_have_distinct_numbers_and_do_not_overlap(dashboard):
    numbers = [panel["id"] for panel in dashboard["panels"]]
    assert len(numbers) == len(set(numbers))
    cells = [
        (x, y)
        for panel in dashboard["panels"]
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24


@each_panel
def test_panel_rules(panel):
    assert panel["datasource"]["uid"] == "${datasource}", "panel-datasource-rule"
    assert panel["targets"], "panel-no-targets-rule"
    assert panel["title"], "panel-title-description-rule"
    assert panel["description"], "panel-title-description-rule"
    assert panel["fieldConfig"]["defaults"]["unit"] in UNITS, "panel-units-rule"


UNITS = {"none", "short", "percentunit", "locale", "opm", "s", "dateTimeAsIso"}
"""The units in use, all of which are in the list of the linter's panel-units-rule."""


@each_panel
def test_every_panel_has_a_legend_and_thresholds(panel):
    steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
    assert steps[0]["value"] is None
    assert len(steps) >= 2
    values = [step["value"] for step in steps[1:]]
    assert values == sorted(values)
    assert all(target["legendFormat"] for target in panel["targets"])
    if panel["type"] == "stat":
        assert panel["options"]["textMode"] == "value_and_name"
    else:
        assert panel["options"]["legend"]["showLegend"] is True


def test_target_job_rule_and_target_instance_rule():
    for panel, target in TARGETS:
        if OF_ALERTS in target["expr"]:
            continue
        for selector in nodes(target["expr"], promql_parser.VectorSelector):
            matchers = {matcher.name: (matcher.op, matcher.value) for matcher in selector.matchers.matchers}
            for name in ("job", "instance"):
                assert matchers[name] == (promql_parser.MatchOp.Re, f"${name}"), panel["title"]


def test_target_counter_agg_rule():
    for panel, target in TARGETS:
        ranged = [
            argument.vector_selector.name
            for call in nodes(target["expr"], promql_parser.Call)
            if call.func.name in ("rate", "irate", "increase")
            for argument in call.args
        ]
        counters = [s.name for s in nodes(target["expr"], promql_parser.VectorSelector) if s.name.endswith("_total")]
        assert sorted(counters) == sorted(name for name in ranged if name.endswith("_total")), panel["title"]


def test_target_rate_interval_rule():
    """Every rate has the window of the chosen range; an increase over a stated window is no rate."""
    windows = {window for _, target in TARGETS for window in re.findall(r"rate\([^\[]*\[([^\]]+)\]", target["expr"])}
    assert windows == {"$__rate_interval"}
