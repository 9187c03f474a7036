"""The Binance spot testnet."""

from __future__ import annotations

from typing import Any

from peak_trade.core.errors import SessionError
from peak_trade.core.ledger import Ledger
from peak_trade.core.values import Order
from peak_trade.sessions.sandbox.base import (
    NS_PER_MS,
    RECEIVE_WINDOW_MS,
    Access,
    ExchangeOrder,
    ExchangeTrade,
    Sandbox,
    exchange_order,
    lifetime,
)


class BinanceSpot(Sandbox):
    """Spot orders and balances. A buy pays its fee in base currency, unless the account is set up otherwise."""

    access = Access(
        "testnet.binance.vision",
        ("public", "private", "v1"),
        "BINANCE_TESTNET_KEY",
        "BINANCE_TESTNET_SECRET",
        {
            "defaultType": "spot",
            "fetchMarkets": {"types": ["spot"]},
            "fetchCurrencies": False,
            "fetchMargins": False,
            "recvWindow": RECEIVE_WINDOW_MS,
            "warnOnFetchOpenOrdersWithoutSymbol": False,
        },
    )

    def parameters(self, order: Order) -> dict[str, str]:
        """Return our id, and how long a limit order rests."""
        return {"clientOrderId": order.order_id} | lifetime(order, order.time_in_force.value.upper())

    def find(self, order_id: str, since: int) -> ExchangeOrder | None:
        """Ask for the order by our id."""
        import ccxt

        try:
            found = self.client.fetch_order(None, self.symbol, {"origClientOrderId": order_id})
        except ccxt.OrderNotFound:
            return None
        return exchange_order(found)

    def trades(self, exchange_id: str, since: int) -> list[ExchangeTrade]:
        """Return an order's trades."""
        found = self.client.fetch_my_trades(self.symbol, None, 1_000, {"orderId": exchange_id})
        found.sort(key=lambda trade: (int(trade["timestamp"]), int(trade["id"])))
        return [self._trade(trade) for trade in found]

    def holdings(self, since: int) -> dict[str, float]:
        """Return free and locked balances of base and quote currency together."""
        totals = self.client.fetch_balance()["total"]
        return {f"balance {name}": float(totals.get(name, 0.0)) for name in self._names()}

    def moved(self, ledger: Ledger) -> dict[str, float]:
        """Return position and change of cash."""
        changes = (ledger.quantity(self.symbol), ledger.cash - ledger.initial_cash)
        return {f"balance {name}": change for name, change in zip(self._names(), changes, strict=True)}

    def _names(self) -> tuple[str, str]:
        return self.instrument.base, self.instrument.quote

    def _trade(self, trade: dict[str, Any]) -> ExchangeTrade:
        quantity, price, fee = float(trade["amount"]), float(trade["price"]), trade.get("fee") or {}
        cost, currency = float(fee.get("cost") or 0.0), fee.get("currency")
        base, quote = self._names()
        now = int(trade["timestamp"]) * NS_PER_MS
        if cost and currency not in (base, quote):
            raise SessionError(
                f"trade {trade['id']}: its fee was taken in {currency}; only fees in {quote} or {base} can be booked. "
                f"Turn off fees in {currency} in the account, then start a new session."
            )
        if cost and currency == base:
            return ExchangeTrade(now, quantity, price, cost * price, cost)
        return ExchangeTrade(now, quantity, price, cost)
