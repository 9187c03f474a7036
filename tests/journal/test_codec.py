"""Events go to canonical JSON lines and come back as they were."""

from __future__ import annotations

import json
import math
from contextlib import suppress
from dataclasses import replace
from enum import StrEnum
from hashlib import sha256
from typing import Any, get_args, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peak_trade.core.errors import SessionError
from peak_trade.core.values import Denial
from peak_trade.journal.codec import (
    chain_hash,
    decode_event,
    decode_text,
    encode_event,
    encode_line,
    event_and_time,
    hash_of_line,
    kind_of,
    next_hash,
    read_line,
    split_line,
)
from peak_trade.journal.events import EVENT_CLASSES, BarEvent, Event, LatencyEvent, Levels, OrderEvent, SignalEvent
from peak_trade.journal.files import Checkpoint, parse_checkpoint
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


def outcome(read, *arguments):
    """What a reader returns, or its error."""
    try:
        return repr(read(*arguments))
    except (SessionError, ValueError, RecursionError) as error:
        return type(error) if not isinstance(error, SessionError) else str(error).removeprefix("here: ")


@st.composite
def odd_texts(draw):
    """The text of an event with some values that another program might have written, or fields that are gone."""
    record = json.loads(
        encode_event(draw(st.sampled_from([BarEvent, LatencyEvent, OrderEvent, SignalEvent]).flatmap(events_of)))
    )
    for name in draw(st.lists(st.sampled_from(sorted(record)), max_size=2)):
        record[name] = draw(
            st.sampled_from(
                [None, True, 0, -0.0, 1, 2**63, 2**64, 10**400, "NaN", "buy", "FILLED", [], {}, "\ud800", 5e-324]
            )
            | st.floats(allow_nan=False, allow_infinity=False)
            | st.integers()
            | texts
        )
    for name in draw(st.lists(st.sampled_from(["unknown", *record]), max_size=1)):
        record[name] = 1
        del record[draw(st.sampled_from(sorted(record)))]
    text = json.dumps(record, separators=draw(st.sampled_from([(",", ":"), (", ", ": ")])))
    return draw(
        st.sampled_from([text, text.replace(":1,", ":1e999,"), text.replace(":1,", ":NaN,"), text[:-1]])
    ).encode()


@given(text=odd_texts())
@settings(max_examples=examples(300), deadline=None)
def test_the_decoders_of_frequent_events_say_what_the_others_say(text):
    try:
        content = json.loads(text)
    except ValueError:
        with pytest.raises(SessionError, match="this is not a line"):
            decode_text(text, "here")
        return
    assert outcome(decode_text, text, "here") == outcome(decode_event, content)


@given(event=events_of(OrderEvent), other=st.binary(max_size=3), place=st.integers(0, 10_000), length=st.integers(0, 3))
@settings(max_examples=examples(150), deadline=None)
def test_a_line_has_the_next_hash_exactly_if_its_parts_have_it(event, other, place, length):
    """The line is whole, or some of its bytes are others."""
    encoded, previous = encode_event(event), "ab" * 32
    line = encode_line(encoded, chain_hash(previous, encoded, 7, 8), 7, 8)[:-1]
    place %= len(line)
    changed = line[:place] + other + line[place + length :]
    assert next_hash(line, previous.encode()) == split_line(line).hash.encode()
    assert event_and_time(line) == (encoded, 8)
    assert kind_of(line) == kind_of(encoded) == b"order"
    assert (next_hash(changed, previous.encode()) is None) == (changed != line)
    assert next_hash(line, b"cd" * 32) is None


@given(
    event=st.sampled_from(EVENT_CLASSES).flatmap(events_of),
    now=st.integers(-(2**63), 2**63 - 1),
    other=st.sampled_from([b"", b"0", b"-", b" ", b"}", b'"', b',"hash":"', b'{"event":{']),
    place=st.integers(0, 500) | st.integers(-160, -1),
    length=st.integers(0, 3),
    form=st.sampled_from([b"%d", b"0%d", b"+%d", b"%d ", b"%d.0", b"-%d", b"1_%d"]),
)
@settings(max_examples=examples(150), deadline=None)
def test_a_line_has_a_hash_exactly_if_its_form_number_and_parts_are_right(event, now, other, place, length, form):
    """Some bytes of a line are others, or its number has another form under a hash of that form."""
    encoded, previous = encode_event(event), "ab" * 32
    line = encode_line(encoded, chain_hash(previous, encoded, 7, now), 7, now)[:-1]
    body = b'{"event":%b,"sequence":%b,"ts_recorded":%b}' % (encoded, b"7", form % now)
    odd = body.replace(
        b',"sequence"', b',"hash":"%b","sequence"' % sha256(previous.encode() + body).hexdigest().encode()
    )
    place %= len(line)
    for text in (line, line[:place] + other + line[place + length :], odd, body[:-1], b""):
        for sequence in (7, 8):
            raw = split_line(text)
            is_right = raw is not None and raw.sequence == sequence and raw.hash_after(previous) == raw.hash
            assert hash_of_line(text, previous.encode(), sequence) == (raw.hash.encode() if is_right else None)
    assert hash_of_line(line, previous.encode(), 7) is not None


@given(text=st.text(), place=st.integers(0, 400), other=st.sampled_from([b"", b"0", b" ", b"A", b"-", b"\x00", b"e"]))
@settings(max_examples=examples(150), deadline=None)
def test_a_checkpoint_is_read_back_exactly_as_it_is_spelled(text, place, other):
    mark = Checkpoint(12, "ab" * 32, "cd" * 32, 1_700_000_000_000_000_000, True, "ef" * 32, "01" * 64)
    line = mark.encode_line()[:-1]
    assert parse_checkpoint(line) == mark
    changed = line[:place] + other + line[place + 1 :]
    found = parse_checkpoint(changed)
    assert found is None or found.encode_line() == changed + b"\n"
    named = replace(mark, hash=text, sequence=-1)
    with suppress(UnicodeEncodeError):
        assert parse_checkpoint(named.encode_line()[:-1]) == named


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
