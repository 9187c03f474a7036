"""One gate: a measure, a limit and one comparison that denial, headroom and explanation share."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from peak_trade.core.values import AccountView, Denial, MarketView, Order, Side
from peak_trade.risk.codes import DenialCode
from peak_trade.risk.limits import RiskLimits

LARGEST = 1e15
"""No amount, price or quantity beyond this is believed."""
_END_OF_TIME = 2**63
BUY, SELL = Side.BUY, Side.SELL
"""Members by name: looking one up on its class costs as much as a whole comparison."""

Measure = Callable[[Order, AccountView, MarketView, RiskLimits], tuple[float, float]]
"""Returns what is observed and the limit on it; raises anything when an input can't be read."""


_Row = tuple[tuple[Measure, bool, DenialCode], ...]


class UnreadableError(ValueError):
    """An input that no limit can be held against."""


class Reading(NamedTuple):
    """What one gate saw: headroom is how far the observed value may still move, negative when denied, NaN unread.

    Where an input could not be read, `reason` says which; the limit is then the one that is set, as it is written.
    """

    code: str
    setting: str
    observed: float
    limit: float
    headroom: float
    is_denied: bool
    reason: str = ""


@dataclass(frozen=True, slots=True)
class RiskGate:
    """A gate made of a measure. Pure and total: whatever can't be read denies.

    `setting` is the dotted name of the limit in RiskLimits, empty when the gate is always asked. A gate that
    `relieves` lets a purely reducing order pass whatever it observes. The limit of one that `ramps` is multiplied by
    the account's ramp.
    """

    code: DenialCode
    setting: str
    measure: Measure
    is_floor: bool = False
    relieves: bool = True
    ramps: bool = False

    def measured(
        self, order: Order, account: AccountView, market: MarketView, limits: RiskLimits
    ) -> tuple[float, float]:
        """Return what is observed and the limit in force; raises anything when an input can't be read."""
        observed, limit = self.measure(order, account, market, limits)
        return observed, limit * ramp_of(account) if self.ramps else limit

    def __call__(self, order: Order, account: AccountView, market: MarketView, limits: RiskLimits) -> Denial | None:
        """Return the refusal of an order, or None."""
        try:
            observed, limit = self.measured(order, account, market, limits)
            if 0.0 <= (observed - limit if self.is_floor else limit - observed) < math.inf:
                return None
        except Exception:  # fail closed: a gate never raises, and what it can't read it refuses
            observed = limit = math.nan
        if self.relieves and reduces(order, account):
            return None
        return Denial(self.code, float(observed), float(limit))

    def read(self, order: Order, account: AccountView, market: MarketView, limits: RiskLimits) -> Reading:
        """Return observed value, limit and headroom, from the same measure and comparison as the answer."""
        denial, reason = self(order, account, market, limits), ""
        try:
            observed, limit = self.measured(order, account, market, limits)
        except Exception as error:  # as above
            observed, limit, reason = math.nan, _limit_set(limits, self.setting), _told(error)
        headroom = observed - limit if self.is_floor else limit - observed
        is_denied = denial is not None
        return Reading(self.code, self.setting, float(observed), float(limit), float(headroom), is_denied, reason)


