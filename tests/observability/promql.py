"""What is wrong with a PromQL expression: its syntax, or a metric, label or label value that nothing exposes."""

from __future__ import annotations

import re
from typing import Any

import promql_parser

from peak_trade.observability.metrics import LABEL_VALUES, METRICS, SESSION_LABEL, Metric, MetricKind

SCRAPED = {"job", "instance"}
"""Labels that Prometheus adds to every series that it scrapes."""

OF_PROMETHEUS: dict[str, set[str]] = {"up": SCRAPED, "ALERTS": {"alertname", "alertstate", "severity"}}
"""Series that Prometheus itself writes, and their labels."""

VARIABLES = {"$__rate_interval": "1m", "$__interval": "15s", "$__range": "1h"}
"""Variables of Grafana that stand for a duration, with the value for which an expression is parsed."""


def exposed(metric: Metric) -> dict[str, set[str]]:
    """Return the series of a metric with their labels; a classic histogram has one for its buckets and two others."""
    labels = {*metric.all_labels, *SCRAPED} | ({SESSION_LABEL} if metric.is_of_session else set())
    if metric.kind is not MetricKind.HISTOGRAM:
        return {metric.name: labels}
    return {f"{metric.name}_bucket": labels | {"le"}, f"{metric.name}_count": labels, f"{metric.name}_sum": labels}


def known_series(recorded: dict[str, str]) -> dict[str, set[str]]:
    """Return every series with its labels; `recorded` are the recording rules, name to expression."""
    series = dict(OF_PROMETHEUS)
    for metric in METRICS:
        series |= exposed(metric)
    for name, expression in recorded.items():
        series[name] = {label for used in selectors(expression) for label in series[used.name]}
    return series


def expanded(expression: str) -> str:
    """Return an expression of a dashboard without Grafana's variables for durations."""
    for name, value in VARIABLES.items():
        expression = expression.replace(name, value)
    return expression


def selectors(expression: str) -> list[Any]:
    """Return the selectors of series in an expression; ValueError if it does not parse."""
    return [node for node in _nodes(expression) if isinstance(node, promql_parser.VectorSelector)]


def faults(expression: str, series: dict[str, set[str]]) -> list[str]:
    """Return what is wrong with an expression whose series must be among `series`."""
    try:
        nodes = _nodes(expanded(expression))
    except ValueError as error:
        return [f"{expression}: {error}"]
    found, available = [], set()
    for node in nodes:
        if isinstance(node, promql_parser.VectorSelector):
            found += _faults_of_selector(node, series)
            available |= series.get(node.name, set())
    for node in nodes:
        found += [f"no series of {expression} has {label}" for label in _labels_of(node) if label not in available]
    return found


def _faults_of_selector(node: Any, series: dict[str, set[str]]) -> list[str]:
    if node.name not in series:
        return [f"nothing exposes {node.name}"]
    found = []
    for matcher in node.matchers.matchers:
        if matcher.name not in series[node.name]:
            found.append(f"{node.name} has no label {matcher.name}")
        found += [
            f"{node.name} has no {matcher.name} {value}"
            for value in re.split(r"\|", matcher.value)
            if "$" not in value and value not in _values_of(node.name, matcher.name, value)
        ]
    return found


def _values_of(series: str, label: str, value: str) -> tuple[str, ...]:
    """Return the values that a label can have; the given one if nothing bounds it."""
    return LABEL_VALUES.get(f"{series.removeprefix('peak_trade_')} {label}", (value,))


def _labels_of(node: Any) -> list[str]:
    if isinstance(node, promql_parser.AggregateExpr) and node.modifier is not None:
        return list(node.modifier.labels)
    if isinstance(node, promql_parser.BinaryExpr) and node.modifier is not None:
        matching = node.modifier.matching
        return [*(matching.labels if matching is not None else ()), *(node.modifier.group_labels or ())]
    return []


def _nodes(expression: str) -> list[Any]:
    found: list[Any] = []
    promql_parser.walk(promql_parser.parse(expression), found.append)
    return found
