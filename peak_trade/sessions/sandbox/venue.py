"""A sandbox as a venue. Every order has an id of ours, so that it can be looked up and is never sent twice."""

from __future__ import annotations

import math
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import TypeVar

from peak_trade.core.digest import digest_of
from peak_trade.core.errors import GovernanceError, SessionError
from peak_trade.core.ledger import Ledger
from peak_trade.core.values import Order, OrderType
from peak_trade.engine.market import Market
from peak_trade.engine.venue import BuyingPower, Execution, Phase, Reconciliation, Resting, Venue
from peak_trade.journal.events import (
    TERMINAL,
    AllocationEvent,
    BarEvent,
    CashFlowEvent,
    EndCause,
    Ending,
    Event,
    FeedFault,
    FeedFaultEvent,
    OrderEvent,
    OrderEventKind,
    ReconciliationEvent,
)
from peak_trade.risk.review import ApprovedOrder
from peak_trade.sessions.config import SessionContext
from peak_trade.sessions.sandbox.admission import Admission, AdmittedSandbox, session_of
from peak_trade.sessions.sandbox.base import (
    NS_PER_MS,
    RECEIVE_WINDOW_MS,
    SENT_TYPES,
    ExchangeOrder,
    ExchangeTrade,
    Sandbox,
)
from peak_trade.sessions.sandbox.client import ATTEMPTS, ask, pause

_DUST = 1e-9
"""A remainder below this fraction of the order counts as zero."""

STALE_BARS = 3
"""Age in bars beyond which a decision, made on bars fetched after an outage, is not sent."""

_OPEN_ORDERS = "open orders"
_BALANCE_RTOL = 1e-6
_Answer = TypeVar("_Answer")


def id_prefix(session_id: str) -> str:
    """Return the start of the id of every order that a session sends; no two sessions have the same."""
    return f"pt{digest_of(session_id)[:8]}-"


def open_sandbox(context: SessionContext, market: Market) -> SandboxVenue:
    """Open the venue of a testnet session; without a client, as in a replay, it asks the exchange nothing."""
    admission, instruments = context.admission, [column.instrument for column in market.columns]
    sandbox = None
    if context.client is not None:
        if not isinstance(admission, Admission):
            raise GovernanceError(f"{context.session_id}: the session was not admitted to the sandbox.")
        sandbox = admission.sandbox(context.config.exchange, context.client, instruments)
    return SandboxVenue(sandbox, market, id_prefix(context.session_id), context.wait, context.recorded)


