"""Scope of an approval and of evidence: a stage, strategies, symbols, code and configuration."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from peak_trade.core.digest import canonical_json
from peak_trade.core.settings import Settings

Stage = Literal["paper", "shadow", "testnet"]
"""How far the orders of a session go; each mode of a session is a stage."""

Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
"""A SHA-256 as 64 hex digits."""


class ScopedStrategy(Settings):
    """A strategy with its parameters."""

    name: str
    """A strategy's name, or package.module:Class."""

    parameters: dict[str, Any] = Field(default_factory=dict)
    """Every parameter of the strategy, also those at their default."""

    @field_validator("parameters")
    @classmethod
    def _is_json(cls, parameters: dict[str, Any]) -> dict[str, Any]:
        try:
            canonical_json(parameters)
        except (ValueError, TypeError, RecursionError):
            raise ValueError("a parameter is a text, a finite number, true or false, or a list of these") from None
        return parameters


class Scope(Settings):
    """The session that evidence was gathered for, or that an approval admits."""

    stage: Stage
    """Mode of the session."""

    strategies: Annotated[tuple[ScopedStrategy, ...], Field(strict=False)] = ()
    """The strategies; empty if none was named."""

    symbols: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """The symbols; empty if none was named."""

    code: Digest
    """Digest of the code: this package and a user's own strategy."""

    config: Digest
    """Digest of the configuration of the session."""

    def differences(self, other: Scope) -> tuple[str, ...]:
        """Return the names of the parts in which another scope differs: stage, strategies, symbols, code, config."""
        mine, theirs = self.model_dump(mode="json"), other.model_dump(mode="json")
        return tuple(name for name in mine if canonical_json(mine[name]) != canonical_json(theirs[name]))
