"""What can be limited. A limit that is not set is not asked for; a limit that is set fails closed."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from peak_trade.core.settings import Fraction, NonNegative, Notional, Positive, Settings
from peak_trade.core.time import Timeframe

Window = Annotated[float, Field(gt=0.0, le=1e9, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1, le=1_000_000)]
Days = Annotated[int, Field(ge=2, le=10_000)]
Level = Annotated[float, Field(ge=0.5, lt=1.0)]
VarMethod = Literal["historical", "parametric", "cornish_fisher", "filtered_historical"]


class LiquidityLimits(Settings):
    """Limits on what an order may cost and how much of the market it may be."""

    book: Literal["absent", "declared"] = "absent"
    """`declared`: an order book comes with every decision, and a missing one denies; `absent`: the impact model."""

    max_spread: Fraction | None = 0.005
    """Largest spread, fraction of mid."""

    max_slippage: Fraction | None = 0.01
    """Largest estimated cost of the order against mid, fraction."""

    min_touch_depth: Positive | None = 1.5
    """Least quantity at the touch, in multiples of the order. Asked with a declared book only."""

    touch_width: Fraction = 0.0001
    """How far from the best price still counts as the touch, fraction of it; 0 for the best level alone."""

    min_book_depth: Positive | None = 1.5
    """Least quantity over the best 20 levels, in multiples of the order. Asked with a declared book only."""

    max_daily_volume_share: Fraction | None = 0.02
    """Largest order as a share of the average daily volume."""

    max_bar_volume_share: Positive | None = None
    """Largest order as a share of the decision bar's volume."""

    max_book_age: Positive | None = 5.0
    """Oldest order book, seconds. Asked with a declared book only."""

    market_order_share: Annotated[float, Field(gt=0.0, le=1.0)] = 0.7
    """Share of each liquidity limit that market and stop orders are held to."""

    model_spread: Fraction = 0.0005
    """Spread assumed without a book, fraction of mid."""

    impact_coefficient: NonNegative = 1.0
    """Impact without a book: coefficient times daily volatility times the root of order over average daily volume."""

    @model_validator(mode="after")
    def _some_order_passes(self) -> Self:
        if self.book == "absent" and self.max_spread is not None and self.model_spread > self.max_spread:
            raise ValueError(
                f"model_spread is {self.model_spread}, max_spread {self.max_spread}; without a book every order would "
                "be denied"
            )
        return self


class VarLimits(Settings):
    """Limits on the one-day loss of the portfolio with the proposed order in it."""

    max_var: Fraction | None = 0.02
    """Largest value at risk, fraction of equity."""

    max_expected_shortfall: Fraction | None = None
    """Largest expected shortfall, fraction of equity."""

    method: VarMethod = "historical"
    """How both are estimated."""

    level: Level = 0.95
    """Confidence: 0.95 is exceeded on one day in twenty."""

    source: str = "run"
    """Bars that the daily returns are made of: `run`, the run's own; or stored ones, `1d` or `binance 1d`."""

    n_days: Days = 500
    """Days of history used, the newest."""

    min_days: Days = 350
    """Fewest days of history: 250 to test the model on and at least 100 to fit it on."""

    max_age_days: Positive = 2.0
    """Oldest last day of the history, days before the decision."""

    ewma_decay: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.94
    """Decay of the volatility estimate of the filtered historical method."""

    refuse_red_zone: bool = True
    """Whether a model in the red zone of its backtest denies."""

    @property
    def stored(self) -> tuple[str | None, Timeframe] | None:
        """Exchange (None: the run's own) and timeframe of the stored bars that are the source; None: the run's bars."""
        if self.source == "run":
            return None
        exchange, _, timeframe = self.source.rpartition(" ")
        return exchange or None, Timeframe.parse(timeframe)

    @field_validator("source")
    @classmethod
    def _is_a_source(cls, source: str) -> str:
        exchange, _, timeframe = source.rpartition(" ")
        is_stored = re.fullmatch(r"[a-z0-9_]*", exchange) and re.fullmatch(r"[1-9][0-9]*[smhd]", timeframe)
        if source != "run" and not (is_stored and Timeframe.parse(timeframe).seconds <= 86_400):
            raise ValueError("use run, for the run's own bars, or stored bars of at most a day, like 1d or binance 1d")
        return source

    @model_validator(mode="after")
    def _enough_days(self) -> Self:
        if self.min_days > self.n_days:
            raise ValueError(f"min_days is {self.min_days}, n_days {self.n_days}; use at least as many as are needed")
        if self.refuse_red_zone and self.min_days < 350:
            raise ValueError("min_days must be at least 350 to backtest the model; or set refuse_red_zone = false")
        return self


