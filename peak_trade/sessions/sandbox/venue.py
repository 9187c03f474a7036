"""A sandbox as a venue: every order under an id of ours, so that it can be sent again and never counts twice."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from peak_trade.core.digest import digest_of
from peak_trade.core.errors import SessionError
from peak_trade.core.ledger import Ledger
from peak_trade.core.values import Order, OrderType
from peak_trade.engine.market import Market
from peak_trade.engine.venue import BuyingPower, Execution, Phase, Reconciliation, Resting, Venue
from peak_trade.journal.events import TERMINAL, Event, OrderEvent, OrderEventKind, ReconciliationEvent
from peak_trade.risk.review import ApprovedOrder
from peak_trade.sessions.config import SENT_TYPES
from peak_trade.sessions.sandbox.client import ATTEMPTS, RECEIVE_WINDOW_MS, ask, pause
from peak_trade.sessions.sandbox.dialects import Dialect, OrderThere, TradeThere
from peak_trade.sessions.sandbox.recorded import (
    BASELINE,
    BY_EXCHANGE,
    TRADES,
    baseline_of,
    by_order,
    is_of_exchange,
    told_by_exchange,
)

_NS_PER_MS = 1_000_000
_DUST = 1e-9
STALE_BARS = 3
"""A decision older than this, made on bars that were asked for after an outage, is not sent."""

_OPEN_ORDERS = "open orders"
_BALANCE_RTOL = 1e-6
_Answer = TypeVar("_Answer")


def id_prefix(session_id: str) -> str:
    """Return what opens the id of every order that a session sends: no two sessions share one."""
    return f"pt{digest_of(session_id)[:8]}-"


class SandboxVenue(Venue):
    """Sends approved orders to an exchange's sandbox and reports what becomes of them at the next bar.

    Parameters
    ----------
    dialect : Dialect or None
        How the exchange is spoken to; None for a replay, which asks nothing of it.
    market : Market
    id_prefix : str
        Opens the id of every order of this session.
    wait : callable
        Waits some seconds.
    recorded : sequence of Event
        What the journal of a session that is taken up holds: its orders are not sent again.

    """

    is_remote = True

    def __init__(
        self,
        dialect: Dialect | None,
        market: Market,
        id_prefix: str,
        wait: Callable[[float], object],
        recorded: Sequence[Event] = (),
    ) -> None:
        self._there, self._market, self._id_prefix, self._wait = dialect, market, id_prefix, wait
        self._orders: dict[str, Resting] = {}
        self._arrivals: dict[str, float] = {}
        self._told: dict[str, Counter[tuple[int, float, float]]] = defaultdict(Counter)
        self._ids: dict[str, str] = {}
        self._with_bars, self._between = told_by_exchange(recorded)
        self._told_now: list[OrderEvent] = []
        self._lives = by_order(recorded)
        self._is_live = not recorded
        self._baseline, self._since = baseline_of(recorded)

    @property
    def _dialect(self) -> Dialect:
        assert self._there is not None
        return self._there

    def submit(self, approved: ApprovedOrder, row: int, phase: Phase = Phase.AFTER_CLOSE) -> str:
        """Send an order, or find it where it was sent before; return why it was rejected, empty when it was taken."""
        order = approved.order
        arrival = order.decision_price
        answer = self._recorded_answer(order.order_id)
        if order.order_type not in SENT_TYPES:
            rejected = f"{order.order_type} orders are not sent to a sandbox"
        elif answer is None:
            arrival = self._middle()
            is_there = order.order_id in self._lives and self._look_up(order) is not None
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
            return None if is_of_exchange(life[-1]) else self._orders.pop(order_id)
        if not self._withdraw(held.order):
            return None
        state = self._look_up(held.order)
        if state is None or state.filled > held.cumulative + _DUST * held.order.quantity:
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

    def reconcile(self, ledger: Ledger, now: int) -> Reconciliation:
        """Compare holdings and open orders with the exchange's; the first time, its holdings become the baseline.

        An order that has our prefix and is none of ours any more is canceled. One of ours that is not open there makes
        the comparison unequal: what became of it comes with the next `match`.
        """
        since = self._since or now
        observed = self._ask(lambda: self._dialect.holdings(since), "holdings")
        moved = self._dialect.moved(ledger)
        if not self._baseline:
            baseline = {name: observed[name] - moved[name] for name in observed}
            self._dialect.check_start(baseline)
            self._baseline, self._since = baseline, now
            return Reconciliation(
                tuple(ReconciliationEvent(now, name, amount, amount, is_equal=True, detail=BASELINE)
                      for name, amount in baseline.items())
            )  # fmt: skip
        holdings = []
        for name, amount in observed.items():
            expected = self._baseline[name] + moved[name]
            is_equal = math.isclose(expected, amount, rel_tol=_BALANCE_RTOL, abs_tol=_BALANCE_RTOL)
            holdings.append(ReconciliationEvent(now, name, expected, amount, is_equal))
        return self._with_orders(tuple(holdings), now)

    def _with_orders(self, holdings: tuple[ReconciliationEvent, ...], now: int) -> Reconciliation:
        ours = set(self._orders)
        there = {name for name in self._ask(self._dialect.open_ids, _OPEN_ORDERS) if name.startswith(self._id_prefix)}
        strays, missing = sorted(there - ours), sorted(ours - there)
        for order_id in strays:
            self._withdraw_id(order_id, 0)
        details = [f"canceled {', '.join(strays)}"] if strays else []
        details += [f"not open there: {', '.join(missing)}"] if missing else []
        is_equal = not (strays or missing)
        orders = ReconciliationEvent(now, _OPEN_ORDERS, len(ours), len(there), is_equal, "; ".join(details))
        return Reconciliation(holdings, orders, has_canceled=bool(strays))

    def resume(self) -> None:
        """Continue with the exchange: trades that the journal holds already are not reported again."""
        for order_id in self._orders:
            for event in self._lives.get(order_id, []):
                if event.event in TRADES:
                    self._told[order_id][event.ts_event, event.last_quantity, event.last_price] += 1
        self._is_live = True

    def _recorded_answer(self, order_id: str) -> OrderEvent | None:
        answers = (OrderEventKind.ACCEPTED, OrderEventKind.REJECTED)
        return next((event for event in self._lives.get(order_id, []) if event.event in answers), None)

    def apply_recorded(self, event: Event) -> bool:
        """Take what the exchange reported between bars from the record; return True if the next `match` yields it."""
        if not self._between or self._between[0] is not event:
            return False
        self._told_now.append(self._between.popleft())
        return True

    def _replay(self, bar_time: int) -> Iterator[Execution]:
        told = [*self._with_bars.pop(bar_time, ()), *self._told_now]
        self._told_now.clear()
        for event in told:
            held = self._orders.get(event.order_id)
            if held is not None:
                yield self._recorded_execution(held, event)

    def _recorded_execution(self, held: Resting, event: OrderEvent) -> Execution:
        held.leaves = held.order.quantity - event.cumulative
        ended = "filled" if event.event is OrderEventKind.FILLED else event.reason if event.leaves == 0.0 else ""
        if ended:
            del self._orders[event.order_id]
        return Execution(
            held.order, Phase.WITHIN, event.ts_event, event.last_quantity, event.last_price, event.fee,
            event.last_price, event.arrival_price, event.cumulative, ended, event.fee_in_base,
        )  # fmt: skip

    def _too_old(self, order: Order) -> str:
        """Say why an order that was decided before an outage is not sent any more."""
        n_bars = (int(self._dialect.client.milliseconds()) * _NS_PER_MS - order.decided_at) // self._market.timeframe.ns
        return f"decided {n_bars} bars ago, too old to send" if n_bars > STALE_BARS else ""

    def _place(self, order: Order) -> str:
        import ccxt

        kind = "market" if order.order_type is OrderType.MARKET else "limit"
        parameters = self._dialect.parameters(order)
        for attempt in range(ATTEMPTS):
            try:
                sent = self._dialect.client.create_order(
                    order.symbol, kind, order.side.value, order.quantity, order.limit_price, parameters
                )
                if sent["status"] == "rejected":
                    return f"{BY_EXCHANGE}: {sent['info']}"[:200]
                self._ids[order.order_id] = str(sent["id"])
                return ""
            except ccxt.DuplicateOrderId:
                return ""
            except ccxt.OperationFailed:
                self._wait(pause(attempt) + RECEIVE_WINDOW_MS / 1_000)
                found = self._look_up(order)
                if found is not None:
                    return f"{BY_EXCHANGE}: rejected" if found.status == "rejected" else ""
            except ccxt.BaseError as error:
                found = self._look_up(order)
                if found is not None and found.status != "rejected":
                    return ""
                return f"{BY_EXCHANGE}: {error}"[:200]
        raise SessionError(
            f"{order.order_id}: no answer after {ATTEMPTS} attempts; whether it was taken is not known. Resume the "
            "session when the exchange answers: it is looked up before anything else."
        )

    def _middle(self) -> float:
        """Return the middle of the book: the price that an order meets on arrival."""
        client, symbol = self._dialect.client, self._market.symbols[0]
        book = self._ask(lambda: client.fetch_order_book(symbol, 5), "order book")
        return (float(book["bids"][0][0]) + float(book["asks"][0][0])) / 2.0

    def _ask(self, question: Callable[[], _Answer], what: str) -> _Answer:
        return ask(question, self._wait, what)

    def _look_up(self, order: Order) -> OrderThere | None:
        return self._find(order.order_id, order.decided_at)

    def _find(self, order_id: str, since: int) -> OrderThere | None:
        found = self._ask(lambda: self._dialect.find(order_id, since), order_id)
        if found is not None:
            self._ids[order_id] = found.exchange_id
        return found

    def _withdraw(self, order: Order) -> bool:
        return self._withdraw_id(order.order_id, order.decided_at)

    def _withdraw_id(self, order_id: str, since: int) -> bool:
        import ccxt

        if order_id not in self._ids and self._find(order_id, since) is None:
            return False

        def question() -> bool:
            try:
                self._dialect.cancel(self._ids[order_id])
            except ccxt.OrderNotFound:
                return False
            return True

        if self._ask(question, order_id):
            return True
        found = self._find(order_id, since)
        return found is not None and found.status == "canceled"

    def _trades(self, held: Resting) -> list[TradeThere]:
        """Return the trades of an order that were not told yet, oldest first."""
        order = held.order
        if order.order_id not in self._ids and self._look_up(order) is None:
            return []
        exchange_id = self._ids[order.order_id]
        told, fresh = Counter(self._told[order.order_id]), []
        for trade in self._ask(lambda: self._dialect.trades(exchange_id, order.decided_at), order.order_id):
            if told[_identity(trade)]:
                told[_identity(trade)] -= 1
            else:
                fresh.append(trade)
        return fresh

    def _state_with_trades(self, held: Resting) -> tuple[OrderThere, list[TradeThere]]:
        """Return how an order stands and its trades not told yet: asked again until they are all that has traded.

        SessionError when the exchange does not know the order, or does not tell the trades of one that has ended.
        """
        order = held.order
        for attempt in range(ATTEMPTS):
            state = self._look_up(order)
            if state is not None:
                trades = self._trades(held)
                told = held.cumulative + math.fsum(trade.quantity for trade in trades)
                if state.status == "open" or told >= state.filled - _DUST * order.quantity:
                    return state, trades
            self._wait(pause(attempt))
        if state is None:
            raise SessionError(f"{order.order_id}: the exchange no longer knows this order.")
        raise SessionError(
            f"{order.order_id}: the exchange says that {state.filled:g} has traded, and tells trades of {told:g}. "
            "Resume the session when it tells them all."
        )

    def _poll(self, held: Resting) -> Iterator[Execution]:
        order, arrival = held.order, self._arrivals[held.order.order_id]
        state, trades = self._state_with_trades(held)
        for trade in trades:
            self._told[order.order_id][_identity(trade)] += 1
            held.leaves -= trade.quantity
            if held.leaves <= _DUST * order.quantity:
                held.leaves = 0.0
            ended = "filled" if held.leaves == 0.0 else ""
            if ended:
                del self._orders[order.order_id]
            yield Execution(
                order, Phase.WITHIN, trade.ts_event, trade.quantity, trade.price, trade.fee,
                trade.price, arrival, held.cumulative, ended, trade.fee_in_base,
            )  # fmt: skip
        if order.order_id in self._orders and state.status not in ("open", "closed"):
            del self._orders[order.order_id]
            yield Execution(
                order, Phase.WITHIN, state.updated, 0.0, 0.0, 0.0, 0.0, arrival, held.cumulative,
                f"{BY_EXCHANGE}: {state.status}",
            )  # fmt: skip


def _identity(trade: TradeThere) -> tuple[int, float, float]:
    return trade.ts_event, trade.quantity, trade.price
