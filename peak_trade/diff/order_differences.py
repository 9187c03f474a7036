"""Differences between two matched orders, each with links to the differing inputs that may explain it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from peak_trade.diff import sizing_rules
from peak_trade.diff.causes import Cause, Finding, Kind, Step, event_time_kind
from peak_trade.diff.context import Context, Sample
from peak_trade.diff.links import Link, SleeveState, ToFinding, ToLargestPnl, ToLastChange, ToSetting, ToState
from peak_trade.diff.lone_orders import lone_order
from peak_trade.diff.matching import OrderPair
from peak_trade.diff.order_histories import OrderHistory
from peak_trade.diff.order_rules import CONFIGURED_FEE, REFUSALS, Rule, order_finding
from peak_trade.diff.pnl import fee_rate, split_contribution
from peak_trade.diff.sizing_rules import is_close
from peak_trade.journal.events import OrderEventKind

_FEE_BPS = 1e-3
"""Fee rates that differ by less (bps) are equal."""
_MAIN_PART = 0.5
"""Fraction of a difference from which on another difference explains it."""
_SCALED_SIZING = ("volatility_target", "fractional_kelly", "fixed_risk")
_FILLS = frozenset({OrderEventKind.PARTIALLY_FILLED, OrderEventKind.FILLED})


def of_orders(pairs: Sequence[OrderPair], context: Context) -> list[Finding]:
    """Return the differences of all pairs, with their links and their effects on the PnL."""
    findings: list[Finding] = []
    for pair in pairs:
        if pair.shadow is not None and pair.live is not None:
            findings += _PairComparison(context, pair, pair.shadow, pair.live).findings()
        else:
            findings.append(lone_order(context, pair))
    return findings


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
        rule: Rule | None = None,
    ) -> Finding:  # fmt: skip
        finding = self.by_kind[kind] = order_finding(self.pair, kind, values, close_time, step, links, rule)
        return finding

    def _links_to(self, *kinds: Kind) -> list[Link]:
        return [ToFinding(self.by_kind[kind]) for kind in kinds if kind in self.by_kind]

    def _state_links(self, state: SleeveState, is_needed: bool = True) -> list[Link]:
        return [ToState(self.shadow.sleeve, state)] if is_needed else []

    def _position_links(self) -> list[Link]:
        return self._state_links(SleeveState.POSITION, not is_close(self.shadow.position, self.live.position))

    def _entry_links(self) -> list[Link]:
        """Return a link to what changed the entry that protective orders are computed from, if the entries differ."""
        entries = self._both(lambda order: order.entry)
        is_equal = is_close(self.shadow.position, self.live.position) and entries[0][:2] == entries[1][:2]
        return [] if is_equal or not self.shadow.is_protective else self._links_since_entry()

    def _links_since_entry(self) -> list[Link]:
        opened = [order.entry.since for order in self._orders if order.position]
        return [ToState(self.shadow.sleeve, SleeveState.ENTRY, min(opened))] if opened else []

    def _bar_links(self, first: int, last: int) -> list[Link]:
        return self.context.bar_links(self.shadow.symbol, first, last)

    def _signal_links(self, first: int, last: int) -> list[Link]:
        return self.context.signal_links(self.shadow.sleeve, first, last)

    def _compare_requests(self) -> None:
        first, last = self._request_span
        step = Step.PROTECTIVE_ORDER if self.shadow.is_protective else Step.ORDER
        target = self._state_links(SleeveState.SIGNAL, self.shadow.target != self.live.target)
        entry = self._entry_links()
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
        if not self.shadow.follows_target or not all(order.target and order.equity for order in self._orders):
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
        refused = self._both(lambda order: order.outcome in REFUSALS)
        if refused[0] == refused[1]:
            return all(refused)
        order, run = (self.shadow, self.context.shadow) if refused[0] else (self.live, self.context.live)
        assert order.outcome is not None
        links: list[Link] = []
        if order.outcome is OrderEventKind.DENIED and self._input_change() >= sizing_rules.denial_margin(run, order):
            links = [*self._position_links(), *self._links_to(Kind.QUANTITY, Kind.SIDE), ToLargestPnl()]
        rule = REFUSALS[order.outcome]
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
        if abs(self._price_change) <= self.context.tolerance_bps:
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
        rule = CONFIGURED_FEE if self.context.are_configured(rates) else None
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
            if any(order.ended_by_other_fill for order in self._orders):
                links += self._links_since_entry()
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
            links = self._event_time_links(event, max(times))
            self._add(event_time_kind(event), times, max(last, *times), Step.EVENT_TIME, links)

    def _event_time_links(self, event: OrderEventKind, last: int) -> list[Link]:
        if event in (OrderEventKind.SUBMITTED, OrderEventKind.ACCEPTED):
            return []
        first = self._request_span[0]
        kinds = (Kind.FILLED, Kind.N_FILLS, Kind.QUANTITY, Kind.LIMIT_PRICE, Kind.STOP_PRICE, Kind.END)
        links = [*self._links_to(*kinds), *self._signal_links(first, last), *self._bar_links(first, last)]
        return links + (self._links_since_entry() if self.shadow.ended_by_other_fill else [])

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
            if kinds is price_kinds and self._is_sample(finding):
                self._add_sample(Cause.SLIPPAGE_BIAS, self._price_change, amount, finding)
            elif finding is None:
                self.context.tolerate(close_time, amount)
            if finding is not None:
                finding.pnl += amount
        times = self.by_kind.get(Kind.FILL_TIME)
        if Kind.DECISION_TIME not in self.by_kind and self._is_sample(times):
            late = self.live.fills[0].ts_event - self.shadow.fills[0].ts_event
            self._add_sample(Cause.LATENCY_BIAS, late / 1e6, 0.0, times)

    @property
    def _price_change(self) -> float:
        """Change of the average fill price in bps of the mean of both, positive if the live one is worse."""
        shadow, live = self._both(lambda order: order.price)
        return float(self.shadow.side.sign * (live - shadow) / (0.5 * (live + shadow)) * 1e4)

    def _is_sample(self, finding: Finding | None) -> bool:
        """Return whether both orders were filled in the same direction, and nothing explains their difference."""
        if not (self.shadow.fills and self.live.fills) or {Kind.SIDE, Kind.FILL_SIDE} & self.by_kind.keys():
            return False
        closes = [fill.close_time for order in self._orders for fill in order.fills]
        if finding is None:
            return not self._bar_links(min(closes), max(closes))
        return not finding.links and finding.kind in (Kind.FILL_PRICE, Kind.FILL_TIME)

    def _add_sample(self, bias: Cause, difference: float, pnl: float, finding: Finding | None) -> None:
        close_time = self.live.fills[0].close_time if finding is None else finding.close_time
        sample = Sample(close_time, difference, 0.0 if finding is not None else pnl, finding)
        self.context.samples.setdefault(bias, []).append(sample)


def _end_text(order: OrderHistory) -> str:
    return f"{'open' if order.outcome is None else order.outcome} {order.end_reason}".strip()
