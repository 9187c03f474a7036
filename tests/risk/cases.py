"""For each limit, an order that it denies and an order that passes, with their common inputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from peak_trade.core.history import ReturnHistory
from peak_trade.core.time import NS_PER_SECOND
from peak_trade.core.values import (
    AccountView,
    Instrument,
    MarketView,
    Order,
    OrderBook,
    OrderType,
    PastFill,
    PastOrder,
    Side,
    TradingState,
)
from peak_trade.risk.codes import DenialCode
from peak_trade.risk.limits import RiskLimits
from tests.replacing import replace

BTC, ETH = "BTC/USDT", "ETH/USDT"
DAY = 86_400 * NS_PER_SECOND
NOW = 20_000 * DAY
HISTORY = ReturnHistory(
    "run", NOW, [BTC, ETH], np.random.default_rng(7).multivariate_normal([0, 0], [[9e-4, 6e-4], [6e-4, 16e-4]], 400).T
)
BOOK = OrderBook(
    NOW - NS_PER_SECOND,
    bids=tuple((100.0 - 0.1 * (level + 0.5), 10.0) for level in range(20)),
    asks=tuple((100.0 + 0.1 * (level + 0.5), 10.0) for level in range(20)),
)
ORDER = Order("o-9", NOW, "ma", BTC, Side.BUY, 1.0, 100.0)
SELL = replace(ORDER, side=Side.SELL, is_reducing=True)
ACCOUNT = AccountView(
    equity=10_000.0,
    cash=9_000.0,
    positions={BTC: 1.0, ETH: 0.0},
    marks={BTC: 100.0, ETH: 50.0},
    peak_equity=10_000.0,
    day_start_equity=10_000.0,
)
MARKET = MarketView(
    as_of=NOW,
    instrument=Instrument(BTC, tick_size=0.01, lot_size=0.001, min_notional=5.0, max_leverage=1_000.0),
    decision_price=100.0,
    bar_volume=1_000.0,
    bar_time=NOW,
    book=BOOK,
    average_daily_volume=100_000.0,
    daily_volatility=0.03,
    returns=HISTORY,
)


@dataclass(frozen=True)
class Case:
    """A value of a limit, with changes to the common inputs that it denies and changes that pass."""

    code: DenialCode
    limits: dict[str, Any]
    denied: dict[str, dict[str, Any]]
    passed: dict[str, dict[str, Any]]
    looser: Any = None
    tighter: Any = None

    def inputs(self, changes: dict[str, dict[str, Any]]) -> tuple[Order, AccountView, MarketView]:
        """Return order, account and market with the changes applied."""
        return (
            replace(ORDER, **changes.get("order", {})),
            replace(ACCOUNT, **changes.get("account", {})),
            replace(MARKET, **changes.get("market", {})),
        )

    def risk_limits(self, value: Any = None) -> RiskLimits:
        """Return the limits, with the case's own limit at another value if one is given."""
        if value is None:
            return RiskLimits(**self.limits)
        table = {key: dict(part) if isinstance(part, dict) else part for key, part in self.limits.items()}
        inner = next((part for part in table.values() if isinstance(part, dict)), table)
        for outer in ("stress", "liquidity"):
            inner = table.get(outer, inner)
        inner[next(iter(inner))] = value
        return RiskLimits(**table)


def _order(**changes: Any) -> dict[str, dict[str, Any]]:
    return {"order": changes}


def _account(**changes: Any) -> dict[str, dict[str, Any]]:
    return {"account": changes}


def _market(**changes: Any) -> dict[str, dict[str, Any]]:
    return {"market": changes}


def _past(n: int, **changes: Any) -> tuple[PastOrder, ...]:
    past = PastOrder("o-1", NOW - 10 * NS_PER_SECOND, "ma", BTC, Side.BUY, 2.0)._replace(**changes)
    return tuple(past._replace(order_id=f"o-{place}") for place in range(n))


def _filled(n: int, side: Side = Side.BUY) -> tuple[PastFill, ...]:
    return (PastFill(NOW - 10 * NS_PER_SECOND, "ma", BTC, side),) * n


BOOKED = {"book": "declared"}
_ONLY: dict[str, None] = dict.fromkeys(("max_spread", "max_slippage", "min_touch_depth", "min_book_depth"))
_ONLY |= dict.fromkeys(("max_daily_volume_share", "max_book_age"))


def _liquidity(name: str, value: float, **others: Any) -> dict[str, Any]:
    return {"liquidity": {name: value} | {key: None for key in _ONLY if key != name} | others}


def _var(**values: Any) -> dict[str, Any]:
    return {"var": values | {"refuse_red_zone": False}}


