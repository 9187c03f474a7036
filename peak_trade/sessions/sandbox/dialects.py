"""How each sandbox is spoken to: what differs between exchanges in sending, finding and counting.

Every method asks the exchange once and lets ccxt's errors through; who calls decides whether to ask again. Instants
are ns UTC, quantities base units, money quote currency.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from peak_trade.core.errors import ConfigError, SessionError
from peak_trade.core.ledger import Ledger
from peak_trade.core.values import Instrument, Order, OrderType

_NS_PER_MS = 1_000_000
_PAGE = 100
"""Fills that Kraken gives at once."""


@dataclass(frozen=True, slots=True)
class OrderThere:
    """An order as the exchange knows it: its id there, what of it has traded, when it last changed.

    `status` is open, closed or how else it ended. Its trades may be told later than what has traded.
    """

    exchange_id: str
    status: str
    filled: float
    updated: int


@dataclass(frozen=True, slots=True)
class TradeThere:
    """A trade of ours: `fee` in quote currency, and what of it was taken in base units."""

    ts_event: int
    quantity: float
    price: float
    fee: float
    fee_in_base: float = 0.0


class Dialect(Protocol):
    """What the venue asks of an exchange's sandbox, for one instrument."""

    client: Any

    def parameters(self, order: Order) -> dict[str, str]:
        """Return what goes with an order beside side, size and price: its id and how long it rests."""

    def find(self, order_id: str, since: int) -> OrderThere | None:
        """Return an order that was sent under an id of ours after an instant; None when it never got there."""

    def cancel(self, exchange_id: str) -> None:
        """Withdraw an order by the exchange's own id."""

    def trades(self, exchange_id: str, since: int) -> list[TradeThere]:
        """Return the trades of an order that was sent after an instant, oldest first."""

    def open_ids(self) -> set[str]:
        """Return our ids of the orders that are open there."""

    def holdings(self, since: int) -> dict[str, float]:
        """Return what the account holds, by what it is compared as; `since` is when it was first compared."""

    def moved(self, ledger: Ledger) -> dict[str, float]:
        """Return how far the ledger has moved each of the holdings from where the session started."""

    def check_start(self, observed: Mapping[str, float]) -> None:
        """SessionError when a session can't start on these holdings."""


class BinanceSpot:
    """Spot orders and balances. A buy pays its fee in what it bought, unless the account says otherwise."""

    exchange: ClassVar[str] = "binance"

    def __init__(self, client: Any, instrument: Instrument) -> None:
        self.client, self._instrument, self._symbol = client, instrument, instrument.symbol

    def parameters(self, order: Order) -> dict[str, str]:
        """Return our id, and how long a limit order rests."""
        return {"clientOrderId": order.order_id} | _lifetime(order, order.time_in_force.value.upper())

    def find(self, order_id: str, since: int) -> OrderThere | None:
        """Ask for the order by our id."""
        import ccxt

        try:
            found = self.client.fetch_order(None, self._symbol, {"origClientOrderId": order_id})
        except ccxt.OrderNotFound:
            return None
        return _order_there(found)

    def cancel(self, exchange_id: str) -> None:
        """Withdraw an order by the exchange's own id."""
        self.client.cancel_order(exchange_id, self._symbol)

    def trades(self, exchange_id: str, since: int) -> list[TradeThere]:
        """Return an order's trades."""
        found = self.client.fetch_my_trades(self._symbol, None, 1_000, {"orderId": exchange_id})
        found.sort(key=lambda trade: (int(trade["timestamp"]), int(trade["id"])))
        return [self._trade(trade) for trade in found]

    def open_ids(self) -> set[str]:
        """Return our ids of the open orders."""
        return {str(order["clientOrderId"]) for order in self.client.fetch_open_orders(self._symbol)}

    def holdings(self, since: int) -> dict[str, float]:
        """Return free and locked balances of base and quote currency together."""
        totals = self.client.fetch_balance()["total"]
        return {f"balance {name}": float(totals.get(name, 0.0)) for name in self._names()}

    def moved(self, ledger: Ledger) -> dict[str, float]:
        """Return position and change of cash."""
        changes = (ledger.quantity(self._symbol), ledger.cash - ledger.initial_cash)
        return {f"balance {name}": change for name, change in zip(self._names(), changes, strict=True)}

    def check_start(self, observed: Mapping[str, float]) -> None:
        """Start on any balances: what was there before is not the session's."""

    def _names(self) -> tuple[str, str]:
        return self._instrument.base, self._instrument.quote

    def _trade(self, trade: dict[str, Any]) -> TradeThere:
        quantity, price, fee = float(trade["amount"]), float(trade["price"]), trade.get("fee") or {}
        cost, currency = float(fee.get("cost") or 0.0), fee.get("currency")
        base, quote = self._names()
        now = int(trade["timestamp"]) * _NS_PER_MS
        if cost and currency not in (base, quote):
            raise SessionError(
                f"trade {trade['id']}: its fee was taken in {currency}; only fees in {quote} or {base} can be booked. "
                f"Turn off paying fees in {currency}, and start a new session."
            )
        if cost and currency == base:
            return TradeThere(now, quantity, price, cost * price, cost)
        return TradeThere(now, quantity, price, cost)


