"""Settings of a backtest: cash, costs, execution and sizing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from peak_trade.core.errors import ConfigError
from peak_trade.core.settings import BarCount, Bps, Fraction, Notional, Positive, Settings
from peak_trade.core.values import Instrument, OrderType, TimeInForce
from peak_trade.costs.model import Costs
from peak_trade.portfolio.sizing import FixedRisk, FractionOfEquity, Sizing
from peak_trade.risk.limits import RiskLimits

Distance = Annotated[float, Field(gt=0.0, lt=1.0)]
"""A distance from a price as a fraction of it: 0.05 is five percent. Values of 1 and above are errors."""


class ExecutionPolicy(Settings):
    """The orders that a change of target becomes. Exits by target are always market orders."""

    order_type: Annotated[OrderType, Field(strict=False)] = OrderType.MARKET
    """Type of the orders that open or enlarge a position."""

    time_in_force: Annotated[TimeInForce, Field(strict=False)] = TimeInForce.GTC
    """gtc rests until it is filled or the target changes; ioc lasts for one bar."""

    limit_offset_bps: Bps = 10.0
    """Distance by which a limit is better than the decision price, and a stop-limit's limit is beyond its stop."""

    stop_offset_bps: Bps = 10.0
    """Distance of a stop beyond the decision price, in the direction of the order."""

    trail: Distance | None = None
    """Distance of a trailing stop entry from the best price since the decision."""

    stop_loss: Distance | None = None
    """Distance of the stop-loss from the average entry price."""

    take_profit: Annotated[float, Field(gt=0.0, le=10.0)] | None = None
    """Distance of the take-profit from the average entry price."""

    stop_loss_atr: Positive | None = None
    """Distance of the stop-loss in multiples of the average true range at the decision."""

    take_profit_atr: Positive | None = None
    """Distance of the take-profit in multiples of the average true range at the decision."""

    trailing_stop: Distance | None = None
    """Distance of a protective trailing stop from the best price since the entry."""

    atr_window: BarCount = 14
    """Window of the average true range, bars (Wilder)."""

    no_trade_band: Fraction = 0.0
    """An order whose notional is a smaller fraction of equity is not sent, unless it closes the position."""

    @model_validator(mode="after")
    def _one_meaning(self) -> Self:
        if self.stop_loss is not None and self.stop_loss_atr is not None:
            raise ValueError("stop_loss and stop_loss_atr are both set: choose one.")
        if self.take_profit is not None and self.take_profit_atr is not None:
            raise ValueError("take_profit and take_profit_atr are both set: choose one.")
        if (self.order_type is OrderType.TRAILING_STOP) != (self.trail is not None):
            raise ValueError("trail belongs to order_type trailing_stop: set both or neither.")
        return self

    @property
    def has_stop(self) -> bool:
        """Whether fills are followed by an order that limits the loss."""
        return any(level is not None for level in (self.stop_loss, self.stop_loss_atr, self.trailing_stop))

    @property
    def has_protection(self) -> bool:
        """Whether fills are followed by protective orders."""
        return self.has_stop or self.take_profit is not None or self.take_profit_atr is not None

    @property
    def needs_atr(self) -> bool:
        """Whether a level is a multiple of the average true range."""
        return self.stop_loss_atr is not None or self.take_profit_atr is not None


class BacktestSettings(Settings):
    """All settings of a backtest other than its strategies and bars."""

    initial_cash: Notional = 10_000.0
    """Cash at the start, in quote currency."""

    costs: Costs = Costs()
    execution: ExecutionPolicy = ExecutionPolicy()
    sizing: Sizing = FractionOfEquity()

    intrabar: Literal["worst", "best"] = "worst"
    """Order of events where a bar does not show it: `worst` takes the stop, `best` the target."""

    seed: int = 0
    """Seed of the run."""

    @model_validator(mode="after")
    def _risk_has_a_stop(self) -> Self:
        if not isinstance(self.sizing, FixedRisk):
            return self
        if not self.execution.has_stop:
            raise ValueError("sizing fixed_risk needs a stop: set execution.stop_loss, stop_loss_atr or trailing_stop.")
        if self.sizing.stop_distance not in (None, self.execution.stop_loss):
            raise ValueError(
                f"sizing.stop_distance was {self.sizing.stop_distance:g}, and execution.stop_loss is "
                f"{self.execution.stop_loss}. Leave stop_distance out: the stop of the execution policy counts."
            )
        return self


def check_leverage(instruments: Sequence[Instrument], settings: BacktestSettings, limits: RiskLimits | None) -> None:
    """Raise ConfigError if a setting allows more exposure to a symbol than the instruments do.

    `sizing.max_scale` must be at most the `max_leverage` of every instrument, and `risk.max_symbol_exposure` that of
    one of them. Limits on the sum over all symbols are not compared.
    """
    scale = getattr(settings.sizing, "max_scale", None)
    least, largest = (choose(instruments, key=lambda each: each.max_leverage) for choose in (min, max))
    exposure = None if limits is None else limits.max_symbol_exposure
    for name, value, instrument in (
        ("sizing.max_scale", scale, least),
        ("risk.max_symbol_exposure", exposure, largest),
    ):
        if value is not None and value > instrument.max_leverage:
            raise ConfigError(
                f"{name} was {value:g}, and the max_leverage of {instrument.symbol} is {instrument.max_leverage:g}. "
                f"Lower {name}, or raise the instrument's max_leverage."
            )
