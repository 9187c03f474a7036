"""An emulator of Kraken futures: linear perpetuals, on the markets of `matching.py`.

Orders have UUIDs, and a client id must not have been used before. The status of an order is available while it is open
and for five seconds after. PnL and fees change the collateral. Fees are in the account log, not in the fills.
"""

from __future__ import annotations

import random
import uuid
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from peak_trade.core.bars import Bars
from tests.emulator.matching import Matching, Order

TOLD_FOR_MS = 5_000
PAGE = 100
KINDS = {"mkt": "MARKET", "lmt": "LIMIT", "ioc": "LIMIT"}
UID = "f92fc7de-2fce-4265-b806-4f3c1efb37ee"


class KrakenError(Exception):
    """A request that Kraken answers with an error and nothing else."""

    def __init__(self, message: str, status: int = 200) -> None:
        super().__init__(message)
        self.message, self.status = message, status


class FuturesExchange(Matching):
    """Perpetuals in US dollars, such as PF_XBTUSD, and one multi-collateral account.

    Parameters
    ----------
    *bars : Bars
        What the market of each symbol does, named as by ccxt: BTC/USD:USD is PF_XBTUSD.
    collateral : float
        US dollars at the start.
    leverage : float
        How much notional a dollar of collateral carries.
    fee : float
        Fee as a fraction, charged in US dollars.
    history_lag_ms : int
        Delay of the history of orders.
    seed, partial_share, latency_ms
        As of `Matching`.

    """

    def __init__(
        self,
        *bars: Bars,
        seed: int = 0,
        collateral: float = 10_000.0,
        leverage: float = 5.0,
        fee: float = 0.0005,
        partial_share: float = 1.0,
        latency_ms: tuple[int, int] = (0, 0),
        history_lag_ms: int = 0,
    ) -> None:
        super().__init__(
            {_name_of(part.symbol): part for part in bars}, Decimal("0.5"), Decimal("0.0001"),
            seed=seed, fee=fee, partial_share=partial_share, latency_ms=latency_ms,
        )  # fmt: skip
        self.collateral, self.leverage = Decimal(str(collateral)), Decimal(str(leverage))
        self.positions, self.entries = dict.fromkeys(self.markets, Decimal(0)), dict.fromkeys(self.markets, Decimal(0))
        self.history_lag_ms, self.log_page = history_lag_ms, 500
        self.log: list[dict[str, Any]] = []
        self.events: list[dict[str, Any]] = []
        self._uuids = random.Random(seed + 1)
        self._ids: dict[int, str] = {}

    def instruments(self, _: dict[str, list[str]]) -> Any:
        levels = [{"numNonContractUnits": 0, "initialMargin": 0.02, "maintenanceMargin": 0.01}]
        return self._success(
            instruments=[
                *({"symbol": name, "type": "flexible_futures", "tickSize": float(self.tick), "contractSize": 1,
                 "tradeable": True, "impactMidSize": 1, "maxPositionSize": 1_000_000,
                 "openingDate": "2022-01-01T00:00:00.000Z", "marginLevels": levels, "fundingRateCoefficient": 8,
                 "maxRelativeFundingRate": 0.001, "contractValueTradePrecision": 4,
                 "feeScheduleUid": "5b755fea-c5b0-4307-a66e-b392cd5bd931", "postOnly": False,
                 "retailMarginLevels": levels, "category": "Layer 1", "tags": []} for name in self.markets),
                {"symbol": "in_xbtusd", "type": "spot index", "tradeable": False, "tickSize": 1},
            ]
        )  # fmt: skip

    def instruments_status(self, _: dict[str, list[str]]) -> Any:
        return self._success(
            instrumentStatus=[
                {"tradeable": name, "experiencingDislocation": False, "priceDislocationDirection": None,
                 "experiencingExtremeVolatility": False, "extremeVolatilityInitialMarginMultiplier": 1}
                for name in self.markets
            ]
        )  # fmt: skip

    def orderbook(self, query: dict[str, list[str]]) -> Any:
        bids, asks = self.levels(self._check_symbol(query), 20)
        plain = [[[float(price), float(size)] for price, size in side] for side in (bids, asks)]
        return self._success(orderBook={"bids": plain[0], "asks": plain[1]})

    def candles(self, query: dict[str, list[str]], symbol: str, timeframe: str) -> Any:
        if symbol not in self.markets or timeframe != str(self.bars.timeframe):
            raise KrakenError("invalidArgument: resolution", 400)
        start, end = (int(query[name][0]) * 1_000 if name in query else None for name in ("from", "to"))
        rows = self.known_rows(symbol, start, end)
        found = []
        for row in rows[:2_000]:
            opened, high, low, close, volume = self.candle(symbol, row)
            start = int(self.markets[symbol].opens_ms[row])
            found.append({"time": start, "open": f"{opened:.11f}", "high": f"{high:.11f}",
                          "low": f"{low:.11f}", "close": f"{close:.11f}", "volume": volume})  # fmt: skip
        return {"candles": found, "more_candles": len(rows) > 2_000}

    def sendorder(self, query: dict[str, list[str]]) -> Any:
        for name in ("orderType", "symbol", "side", "size"):
            if not query.get(name):
                raise KrakenError("requiredArgumentMissing")
        kind, client_id, symbol = query["orderType"][0], query.get("cliOrdId", [""])[0], self._check_symbol(query)
        price = Decimal(query["limitPrice"][0]) if "limitPrice" in query else Decimal(0)
        order = Order(len(self.orders) + 1, symbol, client_id, query["side"][0].upper(), KINDS.get(kind, kind),
                      "IOC" if kind == "ioc" else "GTC", price, Decimal(query["size"][0]), self.now_ms,
                      updated=self.now_ms)  # fmt: skip
        refusal = self._refusal(order)
        if refusal:
            return self._success(sendStatus={"status": refusal, "receivedTime": iso(self.now_ms), "orderEvents": []})
        self._ids[order.order_id] = self._uuid()
        if order.time_in_force == "IOC" and not self.is_met(order):
            self._note("OrderRejected", order, reason="ioc_would_not_execute")
            event = {
                "uid": self._uuid(),
                "order": self._plain(order),
                "reason": "IOC_WOULD_NOT_EXECUTE",
                "type": "REJECT",
            }
            status = {"order_id": self._ids[order.order_id], "status": "iocWouldNotExecute", "orderEvents": [event]}
            return self._success(sendStatus=status | {"receivedTime": iso(self.now_ms)})
        before, n_events = self._plain(order), len(self.events)
        self.take(order)
        self._note("OrderPlaced", order, reason="new_user_order")
        self.events.insert(n_events, self.events.pop())
        events: list[dict[str, Any]] = [
            {"executionId": fill["fill_id"], "price": fill["price"], "amount": fill["size"], "orderPriorEdit": None,
             "orderPriorExecution": before, "takerReducedQuantity": None, "type": "EXECUTION"}
            for fill in order.fills
        ]  # fmt: skip
        if order.is_open:
            events.append({"order": before, "reducedQuantity": None, "type": "PLACE"})
        return self._success(
            sendStatus={"order_id": self._ids[order.order_id], "cliOrdId": order.client_id, "status": "placed",
                        "receivedTime": iso(self.now_ms), "orderEvents": events}
        )  # fmt: skip

    def cancelorder(self, query: dict[str, list[str]]) -> Any:
        order = self._find(query)
        received = {"receivedTime": iso(self.now_ms), "order_id": query.get("order_id", [""])[0]}
        if order is None or not order.is_open:
            is_filled = order is not None and order.status == "FILLED"
            return self._success(cancelStatus=received | {"status": "filled" if is_filled else "notFound"})
        plain = self._plain(order)
        self.end(order, "CANCELED")
        event = {"uid": plain["orderId"], "order": plain, "type": "CANCEL"}
        return self._success(
            cancelStatus=received
            | {"status": "cancelled", "order_id": plain["orderId"], "cliOrdId": order.client_id, "orderEvents": [event]}
        )

    def openorders(self, _: dict[str, list[str]]) -> Any:
        return self._success(
            openOrders=[
                {"order_id": self._ids[order.order_id], "cliOrdId": order.client_id, "symbol": order.symbol,
                 "side": order.side.lower(), "orderType": "lmt", "limitPrice": float(order.price),
                 "unfilledSize": float(order.quantity - order.executed), "receivedTime": iso(order.time),
                 "status": "partiallyFilled" if order.executed else "untouched", "filledSize": float(order.executed),
                 "reduceOnly": False, "lastUpdateTime": iso(order.updated)}
                for order in self.orders if order.is_open
            ]
        )  # fmt: skip

    def orders_status(self, query: dict[str, list[str]]) -> Any:
        names = {"NEW": "ENTERED_BOOK", "PARTIALLY_FILLED": "ENTERED_BOOK", "FILLED": "FULLY_EXECUTED"}
        found = []
        for order in self.orders:
            is_asked = order.client_id in query.get("cliOrdIds", []) or self._ids[order.order_id] in query.get(
                "orderIds", []
            )
            if is_asked and (order.is_open or self.now_ms - order.updated <= TOLD_FOR_MS):
                plain = {name: part for name, part in self._plain(order).items() if name != "type"}
                found.append({"order": plain | {"type": "ORDER"}, "status": names.get(order.status, "CANCELLED"),
                              "updateReason": None, "error": None})  # fmt: skip
        return self._success(orders=found)

    def fills(self, query: dict[str, list[str]]) -> Any:
        before = query.get("lastFillTime", [iso(self.now_ms + 1)])[0]
        found = [trade for trade in self.told_trades() if trade["fillTime"] < before]
        return self._success(fills=found[-PAGE:][::-1])

    def accounts(self, _: dict[str, list[str]]) -> Any:
        pnl = self._unrealised()
        equity = float(self.collateral + pnl)
        margin = float(self._notional(self.positions) / self.leverage)
        held = float(self.collateral)
        flex = {
            "currencies": {"USD": {"quantity": held, "value": held, "collateral": held, "available": held - margin}},
            "initialMargin": margin, "initialMarginWithOrders": margin, "maintenanceMargin": margin / 2.0,
            "balanceValue": held, "portfolioValue": equity, "collateralValue": held, "pnl": float(pnl),
            "unrealizedFunding": 0.0, "totalUnrealized": float(pnl), "totalUnrealizedAsMargin": float(pnl),
            "availableMargin": equity - margin, "marginEquity": equity, "type": "multiCollateralMarginAccount",
        }  # fmt: skip
        return self._success(accounts={"cash": {"balances": {"usd": "0.0"}, "type": "cashAccount"}, "flex": flex})

    def openpositions(self, _: dict[str, list[str]]) -> Any:
        return self._success(
            openPositions=[
                {"side": "long" if held > 0 else "short", "symbol": name, "price": float(self.entries[name]),
                 "fillTime": iso(self.now_ms), "size": float(abs(held)), "unrealizedFunding": 0.0}
                for name, held in self.positions.items() if held
            ]
        )  # fmt: skip

    def history_orders(self, query: dict[str, list[str]]) -> Any:
        since = int(query.get("since", ["0"])[0])
        until = self.now_ms - self.history_lag_ms
        found = [event for event in self.events if since <= int(event["timestamp"]) <= until]
        return {
            "accountUid": UID,
            "len": len(found),
            "elements": found if query.get("sort") == ["asc"] else found[::-1],
        }

    def account_log(self, query: dict[str, list[str]]) -> Any:
        since = iso(int(query.get("since", ["0"])[0]))
        first = int(query.get("from", ["1"])[0])
        found = [row for row in self.log if row["date"] >= since and row["id"] >= first]
        return {"accountUid": UID, "logs": (found if query.get("sort") == ["asc"] else found[::-1])[: self.log_page]}

    def pay_funding(self, amount: float) -> None:
        """Settle funding: negative is paid."""
        before, self.collateral = self.collateral, self.collateral + Decimal(str(amount))
        self._log_row(
            self.symbol, "usd", "funding rate change", before, self.collateral, fee=0, realized_funding=amount
        )

    def end(self, order: Order, status: str) -> None:
        super().end(order, status)
        self._note("OrderCancelled", order, reason="cancelled_by_user")

    def meet(self, order: Order) -> None:
        before = order.executed
        super().meet(order)
        if order.executed != before and order.time < self.now_ms:
            self._note("OrderUpdated", order, reason="partial_fill" if order.is_open else "full_fill")

    def account_for(self, order: Order, quantity: Decimal, price: Decimal) -> None:
        signed = quantity if order.side == "BUY" else -quantity
        symbol, before = order.symbol, self.collateral
        held, entry = self.positions[symbol], self.entries[symbol]
        fee, realised = quantity * price * self.fee, Decimal(0)
        position = self.positions[symbol] = held + signed
        if held * signed >= 0:
            self.entries[symbol] = (entry * abs(held) + price * quantity) / (abs(held) + quantity)
        else:
            closed = min(abs(held), quantity)
            realised = closed * (price - entry) * (1 if held > 0 else -1)
            self.entries[symbol] = price if held * position < 0 else entry if position else Decimal(0)
        self.collateral += realised - fee
        fill_id, order_id = self._uuid(), self._ids[order.order_id]
        fill = {
            "fillTime": iso(self.now_ms), "order_id": order_id, "fill_id": fill_id, "cliOrdId": order.client_id,
            "symbol": symbol, "side": order.side.lower(), "size": float(quantity), "price": float(price),
            "fillType": "maker" if order.time < self.now_ms else "taker",
        }  # fmt: skip
        self.trades.append(fill)
        order.fills.append(fill)
        self._log_row(symbol, "usd", "futures trade", before, self.collateral, fee=float(fee),
                      realized_pnl=float(realised), trade_price=float(price), execution=fill_id)  # fmt: skip
        self._log_row(symbol, symbol.lower(), "futures trade", held, position, fee=None, execution=fill_id)

    def _refusal(self, order: Order) -> str:
        if order.kind not in KINDS.values():
            return "invalidOrderType"
        if order.side not in ("BUY", "SELL"):
            return "invalidSide"
        if order.quantity <= 0 or order.quantity % self.step:
            return "invalidSize"
        if order.kind == "LIMIT" and (order.price <= 0 or order.price % self.tick):
            return "invalidPrice"
        if len(order.client_id) > 100:
            return "clientOrderIdTooLong"
        if order.client_id and any(other.client_id == order.client_id for other in self.orders):
            return "clientOrderIdAlreadyExist"
        held = self.positions[order.symbol]
        after = held + (order.quantity if order.side == "BUY" else -order.quantity)
        notional = self._notional(self.positions | {order.symbol: after})
        if abs(after) > abs(held) and notional > (self.collateral + self._unrealised()) * self.leverage:
            return "insufficientAvailableFunds"
        return ""

    def _notional(self, positions: dict[str, Decimal]) -> Decimal:
        return sum((abs(held) * self.price(name) for name, held in positions.items()), Decimal(0))

    def _unrealised(self) -> Decimal:
        parts = (held * (self.price(name) - self.entries[name]) for name, held in self.positions.items())
        return sum(parts, Decimal(0))

    def _find(self, query: dict[str, list[str]]) -> Order | None:
        wanted, client_id = query.get("order_id", [""])[0], query.get("cliOrdId", [""])[0]
        for order in self.orders:
            if self._ids[order.order_id] == wanted or (client_id and order.client_id == client_id):
                return order
        return None

    def _check_symbol(self, query: dict[str, list[str]]) -> str:
        (symbol,) = query.get("symbol", [""])
        if symbol not in self.markets:
            raise KrakenError("contractNotFound")
        return symbol

    def _plain(self, order: Order) -> dict[str, Any]:
        kind = "lmt" if order.kind == "LIMIT" and order.time_in_force == "GTC" else "ioc"
        return {
            "orderId": self._ids[order.order_id], "cliOrdId": order.client_id or None, "type": kind,
            "symbol": order.symbol, "side": order.side.lower(), "quantity": float(order.quantity),
            "filled": float(order.executed), "limitPrice": float(order.price), "reduceOnly": False,
            "timestamp": iso(order.time), "lastUpdateTimestamp": iso(order.updated),
        }  # fmt: skip

    def _note(self, kind: str, order: Order, reason: str) -> None:
        words = {"uid": self._ids[order.order_id], "accountUid": UID, "tradeable": order.symbol,
                 "direction": order.side.capitalize(), "quantity": f"{order.quantity - order.executed}",
                 "filled": f"{order.executed}", "timestamp": str(order.time), "limitPrice": f"{order.price}",
                 "orderType": "Limit" if order.kind == "LIMIT" and order.time_in_force == "GTC" else "IoC",
                 "clientId": order.client_id, "reduceOnly": False,
                 "lastUpdateTimestamp": str(self.now_ms)}  # fmt: skip
        body = {"newOrder": words, "oldOrder": words} if kind == "OrderUpdated" else {"order": words}
        event = {kind: body | {"reason": reason, "reducedQuantity": "", "algoId": ""}}
        self.events.append({"uid": self._uuid(), "timestamp": str(self.now_ms), "event": event})

    def _log_row(self, symbol: str, asset: str, info: str, before: Decimal, after: Decimal, **parts: Any) -> None:
        self.log.append({
            "asset": asset, "booking_uid": self._uuid(), "contract": symbol.lower(), "date": iso(self.now_ms),
            "execution": None, "fee": None, "funding_rate": None, "id": len(self.log) + 1, "info": info,
            "margin_account": "flex", "mark_price": float(self.price(symbol)), "new_balance": float(after),
            "old_balance": float(before), "realized_funding": None, "realized_pnl": None, "trade_price": None,
        } | parts)  # fmt: skip

    def _uuid(self) -> str:
        return str(uuid.UUID(int=self._uuids.getrandbits(128), version=4))

    def _success(self, **parts: Any) -> dict[str, Any]:
        return {"result": "success", "serverTime": iso(self.now_ms)} | parts


def _name_of(symbol: str) -> str:
    """Return Kraken's name of a perpetual that ccxt names `symbol`."""
    base, quote = symbol.split(":")[0].split("/")
    return f"PF_{base.replace('BTC', 'XBT')}{quote}"


def iso(now_ms: int) -> str:
    """Return an instant as Kraken writes it."""
    return datetime.fromtimestamp(now_ms / 1_000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