class KrakenFutures:
    """Linear perpetuals of one base unit a contract: a signed position, and collateral that PnL and fees change.

    An order's status is told while it is open and for five seconds after; what became of it later stands in the
    account's history. Fills carry no fee: the account log does, by the fill's id.
    """

    exchange: ClassVar[str] = "krakenfutures"

    def __init__(self, client: Any, instrument: Instrument) -> None:
        self.client, self._instrument, self._symbol = client, instrument, instrument.symbol
        market = None if client is None else client.market(instrument.symbol)
        if market is not None and not (market["linear"] and market["contractSize"] == 1):
            raise ConfigError(
                f"{self._symbol}: only linear contracts of one base unit can be traded here; "
                f"this one is of {market['contractSize']:g}{'' if market['linear'] else ', and inverse'}."
            )

    def parameters(self, order: Order) -> dict[str, str]:
        """Return our id, and how long a limit order rests: lower case, or ccxt would let it rest for good."""
        return {"clientOrderId": order.order_id} | _lifetime(order, order.time_in_force.value)

    def find(self, order_id: str, since: int) -> OrderThere | None:
        """Ask for the order's status by our id, and look it up in the history when it has none any more."""
        found = self.client.fetch_orders(self._symbol, None, None, {"orderIds": [], "cliOrdIds": [order_id]})
        return _order_there(found[0]) if found else self._in_history(order_id, since)

    def cancel(self, exchange_id: str) -> None:
        """Withdraw an order by the exchange's own id."""
        self.client.cancel_order(exchange_id, self._symbol)

    def trades(self, exchange_id: str, since: int) -> list[TradeThere]:
        """Return an order's fills in the order of the account log, each with the fee that stands there.

        One that does not stand there yet is not told yet: what ccxt gives as its fee is a guess from a table.
        """
        found = [trade for trade in self._fills(since) if trade["order"] == exchange_id]
        if not found:
            return []
        rows = {row["execution"]: row for row in self._log(since) if row["execution"]}
        logged = [(trade, rows[trade["id"]]) for trade in found if trade["id"] in rows]
        logged.sort(key=lambda pair: (int(pair[0]["timestamp"]), int(pair[1]["id"])))
        return [
            TradeThere(
                int(trade["timestamp"]) * _NS_PER_MS, float(trade["amount"]), float(trade["price"]), float(row["fee"])
            )
            for trade, row in logged
        ]

    def open_ids(self) -> set[str]:
        """Return our ids of the open orders."""
        return {str(order["clientOrderId"]) for order in self.client.fetch_open_orders(self._symbol)}

    def holdings(self, since: int) -> dict[str, float]:
        """Return the signed position, and the collateral in quote currency without the funding since an instant."""
        totals = self.client.fetch_balance()["total"]
        funding = math.fsum(float(row["realized_funding"] or 0.0) for row in self._log(since))
        position = math.fsum(
            float(held["contracts"]) * (1.0 if held["side"] == "long" else -1.0)
            for held in self.client.fetch_positions([self._symbol])
        )
        position_name, collateral_name = self._names()
        return {position_name: position, collateral_name: float(totals.get(self._instrument.quote, 0.0)) - funding}

    def moved(self, ledger: Ledger) -> dict[str, float]:
        """Return the position, and what realised PnL and fees did to the collateral."""
        held = ledger.positions.get(self._symbol)
        position_name, collateral_name = self._names()
        realised = 0.0 if held is None else held.realised
        return {position_name: ledger.quantity(self._symbol), collateral_name: realised - ledger.fees}

    def check_start(self, observed: Mapping[str, float]) -> None:
        """SessionError unless the account is flat: PnL on a position from before could not be told apart."""
        held = observed[self._names()[0]]
        if held:
            raise SessionError(f"{self._symbol}: the account holds {held:g} already. Close it there, then start anew.")

    def _names(self) -> tuple[str, str]:
        return f"position {self._symbol}", f"collateral {self._instrument.quote}"

    def _in_history(self, order_id: str, since: int) -> OrderThere | None:
        request = {"since": since // _NS_PER_MS, "sort": "asc", "opened": True, "closed": True}
        last: tuple[str, dict[str, Any]] | None = None
        for element in self.client.history_get_orders(request)["elements"]:
            for kind, event in element["event"].items():
                order = event.get("order") or event.get("newOrder") or {}
                if order.get("clientId") == order_id:
                    last = kind, order
        if last is None:
            return None
        kind, order = last
        rests = str(order["orderType"]).lower() not in ("ioc", "market")
        status = {"OrderRejected": "rejected", "OrderCancelled": "canceled"}.get(kind)
        if status is None:
            status = "closed" if float(order["quantity"]) == 0.0 else "open" if rests else "canceled"
        return OrderThere(
            str(order["uid"]), status, float(order["filled"]), int(order["lastUpdateTimestamp"]) * _NS_PER_MS
        )

    def _fills(self, since: int) -> list[dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {}
        page = self.client.fetch_my_trades()
        while page:
            fresh = {str(trade["id"]): trade for trade in page if str(trade["id"]) not in found}
            found |= fresh
            oldest = min(int(trade["timestamp"]) for trade in page)
            if len(page) < _PAGE or not fresh or oldest * _NS_PER_MS < since:
                break
            page = self.client.fetch_my_trades(None, None, None, {"lastFillTime": self.client.iso8601(oldest + 1)})
        return list(found.values())

    def _log(self, since: int) -> list[dict[str, Any]]:
        """Return the cash rows of the account log, oldest first: every execution has another row, of the position."""
        rows: list[dict[str, Any]] = []
        request = {"since": since // _NS_PER_MS, "sort": "asc"}
        while page := self.client.history_get_account_log(request)["logs"]:
            rows += page
            request = {"from": int(page[-1]["id"]) + 1, "sort": "asc"}
        return [row for row in rows if row["asset"] == self._instrument.quote.lower()]


DIALECTS: dict[str, type[BinanceSpot] | type[KrakenFutures]] = {
    dialect.exchange: dialect for dialect in (BinanceSpot, KrakenFutures)
}
"""How each sandbox of SANDBOXES is spoken to."""


def _lifetime(order: Order, time_in_force: str) -> dict[str, str]:
    return {} if order.order_type is OrderType.MARKET else {"timeInForce": time_in_force}


def _order_there(order: dict[str, Any]) -> OrderThere:
    updated = int(order["lastUpdateTimestamp"] or order["timestamp"]) * _NS_PER_MS
    return OrderThere(str(order["id"]), str(order["status"]).lower(), float(order["filled"] or 0.0), updated)
