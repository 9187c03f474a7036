"""Generated order histories, which the tests write in the layout of each format and read again."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from peak_trade.core.values import Side
from peak_trade.journal.events import CashFlowEvent, OrderEvent, OrderEventKind
from peak_trade.journal.formats.external_log import ExternalLog
from peak_trade.journal.formats.log_file import LogFile
from peak_trade.journal.formats.logged_orders import LogOptions
from peak_trade.wiring.log_formats import FORMATS, recognise

SYMBOLS = ("BTC/USDT", "ETH/USDT", "SOL/EUR")
START = 1_700_000_000
Kind = OrderEventKind


@dataclass(frozen=True)
class Trade:
    """A fill: seconds since START, quantity and price in the decimals of an exchange, fee and its currency."""

    number: int
    second: int
    quantity: float
    price: float
    fee: float
    currency: str

    @property
    def ms(self) -> int:
        return (START + self.second) * 1_000


@dataclass(frozen=True)
class History:
    """An order with its fills; `rest` is the quantity that was canceled, 0.0 for a filled order."""

    number: int
    second: int
    symbol: str
    side: str
    fills: tuple[Trade, ...]
    rest: float

    @property
    def name(self) -> str:
        return f"o-{self.number}"

    @property
    def base(self) -> str:
        return self.symbol.split("/")[0]

    @property
    def quote(self) -> str:
        return self.symbol.split("/")[1]

    @property
    def traded(self) -> float:
        return round(math.fsum(fill.quantity for fill in self.fills), 4)

    @property
    def quantity(self) -> float:
        return round(self.traded + self.rest, 4)

    @property
    def average(self) -> float:
        return math.fsum(fill.quantity * fill.price for fill in self.fills) / self.traded if self.fills else 0.0

    @property
    def last(self) -> int:
        return max((fill.second for fill in self.fills), default=self.second)

    @property
    def is_filled(self) -> bool:
        return self.rest == 0.0

    @property
    def ms(self) -> int:
        return (START + self.second) * 1_000

    @property
    def only_traded(self) -> History:
        """The order as its fills alone show it."""
        return replace(self, rest=0.0, second=self.fills[0].second)


def collapsed(order: History) -> History:
    """An order as a log without single fills shows it: one fill at the average price and the last time."""
    if not order.fills:
        return order
    fee, first = math.fsum(fill.fee for fill in order.fills), order.fills[0]
    return replace(
        order, fills=(replace(first, second=order.last, quantity=order.traded, price=order.average, fee=fee),)
    )


quantities = st.integers(1, 10**6).map(lambda n: n / 10**4)
prices = st.integers(1, 10**8).map(lambda n: n / 10**3)


@st.composite
def histories(draw: Any, cancels: bool = True, currencies: tuple[str, ...] = ("base", "quote", "BNB")) -> list[History]:
    """A list of orders with unique ids; each has a fill, or is canceled, or both."""
    found, number = [], 0
    second = 0
    for order in range(draw(st.integers(1, 6))):
        second += draw(st.integers(1, 5_000))
        symbol, side = draw(st.sampled_from(SYMBOLS)), draw(st.sampled_from(["buy", "sell"]))
        start, fills = second, []
        currency = draw(st.sampled_from(currencies))
        name = {"base": symbol.split("/")[0], "quote": symbol.split("/")[1]}.get(currency, currency)
        for _ in range(draw(st.integers(0 if cancels else 1, 3))):
            number, second = number + 1, second + draw(st.integers(0, 20))
            quantity, price = draw(quantities), draw(prices)
            worth = quantity if currency == "base" else quantity * price if currency == "quote" else 1.0
            fee = float(f"{worth * draw(st.integers(1, 50)) / 10_000:.8f}")
            fills.append(Trade(number, second, quantity, price, fee, name))
        rest = draw(quantities) if not fills or (cancels and draw(st.booleans())) else 0.0
        found.append(History(order, start, symbol, side, tuple(fills), rest))
    return found


def read(*paths: Path, **options: Any) -> ExternalLog:
    """The log of files whose format is recognised, as the import reads it."""
    files = [LogFile(path) for path in paths]
    recognised = recognise(files, options.pop("form", "auto"))
    log = ExternalLog(LogOptions(**options))
    for file, layout in zip(files, recognised.layouts, strict=True):
        layout.read(file, log)
    FORMATS[recognised.name].join(log)
    log.finish()
    assert log.n_rows == log.n_used + log.n_duplicates + log.n_refused + log.ignored.total()
    return log


def orders_of(log: ExternalLog) -> dict[str, list[OrderEvent]]:
    found: dict[str, list[OrderEvent]] = {}
    for event in log.events():
        if not isinstance(event, CashFlowEvent):
            found.setdefault(event.order_id, []).append(event)
    return found


def assert_same(
    log: ExternalLog, wanted: list[History], name: Callable[[History], str] = lambda each: each.name
) -> None:
    """Each order has its fills, fees and end."""
    assert not log.refused
    found = orders_of(log)
    assert found.keys() == {name(each) for each in wanted}
    for each in wanted:
        events = found[name(each)]
        assert {(event.symbol, event.side) for event in events} == {(each.symbol, Side(each.side))}
        assert math.isclose(events[0].quantity, each.quantity, rel_tol=1e-8)
        assert events[-1].event is (Kind.FILLED if each.is_filled else Kind.CANCELED)
        trades = [event for event in events if event.last_quantity]
        trades.sort(key=lambda event: (event.ts_event, event.last_quantity, event.last_price, event.fee))
        fills = sorted(each.fills, key=lambda fill: (fill.second, fill.quantity, fill.price, fill.fee))
        assert len(trades) == len(fills)
        for event, fill in zip(trades, fills, strict=True):
            assert event.ts_event == fill.ms * 10**6
            assert (event.last_quantity, event.last_price) == (fill.quantity, fill.price)
            assert_fee(event, fill.fee, fill.currency)
    assert log.n_orders == len(wanted)
    times = [event.ts_event for event in log.events()]
    assert times == sorted(times)


def assert_fee(event: OrderEvent, fee: float, currency: str) -> None:
    """A fee is in the cash, in the position or apart, by its currency."""
    base, quote = event.symbol.split("/")
    in_quote = fee if currency == quote else fee * event.last_price if currency == base else 0.0
    assert math.isclose(event.fee, in_quote, rel_tol=1e-9)
    assert event.fee_in_base == (fee if currency == base else 0.0)
    is_other = currency not in (base, quote) and fee != 0.0
    assert (event.fee_paid, event.fee_currency) == ((fee, currency) if is_other else (0.0, ""))