class StressLimits(Settings):
    """Limits on the loss of the portfolio with the proposed order in it, when a scenario comes true."""

    max_stress_loss: Fraction | None = 0.20
    """Largest loss in the worst scenario, fraction of equity."""

    max_projected_drawdown: Fraction | None = None
    """Largest maximum drawdown over the horizon in all but 5 % of bootstrapped paths, fraction of equity."""

    scenarios: Annotated[list[str], Field(min_length=1)] | None = None
    """Names of the scenarios asked; all when not set."""

    spread: Fraction = 0.0005
    """Ordinary spread, which one scenario widens tenfold; fraction of mid."""

    horizon_days: Days = 30
    """Days that the drawdown is projected over."""

    block_days: Annotated[int, Field(ge=1, le=100)] = 5
    """Days that the bootstrap keeps together."""

    n_paths: Annotated[int, Field(ge=50, le=10_000)] = 200
    """Bootstrapped paths."""

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
    """When trading stops by itself, and how it comes back."""

    reduce_drawdown: Fraction | None = None
    """Drawdown from which only reducing orders pass."""

    halt_drawdown: Fraction | None = None
    """Drawdown from which nothing but cancels passes."""

    reduce_daily_loss: Fraction | None = None
    """Loss since the start of the UTC day, fraction, from which only reducing orders pass."""

    halt_daily_loss: Fraction | None = None
    """Loss since the start of the UTC day, fraction, from which nothing but cancels passes."""

    max_feed_age: Positive | None = None
    """Age of the newest bar, seconds, above which only reducing orders pass."""

    cooldown: NonNegative = 3600.0
    """Least time from the last trigger to a recovery, seconds."""

    ramp_stage: NonNegative = 86_400.0
    """Time at each stage of the ramp (50 %, then 75 %, then all of the size limits), seconds."""

    @model_validator(mode="after")
    def _reducing_comes_first(self) -> Self:
        for name in ("drawdown", "daily_loss"):
            reduce, halt = getattr(self, f"reduce_{name}"), getattr(self, f"halt_{name}")
            if reduce is not None and halt is not None and reduce > halt:
                raise ValueError(f"reduce_{name} is {reduce}, halt_{name} {halt}; reducing must come first")
        return self


class RiskLimits(Settings):
    """Limits every order is held against before it reaches a venue."""

    max_data_age: NonNegative | None = None
    """Oldest newest bar of the symbol, seconds before the decision."""

    duplicate_window: Window | None = None
    """Seconds within which an order alike in strategy, symbol, side, quantity and reason is a duplicate.

    Equal ids always are.
    """

    max_orders: Count | None = None
    """Most orders within `order_window`."""

    order_window: Window = 60.0
    """Window of `max_orders`, seconds."""

    max_same_side_fills: Count | None = None
    """Most fills of one strategy on one side within `fill_window`; beyond, the strategy is disabled."""

    fill_window: Window = 3600.0
    """Window of `max_same_side_fills`, seconds."""

    max_order_notional: Notional | None = None
    """Largest notional of one order, in quote currency."""

    max_price_deviation: Fraction | None = None
    """Largest distance of a decision, limit or stop price from the market's price, fraction."""

    max_symbol_exposure: Positive | None = None
    """Largest exposure to one symbol, fraction of equity; above 1 is leverage."""

    max_gross_exposure: Positive | None = None
    """Largest sum of unsigned exposures, fraction of equity."""

    max_net_exposure: Positive | None = None
    """Largest unsigned sum of signed exposures, fraction of equity."""

    max_concentration: Positive | None = None
    """Largest sum of squared exposures: 1 is all equity in one symbol, 0.1 ten tenths."""

    max_open_orders: Count | None = None
    """Most open orders."""

    max_daily_loss: Notional | None = None
    """Loss since the start of the UTC day beyond which only reducing orders pass, quote currency."""

    max_daily_loss_fraction: Fraction | None = None
    """The same as a fraction of equity at the start of the day."""

    max_drawdown: Fraction | None = None
    """Fall from peak equity beyond which only reducing orders pass."""

    size_to_limits: bool = False
    """Whether an order by target is cut to what the limits on size let pass; otherwise it is denied whole."""

    liquidity: LiquidityLimits | None = None
    var: VarLimits | None = None
    stress: StressLimits | None = None
    state: StateLimits = StateLimits()

    @model_validator(mode="after")
    def _stress_needs_history(self) -> Self:
        if self.stress is not None and self.var is None:
            raise ValueError("[stress] needs the return history that [var] declares; add a [var] table")
        return self
