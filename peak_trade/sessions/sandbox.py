"""A sandbox as a venue: every order under an id of ours, so that it can be sent again and never counts twice."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from peak_trade.core.digest import digest_of
from peak_trade.core.errors import SessionError
from peak_trade.core.ledger import Ledger
from peak_trade.core.values import Order, OrderType
from peak_trade.engine.market import Market
from peak_trade.engine.venue import BuyingPower, Execution, Phase, Resting
from peak_trade.journal.events import (
    TERMINAL,
    ActEvent,
    BarEvent,
    Event,
    FeedFaultEvent,
    OrderEvent,
    OrderEventKind,
    ReconciliationEvent,
    SessionEvent,
)
from peak_trade.risk.review import ApprovedOrder
from peak_trade.sessions.exchange import ATTEMPTS, RECEIVE_WINDOW_MS, ask, pause

_NS_PER_MS = 1_000_000
_DUST = 1e-9
STALE_BARS = 3
"""A decision older than this, made on bars that were asked for after an outage, is not sent."""

BY_EXCHANGE = "by the exchange"
"""Opens the reason of every end that the exchange, not we, brought about."""

_TRADES = (OrderEventKind.PARTIALLY_FILLED, OrderEventKind.FILLED)
_BALANCE_RTOL = 1e-6


def id_prefix(session_id: str) -> str:
    """Return what opens the id of every order that a session sends: no two sessions share one."""
    return f"pt{digest_of(session_id)[:8]}-"


class SandboxVenue:
    """Sends approved orders to an exchange's sandbox and reports what becomes of them at the next bar.

    Parameters
    ----------
    client
        From `connect_sandbox`.
    market : Market
    find_by : str
        The parameter under which the exchange finds an order by our id.
    id_prefix : str
        Opens the id of every order of this session.
    wait : callable
        Waits some seconds.
    recorded : sequence of Event
        What the journal of a session that is taken up holds: its orders are not sent again.

    """

    def __init__(
        self,
        client: Any,
        market: Market,
        find_by: str,
        id_prefix: str,
        wait: Callable[[float], object],
        recorded: Sequence[Event] = (),
    ) -> None:
        self._client, self._market, self._find_by, self._id_prefix = client, market, find_by, id_prefix
        self._wait = wait
        self._orders: dict[str, Resting] = {}
        self._arrivals: dict[str, float] = {}
        self._seen: dict[str, int] = defaultdict(int)
        self._ids: dict[str, str] = {}
        self._script = _by_bar(recorded)
        self._lives = _by_order(recorded)
        self._was_matched: set[int] = set()
        self._is_live = not recorded
        self._baseline = _baseline(recorded)

    def submit(self, approved: ApprovedOrder, row: int, phase: Phase = Phase.AFTER_CLOSE) -> str:
        """Send an order, or find it where it was sent before; return why it was rejected, empty when it was taken."""
        order = approved.order
        arrival = order.decision_price
        answer = self._recorded_answer(order.order_id)
        if order.order_type not in (OrderType.MARKET, OrderType.LIMIT):
            rejected = f"{order.order_type} orders are not sent to a sandbox"
        elif answer is None:
            arrival = self._middle()
            is_there = order.order_id in self._lives and self._look_up(order.order_id) is not None
            rejected = "" if is_there else self._too_old(order) or self._place(order)
        else:
            rejected = answer.reason if answer.event is OrderEventKind.REJECTED else ""
        if not rejected:
            self._orders[order.order_id] = Resting(order, row, phase, 0, order.quantity, order.decision_price, row)
            self._arrivals[order.order_id] = arrival
        return rejected

    def cancel(self, order_id: str) -> Resting | None:
        """Withdraw an order; None when it no longer rests, or traded meanwhile: the next match tells."""
        held = self._orders.get(order_id)
        if held is None:
            return None
        life = self._lives.get(order_id, [])
        if life and life[-1].event in TERMINAL:
            return None if _is_of_exchange(life[-1]) else self._orders.pop(order_id)
        if not self._withdraw(order_id):
            return None
        if self._trades(held):
            return None
        return self._orders.pop(order_id)

    def resting(self) -> list[Resting]:
        """Return the open orders, oldest first."""
        return list(self._orders.values())

    def next_touch(self, row: int, stop: int) -> int:
        """Return the next row: an exchange may act at any time."""
        return min(row + 1, stop)

    def match(self, row: int, buying_power: BuyingPower) -> Iterator[Execution]:
        """Yield what happened to our orders since it was last asked."""
        if self._is_live:
            for held in self.resting():
                yield from self._poll(held)
        else:
            yield from self._replay(int(self._market.times[row]))

    def reconcile(self, ledger: Ledger, now: int) -> list[ReconciliationEvent]:
        """Compare balances and open orders with the exchange's; the first time, its balances become the baseline."""
        symbol = self._market.symbols[0]
        instrument = self._market.columns[0].instrument
        totals = ask(self._client.fetch_balance, self._wait, "balances")["total"]
        observed = {name: float(totals.get(name, 0.0)) for name in (instrument.base, instrument.quote)}
        moved = {instrument.base: ledger.quantity(symbol), instrument.quote: ledger.cash - ledger.initial_cash}
        if not self._baseline:
            self._baseline = {name: observed[name] - moved[name] for name in observed}
            return [ReconciliationEvent(now, f"balance {name}", amount, amount, is_equal=True, detail="baseline")
                    for name, amount in observed.items()]  # fmt: skip
        events = []
        for name, amount in observed.items():
            expected = self._baseline[name] + moved[name]
            is_equal = math.isclose(expected, amount, rel_tol=_BALANCE_RTOL, abs_tol=_BALANCE_RTOL)
            events.append(ReconciliationEvent(now, f"balance {name}", expected, amount, is_equal))
        open_there = ask(lambda: self._client.fetch_open_orders(symbol), self._wait, "open orders")
        there = {str(order["clientOrderId"]) for order in open_there}
        strays = {name for name in there if name.startswith(self._id_prefix)} - set(self._orders)
        for name in sorted(strays):
            self._withdraw(name)
        is_equal = not strays
        detail = f"canceled {', '.join(sorted(strays))}" if strays else ""
        n_ours = len(there & set(self._orders)) + len(strays)
        events.append(
            ReconciliationEvent(now, "open orders", float(len(self._orders)), float(n_ours), is_equal, detail)
        )
        return events

    def take_up(self) -> None:
        """End the replay: what the journal recorded of open orders' trades is not to be told again."""
        for order_id in self._orders:
            trades = [event for event in self._lives.get(order_id, []) if event.event in _TRADES]
            self._seen[order_id] = len(trades)
        self._is_live = True

    def _recorded_answer(self, order_id: str) -> OrderEvent | None:
        answers = (OrderEventKind.ACCEPTED, OrderEventKind.REJECTED)
        return next((event for event in self._lives.get(order_id, []) if event.event in answers), None)

    def _replay(self, bar_time: int) -> Iterator[Execution]:
        script = self._script.get(bar_time, [])
        is_first = bar_time not in self._was_matched
        self._was_matched.add(bar_time)
        while script:
            event = script[0]
            is_told = isinstance(event, OrderEvent) and _is_of_exchange(event)
            if is_first and not is_told:
                return
            script.pop(0)
            if isinstance(event, SessionEvent):
                return
            held = self._orders.get(event.order_id) if isinstance(event, OrderEvent) and is_told else None
            if isinstance(event, OrderEvent) and held is not None:
                yield self._recorded_execution(held, event)

    def _recorded_execution(self, held: Resting, event: OrderEvent) -> Execution:
        held.leaves = held.order.quantity - event.cumulative
        ended = "filled" if event.event is OrderEventKind.FILLED else event.reason if event.leaves == 0.0 else ""
        if ended:
            del self._orders[event.order_id]
        return Execution(
            held.order, Phase.WITHIN, event.ts_event, event.last_quantity, event.last_price, event.fee,
            event.last_price, event.arrival_price, event.cumulative, ended,
        )  # fmt: skip

    def _too_old(self, order: Order) -> str:
        """Say why an order that was decided before an outage is not sent any more."""
        n_bars = (int(self._client.milliseconds()) * _NS_PER_MS - order.decided_at) // self._market.timeframe.ns
        return f"decided {n_bars} bars ago, too old to send" if n_bars > STALE_BARS else ""

    def _place(self, order: Order) -> str:
        import ccxt

        for attempt in range(ATTEMPTS):
            try:
                sent = self._client.create_order(
                    order.symbol,
                    "market" if order.order_type is OrderType.MARKET else "limit",
                    order.side.value,
                    order.quantity,
                    order.limit_price,
                    {"clientOrderId": order.order_id} | _lifetime(order),
                )
                self._ids[order.order_id] = str(sent["id"])
                return ""
            except ccxt.OperationFailed:
                self._wait(pause(attempt) + RECEIVE_WINDOW_MS / 1_000)
                if self._look_up(order.order_id) is not None:
                    return ""
            except ccxt.BaseError as error:
                if self._look_up(order.order_id) is not None:
                    return ""
                return f"{BY_EXCHANGE}: {error}"[:200]
        raise SessionError(
            f"{order.order_id}: no answer after {ATTEMPTS} attempts; whether it was taken is not known. Resume the "
            "session when the exchange answers: it is looked up before anything else."
        )

    def _middle(self) -> float:
        """Return the middle of the book: the price that an order meets on arrival."""
        book = ask(lambda: self._client.fetch_order_book(self._market.symbols[0], 5), self._wait, "order book")
        return (float(book["bids"][0][0]) + float(book["asks"][0][0])) / 2.0

    def _look_up(self, order_id: str) -> dict[str, Any] | None:
        import ccxt

        symbol = self._market.symbols[0]

        def question() -> dict[str, Any] | None:
            try:
                found: dict[str, Any] = self._client.fetch_order(None, symbol, {self._find_by: order_id})
            except ccxt.OrderNotFound:
                return None
            self._ids[order_id] = str(found["id"])
            return found

        return ask(question, self._wait, order_id)

    def _withdraw(self, order_id: str) -> bool:
        import ccxt

        symbol = self._market.symbols[0]

        def question() -> bool:
            try:
                self._client.cancel_order(None, symbol, {self._find_by: order_id})
            except ccxt.OrderNotFound:
                found = self._client.fetch_order(None, symbol, {self._find_by: order_id})
                return str(found["status"]) == "canceled"
            return True

        return ask(question, self._wait, order_id)

    def _trades(self, held: Resting) -> list[dict[str, Any]]:
        """Return the trades of an order that were not told yet, oldest first."""
        order_id, symbol = held.order.order_id, held.order.symbol
        if order_id not in self._ids and self._look_up(order_id) is None:
            return []
        asked = {"orderId": self._ids[order_id]}
        found = ask(lambda: self._client.fetch_my_trades(symbol, params=asked), self._wait, order_id)
        return sorted(found, key=lambda trade: int(trade["id"]))[self._seen[order_id] :]

    def _poll(self, held: Resting) -> Iterator[Execution]:
        order = held.order
        state = self._look_up(order.order_id)
        if state is None:
            raise SessionError(f"{order.order_id}: the exchange no longer knows this order.")
        for trade in self._trades(held):
            self._seen[order.order_id] += 1
            quantity, price = float(trade["amount"]), float(trade["price"])
            held.leaves -= quantity
            if held.leaves <= _DUST * order.quantity:
                held.leaves = 0.0
            ended = "filled" if held.leaves == 0.0 else ""
            if ended:
                del self._orders[order.order_id]
            yield Execution(
                order, Phase.WITHIN, int(trade["timestamp"]) * _NS_PER_MS, quantity, price, self._fee(trade),
                price, self._arrivals[order.order_id], held.cumulative, ended,
            )  # fmt: skip
        status = str(state["status"])
        if order.order_id in self._orders and status not in ("open", "closed"):
            del self._orders[order.order_id]
            now = int(state["lastUpdateTimestamp"] or state["timestamp"]) * _NS_PER_MS
            yield Execution(
                order, Phase.WITHIN, now, 0.0, 0.0, 0.0, 0.0, self._arrivals[order.order_id], held.cumulative,
                f"{BY_EXCHANGE}: {status}",
            )  # fmt: skip

    def _fee(self, trade: dict[str, Any]) -> float:
        fee = trade.get("fee") or {}
        cost, quote = float(fee.get("cost") or 0.0), self._market.columns[0].instrument.quote
        if cost and fee.get("currency") != quote:
            raise SessionError(
                f"trade {trade['id']}: its fee is in {fee.get('currency')}, and only fees in {quote} can be booked. "
                f"Let the account pay fees in {quote}."
            )
        return cost


