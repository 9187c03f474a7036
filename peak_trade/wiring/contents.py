"""What values consist of, so that the digest of a run covers the content of each value that its code uses."""

from __future__ import annotations

import copyreg
import functools
import marshal
from collections.abc import Iterable, Iterator
from dataclasses import fields, is_dataclass
from types import BuiltinFunctionType, CellType, FunctionType, MappingProxyType, MethodType
from typing import Any

import numpy as np
import pandas as pd
from pydantic import BaseModel

from peak_trade.core.digest import digest_bytes

NUMBERS_AND_TEXT = frozenset({bool, int, float, complex, str, bytes, type(None)})
_CONTAINERS = frozenset({list, tuple, dict, set, frozenset})
_MARSHAL_VERSION = 2
"""Format that has the same bytes for equal values: later ones have marks for values that are one object."""


def is_plain(value: Any) -> bool:
    """Return whether a value is a number, a text, or built-in containers of such values alone."""
    kind = type(value)
    if kind is dict:
        return is_plain(list(value)) and is_plain(list(value.values()))
    if kind not in _CONTAINERS:
        return kind in NUMBERS_AND_TEXT
    kinds = set(map(type, value))
    return kinds <= NUMBERS_AND_TEXT or (kinds <= NUMBERS_AND_TEXT | _CONTAINERS and all(map(is_plain, value)))


def plain_digest(value: Any) -> str:
    """Return the SHA-256 of a plain value, equal for equal sets; ValueError if it is nested too deep."""
    return digest_bytes(marshal.dumps(value, _MARSHAL_VERSION))


def parts_of(value: Any) -> Iterable[Any]:
    """Return what a value consists of, of which its content follows; TypeError if that is not known."""
    kind = type(value)
    if kind is np.ndarray or isinstance(value, np.generic):
        return _parts_of_array(np.asarray(value))
    if isinstance(value, pd.DataFrame):
        columns = [value.iloc[:, place].array for place in range(value.shape[1])]
        return [value.index, value.columns, *columns, *_attributes(value)]
    if isinstance(value, pd.Series):
        return [value.index, str(value.name), value.array, *_attributes(value)]
    if isinstance(value, pd.DatetimeIndex | pd.arrays.DatetimeArray):
        return [str(value.dtype), pd.DatetimeIndex(value).asi8]
    if isinstance(value, pd.Index | pd.api.extensions.ExtensionArray):
        return [str(value.dtype), np.asarray(value)]
    if kind in (dict, MappingProxyType):
        return [each for pair in value.items() for each in pair]
    if kind in (list, tuple):
        return _parts_of_list(value)
    if isinstance(value, set | frozenset):
        return value
    if isinstance(value, staticmethod | classmethod):
        return [value.__func__]
    if isinstance(value, property):
        return [value.fget, value.fset]
    if isinstance(value, functools.cached_property):
        return [value.func]
    if isinstance(value, MethodType):
        return [value.__func__, value.__self__]
    if isinstance(value, functools.partial):
        return [value.func, value.args, value.keywords]
    if isinstance(value, BuiltinFunctionType | np.ufunc):
        return [str(getattr(value, "__module__", "")), value.__name__]
    if isinstance(value, memoryview):
        return [value.format, value.shape, value.tobytes()]
    if isinstance(getattr(value, "__wrapped__", None), FunctionType):
        return [value.__wrapped__]
    if isinstance(value, BaseModel):
        return [getattr(value, key) for key in kind.model_fields]
    if is_dataclass(value):
        return [getattr(value, each.name) for each in fields(value)]
    reduce = copyreg.dispatch_table.get(kind)
    reduced = value.__reduce_ex__(2) if reduce is None else reduce(value)
    return [reduced] if isinstance(reduced, str) else [_listed(each) for each in reduced]


def code_in(value: Any) -> Iterator[type | FunctionType]:
    """Yield the classes and functions that a value is, or has in a list or a dict."""
    if isinstance(value, type | FunctionType):
        yield value
    elif isinstance(value, dict | MappingProxyType):
        yield from code_in(list(value.values()))
    elif isinstance(value, list | tuple):
        yield from (each for each in value if isinstance(each, type | FunctionType))


def closure_of(function: FunctionType) -> list[Any]:
    """Return the values in the closure of a function."""
    return [each for cell in function.__closure__ or () for each in _cell_content(cell)]


def _parts_of_array(array: np.ndarray[Any, Any]) -> list[Any]:
    if array.dtype.hasobject:
        return [str(array.shape), array.ravel().tolist()]
    return [array.dtype.str, str(array.shape), digest_bytes(np.ascontiguousarray(array).tobytes())]


def _parts_of_list(values: list[Any] | tuple[Any, ...]) -> Iterable[Any]:
    """Return the elements; those of one type of NumPy's or Pandas' as one array, which is fast."""
    kinds = set(map(type, values))
    if len(kinds) == 1 and issubclass(next(iter(kinds)), np.generic):
        return [np.array(values)]
    return [pd.Index(values)] if kinds in ({pd.Timestamp}, {pd.Timedelta}) else values


def _attributes(value: pd.DataFrame | pd.Series[Any]) -> list[Any]:
    return [value.attrs] if value.attrs else []


def _listed(part: Any) -> Any:
    return list(part) if isinstance(part, Iterator) else part


def _cell_content(cell: CellType) -> list[Any]:
    try:
        return [cell.cell_contents]
    except ValueError:
        return []
