"""Table of strategies by name, and their parameters. To add a strategy, write its module and add an entry."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

from peak_trade.core.arguments import checks_arguments
from peak_trade.core.errors import ConfigError
from peak_trade.wiring.parts import find_class

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

    from peak_trade.strategies.base import Strategy

STRATEGIES: dict[str, str] = {
    "bollinger_bands": "peak_trade.strategies.bollinger_bands:BollingerBands",
    "breakout": "peak_trade.strategies.breakout:Breakout",
    "buy_and_hold": "peak_trade.strategies.buy_and_hold:BuyAndHold",
    "cash": "peak_trade.strategies.cash:Cash",
    "composite": "peak_trade.strategies.composite:Composite",
    "donchian": "peak_trade.strategies.donchian:Donchian",
    "ma_crossover": "peak_trade.strategies.ma_crossover:MaCrossover",
    "macd": "peak_trade.strategies.macd:Macd",
    "mean_reversion": "peak_trade.strategies.mean_reversion:MeanReversion",
    "momentum": "peak_trade.strategies.momentum:Momentum",
    "random_entry": "peak_trade.strategies.random_entry:RandomEntry",
    "rsi_reversion": "peak_trade.strategies.rsi_reversion:RsiReversion",
    "trend_following": "peak_trade.strategies.trend_following:TrendFollowing",
}
"""Strategy name to `module:Class`; a user's strategy is named as `module:Class` too."""

