"""What names a session: everything that its manifest records and a replay reads back."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from peak_trade.core.errors import ConfigError
from peak_trade.core.settings import NonNegative, Positive, Settings
from peak_trade.core.time import Timeframe
from peak_trade.core.values import Instrument, OrderType
from peak_trade.engine.settings import BacktestSettings, ExecutionPolicy
from peak_trade.risk.limits import RiskLimits

Mode = Literal["paper", "shadow", "testnet"]
MAX_BARS = 3_000_000
"""Bars that a session has room for: five years of minutes."""

SENT_TYPES = (OrderType.MARKET, OrderType.LIMIT)
"""The types of orders that a sandbox gets."""


class InstrumentSettings(Settings):
    """The exchange's grid for the symbol; 0 means none."""

    tick_size: NonNegative = 0.0
    """Step of prices, quote currency."""

    lot_size: NonNegative = 0.0
    """Step of quantities, base units."""

    min_notional: NonNegative = 0.0
    """Smallest order, quote currency."""

    is_shortable: bool = True
    """Whether more may be sold than is held."""

    def instrument(self, symbol: str) -> Instrument:
        """Return the instrument under this symbol."""
        return Instrument(symbol, self.tick_size, self.lot_size, self.min_notional, self.is_shortable)


class SessionConfig(Settings):
    """A session's configuration."""

    mode: Mode
    strategy: str
    """A strategy's name, or package.module:Class."""

    parameters: dict[str, Any] = Field(default_factory=dict)
    """The strategy's own."""

    symbol: str
    timeframe: str
    exchange: str
    feed: Literal["recorded", "live", "follow"] = "live"

    start: str | None = None
    """First close time of a recording that is traded, UTC; the bars before are history."""

    end: str | None = None
    """End of a recording's close times, UTC, exclusive."""

    duration: Annotated[int, Field(ge=1)] | None = None
    """Length in seconds of bar time, a bar at least; none: to the end of the recording, or until stopped."""

    pace: Annotated[Positive, Field(ge=0.001)] | None = None
    """How many times faster than it happened a recording is fed; none: at full speed."""

    n_history: Annotated[int, Field(ge=0)] = 500
    """Bars before the start that a live session asks the exchange for."""

    evaluation: Literal["whole", "bar"] = "bar"
    """Evaluate the strategy once over a recording, or at every bar over all bars so far."""

    follow: str | None = None
    """The session that a shadow follows."""

    instrument: InstrumentSettings = InstrumentSettings()
    trading: BacktestSettings = BacktestSettings()
    """Cash, costs, execution and sizing, as in a backtest."""

    risk: RiskLimits | None = None
    """Limits that every order is held against; none: every order that the instrument allows passes."""

    @classmethod
    def from_manifest(cls, record: Mapping[str, Any], where: str) -> Self:
        """Build from what a manifest records, also under the names of earlier versions; `where` opens an error."""
        return cls.parse(_with_current_names(record), where)

    @model_validator(mode="before")
    @classmethod
    def _take_former_names(cls, values: Any) -> Any:
        if not isinstance(values, Mapping) or "beside" not in values:
            return values
        warnings.warn(
            "beside is now follow, as a setting and as a feed; the next version refuses the former name.",
            DeprecationWarning,
            stacklevel=2,
        )
        return _with_current_names(values)

    @model_validator(mode="after")
    def _fits_its_mode(self) -> Self:
        if len({self.mode == "shadow", self.feed == "follow", self.follow is not None}) > 1:
            raise ValueError("a shadow session, and no other, follows a session: name it with --follow.")
        if self.pace is not None and self.feed != "recorded":
            raise ValueError(f"pace was {self.pace:g}: only a recorded feed has one.")
        for name, text, noun in (("start", self.start, "a start"), ("end", self.end, "an end")):
            if text is not None and self.feed != "recorded":
                raise ValueError(f"{name} was {text!r}: only a recording has {noun}. Leave --{name} out.")
        if self.duration is not None:
            n_bars = self.duration // Timeframe.parse(self.timeframe).seconds
            if n_bars < 1:
                raise ValueError(f"duration was {self.duration} s: a bar of {self.timeframe} is longer.")
            if n_bars > MAX_BARS:
                raise ValueError(
                    f"duration was {self.duration:,} s: {n_bars:,} bars of {self.timeframe}, more than the "
                    f"{MAX_BARS:,} that a session has room for."
                )
        if self.evaluation == "whole" and self.feed != "recorded":
            raise ValueError("only a recording can be evaluated as a whole.")
        age = None if self.risk is None else self.risk.state.max_feed_age
        if self.feed == "live" and age is not None and age <= Timeframe.parse(self.timeframe).seconds:
            raise ValueError(
                f"risk.state.max_feed_age was {age:g}: a feed of {self.timeframe} bars is always that old before the "
                "next one. Use more than the length of a bar."
            )
        return self


def _with_current_names(values: Mapping[str, Any]) -> dict[str, Any]:
    current = {("follow" if name == "beside" else name): value for name, value in values.items()}
    if current.get("feed") == "beside":
        current["feed"] = "follow"
    return current


def check_policy(policy: ExecutionPolicy) -> None:
    """Refuse, by setting, an execution policy whose orders a sandbox does not get.

    Raises
    ------
    ConfigError
        On protective levels, without which a position would stand unprotected, and on entries that are neither market
        nor limit orders.

    """
    for name in ("stop_loss", "stop_loss_atr", "take_profit", "take_profit_atr", "trailing_stop"):
        value = getattr(policy, name)
        if value is not None:
            raise ConfigError(
                f"trading.execution.{name} was {value:g}: protective orders do not reach a sandbox, and the position "
                "would stand there without. Leave it out, or use paper."
            )
    if policy.order_type not in SENT_TYPES:
        raise ConfigError(
            f'trading.execution.order_type was "{policy.order_type}": a sandbox gets market and limit orders only. '
            "Use one of these, or paper."
        )
