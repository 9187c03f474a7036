"""Base class of all settings: strict, frozen, and without unknown keys."""

from __future__ import annotations

import inspect
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self, get_args

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.errors import PydanticUserError

from peak_trade.core.digest import digest_of
from peak_trade.core.errors import ConfigError, did_you_mean, quoted, shown
from peak_trade.core.field_words import LARGEST, fields_text, meanings_of
from peak_trade.core.files import read_text

Fraction = Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)]
"""A number from 0 to 1: 0.2 is 20 percent."""
Positive = Annotated[float, Field(gt=0.0, lt=LARGEST, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0.0, lt=LARGEST, allow_inf_nan=False)]
Leverage = Annotated[float, Field(ge=1.0, lt=LARGEST, allow_inf_nan=False)]
"""Exposure to one symbol in multiples of equity that is allowed at most."""
Finite = Annotated[float, Field(allow_inf_nan=False)]
Notional = Positive
"""Quantity times price, unsigned, in quote currency."""
Bps = Annotated[float, Field(ge=0.0, le=10_000.0, allow_inf_nan=False)]
"""Basis points: 10 is 0.1 percent."""
BarCount = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0)]
"""Seed of random numbers."""


_PYDANTIC: Any = type(BaseModel)


class _SettingsClass(_PYDANTIC):  # type: ignore[misc] # pydantic does not publish its metaclass
    """Class of the classes of settings, which makes every error of a definition or of a value a ConfigError."""

    def __new__(cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **options: Any) -> Any:
        """Define a class of settings."""
        try:
            return super().__new__(cls, name, bases, namespace, **options)
        except PydanticUserError as error:
            raise ConfigError(_class_sentence(name, namespace, error)) from None

    def __call__(cls, *unnamed: Any, **values: Any) -> Any:
        """Return settings with the named values; nested settings are validated by pydantic, to keep their path."""
        name = cls.__name__
        if unnamed:
            example = f"{name}({next(iter(cls.model_fields), 'name')}=…)"
            raise ConfigError(f"{name}: {shown(unnamed[0])} has no name. Name each value, like {example}.")
        lacking = ", ".join(sorted(cls.__abstractmethods__))
        if lacking:
            raise ConfigError(f"{name} does not define {lacking}. Define it.")
        try:
            return super().__call__(**values)
        except ValidationError as error:
            raise _config_error(name, cls, error) from None
        except PydanticUserError as error:
            raise ConfigError(_class_sentence(name, {}, error)) from None


class _Docstring:
    """The docstring of a class of settings, completed when it is read: the meanings of the fields are in its source."""

    def __init__(self, text: str) -> None:
        self._text = inspect.cleandoc(text)

    def __get__(self, settings: object, cls: type[Settings]) -> str:
        return f"{self._text}\n\n{fields_text(cls.model_fields, meanings_of(cls))}"


if TYPE_CHECKING:
    _Base = BaseModel
else:

    class _Base(BaseModel, metaclass=_SettingsClass):
        pass


class Settings(_Base):
    """Frozen, validated values with a digest. A numpy number becomes the Python number.

    Raises
    ------
    ConfigError
        On an unknown key (the closest known name is suggested), a value of the wrong type or range, or a value without
        a name. Also for a class that does not define what its base class demands.

    """

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    @classmethod
    def __pydantic_init_subclass__(cls, **options: Any) -> None:
        """Add the fields with their values and meanings to the docstring, where editors and notebooks show it."""
        super().__pydantic_init_subclass__(**options)
        if cls.__doc__ and cls.model_fields and "\nParameters\n" not in cls.__doc__:
            cls.__doc__ = _Docstring(cls.__doc__)  # type: ignore[assignment]

    @model_validator(mode="before")
    @classmethod
    def _with_python_numbers(cls, values: Any) -> Any:
        if isinstance(values, dict) and cls.__abstractmethods__:
            raise ValueError(f"give a value of a class that derives from {cls.__name__}")
        return {name: _python(value) for name, value in values.items()} if isinstance(values, dict) else values

    @classmethod
    def parse(cls, values: Mapping[str, Any], where: str) -> Self:
        """Return settings from parsed TOML or JSON; an error message starts with `where`."""
        if not isinstance(values, Mapping):
            raise ConfigError(f"{where}: {shown(values)} is not a table of settings. Write name = value.")
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            raise _config_error(where, cls, error) from None

    @classmethod
    def from_toml(cls, path: Path) -> Self:
        """Return settings from a TOML file."""
        return cls.parse(read_toml(path), str(path))

    def digest(self) -> str:
        """Return the SHA-256 of the class name and all values, as 64 hex digits."""
        return digest_of({"class": type(self).__name__, "values": self.model_dump(mode="json")})


def _python(value: Any) -> Any:
    """Return a numpy number, also one in a list or tuple, as a Python number."""
    if isinstance(value, np.generic):
        return value.item()
    return type(value)(map(_python, value)) if type(value) in (list, tuple) else value


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file; ConfigError when it is missing or malformed."""
    try:
        return tomllib.loads(read_text(path))
    except FileNotFoundError:
        raise ConfigError(f"{path}: there is no such file. Check the path.") from None
    except OSError as error:
        raise ConfigError(f"{path}: could not be read ({error.strerror}).") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: could not be read ({error}).") from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: this is not TOML: {error}.") from None


def _config_error(where: str, model: type[BaseModel], error: ValidationError) -> ConfigError:
    lines = [_sentence(model, dict(detail)) for detail in error.errors(include_url=False)]
    return ConfigError(f"{where}: {lines[0]}" + (f" ({len(lines) - 1} more)" if lines[1:] else ""))


def _class_sentence(name: str, namespace: Mapping[str, Any], error: PydanticUserError) -> str:
    if error.code == "model-field-missing-annotation":
        declared = namespace.get("__annotations__", {})
        for key, value in namespace.items():
            if f"`{key} = " in error.message and key not in declared:
                kind = type(value).__name__
                return f"{name}: {key} = {quoted(value)} has no type. Write {key}: {kind} = {quoted(value)}."
    reason = error.message.partition("\n")[0].partition(". ")[0]
    return f"{name}: {reason}. Declare each parameter as name: type = default, with int, float, bool or str."


def _sentence(model: type[BaseModel], detail: dict[str, Any]) -> str:
    location = detail["loc"]
    path = ".".join(str(part) for part in location)
    if detail["type"] == "extra_forbidden":
        known = _fields_at(model, location[:-1])
        return f"{path} is not a setting. {did_you_mean(str(location[-1]), known)}"
    if detail["type"] == "missing":
        return f"{path} is missing."
    message = str(detail["msg"]).removeprefix("Value error, ").removeprefix("Assertion failed, ")
    if not path:
        return message
    mark = "" if message[-1:] in ".?!" else "."
    return f"{path} was {quoted(detail['input'])}: {message[:1].lower()}{message[1:]}{mark}"


def _fields_at(model: type[BaseModel], location: tuple[Any, ...]) -> list[str]:
    for part in location:
        field = model.model_fields.get(str(part))
        nested = _models_in(field.annotation) if field else []
        if len(nested) == 1:
            model = nested[0]
    return list(model.model_fields)


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models_in(part)]