class GateChain(tuple[RiskGate, ...]):
    """Gates in the order in which they are asked."""

    _ceilings: tuple[Measure, ...]
    _floors: tuple[Measure, ...]
    _binding: _Row
    _ramped: _Row

    def __new__(cls, gates: Iterable[RiskGate]) -> GateChain:
        """Make a row of gates."""
        row = super().__new__(cls, gates)
        row._ceilings = tuple(gate.measure for gate in row if not gate.is_floor)
        row._floors = tuple(gate.measure for gate in row if gate.is_floor)
        row._ramped = tuple((gate.measured if gate.ramps else gate.measure, gate.is_floor, gate.code) for gate in row)
        row._binding = tuple((gate.measure, gate.is_floor, gate.code) for gate in row if not gate.relieves)
        return row

    def denials(self, order: Order, account: AccountView, market: MarketView, limits: RiskLimits) -> tuple[Denial, ...]:
        """Return what every gate says, as calling each one would; what relieves a reducing order is not measured.

        First whether any denies, and only then which and why: nearly every order passes, and all of its time is here.
        """
        asked, infinity = self._ramped, math.inf
        try:
            if order.is_reducing is True and reduces(order, account):
                asked = self._binding
            elif account.ramp.__class__ is float and account.ramp == 1.0:
                for measure in self._ceilings:
                    observed, limit = measure(order, account, market, limits)
                    if not 0.0 <= limit - observed < infinity:
                        break
                else:
                    for measure in self._floors:
                        observed, limit = measure(order, account, market, limits)
                        if not 0.0 <= observed - limit < infinity:
                            break
                    else:
                        return ()
        except Exception:  # what can't be read is denied below
            asked = self._ramped
        denied: list[Denial] = []
        for measure, is_floor, code in asked:
            try:
                observed, limit = measure(order, account, market, limits)
                if 0.0 <= (observed - limit if is_floor else limit - observed) < infinity:
                    continue
            except Exception:  # fail closed, as in RiskGate
                observed = limit = math.nan
            denied.append(Denial(code, float(observed), float(limit)))
        return tuple(denied)


def ramp_of(account: AccountView) -> float:
    """Return the share of the size limits in force; UnreadableError when it is none."""
    share = positive(account.ramp)
    if share > 1.0:
        raise UnreadableError(f"a ramp of {share} is not a share")
    return share


def number(value: Any) -> float:
    """Return a finite number of believable size as a float; UnreadableError otherwise, for a bool too."""
    kind = value.__class__
    if (kind is float or kind is int) and -LARGEST < value < LARGEST:
        return value  # type: ignore[no-any-return]
    if isinstance(value, (float, int)) and not isinstance(value, bool) and -LARGEST < value < LARGEST:
        return float(value)
    raise UnreadableError(f"{value!r} is not a number that a limit can be held against")


def positive(value: Any) -> float:
    """Return a number above zero; UnreadableError otherwise."""
    if value.__class__ is float and 0.0 < value < LARGEST:
        return value
    amount = number(value)
    if amount > 0.0:
        return amount
    raise UnreadableError(f"{value!r} is not above zero")


def not_negative(value: Any) -> float:
    """Return a number that is zero or above; UnreadableError otherwise."""
    kind = value.__class__
    if (kind is float or kind is int) and 0.0 <= value < LARGEST:
        return value  # type: ignore[no-any-return]
    amount = number(value)
    if amount >= 0.0:
        return amount
    raise UnreadableError(f"{value!r} is below zero")


def instant(value: Any) -> int:
    """Return an instant in ns UTC; UnreadableError otherwise."""
    if value.__class__ is int and 0 < value < _END_OF_TIME:
        return value
    if isinstance(value, int) and not isinstance(value, bool) and 0 < value < _END_OF_TIME:
        return int(value)
    raise UnreadableError(f"{value!r} is not an instant")


def side_sign(order: Order) -> float:
    """Return +1.0 for a buy, -1.0 for a sell; UnreadableError for anything else."""
    side = order.side
    if side is BUY:
        return 1.0
    if side is SELL:
        return -1.0
    raise UnreadableError(f"{order.side!r} is not a side")


def reduces(order: Order, account: AccountView) -> bool:
    """Return whether an order that claims to be reducing can only bring its position nearer to zero."""
    try:
        if order.is_reducing is not True:
            return False
        held, quantity = number(account.positions[order.symbol]), positive(order.quantity)
        return held * side_sign(order) < 0.0 and quantity <= abs(held)
    except Exception:  # a position that can't be read can't be reduced
        return False


def _limit_set(limits: object, setting: str) -> float:
    """Return the limit of a setting that is one; NaN for a window, a switch or none."""
    value: Any = limits
    for key in setting.split("."):
        value = getattr(value, key, None)
    is_limit = setting.rpartition(".")[2].startswith(("max_", "min_"))
    return float(value) if is_limit and isinstance(value, (int, float)) else math.nan


def _told(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"there is no {error.args[0]}" if error.args else "a key is missing"
    return str(error) or type(error).__name__
