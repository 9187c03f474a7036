"""Reduce a position or an order to the size that the limits allow, instead of having it denied."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

import numpy as np
from msgspec.structs import replace

from peak_trade.core.errors import DataError
from peak_trade.core.history import ReturnHistory
from peak_trade.core.rounding import floor_to
from peak_trade.core.values import AccountView, MarketView, Order
from peak_trade.risk.codes import DenialCode
from peak_trade.risk.gate import Proposal, RiskGate, UnreadableError, number, ramp_of, reduces, side_sign
from peak_trade.risk.limits import RiskLimits, VarLimits
from peak_trade.risk.portfolio_gates import portfolios_after
from peak_trade.risk.var import estimate

_N_HALVINGS = 40
_N_HALVINGS_OF_AN_ORDER = 12
TARGET_FRACTION = 0.999
"""Fraction of the limit that is sized to; the rest is a margin for lots and rounding."""
_RTOL = 1e-15
"""Relative error of a solved size in addition to the one that the number of halvings allows."""
_LEAST = 1e-12
"""Distance below a limit that stands for none."""
_FAR = 1e9
"""Excess over a limit that stands for infinity, and for an order that a gate can not read."""
SIZE_CODES = frozenset(
    {
        DenialCode.MAX_LEVERAGE,
        DenialCode.ORDER_NOTIONAL,
        DenialCode.SYMBOL_EXPOSURE,
        DenialCode.GROSS_EXPOSURE,
        DenialCode.NET_EXPOSURE,
        DenialCode.CONCENTRATION,
        DenialCode.SLIPPAGE,
        DenialCode.TOUCH_DEPTH,
        DenialCode.BOOK_DEPTH,
        DenialCode.DAILY_VOLUME_SHARE,
        DenialCode.BAR_VOLUME_SHARE,
        DenialCode.VALUE_AT_RISK,
        DenialCode.EXPECTED_SHORTFALL,
        DenialCode.STRESS_LOSS,
        DenialCode.PROJECTED_DRAWDOWN,
    }
)
"""Codes of the gates that deny a large order and let a smaller one pass."""

_PORTFOLIO_CODES = frozenset(
    {DenialCode.VALUE_AT_RISK, DenialCode.EXPECTED_SHORTFALL, DenialCode.STRESS_LOSS, DenialCode.PROJECTED_DRAWDOWN}
)
"""Codes of those that measure a loss of the whole portfolio, which an order may lower before it raises it."""


def size_to_var(
    symbol: str, target: float, others: Mapping[str, float], history: ReturnHistory, rules: VarLimits
) -> float:
    """Return the target exposure, reduced if the portfolio would exceed the VaR limit.

    Parameters
    ----------
    symbol : str
    target : float, signed target exposure, fraction of equity
    others : mapping of symbol to signed exposure of the other positions, fractions of equity
    history : ReturnHistory
        Must hold every symbol with an exposure.
    rules : VarLimits
        `max_var` and its estimator. The target is returned if there is no `max_var`.

    Returns
    -------
    float, signed exposure: `target` times a fraction in [0, 1]
        0.0 if the other positions alone use up the limit and this one does not reduce the risk.

    Raises
    ------
    DataError
        If the history lacks a symbol or has days that are not finite.

    Notes
    -----
    Causal: only the history is read. The fraction is found by bisection from below, so the result does not exceed the
    limit even if the estimate is not convex in the exposure.

    """
    if rules.max_var is None or target == 0.0:
        return target
    exposures = {name: exposure for name, exposure in others.items() if exposure and name != symbol}
    names = tuple(sorted({*exposures, symbol}))
    missing = [name for name in names if name not in history.symbols]
    if missing:
        raise DataError(f"{history!r} has no returns of {', '.join(missing)}. Declare a history that has them.")
    part = history.select(names)
    if not part.is_finite:
        raise DataError(f"{part!r} has days that are not finite; size from a complete history.")
    place = names.index(symbol)
    weights = np.array([exposures.get(name, 0.0) for name in names])
    limit = TARGET_FRACTION * rules.max_var

    def excess(fraction: float) -> float:
        weights[place] = fraction * target
        return estimate(weights, part, rules.method, rules.level, rules.ewma_decay)[0] - limit

    over = excess(1.0)
    if over <= 0.0:
        return target
    alone = None if exposures else limit / (limit + over)
    return halved(1.0, _N_HALVINGS, excess, root=alone) * target


def size_to_limits(
    order: Order, account: AccountView, market: MarketView, gates: Sequence[RiskGate], limits: RiskLimits
) -> Order:
    """Return the order, reduced to the largest number of whole lots that every size limit allows.

    `size_to_var` gives the size for the limit on value at risk, whether or not the pending orders fill. If another
    limit is tighter, the size is found by bisection.

    Parameters
    ----------
    order, account, market, limits
        As the gates will see them.
    gates : sequence of RiskGate
        The gate chain; only the gates of SIZE_CODES are asked.

    Returns
    -------
    Order
        The same order if it passes as it is. Also if no smaller order passes: the gate chain then denies it.

    """
    return sized(Proposal(order, account, market, limits), size_gates(gates)).order


def size_gates(gates: Iterable[RiskGate]) -> tuple[RiskGate, ...]:
    """Return the gates of SIZE_CODES."""
    return tuple(gate for gate in gates if gate.code in SIZE_CODES)


def sized(proposal: Proposal, gates: Sequence[RiskGate]) -> Proposal:
    """Return the proposal with the order of `size_to_limits`, and with what the gates measured on that order.

    Parameters
    ----------
    proposal : Proposal
    gates : sequence of RiskGate
        From `size_gates`.

    """
    if _passes(proposal, gates):
        return proposal
    order = proposal.order
    known = {order.quantity: proposal}

    def at(quantity: float) -> Proposal:
        found = known.get(quantity)
        if found is None:
            smaller = replace(order, quantity=quantity)
            found = Proposal(smaller, proposal.account, proposal.market, proposal.limits)
            known[quantity] = found
        return found

    def solved(excess: Callable[[Proposal], float], root: float | None = None) -> float:
        return halved(most, _N_HALVINGS_OF_AN_ORDER, lambda quantity: excess(at(quantity)), root=root)

    sized_to_var = _within_var(proposal)
    most = order.quantity if sized_to_var is None else sized_to_var
    least = most * 2.0**-_N_HALVINGS_OF_AN_ORDER
    if sized_to_var is None and any(_excess(gate, at(least)) >= _FAR for gate in reversed(gates)):
        return proposal
    size, is_simple = most, _is_simple(proposal)
    binding = gates if is_simple else [gate for gate in gates if gate.check(at(most)) is not None]
    if is_simple or not any(gate.code in _PORTFOLIO_CODES for gate in binding):
        for gate in binding:
            over = _excess(gate, at(size))
            if over > 0.0:
                room = -_excess(gate, at(least))
                if room < 0.0:
                    return proposal
                size = solved(partial(_excess, gate), root=least + (size - least) * (room / (room + over)))
    else:
        size = solved(lambda smaller: max([_excess(gate, smaller) for gate in binding]))
    if size > 0.0 and not is_simple and not _passes(at(size), gates):
        size = solved(lambda smaller: float(_n_denying(smaller, gates)))
    reduced = floor_to(size, proposal.market.instrument.lot_size)
    return at(reduced) if reduced > 0.0 else proposal


def _is_simple(proposal: Proposal) -> bool:
    """Return whether the order enlarges the only position, or opens it, and no other order is pending.

    Every loss of the portfolio then rises with the order's size.
    """
    order, account = proposal.order, proposal.account
    try:
        is_alone = not account.pending and all(
            [number(held) == 0.0 for symbol, held in account.positions.items() if symbol != order.symbol]
        )
        return is_alone and number(account.positions.get(order.symbol, 0.0)) * side_sign(order) >= 0.0
    except UnreadableError:
        return False


def _passes(proposal: Proposal, gates: Sequence[RiskGate]) -> bool:
    """Return whether every gate passes a proposal."""
    if reduces(proposal.order, proposal.account) and all([gate.relieves for gate in gates]):
        return True
    return all(gate.check(proposal) is None for gate in gates)


def _n_denying(proposal: Proposal, gates: Sequence[RiskGate]) -> int:
    return sum(gate.check(proposal) is not None for gate in gates)


def _excess(gate: RiskGate, proposal: Proposal) -> float:
    """Return by how much a gate denies a proposal, at most _FAR; zero or less if it does not."""
    try:
        observed, limit = gate.measured(proposal)
    except Exception:  # as in a gate, which denies what it can not read
        return _FAR
    over = limit - observed if gate.is_floor else observed - limit
    return over if over < _FAR else _FAR


def halved(most: float, n_halvings: int, excess: Callable[[float], float], *, root: float | None = None) -> float:
    """Return the largest size that halvings of [0, most] find to have no excess; `most` has one.

    Where the excess rises with the size, only sizes near its root are asked, and the result is that of asking all. An
    estimated `root` states that it rises everywhere: the search then begins there.
    """
    least = most * 2.0**-n_halvings
    if root is not None:
        return _after_halvings(most, n_halvings, _last_place(most, n_halvings, excess, root))
    at_least, root = excess(least), 0.0
    if at_least >= _FAR:
        return 0.0
    if at_least <= 0.0:
        from scipy.optimize import brentq

        # Zero is within the limit: an order that only reduces is measured as the limit.
        root = float(brentq(lambda size: excess(size) or -_LEAST, least, most, xtol=0.25 * least, rtol=_RTOL))
    low, high = 0.0, most
    for _ in range(n_halvings):
        middle = 0.5 * (low + high)
        is_far = root > 0.0 and abs(middle - root) > 0.5 * least
        is_within = middle < root if is_far else excess(middle) <= 0.0
        low, high = (middle, high) if is_within else (low, middle)
    return low


def _last_place(most: float, n_halvings: int, excess: Callable[[float], float], root: float) -> int:
    """Return the last of the places 0 to 2**n_halvings - 1 whose size has no excess, where the excess rises with it.

    The first place to be asked is that of `root`. Then those follow to which a straight line leads between the nearest
    places with and without an excess, and each third time the middle of them.
    """
    low, high = 0, 2**n_halvings
    below = above = 0.0
    place, n_asked = int(root / (most * 2.0**-n_halvings)), 0
    while high - low > 1:
        place = min(max(place, low + 1), high - 1)
        over = excess(_after_halvings(most, n_halvings, place))
        n_asked += 1
        if over <= 0.0:
            low, below = place, over
        else:
            high, above = place, over
        if n_asked % 3 == 0:
            place = (low + high) // 2
        elif above == 0.0:
            place = low + 1
        elif low == 0:
            place = high - 1
        else:
            place = low + int((high - low) * (below / (below - above)))
    return low


def _after_halvings(most: float, n_halvings: int, place: int) -> float:
    """Return `most * place / 2**n_halvings`, rounded as by halving."""
    low, high, rest = 0.0, most, 2**n_halvings
    if place >= rest:
        return most
    while place % rest:
        rest //= 2
        middle = 0.5 * (low + high)
        low, high = (middle, high) if place & rest else (low, middle)
    return low


def _within_var(proposal: Proposal) -> float | None:
    """Return the quantity that `size_to_var` leaves of an order: all of it without such a limit, None if unreadable."""
    order, account, rules = proposal.order, proposal.account, proposal.limits.var
    if rules is None or rules.max_var is None:
        return order.quantity
    try:
        ramp = ramp_of(account)
        in_force = rules if ramp == 1.0 else rules.model_copy(update={"max_var": rules.max_var * ramp})
        change = side_sign(order) * order.quantity * proposal.market.decision_price / account.equity
        fractions = []
        for weights, history in proposal.shared(portfolios_after):
            others = dict(zip(history.symbols, weights.tolist(), strict=True))
            target = others.pop(order.symbol, 0.0)
            sized_target = size_to_var(order.symbol, target, others, history, in_force)
            fractions.append(1.0 + (sized_target - target) / change)
    except (DataError, UnreadableError, KeyError):  # the gate chain denies the order
        return None
    fraction = min(fractions)
    return fraction * order.quantity if 0.0 < fraction < 1.0 else order.quantity
