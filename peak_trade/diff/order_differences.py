"""Differences between two matched orders, each with links to the differing inputs that may explain it."""

from __future__ import annotations

from collections.abc import Sequence

from peak_trade.diff import sizing_rules
from peak_trade.diff.causes import Cause, Finding, Kind, Step, event_time_kind
from peak_trade.diff.context import Context
from peak_trade.diff.links import Link, SleeveState, ToFinding, ToLargestPnl, ToLastChange, ToSetting, ToState
from peak_trade.diff.lone_orders import lone_order
from peak_trade.diff.matching import OrderPair
from peak_trade.diff.order_histories import OrderHistory
from peak_trade.diff.order_pair import PairComparison
from peak_trade.diff.order_rules import CONFIGURED_FEE, REFUSALS
from peak_trade.diff.sizing_rules import is_close
from peak_trade.journal.events import OrderEventKind

_FEE_BPS = 1e-3
"""Fee rates that differ by less (bps) are equal."""
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


class _PairComparison(PairComparison):
    __slots__ = ()

    def findings(self) -> list[Finding]:
        self._compare_requests()
        if not self._compare_refusals():
            self._compare_fills()
            self._compare_ends()
        self._compare_event_times()
        self._split_pnl()
        return list(self.by_kind.values())

    @property
    def _request_span(self) -> tuple[int, int]:
        times = self.both(lambda order: order.close_time)
        return min(times), max(times)

    @property
    def _last_event_time(self) -> int:
        times = [time for order in self.orders for _, time in order.event_times]
        return max(times + [fill.close_time for order in self.orders for fill in order.fills])

    def _state_links(self, state: SleeveState, is_needed: bool = True) -> list[Link]:
        return [ToState(self.shadow.sleeve, state)] if is_needed else []

    def _position_links(self) -> list[Link]:
        return self._state_links(SleeveState.POSITION, not is_close(self.shadow.position, self.live.position))

    def _entry_links(self) -> list[Link]:
        """Return a link to what changed the entry that protective orders are computed from, if the entries differ."""
        entries = self.both(lambda order: order.entry)
        is_equal = is_close(self.shadow.position, self.live.position) and entries[0][:2] == entries[1][:2]
        return [] if is_equal or not self.shadow.is_protective else self._links_since_entry()

    def _links_since_entry(self) -> list[Link]:
        opened = [order.entry.since for order in self.orders if order.position]
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
            self.add(Kind.SIDE, self.both(lambda order: str(order.side)), first, step, links)
        times = self.both(lambda order: order.decided_at)
        if abs(times[0] - times[1]) > self.context.tolerance_ns:
            links = bars + (entry or self._signal_links(first, last)) if first != last else entry
            self.add(Kind.DECISION_TIME, times, first, step, links)
        types = self.both(lambda order: f"{order.order_type} {order.time_in_force}")
        if types[0] != types[1]:
            self.add(Kind.ORDER_TYPE, types, first, step)
        prices = self.both(lambda order: order.decision_price)
        if not is_close(*prices):
            self.add(Kind.DECISION_PRICE, prices, first, step, self.links_to(Kind.DECISION_TIME) + bars + entry)
        for kind, levels in (
            (Kind.LIMIT_PRICE, self.both(lambda order: order.limit_price)),
            (Kind.STOP_PRICE, self.both(lambda order: order.stop_price)),
        ):
            if None not in levels and not is_close(*levels):
                self.add(kind, levels, first, step, self.links_to(Kind.DECISION_PRICE, Kind.ORDER_TYPE) + entry)
        drift_links = self._drift_links(last)
        quantities = self.both(lambda order: order.quantity)
        if not is_close(*quantities):
            finding = self.add(Kind.QUANTITY, quantities, first, step, self._quantity_links(target, bars))
            finding.is_implied, finding.fallback_links = self._is_sizing_rule_kept, drift_links

    @property
    def _is_sizing_rule_kept(self) -> bool:
        return sizing_rules.is_kept(self.shadow, self.live, self.lot_size)

    def _quantity_links(self, target: list[Link], bars: list[Link]) -> list[Link]:
        if self._is_sizing_rule_kept:
            seen = [] if is_close(self.shadow.last_close, self.live.last_close) else bars
            settings = (ToSetting("trading.initial_cash"), ToSetting("trading.sizing"))
            return [*target, *seen, *self._position_links(), ToLargestPnl(), *settings]
        if self.context.sizing in _SCALED_SIZING:
            return target + self._bar_links(0, self._request_span[1])
        return target + self.links_to(Kind.SIDE)

    def _drift_links(self, close_time: int) -> list[Link]:
        """Return links to what changed cash or the position since the last request.

        A log with a wrong fill no longer adds up to the equity from which later quantities were computed: these
        quantities deviate from the sizing rule by a constant fraction.
        """
        sleeve = self.shadow.sleeve
        previous, since = self.context.drifts.get(sleeve, (0.0, 0))
        if not self.shadow.follows_target or not all(order.target and order.equity for order in self.orders):
            return [ToLastChange(since, close_time)]
        fractions = self.both(
            lambda order: sizing_rules.fraction_of_equity(order, order.position + order.signed_quantity)
        )
        drift = fractions[0] / fractions[1] - 1.0 if all(fractions) else 0.0
        self.context.drifts[sleeve] = (drift, close_time)
        if previous and abs(drift - previous) <= 0.2 * abs(previous):
            return [*self._state_links(SleeveState.POSITION), ToLargestPnl()]
        return [ToLastChange(since, close_time)]

    def _compare_refusals(self) -> bool:
        """Return whether an order was refused in both runs, or in one of them, which is a difference."""
        refused = self.both(lambda order: order.outcome in REFUSALS)
        if refused[0] == refused[1]:
            return all(refused)
        order, run = (self.shadow, self.context.shadow) if refused[0] else (self.live, self.context.live)
        assert order.outcome is not None
        links: list[Link] = []
        if order.outcome is OrderEventKind.DENIED and self._input_change() >= sizing_rules.denial_margin(run, order):
            links = [*self._position_links(), *self.links_to(Kind.QUANTITY, Kind.SIDE), ToLargestPnl()]
        rule = REFUSALS[order.outcome]
        self.add(Kind.OUTCOME, self.both(_end_text), self._request_span[0], Step.OUTCOME, links, rule)
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
        closes = [fill.close_time for order in self.orders for fill in order.fills]
        if not closes:
            return
        first, last = min(closes), max(closes)
        is_limited_by_cash = all(sizing_rules.filled_what_cash_allowed(order, self.lot_size) for order in self.orders)
        if self.shadow.has_mixed_sides != self.live.has_mixed_sides:
            sides = self.both(lambda order: "against the order" if order.has_mixed_sides else "as the order")
            self.add(Kind.FILL_SIDE, sides, first, Step.FILL)
        bars = self._bar_links(first, last)
        if self.are_filled:
            self._compare_fill_times(first, bars)
        if not is_limited_by_cash:
            self._compare_filled(first, last)
        if self.are_filled:
            self._compare_fill_counts(first, last, bars)
            self._compare_fill_prices(first, bars)
            self._compare_fees(first)
        if is_limited_by_cash:
            self._compare_filled(first, last)

    def _compare_fill_times(self, first: int, bars: list[Link]) -> None:
        times = self.both(lambda order: order.fills[0].ts_event)
        if abs(times[0] - times[1]) > self.context.tolerance_ns:
            kinds = (Kind.DECISION_TIME, Kind.ORDER_TYPE, Kind.LIMIT_PRICE, Kind.STOP_PRICE, Kind.SIDE)
            self.add(Kind.FILL_TIME, times, first, Step.FILL, self.links_to(*kinds) + bars)

    def _compare_fill_counts(self, first: int, last: int, bars: list[Link]) -> None:
        counts = self.both(lambda order: len(order.fills))
        if counts[0] != counts[1] and Kind.FILLED not in self.by_kind:
            links = self.links_to(Kind.ORDER_TYPE, *([Kind.QUANTITY, Kind.FILL_TIME] if first != last else []))
            self.add(Kind.N_FILLS, counts, first, Step.FILL, links + bars)

    def _compare_fill_prices(self, first: int, bars: list[Link]) -> None:
        prices = self.both(lambda order: order.price)
        if abs(self.price_change) <= self.context.tolerance_bps:
            return
        links = self.links_to(Kind.SIDE, Kind.FILL_SIDE, Kind.ORDER_TYPE, Kind.LIMIT_PRICE, Kind.STOP_PRICE)
        links += self.links_to(Kind.FILL_TIME, Kind.DECISION_TIME) if self.have_arrivals_moved else []
        links += bars
        if any(fill.close_time != first for order in self.orders for fill in order.fills):
            links += self.links_to(Kind.FILLED, Kind.N_FILLS, Kind.QUANTITY)
        self.add(Kind.FILL_PRICE, prices, first, Step.FILL, links)

    def _compare_fees(self, first: int) -> None:
        rates = self.fee_rates
        order_type = str(self.shadow.order_type)
        if abs(rates[0] - rates[1]) <= _FEE_BPS:
            self.context.end_fee_differences(order_type)
            return
        rounded = (round(rates[0], 4), round(rates[1], 4))
        earlier = self.context.first_fee_difference(order_type, rounded)
        links = self.links_to(Kind.ORDER_TYPE, Kind.LIMIT_PRICE, Kind.STOP_PRICE)
        links += [] if earlier is None else [ToFinding(earlier)]
        rule = CONFIGURED_FEE if self.context.are_configured(rates) else None
        finding = self.add(Kind.FEE_RATE, rates, first, Step.FILL, links, rule)
        if earlier is None:
            self.context.begin_fee_difference(order_type, rounded, finding)

    def _compare_filled(self, first: int, last: int) -> None:
        filled = self.both(lambda order: order.filled)
        if is_close(*filled):
            return
        is_implied = True
        if not is_close(*self.both(lambda order: order.quantity)) and self._fills_follow_quantity():
            links = self.links_to(Kind.QUANTITY)
        elif all(sizing_rules.filled_what_cash_allowed(order, self.lot_size) for order in self.orders):
            links = [*self.links_to(Kind.FEE_RATE, Kind.FILL_PRICE, Kind.QUANTITY, Kind.FILL_TIME), ToLargestPnl()]
        else:
            is_implied = False
            kinds = (Kind.SIDE, Kind.ORDER_TYPE, Kind.LIMIT_PRICE, Kind.STOP_PRICE, Kind.DECISION_TIME)
            requested_at = self._request_span[0]
            links = self.links_to(*kinds) + self._bar_links(requested_at, last)
            if any(order.was_replaced for order in self.orders):
                links += self._signal_links(requested_at, self._last_event_time)
            if any(order.ended_by_other_fill for order in self.orders):
                links += self._links_since_entry()
        self.add(Kind.FILLED, filled, first, Step.FILL, links).is_implied = is_implied

    def _fills_follow_quantity(self) -> bool:
        """Return whether the filled fractions are equal, or the fills up to the end of the smaller order."""
        fractions = self.both(lambda order: order.filled / order.quantity)
        smaller, larger = sorted(self.orders, key=lambda order: order.quantity)
        if abs(fractions[0] - fractions[1]) <= sizing_rules.RTOL + self.lot_size / smaller.quantity:
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
        links = self.links_to(*kinds)
        if any(order.was_replaced for order in self.orders):
            links += self._signal_links(first, last)
        links += self._bar_links(first, last)
        self.add(Kind.END, self.both(_end_text), last, Step.OUTCOME, links)

    def _compare_event_times(self) -> None:
        shadow, live = self.both(lambda order: dict(order.event_times[::-1]))
        last = self._request_span[1]
        has_known_reason = {Kind.OUTCOME, Kind.END, Kind.FILLED, Kind.N_FILLS} & self.by_kind.keys()
        if (shadow.keys() ^ live.keys()) - _FILLS and not has_known_reason:
            steps = self.both(lambda order: " ".join(str(event) for event, _ in order.event_times))
            self.add(Kind.STEPS, steps, last, Step.OUTCOME)
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
            self.add(event_time_kind(event), times, max(last, *times), Step.EVENT_TIME, links)

    def _event_time_links(self, event: OrderEventKind, last: int) -> list[Link]:
        if event in (OrderEventKind.SUBMITTED, OrderEventKind.ACCEPTED):
            return []
        first = self._request_span[0]
        kinds = (Kind.FILLED, Kind.N_FILLS, Kind.QUANTITY, Kind.LIMIT_PRICE, Kind.STOP_PRICE, Kind.END)
        links = [*self.links_to(*kinds), *self._signal_links(first, last), *self._bar_links(first, last)]
        return links + (self._links_since_entry() if self.shadow.ended_by_other_fill else [])

    def _split_pnl(self) -> None:
        closes = [fill.close_time for order in self.orders for fill in order.fills]
        kinds_of = (
            ((Kind.SIDE, Kind.FILL_SIDE, Kind.QUANTITY), ("side",)),
            ((Kind.QUANTITY,), ("quantity",)),
            ((Kind.OUTCOME, Kind.FILLED, Kind.N_FILLS), ("filled",)),
        )
        price_kinds = [Kind.FILL_PRICE, *([Kind.FILL_TIME, Kind.DECISION_TIME] if self.have_arrivals_moved else [])]
        self.split_pnl(min(closes, default=self._request_span[0]), kinds_of, price_kinds, self._is_sample)
        times = self.by_kind.get(Kind.FILL_TIME)
        if Kind.DECISION_TIME not in self.by_kind and self._is_sample(times):
            self.add_sample(Cause.LATENCY_BIAS, self.delay / 1e6, 0.0, times)

    def _is_sample(self, finding: Finding | None) -> bool:
        """Return whether both orders were filled in the same direction, and nothing explains their difference."""
        if not self.are_filled or {Kind.SIDE, Kind.FILL_SIDE} & self.by_kind.keys():
            return False
        closes = [fill.close_time for order in self.orders for fill in order.fills]
        if finding is None:
            return not self._bar_links(min(closes), max(closes))
        return not finding.links and finding.kind in (Kind.FILL_PRICE, Kind.FILL_TIME)


def _end_text(order: OrderHistory) -> str:
    return f"{'open' if order.outcome is None else order.outcome} {order.end_reason}".strip()
