"""Differences between two matched orders, each with links to the differing inputs that may explain it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from peak_trade.diff import sizing_rules
from peak_trade.diff.causes import Cause, Context, Finding, Kind, Step, event_time_kind
from peak_trade.diff.links import Link, SleeveState, ToFinding, ToLargestPnl, ToLastChange, ToSetting, ToState
from peak_trade.diff.matching import OrderPair
from peak_trade.diff.order_histories import OrderHistory
from peak_trade.diff.pnl import contribution, fee_rate, split_contribution
from peak_trade.diff.sizing_rules import is_close
from peak_trade.journal.events import OrderEventKind

_FEE_BPS = 1e-3
"""Fee rates that differ by less (bps) are equal."""
_MAIN_PART = 0.5
"""Fraction of a difference from which on another difference explains it."""
_SCALED_SIZING = ("volatility_target", "fractional_kelly")
_FILLS = frozenset({OrderEventKind.PARTIALLY_FILLED, OrderEventKind.FILLED})
_CODE = frozenset({Cause.CONFIGURATION, Cause.CODE_VERSION})
_TRADED = frozenset({SleeveState.POSITION, SleeveState.ENTRY})
_ENTRY = frozenset({SleeveState.ENTRY})


@dataclass(frozen=True, slots=True)
class _Rule:
    """Cause of a difference that is a root, the states that it changes, and run-wide causes that may explain it."""

    cause: Cause
    changes: frozenset[SleeveState] = frozenset()
    run_causes: frozenset[Cause] = frozenset()


_RULES: dict[str, _Rule] = {
    Kind.ORDER: _Rule(Cause.UNEXPLAINED, _TRADED, _CODE | {Cause.ORDER_TYPE, Cause.SIZE}),
    Kind.SIDE: _Rule(Cause.SIGNAL, _TRADED, _CODE),
    Kind.DECISION_TIME: _Rule(Cause.TIMING, _ENTRY),
    Kind.DECISION_PRICE: _Rule(Cause.PRICE),
    Kind.ORDER_TYPE: _Rule(Cause.ORDER_TYPE, _ENTRY, _CODE | {Cause.ORDER_TYPE}),
    Kind.LIMIT_PRICE: _Rule(Cause.ORDER_TYPE, _ENTRY, _CODE | {Cause.ORDER_TYPE}),
    Kind.STOP_PRICE: _Rule(Cause.ORDER_TYPE, _ENTRY, _CODE | {Cause.ORDER_TYPE}),
    Kind.QUANTITY: _Rule(Cause.SIZE, _TRADED, _CODE | {Cause.SIZE}),
    Kind.FILL_SIDE: _Rule(Cause.SIGNAL, _TRADED),
    Kind.FILL_TIME: _Rule(Cause.TIMING, _ENTRY),
    Kind.FILL_PRICE: _Rule(Cause.PRICE, _ENTRY, frozenset({Cause.PRICE})),
    Kind.FILLED: _Rule(Cause.PARTIAL_FILL, _TRADED, frozenset({Cause.PARTIAL_FILL})),
    Kind.N_FILLS: _Rule(Cause.PARTIAL_FILL, run_causes=frozenset({Cause.PARTIAL_FILL})),
    Kind.FEE_RATE: _Rule(Cause.FEE),
    Kind.END: _Rule(Cause.UNEXPLAINED),
    Kind.STEPS: _Rule(Cause.UNEXPLAINED),
    **{event_time_kind(event): _Rule(Cause.TIMING) for event in OrderEventKind},
}
_CONFIGURED_FEE = _Rule(Cause.FEE, run_causes=frozenset({Cause.FEE}))
_REFUSALS = {
    OrderEventKind.DENIED: _Rule(Cause.DENIAL, _TRADED, frozenset({Cause.DENIAL})),
    OrderEventKind.REJECTED: _Rule(Cause.REJECTION, _TRADED),
}


def of_orders(pairs: Sequence[OrderPair], context: Context) -> list[Finding]:
    """Return the differences of all pairs, with their links and their effects on the PnL."""
    findings: list[Finding] = []
    for pair in pairs:
        if pair.shadow is not None and pair.live is not None:
            findings += _PairComparison(context, pair, pair.shadow, pair.live).findings()
        else:
            findings.append(_unmatched_order(context, pair))
    return findings


def _unmatched_order(context: Context, pair: OrderPair) -> Finding:
    (order,) = pair.known
    is_shadow = pair.shadow is not None
    other = context.live if is_shadow else context.shadow
    links = context.bar_links(order.symbol, order.close_time, order.close_time)
    if order.is_protective:
        links += [ToState(order.sleeve, SleeveState.ENTRY), ToState(order.sleeve, SleeveState.SIGNAL)]
    else:
        if other.target_at(order.sleeve, order.close_time) != order.target:
            links.append(ToState(order.sleeve, SleeveState.SIGNAL))
        if not is_close(other.position_at(order.sleeve, order.close_time), order.position):
            links.append(ToState(order.sleeve, SleeveState.POSITION))
        if order.quantity <= 2.0 * context.lot_sizes.get(order.symbol, 0.0):
            links.append(ToLargestPnl())
    text = f"{order.side} {order.quantity:g} {order.order_type}, {order.reason}"
    values = (text, None) if is_shadow else (None, text)
    finding = _finding(pair, Kind.ORDER, values, order.close_time, Step.ORDER, links)
    pnl = contribution(order, context.last_closes[order.symbol][0 if is_shadow else 1])
    finding.pnl = -pnl if is_shadow else pnl
    return finding


def _finding(
    pair: OrderPair, kind: str, values: tuple[Any, Any], close_time: int, step: Step, links: Sequence[Link],
    rule: _Rule | None = None,
) -> Finding:  # fmt: skip
    rule = rule or _RULES[kind]
    shadow_events, live_events = (tuple(order.event_indices) if order else () for order in pair.histories)
    return Finding(
        close_time=close_time,
        step=step,
        cause=rule.cause,
        kind=kind,
        subject=pair.known[0].symbol,
        shadow=values[0],
        live=values[1],
        sleeve=pair.known[0].sleeve,
        pair=pair,
        links=links,
        run_causes=rule.run_causes,
        changes=rule.changes,
        event_indices=(shadow_events, live_events),
    )


@dataclass(slots=True)
class _PairComparison:
    context: Context
    pair: OrderPair
    shadow: OrderHistory
    live: OrderHistory
    by_kind: dict[str, Finding] = field(default_factory=dict)

    def findings(self) -> list[Finding]:
        self._compare_requests()
        if not self._compare_refusals():
            self._compare_fills()
            self._compare_ends()
        self._compare_event_times()
        self._split_pnl()
        return list(self.by_kind.values())

    @property
    def _orders(self) -> tuple[OrderHistory, OrderHistory]:
        return self.shadow, self.live

    @property
    def _request_span(self) -> tuple[int, int]:
        times = self._both(lambda order: order.close_time)
        return min(times), max(times)

    @property
    def _last_event_time(self) -> int:
        times = [time for order in self._orders for _, time in order.event_times]
        return max(times + [fill.close_time for order in self._orders for fill in order.fills])

    @property
    def _lot_size(self) -> float:
        return self.context.lot_sizes.get(self.shadow.symbol, 0.0)

    def _both(self, value_of: Callable[[OrderHistory], Any]) -> tuple[Any, Any]:
        return value_of(self.shadow), value_of(self.live)

    def _add(
        self, kind: str, values: tuple[Any, Any], close_time: int, step: Step, links: Sequence[Link] = (),
        rule: _Rule | None = None,
    ) -> Finding:  # fmt: skip
        finding = self.by_kind[kind] = _finding(self.pair, kind, values, close_time, step, links, rule)
        return finding

    def _links_to(self, *kinds: Kind) -> list[Link]:
        return [ToFinding(self.by_kind[kind]) for kind in kinds if kind in self.by_kind]

    def _state_links(self, state: SleeveState, is_needed: bool = True) -> list[Link]:
        return [ToState(self.shadow.sleeve, state)] if is_needed else []

    def _position_links(self) -> list[Link]:
        return self._state_links(SleeveState.POSITION, not is_close(self.shadow.position, self.live.position))

    def _bar_links(self, first: int, last: int) -> list[Link]:
        return self.context.bar_links(self.shadow.symbol, first, last)

    def _signal_links(self, first: int, last: int) -> list[Link]:
        return self.context.signal_links(self.shadow.sleeve, first, last)

    def _compare_requests(self) -> None:
        first, last = self._request_span
        is_protective = self.shadow.is_protective
        step = Step.PROTECTIVE_ORDER if is_protective else Step.ORDER
        target = self._state_links(SleeveState.SIGNAL, self.shadow.target != self.live.target)
        entry = self._state_links(SleeveState.ENTRY, is_protective)
        bars = self._bar_links(first, last)
        if self.shadow.side is not self.live.side:
            links = target + (self._position_links() if self._is_sizing_rule_kept else [])
            self._add(Kind.SIDE, self._both(lambda order: str(order.side)), first, step, links)
        times = self._both(lambda order: order.decided_at)
        if abs(times[0] - times[1]) > self.context.tolerance_ns:
            links = bars + (entry or self._signal_links(first, last)) if first != last else entry
            self._add(Kind.DECISION_TIME, times, first, step, links)
        types = self._both(lambda order: f"{order.order_type} {order.time_in_force}")
        if types[0] != types[1]:
            self._add(Kind.ORDER_TYPE, types, first, step)
        prices = self._both(lambda order: order.decision_price)
        if not is_close(*prices):
            self._add(Kind.DECISION_PRICE, prices, first, step, self._links_to(Kind.DECISION_TIME) + bars + entry)
        for kind, levels in (
            (Kind.LIMIT_PRICE, self._both(lambda order: order.limit_price)),
            (Kind.STOP_PRICE, self._both(lambda order: order.stop_price)),
        ):
            if None not in levels and not is_close(*levels):
                self._add(kind, levels, first, step, self._links_to(Kind.DECISION_PRICE, Kind.ORDER_TYPE) + entry)
        drift_links = self._drift_links(last)
        quantities = self._both(lambda order: order.quantity)
        if not is_close(*quantities):
            finding = self._add(Kind.QUANTITY, quantities, first, step, self._quantity_links(target, bars))
            finding.is_implied, finding.fallback_links = self._is_sizing_rule_kept, drift_links

    @property
    def _is_sizing_rule_kept(self) -> bool:
        return sizing_rules.is_kept(self.shadow, self.live, self._lot_size)

    def _quantity_links(self, target: list[Link], bars: list[Link]) -> list[Link]:
        if self._is_sizing_rule_kept:
            seen = [] if is_close(self.shadow.last_close, self.live.last_close) else bars
            settings = (ToSetting("trading.initial_cash"), ToSetting("trading.sizing"))
            return [*target, *seen, *self._position_links(), ToLargestPnl(), *settings]
        if self.context.sizing in _SCALED_SIZING:
            return target + self._bar_links(0, self._request_span[1])
        return target + self._links_to(Kind.SIDE)

    def _drift_links(self, close_time: int) -> list[Link]:
        """Return links to what changed cash or the position since the last request.

        A log with a wrong fill no longer adds up to the equity from which later quantities were computed: these
        quantities deviate from the sizing rule by a constant fraction.
        """
        sleeve = self.shadow.sleeve
        previous, since = self.context.drifts.get(sleeve, (0.0, 0))
        if self.shadow.is_protective or not all(order.target and order.equity for order in self._orders):
            return [ToLastChange(since, close_time)]
        fractions = self._both(
            lambda order: sizing_rules.fraction_of_equity(order, order.position + order.signed_quantity)
        )
        drift = fractions[0] / fractions[1] - 1.0 if all(fractions) else 0.0
        self.context.drifts[sleeve] = (drift, close_time)
        if previous and abs(drift - previous) <= 0.2 * abs(previous):
            return [*self._state_links(SleeveState.POSITION), ToLargestPnl()]
        return [ToLastChange(since, close_time)]

    def _compare_refusals(self) -> bool:
        """Return whether an order was refused in both runs, or in one of them, which is a difference."""
        refused = self._both(lambda order: order.outcome in _REFUSALS)
        if refused[0] == refused[1]:
            return all(refused)
        order, run = (self.shadow, self.context.shadow) if refused[0] else (self.live, self.context.live)
        assert order.outcome is not None
        links: list[Link] = []
        if order.outcome is OrderEventKind.DENIED and self._input_change() >= sizing_rules.denial_margin(run, order):
            links = [*self._position_links(), *self._links_to(Kind.QUANTITY, Kind.SIDE), ToLargestPnl()]
        rule = _REFUSALS[order.outcome]
        self._add(Kind.OUTCOME, self._both(_end_text), self._request_span[0], Step.OUTCOME, links, rule)
        return True

    def _input_change(self) -> float:
        """Return the largest relative change of quantity, equity and position."""
        equity = max(abs(self.shadow.equity), abs(self.live.equity), 1e-9)
        return max(
            abs(self.shadow.quantity - self.live.quantity) / max(self.shadow.quantity, self.live.quantity),
            abs(self.shadow.equity - self.live.equity) / equity,
            abs(self.shadow.position - self.live.position) * self.shadow.decision_price / equity,
        )

    def _compare_fills(self) -> None:
        closes = [fill.close_time for order in self._orders for fill in order.fills]
        if not closes:
            return
        first, last = min(closes), max(closes)
        is_limited_by_cash = all(sizing_rules.filled_what_cash_allowed(order, self._lot_size) for order in self._orders)
        if self.shadow.has_mixed_sides != self.live.has_mixed_sides:
            sides = self._both(lambda order: "against the order" if order.has_mixed_sides else "as the order")
            self._add(Kind.FILL_SIDE, sides, first, Step.FILL)
        bars = self._bar_links(first, last)
        are_both_filled = bool(self.shadow.fills and self.live.fills)
        if are_both_filled:
            self._compare_fill_times(first, bars)
        if not is_limited_by_cash:
            self._compare_filled(first, last)
        if are_both_filled:
            self._compare_fill_counts(first, last, bars)
            self._compare_fill_prices(first, bars)
            self._compare_fees(first)
        if is_limited_by_cash:
            self._compare_filled(first, last)

    def _compare_fill_times(self, first: int, bars: list[Link]) -> None:
        times = self._both(lambda order: order.fills[0].ts_event)
        if abs(times[0] - times[1]) > self.context.tolerance_ns:
            kinds = (Kind.DECISION_TIME, Kind.ORDER_TYPE, Kind.LIMIT_PRICE, Kind.STOP_PRICE, Kind.SIDE)
            self._add(Kind.FILL_TIME, times, first, Step.FILL, self._links_to(*kinds) + bars)

    def _compare_fill_counts(self, first: int, last: int, bars: list[Link]) -> None:
        counts = self._both(lambda order: len(order.fills))
        if counts[0] != counts[1] and Kind.FILLED not in self.by_kind:
            links = self._links_to(Kind.ORDER_TYPE, *([Kind.QUANTITY, Kind.FILL_TIME] if first != last else []))
            self._add(Kind.N_FILLS, counts, first, Step.FILL, links + bars)

    def _compare_fill_prices(self, first: int, bars: list[Link]) -> None:
        prices = self._both(lambda order: order.price)
        if abs(prices[1] - prices[0]) / (0.5 * sum(prices)) * 1e4 <= self.context.tolerance_bps:
            return
        links = self._links_to(Kind.SIDE, Kind.FILL_SIDE, Kind.ORDER_TYPE, Kind.LIMIT_PRICE, Kind.STOP_PRICE)
        links += self._links_to(Kind.FILL_TIME, Kind.DECISION_TIME) if self._has_market_moved else []
        links += bars
        if any(fill.close_time != first for order in self._orders for fill in order.fills):
            links += self._links_to(Kind.FILLED, Kind.N_FILLS, Kind.QUANTITY)
        self._add(Kind.FILL_PRICE, prices, first, Step.FILL, links)

    @property
    def _has_market_moved(self) -> bool:
        """Whether the arrival prices explain the main part of the difference of the fill prices."""
        arrivals, prices = self._both(lambda order: order.arrival_price), self._both(lambda order: order.price)
        return bool(abs(arrivals[1] - arrivals[0]) >= _MAIN_PART * abs(prices[1] - prices[0]))

    def _compare_fees(self, first: int) -> None:
        rates = self._both(lambda order: fee_rate(order) * 1e4)
        order_type = str(self.shadow.order_type)
        if abs(rates[0] - rates[1]) <= _FEE_BPS:
            self.context.end_fee_differences(order_type)
            return
        rounded = (round(rates[0], 4), round(rates[1], 4))
        earlier = self.context.first_fee_difference(order_type, rounded)
        links = self._links_to(Kind.ORDER_TYPE, Kind.LIMIT_PRICE, Kind.STOP_PRICE)
        links += [] if earlier is None else [ToFinding(earlier)]
        rule = _CONFIGURED_FEE if self.context.are_configured(rates) else None
        finding = self._add(Kind.FEE_RATE, rates, first, Step.FILL, links, rule)
        if earlier is None:
            self.context.begin_fee_difference(order_type, rounded, finding)

    def _compare_filled(self, first: int, last: int) -> None:
        filled = self._both(lambda order: order.filled)
        if is_close(*filled):
            return
        is_implied = True
        if not is_close(*self._both(lambda order: order.quantity)) and self._fills_follow_quantity():
            links = self._links_to(Kind.QUANTITY)
        elif all(sizing_rules.filled_what_cash_allowed(order, self._lot_size) for order in self._orders):
            links = [*self._links_to(Kind.FEE_RATE, Kind.FILL_PRICE, Kind.QUANTITY, Kind.FILL_TIME), ToLargestPnl()]
        else:
            is_implied = False
            kinds = (Kind.SIDE, Kind.ORDER_TYPE, Kind.LIMIT_PRICE, Kind.STOP_PRICE, Kind.DECISION_TIME)
            requested_at = self._request_span[0]
            links = self._links_to(*kinds) + self._bar_links(requested_at, last)
            if any(order.was_replaced for order in self._orders):
                links += self._signal_links(requested_at, self._last_event_time)
            links += self._state_links(SleeveState.ENTRY, any(order.ended_by_other_fill for order in self._orders))
        self._add(Kind.FILLED, filled, first, Step.FILL, links).is_implied = is_implied

    def _fills_follow_quantity(self) -> bool:
        """Return whether the filled fractions are equal, or the fills up to the end of the smaller order."""
        fractions = self._both(lambda order: order.filled / order.quantity)
        smaller, larger = sorted(self._orders, key=lambda order: order.quantity)
        if abs(fractions[0] - fractions[1]) <= sizing_rules.RTOL + self._lot_size / smaller.quantity:
            return True
        if smaller.outcome is not OrderEventKind.FILLED or len(smaller.fills) > len(larger.fills):
            return False
        pairs = zip(smaller.fills[:-1], larger.fills, strict=False)
        return all(is_close(mine.quantity, theirs.quantity) for mine, theirs in pairs)

    def _compare_ends(self) -> None:
        if self.shadow.outcome is self.live.outcome:
            return
        first, last = self._request_span[0], self._last_event_time
        kinds = (Kind.FILLED, Kind.N_FILLS, Kind.QUANTITY, Kind.FILL_TIME, Kind.ORDER_TYPE, Kind.LIMIT_PRICE)
        links = self._links_to(*kinds)
        if any(order.was_replaced for order in self._orders):
            links += self._signal_links(first, last)
        links += self._bar_links(first, last)
        self._add(Kind.END, self._both(_end_text), last, Step.OUTCOME, links)

    def _compare_event_times(self) -> None:
        shadow, live = self._both(lambda order: dict(order.event_times[::-1]))
        last = self._request_span[1]
        has_known_reason = {Kind.OUTCOME, Kind.END, Kind.FILLED, Kind.N_FILLS} & self.by_kind.keys()
        if (shadow.keys() ^ live.keys()) - _FILLS and not has_known_reason:
            steps = self._both(lambda order: " ".join(str(event) for event, _ in order.event_times))
            self._add(Kind.STEPS, steps, last, Step.OUTCOME)
        if {Kind.DECISION_TIME, Kind.FILL_TIME} & self.by_kind.keys():
            return
        pairs = [(event, (shadow[event], live[event])) for event in shadow if event in live and event not in _FILLS]
        if len(self.shadow.fills) == len(self.live.fills):
            fills = zip(self.shadow.fills, self.live.fills, strict=True)
            pairs += [(OrderEventKind.FILLED, (one.ts_event, other.ts_event)) for one, other in fills]
        late = [(event, times) for event, times in pairs if abs(times[0] - times[1]) > self.context.tolerance_ns]
        if late:
            event, times = late[0]
            self._add(event_time_kind(event), times, last, Step.EVENT_TIME, self._event_time_links(event, max(times)))

    def _event_time_links(self, event: OrderEventKind, last: int) -> list[Link]:
        if event in (OrderEventKind.SUBMITTED, OrderEventKind.ACCEPTED):
            return []
        first = self._request_span[0]
        kinds = (Kind.FILLED, Kind.N_FILLS, Kind.QUANTITY, Kind.LIMIT_PRICE, Kind.STOP_PRICE, Kind.END)
        links = [*self._links_to(*kinds), *self._signal_links(first, last), *self._bar_links(first, last)]
        return links + self._state_links(SleeveState.ENTRY, self.shadow.ended_by_other_fill)

    def _split_pnl(self) -> None:
        """Assign each part of the change of the contribution to the finding that explains it."""
        symbol = self.shadow.symbol
        change = split_contribution(self.shadow, self.live, *self.context.last_closes[symbol])
        self.context.mark_pnl[symbol] = self.context.mark_pnl.get(symbol, 0.0) + change.mark
        closes = [fill.close_time for order in self._orders for fill in order.fills]
        close_time = min(closes, default=self._request_span[0])
        price_kinds = [Kind.FILL_PRICE, *([Kind.FILL_TIME, Kind.DECISION_TIME] if self._has_market_moved else [])]
        for kinds, amount in (
            ([Kind.SIDE, Kind.FILL_SIDE, Kind.QUANTITY], change.side),
            ([Kind.QUANTITY], change.quantity),
            ([Kind.OUTCOME, Kind.FILLED, Kind.N_FILLS], change.filled),
            (price_kinds, change.price),
            ([Kind.FEE_RATE], change.fee),
        ):
            finding = next((self.by_kind[kind] for kind in kinds if kind in self.by_kind), None)
            if finding is None:
                self.context.tolerate(close_time, amount)
            else:
                finding.pnl += amount


def _end_text(order: OrderHistory) -> str:
    return f"{'open' if order.outcome is None else order.outcome} {order.end_reason}".strip()
