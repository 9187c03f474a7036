"""Digests of configurations, data and strategies, from which run ids are derived."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from types import CodeType, FunctionType
from typing import TYPE_CHECKING, Any

from peak_trade.core.bars import Bars
from peak_trade.core.digest import digest_of, package_digest
from peak_trade.core.settings import Settings
from peak_trade.core.values import Instrument
from peak_trade.engine.settings import BacktestSettings
from peak_trade.risk.limits import RiskLimits
from peak_trade.strategies.base import Strategy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from peak_trade.strategies.base import Strategy


def config_digest(
    strategies: Sequence[Strategy],
    settings: BacktestSettings,
    instruments: Sequence[Instrument],
    risk: RiskLimits | None = None,
    start: int | None = None,
) -> str:
    """Return the digest of the settings of a run; with the data digest it identifies a trial.

    `start` is the first traded close, ns UTC, of a run with earlier bars; None if all bars are traded.
    """
    parts = [part.digest() for strategy in strategies for part in _parts(strategy)]
    limits = [] if risk is None else [risk.digest()]
    starts = [] if start is None else [{"start": start}]
    return digest_of([parts, settings.digest(), [asdict(instrument) for instrument in instruments], *limits, *starts])


def data_digest(bars: Sequence[Bars]) -> str:
    """Return the digest of bars, independent of their order."""
    return digest_of(sorted(part.digest() for part in bars))


def code_digest(strategies: Sequence[Strategy], function: Callable[..., Any] | None = None) -> str:
    """Return the digest of the code of a run: this package, and the parts of strategies that a user wrote.

    Parameters
    ----------
    strategies : sequence of Strategy
    function : callable, optional
        The allocator of a portfolio.

    Notes
    -----
    A user's class counts with the source of its module and of its methods, so that a class from a notebook cell counts
    too; where no source can be read, with its compiled code. Values of parameters do not count: `config_digest` has
    them.

    """
    classes = [base for each in strategies for part in _parts(each) for base in _user_classes(type(part))]
    sources = {_place(base): _source(base) for base in classes}
    return digest_of([package_digest(), sources, _function_sources(function)])


def _function_sources(function: Callable[..., Any] | None) -> list[Any]:
    if function is None or not _is_user(function.__module__):
        return []
    source = _source_or_code(function) if isinstance(function, FunctionType) else repr(function)
    return [
        f"{function.__module__}:{getattr(function, '__qualname__', '')}",
        _module_source(function.__module__),
        source,
    ]


def _place(part: type) -> str:
    return f"{part.__module__}:{part.__qualname__}"


def _parts(part: Settings) -> Iterator[Settings]:
    yield part
    for key in type(part).model_fields:
        value = getattr(part, key)
        for nested in value if isinstance(value, tuple | list) else (value,):
            if isinstance(nested, Settings):
                yield from _parts(nested)


def _user_classes(part: type) -> list[type]:
    return [base for base in part.__mro__ if _is_user(base.__module__)]


def _is_user(module: str) -> bool:
    return module.partition(".")[0] not in ("peak_trade", "pydantic", "abc", "builtins", "typing")


def _source(part: type) -> list[Any]:
    methods = {key: _source_or_code(function) for key, function in _functions(part).items()}
    return [_module_source(part.__module__), methods]


def _module_source(module: str) -> str | None:
    try:
        return inspect.getsource(sys.modules[module])
    except (KeyError, OSError, TypeError):
        return None


def _functions(part: type) -> dict[str, FunctionType]:
    found: dict[str, FunctionType] = {}
    for key, value in vars(part).items():
        inner = value.fget if isinstance(value, property) else getattr(value, "__func__", value)
        if isinstance(inner, FunctionType) and inner.__module__ == part.__module__:
            found[key] = inner
    return found


def _source_or_code(function: FunctionType) -> Any:
    try:
        return inspect.getsource(function)
    except (OSError, TypeError):
        return _code_content(function.__code__)


def _code_content(code: CodeType) -> list[Any]:
    constants = [
        _code_content(value)
        if isinstance(value, CodeType)
        else sorted(map(repr, value))
        if isinstance(value, frozenset)
        else repr(value)
        for value in code.co_consts
    ]
    return [code.co_code.hex(), constants, list(code.co_names), list(code.co_varnames), list(code.co_freevars)]