class SandboxVenue(Venue):
    """Sends approved orders to an exchange's sandbox and reports what happens to them with the next bar.

    Parameters
    ----------
    sandbox : AdmittedSandbox or None
        The sandbox to which the session was admitted; None for a replay, which asks the exchange nothing.
    market : Market
    prefix : str
        Start of the id of every order of this session.
    wait : callable
        Waits some seconds.
    recorded : sequence of Event
        Events in the journal of a session that resumes or is replayed; its orders are not sent again.

    Raises
    ------
    GovernanceError
        If the sandbox is not one to which the session of the order ids was admitted.

    """

    is_remote = True

    def __init__(
        self,
        sandbox: AdmittedSandbox | None,
        market: Market,
        prefix: str,
        wait: Callable[[float], object],
        recorded: Sequence[Event] = (),
    ) -> None:
        if sandbox is not None and id_prefix(session_of(sandbox)) != prefix:
            raise GovernanceError(f"another session than that of the orders {prefix} was admitted to the sandbox.")
        self._connected, self._market, self._id_prefix, self._wait = sandbox, market, prefix, wait
        self._orders: dict[str, Resting] = {}
        self._arrivals: dict[str, float] = {}
        self._reported: dict[str, Counter[tuple[int, float, float]]] = defaultdict(Counter)
        self._exchange_ids: dict[str, str] = {}
        self._with_bars, self._between = exchange_events(recorded, len(market.symbols))
        self._due: list[OrderEvent] = []
        self._recorded = events_by_order(recorded)
        self._is_live = not recorded
        self._baseline, self._since = baseline_of(recorded)

    @property
    def _sandbox(self) -> Sandbox:
        assert self._connected is not None
        return self._connected

    def submit(self, approved: ApprovedOrder, bar: int, phase: Phase = Phase.AFTER_CLOSE) -> Ending | None:
        """Send an order, or find it if it was sent before; return the cause if it is rejected, otherwise None."""
        order = approved.order
        arrival = order.decision_price
        answer = self._recorded_answer(order.order_id)
        rejected: Ending | None
        if order.order_type not in SENT_TYPES:
            rejected = Ending(EndCause.NOT_SENT, f"{order.order_type} orders are not sent to a sandbox")
        elif answer is None:
            arrival = self._mid_price(order.symbol)
            is_there = order.order_id in self._recorded and self._look_up(order) is not None
            rejected = None if is_there else self._too_old(order) or self._place(order)
        else:
            rejected = None if answer.cause is None else Ending(answer.cause, answer.reason)
        if rejected is None:
            column = self._market.symbols.index(order.symbol)
            self._orders[order.order_id] = Resting(order, bar, phase, column, order.quantity, order.decision_price, bar)
            self._arrivals[order.order_id] = arrival
        return rejected

    def cancel(self, order_id: str) -> Resting | None:
        """Cancel an order; None if it is not open, or if it has traded meanwhile: then `match` reports that first."""
        held = self._orders.get(order_id)
        if held is None:
            return None
        recorded = self._recorded.get(order_id, [])
        if recorded and recorded[-1].event in TERMINAL:
            return None if is_of_exchange(recorded[-1]) else self._orders.pop(order_id)
        if not self._withdraw(held.order):
            return None
        state = self._look_up(held.order)
        if state is None or state.filled > held.cumulative + _DUST * held.order.quantity:
            return None
        return self._orders.pop(order_id)

    def resting(self) -> list[Resting]:
        """Return the open orders, oldest first."""
        return list(self._orders.values())

    def next_touch(self, bar: int, stop: int) -> int:
        """Return the next bar: an exchange may act at any time."""
        return min(bar + 1, stop)

    def match(self, bar: int, buying_power: BuyingPower) -> Iterator[Execution]:
        """Yield what happened to our orders since the last call."""
        if self._is_live:
            for held in self.resting():
                yield from self._poll(held)
        else:
            yield from self._replay(int(self._market.times[bar]))

    def reconcile(self, ledger: Ledger, now: int) -> Reconciliation:
        """Compare holdings and open orders with the exchange's; the first comparison sets the baseline.

        An open order with our prefix that this session does not know is canceled. An order of ours that is not open at
        the exchange makes the comparison unequal; the next `match` reports what happened to it.
        """
        since = self._since or now
        observed = self._ask(lambda: self._sandbox.holdings(since), "holdings")
        moved = self._sandbox.moved(ledger)
        if not self._baseline:
            baseline = {name: observed[name] - moved[name] for name in observed}
            self._sandbox.check_start(baseline)
            self._baseline, self._since = baseline, now
            return Reconciliation(tuple(baseline_event(now, name, amount) for name, amount in baseline.items()))
        holdings = []
        for name, amount in observed.items():
            expected = self._baseline[name] + moved[name]
            is_equal = math.isclose(expected, amount, rel_tol=_BALANCE_RTOL, abs_tol=_BALANCE_RTOL)
            holdings.append(ReconciliationEvent(now, name, expected, amount, is_equal))
        return self._with_orders(tuple(holdings), now)

    def _with_orders(self, holdings: tuple[ReconciliationEvent, ...], now: int) -> Reconciliation:
        ours, there = set(self._orders), self._open_ids()
        strays, missing = sorted(there.keys() - ours), sorted(ours - there.keys())
        for order_id in strays:
            self._withdraw_id(there[order_id], order_id, 0)
        details = [f"canceled {', '.join(strays)}"] if strays else []
        details += [f"not open there: {', '.join(missing)}"] if missing else []
        is_equal = not (strays or missing)
        orders = ReconciliationEvent(now, _OPEN_ORDERS, len(ours), len(there), is_equal, "; ".join(details))
        return Reconciliation(holdings, orders, has_canceled=bool(strays))

    def _open_ids(self) -> dict[str, str]:
        """Return the ids of the orders of this session that are open at the exchange, each with its symbol."""
        found = self._ask(self._sandbox.open_ids, _OPEN_ORDERS)
        return {name: symbol for name, symbol in found.items() if name.startswith(self._id_prefix)}

    def resume(self) -> None:
        """Continue with the exchange: trades that the journal has are not reported again."""
        for order_id in self._orders:
            for event in self._recorded.get(order_id, []):
                if event.event in TRADES:
                    self._reported[order_id][event.ts_event, event.last_quantity, event.last_price] += 1
        self._is_live = True

    def withdraw_all(self) -> None:
        """Cancel the open orders at the exchange, as far as it answers; also one that was sent without an answer."""
        import ccxt

        if not self._is_live:
            return
        for held in self.resting():
            with suppress(SessionError, ccxt.BaseError):
                self._withdraw(held.order)
        with suppress(SessionError, ccxt.BaseError):
            for order_id, symbol in self._open_ids().items():
                self._withdraw_id(symbol, order_id, 0)

    def _recorded_answer(self, order_id: str) -> OrderEvent | None:
        answers = (OrderEventKind.ACCEPTED, OrderEventKind.REJECTED)
        return next((event for event in self._recorded.get(order_id, []) if event.event in answers), None)

    def apply_recorded(self, event: Event) -> bool:
        """Take a recorded report of the exchange between bars; return True if the next `match` yields it."""
        if not self._between or self._between[0] is not event:
            return False
        self._due.append(self._between.popleft())
        return True

    def _replay(self, bar_time: int) -> Iterator[Execution]:
        due = [*self._with_bars.pop(bar_time, ()), *self._due]
        self._due.clear()
        for event in due:
            held = self._orders.get(event.order_id)
            if held is not None:
                yield self._recorded_execution(held, event)

    def _recorded_execution(self, held: Resting, event: OrderEvent) -> Execution:
        held.leaves = held.order.quantity - event.cumulative
        is_unfilled = event.cause is not None
        has_ended = is_unfilled or event.event is OrderEventKind.FILLED
        if has_ended:
            del self._orders[event.order_id]
        return Execution(
            held.order, Phase.WITHIN, event.ts_event, event.last_quantity, event.last_price, event.fee,
            event.last_price, event.arrival_price, event.cumulative, has_ended, event.fee_in_base,
            event.cause, event.reason if is_unfilled else "",
        )  # fmt: skip

    def _too_old(self, order: Order) -> Ending | None:
        """Return the cause if an order was decided too long ago to be sent, otherwise None."""
        n_bars = (int(self._sandbox.client.milliseconds()) * NS_PER_MS - order.decided_at) // self._market.timeframe.ns
        if n_bars <= STALE_BARS:
            return None
        return Ending(EndCause.NOT_SENT, f"decided {n_bars} bars ago, too old to send")

    def _place(self, order: Order) -> Ending | None:
        import ccxt

        kind = "market" if order.order_type is OrderType.MARKET else "limit"
        parameters = self._sandbox.parameters(order)
        for attempt in range(ATTEMPTS):
            try:
                sent = self._sandbox.client.create_order(
                    order.symbol, kind, order.side.value, order.quantity, order.limit_price, parameters
                )
                if sent["status"] == "rejected":
                    return ended_by_exchange(str(sent["info"]))
                self._exchange_ids[order.order_id] = str(sent["id"])
                return None
            except ccxt.DuplicateOrderId:
                return None
            except ccxt.OperationFailed:
                self._wait(pause(attempt) + RECEIVE_WINDOW_MS / 1_000)
                found = self._look_up(order)
                if found is not None:
                    return ended_by_exchange("rejected") if found.status == "rejected" else None
            except ccxt.BaseError as error:
                found = self._look_up(order)
                if found is not None and found.status != "rejected":
                    return None
                return ended_by_exchange(str(error))
        raise SessionError(
            f"{order.order_id}: no answer after {ATTEMPTS} attempts; it is not known whether the order was accepted. "
            "Resume the session when the exchange answers: it looks the order up first."
        )

    def _mid_price(self, symbol: str) -> float:
        """Return the mid price of the book: the price that an order meets on arrival."""
        client = self._sandbox.client
        book = self._ask(lambda: client.fetch_order_book(symbol, 5), "order book")
        return (float(book["bids"][0][0]) + float(book["asks"][0][0])) / 2.0

    def _ask(self, question: Callable[[], _Answer], what: str) -> _Answer:
        return ask(question, self._wait, what)

    def _look_up(self, order: Order) -> ExchangeOrder | None:
        return self._find(order.symbol, order.order_id, order.decided_at)

    def _find(self, symbol: str, order_id: str, since: int) -> ExchangeOrder | None:
        found = self._ask(lambda: self._sandbox.find(symbol, order_id, since), order_id)
        if found is not None:
            self._exchange_ids[order_id] = found.exchange_id
        return found

    def _withdraw(self, order: Order) -> bool:
        return self._withdraw_id(order.symbol, order.order_id, order.decided_at)

    def _withdraw_id(self, symbol: str, order_id: str, since: int) -> bool:
        import ccxt

        if order_id not in self._exchange_ids and self._find(symbol, order_id, since) is None:
            return False

        def question() -> bool:
            try:
                self._sandbox.cancel(symbol, self._exchange_ids[order_id])
            except ccxt.OrderNotFound:
                return False
            return True

        if self._ask(question, order_id):
            return True
        found = self._find(symbol, order_id, since)
        return found is not None and found.status == "canceled"

    def _new_trades(self, held: Resting) -> list[ExchangeTrade]:
        """Return the trades of an order that were not reported yet, oldest first."""
        order = held.order
        if order.order_id not in self._exchange_ids and self._look_up(order) is None:
            return []
        exchange_id = self._exchange_ids[order.order_id]
        reported, fresh = Counter(self._reported[order.order_id]), []
        for trade in self._ask(
            lambda: self._sandbox.trades(order.symbol, exchange_id, order.decided_at), order.order_id
        ):
            if reported[_identity(trade)]:
                reported[_identity(trade)] -= 1
            else:
                fresh.append(trade)
        return fresh

    def _state_with_trades(self, held: Resting) -> tuple[ExchangeOrder, list[ExchangeTrade]]:
        """Return the state of an order and its new trades; repeat until the trades add up to the quantity filled.

        SessionError if the exchange does not know the order, or does not report the trades of one that has ended.
        """
        order = held.order
        for attempt in range(ATTEMPTS):
            state = self._look_up(order)
            if state is not None:
                trades = self._new_trades(held)
                known = held.cumulative + math.fsum(trade.quantity for trade in trades)
                if state.status == "open" or known >= state.filled - _DUST * order.quantity:
                    return state, trades
            self._wait(pause(attempt))
        if state is None:
            raise SessionError(
                f"{order.order_id}: the exchange no longer knows this order. Compare the account with the journal, "
                "then start a new session."
            )
        raise SessionError(
            f"{order.order_id}: the exchange has filled {state.filled:g} and reports trades of {known:g}. Resume the "
            "session when it reports them all."
        )

    def _poll(self, held: Resting) -> Iterator[Execution]:
        order, arrival = held.order, self._arrivals[held.order.order_id]
        state, trades = self._state_with_trades(held)
        for trade in trades:
            self._reported[order.order_id][_identity(trade)] += 1
            held.leaves -= trade.quantity
            if held.leaves <= _DUST * order.quantity:
                held.leaves = 0.0
            is_filled = held.leaves == 0.0
            if is_filled:
                del self._orders[order.order_id]
            yield Execution(
                order, Phase.WITHIN, trade.ts_event, trade.quantity, trade.price, trade.fee,
                trade.price, arrival, held.cumulative, is_filled, trade.fee_in_base,
            )  # fmt: skip
        if order.order_id in self._orders and state.status not in ("open", "closed"):
            del self._orders[order.order_id]
            yield Execution(
                order, Phase.WITHIN, state.updated, 0.0, 0.0, 0.0, 0.0, arrival, held.cumulative, True,
                0.0, *ended_by_exchange(state.status),
            )  # fmt: skip


