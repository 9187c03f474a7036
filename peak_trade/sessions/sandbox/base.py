"""The part of a sandbox that differs between exchanges: access, and how orders are sent, found and counted."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from peak_trade.core.ledger import Ledger
from peak_trade.core.values import Instrument, Order, OrderType

NS_PER_MS = 1_000_000
SENT_TYPES = (OrderType.MARKET, OrderType.LIMIT)
"""Types of orders that are sent to a sandbox."""

RECEIVE_WINDOW_MS = 5_000
"""Age at which an exchange refuses a request."""


@dataclass(frozen=True, slots=True)
class Access:
    """The one host that orders may go to, and the environment variables that hold its keys."""

    host: str
    apis: tuple[str, ...]
    """Names of the sandbox's interfaces in ccxt; the client has no others."""

    key_variable: str
    secret_variable: str
    options: Mapping[str, Any] = field(default_factory=dict)
    """Options of the ccxt client."""


@dataclass(frozen=True, slots=True)
class ExchangeOrder:
    """An order as the exchange reports it: its id there, the quantity traded, and when it last changed, ns UTC.

    `status` is open, closed or how else it ended. Trades may be reported later than `filled` counts them.
    """

    exchange_id: str
    status: str
    filled: float
    updated: int


@dataclass(frozen=True, slots=True)
class ExchangeTrade:
    """A trade of one of our orders: `fee` in quote currency, `fee_in_base` the part taken in base units."""

    ts_event: int
    quantity: float
    price: float
    fee: float
    fee_in_base: float = 0.0


class Sandbox(ABC):
    """The sandbox of an exchange, for the instruments of a session, which share one quote currency.

    Every method asks the exchange once, or once per symbol, and raises the errors of ccxt; the caller decides whether
    to ask again. Instants are ns UTC, quantities base units, money quote currency.
    """

    access: ClassVar[Access]

    def __init__(self, client: Any, instruments: Sequence[Instrument]) -> None:
        self.client = client
        self.instruments = {each.symbol: each for each in instruments}
        self.quote = instruments[0].quote

    @classmethod
    def check_secret(cls, secret: str) -> None:
        """Raise ConfigError, without the secret, if it can not be a secret of this exchange."""
        return

    @classmethod
    def prepare(cls, client: Any) -> None:
        """Adapt a new ccxt client to the exchange."""
        return

    @abstractmethod
    def parameters(self, order: Order) -> dict[str, str]:
        """Return the parameters of an order that ccxt does not name: its id and how long it rests."""

    @abstractmethod
    def find(self, symbol: str, order_id: str, since: int) -> ExchangeOrder | None:
        """Return an order sent under our id after an instant; None when the exchange does not have it."""

    def cancel(self, symbol: str, exchange_id: str) -> None:
        """Cancel an order by the exchange's own id."""
        self.client.cancel_order(exchange_id, symbol)

    @abstractmethod
    def trades(self, symbol: str, exchange_id: str, since: int) -> list[ExchangeTrade]:
        """Return the trades of an order sent after an instant, oldest first."""

    def open_ids(self) -> dict[str, str]:
        """Return our ids of the orders that are open at the exchange, each with its symbol."""
        found = [(order, symbol) for symbol in self.instruments for order in self.client.fetch_open_orders(symbol)]
        return {str(order["clientOrderId"]): symbol for order, symbol in found}

    @abstractmethod
    def holdings(self, since: int) -> dict[str, float]:
        """Return the account's holdings by subject of comparison; `since` is the first comparison."""

    @abstractmethod
    def moved(self, ledger: Ledger) -> dict[str, float]:
        """Return how far the ledger has moved each holding since the session started."""

    def check_start(self, observed: Mapping[str, float]) -> None:
        """Raise SessionError if a session can not start on these holdings."""
        return


def lifetime(order: Order, time_in_force: str) -> dict[str, str]:
    """Return the parameter for how long an order rests; a market order has none."""
    return {} if order.order_type is OrderType.MARKET else {"timeInForce": time_in_force}


def exchange_order(order: dict[str, Any]) -> ExchangeOrder:
    """Return an order of ccxt's unified form."""
    updated = int(order["lastUpdateTimestamp"] or order["timestamp"]) * NS_PER_MS
    return ExchangeOrder(str(order["id"]), str(order["status"]).lower(), float(order["filled"] or 0.0), updated)