def _lifetime(order: Order) -> dict[str, str]:
    return {} if order.order_type is OrderType.MARKET else {"timeInForce": order.time_in_force.value.upper()}


def _is_of_exchange(event: OrderEvent) -> bool:
    return event.event in _TRADES or event.reason.startswith(BY_EXCHANGE)


def _by_bar(recorded: Sequence[Event]) -> dict[int, list[Event]]:
    """Return by bar the orders' events, and between them what came after the bar's own: a resumption or an input."""
    script: dict[int, list[Event]] = {}
    bar_time = -1
    for event in recorded:
        if isinstance(event, BarEvent):
            bar_time = event.ts_event
            script[bar_time] = []
        elif isinstance(event, OrderEvent | SessionEvent | ActEvent | FeedFaultEvent) and script:
            script[bar_time].append(event)
    return script


def _by_order(recorded: Sequence[Event]) -> dict[str, list[OrderEvent]]:
    lives: dict[str, list[OrderEvent]] = defaultdict(list)
    for event in recorded:
        if isinstance(event, OrderEvent):
            lives[event.order_id].append(event)
    return dict(lives)


def _baseline(recorded: Sequence[Event]) -> dict[str, float]:
    return {
        event.subject.removeprefix("balance "): event.observed
        for event in recorded
        if isinstance(event, ReconciliationEvent) and event.detail == "baseline"
    }