NOT_A_VAR = {"var": {"max_var": None, "refuse_red_zone": False}}
CRASHED = ReturnHistory(
    "run",
    NOW,
    [BTC, ETH],
    np.where(np.arange(400) < 300, 0.001, -0.05) * np.random.default_rng(3).uniform(0.5, 1.5, (2, 400)),
)

CASES = (
    Case(
        DenialCode.TRADING_STATE,
        {},
        _account(state=TradingState.REDUCING),
        _account(state=TradingState.REDUCING) | {"order": {"side": Side.SELL, "is_reducing": True}},
    ),
    Case(DenialCode.STRATEGY_DISABLED, {}, _account(throttled=("ma",)), _account(throttled=("rsi",))),
    Case(DenialCode.MISSING_DATA, {}, _market(decision_price=float("nan")), _market(decision_price=100.0)),
    Case(
        DenialCode.STALE_DATA,
        {"max_data_age": 60.0},
        _market(bar_time=NOW - 61 * NS_PER_SECOND),
        _market(bar_time=NOW - 60 * NS_PER_SECOND),
        looser=62.0,
        tighter=59.0,
    ),
    Case(DenialCode.ORDER_SHAPE, {}, _order(order_type=OrderType.LIMIT), _order(reason="stop_loss")),
    Case(DenialCode.QUANTITY, {}, _order(quantity=0.0), _order(quantity=0.1)),
    Case(DenialCode.MIN_NOTIONAL, {}, _order(quantity=0.049), _order(quantity=0.051)),
    Case(
        DenialCode.NOT_SHORTABLE,
        {},
        _order(side=Side.SELL, quantity=1.1) | _market(instrument=Instrument(BTC, is_shortable=False)),
        _order(side=Side.SELL, quantity=0.9) | _market(instrument=Instrument(BTC, is_shortable=False)),
    ),
    Case(
        DenialCode.MAX_LEVERAGE,
        {},
        _order(quantity=100.0) | _market(instrument=Instrument(BTC)),
        _order(quantity=98.9) | _market(instrument=Instrument(BTC)),
    ),
    Case(
        DenialCode.DUPLICATE_ORDER,
        {"duplicate_window": 60.0},
        _account(recent_orders=_past(1, quantity=1.0)),
        _account(recent_orders=_past(1, quantity=1.0, decided_at=NOW - 61 * NS_PER_SECOND)),
        looser=5.0,
        tighter=62.0,
    ),
    Case(
        DenialCode.ORDER_RATE,
        {"max_orders": 5},
        _account(recent_orders=_past(5)),
        _account(recent_orders=_past(4)),
        looser=6,
        tighter=4,
    ),
    Case(
        DenialCode.REPEATED_EXECUTION,
        {"max_same_side_fills": 5},
        _account(recent_fills=_filled(5)),
        _account(recent_fills=_filled(4) + _filled(5, Side.SELL)),
        looser=6,
        tighter=4,
    ),
    Case(
        DenialCode.ORDER_NOTIONAL,
        {"max_order_notional": 500.0},
        _order(quantity=5.01),
        _order(quantity=5.0),
        looser=502.0,
        tighter=499.0,
    ),
    Case(
        DenialCode.PRICE_COLLAR,
        {"max_price_deviation": 0.05},
        _order(order_type=OrderType.LIMIT, limit_price=106.0),
        _order(order_type=OrderType.LIMIT, limit_price=104.0),
        looser=0.07,
        tighter=0.03,
    ),
    Case(
        DenialCode.SYMBOL_EXPOSURE,
        {"max_symbol_exposure": 0.5},
        _order(quantity=49.1),
        _order(quantity=49.0),
        looser=0.51,
        tighter=0.49,
    ),
    Case(
        DenialCode.GROSS_EXPOSURE,
        {"max_gross_exposure": 1.0},
        _account(positions={BTC: 0.0, ETH: -199.0}),
        _account(positions={BTC: 0.0, ETH: -198.0}),
        looser=1.01,
        tighter=0.99,
    ),
    Case(
        DenialCode.NET_EXPOSURE,
        {"max_net_exposure": 0.5},
        _account(pending=((ETH, 100.0),)),
        _account(pending=((ETH, 95.0),)),
        looser=0.53,
        tighter=0.4,
    ),
    Case(
        DenialCode.CONCENTRATION,
        {"max_concentration": 0.25},
        _order(quantity=50.0),
        _order(quantity=49.0),
        looser=0.27,
        tighter=0.24,
    ),
    Case(DenialCode.OPEN_ORDERS, {"max_open_orders": 3}, _account(n_open_orders=3), _account(n_open_orders=2), 4, 2),
    Case(
        DenialCode.DAILY_LOSS,
        {"max_daily_loss": 500.0},
        _account(equity=9_499.0),
        _account(equity=9_500.0),
        looser=502.0,
        tighter=499.0,
    ),
    Case(
        DenialCode.DAILY_LOSS_FRACTION,
        {"max_daily_loss_fraction": 0.05},
        _account(equity=9_499.0),
        _account(equity=9_501.0),
        looser=0.051,
        tighter=0.049,
    ),
    Case(
        DenialCode.DRAWDOWN,
        {"max_drawdown": 0.2},
        _account(peak_equity=12_501.0),
        _account(peak_equity=12_499.0),
        looser=0.21,
        tighter=0.19,
    ),
    Case(
        DenialCode.STALE_BOOK,
        _liquidity("max_book_age", 5.0, **BOOKED),
        _market(book=replace(BOOK, ts_event=NOW - 6 * NS_PER_SECOND)),
        _market(book=replace(BOOK, ts_event=NOW - 5 * NS_PER_SECOND)),
        looser=7.0,
        tighter=4.0,
    ),
    Case(
        DenialCode.SPREAD,
        _liquidity("max_spread", 0.005, **BOOKED),
        _market(book=replace(BOOK, bids=((99.69, 10.0),), asks=((100.05, 10.0),))),
        _market(book=replace(BOOK, bids=((99.71, 10.0),), asks=((100.05, 10.0),))),
        looser=0.006,
        tighter=0.004,
    ),
    Case(
        DenialCode.SLIPPAGE,
        _liquidity("max_slippage", 0.01),
        _order(quantity=6_000.0) | _market(average_daily_volume=100_000.0),
        _order(quantity=5_000.0) | _market(average_daily_volume=100_000.0),
        looser=0.02,
        tighter=0.005,
    ),
    Case(
        DenialCode.TOUCH_DEPTH,
        _liquidity("min_touch_depth", 1.5, **BOOKED),
        _order(quantity=4.7),
        _order(quantity=4.6),
        looser=1.4,
        tighter=1.6,
    ),
    Case(
        DenialCode.BOOK_DEPTH,
        _liquidity("min_book_depth", 1.5, **BOOKED),
        _order(quantity=94.0),
        _order(quantity=93.0),
        looser=1.4,
        tighter=1.6,
    ),
    Case(
        DenialCode.DAILY_VOLUME_SHARE,
        _liquidity("max_daily_volume_share", 0.02),
        _order(quantity=1_401.0),
        _order(quantity=1_399.0),
        looser=0.021,
        tighter=0.019,
    ),
    Case(
        DenialCode.BAR_VOLUME_SHARE,
        _liquidity("max_bar_volume_share", 0.1),
        _order(quantity=71.0),
        _order(quantity=69.0),
        looser=0.11,
        tighter=0.09,
    ),
    Case(
        DenialCode.VAR_MODEL,
        {"var": {"refuse_red_zone": True, "max_var": None, "method": "historical"}},
        _market(returns=CRASHED),
        _market(returns=HISTORY),
    ),
    Case(
        DenialCode.VALUE_AT_RISK,
        _var(max_var=0.02),
        _order(quantity=60.0),
        _order(quantity=30.0),
        looser=0.05,
        tighter=0.005,
    ),
    Case(
        DenialCode.EXPECTED_SHORTFALL,
        {"var": {"max_expected_shortfall": 0.025, "max_var": None, "refuse_red_zone": False}},
        _order(quantity=45.0),
        _order(quantity=30.0),
        looser=0.06,
        tighter=0.005,
    ),
    Case(
        DenialCode.STRESS_LOSS,
        NOT_A_VAR | {"stress": {"max_stress_loss": 0.2}},
        _order(quantity=54.0),
        _order(quantity=52.0),
        looser=0.5,
        tighter=0.1,
    ),
    Case(
        DenialCode.PROJECTED_DRAWDOWN,
        NOT_A_VAR | {"stress": {"max_projected_drawdown": 0.1, "max_stress_loss": None}},
        _order(quantity=60.0),
        _order(quantity=20.0),
        looser=0.5,
        tighter=0.01,
    ),
)
"""`looser` and `tighter` are values of the case's limit at which one of its two orders has the other result."""

SETTING_CASES = (
    Case(
        DenialCode.TOUCH_DEPTH,
        _liquidity("touch_width", 0.001, min_touch_depth=1.5, **BOOKED),
        _order(quantity=9.4),
        _order(quantity=9.3),
        looser=0.002,
        tighter=0.0009,
    ),
)
"""Settings that are not limits and change the result of a gate."""
