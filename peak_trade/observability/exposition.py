"""The metrics of several sessions as families of prometheus_client, with a bound on their number, and their server."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.core import Metric as Family
from prometheus_client.registry import Collector

from peak_trade.core.network import unopened
from peak_trade.core.time import NS_PER_SECOND
from peak_trade.core.version import package_version
from peak_trade.journal.versions import JOURNAL_VERSION
from peak_trade.observability.figures import Labels, Observations, Sample
from peak_trade.observability.metrics import BUILD, METRICS, OTHER, SESSION_LABEL, Merge, Metric, MetricKind

MAX_LABEL_SETS = 50
"""Number of sets of labels of sessions, the oldest first; the sessions of further sets are merged as `other`."""


@dataclass(frozen=True, slots=True)
class Reading:
    """The metrics of one session at one time; `started` is the time of its first line, ns UTC, 0 without one."""

    session_id: str
    labels: Labels
    started: int
    samples: Sequence[Sample]


@dataclass(slots=True)
class _Series:
    value: float | Observations
    started: int


def families(readings: Sequence[Reading], *, label_session: bool = False) -> Iterator[Family]:
    """Yield the family of every metric in the order of METRICS.

    Parameters
    ----------
    readings : sequence of Reading
        Sessions with equal labels become one series, by the metric's rule.
    label_session : bool
        Whether the session's id is a label, so that every session has its own series.

    """
    merged: dict[Metric, dict[tuple[str, ...], _Series]] = {metric: {} for metric in METRICS}
    labels_of = _bounded(readings, label_session)
    for reading in readings:
        own = labels_of[reading.session_id]
        for metric, labels, value in reading.samples:
            key = (*own[:3], *labels, *own[3:])
            series = merged[metric].get(key)
            if series is None:
                merged[metric][key] = _Series(value, reading.started)
            else:
                series.value = _merge(metric.merge, series.value, value)
                series.started = min(series.started, reading.started)
    build = (package_version(), platform.python_version(), str(JOURNAL_VERSION))
    merged[BUILD][build] = _Series(1.0, 0)
    for metric in METRICS:
        labels = metric.all_labels + ((SESSION_LABEL,) if label_session and metric.is_of_session else ())
        yield _family(metric, labels, merged[metric])


def _bounded(readings: Sequence[Reading], label_session: bool) -> dict[str, tuple[str, ...]]:
    """Return the values of the labels of each session, by its id."""
    found: dict[str, tuple[str, ...]] = {}
    known: set[tuple[str, ...]] = set()
    for reading in sorted(readings, key=lambda reading: (reading.started, reading.session_id)):
        own = (*reading.labels, *((Labels.of(reading.session_id, "", "").mode,) if label_session else ()))
        if own not in known and len(known) >= MAX_LABEL_SETS:
            own = (reading.labels.mode, *[OTHER] * (len(own) - 1))
        known.add(own)
        found[reading.session_id] = own
    return found


def _merge(rule: Merge, one: float | Observations, other: float | Observations) -> float | Observations:
    if isinstance(one, Observations) and isinstance(other, Observations):
        return one + other
    one, other = _number(one), _number(other)
    return {Merge.SUM: one + other, Merge.MAX: max(one, other), Merge.MIN: min(one, other)}[rule]


def _number(value: float | Observations) -> float:
    assert not isinstance(value, Observations)
    return value


def _family(metric: Metric, labels: Sequence[str], series: Mapping[tuple[str, ...], _Series]) -> Family:
    if metric.kind is MetricKind.COUNTER:
        counter = CounterMetricFamily(metric.name, metric.help, labels=labels, unit=metric.unit)
        for values, each in series.items():
            counter.add_metric(values, _number(each.value), created=each.started / NS_PER_SECOND)
        return counter
    if metric.kind is MetricKind.HISTOGRAM:
        histogram = HistogramMetricFamily(metric.name, metric.help, labels=labels, unit=metric.unit)
        for values, each in series.items():
            assert isinstance(each.value, Observations)
            histogram.add_metric(values, _buckets(metric, each.value), each.value.total)
        return histogram
    gauge = GaugeMetricFamily(metric.name, metric.help, labels=labels, unit=metric.unit)
    for values, each in series.items():
        gauge.add_metric(values, _number(each.value))
    return gauge


def _buckets(metric: Metric, observed: Observations) -> list[tuple[str, float]]:
    bounds = (*map(str, metric.buckets), "+Inf")
    return list(zip(bounds, accumulate(map(float, observed.counts)), strict=True))


@contextmanager
def serving(collector: Collector, host: str, port: int, option: str) -> Iterator[int]:
    """Serve the metrics of a collector in a thread, and yield the port; port 0 takes a free one.

    Raises
    ------
    ConfigError
        If the port is taken or the host is not one of this machine; `option` names the option to change.

    """
    registry = CollectorRegistry(support_collectors_without_names=True)
    registry.register(collector)
    try:
        server, thread = start_http_server(port, host, registry)
    except (OSError, UnicodeError) as error:
        raise unopened(host, port, option, error) from None
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
