"""An emulator of Binance spot: orders, balances and market data, on the markets of `matching.py`.

Nothing here knows of HTTP; `server.py` speaks it.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

from peak_trade.core.bars import Bars
from tests.emulator.matching import Matching, Order, down

CLIENT_ID = re.compile(r"^[a-zA-Z0-9\-_]{1,36}$")


class ApiError(Exception):
    """An error as Binance answers it."""

    def __init__(self, code: int, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code, self.message, self.status = code, message, status


class Exchange(Matching):
    """Symbols with one quote currency, and one account.

    Parameters
    ----------
    *bars : Bars
        What the market of each symbol does.
    quote, base : float
        Free balances at the start, of the quote currency and of each base currency.
    fee : float
        Commission as a fraction.
    fee_in : str
        What it is charged in: received (base on a buy, quote on a sell: the exchange's own way), quote, or an asset.
    seed, partial_share, latency_ms
        As of `Matching`.

    """

    def __init__(
        self,
        *bars: Bars,
        seed: int = 0,
        quote: float = 10_000.0,
        base: float = 0.0,
        fee: float = 0.001,
        fee_in: str = "received",
        partial_share: float = 1.0,
        latency_ms: tuple[int, int] = (0, 0),
    ) -> None:
        super().__init__(
            {part.symbol.replace("/", ""): part for part in bars}, Decimal("0.01"), Decimal("0.00001"),
            seed=seed, fee=fee, partial_share=partial_share, latency_ms=latency_ms,
        )  # fmt: skip
        self.bases = {name: market.bars.symbol.split("/")[0] for name, market in self.markets.items()}
        self.quote, self.fee_in = bars[0].symbol.split("/")[1], fee_in
        self.balances = {self.quote: Decimal(str(quote))} | dict.fromkeys(self.bases.values(), Decimal(str(base)))
        self.min_notional = Decimal("5")

    def time(self, _: dict[str, str]) -> Any:
        return {"serverTime": self.now_ms}

    def exchange_info(self, query: dict[str, str]) -> Any:
        self._check_symbol(query, required=False)
        filters = [
            {"filterType": "PRICE_FILTER", "minPrice": "0.01000000", "maxPrice": "1000000.00000000",
             "tickSize": _8(self.tick)},
            {"filterType": "LOT_SIZE", "minQty": _8(self.step), "maxQty": "9000.00000000", "stepSize": _8(self.step)},
            {"filterType": "ICEBERG_PARTS", "limit": 10},
            {"filterType": "MARKET_LOT_SIZE", "minQty": "0.00000000", "maxQty": "97.09521512",
             "stepSize": "0.00000000"},
            {"filterType": "NOTIONAL", "minNotional": _8(self.min_notional), "applyMinToMarket": True,
             "maxNotional": "9000000.00000000", "applyMaxToMarket": False, "avgPriceMins": 5},
            {"filterType": "MAX_NUM_ORDERS", "maxNumOrders": 200},
        ]  # fmt: skip
        limits = [
            ("REQUEST_WEIGHT", "MINUTE", 1, 6000),
            ("ORDERS", "SECOND", 10, 100),
            ("RAW_REQUESTS", "MINUTE", 5, 61000),
        ]
        return {
            "timezone": "UTC",
            "serverTime": self.now_ms,
            "rateLimits": [
                {"rateLimitType": kind, "interval": unit, "intervalNum": n, "limit": limit}
                for kind, unit, n, limit in limits
            ],
            "exchangeFilters": [],
            "symbols": [
                {
                    "symbol": name, "status": "TRADING", "baseAsset": base, "baseAssetPrecision": 8,
                    "quoteAsset": self.quote, "quotePrecision": 8, "quoteAssetPrecision": 8,
                    "baseCommissionPrecision": 8, "quoteCommissionPrecision": 8,
                    "orderTypes": ["LIMIT", "LIMIT_MAKER", "MARKET"], "icebergAllowed": True, "ocoAllowed": True,
                    "quoteOrderQtyMarketAllowed": True, "allowTrailingStop": True, "cancelReplaceAllowed": True,
                    "isSpotTradingAllowed": True, "isMarginTradingAllowed": False, "filters": filters,
                    "permissions": [], "permissionSets": [["SPOT"]], "defaultSelfTradePreventionMode": "EXPIRE_MAKER",
                    "allowedSelfTradePreventionModes": ["EXPIRE_TAKER", "EXPIRE_MAKER", "EXPIRE_BOTH"],
                }
                for name, base in self.bases.items()
            ],
        }  # fmt: skip

    def klines(self, query: dict[str, str]) -> Any:
        symbol = self._check_symbol(query)
        if query.get("interval") != str(self.bars.timeframe):
            raise ApiError(-1120, "Invalid interval.")
        limit = int(query.get("limit", 500))
        start, end = query.get("startTime"), query.get("endTime")
        rows = self.known_rows(symbol, None if start is None else int(start), None if end is None else int(end))
        return [self._kline(symbol, row) for row in (rows[:limit] if start is not None else rows[-limit:])]

    def depth(self, query: dict[str, str]) -> Any:
        symbol = self._check_symbol(query)
        bids, asks = self.levels(symbol, min(int(query.get("limit", 100)), 20))
        return {"lastUpdateId": self.now_ms, "bids": [[_8(part) for part in level] for level in bids],
                "asks": [[_8(part) for part in level] for level in asks]}  # fmt: skip

    def place(self, query: dict[str, str]) -> Any:
        symbol = self._check_symbol(query)
        for name in ("side", "type", "quantity"):
            if not query.get(name):
                raise ApiError(-1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.")
        side, kind, quantity = query["side"], query["type"], Decimal(query["quantity"])
        if side not in ("BUY", "SELL"):
            raise ApiError(-1117, "Invalid side.")
        if kind not in ("MARKET", "LIMIT"):
            raise ApiError(-1116, "Invalid orderType.")
        client_id = query.get("newClientOrderId") or f"emulated-{len(self.orders) + 1}"
        if not CLIENT_ID.match(client_id):
            raise ApiError(-1100, "Illegal characters found in parameter 'newClientOrderId'.")
        if any(order.client_id == client_id and order.is_open for order in self.orders):
            raise ApiError(-2010, "Duplicate order sent.")
        price = Decimal(query["price"]) if kind == "LIMIT" else Decimal(0)
        self._filter(quantity, price or self.price(symbol), is_limit=kind == "LIMIT")
        self._check_funds(symbol, side, quantity, price or self.touch(side, symbol) * Decimal("1.001"))
        order = Order(len(self.orders) + 1, symbol, client_id, side, kind, query.get("timeInForce", "GTC"), price,
                      quantity, self.now_ms, updated=self.now_ms)  # fmt: skip
        self.take(order)
        return self._placed(order)

    def query_order(self, query: dict[str, str]) -> Any:
        return self._state(self._find(query, -2013, "Order does not exist."))

    def cancel(self, query: dict[str, str]) -> Any:
        order = self._find(query, -2011, "Unknown order sent.")
        if not order.is_open:
            raise ApiError(-2011, "Unknown order sent.")
        self.end(order, "CANCELED")
        content = self._common(order)
        return content | {"origClientOrderId": order.client_id, "clientOrderId": f"cancel-{order.order_id}",
                          "transactTime": self.now_ms}  # fmt: skip

    def open_orders(self, query: dict[str, str]) -> Any:
        self._check_symbol(query, required=False)
        chosen = query.get("symbol")
        return [self._state(order) for order in self.orders if order.is_open and chosen in (None, order.symbol)]

    def account(self, _: dict[str, str]) -> Any:
        rate = _8(self.fee)
        return {
            "makerCommission": int(self.fee * 10_000), "takerCommission": int(self.fee * 10_000),
            "buyerCommission": 0, "sellerCommission": 0,
            "commissionRates": {"maker": rate, "taker": rate, "buyer": "0.00000000", "seller": "0.00000000"},
            "canTrade": True, "canWithdraw": True, "canDeposit": True, "brokered": False,
            "requireSelfTradePrevention": False, "preventSor": False, "updateTime": self.now_ms, "accountType": "SPOT",
            "balances": [{"asset": name, "free": _8(self.balances[name] - self._locked(name)),
                          "locked": _8(self._locked(name))}
                         for name in (*self.bases.values(), self.quote)],
            "permissions": ["SPOT"], "uid": 354937868,
        }  # fmt: skip

    def my_trades(self, query: dict[str, str]) -> Any:
        symbol = self._check_symbol(query)
        found = [trade for trade in self.told_trades() if trade["symbol"] == symbol]
        if "orderId" in query:
            found = [trade for trade in found if trade["orderId"] == int(query["orderId"])]
        if "startTime" in query:
            found = [trade for trade in found if trade["time"] >= int(query["startTime"])]
        return found[-int(query.get("limit", 500)) :]

    def balance(self, asset: str) -> Decimal:
        """Free and locked together."""
        return self.balances[asset]

    def _check_symbol(self, query: dict[str, str], *, required: bool = True) -> str:
        if "symbol" not in query and required:
            raise ApiError(-1102, "Mandatory parameter 'symbol' was not sent, was empty/null, or malformed.")
        symbol = query.get("symbol", self.symbol)
        if symbol not in self.markets:
            raise ApiError(-1121, "Invalid symbol.")
        return symbol

    def _filter(self, quantity: Decimal, price: Decimal, *, is_limit: bool) -> None:
        if is_limit and (price <= 0 or price % self.tick):
            raise ApiError(-1013, "Filter failure: PRICE_FILTER")
        if quantity < self.step or quantity % self.step or quantity > 9000:
            raise ApiError(-1013, "Filter failure: LOT_SIZE")
        if quantity * price < self.min_notional:
            raise ApiError(-1013, "Filter failure: NOTIONAL")

    def _locked(self, asset: str) -> Decimal:
        locked = Decimal(0)
        for order in self.orders:
            if not order.is_open or (asset != self.quote and asset != self.bases[order.symbol]):
                continue
            if order.side == ("BUY" if asset == self.quote else "SELL"):
                left = order.quantity - order.executed
                locked += left * order.price * (1 + self._quote_fee()) if asset == self.quote else left
        return locked

    def _check_funds(self, symbol: str, side: str, quantity: Decimal, price: Decimal) -> None:
        asset, needed = self.bases[symbol], quantity
        if side == "BUY":
            asset, needed = self.quote, quantity * price * (1 + self._quote_fee())
        if self.balances[asset] - self._locked(asset) < needed:
            raise ApiError(-2010, "Account has insufficient balance for requested action.")

    def _quote_fee(self) -> Decimal:
        """Rate of a buy's fee that is taken in quote currency."""
        return self.fee if self.fee_in == "quote" else Decimal(0)

    def account_for(self, order: Order, quantity: Decimal, price: Decimal) -> None:
        quote, sign, base = quantity * price, 1 if order.side == "BUY" else -1, self.bases[order.symbol]
        asset = {"received": base if sign > 0 else self.quote, "quote": self.quote}.get(self.fee_in, self.fee_in)
        commission = down((quantity if asset == base else quote) * self.fee, Decimal("0.00000001"))
        self.balances[base] += sign * quantity
        self.balances[self.quote] -= sign * quote
        if asset in self.balances:
            self.balances[asset] -= commission
        trade = {
            "symbol": order.symbol, "id": len(self.trades) + 1, "orderId": order.order_id, "orderListId": -1,
            "price": _8(price), "qty": _8(quantity), "quoteQty": _8(quote), "commission": _8(commission),
            "commissionAsset": asset, "time": self.now_ms, "isBuyer": order.side == "BUY",
            "isMaker": order.time < self.now_ms, "isBestMatch": True,
        }  # fmt: skip
        self.trades.append(trade)
        order.fills.append({"price": trade["price"], "qty": trade["qty"], "commission": trade["commission"],
                            "commissionAsset": asset, "tradeId": trade["id"]})  # fmt: skip

    def _find(self, query: dict[str, str], code: int, message: str) -> Order:
        symbol = self._check_symbol(query)
        wanted, client_id = query.get("orderId"), query.get("origClientOrderId")
        if wanted is None and client_id is None:
            raise ApiError(-1102, "Param 'origClientOrderId' or 'orderId' must be sent, but both were empty/null!")
        for order in reversed([order for order in self.orders if order.symbol == symbol]):
            if (wanted is not None and order.order_id == int(wanted)) or order.client_id == client_id:
                return order
        raise ApiError(code, message)

    def _common(self, order: Order) -> dict[str, Any]:
        return {
            "symbol": order.symbol, "orderId": order.order_id, "orderListId": -1, "clientOrderId": order.client_id,
            "price": _8(order.price), "origQty": _8(order.quantity), "executedQty": _8(order.executed),
            "cummulativeQuoteQty": _8(order.quote), "status": order.status, "timeInForce": order.time_in_force,
            "type": order.kind, "side": order.side, "selfTradePreventionMode": "NONE",
        }  # fmt: skip

    def _placed(self, order: Order) -> dict[str, Any]:
        return self._common(order) | {"transactTime": order.time, "workingTime": order.time, "fills": order.fills}

    def _state(self, order: Order) -> dict[str, Any]:
        return self._common(order) | {
            "stopPrice": "0.00000000", "icebergQty": "0.00000000", "time": order.time, "updateTime": order.updated,
            "isWorking": True, "workingTime": order.time, "origQuoteOrderQty": "0.00000000",
        }  # fmt: skip

    def _kline(self, symbol: str, row: int) -> list[Any]:
        start = int(self.markets[symbol].opens_ms[row])
        _, _, _, last, volume = candle = self.candle(symbol, row)
        quote = _8(Decimal(repr(volume)) * Decimal(repr(last)))
        numbers = [_8(Decimal(repr(value))) for value in candle]
        return [start, *numbers, start + self.length_ms - 1, quote, 100, _8(Decimal(0)), _8(Decimal(0)), "0"]


def _8(amount: Decimal) -> str:
    return f"{amount:.8f}"
