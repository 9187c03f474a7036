"""Check that the limits of a run are live: plant a case beyond each limit and see the gates deny it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from msgspec import structs

from peak_trade.core.calendar import NS_PER_DAY
from peak_trade.core.history import ReturnHistory
from peak_trade.core.settings import Settings
from peak_trade.core.time import NS_PER_SECOND
from peak_trade.core.values import (
    AccountView,
    Denial,
    Instrument,
    MarketView,
    Order,
    OrderBook,
    PastFill,
    PastOrder,
    Side,
    TradingState,
)
from peak_trade.risk.codes import DenialCode
from peak_trade.risk.limits import RiskLimits
from peak_trade.risk.state import AccountObserved, Control, FeedObserved, Observation, advance
from peak_trade.wiring.gates import GATES, gate_chain

_SYMBOL, _PRICE, _EQUITY = "BTC/USDT", 100.0, 1e6
_NOW = 20_000 * NS_PER_DAY
_BEYOND = 1.01
"""Size of a planted case as a multiple of the limit."""
_ORDER = Order("liveness-1", _NOW, "liveness", _SYMBOL, Side.BUY, 1e-4, _PRICE)
_LEVELS = range(20)
_N_FALLS, _SMALLEST_FALL = 250, 1e-6
RED_ZONE = "var.refuse_red_zone"
"""The one switch that denies orders."""


@dataclass(frozen=True, slots=True)
class LimitCheck:
    """The answer of the gates to a case beyond one limit and to one within it.

    `denial` is the denial of the planted case by the limit's own gate; None if the gate let it pass. `is_live` holds if
    it denied the planted case, on a value that it could read, and passed the other.
    """

    setting: str
    denial: Denial | None
    is_live: bool


@dataclass(frozen=True, slots=True)
class _Case:
    """Inputs of one review."""

    order: Order
    account: AccountView
    market: MarketView
    limits: RiskLimits

    def denial(self, code: str) -> Denial | None:
        """Return the denial of one gate of the chain of the limits."""
        denials = gate_chain(self.limits).denials(self.order, self.account, self.market, self.limits)
        return next((denial for denial in denials if denial.code == code), None)

    def with_order(self, **changes: Any) -> _Case:
        return replace(self, order=structs.replace(self.order, **changes))

    def with_account(self, **changes: Any) -> _Case:
        return replace(self, account=structs.replace(self.account, **changes))

    def with_market(self, **changes: Any) -> _Case:
        return replace(self, market=structs.replace(self.market, **changes))

    def with_exposure(self, exposure: float) -> _Case:
        """Return the case with an order of this exposure, a multiple of equity."""
        return self.with_order(quantity=exposure * _EQUITY / _PRICE)

    def with_assumed(self, spread: float) -> _Case:
        """Return the case with another assumed spread, which is the observed one without an order book."""
        assert self.limits.liquidity is not None
        rules = self.limits.liquidity.model_copy(update={"model_spread": spread})
        return replace(self, limits=self.limits.model_copy(update={"liquidity": rules}))


def check_limits(limits: RiskLimits) -> tuple[LimitCheck, ...]:
    """Plant a case beyond every limit in force and ask the gates that a run with these limits has.

    Parameters
    ----------
    limits : RiskLimits

    Returns
    -------
    tuple of LimitCheck
        One for each limit in force, and one for `var.refuse_red_zone` if it is set. A limit that no case exceeds is not
        live.

    """
    names = list(limits.in_force)
    if limits.var is not None and limits.var.refuse_red_zone:
        names.append(RED_ZONE)
    return tuple(_checked(name, limits) for name in names)


def _checked(setting: str, limits: RiskLimits) -> LimitCheck:
    base = _base(limits)
    if setting.startswith("state."):
        code, planted = str(DenialCode.TRADING_STATE), _in_reached_state(base, setting)
    else:
        code = next(str(gate.code) for gate in GATES if gate.setting == setting)
        planted = PLANTS[setting](base, float(_value(limits, setting)))
    denial = planted.denial(code)
    is_read = denial is not None and bool(np.isfinite(denial.observed))
    return LimitCheck(setting, denial, is_read and base.denial(code) is None)


def _value(limits: Settings, setting: str) -> Any:
    value: Any = limits
    for key in setting.split("."):
        value = getattr(value, key)
    return value


def _base(limits: RiskLimits) -> _Case:
    """Return a small order of an account without losses, in a calm and liquid market."""
    account = AccountView(
        equity=_EQUITY,
        cash=_EQUITY,
        positions={_SYMBOL: 0.0},
        marks={_SYMBOL: _PRICE},
        peak_equity=_EQUITY,
        day_start_equity=_EQUITY,
    )
    market = MarketView(
        as_of=_NOW,
        instrument=Instrument(_SYMBOL, max_leverage=1e9),
        decision_price=_PRICE,
        bar_volume=1e9,
        bar_time=_NOW,
        book=_book(),
        average_daily_volume=1e9,
        daily_volatility=0.03,
        returns=_history(limits),
    )
    return _Case(_ORDER, account, market, limits)


def _book(half_spread: float = 1e-6, size: float = 1e6, age: float = 0.0) -> OrderBook:
    """Return a book around the price: half of the spread as a fraction, size of a level, age in seconds."""
    sides = (
        tuple((_PRICE * (1.0 + sign * (half_spread + 1e-8 * level)), size) for level in _LEVELS) for sign in (-1, 1)
    )
    return OrderBook(_NOW - round(age * NS_PER_SECOND), *sides)


def _history(limits: RiskLimits, is_red: bool = False) -> ReturnHistory | None:
    """Return daily returns of 3 % volatility, or ones that fall more every day: each exceeds what the model expects."""
    if limits.var is None:
        return None
    n_days, random = limits.var.n_days, np.random.default_rng(7)
    returns = random.normal(0.0, 0.03, (1, n_days)).clip(-0.5, 0.5)
    if is_red:
        steps = np.linspace(0.0, 1.0, min(_N_FALLS, n_days // 2))
        returns *= _SMALLEST_FALL
        returns[0, -len(steps) :] = -_SMALLEST_FALL * np.exp(np.log(0.5 / _SMALLEST_FALL) * steps**2)
    return ReturnHistory(limits.var.source, _NOW, [_SYMBOL], returns)


def _spread(case: _Case, limit: float) -> _Case:
    spread = _BEYOND * limit + 1e-9
    return case.with_market(book=_book(0.5 * spread)) if _has_book(case) else case.with_assumed(spread)


def _slippage(case: _Case, limit: float) -> _Case:
    cost = _BEYOND * limit + 1e-9
    return case.with_market(book=_book(cost)) if _has_book(case) else case.with_assumed(2.0 * cost)


def _has_book(case: _Case) -> bool:
    return case.limits.liquidity is not None and case.limits.liquidity.book == "declared"


def _fallen(case: _Case, _limit: float) -> _Case:
    return case.with_market(returns=_history(case.limits, is_red=True))


def _past_orders(n: int, quantity: float) -> tuple[PastOrder, ...]:
    return (PastOrder("liveness-0", _NOW - 1, _ORDER.strategy, _SYMBOL, Side.BUY, quantity),) * n


PLANTS: Mapping[str, Callable[[_Case, float], _Case]] = {
    "max_data_age": lambda case, limit: case.with_market(bar_time=_NOW - round((limit + 1.0) * NS_PER_SECOND)),
    "duplicate_window": lambda case, limit: case.with_account(recent_orders=_past_orders(1, _ORDER.quantity)),
    "max_orders": lambda case, limit: case.with_account(recent_orders=_past_orders(int(limit), 1.0)),
    "max_same_side_fills": lambda case, limit: case.with_account(
        recent_fills=(PastFill(_NOW - 1, _ORDER.strategy, _SYMBOL, Side.BUY),) * int(limit)
    ),
    "max_order_notional": lambda case, limit: case.with_order(quantity=_BEYOND * limit / _PRICE),
    "max_price_deviation": lambda case, limit: case.with_order(decision_price=_PRICE * (1.0 + _BEYOND * limit + 1e-9)),
    "max_symbol_exposure": lambda case, limit: case.with_exposure(_BEYOND * limit),
    "max_gross_exposure": lambda case, limit: case.with_exposure(_BEYOND * limit),
    "max_net_exposure": lambda case, limit: case.with_exposure(_BEYOND * limit),
    "max_concentration": lambda case, limit: case.with_exposure(_BEYOND * limit**0.5),
    "max_open_orders": lambda case, limit: case.with_account(n_open_orders=int(limit)),
    "max_daily_loss": lambda case, limit: case.with_account(day_start_equity=_EQUITY + _BEYOND * limit),
    "max_daily_loss_fraction": lambda case, limit: case.with_account(equity=_EQUITY * (1.0 - _BEYOND * limit) - 1.0),
    "max_drawdown": lambda case, limit: case.with_account(equity=_EQUITY * (1.0 - _BEYOND * limit) - 1.0),
    "liquidity.max_spread": _spread,
    "liquidity.max_slippage": _slippage,
    "liquidity.min_touch_depth": lambda case, limit: case.with_market(
        book=_book(size=limit * _ORDER.quantity / len(_LEVELS) / _BEYOND)
    ),
    "liquidity.min_book_depth": lambda case, limit: case.with_market(
        book=_book(size=limit * _ORDER.quantity / len(_LEVELS) / _BEYOND)
    ),
    "liquidity.max_daily_volume_share": lambda case, limit: case.with_market(
        average_daily_volume=_ORDER.quantity / (_BEYOND * limit + 1e-9)
    ),
    "liquidity.max_bar_volume_share": lambda case, limit: case.with_market(
        bar_volume=_ORDER.quantity / (_BEYOND * limit + 1e-9)
    ),
    "liquidity.max_book_age": lambda case, limit: case.with_market(book=_book(age=limit + 1.0)),
    RED_ZONE: _fallen,
    "var.max_var": lambda case, limit: case.with_exposure(100.0 * (limit + 0.01)),
    "var.max_expected_shortfall": lambda case, limit: case.with_exposure(100.0 * (limit + 0.01)),
    "stress.max_stress_loss": lambda case, limit: case.with_exposure(1_000.0 * (limit + 0.01)),
    "stress.max_projected_drawdown": lambda case, limit: case.with_exposure(20.0),
}
"""For each limit outside `state`, the function that plants a case beyond its value."""


def _in_reached_state(case: _Case, setting: str) -> _Case:
    """Return the case in the trading state that follows from an observation at a limit of `[risk.state]`."""
    rules, limit = case.limits.state, float(_value(case.limits, setting))
    before, _ = advance(Control(), AccountObserved(_NOW, _EQUITY), rules)
    seen: Observation = AccountObserved(_NOW, _EQUITY * (1.0 - _BEYOND * limit))
    if setting == "state.max_feed_age":
        seen = FeedObserved(_NOW, limit + 1.0)
    reached, _ = advance(before, seen, rules)
    is_severe = reached.state is TradingState.HALTED or not setting.startswith("state.halt_")
    return case.with_account(state=reached.state) if is_severe else case
