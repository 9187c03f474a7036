"""Risk limits. A limit that is not set has no gate; the gate of a limit that is set fails closed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from types import NoneType
from typing import Annotated, Literal, Self, get_args

from pydantic import Field, field_validator, model_validator

from peak_trade.core.settings import Fraction, NonNegative, Notional, Positive, Settings
from peak_trade.core.time import Timeframe
from peak_trade.data.places import EXCHANGE

Window = Annotated[float, Field(gt=0.0, le=1e9, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1, le=1_000_000)]
Days = Annotated[int, Field(ge=2, le=10_000)]
Level = Annotated[float, Field(ge=0.5, lt=1.0)]
VarMethod = Literal["historical", "parametric", "cornish_fisher", "filtered_historical"]
EWMA_DECAY = 0.96
"""Decay with the smallest QLIKE loss of one-day variance forecasts on three symbols; docs/risk.md states the rule."""


class LiquidityLimits(Settings):
    """Limits on the cost of an order and on its size relative to the market."""

    book: Literal["absent", "declared"] = "absent"
    """`declared`: every decision has an order book, and a missing one denies; `absent`: the impact model is used."""

    max_spread: Fraction | None = 0.005
    """Maximum spread, fraction of mid."""

    max_slippage: Fraction | None = 0.01
    """Maximum estimated cost of the order against mid, fraction."""

    min_touch_depth: Positive | None = 1.5
    """Minimum quantity at the touch, in multiples of the order. Needs a declared book."""

    touch_width: Fraction = 0.0001
    """Distance from the best price that counts as the touch, fraction of it; 0 for the best level alone."""

    min_book_depth: Positive | None = 1.5
    """Minimum quantity over the best 20 levels, in multiples of the order. Needs a declared book."""

    max_daily_volume_share: Fraction | None = 0.02
    """Maximum order as a fraction of the average daily volume."""

    max_bar_volume_share: Positive | None = None
    """Maximum order as a fraction of the decision bar's volume."""

    max_book_deviation: Fraction = 0.2
    """Maximum distance of the book's mid from the decision price, fraction. A book farther away counts as missing."""

    max_book_age: Positive | None = 5.0
    """Maximum age of the order book, seconds. Needs a declared book."""

    market_order_share: Annotated[float, Field(gt=0.0, le=1.0)] = 0.7
    """Fraction of each liquidity limit that applies to market and stop orders."""

    model_spread: Fraction = 0.0005
    """Spread assumed without an order book, fraction of mid."""

    impact_coefficient: NonNegative = 1.0
    """Coefficient of the impact model: impact = coefficient * daily volatility * sqrt(order / average daily volume)."""

    @model_validator(mode="after")
    def _some_order_passes(self) -> Self:
        if self.book == "absent" and self.max_spread is not None and self.model_spread > self.max_spread:
            raise ValueError(
                f"model_spread is {self.model_spread}, max_spread {self.max_spread}; without a book every order would "
                "be denied"
            )
        return self


