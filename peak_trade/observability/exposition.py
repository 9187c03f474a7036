"""The metrics of several sessions as one exposition, with a bound on the number of its series.

It is written as text for every scrape, and as families of prometheus_client for other readers.
"""

from __future__ import annotations

import math
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.core import Metric as Family

from peak_trade.core.time import NS_PER_SECOND
from peak_trade.core.version import package_version
from peak_trade.journal.versions import JOURNAL_VERSION
from peak_trade.observability.figures import Labels, Observations, Series
from peak_trade.observability.metrics import BUILD, METRICS, OTHER, SESSION_LABEL, Merge, Metric, MetricKind

MAX_LABEL_SETS = 50
"""Number of sets of labels of sessions, the oldest first; the sessions of further sets are merged as `other`."""


@dataclass(frozen=True, slots=True)
class Reading:
    """The metrics of one session at one time; `started` is the time of its first line, ns UTC, 0 without one."""

    session_id: str
    labels: Labels
    started: int
    series: Mapping[Metric, Series]


@dataclass(slots=True)
class _Merged:
    value: float | Observations
    started: int


_Named = tuple[tuple[str, ...], int]
"""The values of the labels of a session, and its start."""


def families(readings: Sequence[Reading], *, label_session: bool = False) -> Iterator[Family]:
    """Yield the family of every metric in the order of METRICS.

    Parameters
    ----------
    readings : sequence of Reading
        Sessions with equal labels become one series, by the metric's rule.
    label_session : bool
        Whether the session's id is a label, so that every session has its own series.

    """
    named = _named(readings, label_session)
    for metric in METRICS:
        series = _merged(metric, named, [reading.series.get(metric, ()) for reading in readings])
        yield _family(metric, _labels(metric, label_session), series)


class Exposition:
    """The text of the metrics in the exposition format, as prometheus_client writes that of their `families`.

    The text of a metric is kept, and written again when one of its series has changed. Parameters as of `families`.
    """

    def __init__(self, *, label_session: bool = False) -> None:
        self._label_session = label_session
        self._texts = [_MetricText(metric, _labels(metric, label_session)) for metric in METRICS]

    def text(self, readings: Sequence[Reading]) -> bytes:
        """Return the metrics of sessions, UTF-8."""
        named = _named(readings, self._label_session)
        return b"".join([each.update(named, readings) for each in self._texts])


@dataclass(slots=True)
class _MetricText:
    """The text of a metric. `_shown` are the labels of its lines, by their values."""

    metric: Metric
    labels: Sequence[str]
    _named: list[_Named] = field(default_factory=list)
    _series: list[Series] | None = None
    _text: bytes = b""
    _shown: dict[tuple[str, ...], str] = field(default_factory=dict)

    def update(self, named: list[_Named], readings: Sequence[Reading]) -> bytes:
        """Return the text with these readings."""
        series = [reading.series.get(self.metric, ()) for reading in readings]
        if self._series != series or self._named != named:
            if self._named != named:
                self._shown.clear()
            self._named, self._series = named, series
            self._text = self._write(_merged(self.metric, named, series)).encode()
        return self._text

    def _write(self, merged: Mapping[tuple[str, ...], _Merged]) -> str:
        metric, name = self.metric, self.metric.name
        if metric.kind is MetricKind.GAUGE:
            lines = [self._line("", key, _number(each.value)) for key, each in merged.items()]
            return _heading(metric, name, "gauge") + "".join(lines)
        if metric.kind is MetricKind.COUNTER:
            lines = [self._line("", key, _number(each.value)) for key, each in merged.items()]
            text = _heading(metric, name, "counter") + "".join(lines)
            starts = [self._line("_created", key, each.started / NS_PER_SECOND) for key, each in merged.items()]
            created = _heading(metric, f"{name.removesuffix(_TOTAL)}_created", "gauge") if starts else ""
            return text + created + "".join(starts)
        lines = [_heading(metric, name, "histogram")]
        for key, each in merged.items():
            assert isinstance(each.value, Observations)
            buckets = _buckets(metric, each.value)
            lines += [self._line("_bucket", (*key, bound), count) for bound, count in buckets]
            if metric.buckets[0] >= 0.0:  # the sum of a histogram with negative observations is no counter
                lines += [self._line("_count", key, buckets[-1][1]), self._line("_sum", key, _number(each.value.total))]
        return "".join(lines)

    def _line(self, suffix: str, values: tuple[str, ...], value: float) -> str:
        labels = self._shown.get(values)
        if labels is None:  # no value needs an escape: see Labels.of and LABEL_VALUES
            pairs = sorted(zip((*self.labels, "le"), values, strict=False))
            labels = self._shown[values] = ",".join([f'{label}="{value}"' for label, value in pairs])
        name = self.metric.name.removesuffix(_TOTAL) + suffix if suffix else self.metric.name
        return f"{name}{{{labels}}} {_number_text(value)}\n"


