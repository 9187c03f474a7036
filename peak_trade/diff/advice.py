"""The largest cause of a diff in money, and the change that brings the two runs together."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import median
from typing import TYPE_CHECKING

from peak_trade.core.time import iso
from peak_trade.core.values import OrderType
from peak_trade.diff.causes import Cause
from peak_trade.diff.order_histories import OrderHistory

if TYPE_CHECKING:
    from peak_trade.diff.result import Difference, DiffResult

Pair = tuple[OrderHistory, OrderHistory]
"""An order in the run whose settings can be changed, and in the other one."""

_PRICES = (Cause.PRICE, Cause.SLIPPAGE_BIAS)


def largest_cause(result: DiffResult) -> tuple[Cause, float] | None:
    """Return the cause with the largest absolute PnL and its PnL, live − shadow; None without a difference in money.

    Slippage is one cause, whether it is systematic or not.
    """
    amounts: dict[Cause, float] = {}
    for root in result.roots:
        cause = Cause.PRICE if root.cause in _PRICES else root.cause
        amounts[cause] = amounts.get(cause, 0.0) + root.total_pnl
    found = max(amounts.items(), key=lambda item: abs(item[1]), default=None)
    return found if found is not None and found[1] else None


def advice(result: DiffResult) -> str:
    """Return a sentence with the largest cause in money and what to set; empty without a difference in money."""
    found = largest_cause(result)
    if found is None:
        return ""
    cause, amount = found
    is_swapped = result.shadow.recording.log is not None and result.live.recording.log is None
    changed = result.live if is_swapped else result.shadow
    pairs = [
        (pair.live, pair.shadow) if is_swapped else (pair.shadow, pair.live)
        for pair in result.matches
        if pair.shadow is not None and pair.live is not None
    ]
    filled = [(one, another) for one, another in pairs if one.fills and another.fills]
    roots = sorted(
        (root for root in result.roots if root.cause is cause or {root.cause, cause} <= set(_PRICES)),
        key=lambda root: -abs(root.total_pnl),
    )
    settings = {name.removeprefix("trading."): value for name, value in changed.recording.settings.items()}
    text = _ADVICE.get(cause, _examine)(filled, settings, roots)
    name = "slippage" if cause is Cause.PRICE else str(cause)
    gap = result.live_pnl - result.shadow_pnl
    whose = f" in the settings of {changed.recording.name}" if text.startswith("set ") else ""
    return f"Largest cause: {name}, {amount:+,.2f} of {gap:+,.2f}. {text[:1].upper()}{text[1:]}{whose}."


def _fee(pairs: Sequence[Pair], settings: dict[str, float], roots: Sequence[Difference]) -> str:
    texts = []
    for name, is_maker in (("fee_bps", False), ("maker_fee_bps", True)):
        orders = [other for _, other in pairs if (other.order_type is OrderType.LIMIT) == is_maker]
        notional = math.fsum(order.filled * order.price for order in orders)
        if notional:
            rate = 1e4 * math.fsum(order.fee for order in orders) / notional
            texts.append(_set(f"costs.{name}", rate, settings))
    return " and ".join(texts).replace(" and set", " and") if texts else "compare the fee schedules"


def _slippage(pairs: Sequence[Pair], settings: dict[str, float], roots: Sequence[Difference]) -> str:
    changes = [
        one.side.sign * (other.price / one.price - 1.0) * 1e4
        for one, other in pairs
        if one.order_type is OrderType.MARKET and one.fills[0].close_time == other.fills[0].close_time
    ]
    current = settings.get("costs.slippage_bps")
    if not changes:
        return "compare the prices of the fills with the book"
    if current is None:
        mean = math.fsum(changes) / len(changes)
        return f"the fills of market orders are worse by {mean:+.2f} bps: add that to the costs of the backtest"
    return _set("costs.slippage_bps", max(current + math.fsum(changes) / len(changes), 0.0), settings)


def _timing(pairs: Sequence[Pair], settings: dict[str, float], roots: Sequence[Difference]) -> str:
    late = [(other.fills[0].ts_event - one.fills[0].ts_event) / 1e9 for one, other in pairs]
    typical = f"the median delay of the fills is {median(late):,.1f} s; " if late else ""
    return f"{typical}no setting models it: use shorter bars, and look for a pause at {_time(roots)}"


def _size(pairs: Sequence[Pair], settings: dict[str, float], roots: Sequence[Difference]) -> str:
    ratio = median(other.quantity / one.quantity for one, other in pairs) if pairs else 1.0
    cash = settings.get("initial_cash")
    if abs(ratio - 1.0) > 0.01 and cash is not None:
        fraction = settings.get("sizing.fraction")
        of_equity = [
            other.quantity * one.equity / (one.quantity * other.equity)
            for one, other in pairs
            if one.equity > 0.0 and other.equity > 0.0
        ]
        other = (
            ""
            if fraction is None or not of_equity
            else f", or sizing.fraction = {fraction * median(of_equity):.2g} (now {fraction:g})"
        )
        return f"{_set('initial_cash', cash * ratio, settings)}{other}"
    return f"compare the sizes from {_time(roots)} on: the typical order has the same size"


def _partial(pairs: Sequence[Pair], settings: dict[str, float], roots: Sequence[Difference]) -> str:
    filled = [other.filled / other.quantity for _, other in pairs]
    typical = f"the median filled fraction is {median(filled):.0%}; " if filled else ""
    return f"{typical}costs.max_participation is the setting that limits fills"


def _signal(pairs: Sequence[Pair], settings: dict[str, float], roots: Sequence[Difference]) -> str:
    owners = [name for name, order in (("shadow", roots[0].shadow_order), ("live", roots[0].live_order)) if order]
    what = f"only the {owners[0]} run has an order there" if len(owners) == 1 else "the signals differ there"
    which = "" if len(roots) == 1 else f", the largest of {len(roots):,}"
    return f"compare parameters, pairs and bars at {_time(roots)}{which}: {what}"


def _bars(pairs: Sequence[Pair], settings: dict[str, float], roots: Sequence[Difference]) -> str:
    return f"import the bars from {_time(roots)} on again with `peak-trade data`, and run the backtest on them"


def _funding(pairs: Sequence[Pair], settings: dict[str, float], roots: Sequence[Difference]) -> str:
    return "set costs.funding_bps_per_8h to the rates that were paid"


def _refusal(pairs: Sequence[Pair], settings: dict[str, float], roots: Sequence[Difference]) -> str:
    return f"compare [risk] and [instruments] with the limits that refused the order at {_time(roots)}"


def _order_type(pairs: Sequence[Pair], settings: dict[str, float], roots: Sequence[Difference]) -> str:
    types = [str(other.order_type) for _, other in pairs]
    common = max(set(types), key=types.count) if types else "market"
    return f'set execution.order_type = "{common}"'


def _examine(pairs: Sequence[Pair], settings: dict[str, float], roots: Sequence[Difference]) -> str:
    return f"start with root {roots[0].number}"


_ADVICE: dict[Cause, Callable[[Sequence[Pair], dict[str, float], Sequence[Difference]], str]] = {
    Cause.FEE: _fee,
    Cause.PRICE: _slippage,
    Cause.TIMING: _timing,
    Cause.LATENCY_BIAS: _timing,
    Cause.SIZE: _size,
    Cause.PARTIAL_FILL: _partial,
    Cause.SIGNAL: _signal,
    Cause.SIGNAL_OR_TIMING: _signal,
    Cause.MISSED_BAR: _bars,
    Cause.DATA_REVISION: _bars,
    Cause.FUNDING: _funding,
    Cause.DENIAL: _refusal,
    Cause.REJECTION: _refusal,
    Cause.ORDER_TYPE: _order_type,
}


def _set(name: str, value: float, settings: dict[str, float]) -> str:
    current = settings.get(name)
    if current is None and not any(each.startswith("costs.") for each in settings):
        return f"the other run has {name} = {value:.4g}: use that in the backtest"
    now = "" if current is None else f" (now {current:g})"
    return f"set {name} = {value:.4g}{now}" if abs(value) < 1e4 else f"set {name} = {value:,.0f}{now}".replace(",", "_")


def _time(roots: Sequence[Difference]) -> str:
    return iso(roots[0].at) if roots and roots[0].at else "the start"
