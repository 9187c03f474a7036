"""Gates: a measure, a limit and one comparison, used for the denial, the headroom and the explanation."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

from peak_trade.core.field_words import LARGEST
from peak_trade.core.values import AccountView, Denial, MarketView, Order, Side
from peak_trade.risk.codes import DenialCode
from peak_trade.risk.limits import RiskLimits

_END_OF_TIME = 2**63
_SUM_RTOL = 1e-12
"""Relative error of a sum of exits: parts that make up the position may exceed it by so much."""
BUY, SELL = Side.BUY, Side.SELL
"""Members by name, because looking one up on its class takes as long as a comparison."""

T = TypeVar("T")


class Proposal:
    """A proposed order together with everything that the gates may read: account, market and limits.

    A proposal lasts for the sizing and the review of one order. `shared` keeps what several gates measure, so it is
    computed once.
    """

    __slots__ = ("_shared", "account", "limits", "market", "order")

    def __init__(self, order: Order, account: AccountView, market: MarketView, limits: RiskLimits) -> None:
        self.order, self.account, self.market, self.limits = order, account, market, limits
        self._shared: dict[Callable[[Proposal], Any], Any] = {}

    def shared(self, compute: Callable[[Proposal], T]) -> T:
        """Return `compute(self)`, computed at most once: after an exception, UnreadableError with the same reason."""
        found: T | _Failure | None = self._shared.get(compute)
        if found is None:
            try:
                found = self._shared[compute] = compute(self)
            except Exception as error:
                self._shared[compute] = _Failure(_reason_of(error))
                raise
        elif isinstance(found, _Failure):
            raise UnreadableError(found.reason)
        return found


Measure = Callable[[Proposal], tuple[float, float]]
"""Returns the observed value and its limit; raises any exception if it cannot read an input."""
_Comparison = tuple[Measure, bool, DenialCode]


class UnreadableError(ValueError):
    """An input cannot be compared with a limit."""


class _Failure(NamedTuple):
    """Why a shared measurement could not be made."""

    reason: str


class Reading(NamedTuple):
    """The observed value of one gate, its limit, and the headroom between them.

    Headroom is negative if the gate denies, and NaN if an input could not be read. `reason` then names that input, and
    `limit` is the limit as it is set. `detail` is what a gate says about its observed value; most say nothing.
    """

    code: str
    setting: str
    observed: float
    limit: float
    headroom: float
    is_denied: bool
    reason: str = ""
    detail: str = ""


def _nothing(proposal: Proposal) -> str:
    return ""


@dataclass(frozen=True, slots=True)
class RiskGate:
    """A gate made of a measure. It is pure and total: an input that it cannot read is denied.

    Parameters
    ----------
    code : DenialCode
    setting : str
        Dotted name of the limit in RiskLimits; empty if the gate is always asked.
    measure : Measure
    is_floor : bool
        Whether the observed value must be at least the limit; otherwise at most.
    relieves : bool
        Whether a purely reducing order passes, whatever the gate observes.
    ramps : bool
        Whether the limit is multiplied by the account's ramp.
    describe : callable, optional
        Returns the detail of a reading: where the observed value comes from.

    """

    code: DenialCode
    setting: str
    measure: Measure
    is_floor: bool = False
    relieves: bool = True
    ramps: bool = False
    describe: Callable[[Proposal], str] = _nothing

    def __call__(self, order: Order, account: AccountView, market: MarketView, limits: RiskLimits) -> Denial | None:
        """Return the denial of an order, or None."""
        return self.check(Proposal(order, account, market, limits))

    def check(self, proposal: Proposal) -> Denial | None:
        """Return the denial of a proposal, or None."""
        try:
            observed, limit = self.measured(proposal)
            if 0.0 <= (observed - limit if self.is_floor else limit - observed) < math.inf:
                return None
        except Exception:  # fail closed: a gate never raises, it denies what it cannot read
            observed = limit = math.nan
        if self.relieves and reduces(proposal.order, proposal.account):
            return None
        return Denial(self.code, float(observed), float(limit))

    def measured(self, proposal: Proposal) -> tuple[float, float]:
        """Return the observed value and the limit in force; raises any exception if an input cannot be read."""
        observed, limit = self.measure(proposal)
        if not self.ramps:
            return observed, limit
        ramp = proposal.account.ramp
        return observed, limit if ramp.__class__ is float and ramp == 1.0 else limit * ramp_of(proposal.account)

    def read(self, order: Order, account: AccountView, market: MarketView, limits: RiskLimits) -> Reading:
        """Return the reading of one order, by the same measure and comparison as the denial."""
        return self.reading(Proposal(order, account, market, limits))

    def reading(self, proposal: Proposal) -> Reading:
        """Return the reading of a proposal, by the same measure and comparison as the denial."""
        denial, reason, detail = self.check(proposal), "", ""
        try:
            observed, limit = self.measured(proposal)
            detail = self.describe(proposal)
        except Exception as error:  # as above
            observed, limit, reason = math.nan, _limit_as_set(proposal.limits, self.setting), _reason_of(error)
        headroom = observed - limit if self.is_floor else limit - observed
        is_denied = denial is not None
        numbers = float(observed), float(limit), float(headroom)
        return Reading(self.code, self.setting, *numbers, is_denied, reason, detail)


class GateChain(tuple[RiskGate, ...]):
    """Gates in the order in which they are asked."""

    _plain: tuple[_Comparison, ...]
    _ramped: tuple[_Comparison, ...]
    _binding: tuple[_Comparison, ...]
    _has_relief: bool

    def __new__(cls, gates: Iterable[RiskGate]) -> GateChain:
        """Create a chain of gates."""
        chain = super().__new__(cls, gates)
        chain._plain = tuple((gate.measure, gate.is_floor, gate.code) for gate in chain)
        chain._ramped = tuple(
            (gate.measured if gate.ramps else gate.measure, gate.is_floor, gate.code) for gate in chain
        )
        chain._binding = tuple((gate.measure, gate.is_floor, gate.code) for gate in chain if not gate.relieves)
        chain._has_relief = any(gate.relieves for gate in chain)
        return chain

    def denials(self, order: Order, account: AccountView, market: MarketView, limits: RiskLimits) -> tuple[Denial, ...]:
        """Return the denials of all gates, equal to calling each gate."""
        return self.denials_of(Proposal(order, account, market, limits))

    def denials_of(self, proposal: Proposal) -> tuple[Denial, ...]:
        """Return the denials of all gates for a proposal, equal to calling each gate.

        For a purely reducing order the gates that relieve it are not measured.
        """
        order, account = proposal.order, proposal.account
        asked, infinity = self._ramped, math.inf
        try:
            if self._has_relief and order.is_reducing is True and reduces(order, account):
                asked = self._binding
            elif account.ramp.__class__ is float and account.ramp == 1.0:
                asked = self._plain
        except Exception:  # a view that cannot be read is denied below
            asked = self._ramped
        denied: list[Denial] = []
        for measure, is_floor, code in asked:
            try:
                observed, limit = measure(proposal)
                if 0.0 <= (observed - limit if is_floor else limit - observed) < infinity:
                    continue
            except Exception:  # fail closed, as in RiskGate
                observed = limit = math.nan
            denied.append(Denial(code, float(observed), float(limit)))
        return tuple(denied)

    def readings(
        self, order: Order, account: AccountView, market: MarketView, limits: RiskLimits
    ) -> tuple[Reading, ...]:
        """Return the reading of every gate."""
        proposal = Proposal(order, account, market, limits)
        return tuple(gate.reading(proposal) for gate in self)


def ramp_of(account: AccountView) -> float:
    """Return the fraction of the size limits that is in force; UnreadableError if it is not in (0, 1]."""
    ramp = positive(account.ramp)
    if ramp > 1.0:
        raise UnreadableError(f"a ramp of {ramp} is above 1")
    return ramp


def number(value: Any) -> float:
    """Return a finite number below LARGEST as a float; UnreadableError otherwise, also for a bool."""
    kind = value.__class__
    if (kind is float or kind is int) and -LARGEST < value < LARGEST:
        amount: float = value
        return amount
    if isinstance(value, (float, int)) and not isinstance(value, bool) and -LARGEST < value < LARGEST:
        return float(value)
    raise UnreadableError(f"{value!r} is not a number that can be compared with a limit")


def positive(value: Any) -> float:
    """Return a number above zero; UnreadableError otherwise."""
    if value.__class__ is float and 0.0 < value < LARGEST:
        return value
    amount = number(value)
    if amount > 0.0:
        return amount
    raise UnreadableError(f"{value!r} is not above zero")


def not_negative(value: Any) -> float:
    """Return a number that is at least zero; UnreadableError otherwise."""
    kind = value.__class__
    if (kind is float or kind is int) and 0.0 <= value < LARGEST:
        read: float = value
        return read
    amount = number(value)
    if amount >= 0.0:
        return amount
    raise UnreadableError(f"{value!r} is below zero")


def instant(value: Any) -> int:
    """Return a time in ns UTC; UnreadableError otherwise."""
    if value.__class__ is int and 0 < value < _END_OF_TIME:
        return value
    if isinstance(value, int) and not isinstance(value, bool) and 0 < value < _END_OF_TIME:
        return int(value)
    raise UnreadableError(f"{value!r} is not a time")


def side_sign(order: Order) -> float:
    """Return +1.0 for a buy, -1.0 for a sell; UnreadableError for any other side."""
    side = order.side
    if side is BUY:
        return 1.0
    if side is SELL:
        return -1.0
    raise UnreadableError(f"{order.side!r} is not a side")


def reduces(order: Order, account: AccountView) -> bool:
    """Return whether an order that claims to be reducing can only bring its position nearer to zero.

    The exits that are open already may fill first.
    """
    try:
        if order.is_reducing is not True:
            return False
        held, quantity = number(account.positions[order.symbol]), positive(order.quantity)
        exiting = not_negative(account.open_exits)
        room = abs(held) * (1.0 + _SUM_RTOL) if exiting else abs(held)
        return held * side_sign(order) < 0.0 and quantity + exiting <= room
    except Exception:  # a position that cannot be read is not known to be reduced
        return False


def _limit_as_set(limits: object, setting: str) -> float:
    """Return the value of a limit; NaN if the setting is a window or a switch, or is not set."""
    value: Any = limits
    for key in setting.split("."):
        value = getattr(value, key, None)
    is_limit = setting.rpartition(".")[2].startswith(("max_", "min_"))
    return float(value) if is_limit and isinstance(value, (int, float)) else math.nan


def _reason_of(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"there is no {error.args[0]}" if error.args else "a key is missing"
    return str(error) or type(error).__name__
