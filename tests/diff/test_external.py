"""Orders of a log on bars: which are compared, at what prices and fees, and what the notes say about the rest."""

from __future__ import annotations

import math

import pytest
from msgspec.structs import replace

from peak_trade.core.bars import Bars
from peak_trade.core.errors import SessionError
from peak_trade.core.time import Timeframe
from peak_trade.core.values import OrderType, Side
from peak_trade.costs.model import Costs
from peak_trade.data.sample import sample_bars
from peak_trade.diff.advice import advice
from peak_trade.diff.causes import Cause
from peak_trade.diff.external import LogBars, main_quote, recording_of_log, simulated_orders, span_of
from peak_trade.diff.recording import Recording
from peak_trade.diff.result import DiffResult, diff
from peak_trade.journal.events import CashFlowEvent, Event, OrderEvent, OrderEventKind
from peak_trade.journal.formats.logged_orders import LoggedFill, LoggedOrder, LogOptions, events_of_order

HOUR = 3_600 * 10**9
CASH = {"trading.initial_cash": 10_000.0}


def bars_of(symbol: str = "BTC/USDT", n_bars: int = 60) -> Bars:
    return sample_bars(symbol, n_bars=n_bars)


BARS = bars_of()
OPENS = BARS.frame["open"].to_list()
HELD = LogBars({"BTC/USDT": BARS}, {"BTC/USDT": BARS})


def order(number: int, bar: int, **changes: object) -> list[OrderEvent]:
    """The events of a market order at the open of a bar; orders with even numbers buy."""
    fill = LoggedFill(
        (number,), f"o-{number}", int(BARS.times[bar - 1]), "BTC/USDT", Side.SELL if number % 2 else Side.BUY, 1.0,
        OPENS[bar], ((1.0, "USDT"),),
    )  # fmt: skip
    return events_of_order(f"o-{number}", None, [replace(fill, **changes)], LogOptions())


def log_of(*orders: list[OrderEvent], held: LogBars = HELD, name: str = "log", **options: object) -> Recording:
    events: list[Event] = [event for each in orders for event in each]
    return recording_of_log(name, events, held, CASH, **options)


def fills_of(log: Recording) -> list[OrderEvent]:
    return [event for event in log.events if isinstance(event, OrderEvent) and event.last_quantity]


def notes_of(log: Recording) -> str:
    assert log.log is not None
    return "; ".join(log.log.notes)


def test_a_log_that_can_not_be_compared_is_refused_with_the_reason():
    with pytest.raises(SessionError, match="log: no bars are held of its symbols"):
        log_of(order(0, 5), held=LogBars({}, {}))
    other = Bars(BARS.frame.iloc[1::2], "ETH/USDT", Timeframe.parse("2h"), "sample")
    with pytest.raises(SessionError, match="its bars have the timeframes 1h, 2h; use one"):
        log_of(order(0, 5), held=LogBars({"BTC/USDT": BARS, "ETH/USDT": other}, {}))
    with pytest.raises(
        SessionError, match=r"no order can be compared\. 1 order of BTC/USDT: no bars held at their time"
    ):
        log_of(order(0, 5, time=int(BARS.times[-1]) + 5 * HOUR))
    with pytest.raises(SessionError, match="the log has no orders"):
        span_of([])


def test_orders_before_and_after_the_bars_are_left_out_and_counted():
    early, late = (int(BARS.times[at]) + shift * HOUR for at, shift in ((0, -5), (-1, 5)))
    log = log_of(order(0, 5), order(1, 6), order(2, 7, time=early), order(3, 8, time=late))
    assert len(fills_of(log)) == 2
    assert "2 orders of BTC/USDT: no bars held at their time" in notes_of(log)


def test_a_fee_that_is_not_stated_is_that_of_the_other_run():
    log = log_of(order(0, 5, fees=()), order(1, 6), fee_bps=10.0)
    unknown, stated = fills_of(log)
    assert math.isclose(unknown.fee, 1e-3 * OPENS[5])
    assert stated.fee == 1.0
    assert "1 fills of log state no fee; the rate of 10 bps is taken for them" in notes_of(log)


def test_a_fee_in_a_third_coin_is_converted_with_its_bars_or_named():
    paid = order(0, 5, fees=((0.5, "BNB"),))
    (fill,) = fills_of(log_of(paid, fee_bps=20.0))
    assert math.isclose(fill.fee, 2e-3 * OPENS[5])
    assert "fees of 0.5 BNB are not converted: no bars of BNB are held" in notes_of(log_of(paid))
    coins = Bars(BARS.frame, "BNB/USDT", BARS.timeframe, BARS.exchange)
    log = log_of(paid, held=LogBars(HELD.bars, HELD.finest, {"BNB": coins}))
    (fill,) = fills_of(log)
    assert fill.fee == 0.5 * BARS.frame["close"].iloc[5]
    assert (fill.fee_paid, fill.fee_currency) == (0.0, "")
    assert "fees of 0.5 BNB are converted with the 1h closes of BNB/USDT" in notes_of(log)


