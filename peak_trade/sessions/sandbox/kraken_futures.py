"""The demo of Kraken futures."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from typing import Any

from peak_trade.core.errors import ConfigError, SessionError
from peak_trade.core.ledger import Ledger
from peak_trade.core.values import Instrument, Order
from peak_trade.sessions.sandbox.base import (
    NS_PER_MS,
    Access,
    ExchangeOrder,
    ExchangeTrade,
    Sandbox,
    exchange_order,
    lifetime,
)

_PAGE = 100
"""Fills in one answer."""


class KrakenFutures(Sandbox):
    """Linear perpetuals of one base unit per contract: signed positions, and collateral that PnL and fees change.

    The exchange reports an order's status while it is open and for five seconds after; later the account's history has
    it. Fills carry no fee; the account log has it under the fill's id.
    """

    access = Access(
        "demo-futures.kraken.com",
        ("public", "private", "charts", "history", "feeds"),
        "KRAKEN_FUTURES_DEMO_KEY",
        "KRAKEN_FUTURES_DEMO_SECRET",
    )

    def __init__(self, client: Any, instruments: Sequence[Instrument]) -> None:
        super().__init__(client, instruments)
        for symbol in self.instruments:
            market = client.market(symbol)
            if not (market["linear"] and market["contractSize"] == 1):
                raise ConfigError(
                    f"{symbol}: only linear contracts of one base unit can be traded; this one is of "
                    f"{market['contractSize']:g}{'' if market['linear'] else ', and inverse'}."
                )

    @classmethod
    def check_secret(cls, secret: str) -> None:
        """Raise ConfigError, without the secret, if it is not base64 text."""
        try:
            base64.b64decode(secret, validate=True)
        except ValueError:
            raise ConfigError(
                f"krakenfutures: {cls.access.secret_variable} is not the base64 text of a private key. Copy all of it."
            ) from None

    @classmethod
    def prepare(cls, client: Any) -> None:
        """Give the client the exchange's time, and treat its failures as ones after which nothing is known."""
        import ccxt

        def fetch_time() -> int:
            return int(client.parse8601(client.public_get_instruments_status()["serverTime"]))

        client.fetch_time = fetch_time
        for message in ("Server Error", "unknownError"):
            client.exceptions["exact"][message] = ccxt.ExchangeNotAvailable

    def parameters(self, order: Order) -> dict[str, str]:
        """Return our id, and how long a limit order rests. ccxt reads lower case only; else the order rests forever."""
        return {"clientOrderId": order.order_id} | lifetime(order, order.time_in_force.value)

    def find(self, symbol: str, order_id: str, since: int) -> ExchangeOrder | None:
        """Ask for the order's status by our id; look it up in the history if there is none any more."""
        found = self.client.fetch_orders(symbol, None, None, {"orderIds": [], "cliOrdIds": [order_id]})
        return exchange_order(found[0]) if found else self._in_history(order_id, since)

    def trades(self, symbol: str, exchange_id: str, since: int) -> list[ExchangeTrade]:
        """Return an order's fills in the order of the account log, each with the fee that the log has.

        A fill that is not in the log yet is left out: the fee that ccxt gives for it is an estimate from a table.
        """
        found = [trade for trade in self._fills(since) if trade["order"] == exchange_id]
        if not found:
            return []
        rows = {row["execution"]: row for row in self._log(since) if row["execution"]}
        logged = [(trade, rows[trade["id"]]) for trade in found if trade["id"] in rows]
        logged.sort(key=lambda pair: (int(pair[0]["timestamp"]), int(pair[1]["id"])))
        return [
            ExchangeTrade(
                int(trade["timestamp"]) * NS_PER_MS, float(trade["amount"]), float(trade["price"]), float(row["fee"])
            )
            for trade, row in logged
        ]

    def holdings(self, since: int) -> dict[str, float]:
        """Return the signed positions, and the collateral in quote currency without funding since an instant."""
        totals = self.client.fetch_balance()["total"]
        funding = math.fsum(float(row["realized_funding"] or 0.0) for row in self._log(since))
        positions = dict.fromkeys(self.instruments, 0.0)
        for held in self.client.fetch_positions([*self.instruments]):
            positions[held["symbol"]] += float(held["contracts"]) * (1.0 if held["side"] == "long" else -1.0)
        return {f"position {symbol}": quantity for symbol, quantity in positions.items()} | {
            f"collateral {self.quote}": float(totals.get(self.quote, 0.0)) - funding
        }

    def moved(self, ledger: Ledger) -> dict[str, float]:
        """Return the positions, and the change of the collateral by realised PnL and fees."""
        realised = math.fsum(held.realised for held in ledger.positions.values())
        positions = {f"position {symbol}": ledger.quantity(symbol) for symbol in self.instruments}
        return positions | {f"collateral {self.quote}": realised - ledger.fees}

    def check_start(self, observed: Mapping[str, float]) -> None:
        """Raise SessionError unless the account is flat: the PnL of an earlier position could not be separated."""
        for symbol in self.instruments:
            held = observed[f"position {symbol}"]
            if held:
                raise SessionError(
                    f"{symbol}: the account holds {held:g} already. Close it at the exchange, then start again."
                )

    def _in_history(self, order_id: str, since: int) -> ExchangeOrder | None:
        request = {"since": since // NS_PER_MS, "sort": "asc", "opened": True, "closed": True}
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
        return ExchangeOrder(
            str(order["uid"]), status, float(order["filled"]), int(order["lastUpdateTimestamp"]) * NS_PER_MS
        )

    def _fills(self, since: int) -> list[dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {}
        page = self.client.fetch_my_trades()
        while page:
            fresh = {str(trade["id"]): trade for trade in page if str(trade["id"]) not in found}
            found |= fresh
            oldest = min(int(trade["timestamp"]) for trade in page)
            if len(page) < _PAGE or not fresh or oldest * NS_PER_MS < since:
                break
            page = self.client.fetch_my_trades(None, None, None, {"lastFillTime": self.client.iso8601(oldest + 1)})
        return list(found.values())

    def _log(self, since: int) -> list[dict[str, Any]]:
        """Return the cash entries of the account log, oldest first. An execution also has one of the position."""
        rows: list[dict[str, Any]] = []
        request = {"since": since // NS_PER_MS, "sort": "asc"}
        while page := self.client.history_get_account_log(request)["logs"]:
            rows += page
            request = {"from": int(page[-1]["id"]) + 1, "sort": "asc"}
        return [row for row in rows if row["asset"] == self.quote.lower()]
