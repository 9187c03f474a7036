"""Which data sets are of one asset: by the alias of their names, or by their returns."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from peak_trade.core.arrays import BoolArray, FloatArray, IntArray
from peak_trade.core.calendar import NS_PER_DAY
from peak_trade.core.digest import digest_of
from peak_trade.core.time import NS_PER_SECOND

if TYPE_CHECKING:
    from peak_trade.core.bars import Bars

UNNAMED = "X/USD"
"""Symbol of a DataFrame without one, which names no asset."""
ALIASES = {"XBT": "BTC", "XDG": "DOGE"}
"""Names of currencies at an exchange, and their common ones."""
SAME_CORRELATION = 0.98
"""Correlation of daily log returns above which two names are one asset."""
SAME_DAYS = 30
"""Days of a shared span from which returns are correlated; on a shorter one they must be equal."""
MIN_CORRELATED = 20
"""Fewest returns of which a correlation is taken; fewer must be equal."""
EQUAL_RETURN = 1e-5
"""Largest difference of two log returns that count as equal: prices are rounded, and stored as float32."""
EQUAL_FRACTION = 0.9
"""Part of the returns that must be equal; a missing bar changes two of them."""
MIN_EQUAL = 2
"""Fewest equal returns that are not zero."""
_STEPS = (NS_PER_DAY, 3_600 * NS_PER_SECOND, 60 * NS_PER_SECOND, NS_PER_SECOND)


@dataclass(frozen=True, slots=True, eq=False)
class Closes:
    """The closes of a data set once per step: per day, or per hour, minute or second if it has less than 30 days.

    `values` has shape (n_steps,): the logarithm of the last close of each step over the first one, NaN for a step
    without one. Step k ends at (first_step + k + 1) × `step_ns` after 1970, UTC. Only closes at the end of a step count
    if there are three, else those at one time before it if there are three, so that returns are between equal times.
    """

    symbol: str
    exchange: str
    timeframe: str
    step_ns: int
    first_step: int
    values: FloatArray

    @classmethod
    def of(cls, bars: Bars) -> Closes:
        """Return the closes of bars at the longest step of which they have at least 30, else per second."""
        times = bars.times
        span = int(times[-1]) - int(times[0])
        step = next((each for each in _STEPS if span >= SAME_DAYS * each), _STEPS[-1])
        first = (int(times[0]) - 1) // step
        steps = np.arange(first, (int(times[-1]) - 1) // step + 1)
        place = np.searchsorted(times, (steps + 1) * step, side="right") - 1
        close = bars.frame["close"].to_numpy()[place]
        values = np.log(close / close[0])
        values[~_at_one_time((steps + 1) * step - times[place], step)] = np.nan
        return cls(bars.symbol, bars.exchange, str(bars.timeframe), step, first, values)

    @classmethod
    def decode(cls, content: Mapping[str, Any]) -> Closes:
        """Return the closes of a line of the ledger; ValueError when its values are no base64. See `encode`."""
        names = ("symbol", "exchange", "timeframe", "step_ns", "first_step")
        return cls(**{name: content[name] for name in names}, values=decode_array(content["values"], "<f4"))

    def encode(self) -> dict[str, Any]:
        """Return the closes as a line of the ledger, with values as float32 in base64 and with an id."""
        content = {
            "symbol": self.symbol,
            "exchange": self.exchange,
            "timeframe": self.timeframe,
            "step_ns": self.step_ns,
            "first_step": self.first_step,
            "values": encode_array(self.values, "<f4"),
        }
        return {"kind": "data", "id": digest_of(content), **content}

    def at(self, step_ns: int) -> tuple[IntArray, FloatArray]:
        """Return the numbers of the steps of a longer length that end with a close, and the values there."""
        ends = (self.first_step + 1 + np.arange(self.values.size)) * self.step_ns
        known = (ends % step_ns == 0) & np.isfinite(self.values)
        return ends[known] // step_ns, self.values[known]


def asset_name(symbol: str) -> str:
    """Return a symbol without separators, the settlement of a future, and the names that one exchange uses.

    Examples
    --------
    >>> asset_name("XBT-USD"), asset_name("btc/usdt:USDT"), asset_name("BTCUSDT")
    ('BTCUSD', 'BTCUSDT', 'BTCUSDT')

    """
    name = re.sub(r"[^A-Z0-9]", "", symbol.upper().split(":")[0])
    for own, common in ALIASES.items():
        name = re.sub(rf"^X?{own}", common, name)
    return name


def is_same_asset(one: Closes, other: Closes) -> bool:
    """Return whether two data sets are of one asset: by the alias of their names, or by `have_same_returns`."""
    if UNNAMED not in (one.symbol, other.symbol) and asset_name(one.symbol) == asset_name(other.symbol):
        return True
    if one.symbol == other.symbol and (one.step_ns, one.first_step) == (other.step_ns, other.first_step):
        stored, known = one.values.astype(np.float32), other.values.astype(np.float32)
        if np.array_equal(stored, known, equal_nan=True):  # bars without a name, too few for returns
            return True
    return have_same_returns(one, other)


@lru_cache(maxsize=100_000)
def have_same_returns(one: Closes, other: Closes) -> bool:
    """Return whether the log returns of two data sets, between the closes that both have, show one asset.

    On a shared span of at least 30 days with 20 returns, their correlation must be above 0.98; 30 days have 29 daily
    returns where they begin within a day. On a shorter span 90 % of the returns that are not zero must be equal, and at
    least two. Prices in another unit have the same returns.
    """
    step = max(one.step_ns, other.step_ns)
    (ours, left), (theirs, right) = one.at(step), other.at(step)
    shared, ours_at, theirs_at = np.intersect1d(ours, theirs, assume_unique=True, return_indices=True)
    if shared.size < MIN_EQUAL + 1:
        return False
    returns, others = np.diff(left[ours_at]), np.diff(right[theirs_at])
    is_long = int(shared[-1] - shared[0]) * step >= SAME_DAYS * NS_PER_DAY - step and returns.size >= MIN_CORRELATED
    if is_long and min(returns.std(), others.std()) > EQUAL_RETURN:
        return float(np.corrcoef(returns, others)[0, 1]) > SAME_CORRELATION
    moves = np.maximum(np.abs(returns), np.abs(others)) > EQUAL_RETURN
    n_equal = int((np.abs(returns - others)[moves] <= EQUAL_RETURN).sum())
    return n_equal >= max(MIN_EQUAL, EQUAL_FRACTION * int(moves.sum()))


def _at_one_time(before_end: IntArray, step_ns: int) -> BoolArray:
    """Return which steps have a close at the time of a step that most of them have; see `Closes`."""
    has_close: BoolArray = before_end < step_ns
    at_end: BoolArray = before_end == 0
    if at_end.sum() > MIN_EQUAL:
        return at_end
    offsets, counts = np.unique(before_end[has_close], return_counts=True)
    at_usual: BoolArray = before_end == offsets[counts.argmax()]
    return at_usual if at_usual.sum() > MIN_EQUAL else has_close


def encode_array(values: Any, kind: str) -> str:
    """Return an array as base64 of its numbers in C order, of a NumPy type such as <f4; too large ones are infinite."""
    with np.errstate(over="ignore"):
        numbers = np.ascontiguousarray(values, kind)
    return base64.b64encode(numbers.tobytes()).decode("ascii")


def decode_array(text: str, kind: str) -> FloatArray:
    """Return the float64 array of one dimension that `encode_array` wrote; ValueError for another text."""
    return np.frombuffer(base64.b64decode(text, validate=True), kind).astype(np.float64)