def _identity(trade: ExchangeTrade) -> tuple[int, float, float]:
    return trade.ts_event, trade.quantity, trade.price


TRADES = (OrderEventKind.PARTIALLY_FILLED, OrderEventKind.FILLED)


def ended_by_exchange(detail: str) -> Ending:
    """Return the ending of an order that the exchange ended or rejected."""
    return Ending(EndCause.EXCHANGE, f"by the exchange: {detail}"[:200])


def is_of_exchange(event: OrderEvent) -> bool:
    """Return whether the exchange caused an event, by a trade or by ending the order."""
    return event.event in TRADES or event.cause is EndCause.EXCHANGE


def baseline_event(now: int, subject: str, amount: float) -> ReconciliationEvent:
    """Return the first comparison of a holding, which takes it as given."""
    return ReconciliationEvent(now, subject, amount, amount, is_equal=True, detail="baseline", is_baseline=True)


def baseline_of(recorded: Sequence[Event]) -> tuple[dict[str, float], int]:
    """Return the holdings at the first comparison, and its instant: ns UTC, 0 when there was none."""
    found = [event for event in recorded if isinstance(event, ReconciliationEvent) and event.is_baseline]
    return {event.subject: event.observed for event in found}, found[0].ts_event if found else 0


def exchange_events(recorded: Sequence[Event], n_symbols: int) -> tuple[dict[int, list[OrderEvent]], deque[OrderEvent]]:
    """Return the events that the exchange caused: those reported with a close, by its time in ns UTC, and the others.

    A close has the bars of all symbols, or a fault that names those without one. The carry of a gap before it is booked
    first, and netted fills are allocated one by one.
    """
    with_bars: dict[int, list[OrderEvent]] = {}
    between: deque[OrderEvent] = deque()
    bar_time: int | None = None
    closing, n_bars = 0, 0
    for event in recorded:
        if isinstance(event, BarEvent):
            closing, n_bars = event.ts_event, 1 + (n_bars if event.ts_event == closing else 0)
            bar_time = closing if n_bars == n_symbols else None
        elif isinstance(event, FeedFaultEvent) and event.fault is FeedFault.INCOMPLETE:
            bar_time = event.ts_event
        elif isinstance(event, AllocationEvent) or (isinstance(event, CashFlowEvent) and event.ts_event < closing):
            continue
        elif not (isinstance(event, OrderEvent) and is_of_exchange(event)):
            bar_time = None
        elif bar_time is None:
            between.append(event)
        else:
            with_bars.setdefault(bar_time, []).append(event)
    return with_bars, between


def events_by_order(recorded: Sequence[Event]) -> dict[str, list[OrderEvent]]:
    """Return the events of each order by its id."""
    by_id: dict[str, list[OrderEvent]] = defaultdict(list)
    for event in recorded:
        if isinstance(event, OrderEvent):
            by_id[event.order_id].append(event)
    return dict(by_id)
