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

    def find(self, symbol: str, order_id: str, since: int) -> ExchangeOrder | None:
        """Ask for the order by our id."""
        import ccxt

        try:
            found = self.client.fetch_order(None, symbol, {"origClientOrderId": order_id})
        except ccxt.OrderNotFound:
            return None
        return exchange_order(found)

    def trades(self, symbol: str, exchange_id: str, since: int) -> list[ExchangeTrade]:
        """Return an order's trades."""
        found = self.client.fetch_my_trades(symbol, None, 1_000, {"orderId": exchange_id})
        found.sort(key=lambda trade: (int(trade["timestamp"]), int(trade["id"])))
        return [self._trade(symbol, trade) for trade in found]

    def holdings(self, since: int) -> dict[str, float]:
        """Return free and locked balances together, of each base currency and of the quote currency."""
        totals = self.client.fetch_balance()["total"]
        names = [*(each.base for each in self.instruments.values()), self.quote]
        return {f"balance {name}": float(totals.get(name, 0.0)) for name in names}

    def moved(self, ledger: Ledger) -> dict[str, float]:
        """Return the positions and the change of cash."""
        positions = {f"balance {each.base}": ledger.quantity(symbol) for symbol, each in self.instruments.items()}
        return positions | {f"balance {self.quote}": ledger.cash - ledger.initial_cash}

    def _trade(self, symbol: str, trade: dict[str, Any]) -> ExchangeTrade:
        quantity, price, fee = float(trade["amount"]), float(trade["price"]), trade.get("fee") or {}
        cost, currency = float(fee.get("cost") or 0.0), fee.get("currency")
        base, quote = self.instruments[symbol].base, self.quote
        now = int(trade["timestamp"]) * NS_PER_MS
        if cost and currency not in (base, quote):
            raise SessionError(
                f"trade {trade['id']}: its fee was taken in {currency}; only fees in {quote} or {base} can be booked. "
                f"Turn off fees in {currency} in the account, then start a new session."
            )
        if cost and currency == base:
            return ExchangeTrade(now, quantity, price, cost * price, cost)
        return ExchangeTrade(now, quantity, price, cost)
