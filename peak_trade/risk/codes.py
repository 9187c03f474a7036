"""The closed set of denial codes, in the order in which the gates are asked."""

from __future__ import annotations

from enum import StrEnum


class DenialCode(StrEnum):
    """Why a gate refused an order. The text after each code is what a denial's `observed` number means."""

    meaning: str

    def __new__(cls, value: str, meaning: str) -> DenialCode:
        """Make a member from its code and its meaning."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.meaning = meaning
        return member

    TRADING_STATE = "trading_state", "0 active, 1 reducing, 2 halted; a reducing order passes up to 1, others at 0 only"
    STRATEGY_DISABLED = "strategy_disabled", "1 when the throttle has disabled the strategy until a named act"
    MISSING_DATA = "missing_data", "market values that are missing, from the future or of another symbol; none may be"
    STALE_DATA = "stale_data", "age of the newest bar, seconds"
    ORDER_SHAPE = "order_shape", "prices that the order's type lacks or can't have, or off the tick; none may be"
    QUANTITY = "quantity", "order quantity, base units, above zero; the limit is a lot, or the next whole one"
    MIN_NOTIONAL = "min_notional", "order notional, quote currency; the exchange takes no less"
    NOT_SHORTABLE = "not_shortable", "position after the order, base units; must not be below zero"
    DUPLICATE_ORDER = "duplicate_order", "earlier orders with the same id, or alike within the window"
    ORDER_RATE = "order_rate", "orders within the window, this one included"
    REPEATED_EXECUTION = "repeated_execution", "same-side fills of the strategy within the window, this order included"
    ORDER_NOTIONAL = "order_notional", "quantity times decision price, quote currency"
    PRICE_COLLAR = "price_collar", "largest distance of an order's price from the market's, fraction of the market's"
    SYMBOL_EXPOSURE = "symbol_exposure", "exposure to the symbol after the order, fraction of equity"
    GROSS_EXPOSURE = "gross_exposure", "sum of unsigned exposures after the order, fraction of equity"
    NET_EXPOSURE = "net_exposure", "unsigned sum of signed exposures after the order, fraction of equity"
    CONCENTRATION = "concentration", "sum of squared exposures after the order; 1 is all equity in one symbol"
    OPEN_ORDERS = "open_orders", "open orders, this one included"
    DAILY_LOSS = "daily_loss", "loss since the start of the UTC day, quote currency; 0 in profit"
    DAILY_LOSS_FRACTION = (
        "daily_loss_fraction",
        "loss since the start of the UTC day, fraction of equity then; 0 in profit",
    )
    DRAWDOWN = "drawdown", "fraction of the peak equity that is lost"
    STALE_BOOK = "stale_book", "age of the order book, seconds"
    SPREAD = "spread", "ask less bid over mid, fraction"
    SLIPPAGE = "slippage", "estimated cost of the order against mid, fraction"
    TOUCH_DEPTH = "touch_depth", "quantity within the touch's width of the best price over the order's quantity"
    BOOK_DEPTH = "book_depth", "quantity over 20 levels over the order's quantity"
    DAILY_VOLUME_SHARE = "daily_volume_share", "order quantity over the average daily volume"
    BAR_VOLUME_SHARE = "bar_volume_share", "order quantity over the bar's volume"
    VAR_MODEL = "var_model", "exceptions of the VaR model in 250 days; the limit is the last count before the red zone"
    VALUE_AT_RISK = "value_at_risk", "one-day value at risk of the portfolio with the order, fraction of equity"
    EXPECTED_SHORTFALL = (
        "expected_shortfall",
        "one-day expected shortfall of the portfolio with the order, fraction of equity",
    )
    STRESS_LOSS = "stress_loss", "loss of the portfolio with the order in its worst scenario, fraction of equity"
    PROJECTED_DRAWDOWN = "projected_drawdown", "bootstrapped maximum drawdown over the horizon, fraction of equity"
