"""Orders in one run only: what the other run lacks a reason for follows from that reason; all else is unexplained.

An order is understood if its own run shows why it was placed, and the other run shows why it was not:

- An order that follows a target is placed where the target changes, where a stop that delayed it is filled, where an
  exit is asked again because it was refused, or where a position is rebalanced by the sizing rule. The other run has
  another target, its position needs no order, or its stop is not filled yet.
- A stop loss, take profit or trailing stop closes the position that was held, and is placed where a fill changed it.
  The other run has another entry: its price or its size differs.
- A liquidation follows from the equity.

Settings explain an order only where they decide whether it exists. An order with any other reason is unexplained.
"""

from __future__ import annotations

from peak_trade.diff import sizing_rules
from peak_trade.diff.causes import Finding, Kind, Step
from peak_trade.diff.context import Context
from peak_trade.diff.links import Link, SleeveState, ToLargestPnl, ToSetting, ToState
from peak_trade.diff.matching import OrderPair
from peak_trade.diff.order_histories import PROTECTIVE_REASONS, TARGET, OrderHistory, Sleeve
from peak_trade.diff.order_rules import REFUSALS, order_finding
from peak_trade.diff.pnl import contribution
from peak_trade.diff.run_log import RunLog
from peak_trade.diff.sizing_rules import is_close

_SUM = 1e-9
"""Relative difference of a position from the sum of its fills that is float noise."""
_NEARLY = 0.01
"""Relative difference of two positions that wrong fills earlier in a log may cause."""


def lone_order(context: Context, pair: OrderPair) -> Finding:
    """Return the difference of an order that only one run has, with links to what explains it and its PnL."""
    (order,) = pair.known
    is_shadow = pair.shadow is not None
    own, other = (context.shadow, context.live) if is_shadow else (context.live, context.shadow)
    text = f"{order.side} {order.quantity:g} {order.order_type}, {order.reason or 'no reason'}"
    values = (text, None) if is_shadow else (None, text)
    links = _LoneOrder(context, order, own, other).links()
    step = Step.LONE_PROTECTION if order.is_protective else Step.ORDER
    finding = order_finding(pair, Kind.ORDER, values, order.close_time, step, links)
    pnl = contribution(order, context.last_closes[order.symbol][0 if is_shadow else 1])
    finding.pnl = -pnl if is_shadow else pnl
    return finding