_TOTAL = "_total"


def _heading(metric: Metric, name: str, kind: str) -> str:
    return f"# HELP {name} {metric.help}\n# TYPE {name} {kind}\n"


def _number_text(value: float) -> str:
    """Return a number as Go writes it, which is the notation of the format: 1.5e+06 from a million on."""
    text = repr(float(value))
    if -math.inf < value < 1e6:
        return text
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "+Inf" if value > 0.0 else "-Inf"
    point = text.find(".")
    if point < 0 or "e" in text:
        return text
    digits = f"{text[0]}.{text[1:point]}{text[point + 1 :]}".rstrip("0.")
    return f"{digits}e+{point - 1:02d}"


def _labels(metric: Metric, label_session: bool) -> tuple[str, ...]:
    return metric.all_labels + ((SESSION_LABEL,) if label_session and metric.is_of_session else ())


def _named(readings: Sequence[Reading], label_session: bool) -> list[_Named]:
    labels_of = _bounded(readings, label_session)
    return [(labels_of[reading.session_id], reading.started) for reading in readings]


def _merged(metric: Metric, named: list[_Named], series: Sequence[Series]) -> dict[tuple[str, ...], _Merged]:
    """Return the series of a metric of several sessions, by the values of all labels."""
    if metric is BUILD:
        return {(package_version(), platform.python_version(), str(JOURNAL_VERSION)): _Merged(1.0, 0)}
    merged: dict[tuple[str, ...], _Merged] = {}
    for (own, started), each in zip(named, series, strict=True):
        for labels, value in each:
            key = (*own[:3], *labels, *own[3:])
            known = merged.get(key)
            if known is None:
                merged[key] = _Merged(value, started)
            else:
                known.value = _merge(metric.merge, known.value, value)
                known.started = min(known.started, started)
    return merged


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
    """Return a value with one zero: -0.0 equals the 0.0 of a kept text, so both are written alike."""
    assert not isinstance(value, Observations)
    return value + 0.0


def _family(metric: Metric, labels: Sequence[str], series: Mapping[tuple[str, ...], _Merged]) -> Family:
    if metric.kind is MetricKind.COUNTER:
        counter = CounterMetricFamily(metric.name, metric.help, labels=labels, unit=metric.unit)
        for values, each in series.items():
            counter.add_metric(values, _number(each.value), created=each.started / NS_PER_SECOND)
        return counter
    if metric.kind is MetricKind.HISTOGRAM:
        histogram = HistogramMetricFamily(metric.name, metric.help, labels=labels, unit=metric.unit)
        for values, each in series.items():
            assert isinstance(each.value, Observations)
            histogram.add_metric(values, _buckets(metric, each.value), _number(each.value.total))
        return histogram
    gauge = GaugeMetricFamily(metric.name, metric.help, labels=labels, unit=metric.unit)
    for values, each in series.items():
        gauge.add_metric(values, _number(each.value))
    return gauge


def _buckets(metric: Metric, observed: Observations) -> list[tuple[str, float]]:
    bounds = (*map(str, metric.buckets), "+Inf")
    return list(zip(bounds, accumulate(map(float, observed.counts)), strict=True))
