"""The denial codes, in the order in which the gates are asked."""

from __future__ import annotations

from enum import StrEnum


class DenialCode(StrEnum):
    """Reason of a denial. The text after each code is the meaning of the denial's `observed` value."""

    meaning: str

    def __new__(cls, value: str, meaning: str) -> DenialCode:
        """Create a member from its code and its meaning."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.meaning = meaning
        return member

    TRADING_STATE = "trading_state", "0 active, 1 reducing, 2 halted; a reducing order passes up to 1, others at 0 only"
    STRATEGY_DISABLED = "strategy_disabled", "1 if the throttle has disabled the strategy, until an operator enables it"
    MISSING_DATA = "missing_data", "number of market values that are missing, from the future or of another symbol"
    STALE_DATA = "stale_data", "age of the newest bar, seconds"
    ORDER_SHAPE = (
        "order_shape",
        "number of prices that the order's type needs and lacks, does not have, or that are off the tick",
    )
    QUANTITY = "quantity", "order quantity, base units, above zero; the limit is one lot, or the next whole lot"
    MIN_NOTIONAL = "min_notional", "order notional, quote currency; the limit is the exchange's minimum"
    NOT_SHORTABLE = "not_shortable", "position after the order, base units; the limit is zero"
    MAX_LEVERAGE = (
        "max_leverage",
        "exposure to the symbol after the order, multiples of equity; the limit is the instrument's, 1 by default",
    )
    DUPLICATE_ORDER = "duplicate_order", "earlier orders with the same id, and similar orders within the window"
    ORDER_RATE = "order_rate", "orders within the window, including this one"
    REPEATED_EXECUTION = "repeated_execution", "same-side fills of the strategy within the window, including this order"
    ORDER_NOTIONAL = "order_notional", "quantity times decision price, quote currency"
    PRICE_COLLAR = (
        "price_collar",
        "largest distance of the order's prices from the market price, fraction of the market price",
    )
    SYMBOL_EXPOSURE = "symbol_exposure", "exposure to the symbol after the order, fraction of equity"
    GROSS_EXPOSURE = "gross_exposure", "sum of unsigned exposures after the order, fraction of equity"
    NET_EXPOSURE = "net_exposure", "unsigned sum of signed exposures after the order, fraction of equity"
    CONCENTRATION = "concentration", "sum of squared exposures after the order; 1 is all equity in one symbol"
    OPEN_ORDERS = "open_orders", "open orders, including this one"
    DAILY_LOSS = "daily_loss", "loss since the start of the UTC day, quote currency; 0 for a profit"
    DAILY_LOSS_FRACTION = (
        "daily_loss_fraction",
        "loss since the start of the UTC day, fraction of equity at that time; 0 for a profit",
    )
    DRAWDOWN = "drawdown", "fraction of the peak equity that is lost"
    STALE_BOOK = "stale_book", "age of the order book, seconds"
    SPREAD = "spread", "(ask − bid) / mid, fraction"
    SLIPPAGE = "slippage", "estimated cost of the order against mid, fraction"
    TOUCH_DEPTH = "touch_depth", "quantity within the touch's width of the best price, in multiples of the order"
    BOOK_DEPTH = "book_depth", "quantity over 20 levels, in multiples of the order"
    DAILY_VOLUME_SHARE = "daily_volume_share", "order quantity as a fraction of the average daily volume"
    BAR_VOLUME_SHARE = "bar_volume_share", "order quantity as a fraction of the bar's volume"
    VAR_MODEL = (
        "var_model",
        "exceptions of the VaR model in 250 days (12.5 expected at 95 %, 2.5 at 99 %), in the test nearest to the red "
        "zone; the limit is the largest count outside it",
    )
    VALUE_AT_RISK = "value_at_risk", "one-day value at risk of the portfolio with the order, fraction of equity"
    EXPECTED_SHORTFALL = (
        "expected_shortfall",
        "one-day expected shortfall of the portfolio with the order, fraction of equity",
    )
    STRESS_LOSS = "stress_loss", "loss of the portfolio with the order in its worst scenario, fraction of equity"
    PROJECTED_DRAWDOWN = "projected_drawdown", "bootstrapped maximum drawdown over the horizon, fraction of equity"