class _LoneOrder:
    """An order of the run `own`, and the run `other` that does not have it."""

    def __init__(self, context: Context, order: OrderHistory, own: RunLog, other: RunLog) -> None:
        self._context, self._order = context, order
        self._runs = self._own, self._other = own, other
        self._close_time = order.close_time
        self._lot_size = context.lot_sizes.get(order.symbol, 0.0)
        self._held = other.position_at(order.sleeve, order.close_time)

    def links(self) -> list[Link]:
        """Return the links to what explains the order; without any it is unexplained."""
        order = self._order
        if order.is_liquidation:
            return [] if is_close(order.equity, self._other.equity_at(self._close_time)) else [ToLargestPnl()]
        if order.follows_target:
            return self._target_links() if self._follows_target() else []
        return self._protection_links() if order.is_protective else []

    def _protection_links(self) -> list[Link]:
        """Return a link to what changed the entry, if it differs, or to the setting that orders the protection."""
        order, held = self._order, self._other.holding_at(self._order.sleeve, self._close_time)
        if self._was_renewed():
            return [ToState(order.sleeve, SleeveState.ENTRY, self._close_time)]
        if not self._protects():
            return []
        links: list[Link] = [ToSetting(f"trading.execution.{order.reason}")]
        is_equal = is_close(held.position, order.position) and is_close(held.entry.price, order.entry.price)
        if not is_equal and not self._lacks_protection():
            opened = [order.entry.since, *([held.entry.since] if held.position else [])]
            links.append(ToState(order.sleeve, SleeveState.ENTRY, min(opened)))
        return links

    def _was_renewed(self) -> bool:
        """Return whether the order restores the protection that an exit replaced, because the exit was refused."""
        exits = self._own.requests_between(self._order.sleeve, TARGET, self._close_time, self._close_time)
        return self._order.closes_position and any(each.outcome in REFUSALS for each in exits)

    def _protects(self) -> bool:
        """Return whether the order closes the position after a fill on its bar, and is the only one of its reason."""
        order, close_time = self._order, self._close_time
        requests = self._own.requests_between(order.sleeve, order.reason, close_time, close_time)
        fills = [
            held
            for held in self._own.holdings_between(order.sleeve, close_time, close_time)
            if held.order_id != order.order_id and held.position * order.signed_quantity < 0.0
        ]
        is_whole = order.closes_position or any(
            is_close(order.quantity, self._own.histories[held.order_id].filled) for held in fills
        )
        return is_whole and len(requests) <= len(fills)

    def _lacks_protection(self) -> bool:
        """Return whether the other run opened or changed a position within a bar, and did not protect it."""
        order, other, window = self._order, self._other, self._own.recording.timeframe.ns
        for held in other.holdings_between(order.sleeve, self._close_time - window, self._close_time + window):
            is_entry = held.position != 0.0 and other.histories[held.order_id].follows_target
            if is_entry and not other.requests_between(order.sleeve, order.reason, held.close_time, held.close_time):
                return True
        return False

    def _sleeves_of_signals(self) -> list[Sleeve]:
        """Return the sleeves whose targets the order follows: those of the symbol where orders are netted."""
        sleeve, signals = self._order.sleeve, self._own.signals
        return [sleeve] if sleeve in signals else [each for each in signals if each[1] == sleeve[1]]

    def _follows_target(self) -> bool:
        """Return whether the order leads to its target, which changed on its bar or to which it rebalances."""
        order, close_time = self._order, self._close_time
        requests = self._own.requests_between(order.sleeve, order.reason, close_time, close_time)
        is_double = any(each is not order and each.closes_position == order.closes_position for each in requests)
        is_aimed = order.closes_position or order.target * (order.position + order.signed_quantity) > 0.0
        if is_double or not is_aimed:
            return False
        if any(self._own.signals_between(sleeve, close_time, close_time) for sleeve in self._sleeves_of_signals()):
            return True
        if self._is_stopping(self._own):
            return True
        earlier = self._own.requests_between(order.sleeve, order.reason, 0, close_time - 1)
        if earlier and self._asks_again_for(earlier[-1]):
            return True
        is_rebalancing = bool(earlier) and order.target != 0.0
        return is_rebalancing and sizing_rules.is_kept(earlier[-1], order, self._lot_size)

    def _asks_again_for(self, earlier: OrderHistory) -> bool:
        """Return whether the order is an exit that repeats an earlier one, because that was refused."""
        order = self._order
        is_exit = order.position * order.signed_quantity < 0.0 and order.quantity <= abs(order.position) * (1.0 + _SUM)
        return is_exit and earlier.outcome in REFUSALS and earlier.side is order.side

    def _target_links(self) -> list[Link]:
        order = self._order
        if self._lacks_order():
            return self._size_links()
        links = self._context.bar_links(order.symbol, self._close_time, self._close_time)
        for sleeve in self._sleeves_of_signals():
            decided = [run.signals_between(sleeve, self._close_time, self._close_time) for run in self._runs]
            targets = [run.target_at(sleeve, self._close_time) for run in self._runs]
            if targets[0] != targets[1] or len(decided[0]) != len(decided[1]):
                links.append(ToState(sleeve, SleeveState.SIGNAL))
        if self._needs_no_order(self._held) or self._waits_for_stop():
            links += [ToState(order.sleeve, SleeveState.POSITION), ToLargestPnl()]
        return [*links, ToSetting("trading.execution")]

    def _wanted(self) -> float:
        """Return the position that the order aims at, with the other run's equity, base units."""
        wanted = self._order.position + self._order.signed_quantity
        equity = self._other.equity_at(self._close_time)
        return wanted * equity / self._order.equity if self._order.target and self._order.equity > 0.0 else wanted

    def _needs_no_order(self, held: float) -> bool:
        """Return whether a position of the other run differs from this run's, and is where the order leads."""
        order = self._order
        if is_close(held, order.position):
            return False
        band = float(self._other.recording.settings.get("trading.execution.no_trade_band", 0.0) or 0.0)
        tolerance = 2.0 * self._lot_size + band * self._other.equity_at(self._close_time) / order.last_close
        wanted = (order.position + order.signed_quantity, self._wanted())
        return any(abs(held - each) <= tolerance + _NEARLY * abs(each) for each in wanted)

    def _size_links(self) -> list[Link]:
        """Return links to what makes the position smaller than one lot, so that nothing is ordered."""
        if abs(self._wanted()) >= self._lot_size or not self._order.target:
            return []
        return [ToSetting("trading.initial_cash"), ToSetting("trading.sizing"), ToLargestPnl()]

    def _waits_for_stop(self) -> bool:
        """Return whether the positions differ because a stop was filled over several bars, which delays the order."""
        return not is_close(self._held, self._order.position) and any(self._is_stopping(run) for run in self._runs)

    def _is_stopping(self, run: RunLog) -> bool:
        """Return whether a protective order of a run has begun to fill, and was not filled before this bar."""
        sleeve, close_time = self._order.sleeve, self._close_time
        latest = [run.requests_between(sleeve, reason, 0, close_time)[-1:] for reason in PROTECTIVE_REASONS]
        fills = [(each[0].fills[0], each[0].fills[-1]) for each in latest if each and each[0].fills]
        return any(first.close_time <= close_time <= last.close_time for first, last in fills)

    def _lacks_order(self) -> bool:
        """Return whether the other run decided the same target within a bar, needed an order, and has none."""
        order, window = self._order, self._own.recording.timeframe.ns
        if self._is_stopping(self._other):
            return False
        for signal in self._other.signals_between(order.sleeve, self._close_time - window, self._close_time + window):
            close_time = signal.close_time
            held = self._other.position_at(order.sleeve, close_time)
            is_needed = held != 0.0 if order.target == 0.0 else held * order.target <= 0.0
            requests = self._other.requests_between(order.sleeve, order.reason, close_time, close_time)
            if signal.exposure == order.target and is_needed and not requests:
                return True
        return False