_NOUNS: dict[Any, str] = {
    int: "whole number",
    float: "number",
    bool: "true or false",
    str: "text",
    dict: "table",
    NoneType: "none",
    Any: "any value",
}


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter: its values in words, its default (a name where it is a strategy), and its meaning."""

    name: str
    values: str
    default: object
    is_required: bool
    meaning: str


@dataclass(frozen=True, slots=True)
class StrategyDescription:
    """A strategy: its name, its class as `package.module:Class`, the first paragraph of its docstring, its parameters.

    `warm_up` is the number of bars with the default parameters, None if these build no strategy.
    """

    name: str
    class_path: str
    meaning: str
    warm_up: int | None
    parameters: tuple[Parameter, ...]


def strategy_class(name: str) -> type[Strategy]:
    """Return the strategy class of a name in STRATEGIES, or of `package.module:Class`, in the working folder too.

    Raises
    ------
    ConfigError
        If there is none; the message suggests the closest name.

    """
    from peak_trade.strategies.base import Strategy

    part: type[Strategy] = find_class("strategy", name, STRATEGIES, Strategy)
    return part


@checks_arguments()
def make_strategy(name: str, parameters: Mapping[str, Any] | None = None) -> Strategy:
    """Build a strategy from its name and its parameters.

    Parameters
    ----------
    name : str
        A name in STRATEGIES, or `package.module:Class`.
    parameters : mapping of parameter to value
        Values as TOML or JSON give them, or text as the command line gives it: `fast=10`, `trend_window=none`,
        `weights=2,1`, `members=ma_crossover,momentum`. A member is a name, or a table with `strategy` and parameters.

    Raises
    ------
    ConfigError
        On an unknown strategy or parameter (with a suggestion), or an invalid value.

    """
    part = strategy_class(name)
    values: dict[str, Any] = {}
    for key, value in (parameters or {}).items():
        field = part.model_fields.get(key)
        values[key] = value if field is None else _value_for(field.annotation, value)
    return part.parse(values, name)


def parameter_grid(part: type[Strategy], texts: Mapping[str, str]) -> dict[str, list[Any]]:
    """Convert the values of each parameter from text: `fast=5,10,20` becomes [5, 10, 20].

    The sweep checks names and values.
    """
    fields = part.model_fields
    return {
        key: [_value_for(fields[key].annotation, item) if key in fields else item for item in _split(text)]
        for key, text in texts.items()
    }


def describe_strategy(name: str) -> StrategyDescription:
    """Return the description of a strategy by its name in STRATEGIES, or by `package.module:Class`.

    Meanings are docstrings: of the class, and below each field.

    Raises
    ------
    ConfigError
        If there is no such strategy; the message suggests the closest name.

    """
    part = strategy_class(name)
    parameters = tuple(_parameter(key, field) for key, field in part.model_fields.items())
    paragraph = inspect.cleandoc(part.__doc__ or "").partition("\n\n")[0]
    class_path = f"{part.__module__}:{part.__qualname__}"
    return StrategyDescription(name, class_path, _one_line(paragraph), _warm_up(part), parameters)


def _value_for(annotation: Any, value: Any) -> Any:
    from peak_trade.strategies.base import Strategy

    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    options = get_args(annotation) if get_origin(annotation) not in (tuple, None) else (annotation,)
    sequences = [option for option in options if get_origin(option) is tuple]
    if sequences and isinstance(value, str | list | tuple):
        parts = _split(value) if isinstance(value, str) else list(value)
        if isinstance(value, str) and value.strip().lower() == "none":
            return None
        item = get_args(sequences[0])[0]
        return tuple(_value_for(item, part) for part in parts)
    if isinstance(annotation, type) and issubclass(annotation, Strategy):
        return _member(value)
    if not isinstance(value, str) or any(option is str or isinstance(option, str) for option in options):
        return value
    return _parsed(value)


def _member(value: Any) -> Any:
    if isinstance(value, str):
        return make_strategy(value)
    if isinstance(value, Mapping):
        if not isinstance(value.get("strategy"), str):
            raise ConfigError(f"member {dict(value)!r}: strategy is missing. Name the member's strategy.")
        return make_strategy(value["strategy"], {key: part for key, part in value.items() if key != "strategy"})
    return value


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.strip().strip("[]()").split(",") if part.strip()]


def _parsed(text: str) -> Any:
    if text.strip().lower() in ("none", "null"):
        return None
    if text.strip().lower() in ("true", "false"):
        return text.strip().lower() == "true"
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    return text


def _warm_up(part: type[Strategy]) -> int | None:
    try:
        return part().warm_up
    except Exception:  # a parameter without a default, or code of the user
        return None


def _parameter(name: str, field: FieldInfo) -> Parameter:
    is_required = field.is_required()
    default = None if is_required else _named(field.get_default(call_default_factory=True, validated_data={}))
    values = _values(field.annotation, field.metadata)
    return Parameter(name, values, default, is_required, _one_line(field.description or ""))


def _named(value: object) -> object:
    """Return a value with the name in place of a strategy, and the value in place of an enum member."""
    from peak_trade.strategies.base import Strategy

    if isinstance(value, Strategy):
        return value.name
    if isinstance(value, Enum):
        return value.value
    return [_named(part) for part in value] if isinstance(value, list | tuple) else value


def _values(annotation: Any, constraints: Sequence[Any] = ()) -> str:
    """Return in words which values an annotation with its constraints allows."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _values(parts[0], [*constraints, *_constraints(parts[1:])])
    if origin is Literal:
        return _joined([str(part) for part in parts])
    if origin in (tuple, list):
        return f"list of: {_joined([_values(part) for part in parts if part is not Ellipsis])}"
    if origin in (Union, UnionType):
        return _joined([_values(part, constraints if part is not NoneType else ()) for part in parts])
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return _joined([str(member.value) for member in annotation])
    noun = "strategy" if _is_strategy(annotation) else _NOUNS.get(origin or annotation)
    return f"{noun or getattr(annotation, '__name__', annotation)}{_bounds(constraints)}"


def _constraints(metadata: Sequence[Any]) -> list[Any]:
    return [each for part in metadata for each in getattr(part, "metadata", [part])]


def _bounds(constraints: Sequence[Any]) -> str:
    """Return the bounds in words: " from 0 to 1", " above 0", " from 1"; the bound of every number is left out."""
    from peak_trade.core.settings import LARGEST

    words = {"ge": "from", "gt": "above", "le": "to", "lt": "below"}
    found = {key: getattr(part, key) for key in words for part in constraints if getattr(part, key, None) is not None}
    found = {key: bound for key, bound in found.items() if bound != LARGEST}
    return "".join(f" {word} {found[key]:g}" for key, word in words.items() if key in found)


def _is_strategy(annotation: Any) -> bool:
    from peak_trade.strategies.base import Strategy

    return isinstance(annotation, type) and issubclass(annotation, Strategy)


def _joined(words: Sequence[str]) -> str:
    return " or ".join(part for part in (", ".join(words[:-1]), words[-1]) if part)


def _one_line(text: str) -> str:
    return " ".join(text.split())