class VarLimits(Settings):
    """Limits on the one-day loss of the portfolio that includes the proposed order."""

    max_var: Fraction | None = 0.02
    """Maximum value at risk, fraction of equity."""

    max_expected_shortfall: Fraction | None = None
    """Maximum expected shortfall, fraction of equity."""

    method: VarMethod = "filtered_historical"
    """Estimator of both."""

    level: Level = 0.95
    """Confidence level: a loss exceeds the estimate of 0.95 on one day in twenty."""

    source: str = "run"
    """Source of the daily returns: `run` for the run's own bars, or stored bars such as `1d` or `binance 1d`."""

    n_days: Days = 500
    """Number of days of history, the most recent ones."""

    min_days: Days = 350
    """Minimum days of history: 250 to test the model and at least 100 to fit it."""

    max_age_days: Positive = 2.0
    """Maximum age of the last day of the history, days before the decision."""

    ewma_decay: Annotated[float, Field(gt=0.0, lt=1.0)] = EWMA_DECAY
    """Decay of the volatility estimate of the filtered historical method."""

    refuse_red_zone: bool = True
    """Whether orders are denied while the model is in the red zone of its backtest."""

    @property
    def stored(self) -> tuple[str | None, Timeframe] | None:
        """Exchange (None: the run's own) and timeframe of the stored source; None if the source is the run's bars."""
        if self.source == "run":
            return None
        exchange, _, timeframe = self.source.rpartition(" ")
        return exchange or None, Timeframe.parse(timeframe)

    @field_validator("source")
    @classmethod
    def _is_a_source(cls, source: str) -> str:
        exchange, _, timeframe = source.rpartition(" ")
        is_stored = (not exchange or EXCHANGE.fullmatch(exchange)) and re.fullmatch(r"[1-9][0-9]*[smhd]", timeframe)
        if source != "run" and not (is_stored and Timeframe.parse(timeframe).seconds <= 86_400):
            raise ValueError("use run for the run's own bars, or stored bars of at most a day, like 1d or binance 1d")
        return source

    @model_validator(mode="after")
    def _enough_days(self) -> Self:
        if self.min_days > self.n_days:
            raise ValueError(f"min_days is {self.min_days}, n_days {self.n_days}; set n_days to at least min_days")
        if self.refuse_red_zone and self.min_days < 350:
            raise ValueError("min_days must be at least 350 to backtest the model; or set refuse_red_zone = false")
        return self


class StressLimits(Settings):
    """Limits on the loss of the portfolio that includes the proposed order, in stress scenarios."""

    max_stress_loss: Fraction | None = 0.20
    """Maximum loss in the worst scenario, fraction of equity."""

    max_projected_drawdown: Fraction | None = None
    """Maximum drawdown over the horizon on 95 % of the bootstrapped paths, fraction of equity."""

    scenarios: Annotated[list[str], Field(min_length=1)] | None = None
    """Names of the scenarios; all if not set."""

    spread: Fraction = 0.0005
    """Ordinary spread, fraction of mid; one scenario widens it tenfold."""

    horizon_days: Days = 30
    """Horizon of the projected drawdown, days."""

    block_days: Annotated[int, Field(ge=1, le=100)] = 5
    """Length of the blocks of the bootstrap, days."""

    n_paths: Annotated[int, Field(ge=50, le=10_000)] = 200
    """Number of bootstrapped paths."""

    seed: int = 1
    """Seed of the bootstrap."""

    @model_validator(mode="after")
    def _known_scenarios(self) -> Self:
        from peak_trade.core.errors import did_you_mean
        from peak_trade.risk.scenarios import SCENARIO_NAMES

        for name in self.scenarios or ():
            if name not in SCENARIO_NAMES:
                raise ValueError(f"{name} is not a scenario. {did_you_mean(name, SCENARIO_NAMES)}")
        return self


class StateLimits(Settings):
    """Triggers that stop trading, and the conditions of a recovery."""

    reduce_drawdown: Fraction | None = None
    """Drawdown at which trading becomes reducing: only reducing orders pass."""

    halt_drawdown: Fraction | None = None
    """Drawdown at which trading halts: only cancels pass."""

    reduce_daily_loss: Fraction | None = None
    """Loss since the start of the UTC day, fraction, at which trading becomes reducing."""

    halt_daily_loss: Fraction | None = None
    """Loss since the start of the UTC day, fraction, at which trading halts."""

    max_feed_age: Positive | None = None
    """Age of the newest bar, seconds, above which trading becomes reducing."""

    cooldown: NonNegative = 3600.0
    """Minimum time from the last trigger to a recovery, seconds."""

    ramp_stage: NonNegative = 86_400.0
    """Duration of each stage of the ramp (50 %, then 75 %, then 100 % of the size limits), seconds."""

    @model_validator(mode="after")
    def _reducing_comes_first(self) -> Self:
        for name in ("drawdown", "daily_loss"):
            reduce, halt = getattr(self, f"reduce_{name}"), getattr(self, f"halt_{name}")
            if reduce is not None and halt is not None and reduce > halt:
                raise ValueError(f"reduce_{name} is {reduce}, halt_{name} {halt}; lower reduce_{name}")
        return self


