"""Packed events and bars equal the lists and mappings that they stand for."""

from __future__ import annotations

import math
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peak_trade.diff.order_histories import BarValues
from peak_trade.diff.packed import BarTable, PackedEvents
from peak_trade.journal.events import EVENT_CLASSES, BarEvent, LatencyEvent, SignalEvent
from tests.examples import examples
from tests.journal.test_codec import events_of

numbers = st.floats(allow_nan=False)
times = st.integers(-(2**62), 2**62)
bars = st.builds(BarEvent, times, st.sampled_from(["A/B", "C/D"]), numbers, numbers, numbers, numbers, numbers)
signals = st.builds(SignalEvent, times, st.just("a"), st.just("A/B"), numbers)


@given(st.lists(bars | signals, max_size=12))
def test_packed_events_are_the_events(events):
    packed = PackedEvents(events)
    assert list(packed) == events == [packed[n] for n in range(len(packed))]
    assert packed[1:-1] == events[1:-1]
    assert list(reversed(packed)) == events[::-1]
    with pytest.raises(IndexError):
        packed[len(events)]


@given(st.lists(st.one_of([events_of(event_class) for event_class in EVENT_CLASSES]), max_size=8))
@settings(max_examples=examples(20))
def test_an_event_of_any_kind_comes_back_as_it_was(events):
    assert repr(list(PackedEvents(events))) == repr(events)


@given(st.lists(st.tuples(st.integers(0, 9), st.builds(BarValues, *[numbers] * 5)), max_size=20))
def test_a_table_of_bars_is_a_mapping_in_order_of_time(puts):
    table, plain = BarTable(), {}
    for time, bar in puts:
        table.put(time, bar)
        plain[time] = bar
    assert dict(table) == plain
    assert list(table) == sorted(plain)
    assert [table.get(time) for time in range(11)] == [plain.get(time) for time in range(11)]
    assert table.keys() & {1, 2, 3} == plain.keys() & {1, 2, 3}


def test_a_volume_that_is_not_recorded_stays_nan():
    (bar,) = PackedEvents([BarEvent(1, "A/B", 1.0, 1.0, 1.0, 1.0, math.nan)])
    assert isinstance(bar, BarEvent)
    assert math.isnan(bar.volume)


@pytest.mark.parametrize(
    ("event_of", "n_bytes"),
    [
        (lambda n: BarEvent(n, "A/B", n + 0.1, n + 0.2, n + 0.3, n + 0.4, n + 0.5), 80),
        (lambda n: SignalEvent(n, "".join(["a", "b"]), "".join(["A/", "B"]), n + 0.5), 55),
        (lambda n: LatencyEvent(n, "".join(["b", "ar"]), n + 0.5, ""), 55),
    ],
    ids=["bar", "signal", "latency"],
)
def test_an_event_takes_less_than_a_tenth_of_a_kilobyte(event_of, n_bytes):
    """The numbers, nine bytes for its place, and a reference for each text; equal texts are kept once."""
    n_events = 5_000
    tracemalloc.start()
    try:
        packed = PackedEvents(event_of(n) for n in range(n_events))
        used = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert len(packed) == n_events
    assert used < n_bytes * n_events
