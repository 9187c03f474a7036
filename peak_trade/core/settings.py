"""Base class of all settings: strict, frozen, and without unknown keys."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from peak_trade.core.digest import digest_of
from peak_trade.core.errors import ConfigError, did_you_mean

Fraction = Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)]
"""A number from 0 to 1: 0.2 is 20 percent."""
Positive = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Notional = Positive
"""Quantity times price, unsigned, in quote currency."""
Bps = Annotated[float, Field(ge=0.0, le=10_000.0, allow_inf_nan=False)]
"""Basis points: 10 is 0.1 percent."""
BarCount = Annotated[int, Field(ge=1)]


class Settings(BaseModel):
    """Frozen, validated values with a digest.

    Raises
    ------
    ConfigError
        On an unknown key (the closest known name is suggested) or a value of the wrong type or range.

    """

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", use_attribute_docstrings=True)

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise _config_error(type(self).__name__, type(self), error) from None

    # Nested settings are validated by pydantic itself, so that an error carries its whole path.
    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]

    @classmethod
    def parse(cls, values: Mapping[str, Any], where: str) -> Self:
        """Return settings from parsed TOML or JSON; an error message starts with `where`."""
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


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file; ConfigError when it is missing or malformed."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: there is no such file. Check the path.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: could not be read ({error}).") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: this is not TOML: {error}.") from None


def _config_error(where: str, model: type[BaseModel], error: ValidationError) -> ConfigError:
    lines = [_sentence(model, dict(detail)) for detail in error.errors(include_url=False)]
    return ConfigError(f"{where}: {lines[0]}" + (f" ({len(lines) - 1} more)" if lines[1:] else ""))


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
    return f"{path} was {detail['input']!r}: {message[:1].lower()}{message[1:]}{mark}"


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
