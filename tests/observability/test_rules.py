"""Alerts: complete, about metrics that exist, and right in `promtool test rules`."""

from __future__ import annotations

import json
import re

import pytest
import yaml

from tests.docs.test_links import ROOT, anchors
from tests.observability import programs
from tests.observability.alert_cases import CASES, INTERVAL, KINDS, OBSERVABILITY, alerts, promtool_tests, rules
from tests.observability.promql import faults, known_series

RECORDED = {rule["record"]: rule["expr"] for rule in rules() if "record" in rule}
ALERTS = alerts()
REQUIRED = "drawdown daily_loss kill_switch feed_stale denial_burst rejection_burst exit_refused order_latency "
REQUIRED += "journal_unverified session_down exporter_down"


def snake(alert):
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", alert.removeprefix("PeakTrade")).lower()


def test_every_trouble_has_an_alert_and_every_alert_has_a_case():
    assert set(REQUIRED.split()) <= {snake(alert) for alert in ALERTS}
    assert [case.alert for case in CASES] == list(ALERTS)


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_has_a_severity_a_runbook_and_a_policy_for_missing_metrics(alert):
    rule = ALERTS[alert]
    assert rule["labels"]["severity"] in ("warning", "critical")
    assert rule["annotations"]["missing_data"] in ("resolves", "fires")
    path, _, anchor = rule["annotations"]["runbook_url"].partition("#")
    assert path.startswith("docs/obs/")
    assert anchor == alert.lower()
    assert anchor in anchors(ROOT / path)


@pytest.mark.parametrize("expression", [rule["expr"] for rule in rules()])
def test_a_rule_parses_and_names_exposed_metrics_and_labels(expression):
    assert faults(expression, known_series(RECORDED)) == []


@pytest.mark.parametrize(
    ("expression", "fault"),
    [
        ("rate(peak_trade_orders_total[5m]", "unclosed left parenthesis"),
        ("peak_trade_order_total", "nothing exposes peak_trade_order_total"),
        ('peak_trade_orders_total{code="x"}', "peak_trade_orders_total has no label code"),
        ('peak_trade_trading_state{state="stopped"}', "peak_trade_trading_state has no state stopped"),
        ("sum by (exchange) (peak_trade_equity_quote)", "no series of"),
        ("peak_trade_equity_quote / on (venue) peak_trade_equity_quote", "has venue"),
    ],
)
def test_a_wrong_expression_is_found(expression, fault):
    assert fault in "; ".join(faults(expression, known_series(RECORDED)))


def test_summaries_name_labels_that_their_series_have():
    series = known_series(RECORDED)
    for alert, rule in ALERTS.items():
        named = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]))
        assert all(named <= series[name] for name in series if name in rule["expr"]), alert


def test_prometheus_scrapes_and_evaluates_every_fifteen_seconds():
    config = yaml.safe_load((OBSERVABILITY / "prometheus.yml").read_text(encoding="utf-8"))
    assert config["global"]["scrape_interval"] == config["global"]["evaluation_interval"] == f"{INTERVAL}s"
    assert [job["job_name"] for job in config["scrape_configs"]] == ["peak_trade"]


@pytest.mark.long
@programs.needs("promtool")
def test_promtool_accepts_the_configuration_and_the_rules():
    done = programs.run("promtool", "check", "config", OBSERVABILITY / "prometheus.yml")
    assert done.returncode == 0, done.stderr
    done = programs.run(
        "promtool", "check", "rules", "--lint=all", "--lint-fatal", *(OBSERVABILITY / "rules").iterdir()
    )
    assert done.returncode == 0, done.stderr


def promtool_on_copies(tmp_path, tests, replaced=("", "")):
    """Run `promtool test rules` on copies of the rule files with one text replaced."""
    for path in (OBSERVABILITY / "rules").glob("*.yml"):
        text = path.read_text(encoding="utf-8").replace(*replaced) if replaced[0] else path.read_text(encoding="utf-8")
        (tmp_path / path.name).write_text(text, encoding="utf-8")
    content = {"rule_files": ["*.yml"], "evaluation_interval": f"{INTERVAL}s", "tests": tests}
    (tmp_path / "tests.json").write_text(json.dumps(content), encoding="utf-8")
    return programs.run("promtool", "test", "rules", tmp_path / "tests.json")


@pytest.mark.long
@programs.needs("promtool")
@pytest.mark.parametrize("kind", KINDS)
def test_every_alert_is_right_with_firing_quiet_missing_and_stale_series(kind, tmp_path):
    done = promtool_on_copies(tmp_path, promtool_tests(kind))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.long
@programs.needs("promtool")
@pytest.mark.parametrize(
    ("kind", "replaced"),
    [
        ("firing", ("_ratio > 0.10", "_ratio > 0.11")),
        ("quiet", ("increase15m >= 6", "increase15m >= 5")),
        ("missing", ("peak_trade_journal_verified == 0", "absent(peak_trade_journal_verified)")),
        ("stale", (' or absent(up{job="peak_trade"})', "")),
    ],
)
def test_a_changed_rule_fails_its_case(kind, replaced, tmp_path):
    assert promtool_on_copies(tmp_path, promtool_tests(kind), replaced).returncode == 1
