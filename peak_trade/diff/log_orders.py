"""Differences of orders where at least one run is an external log.

A log states what was ordered and filled, but not why. Two matched orders are compared by their refusals, times of their
fills, types, quantities, filled fractions, prices and fee rates. An order that only one run has follows from an earlier
difference if the position of the other run is already where the order leads; otherwise its cause is `signal or timing`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from peak_trade.core.values import OrderType
from peak_trade.diff import sizing_rules
from peak_trade.diff.causes import Cause, Finding, Kind, Step
from peak_trade.diff.context import Context
from peak_trade.diff.external import decimals
from peak_trade.diff.links import Link, SleeveState, ToFinding, ToLargestPnl, ToState
from peak_trade.diff.matching import OrderPair
from peak_trade.diff.order_histories import TARGET, UNKNOWN_REASON, OrderHistory
from peak_trade.diff.order_pair import MAIN_PART, PairComparison
from peak_trade.diff.order_rules import REFUSALS, TRADED, Rule, order_finding
from peak_trade.diff.pnl import contribution

_FEE_BPS = 0.05
"""Fee rates that differ by less (bps) are equal, in addition to the rounding of the fees."""
_RATIO = 0.005
"""Ratios of quantities that differ by less have one root."""
_NEARLY = 0.01
"""Relative difference of two positions that are taken for equal."""
_UNKNOWN = Rule(Cause.SIGNAL_OR_TIMING, TRADED)


def of_log_orders(pairs: Sequence[OrderPair], context: Context) -> list[Finding]:
    """Return the differences of all pairs, oldest first, with their links and their effects on the PnL."""
    earlier = _Earlier()
    findings: list[Finding] = []
    for pair in pairs:
        if pair.shadow is not None and pair.live is not None:
            findings += _LogPair(context, pair, pair.shadow, pair.live, earlier=earlier).findings()
        else:
            findings.append(_lone_order(context, pair))
    return findings


def adopt_reasons(pairs: Sequence[OrderPair]) -> None:
    """Give each order of a log the reason and the target of its counterpart, or those of an order to full exposure."""
    for pair in pairs:
        for order, other in (pair.histories, pair.histories[::-1]):
            if order is not None and order.reason == UNKNOWN_REASON:
                is_known = other is not None and other.reason != UNKNOWN_REASON
                order.reason, order.target = (other.reason, other.target) if other and is_known else (TARGET, 1.0)


def join_flows(flows: Sequence[Finding]) -> None:
    """Give the cash flows of one kind that only one run has one root: the first of them."""
    first: dict[tuple[str, str, bool], Finding] = {}
    for flow in sorted(flows, key=Finding.sort_key):
        if flow.shadow == 0.0 or flow.live == 0.0:
            root = first.setdefault((flow.kind, flow.subject, flow.shadow == 0.0), flow)
            flow.links = [] if root is flow else [ToFinding(root)]


@dataclass(slots=True)
class _Earlier:
    """Roots of equal differences: the first one is the root of the others."""

    fees: list[tuple[tuple[float, float], float, Finding]] = field(default_factory=list)
    ratios: list[tuple[tuple[float, float], Finding]] = field(default_factory=list)
    types: dict[tuple[str, str], Finding] = field(default_factory=dict)


@dataclass(slots=True)
class _LogPair(PairComparison):
    earlier: _Earlier = field(default_factory=_Earlier)

    def findings(self) -> list[Finding]:
        refused = self.both(lambda order: order.outcome in REFUSALS)
        if refused[0] != refused[1]:
            order = self.shadow if refused[0] else self.live
            assert order.outcome is not None
            outcomes = self.both(lambda each: str(each.outcome or "open"))
            self.add(Kind.OUTCOME, outcomes, order.close_time, Step.OUTCOME, (), REFUSALS[order.outcome])
        elif self.shadow.fills or self.live.fills:
            self._compare()
        self._split_pnl()
        return list(self.by_kind.values())

    @property
    def _closes(self) -> list[int]:
        closes = [fill.close_time for order in self.orders for fill in order.fills]
        return closes or [order.close_time for order in self.orders]

    def _bar_links(self) -> list[Link]:
        closes = self._closes
        return self.context.bar_links(self.shadow.symbol, min(closes), max(closes))

    def _compare(self) -> None:
        first = min(self._closes)
        requested = min(self.both(lambda order: order.close_time))
        types = self.both(lambda order: str(order.order_type))
        if types[0] != types[1] and not any(order.is_protective for order in self.orders):
            known = self.earlier.types.get(types)
            finding = self.add(
                Kind.ORDER_TYPE, types, requested, Step.ORDER, [] if known is None else [ToFinding(known)]
            )
            self.earlier.types.setdefault(types, finding)
        self._compare_quantities(requested)
        if self.are_filled:
            self._compare_times(first)
        self._compare_filled(first)
        if self.are_filled:
            self._compare_prices(first)
            self._compare_fees(first)

    def _compare_quantities(self, requested: int) -> None:
        quantities = self.both(lambda order: order.quantity)
        if abs(quantities[0] - quantities[1]) <= self.lot_size * (1.0 + 1e-6):
            return
        if sizing_rules.is_kept(self.shadow, self.live, self.lot_size) or self._is_cut_in_one_run:
            links: list[Link] = [ToState(self.shadow.sleeve, SleeveState.POSITION), ToLargestPnl()]
            self.add(Kind.QUANTITY, quantities, requested, Step.ORDER, links).is_implied = True
            return
        ratios = (quantities[1] / quantities[0], self._ratio_of_fractions)
        equal = (
            root for known, root in self.earlier.ratios
            if any(math.isclose(one, other, rel_tol=_RATIO) for one, other in zip(known, ratios, strict=True))
        )  # fmt: skip
        root = next(equal, None)
        finding = self.add(Kind.QUANTITY, quantities, requested, Step.ORDER, [] if root is None else [ToFinding(root)])
        if root is None:
            self.earlier.ratios.append((ratios, finding))

    @property
    def _is_cut_in_one_run(self) -> bool:
        """Whether a log has about the filled part of equity of an order that the other run did not fill completely.

        A log of fills does not hold the quantity that was ordered.
        """
        runs = (self.context.shadow, self.context.live)
        whole = [sizing_rules.is_close(order.filled, order.quantity) for order in self.orders]
        is_complete = any(
            run.recording.log is not None and own and not other
            for run, own, other in zip(runs, whole, whole[::-1], strict=True)
        )
        if not is_complete or min(self.both(lambda order: order.equity)) <= 0.0:
            return False
        filled = self.both(lambda order: order.filled / order.equity)
        return bool(abs(filled[0] - filled[1]) <= _NEARLY * max(filled))

    @property
    def _ratio_of_fractions(self) -> float:
        """Ratio of both orders as fractions of the equity of their runs; NaN where it is unknown."""
        equity = self.both(lambda order: order.equity)
        notional = self.both(lambda order: order.quantity * order.last_close)
        is_known = min(*equity, *notional) > 0.0
        return float(notional[1] / equity[1] / (notional[0] / equity[0])) if is_known else math.nan

    def _compare_times(self, first: int) -> None:
        tolerance = self.context.tolerance_ns
        if any(order.order_type is not OrderType.MARKET for order in self.orders):
            tolerance = max(tolerance, self.context.shadow.recording.timeframe.ns)
        times = self.both(lambda order: order.fills[0].ts_event)
        if abs(times[1] - times[0]) > tolerance:
            self.add(Kind.FILL_TIME, times, first, Step.FILL, self.links_to(Kind.ORDER_TYPE) + self._bar_links())

    def _compare_filled(self, first: int) -> None:
        fractions = self.both(lambda order: order.filled / order.quantity)
        smaller = min(self.both(lambda order: order.quantity))
        change = abs(fractions[0] - fractions[1])
        if change > sizing_rules.RTOL + self.lot_size / smaller:
            links = self.links_to(Kind.ORDER_TYPE) + self._bar_links()
            is_implied = change <= _NEARLY or self._is_same_fill
            links += [ToLargestPnl()] if is_implied else []
            filled = self.both(lambda order: order.filled)
            self.add(Kind.FILLED, filled, first, Step.FILL, links).is_implied = is_implied

    @property
    def _is_same_fill(self) -> bool:
        """Whether both orders were filled by the same quantity, of quantities that obey the sizing rule."""
        filled = self.both(lambda order: order.filled)
        is_implied = Kind.QUANTITY in self.by_kind and self.by_kind[Kind.QUANTITY].is_implied
        return is_implied and abs(filled[0] - filled[1]) <= self.lot_size

    def _compare_prices(self, first: int) -> None:
        if abs(self.price_change) <= self.context.tolerance_bps:
            return
        links = self.links_to(Kind.FILL_TIME) if self._has_market_moved else []
        links += self._bar_links() + self.links_to(Kind.ORDER_TYPE)
        self.add(Kind.FILL_PRICE, self.both(lambda order: order.price), first, Step.FILL, links)

    @property
    def _has_market_moved(self) -> bool:
        """Whether the time between the fills explains the main part of the difference of their prices.

        The arrival prices show it where they are known. Inside of a bar they are interpolated, and the price may have
        moved further than they show: by the range of the bar, scaled with the square root of the time.
        """
        if self.have_arrivals_moved:
            return True
        change = MAIN_PART * abs(self.live.price - self.shadow.price)
        bar = self.context.live.bars[self.live.symbol].get(self.live.fills[0].close_time)
        timeframe = self.context.shadow.recording.timeframe.ns
        return bar is not None and (bar.high - bar.low) * math.sqrt(self._unknown_time / timeframe) >= change

    @property
    def _unknown_time(self) -> float:
        """Return the time over which the price may have moved without a change of the arrival prices, ns.

        It is the delay or, if the arrival prices are from several bars, e (1 - e) of a bar for each order, where e is
        the part of its bar that has elapsed: the variance of a Brownian bridge between the open and the close.
        """
        step = self.context.arrival_timeframe_ns
        if abs(self.delay) < step:
            return abs(self.delay)
        left = ((order.fills[0].close_time - order.fills[0].ts_event) % step / step for order in self.orders)
        return step * sum(part * (1.0 - part) for part in left)

    def _compare_fees(self, first: int) -> None:
        rates = self.fee_rates
        tolerance = _FEE_BPS + sum(map(_fee_rounding_bps, self.orders))
        if abs(rates[0] - rates[1]) <= tolerance:
            return
        equal = (
            root for known, other_tolerance, root in self.earlier.fees
            if max(abs(known[0] - rates[0]), abs(known[1] - rates[1])) <= tolerance + other_tolerance
        )  # fmt: skip
        root = next(equal, None)
        finding = self.add(Kind.FEE_RATE, rates, first, Step.FILL, [] if root is None else [ToFinding(root)])
        if root is None:
            self.earlier.fees.append((rates, tolerance, finding))

    def _split_pnl(self) -> None:
        price_kinds = [Kind.FILL_PRICE]
        if self.are_filled and Kind.FILL_TIME in self.by_kind and self._has_market_moved:
            price_kinds.append(Kind.FILL_TIME)
        kinds_of = (
            ((Kind.QUANTITY, Kind.OUTCOME), ("side", "quantity")),
            ((Kind.OUTCOME, Kind.FILLED), ("filled",)),
        )
        self.split_pnl(min(self._closes), kinds_of, price_kinds, self._is_sample)
        times = self.by_kind.get(Kind.FILL_TIME)
        if all(order.order_type is OrderType.MARKET for order in self.orders) and self._is_sample(times):
            self.add_sample(Cause.LATENCY_BIAS, self.delay / 1e6, 0.0, times)

    def _is_sample(self, finding: Finding | None) -> bool:
        """Return whether both orders were filled, and nothing explains their difference."""
        is_alone = finding is None or (not finding.links and finding.kind in (Kind.FILL_PRICE, Kind.FILL_TIME))
        return self.are_filled and is_alone


def _fee_rounding_bps(order: OrderHistory) -> float:
    """Return half of the last decimal place of the fees of an order, bps of its notional."""
    notional = order.filled * order.price
    half_units = sum(0.5 * 10.0 ** -decimals(fill.fee) for fill in order.fills if not fill.fee_in_base)
    return 1e4 * half_units / notional if notional else 0.0


def _lone_order(context: Context, pair: OrderPair) -> Finding:
    (order,) = pair.known
    is_shadow = pair.shadow is not None
    other = context.live if is_shadow else context.shadow
    text = f"{order.side} {order.quantity:g} {order.order_type}"
    links = context.bar_links(order.symbol, order.close_time, order.fills[0].close_time)
    held, wanted = other.position_at(order.sleeve, order.fills[0].close_time), order.position + order.signed_quantity
    tolerance = 2.0 * context.lot_sizes.get(order.symbol, 0.0) + _NEARLY * max(abs(wanted), order.quantity)
    if abs(held - wanted) <= tolerance < abs(held - order.position):
        links.append(ToState(order.sleeve, SleeveState.POSITION))
    values = (text, None) if is_shadow else (None, text)
    finding = order_finding(pair, Kind.ORDER, values, order.close_time, Step.ORDER, links, _UNKNOWN)
    pnl = contribution(order, context.last_closes[order.symbol][0 if is_shadow else 1])
    finding.pnl = -pnl if is_shadow else pnl
    return finding
