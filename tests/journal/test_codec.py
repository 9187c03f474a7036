"""Events go to canonical JSON lines and come back as they were."""

from __future__ import annotations

import json
import math
from enum import StrEnum
from typing import Any, get_args, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peak_trade.core.errors import SessionError
from peak_trade.core.values import Denial
from peak_trade.journal.codec import chain_hash, decode_event, encode_event, encode_line, read_line, split_line
from peak_trade.journal.events import EVENT_CLASSES, BarEvent, Event, Levels
from tests.examples import examples

texts = st.text(max_size=8)
floats = st.floats()


def _values(hint: Any) -> st.SearchStrategy[Any]:
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return st.sampled_from(list(hint))
    enum = next((part for part in get_args(hint) if isinstance(part, type) and issubclass(part, StrEnum)), None)
    if enum is not None:
        return st.none() | st.sampled_from(list(enum))
    if hint == tuple[str, ...]:
        return st.lists(texts, max_size=2).map(tuple)
    if Denial in get_args(hint):
        return st.lists(st.builds(Denial, texts, floats, floats), max_size=2).map(tuple)
    if hint == Levels:
        return st.lists(st.tuples(floats, floats), max_size=2).map(tuple)
    if float in get_args(hint):
        return st.none() | floats
    if str in get_args(hint):
        return texts
    return {float: floats, int: st.integers(-(2**62), 2**62), str: texts, bool: st.booleans()}[hint]


def events_of(event_class: type[Event]) -> st.SearchStrategy[Event]:
    hints = get_type_hints(event_class)
    return st.builds(event_class, **{name: _values(hints[name]) for name in event_class.__struct_fields__})


@pytest.mark.parametrize("event_class", EVENT_CLASSES, ids=lambda c: c.kind)
@given(data=st.data())
@settings(max_examples=examples(15), deadline=None)
def test_an_event_comes_back_from_its_line_as_it_was(event_class, data):
    event = data.draw(events_of(event_class))
    encoded = encode_event(event)
    assert repr(decode_event(json.loads(encoded))) == repr(event)
    assert json.dumps(json.loads(encoded), sort_keys=True, separators=(",", ":"), allow_nan=False).encode() == encoded
    line = encode_line(encoded, chain_hash("0" * 64, encoded, 7, 8), 7, 8)
    again = read_line(line[:-1], "here")
    assert (again.sequence, again.ts_recorded, repr(again.event)) == (7, 8, repr(event))
    parsed = json.loads(line)
    assert list(parsed) == sorted(parsed)


def test_numbers_that_json_lacks_are_written_as_words():
    event = BarEvent(1, "BTC/USDT", math.nan, math.inf, -math.inf, 1.0, 0.0)
    record = json.loads(encode_event(event))
    assert (record["open"], record["high"], record["low"]) == ("NaN", "Infinity", "-Infinity")


def test_a_line_that_is_none_is_refused():
    assert split_line(b'{"sequence":1}') is None
    with pytest.raises(SessionError, match=r"events\.jsonl:3: this is not a line"):
        read_line(b"{}", "events.jsonl:3")


def test_an_unknown_event_names_the_nearest():
    with pytest.raises(SessionError, match="Did you mean order"):
        decode_event({"kind": "ordr"})


def test_an_event_with_a_field_too_many_names_it():
    record = json.loads(encode_event(BarEvent(1, "BTC/USDT", 1.0, 1.0, 1.0, 1.0, 0.0)))
    with pytest.raises(SessionError, match="qty"):
        decode_event(record | {"qty": 1})
