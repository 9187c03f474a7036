"""A journal accepts only valid lifecycles of orders."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from peak_trade.core.errors import SessionError
from peak_trade.core.values import OrderType, Side, TimeInForce
from peak_trade.journal.events import TERMINAL, OrderEvent, OrderEventKind
from peak_trade.journal.orders import OrderStates, denials_by_gate, denials_sentence
from tests.examples import examples
from tests.replacing import replace

Kind = OrderEventKind
TRADES = (Kind.PARTIALLY_FILLED, Kind.FILLED)
LEGAL = {
    (None, "REQUESTED"),
    ("REQUESTED", "DENIED"),
    ("REQUESTED", "SUBMITTED"),
    ("REQUESTED", "CANCELED"),
    ("SUBMITTED", "ACCEPTED"),
    ("SUBMITTED", "REJECTED"),
    ("SUBMITTED", "CANCELED"),
    ("SUBMITTED", "EXPIRED"),
    ("ACCEPTED", "PARTIALLY_FILLED"),
    ("ACCEPTED", "FILLED"),
    ("ACCEPTED", "CANCELED"),
    ("ACCEPTED", "EXPIRED"),
    ("PARTIALLY_FILLED", "PARTIALLY_FILLED"),
    ("PARTIALLY_FILLED", "FILLED"),
    ("PARTIALLY_FILLED", "CANCELED"),
    ("PARTIALLY_FILLED", "EXPIRED"),
}
"""The allowed sequences, written out independently of the table under test."""


def requested(order_id: str, quantity: float = 8.0) -> OrderEvent:
    return OrderEvent(
        1, order_id, "ma_crossover", "BTC/USDT", Kind.REQUESTED, Side.BUY, OrderType.MARKET, TimeInForce.GTC,
        quantity, 0.0, quantity, 100.0, 100.0,
    )  # fmt: skip


def after(last: OrderEvent, kind: OrderEventKind, traded: float = 0.0) -> OrderEvent:
    cumulative = last.cumulative + traded
    leaves = 0.0 if kind in TERMINAL else last.quantity - cumulative
    return replace(
        last,
        event=kind,
        cumulative=cumulative,
        leaves=leaves,
        last_quantity=traded,
        last_price=100.0 if traded else 0.0,
    )


class Orders(RuleBasedStateMachine):
    """Whatever sequence of events is offered, the accepted ones form a valid lifecycle."""

    def __init__(self) -> None:
        super().__init__()
        self.states = OrderStates()
        self.lives: dict[str, list[OrderEvent]] = {}

    @rule(order_id=st.sampled_from("abc"), kind=st.sampled_from(list(Kind)), share=st.sampled_from([0.25, 0.5, 1.0]))
    def offer(self, order_id: str, kind: OrderEventKind, share: float) -> None:
        life = self.lives.setdefault(order_id, [])
        last = life[-1] if life else requested(order_id)
        open_quantity = last.quantity - last.cumulative
        traded = 0.0 if kind not in TRADES else open_quantity if kind is Kind.FILLED else open_quantity * share
        event = requested(order_id) if kind is Kind.REQUESTED else after(last, kind, traded)
        is_legal = (str(last.event) if life else None, str(kind)) in LEGAL
        may = is_legal and (kind not in TRADES or traded > 0.0)
        try:
            self.states.apply(event)
        except SessionError:
            assert not may
        else:
            assert may
            life.append(event)

    @precondition(lambda self: any(self.lives.values()))
    @rule(data=st.data(), factor=st.sampled_from([0.5, 2.0, float("nan")]), field=st.sampled_from(
        ["quantity", "cumulative", "leaves"]))  # fmt: skip
    def offer_what_does_not_add_up(self, data: st.DataObject, factor: float, field: str) -> None:
        life = data.draw(st.sampled_from([life for life in self.lives.values() if life]))
        event = after(life[-1], Kind.ACCEPTED)
        broken = replace(event, **{field: getattr(event, field) * factor + (0.0 if getattr(event, field) else 1.0)})
        with pytest.raises(SessionError):
            self.states.apply(broken)

    @invariant()
    def what_has_traded_and_what_is_open_add_up(self) -> None:
        for life in self.lives.values():
            for event in life:
                if event.event not in TERMINAL:
                    assert event.cumulative + event.leaves == event.quantity

    @invariant()
    def every_order_ends_at_most_once_and_nothing_follows(self) -> None:
        still_open = {event.order_id for event in self.states.open_orders()}
        for order_id, life in self.lives.items():
            ends = [n for n, event in enumerate(life) if event.event in TERMINAL]
            assert len(ends) <= 1
            assert ends in ([], [len(life) - 1])
            assert (order_id in still_open) == (bool(life) and not ends)


Orders.TestCase.settings = settings(max_examples=examples(40), stateful_step_count=25, deadline=None)
TestOrders = Orders.TestCase


WAYS = {
    None: (),
    "REQUESTED": (Kind.REQUESTED,),
    "DENIED": (Kind.REQUESTED, Kind.DENIED),
    "SUBMITTED": (Kind.REQUESTED, Kind.SUBMITTED),
    "REJECTED": (Kind.REQUESTED, Kind.SUBMITTED, Kind.REJECTED),
    "ACCEPTED": (Kind.REQUESTED, Kind.SUBMITTED, Kind.ACCEPTED),
    "PARTIALLY_FILLED": (Kind.REQUESTED, Kind.SUBMITTED, Kind.ACCEPTED, Kind.PARTIALLY_FILLED),
    "FILLED": (Kind.REQUESTED, Kind.SUBMITTED, Kind.ACCEPTED, Kind.FILLED),
    "CANCELED": (Kind.REQUESTED, Kind.SUBMITTED, Kind.CANCELED),
    "EXPIRED": (Kind.REQUESTED, Kind.SUBMITTED, Kind.ACCEPTED, Kind.EXPIRED),
}


@pytest.mark.parametrize("kind", list(Kind), ids=str)
@pytest.mark.parametrize("before", WAYS, ids=str)
def test_an_order_does_what_the_legal_pairs_say_and_nothing_else(before, kind):
    states, last = OrderStates(), requested("a")
    for step in (*WAYS[before], kind):
        life = states.by_id.get("a")
        last = life.last if life else last
        left = last.quantity - last.cumulative
        traded = {Kind.FILLED: left, Kind.PARTIALLY_FILLED: left / 2.0}.get(step, 0.0)
        event = after(last, step, traded)
        if (str(life.last.event) if life else None) == before and step is kind and (before, str(kind)) not in LEGAL:
            with pytest.raises(SessionError, match=f"{kind} can't follow"):
                states.apply(event)
            return
        states.apply(event)
    assert (before, str(kind)) in LEGAL


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"decision_price": float("nan")}, "both are mandatory"),
        ({"arrival_price": float("inf")}, "both are mandatory"),
        ({"last_price": 0.0}, "fill price"),
        ({"side": Side.SELL}, "the previous event was buy"),
        ({"symbol": "ETH/USDT"}, "the previous event was"),
    ],
)
def test_a_fill_without_its_prices_or_of_another_order_is_refused(change, says):
    states = OrderStates()
    life = requested("a")
    for kind in (Kind.REQUESTED, Kind.SUBMITTED, Kind.ACCEPTED):
        states.apply(after(life, kind) if kind is not Kind.REQUESTED else life)
    with pytest.raises(SessionError, match=says):
        states.apply(replace(after(life, Kind.FILLED, 8.0), **change))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"quantity": float("nan")}, "has quantity nan"),
        ({"leaves": -1.0}, "leaves -1.0"),
        ({"arrival_price": float("inf")}, "arrival price inf: both are mandatory"),
        ({"last_quantity": 0.0}, "has a last quantity of 0.0"),
        ({"last_price": 0.0}, "has a fill price of 0.0"),
        ({"cumulative": 5.0}, "has cumulative 5.0, not 2.0 + 2.0"),
        ({"leaves": 5.0}, "has cumulative 4.0 + leaves 5.0, not its quantity 8.0"),
        ({"event": Kind.FILLED}, "leaves 4.0 open"),
        ({"cumulative": 12.0, "last_quantity": 10.0, "leaves": 0.0, "event": Kind.FILLED}, "has traded 12.0 of 8.0"),
        ({"side": Side.SELL}, "is sell 8.0 BTC/USDT, the previous event was buy 8.0 BTC/USDT"),
        ({"symbol": "ETH/USDT"}, "is buy 8.0 ETH/USDT, the previous event was buy 8.0 BTC/USDT"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_an_event_that_does_not_add_up_is_refused_and_changes_nothing(changes: dict[str, Any], message: str) -> None:
    states = OrderStates()
    last = requested("o-1")
    states.apply(last)
    for kind, traded in ((Kind.SUBMITTED, 0.0), (Kind.ACCEPTED, 0.0), (Kind.PARTIALLY_FILLED, 2.0)):
        last = after(last, kind, traded)
        states.apply(last)
    sound = after(last, Kind.PARTIALLY_FILLED, 2.0)
    with pytest.raises(SessionError) as refused:
        states.apply(replace(sound, **changes))
    assert message in str(refused.value)
    assert states.open_orders() == [last]
    states.apply(sound)


@given(st.lists(st.lists(st.sampled_from(["a", "b", "c"]), unique=True, max_size=3), max_size=8))
def test_each_gate_counts_the_orders_that_it_denied(denying: list[list[str]]) -> None:
    """One entry per order: the gates that denied it; an order without one is accepted."""
    events = []
    for place, gates in enumerate(denying):
        asked = replace(requested(f"o-{place}"), ts_event=place)
        denied = replace(after(asked, Kind.DENIED), reason=", ".join(gates))
        events += [asked, denied if gates else after(asked, Kind.SUBMITTED)]
    found = {each.gate: each for each in denials_by_gate(events)}
    places = {gate: [place for place, gates in enumerate(denying) if gate in gates] for gate in found}
    assert set(found) == {gate for gates in denying for gate in gates}
    assert {gate: (each.n_orders, each.first, each.last) for gate, each in found.items()} == {
        gate: (len(each), each[0], each[-1]) for gate, each in places.items()
    }
    counts = [each.n_orders for each in denials_by_gate(events)]
    assert counts == sorted(counts, reverse=True)
    n_denied = sum(map(bool, denying))
    told = denials_sentence(events)
    assert told.startswith(f"{n_denied} of {len(denying)} orders were denied: ") if n_denied else told == ""
