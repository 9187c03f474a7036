"""Table of strategies by name, and their parameters. To add a strategy, write its module and add an entry."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_origin

from peak_trade.core.arguments import checks_arguments
from peak_trade.core.errors import ConfigError
from peak_trade.core.field_words import meanings_of, values_in_words
from peak_trade.wiring.parts import find_class

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

    from peak_trade.strategies.base import BaseStrategy, Strategy
    from peak_trade.strategies.panel import PanelStrategy

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

PANEL_STRATEGIES: dict[str, str] = {
    "cross_sectional_momentum": "peak_trade.strategies.cross_sectional_momentum:CrossSectionalMomentum",
    "pairs": "peak_trade.strategies.pairs:Pairs",
    "volatility_basket": "peak_trade.strategies.volatility_basket:VolatilityBasket",
}
"""As STRATEGIES, those that see several symbols at once."""


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
    sees: str = "one symbol"
    """What a decision depends on; see `BaseStrategy.sees`."""


def strategy_class(name: str) -> type[Strategy]:
    """Return the strategy class of a name in STRATEGIES, or of `package.module:Class`, in the working folder too.

    Raises
    ------
    ConfigError
        If there is none; the message suggests the closest name.

    """
    from peak_trade.strategies.base import Strategy

    if is_panel_strategy(name):
        raise ConfigError(
            f"strategy {name}: it sees several symbols at once, and runs in a portfolio only. Name it with symbols "
            "in a portfolio file."
        )
    part: type[Strategy] = find_class("strategy", name, STRATEGIES, Strategy)
    return part


def is_panel_strategy(name: str) -> bool:
    """Return whether a name, or `package.module:Class`, is that of a panel strategy; see `strategy_class`."""
    from peak_trade.strategies.panel import PanelStrategy

    return _class_of(name).sees == PanelStrategy.sees


def _class_of(name: str) -> type[BaseStrategy]:
    from peak_trade.strategies.base import Strategy
    from peak_trade.strategies.panel import PanelStrategy

    part: type[BaseStrategy] = find_class("strategy", name, STRATEGIES | PANEL_STRATEGIES, Strategy, PanelStrategy)
    return part


def panel_strategy_class(name: str) -> type[PanelStrategy]:
    """Return the class of a name in PANEL_STRATEGIES, or of `package.module:Class`; see `strategy_class`."""
    from peak_trade.strategies.panel import PanelStrategy

    if name in STRATEGIES:
        raise ConfigError(f"strategy {name}: it sees one symbol. Give it symbol in place of symbols.")
    part: type[PanelStrategy] = find_class("panel strategy", name, PANEL_STRATEGIES, PanelStrategy)
    return part


def make_panel_strategy(name: str, parameters: Mapping[str, Any] | None = None) -> PanelStrategy:
    """Build a panel strategy from its name and its parameters; see `make_strategy`."""
    part = panel_strategy_class(name)
    return part.parse(_typed(part, parameters or {}), name)


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
    return part.parse(_typed(part, parameters or {}), name)


def _typed(part: type[BaseStrategy], parameters: Mapping[str, Any]) -> dict[str, Any]:
    fields = part.model_fields
    return {
        key: _value_for(fields[key].annotation, value) if key in fields else value for key, value in parameters.items()
    }


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
    """Return the description of a strategy by its name, or by `package.module:Class`.

    Meanings are docstrings: of the class, and below each field.

    Raises
    ------
    ConfigError
        If there is no such strategy; the message suggests the closest name.

    """
    part = _class_of(name)
    meanings = meanings_of(part)
    parameters = tuple(_parameter(key, field, meanings.get(key, "")) for key, field in part.model_fields.items())
    paragraph = inspect.cleandoc(part.__doc__ or "").partition("\n\n")[0]
    class_path = f"{part.__module__}:{part.__qualname__}"
    return StrategyDescription(name, class_path, _one_line(paragraph), _warm_up(part), parameters, part.sees)


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


def _warm_up(part: type[BaseStrategy]) -> int | None:
    try:
        return part().warm_up
    except Exception:  # a parameter without a default, or code of the user
        return None


def _parameter(name: str, field: FieldInfo, meaning: str) -> Parameter:
    is_required = field.is_required()
    default = None if is_required else _named(field.get_default(call_default_factory=True, validated_data={}))
    values = values_in_words(field.annotation, field.metadata)
    return Parameter(name, values, default, is_required, _one_line(meaning))


def _named(value: object) -> object:
    """Return a value with the name in place of a strategy, and the value in place of an enum member."""
    from peak_trade.strategies.base import Strategy

    if isinstance(value, Strategy):
        return value.name
    if isinstance(value, Enum):
        return value.value
    return [_named(part) for part in value] if isinstance(value, list | tuple) else value


def _one_line(text: str) -> str:
    return " ".join(text.split())
