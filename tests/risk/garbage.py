"""Record the inputs that a gate reads, and generate unreadable values for them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Any

from peak_trade.core.history import ReturnHistory, WeightHistory
from peak_trade.core.settings import Settings
from peak_trade.core.values import AccountView, Instrument, MarketView, Order, OrderBook, PastFill, PastOrder
from tests.replacing import replace
from tests.risk.cases import DAY, ETH, NOW

Path = tuple[str | int, ...]
_LOOKED_INTO = (Order, AccountView, MarketView, Instrument, OrderBook, Settings)


class Spy:
    """A proxy of a value that records the path of every attribute and every mapping entry that is read."""

    def __init__(self, value: Any, path: Path, seen: set[Path]) -> None:
        self._value, self._path, self._seen = value, path, seen

    def __getattr__(self, name: str) -> Any:
        path = (*self._path, name)
        self._seen.add(path)
        value = getattr(self._value, name)
        if isinstance(value, _LOOKED_INTO):
            return Spy(value, path, self._seen)
        if isinstance(value, Mapping):
            return _SpiedMapping(value, path, self._seen)
        return _SpiedLevels(value, path, self._seen) if name in ("bids", "asks") else value


class _SpiedMapping(dict):  # type: ignore[type-arg]
    def __init__(self, value: Mapping[str, Any], path: Path, seen: set[Path]) -> None:
        super().__init__(value)
        self._path, self._seen = path, seen

    def __getitem__(self, key: str) -> Any:
        self._seen.add((*self._path, key))
        return super().__getitem__(key)

    def get(self, key: str, default: Any = None) -> Any:
        self._seen.add((*self._path, key))
        return super().get(key, default)

    def items(self) -> Any:
        self._seen.update((*self._path, key) for key in self)
        return super().items()


class _SpiedLevels(tuple):  # type: ignore[type-arg]
    _path: Path
    _seen: set[Path]

    def __new__(cls, value: tuple[Any, ...], path: Path, seen: set[Path]) -> _SpiedLevels:
        spied = super().__new__(cls, value)
        spied._path, spied._seen = path, seen
        return spied

    def __getitem__(self, place: Any) -> Any:
        value = super().__getitem__(place)
        if isinstance(place, slice):
            return _SpiedLevels(value, self._path, self._seen)
        self._seen.add((*self._path, place))
        return _SpiedLevels(value, (*self._path, place), self._seen) if isinstance(value, tuple) else value

    def __iter__(self) -> Iterator[Any]:
        return (self[place] for place in range(len(self)))


def paths_read(gate: Any, parts: dict[str, Any]) -> set[Path]:
    """Return the path of every input that a gate reads; `parts` are order, account, market and limits.

    A mapping of which no entry is read is left out. Of the limits only the gate's own threshold is included, because
    Settings validates the others.
    """
    seen: set[Path] = set()
    gate(*(Spy(part, (name,), seen) for name, part in parts.items()))
    own = ("limits", *gate.setting.split("."))
    inner = {path[:-1] for path in seen}
    return {
        path
        for path in seen
        if not isinstance(value_at(parts, path), (Instrument, Settings, bool) if path[0] == "limits" else Instrument)
        and (path[0] != "limits" or path == own)
        and (path in inner or not isinstance(value_at(parts, path), Mapping))
    }


def value_at(parts: dict[str, Any], path: Path) -> Any:
    """Return the value at a path."""
    value: Any = parts
    for name in path:
        value = value[name] if isinstance(value, (Mapping, tuple)) else getattr(value, str(name))
    return value


def with_value(parts: Any, path: Path, value: Any) -> Any:
    """Return the parts with another value at a path; limits are not validated."""
    if not path:
        return value
    if isinstance(parts, Mapping):
        return dict(parts) | {path[0]: with_value(parts[path[0]], path[1:], value)}
    if isinstance(parts, tuple):
        place = int(path[0])
        return (*parts[:place], with_value(parts[place], path[1:], value), *parts[place + 1 :])
    changed = with_value(getattr(parts, str(path[0])), path[1:], value)
    if isinstance(parts, Settings):
        return parts.model_copy(update={path[0]: changed})
    return replace(parts, **{path[0]: changed})


NOT_NUMBERS = ["1", None, True, False, b"1", [1.0], {"a": 1.0}, (1.0,), 1j, object(), "nan"]
NOT_FINITE = [math.nan, math.inf, -math.inf, 1e308, -1e308]
BELOW_ZERO = [-1.0, -5e-324]
ZEROS = [0.0, -0.0, 0]
NOT_NAMES = [None, 1, math.nan, True, b"ma", ["ma"]]
NOT_MEMBERS = [None, 1, 1.0, True, math.nan, "", "BUY", "on", []]
NOT_INSTANTS = [None, math.nan, math.inf, "now", b"1", -1, 0, 1e18, True, 2**64, [NOW]]
NOT_TUPLES = [None, 1, "none", math.nan, True, (None,), (1,), ((),), [None], [], {}, set(), object()]
NOT_MAPPINGS = [None, 1, "BTC", math.nan, True, [], (), object()]

_ABOVE_ZERO = {
    *("quantity", "decision_price", "limit_price", "stop_price", "equity", "peak_equity", "day_start_equity"),
    *("average_daily_volume", "ramp"),
}
_NOT_BELOW_ZERO = {"bar_volume", "daily_volatility", "n_open_orders", "lot_size", "min_notional"}


def garbage_for(parts: dict[str, Any], path: Path) -> Iterator[Any]:
    """Yield unreadable values for a path, by the type and the name of the input."""
    value, name = value_at(parts, path), path[-1]
    if name in ("as_of", "bar_time", "decided_at", "ts_event"):
        yield from NOT_INSTANTS
    elif isinstance(value, bool):
        yield from [None, "yes", 1, 1.0, math.nan, []]
    elif isinstance(value, StrEnum):
        yield from NOT_MEMBERS
    elif isinstance(value, str):
        yield from NOT_NAMES
    elif isinstance(value, ReturnHistory):
        yield from _histories(value)
    elif isinstance(value, WeightHistory):
        yield from _weights(value)
    elif isinstance(value, OrderBook):
        yield from [None, "book", {}, 1.0]
    elif name in ("bids", "asks") or path[-2] in ("bids", "asks"):
        yield from [None, 1.0, "book", (), (None,), (1.0,), ((1.0,),), ((), ())]
    elif isinstance(value, tuple):
        yield from NOT_TUPLES
        yield from _entries(value)
    elif isinstance(value, Mapping):
        yield from NOT_MAPPINGS
    else:
        yield from NOT_NUMBERS
        yield from NOT_FINITE
        is_above_zero = name in _ABOVE_ZERO or path[1] == "marks" or ("book" in path and name == 0)
        if is_above_zero or name in _NOT_BELOW_ZERO or ("book" in path and name == 1):
            yield from BELOW_ZERO
        if is_above_zero:
            yield from ZEROS


def _histories(history: ReturnHistory) -> Iterator[Any]:
    yield from [None, "daily", 1.0, history.returns, history.returns.tolist(), object()]
    for bad in (math.nan, math.inf, -math.inf):
        holed = history.returns.copy()
        holed[:, 100] = bad
        yield ReturnHistory(history.source, history.as_of, history.symbols, holed)
    yield ReturnHistory("other", history.as_of, history.symbols, history.returns)
    yield ReturnHistory(history.source, NOW + 1, history.symbols, history.returns)
    yield ReturnHistory(history.source, NOW - 10 * DAY, history.symbols, history.returns)
    yield ReturnHistory(history.source, history.as_of, history.symbols, history.returns[:, :100])
    yield ReturnHistory(history.source, history.as_of, ["SOL/USDT", "X/USDT"], history.returns)


def _weights(weights: WeightHistory) -> Iterator[Any]:
    yield from [None, "daily", 1.0, weights.weights, weights.weights.tolist(), object()]
    for bad in (math.nan, math.inf, -math.inf):
        holed = weights.weights.copy()
        holed[0, 100] = bad
        yield WeightHistory(weights.as_of, weights.symbols, holed)
    yield WeightHistory(NOW + 1, weights.symbols, weights.weights)
    yield WeightHistory(NOW - DAY, weights.symbols, weights.weights)
    yield WeightHistory(weights.as_of, ["SOL/USDT", "X/USDT"], weights.weights)


def _entries(entries: tuple[Any, ...]) -> Iterator[Any]:
    """Yield past orders, past fills or pending quantities with one unreadable entry."""
    for entry in entries[:1]:
        if isinstance(entry, (PastOrder, PastFill)):
            when = "decided_at" if isinstance(entry, PastOrder) else "ts_event"
            for bad in NOT_INSTANTS:
                yield (entry._replace(**{when: bad}), *entries[1:])
        elif isinstance(entry, tuple):
            for bad in (*NOT_NUMBERS, *NOT_FINITE):
                yield ((entry[0], bad), *entries[1:])
            yield ((ETH,), *entries[1:])