class RiskLimits(Settings):
    """Limits that every order is checked against before it reaches a venue."""

    max_data_age: NonNegative | None = None
    """Maximum age of the symbol's newest bar at the decision, seconds."""

    duplicate_window: Window | None = None
    """Window in which an order with equal strategy, symbol, side, quantity and reason is a duplicate, seconds.

    An order with an equal id is always a duplicate.
    """

    max_orders: Count | None = None
    """Maximum number of orders within `order_window`."""

    order_window: Window = 60.0
    """Window of `max_orders`, seconds."""

    max_same_side_fills: Count | None = None
    """Maximum fills of one strategy on one side within `fill_window`; one more disables the strategy."""

    fill_window: Window = 3600.0
    """Window of `max_same_side_fills`, seconds."""

    max_order_notional: Notional | None = None
    """Maximum notional of one order, in quote currency."""

    max_price_deviation: Fraction | None = None
    """Maximum distance of a decision, limit or stop price from the market price, fraction."""

    max_symbol_exposure: Positive | None = None
    """Maximum exposure to one symbol, fraction of equity; at most the `max_leverage` of an instrument of the run."""

    max_gross_exposure: Positive | None = None
    """Maximum sum of unsigned exposures, fraction of equity."""

    max_net_exposure: Positive | None = None
    """Maximum unsigned sum of signed exposures, fraction of equity."""

    max_concentration: Positive | None = None
    """Maximum sum of squared exposures: 1 is all equity in one symbol, 0.1 is one tenth in each of ten."""

    max_open_orders: Count | None = None
    """Maximum number of open orders."""

    max_daily_loss: Notional | None = None
    """Loss since the start of the UTC day above which only reducing orders pass, quote currency."""

    max_daily_loss_fraction: Fraction | None = None
    """Loss since the start of the UTC day above which only reducing orders pass, fraction of equity at that time."""

    max_drawdown: Fraction | None = None
    """Fall from peak equity above which only reducing orders pass, fraction."""

    size_to_limits: bool = False
    """Whether an order that follows a target is reduced to the size limits; otherwise it is denied as a whole."""

    liquidity: LiquidityLimits | None = None
    var: VarLimits | None = None
    stress: StressLimits | None = None
    state: StateLimits = StateLimits()

    @model_validator(mode="after")
    def _stress_needs_history(self) -> Self:
        if self.stress is not None and self.var is None:
            raise ValueError("[stress] needs the return history that [var] declares; add a [var] table")
        return self

    @property
    def in_force(self) -> tuple[str, ...]:
        """Names of the limits that can deny an order or stop trading, such as `max_orders` and `liquidity.max_spread`.

        Switches, windows and parameters of estimators are not limits; neither are limits on an order book that is not
        declared.
        """
        has_book = self.liquidity is not None and self.liquidity.book == "declared"
        return tuple(name for name in _set_limits(self) if has_book or name not in _BOOK_LIMITS)


def has_limits(limits: RiskLimits | None) -> bool:
    """Return whether any limit is in force."""
    return limits is not None and bool(limits.in_force)


_BOOK_LIMITS = ("liquidity.min_touch_depth", "liquidity.min_book_depth", "liquidity.max_book_age")


def _set_limits(settings: Settings) -> Iterator[str]:
    """Yield the names of the numbers that are set and could be left out, those of tables with their table's name."""
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        if isinstance(value, Settings):
            yield from (f"{name}.{inner}" for inner in _set_limits(value))
        elif NoneType in get_args(field.annotation) and isinstance(value, int | float):
            yield name
