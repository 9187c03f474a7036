"""Encoding of events as canonical JSON lines in a hash chain.

A line is `{"event":{…},"hash":"…","sequence":n,"ts_recorded":ns}`: keys sorted, no blanks, ASCII. Its hash is the
SHA-256 of the previous line's hash followed by the line without its hash member. The digest of the manifest takes the
place of the previous hash in the first line.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator
from enum import StrEnum
from hashlib import sha256
from operator import attrgetter
from typing import Annotated, Any, Literal, NamedTuple, get_args

import msgspec
from msgspec.structs import fields

from peak_trade.core.errors import SessionError, did_you_mean, listed
from peak_trade.core.values import Denial
from peak_trade.journal.events import (
    ADDED,
    EVENT_CLASSES,
    BarEvent,
    DecisionEvent,
    Event,
    LatencyEvent,
    Levels,
    OrderEvent,
    SignalEvent,
)
from peak_trade.journal.versions import JOURNAL_VERSION, with_codes

_encode = json.JSONEncoder(separators=(",", ":"), sort_keys=True, allow_nan=False, check_circular=False).encode
_LINE = re.compile(
    rb'^\{"event":(\{.*\}),"hash":"([0-9a-f]{64})","sequence":([1-9][0-9]{0,17}),"ts_recorded":(0|-?[1-9][0-9]{0,18})\}$'
)
_START, _HASH = b'{"event":{', b',"hash":"'
_HASH_LENGTH = len(_HASH) + 64
_END = re.compile(rb'","sequence":([1-9][0-9]{0,17}),"ts_recorded":(0|-?[1-9][0-9]{0,18})\}\Z')
_INT64 = range(-(2**63), 2**63)
_NON_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


class Line(msgspec.Struct, frozen=True, gc=False):
    """One line of a journal: the event, its number, the time of writing (ns UTC) and the hash."""

    event: Event
    sequence: int
    ts_recorded: int
    hash: str


class RawLine(msgspec.Struct, frozen=True, gc=False):
    """The parts of a line without a decoded event: `event` is JSON text, `hash` is the unchecked hash."""

    event: bytes
    sequence: int
    ts_recorded: int
    hash: str

    def hash_after(self, previous: str, sequence: int | None = None) -> str:
        """Return the hash of this line after the hash `previous`, under its own number or another."""
        return chain_hash(previous, self.event, self.sequence if sequence is None else sequence, self.ts_recorded)


def chain_hash(previous: str, event: bytes, sequence: int, ts_recorded: int) -> str:
    """Return the hash of a line after the hash `previous`, as 64 hex digits."""
    body = b'%b{"event":%b,"sequence":%d,"ts_recorded":%d}' % (previous.encode(), event, sequence, ts_recorded)
    return sha256(body).hexdigest()


def encode_line(event: bytes, line_hash: str, sequence: int, ts_recorded: int) -> bytes:
    """Return a complete line, with its newline."""
    return b'{"event":%b,"hash":"%b","sequence":%d,"ts_recorded":%d}\n' % (
        event,
        line_hash.encode(),
        sequence,
        ts_recorded,
    )


def event_to_dict(event: Event) -> dict[str, Any]:
    """Return an event as a dict of plain values: `kind`, then the fields in order; denials are lists, inputs are JSON.

    Non-finite numbers of denials are spelled as in the journal; other floats stay floats.
    """
    names, values_of = _WRITERS[type(event)]
    values = dict(zip(names, values_of(event), strict=True))
    if isinstance(event, DecisionEvent):
        values["denials"] = spell_out([(denial.code, denial.observed, denial.limit) for denial in event.denials])
        values["inputs"] = event.inputs if isinstance(event.inputs, str) else event.inputs.to_json()
    return values


def encode_event(event: Event) -> bytes:
    """Return an event as canonical JSON; NaN and infinities are the strings NaN, Infinity and -Infinity."""
    record = event_to_dict(event)
    for name, default in _ADDED[type(event)]:
        if record[name] == default:
            del record[name]
    try:
        return _encode(record).encode()
    except ValueError:
        return _encode(spell_out(record)).encode()


def decode_event(content: dict[str, Any]) -> Event:
    """Return the event of parsed JSON; SessionError for an unknown kind or field, or a wrong value."""
    kind = content.get("kind")
    if not isinstance(kind, str) or kind not in _READERS:
        raise SessionError(f"event kind {kind!r} is not known. {did_you_mean(str(kind), _READERS)}")
    event_class, readers, required, known = _READERS[kind]
    if not required <= content.keys() <= known:
        odd = sorted((required - content.keys()) | (content.keys() - known))
        raise SessionError(f"a {kind} event has unknown or missing fields: {listed(odd)}.")
    try:
        return event_class(**{name: readers[name](value) for name, value in content.items() if name != "kind"})
    except (KeyError, OverflowError, TypeError, ValueError) as error:
        raise SessionError(f"a {kind} event could not be read: {error}.") from None


def split_line(text: bytes) -> RawLine | None:
    """Return the parts of a line (without its newline), or None when it is not a line of a journal."""
    match = _LINE.match(text)
    if match is None or int(match[4]) not in _INT64:
        return None
    return RawLine(match[1], int(match[3]), int(match[4]), match[2].decode())


def next_hash(text: bytes, previous: bytes) -> bytes | None:
    """Return the hash of a line (without its newline) after the hash `previous`, None if it states another one.

    The number and the form of the line are not checked, which is enough for a line that a signed hash covers: it has
    the bytes that were signed. Hashes are 64 hex digits.
    """
    end = text.rfind(b'","sequence":')
    start = end - _HASH_LENGTH
    found = sha256(previous + text[:start] + text[end + 1 :]).hexdigest().encode()
    return found if text[start:end] == _HASH + found else None


def hash_of_line(text: bytes, previous: bytes, sequence: int) -> bytes | None:
    """Return what `next_hash` returns, and None also if the line has another number, or is not a line of a journal."""
    start = text.rfind(b"}" + _HASH) + 1
    end = start + len(_HASH) + 64
    match = _END.match(text, end)
    if match is None or int(match[1]) != sequence or int(match[2]) not in _INT64 or not text.startswith(_START):
        return None
    found = sha256(b"".join((previous, text[:start], text[end + 1 :]))).hexdigest().encode()
    return found if text[end - 64 : end] == found else None


def event_and_time(text: bytes) -> tuple[bytes, int]:
    """Return the JSON text of the event and the time of writing of a line whose hash was verified, ns UTC."""
    head, _, rest = text.rpartition(_HASH)
    return head.removeprefix(b'{"event":'), int(rest[rest.rindex(b":") + 1 : -1])


def kind_of(text: bytes) -> bytes:
    """Return the kind of an event from its JSON text, or that of its line, before it is decoded; empty without one.

    JSON escapes the quotes of a text, so that no text matches.
    """
    start = text.find(b'"kind":"') + 8
    return text[start : text.find(b'"', start)] if start >= 8 else b""


def read_line(text: bytes, where: str, version: int = JOURNAL_VERSION) -> Line:
    """Return the decoded line (without its newline) of a journal of a version; SessionError when it is not one.

    The hash is not checked. Lines of version 1 have the codes that later versions record; see `versions`.
    """
    raw = split_line(text)
    if raw is None:
        raise SessionError(f"{where}: {_NO_LINE}")
    return Line(decode_text(raw.event, where, version), raw.sequence, raw.ts_recorded, raw.hash)


_NO_LINE = "this is not a line of a journal. Run `peak-trade audit verify` on the session."


def decode_text(text: bytes, where: str, version: int = JOURNAL_VERSION, kind: bytes | None = None) -> Event:
    """Return the event of JSON text in a journal of a version; SessionError as of `read_line`.

    `kind` is what `kind_of` returns, if it is known. The kinds of most lines have a decoder of their own, which is
    faster by a multiple and refuses more; what it refuses is decoded as the other kinds are.
    """
    event = _decode_frequent(text, kind_of(text) if kind is None else kind)
    if event is None:
        try:
            event = decode_event(json.loads(text))
        except SessionError as error:
            raise SessionError(f"{where}: {error}") from None
        except (ValueError, RecursionError):
            raise SessionError(f"{where}: {_NO_LINE}") from None
    return event if version > 1 else with_codes(event)


def _decode_frequent(text: bytes, kind: bytes) -> Event | None:
    frequent = _FREQUENT.get(kind)
    if frequent is None:
        return None
    event_class, decode, values_of = frequent
    try:
        return event_class(*values_of(decode(text)))
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None


def complete_lines(content: bytes) -> Iterator[bytes]:
    """Yield each line that ends in a newline, without the newline; an incomplete last line is skipped."""
    yield from content.split(b"\n")[:-1]


def spell_out(value: Any) -> Any:
    """Return a JSON value with NaN and infinities as the strings NaN, Infinity and -Infinity."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, dict):
        return {name: spell_out(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [spell_out(part) for part in value]
    return value


def _read_float(value: Any) -> float:
    if isinstance(value, str):
        return _NON_FINITE[value]
    return float(value)


def _read_int(value: Any) -> int:
    if type(value) is not int or value not in _INT64:
        raise ValueError(f"{value!r:.40} is not a 64-bit integer")
    return value


def _read_bool(value: Any) -> bool:
    if type(value) is not bool:
        raise ValueError(f"{value!r:.40} is neither true nor false")
    return value


def _read_text(value: Any) -> str:
    if type(value) is not str:
        raise ValueError(f"{value!r:.40} is not text")
    if not value.isascii():
        value.encode()
    return value


def _read_denials(value: Any) -> tuple[Denial, ...]:
    return tuple(Denial(_read_text(code), _read_float(observed), _read_float(limit)) for code, observed, limit in value)


def _read_texts(value: Any) -> tuple[str, ...]:
    if type(value) is not list:
        raise ValueError(f"{value!r:.40} is not a list")
    return tuple(_read_text(each) for each in value)


_PLAIN: dict[Any, Callable[[Any], Any]] = {float: _read_float, int: _read_int, bool: _read_bool, str: _read_text}


def _reader_of(hint: Any) -> Callable[[Any], Any]:
    if hint in _PLAIN:
        return _PLAIN[hint]
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return hint
    enum = next((part for part in get_args(hint) if isinstance(part, type) and issubclass(part, StrEnum)), None)
    if enum is not None:
        return lambda value: None if value is None else enum(value)
    if float in get_args(hint):
        return lambda value: None if value is None else _read_float(value)
    if Denial in get_args(hint):
        return _read_denials
    if hint == tuple[str, ...]:
        return _read_texts
    if hint == Levels:
        return lambda value: tuple((_read_float(price), _read_float(quantity)) for price, quantity in value)
    if str in get_args(hint):
        return _read_text
    return lambda value: value


def _writer_of(event_class: type[Event]) -> tuple[tuple[str, ...], Callable[[Event], tuple[Any, ...]]]:
    names = ("kind", *event_class.__struct_fields__)
    return names, attrgetter(*names)


_ADDED = {
    event_class: tuple(
        (part.name, part.default) for part in fields(event_class) if part.name in ADDED.get(event_class, ())
    )
    for event_class in EVENT_CLASSES
}
"""The fields of ADDED with their defaults."""

_WRITERS = {event_class: _writer_of(event_class) for event_class in EVENT_CLASSES}


class _Readers(NamedTuple):
    event_class: type[Event]
    readers: dict[str, Callable[[Any], Any]]
    required: frozenset[str]
    known: frozenset[str]


def _readers_of(event_class: type[Event]) -> _Readers:
    readers = {part.name: _reader_of(part.type) for part in fields(event_class)}
    known = frozenset({"kind", *readers})
    return _Readers(event_class, readers, known - {name for name, _ in _ADDED[event_class]}, known)


_READERS = {event_class.kind: _readers_of(event_class) for event_class in EVENT_CLASSES}

_Int64 = Annotated[int, msgspec.Meta(ge=_INT64.start, le=_INT64.stop - 1)]


def _decoder_of(event_class: type[Event]) -> tuple[type[Event], Callable[[bytes], Any], Callable[[Any], Any]]:
    """Return an event class, a decoder of its text that accepts what `decode_event` reads, and its values in order."""
    added = {name for name, _ in _ADDED[event_class]}
    columns: list[Any] = [("kind", Literal[event_class.kind])]
    for part in fields(event_class):
        hint = _Int64 if part.type is int else part.type
        columns.append((part.name, hint, part.default) if part.name in added else (part.name, hint))
    record = msgspec.defstruct(event_class.__name__, columns, forbid_unknown_fields=True, kw_only=True, gc=False)
    return event_class, msgspec.json.Decoder(record).decode, attrgetter(*event_class.__struct_fields__)


_FREQUENT = {
    event_class.kind.encode(): _decoder_of(event_class)
    for event_class in (BarEvent, LatencyEvent, OrderEvent, SignalEvent)
}