def test_cash_flows_are_placed_by_their_time_and_are_a_root_if_the_other_run_has_none():
    orders = [order(0, 5), order(1, 9)]
    flow = CashFlowEvent(int(BARS.times[6]), "unknown", "BTC/USDT", "funding", -7.0)
    events: list[Event] = [*orders[0], flow, *orders[1]]
    log = recording_of_log("log", events, HELD, CASH)
    placed = [
        event.ts_event
        for event in log.events
        if isinstance(event, CashFlowEvent) or getattr(event, "last_quantity", 0.0)
    ]
    assert placed == [int(BARS.times[at]) for at in (4, 6, 8)]
    found = diff(log_of(*orders), log)
    assert [(root.cause, root.total_pnl) for root in found.roots] == [(Cause.FUNDING, -7.0)]
    assert "Set costs.funding_bps_per_8h to the rates that were paid" in advice(found)


def test_the_quote_currency_is_that_of_most_symbols():
    assert main_quote(["A/EUR", "B/USDT", "C/USDT"]) == "USDT"
    assert main_quote([]) == ""


def simulated(*orders: list[OrderEvent]) -> list[OrderEvent]:
    """The last event of each order, as a simulation with 10 bps of slippage and fees of 20 and 5 bps fills it."""
    costs = Costs(fee_bps=20.0, maker_fee_bps=5.0, slippage_bps=10.0)
    found = simulated_orders(log_of(*orders), HELD, CASH, costs)
    last = {event.order_id: event for event in found.events if isinstance(event, OrderEvent)}
    return list(last.values())


def test_a_market_order_is_simulated_at_its_arrival_price_with_slippage():
    (fill,) = simulated(order(0, 5))
    assert math.isclose(fill.last_price, OPENS[5] * 1.001)
    assert math.isclose(fill.fee, 2e-3 * fill.last_price)


def resting(kind: OrderType, level: float, end: OrderEventKind, bars: int) -> list[OrderEvent]:
    """An order of one unit to buy at a level, from the open of bar 5 to the close of that many bars later."""
    start = int(BARS.times[4])
    levels = {"limit_price" if kind is OrderType.LIMIT else "stop_price": level}
    traded = 1.0 if end is OrderEventKind.FILLED else 0.0
    given = LoggedOrder((1,), "o-1", start, "BTC/USDT", Side.BUY, kind, 1.0, end, start + bars * HOUR, traded, level,
                        ((0.0, "USDT"),), **levels)  # fmt: skip
    return events_of_order("o-1", given, [], LogOptions())


def test_a_resting_order_is_simulated_at_its_level_unless_it_ends_before():
    low, high = float(BARS.frame["low"].iloc[5:15].min()), float(BARS.frame["high"].iloc[5:15].max())
    (limit,) = simulated(resting(OrderType.LIMIT, low, OrderEventKind.FILLED, 20))
    assert (limit.event, limit.last_price) == (OrderEventKind.FILLED, low)
    assert math.isclose(limit.fee, 5e-4 * low)
    (stop,) = simulated(resting(OrderType.STOP, high, OrderEventKind.FILLED, 20))
    assert math.isclose(stop.last_price, high * 1.001)
    for level in (low, low / 2.0):
        (canceled,) = simulated(resting(OrderType.LIMIT, level, OrderEventKind.CANCELED, 0 if level == low else 20))
        assert canceled.event is OrderEventKind.CANCELED
    (unreached,) = simulated(resting(OrderType.LIMIT, low / 2.0, OrderEventKind.FILLED, 20))
    assert unreached.event is OrderEventKind.CANCELED


def compared(changes: dict[str, object], *, less: int = 0, settings: dict[str, float] | None = None) -> DiffResult:
    """The diff of eight orders with those of a log in which all from the third on are changed, and some are missing."""
    bars = [5 + 4 * number for number in range(8)]
    run = log_of(*(order(number, bar) for number, bar in enumerate(bars)), name="run")
    run.settings.update(settings or {})
    kept = [order(number, bar, **(changes if number > 1 else {})) for number, bar in enumerate(bars[: 8 - less])]
    return diff(run, log_of(*kept))


def test_the_advice_names_the_setting_or_the_place_of_the_largest_cause():
    smaller = compared({"quantity": 0.5, "fees": ((0.5, "USDT"),)}, settings={"trading.sizing.fraction": 0.4})
    assert {root.cause for root in smaller.roots} == {Cause.SIZE}
    assert "Set initial_cash = 5000 (now 10000), or sizing.fraction = 0.2 (now 0.4)" in advice(smaller)
    missing = advice(compared({}, less=1))
    assert missing.startswith("Largest cause: signal or timing")
    assert "compare parameters, pairs and bars at " in missing.lower()
    assert "only the shadow run has an order there" in missing
    assert advice(compared({"fees": ((9.0, "USDT"),)})).startswith("Largest cause: fee, -48.00 of -48.00.")
    assert advice(compared({})) == ""


@pytest.mark.parametrize(
    ("quantity", "causes"), [(1.0, set()), (0.995, set()), (0.87, {Cause.SIZE}), (1.4, {Cause.SIZE})]
)
def test_a_fixed_quantity_is_no_lot(quantity, causes):
    """A bot that always trades one unit shows no lot of one unit, so that 1.4 is not 1 rounded."""
    found = compared({"quantity": quantity, "fees": ((quantity, "USDT"),)})
    assert {root.cause for root in found.roots} == causes
