"""The names, units, labels and texts of the metrics follow the rules of Prometheus."""

import re

import pytest

from peak_trade.observability.metrics import (
    LABEL_VALUES,
    METRICS,
    SESSION_LABEL,
    SESSION_LABELS,
    Merge,
    Metric,
    MetricKind,
)

BASE_UNITS = {"", "seconds", "ratio", "quote", "bps"}
ABBREVIATED = {"ms", "us", "ns", "sec", "secs", "min", "minutes", "hours", "pct", "percent", "usd", "num", "cnt"}
RESERVED_ENDS = ("_count", "_sum", "_bucket", "_created")


def faults(metric: Metric) -> list[str]:
    """Return what is wrong with a metric by https://prometheus.io/docs/practices/naming/ and promtool's linter."""
    words = metric.name.split("_")
    is_counter, suffix = metric.kind is MetricKind.COUNTER, metric.name.removesuffix("_total")
    checks = {
        "has a name of lower-case words": re.fullmatch(r"peak_trade(_[a-z]+)+", metric.name),
        "ends in _total if it is a counter, and only then": metric.name.endswith("_total") is is_counter,
        "does not end as a part of a histogram does": not suffix.endswith(RESERVED_ENDS),
        "has a base unit": metric.unit in BASE_UNITS,
        "ends in its unit": not metric.unit or suffix.endswith(f"_{metric.unit}"),
        "names no abbreviated or derived unit": not ABBREVIATED & set(words),
        "does not name its type": not {"gauge", "counter", "histogram"} & set(words),
        "has labels of lower-case words": all(re.fullmatch("[a-z]+(_[a-z]+)*", label) for label in metric.all_labels),
        "has no reserved label": not {"le", "quantile", "job", "instance", SESSION_LABEL} & set(metric.all_labels),
        "does not repeat a label in its name": not set(metric.labels) & set(words) - {"limit", "session", "state"},
        "has no label twice": len(set(metric.all_labels)) == len(metric.all_labels),
        "has a sentence of help": re.fullmatch(r"[A-Z1].*[^ ]\.", metric.help) and "\n" not in metric.help,
        "names its event": metric.event,
        "has increasing buckets if it is a histogram": list(metric.buckets) == sorted(set(metric.buckets))
        and bool(metric.buckets) is (metric.kind is MetricKind.HISTOGRAM),
        "is added up if it is not a gauge": metric.kind is MetricKind.GAUGE or metric.merge is Merge.SUM,
    }
    return [rule for rule, holds in checks.items() if not holds]


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_a_metric_follows_the_naming_rules(metric):
    assert faults(metric) == []


@pytest.mark.parametrize(
    ("name", "kind", "unit", "rule"),
    [
        ("orders", MetricKind.COUNTER, "", "ends in _total if it is a counter, and only then"),
        ("open_total", MetricKind.GAUGE, "", "ends in _total if it is a counter, and only then"),
        ("latency_ms", MetricKind.GAUGE, "", "names no abbreviated or derived unit"),
        ("latency", MetricKind.GAUGE, "seconds", "ends in its unit"),
        ("feedAge", MetricKind.GAUGE, "", "has a name of lower-case words"),
        ("fills_sum", MetricKind.GAUGE, "", "does not end as a part of a histogram does"),
        ("mode", MetricKind.GAUGE, "", "does not repeat a label in its name"),
        ("waits", MetricKind.HISTOGRAM, "", "has increasing buckets if it is a histogram"),
    ],
)
def test_the_rules_find_a_fault(name, kind, unit, rule):
    labels = ("mode",) if name == "mode" else ()
    assert rule in faults(Metric(name, kind, "A text.", "bar", labels, unit))


def test_the_table_has_every_metric_once_and_a_closed_list_for_every_label():
    assert len({metric.name for metric in METRICS}) == len(METRICS)
    labelled = {f"{metric.short_name} {label}" for metric in METRICS if metric.is_of_session for label in metric.labels}
    assert labelled == LABEL_VALUES.keys()
    assert all(len(set(values)) == len(values) for values in LABEL_VALUES.values())
    assert all(metric.all_labels[:3] == SESSION_LABELS for metric in METRICS if metric.is_of_session)
