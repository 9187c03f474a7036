"""Inputs of one decision of the gates, and their lossless JSON form."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from enum import StrEnum
from typing import Any, NamedTuple

import numpy as np

from peak_trade.core.arrays import FloatArray
from peak_trade.core.digest import canonical_json
from peak_trade.core.errors import DataError, SessionError
from peak_trade.core.history import ReturnHistory, WeightHistory
from peak_trade.core.settings import Settings
from peak_trade.core.values import (
    AccountView,
    Instrument,
    MarketView,
    Order,
    OrderBook,
    OrderType,
    PastFill,
    PastOrder,
    Side,
    TimeInForce,
    TradingState,
    Value,
)


class DecisionInputs(NamedTuple):
    """Order, account, market and limits of one decision; `limits` is a Settings object."""

    order: Order
    account: AccountView
    market: MarketView
    limits: Settings

    def to_json(self) -> str:
        """Return canonical JSON from which `read_inputs` restores equal views.

        The return history is reduced to the symbols that are held, pending or ordered, or in the daily weights; gates
        use no others. Open exits, daily weights and a leverage other than 1 are left out where there are none, as in
        journals of earlier versions.
        """
        content = {name: _encode(getattr(self, name)) for name in ("order", "account", "market")}
        if not self.account.open_exits:
            del content["account"]["open_exits"]
        if self.account.daily_weights is None:
            del content["account"]["daily_weights"]
        instrument = content["market"]["instrument"]
        if isinstance(instrument, dict) and instrument.get("max_leverage") == 1.0:
            del instrument["max_leverage"]
        content["market"]["returns"] = _encode_history(self.market.returns, self._symbols())
        content["limits"] = self.limits.model_dump(mode="json")
        return canonical_json(content)

    def _symbols(self) -> set[str]:
        held = (
            {str(symbol) for symbol in self.account.positions} if isinstance(self.account.positions, Mapping) else set()
        )
        weights = self.account.daily_weights
        weighted = set(weights.symbols) if isinstance(weights, WeightHistory) else set()
        return held | weighted | {str(entry[0]) for entry in self.account.pending} | {str(self.order.symbol)}


def read_inputs(text: str) -> tuple[Order, AccountView, MarketView, dict[str, Any]]:
    """Return the order, account, market and limit values of a decision's JSON.

    Raises
    ------
    SessionError
        If the text was not written by `DecisionInputs.to_json`.

    """
    try:
        content = json.loads(text)
        order = _decode(content["order"])
        account = _decode(content["account"])
        market = _decode(content["market"])
        return (
            Order(
                **order
                | {
                    "side": _member(Side, order["side"]),
                    "order_type": _member(OrderType, order["order_type"]),
                    "time_in_force": _member(TimeInForce, order["time_in_force"]),
                }
            ),
            AccountView(
                **account
                | {
                    "state": _member(TradingState, account["state"]),
                    "pending": tuple(tuple(entry) for entry in account["pending"]),
                    "recent_orders": tuple(
                        PastOrder(*entry)._replace(side=_member(Side, entry[4])) for entry in account["recent_orders"]
                    ),
                    "recent_fills": tuple(
                        PastFill(*entry)._replace(side=_member(Side, entry[3])) for entry in account["recent_fills"]
                    ),
                    "throttled": tuple(account["throttled"]),
                    "daily_weights": _weights(account.get("daily_weights")),
                }
            ),
            MarketView(
                **market
                | {
                    "instrument": Instrument(**market["instrument"]),
                    "book": None if market["book"] is None else _book(market["book"]),
                    "returns": None if market["returns"] is None else _history(market["returns"]),
                }
            ),
            content["limits"],
        )
    except (AttributeError, DataError, KeyError, TypeError, ValueError) as error:
        raise SessionError(f"the inputs of a decision could not be read ({error!r}); the journal is damaged.") from None


def _encode(value: Any) -> Any:
    if isinstance(value, StrEnum):
        return str(value)
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else {"float": repr(float(value))}
    if isinstance(value, int):
        return int(value)
    if isinstance(value, ReturnHistory):
        return None
    if isinstance(value, WeightHistory):
        days = {"as_of": value.as_of, "symbols": list(value.symbols), "n_days": value.n_days}
        return days | {"float64": _encode_array(value.weights)}
    if isinstance(value, (tuple, list)):
        return [_encode(entry) for entry in value]
    if isinstance(value, Mapping):
        return {str(key): _encode(entry) for key, entry in value.items()}
    if isinstance(value, Value):
        return {name: _encode(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, Instrument):
        return _encode(asdict(value))
    return {"unreadable": repr(value)}


def _encode_history(history: Any, symbols: set[str]) -> Any:
    if not isinstance(history, ReturnHistory):
        return None if history is None else {"unreadable": repr(history)}
    kept = tuple(symbol for symbol in history.symbols if symbol in symbols)
    part = history.select(kept)
    return {
        "source": part.source,
        "as_of": part.as_of,
        "symbols": list(kept),
        "n_days": part.n_days,
        "float64": _encode_array(part.returns),
    }


def _encode_array(values: FloatArray) -> str:
    return base64.b64encode(values.astype("<f8").tobytes()).decode("ascii")


def _decode(value: Any) -> Any:
    if isinstance(value, dict):
        return float(value["float"]) if set(value) == {"float"} else {key: _decode(part) for key, part in value.items()}
    return [_decode(part) for part in value] if isinstance(value, list) else value


def _member(enum: type[StrEnum], value: Any) -> Any:
    return enum(value) if value in list(enum) else value


def _book(content: dict[str, Any]) -> Any:
    if "ts_event" not in content:
        return content
    sides = {side: tuple(tuple(level) for level in content[side]) for side in ("bids", "asks")}
    return OrderBook(content["ts_event"], **sides)


def _history(content: dict[str, Any]) -> Any:
    if "float64" not in content:
        return content
    return ReturnHistory(content["source"], content["as_of"], content["symbols"], _rows(content))


def _weights(content: Any) -> Any:
    if not isinstance(content, dict) or "float64" not in content:
        return content
    return WeightHistory(content["as_of"], content["symbols"], _rows(content))


def _rows(content: dict[str, Any]) -> FloatArray:
    """Return the rows of a history, shape (n_symbols, n_days)."""
    rows = np.frombuffer(base64.b64decode(content["float64"]), dtype="<f8")
    return rows.reshape(len(content["symbols"]), content["n_days"])
