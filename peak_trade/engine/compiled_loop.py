"""The compiled event loop: the runs of market orders without limits and protective orders, as columns.

It does what `EventLoop` does with a `SleeveTrader` or a `NettedTrader` and a `SimulatedVenue`, with the same sums in
the same order, so all results are equal bit for bit. `EventLoop` is the reference: a rule is changed there first. A run
that this loop does not follow to the end is left to the reference.
"""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import math
from enum import IntEnum
from typing import NamedTuple

import numpy as np
from numba import float64, from_dtype, int64, njit, types
from numpy.typing import NDArray

Table = NDArray[np.void]
"""A table of one of the types below."""


class Code(IntEnum):
    """Kind of an entry in the table of events; each cause of the end of an order has its own."""

    SIGNAL = 0
    REQUESTED = 1
    DENIED = 2
    SUBMITTED = 3
    ACCEPTED = 4
    PARTIALLY_FILLED = 5
    FILLED = 6
    REPLACED = 7
    NO_CASH = 8
    LAPSED = 9
    EXPIRED = 10
    FUNDING = 11
    BORROW = 12
    ALLOCATION = 13


def _table(**names: str) -> np.dtype[np.void]:
    """Return the type of a table from the names of its columns by their types.

    Its rows have the columns as attributes, so that the loop runs without its compiler, too (NUMBA_DISABLE_JIT=1).
    """
    return np.dtype((np.record, [(name, kind) for kind, columns in names.items() for name in columns.split()]))


EVENT = _table(f8="value", i8="ts_event", i4="code place")
"""Time (ns UTC), kind, and the row that it is about: a sleeve for signals and cash flows, a trade, movement or order.

`value` is the target of a signal, the amount of a cash flow, and what an order that ends has traded.
"""
ORDER = _table(f8="sign quantity decision_price", i8="sleeve bar is_reducing denials")
"""Sleeve, bar of the decision, sign of the side, and the gates that denied it: bit n for instrument gate n."""
TRADE = _table(f8="quantity price fee reference_price arrival_price cumulative", i8="order bar ts_event")
"""One row per fill; `cumulative` is what its order has traded until then."""
BOOKING = _table(f8="cash held", i8="bar symbol")
"""One row per fill or cash flow: the account's cash, and the position in the symbol after a fill, NaN for a flow."""
MOVEMENT = _table(f8="quantity price cost", i8="bar sleeve order")
"""What a sleeve gets of a fill, a cash flow or a cross; `order` is -1 for the last two."""

SYMBOL = _table(
    f8="tick ticks lot lots min_notional most_leverage quantity volume_left",
    i8="is_shortable has_gaps volume_bar",
)
"""Trading rules of a symbol, its position, and the volume that fills may still take in bar `volume_bar`.

`ticks` and `lots` are the whole numbers of them in one unit, 0 if there is no such number.
"""
SLEEVE = _table(
    f8="target position leaves wanted change done ordered traded",
    i8="symbol rank order awaits_scale holder is_changing stays n_demands crosses_at",
)
"""State of a sleeve or of the holder that orders for netted sleeves, which come after all sleeves.

`order` is its open order, -1 for none, and `rank` sorts simultaneous orders. A sleeve that trades on its own is its own
`holder`. Names that `Sleeve` does not have are those of `Net` and `Demand` in `netting`.
"""
RULES = _table(
    f8=(
        "initial_cash fee slippage participation funding_bps borrow_rate no_trade_band drift_band "
        "notional largest intervals_per_year"
    ),
    i8="funding_interval has_carry is_ioc shares_symbols is_netted n_sleeves",
)
"""Settings and constants; `participation`, `drift_band` and `notional` are NaN if they are not set.

The constants of other modules are arguments, because the code on disk is compiled again only if this file changes.
"""
STATE = _table(
    f8="cash largest_leverage",
    i8=(
        "can_fail n_open n_events n_orders n_trades n_bookings n_movements end first_trimmed "
        "last_trimmed n_scale_unknown n_scale_zero n_weight_zero n_below_lot n_trimmed"
    ),
)
"""Cash, the numbers of rows that are used, how the loop ended, and the target counts."""

REASONS = (
    "",
    "the account went bankrupt",
    "an exit was denied and is asked again",
    "a number is out of the range that gates can read",
)
"""Why the loop stopped before the last bar, by the `end` of its state."""
_DONE, _BANKRUPT, _REFUSED_EXIT, _UNREADABLE = range(len(REASONS))
_SIGNAL, _REQUESTED, _DENIED, _SUBMITTED, _ACCEPTED, _PARTIALLY_FILLED, _FILLED, _REPLACED, _NO_CASH, _LAPSED = (
    np.arange(Code.EXPIRED)
)
_EXPIRED, _FUNDING, _BORROW, _ALLOCATION = np.arange(Code.EXPIRED, len(Code))
_QUANTITY, _MIN_NOTIONAL, _NOT_SHORTABLE, _MAX_LEVERAGE = 1, 2, 4, 8
_ROWS_PER_SLEEVE = 20
"""More events than a sleeve has in one bar: carry twice, a cross, a fill, an end, a signal, an order replaced."""
_GRAIN, _NOTHING, _EPSILON = 1e-9, 1e-12, 4.0 * float(np.finfo(np.float64).eps)
_DUST, _DEBT = 1e-12, 1e-9
_N_HALVINGS = 12
_NEGLIGIBLE = 1e-12


_inner = njit(error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)
"""Compiles a part of the loop that only the loop calls: without an entry from Python, which takes long to compile."""
_part = njit(error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True, _nrt=False)
"""The same for a part that makes no array: it counts no references, which would take most of the time."""


class _Grid(NamedTuple):
    """Arrays that do not change, by bar, symbol and bar, or sleeve and bar."""

    times: object
    opens: object
    open: object
    close: object
    mark: object
    volume: object
    exposure: object
    weight: object
    scale: object
    rebalances: object


class _Tables(NamedTuple):
    """Tables that the loop writes, and its working memory.

    `opened` holds the sleeves with open orders, oldest order first, `demands` the sleeves of the latest netted order of
    each symbol. `scratch` holds numbers to sum, partial sums, and what netted sleeves have reached.
    """

    events: object
    orders: object
    trades: object
    bookings: object
    movements: object
    opened: object
    acting: object
    legs: object
    changes: object
    demands: object
    scratch: object


@_inner
def _with_room(table, n_rows):
    if n_rows <= table.size:
        return table
    larger = np.empty(2 * n_rows, table.dtype)
    larger[: table.size] = table
    return larger


@_inner
def _schedule(grid, rule, n_sleeves):
    """Return whether a bar has a new target, a rebalancing, a scale that becomes known, or a funding."""
    n_bars = grid.times.size
    due = np.zeros(n_bars, np.uint8)
    for place in range(n_sleeves):
        before = 0.0
        for bar in range(n_bars):
            target = grid.exposure[place, bar]
            if target != before:
                due[bar] = 1
                before = target
    if grid.scale.shape[1] > 1:
        for place in range(n_sleeves):
            for bar in range(1, n_bars):
                if np.isnan(grid.scale[place, bar - 1]) and not np.isnan(grid.scale[place, bar]):
                    due[bar] = 1
    if grid.rebalances.shape[1] > 0:
        for place in range(n_sleeves):
            for bar in range(n_bars):
                due[bar] |= grid.rebalances[place, bar]
    if rule.has_carry:
        for bar in range(1, n_bars):
            if grid.times[bar] // rule.funding_interval != grid.times[bar - 1] // rule.funding_interval:
                due[bar] = 1
    return due


@_part
def _equity(bar, grid, symbols, state):
    total = state.cash
    for place in range(symbols.size):
        quantity = symbols[place].quantity
        if quantity != 0.0:
            total += quantity * grid.mark[place, bar]
    return total


@_part
def _has_bar(bar, place, grid, symbols):
    return symbols[place].has_gaps == 0 or grid.close[place, bar] == grid.close[place, bar]


@_part
def _next_touch(bar, stop, grid, tables, symbols, sleeves, state):
    for place in range(state.n_open):
        symbol = sleeves[tables.opened[place]].symbol
        touch = bar + 1
        while touch < stop and not _has_bar(touch, symbol, grid, symbols):
            touch += 1
        stop = min(stop, touch)
    return stop


@_part
def _first_insolvent(start, stop, grid, symbols, state):
    for bar in range(start, stop):
        if _equity(bar, grid, symbols, state) <= 0.0:
            return bar
    return stop


@_part
def _first_drift(start, stop, grid, tables, symbols, sleeves, rule, state):
    for bar in range(start, stop):
        equity = _equity(bar, grid, symbols, state)
        for place in range(rule.n_sleeves):
            sleeve = sleeves[place]
            if sleeve.target == 0.0 or _is_ordering(sleeve.holder, tables, sleeves):
                continue
            weight = _at(grid.weight, place, bar)
            if rule.notional == rule.notional:
                wanted = sleeve.target * weight * rule.notional
            else:
                wanted = sleeve.target * weight * _at(grid.scale, place, bar) * equity
            largest = abs(weight * equity)
            wanted = -largest if wanted < -largest else wanted
            wanted = largest if wanted > largest else wanted
            if abs(sleeve.position * grid.close[sleeve.symbol, bar] - wanted) > rule.drift_band * abs(wanted):
                return bar
    return stop


@_part
def _at(values, place, bar):
    return values[place, bar if values.shape[1] > 1 else 0]


@_part
def _charge_carry(bar, after, until, priced_at, grid, tables, symbols, sleeves, rule, state):
    n_due = until // rule.funding_interval - after // rule.funding_interval
    if n_due == 0:
        return
    for place in range(rule.n_sleeves if rule.is_netted else 0, sleeves.size):
        sleeve = sleeves[place]
        notional = sleeve.position * grid.mark[sleeve.symbol, priced_at] if sleeve.position != 0.0 else 0.0
        funding = -notional * rule.funding_bps / 10_000.0 * n_due
        borrow = min(notional, 0.0) * (rule.borrow_rate * n_due / rule.intervals_per_year)
        for code, amount in ((_FUNDING, funding), (_BORROW, borrow)):
            if amount != 0.0:
                state.cash += amount
                _record(code, place, amount, until, tables, state)
                _book(bar, sleeve.symbol, np.nan, tables, symbols, rule, state)
                if rule.is_netted:
                    _allocate_flow(bar, place, -amount, until, tables, sleeves, rule, state)
                else:
                    _move(bar, place, -1, 0.0, 0.0, -amount, tables, state)


@_part
def _record(code, place, value, now, tables, state):
    event = tables.events[state.n_events]
    event.ts_event, event.code, event.place, event.value = now, code, place, value
    state.n_events += 1


@_part
def _book(bar, place, held, tables, symbols, rule, state):
    booking = tables.bookings[state.n_bookings]
    booking.bar, booking.symbol, booking.cash, booking.held = bar, place, state.cash, held
    state.n_bookings += 1
    state.can_fail = state.cash < -_DEBT * rule.initial_cash
    for symbol in symbols:
        state.can_fail |= symbol.quantity < 0.0


@_part
def _move(bar, place, order, quantity, price, cost, tables, state):
    movement = tables.movements[state.n_movements]
    movement.bar, movement.sleeve, movement.order = bar, place, order
    movement.quantity, movement.price, movement.cost = quantity, price, cost
    state.n_movements += 1


@_part
def _allocate_to(bar, place, order, quantity, price, cost, now, tables, state):
    _record(_ALLOCATION, state.n_movements, 0.0, now, tables, state)
    _move(bar, place, order, quantity, price, cost, tables, state)


@_part
def _allocate_flow(bar, holder, cost, now, tables, sleeves, rule, state):
    for place in range(rule.n_sleeves):
        tables.scratch[0, place] = sleeves[place].position if sleeves[place].holder == holder else 0.0
    held = _sum(rule.n_sleeves, tables.scratch)
    if held == 0.0:
        state.end = _UNREADABLE
        return
    for place in range(rule.n_sleeves):
        position = sleeves[place].position
        if sleeves[place].holder == holder and position != 0.0:
            _allocate_to(bar, place, -1, 0.0, 0.0, cost * position / held, now, tables, state)


@_part
def _allocate(bar, holder, order, is_whole, price, cost, now, tables, sleeves, state):
    """Allocate all that has traded of a netted order, as `netting.allocate` does."""
    net, scratch = sleeves[holder], tables.scratch
    n, demands, traded = net.n_demands, tables.demands[net.symbol], net.traded
    sign = traded
    if traded == 0.0:
        for k in range(n):
            scratch[0, k] = sleeves[demands[k]].change
        sign = _sum(n, scratch)
    sign = math.copysign(1.0, sign)
    n_with = n_against = 0
    for k in range(n):
        if sleeves[demands[k]].change * sign > 0.0:
            scratch[0, n_with] = sleeves[demands[k]].change
            n_with += 1
    with_order = _sum(n_with, scratch)
    for k in range(n):
        if sleeves[demands[k]].change * sign < 0.0:
            scratch[0, n_against] = sleeves[demands[k]].change
            n_against += 1
    against = _sum(n_against, scratch)
    served = 1.0
    if not is_whole and with_order != 0.0:
        served = min((traded - against) / with_order, 1.0)
    for k in range(n):
        change = sleeves[demands[k]].change
        scratch[2, k] = change * (served if change * sign > 0.0 else 1.0)
        scratch[0, k] = scratch[2, k]
    left = traded - _sum(n, scratch)
    if abs(left) > _NEGLIGIBLE * (abs(with_order) + abs(against)):
        scratch[2, _absorber(n, demands, scratch, sleeves)] += left
    for k in range(n):
        scratch[0, k] = abs(scratch[2, k] - sleeves[demands[k]].done)
    moved = _sum(n, scratch)
    for k in range(n):
        place = demands[k]
        sleeve, reached = sleeves[place], scratch[2, k]
        if reached != sleeve.done:
            change = reached - sleeve.done
            sleeve.done = reached
            sleeve.position = 0.0 if is_whole and not sleeve.stays else sleeve.position + change
            _allocate_to(bar, place, order, change, price, cost * abs(change) / moved, now, tables, state)


@_part
def _absorber(n, demands, scratch, sleeves):
    """Return the demand with the largest position afterwards; of those that stay in the market, if there are any."""
    best, most, any_stays = 0, -1.0, False
    for k in range(n):
        any_stays |= sleeves[demands[k]].stays != 0
    for k in range(n):
        sleeve = sleeves[demands[k]]
        size = abs(sleeve.position + scratch[2, k] - sleeve.done)
        if (sleeve.stays or not any_stays) and size > most:
            best, most = k, size
    return best


@_part
def _sum(n, scratch):
    """Return the sum of the first n numbers of `scratch`, rounded once, as `math.fsum` does."""
    n_partials = 0
    for place in range(n):
        value, kept = scratch[0, place], 0
        for k in range(n_partials):
            other = scratch[1, k]
            if abs(value) < abs(other):
                value, other = other, value
            total = value + other
            rest = other - (total - value)
            if rest != 0.0:
                scratch[1, kept] = rest
                kept += 1
            value = total
        n_partials = kept
        if value != 0.0:
            scratch[1, n_partials] = value
            n_partials += 1
    if n_partials == 0:
        return 0.0
    n_partials -= 1
    total, rest = scratch[1, n_partials], 0.0
    while n_partials > 0 and rest == 0.0:
        n_partials -= 1
        before, other = total, scratch[1, n_partials]
        total = before + other
        rest = other - (total - before)
    if n_partials > 0 and rest != 0.0 and (rest < 0.0) == (scratch[1, n_partials - 1] < 0.0):
        twice = 2.0 * rest
        rounded = total + twice
        if rounded - total == twice:
            total = rounded
    return total


@_part
def _match(bar, grid, tables, symbols, sleeves, rule, state):
    n_waiting, kept = state.n_open, 0
    for waiting in range(n_waiting):
        place = tables.opened[waiting]
        sleeve = sleeves[place]
        if _has_bar(bar, sleeve.symbol, grid, symbols):
            _fill(bar, place, grid, tables, symbols, sleeves, rule, state)
        if sleeve.order >= 0:
            tables.opened[kept] = place
            kept += 1
    state.n_open = kept
    if rule.is_ioc:
        kept = 0
        for waiting in range(state.n_open):
            place = tables.opened[waiting]
            sleeve = sleeves[place]
            if _has_bar(bar, sleeve.symbol, grid, symbols):
                _end(_LAPSED, sleeve, grid.times[bar], tables, state)
            else:
                tables.opened[kept] = place
                kept += 1
        state.n_open = kept


@_part
def _end(code, sleeve, now, tables, state):
    """End the order of a sleeve that is not filled; the caller removes the sleeve from those with open orders."""
    _record(code, sleeve.order, tables.orders[sleeve.order].quantity - sleeve.leaves, now, tables, state)
    sleeve.order = -1


@_part
def _fill(bar, place, grid, tables, symbols, sleeves, rule, state):
    sleeve = sleeves[place]
    symbol, order = symbols[sleeve.symbol], tables.orders[sleeve.order]
    reference = grid.open[sleeve.symbol, bar]
    price = reference * (1.0 + order.sign * rule.slippage)
    if symbol.tick > 0.0:
        price = (
            _up_to(price, symbol.tick, symbol.ticks) if order.sign > 0.0 else _down_to(price, symbol.tick, symbol.ticks)
        )
    quantity, has_cash = sleeve.leaves, True
    volume = grid.volume[sleeve.symbol, bar]
    if rule.participation == rule.participation and volume == volume:
        left = symbol.volume_left if symbol.volume_bar == bar else rule.participation * volume
        allowed = _down_to(max(left, 0.0), symbol.lot, symbol.lots)
        quantity = allowed if allowed < quantity else quantity
        symbol.volume_left, symbol.volume_bar = left - quantity, bar
    if order.sign > 0.0:
        power = state.cash / (price * (1.0 + rule.fee))
        power = -symbol.quantity if -symbol.quantity > power else power
        affordable = _down_to(max(power, 0.0), symbol.lot, symbol.lots)
        if affordable < quantity:
            quantity, has_cash = affordable, False
    if quantity <= 0.0 and has_cash:
        return
    sleeve.leaves -= quantity
    if sleeve.leaves <= _DUST * order.quantity:
        sleeve.leaves, has_cash = 0.0, True
    if quantity > 0.0:
        fee, signed = quantity * price * rule.fee, order.sign * quantity
        if not (abs(price) < np.inf and fee < np.inf and quantity < np.inf):
            state.end = _UNREADABLE
        state.cash -= signed * price
        state.cash -= fee
        symbol.quantity = _without_noise(symbol.quantity + signed, symbol.lot, symbol.lots, signed)
        sleeve.position = _without_noise(sleeve.position + signed, symbol.lot, symbol.lots, signed)
        trade = tables.trades[state.n_trades]
        trade.order, trade.bar, trade.quantity, trade.price, trade.fee = sleeve.order, bar, quantity, price, fee
        trade.reference_price, trade.arrival_price = reference, _arrival_price(order, sleeve, grid, symbols)
        trade.cumulative, trade.ts_event = order.quantity - sleeve.leaves, grid.opens[bar]
        code = _FILLED if sleeve.leaves == 0.0 and has_cash else _PARTIALLY_FILLED
        _book(bar, sleeve.symbol, symbol.quantity, tables, symbols, rule, state)
        _record(code, state.n_trades, 0.0, grid.opens[bar], tables, state)
        state.n_trades += 1
        if rule.is_netted:
            sleeve.traded += signed
            is_whole = abs(sleeve.traded - sleeve.ordered) <= _NEGLIGIBLE * abs(sleeve.ordered)
            _allocate(bar, place, sleeve.order, is_whole, price, fee, grid.opens[bar], tables, sleeves, state)
        else:
            _move(bar, place, sleeve.order, signed, price, fee, tables, state)
    if not has_cash:
        _end(_NO_CASH, sleeve, grid.opens[bar], tables, state)
    elif sleeve.leaves == 0.0:
        sleeve.order = -1


@_part
def _arrival_price(order, sleeve, grid, symbols):
    bar = order.bar + 1
    while not _has_bar(bar, sleeve.symbol, grid, symbols):
        bar += 1
    return grid.open[sleeve.symbol, bar]


@_part
def _decide(bar, grid, tables, symbols, sleeves, rule, state):
    has_drift = rule.drift_band == rule.drift_band
    equity = _equity(bar, grid, symbols, state) if has_drift else 0.0
    n_acting, acting, legs, changes = 0, tables.acting, tables.legs, tables.changes
    for place in range(rule.n_sleeves):
        if _is_acting(place, bar, equity, grid, tables, sleeves, rule) and _has_bar(
            bar, sleeves[place].symbol, grid, symbols
        ):
            acting[n_acting] = place
            n_acting += 1
    if n_acting == 0:
        return
    now = grid.times[bar]
    for place in acting[:n_acting]:
        target = grid.exposure[place, bar]
        if target != sleeves[place].target:
            sleeves[place].target = target
            _record(_SIGNAL, place, target, now, tables, state)
    if not has_drift:
        equity = _equity(bar, grid, symbols, state)
    if not 0.0 < equity < rule.largest:
        state.end = _UNREADABLE
        return
    n_legs = 0
    for index in range(n_acting):
        place, change = acting[index], 0.0
        holder = sleeves[place].holder
        if not rule.is_netted:
            _replace(place, now, tables, sleeves, state)
            change = _change(place, bar, equity, grid, symbols, sleeves, rule, state)
        elif _is_first(index, acting, sleeves):
            change = _netted_change(holder, n_acting, bar, equity, grid, tables, symbols, sleeves, rule, state)
        if change != 0.0:
            legs[n_legs], changes[n_legs] = holder, change
            n_legs += 1
    _sort(legs, changes, n_legs, sleeves)
    for leg in range(n_legs):
        _submit(legs[leg], changes[leg], bar, equity, grid, tables, symbols, sleeves, rule, state)


@_part
def _replace(place, now, tables, sleeves, state):
    if sleeves[place].order >= 0:
        _end(_REPLACED, sleeves[place], now, tables, state)
        _remove(place, tables.opened, state)


@_part
def _is_first(index, acting, sleeves):
    """Return whether no earlier acting sleeve has the same holder."""
    holder = sleeves[acting[index]].holder
    for earlier in range(index):  # noqa: SIM110
        if sleeves[acting[earlier]].holder == holder:
            return False
    return True


@_part
def _netted_change(holder, n_acting, bar, equity, grid, tables, symbols, sleeves, rule, state):
    """Set the demands of a holder's sleeves; return the quantity that it orders, as `NettedTrader` does."""
    net, scratch, n_sleeves = sleeves[holder], tables.scratch, rule.n_sleeves
    symbol, close, demands = symbols[net.symbol], grid.close[net.symbol, bar], tables.demands[net.symbol]
    for place in range(n_sleeves):
        sleeves[place].is_changing = 0
    n_before, is_open = net.n_demands, net.order >= 0 or net.crosses_at >= 0
    n = 0
    for index in range(n_acting):
        place = tables.acting[index]
        if sleeves[place].holder == holder:
            scratch[3, n] = place
            sleeves[place].is_changing = 1
            n += 1
    for k in range(n_before if is_open else 0):
        sleeve = sleeves[demands[k]]
        if sleeve.done != sleeve.change and not sleeve.is_changing:
            scratch[3, n] = demands[k]
            sleeve.is_changing = 1
            n += 1
    _replace(holder, grid.times[bar], tables, sleeves, state)
    any_stays = False
    for k in range(n):
        demands[k] = int(scratch[3, k])
        sleeve = sleeves[demands[k]]
        sleeve.wanted = _wanted(demands[k], bar, equity, grid, sleeves, rule, state)
        sleeve.change, sleeve.stays, sleeve.done = sleeve.wanted - sleeve.position, sleeve.wanted != 0.0, 0.0
        any_stays |= sleeve.wanted != 0.0
    largest = -1
    for place in range(n_sleeves):
        sleeve = sleeves[place]
        is_able = sleeve.holder == holder and not sleeve.is_changing and sleeve.position != 0.0
        if is_able and (largest < 0 or abs(sleeve.position) > abs(sleeves[largest].position)):
            largest = place
    if largest >= 0 and not any_stays:
        demands[n] = largest
        sleeves[largest].change, sleeves[largest].stays, sleeves[largest].done = 0.0, 1, 0.0
        n += 1
    net.n_demands = n
    for place in range(n_sleeves):
        sleeve = sleeves[place]
        scratch[0, place] = 0.0
        if sleeve.holder == holder:
            scratch[0, place] = sleeve.wanted if sleeve.is_changing else sleeve.position
    total = _sum(n_sleeves, scratch)
    desired = _down_to(total, symbol.lot, symbol.lots)
    change = _difference(desired, net.position, symbol)
    for k in range(n):
        scratch[0, k] = abs(sleeves[demands[k]].change)
    is_negligible = abs(change) <= _NEGLIGIBLE * _sum(n, scratch)
    net.crosses_at = -1
    if is_negligible or (desired != 0.0 and abs(change) * close < rule.no_trade_band * equity):
        state.n_below_lot += is_negligible and total != 0.0 and desired == 0.0
        net.crosses_at = bar + 1
        while net.crosses_at < grid.times.size and not _has_bar(net.crosses_at, net.symbol, grid, symbols):
            net.crosses_at += 1
        change = 0.0
    net.ordered, net.traded = change, 0.0
    if not abs(change) < rule.largest:
        state.end = _UNREADABLE
    return change


@_part
def _is_ordering(holder, tables, sleeves):
    """Return whether an order of a holder is open; for netted sleeves, whether a demand is not done."""
    net = sleeves[holder]
    if net.n_demands == 0:
        return net.order >= 0
    for k in range(net.n_demands if net.order >= 0 or net.crosses_at >= 0 else 0):
        sleeve = sleeves[tables.demands[net.symbol, k]]
        if sleeve.done != sleeve.change:
            return True
    return False


@_part
def _cross(bar, grid, tables, sleeves, rule, state):
    for holder in range(rule.n_sleeves, sleeves.size):
        net = sleeves[holder]
        if net.crosses_at == bar:
            net.crosses_at = -1
            price = grid.open[net.symbol, bar]
            _allocate(bar, holder, -1, False, price, 0.0, grid.opens[bar], tables, sleeves, state)


@_part
def _next_cross(bar, stop, sleeves, rule):
    for holder in range(rule.n_sleeves, sleeves.size):
        if bar < sleeves[holder].crosses_at < stop:
            stop = sleeves[holder].crosses_at
    return stop


@_part
def _is_acting(place, bar, equity, grid, tables, sleeves, rule):
    sleeve = sleeves[place]
    if grid.exposure[place, bar] != sleeve.target:
        return True
    if sleeve.awaits_scale:
        return not np.isnan(_at(grid.scale, place, bar))
    if grid.rebalances.shape[1] > 0 and grid.rebalances[place, bar]:
        return True
    if rule.drift_band != rule.drift_band or sleeve.target == 0.0 or _is_ordering(sleeve.holder, tables, sleeves):
        return False
    held = sleeve.position * grid.mark[sleeve.symbol, bar]
    wanted = _notional(place, bar, equity, grid, sleeves, rule)
    return abs(held - wanted) > rule.drift_band * abs(wanted)


@_part
def _leverage(place, bar, equity, grid, sleeves, rule):
    if rule.notional == rule.notional:
        return abs(sleeves[place].target) * rule.notional / equity
    return abs(sleeves[place].target) * _at(grid.scale, place, bar)


@_part
def _notional(place, bar, equity, grid, sleeves, rule):
    target = sleeves[place].target
    if target == 0.0:
        return 0.0
    weight = _at(grid.weight, place, bar)
    if _leverage(place, bar, equity, grid, sleeves, rule) > 1.0:
        return math.copysign(weight * equity, target)
    if rule.notional == rule.notional:
        return target * weight * rule.notional
    return target * weight * _at(grid.scale, place, bar) * equity


@_part
def _wanted(place, bar, equity, grid, sleeves, rule, state):
    """Return the position that the target of a sleeve asks for, before rounding to lots, and count its size."""
    sleeve = sleeves[place]
    notional = _notional(place, bar, equity, grid, sleeves, rule)
    sleeve.awaits_scale = np.isnan(notional)
    if sleeve.target != 0.0:
        leverage = _leverage(place, bar, equity, grid, sleeves, rule)
        if sleeve.awaits_scale:
            state.n_scale_unknown += 1
        elif leverage == 0.0:
            state.n_scale_zero += 1
        elif _at(grid.weight, place, bar) == 0.0:
            state.n_weight_zero += 1
        elif leverage > 1.0:
            state.n_trimmed += 1
            state.largest_leverage = max(state.largest_leverage, leverage)
            state.first_trimmed = bar if state.first_trimmed < 0 else state.first_trimmed
            state.last_trimmed = bar
    if not np.isnan(notional):
        return notional / grid.close[sleeve.symbol, bar]
    return sleeve.position if sleeve.position * sleeve.target > 0.0 else 0.0


@_part
def _difference(wanted, held, symbol):
    """Return wanted - held in whole lots, as `floor_difference` does."""
    change = wanted - held
    nearest = _nearest_to(change, symbol.lot, symbol.lots)
    if abs(change - nearest) <= _GRAIN * symbol.lot + _EPSILON * (abs(wanted) + abs(held)):
        return nearest
    return _down_to(change, symbol.lot, symbol.lots)


@_part
def _change(place, bar, equity, grid, symbols, sleeves, rule, state):
    """Return the signed quantity that a sleeve orders to reach its target, 0.0 for none."""
    sleeve = sleeves[place]
    symbol, close = symbols[sleeve.symbol], grid.close[sleeve.symbol, bar]
    wanted = _wanted(place, bar, equity, grid, sleeves, rule, state)
    desired = _down_to(wanted, symbol.lot, symbol.lots)
    state.n_below_lot += wanted != 0.0 and desired == 0.0
    change = _difference(desired, sleeve.position, symbol)
    if desired != 0.0 and abs(change) * close < rule.no_trade_band * equity:
        return 0.0
    if not abs(change) < rule.largest:
        state.end = _UNREADABLE
    return change


@_part
def _remove(place, opened, state):
    kept = 0
    for waiting in range(state.n_open):
        if opened[waiting] != place:
            opened[kept] = opened[waiting]
            kept += 1
    state.n_open = kept


@_part
def _opens(sleeve, change):
    return not (sleeve.position * change < 0.0 and abs(change) <= abs(sleeve.position))


@_part
def _sort(acting, changes, n_legs, sleeves):
    """Sort legs: those that reduce a position first, then by rank."""
    for last in range(1, n_legs):
        place, change = acting[last], changes[last]
        opens, rank = _opens(sleeves[place], change), sleeves[place].rank
        spot = last
        while spot > 0:
            other = sleeves[acting[spot - 1]]
            other_opens = _opens(other, changes[spot - 1])
            if other_opens < opens or (other_opens == opens and other.rank < rank):
                break
            acting[spot], changes[spot] = acting[spot - 1], changes[spot - 1]
            spot -= 1
        acting[spot], changes[spot] = place, change


@_part
def _submit(place, change, bar, equity, grid, tables, symbols, sleeves, rule, state):
    sleeve, number = sleeves[place], state.n_orders
    symbol, close, now = symbols[sleeve.symbol], grid.close[sleeve.symbol, bar], grid.times[bar]
    state.n_orders += 1
    order = tables.orders[number]
    order.sleeve, order.bar, order.sign, order.quantity = place, bar, 1.0 if change > 0.0 else -1.0, abs(change)
    order.decision_price, order.is_reducing, order.denials = close, not _opens(sleeve, change), 0
    if not (0.0 < close < rule.largest and abs(symbol.quantity) < rule.largest):
        state.end = _UNREADABLE
        return
    if rule.shares_symbols:
        _reduce(place, order, equity, tables, symbols, sleeves, state)
    _record(_REQUESTED, number, 0.0, now, tables, state)
    order.denials = _denials(place, order, equity, tables, symbols, sleeves, state)
    if order.denials:
        _record(_DENIED, number, 0.0, now, tables, state)
        if order.is_reducing:
            state.end = _REFUSED_EXIT
        return
    _record(_SUBMITTED, number, 0.0, now, tables, state)
    _record(_ACCEPTED, number, 0.0, now, tables, state)
    sleeve.order, sleeve.leaves = number, order.quantity
    tables.opened[state.n_open] = place
    state.n_open += 1


@_part
def _reduces(place, order, tables, symbols, sleeves, state):
    """Return whether a reducing order can only bring the account's position nearer to zero, with all open exits."""
    if not order.is_reducing:
        return False
    symbol, exiting = sleeves[place].symbol, 0.0
    for waiting in range(state.n_open):
        held = sleeves[tables.opened[waiting]]
        other = tables.orders[held.order]
        if other.is_reducing and held.symbol == symbol and other.sign == order.sign:
            exiting += held.leaves
    quantity = symbols[symbol].quantity
    room = abs(quantity) * (1.0 + 1e-12) if exiting != 0.0 else abs(quantity)
    return quantity * order.sign < 0.0 and order.quantity + exiting <= room


@_part
def _reachable(place, order, tables, symbols, sleeves, state):
    """Return the lowest and highest position that the order and the pending orders can lead to, and if any is pending.

    Pending are the open orders that can enlarge a position, and the exits that an order of that kind trades with.
    """
    symbol, signed, has_pending = sleeves[place].symbol, order.sign * order.quantity, False
    low = high = symbols[symbol].quantity
    if signed < 0.0:
        low += signed
    else:
        high += signed
    for waiting in range(state.n_open):
        held = sleeves[tables.opened[waiting]]
        other, is_own = tables.orders[held.order], held.symbol == symbol
        if other.is_reducing and (order.is_reducing or not is_own or other.sign != order.sign):
            continue
        has_pending = True
        leaves = other.sign * held.leaves
        if is_own and leaves < 0.0:
            low += leaves
        elif is_own:
            high += leaves
    return low, high, has_pending


@_part
def _is_within_leverage(place, order, equity, tables, symbols, sleeves, state):
    symbol = symbols[sleeves[place].symbol]
    held, signed = symbol.quantity, order.sign * order.quantity
    low, high, _ = _reachable(place, order, tables, symbols, sleeves, state)
    reached = max(-low if signed < 0.0 else high, abs(held + signed))
    exposure = reached * order.decision_price / equity
    if reached <= abs(held) or exposure <= symbol.most_leverage:
        return True
    return _reduces(place, order, tables, symbols, sleeves, state)


@_part
def _reduce(place, order, equity, tables, symbols, sleeves, state):
    """Reduce an order to the largest number of whole lots that the leverage of its instrument allows."""
    if _is_within_leverage(place, order, equity, tables, symbols, sleeves, state):
        return
    symbol, whole = symbols[sleeves[place].symbol], order.quantity
    low, high = 0.0, whole
    for _ in range(_N_HALVINGS):
        middle = 0.5 * (low + high)
        order.quantity = middle
        if _is_within_leverage(place, order, equity, tables, symbols, sleeves, state):
            low = middle
        else:
            high = middle
    reduced = _down_to(low, symbol.lot, symbol.lots)
    order.quantity = reduced if reduced > 0.0 else whole


@_part
def _denials(place, order, equity, tables, symbols, sleeves, state):
    """Return the sum of the codes of the gates that deny an order."""
    symbol, signed, denials = symbols[sleeves[place].symbol], order.sign * order.quantity, 0
    if symbol.lot > 0.0:
        n_lots = order.quantity / symbol.lot
        is_whole = n_lots == np.floor(n_lots) or abs(n_lots - np.rint(n_lots)) <= _GRAIN + n_lots * _EPSILON
        least = symbol.lot if is_whole else max(_up_to(order.quantity, symbol.lot, symbol.lots), symbol.lot)
        if order.quantity < least:
            denials += _QUANTITY
    if order.quantity * order.decision_price < symbol.min_notional:
        denials += _MIN_NOTIONAL
    if not symbol.is_shortable:
        held = symbol.quantity
        low, _, has_pending = _reachable(place, order, tables, symbols, sleeves, state)
        if signed < 0.0 and has_pending:
            held = min(held, low - signed)
        if held + signed < 0.0:
            denials += _NOT_SHORTABLE
    if not _is_within_leverage(place, order, equity, tables, symbols, sleeves, state):
        denials += _MAX_LEVERAGE
    return denials


@_part
def _on_grid(n_steps, step, inverse):
    return n_steps / inverse if inverse != 0.0 else n_steps * step


@_part
def _down_to(amount, step, inverse):
    if step <= 0.0:
        return amount
    ratio = abs(amount) / step
    n_steps = np.floor(ratio + _GRAIN + ratio * _EPSILON)
    return math.copysign(_on_grid(n_steps, step, inverse), amount) if n_steps != 0.0 else 0.0


@_part
def _up_to(amount, step, inverse):
    if step <= 0.0:
        return amount
    ratio = abs(amount) / step
    n_steps = np.ceil(ratio - _GRAIN - ratio * _EPSILON)
    return math.copysign(_on_grid(n_steps, step, inverse), amount) if n_steps != 0.0 else 0.0


@_part
def _nearest_to(amount, step, inverse):
    if step <= 0.0:
        return amount
    n_steps = np.rint(abs(amount) / step)
    return math.copysign(_on_grid(n_steps, step, inverse), amount) if n_steps != 0.0 else 0.0


@_part
def _without_noise(amount, step, inverse, last_change):
    if abs(amount) <= _NOTHING * abs(last_change):
        return 0.0
    nearest = _nearest_to(amount, step, inverse)
    is_noise = abs(amount - nearest) <= _GRAIN * step + _EPSILON * (abs(amount) + abs(last_change))
    return nearest if is_noise else amount


_ROWS = types.Array(float64, 2, "C", readonly=True)
_TIMES = types.Array(int64, 1, "C", readonly=True)


@njit(
    types.Tuple(tuple(from_dtype(table)[::1] for table in (EVENT, ORDER, TRADE, BOOKING, MOVEMENT)))(
        *2 * (_TIMES,),
        *7 * (_ROWS,),
        types.uint8[:, ::1],
        *(from_dtype(table)[::1] for table in (SYMBOL, SLEEVE, RULES, STATE)),
    ),
    cache=True,
    error_model="numpy",
)
def compiled_loop(
    times, opens, open_, close, mark, volume, exposure, weight, scale, rebalances, symbols, sleeves, rules, states
):
    """Run the loop; return its events, orders, trades, bookings and movements. `states` says how it ended."""
    grid = _Grid(times, opens, open_, close, mark, volume, exposure, weight, scale, rebalances)
    rule, state = rules[0], states[0]
    n_bars, n_sleeves = times.size, sleeves.size
    state.cash, state.first_trimmed, state.last_trimmed = rule.initial_cash, -1, -1
    due = _schedule(grid, rule, rule.n_sleeves)
    events, orders = np.empty(_ROWS_PER_SLEEVE * n_sleeves + 1024, EVENT), np.empty(n_sleeves + 256, ORDER)
    trades, bookings = np.empty(n_sleeves + 256, TRADE), np.empty(5 * n_sleeves + 256, BOOKING)
    movements = np.empty(7 * n_sleeves + 256, MOVEMENT)
    opened, acting, legs = np.empty(n_sleeves, np.int64), np.empty(n_sleeves, np.int64), np.empty(n_sleeves, np.int64)
    changes, scratch = np.empty(n_sleeves), np.empty((4, n_sleeves + 1))
    demands = np.empty((symbols.size, rule.n_sleeves if rule.is_netted else 0), np.int64)
    stop = 0
    for bar in range(n_bars):
        if bar < stop:
            continue
        events = _with_room(events, state.n_events + _ROWS_PER_SLEEVE * n_sleeves)
        orders, trades = _with_room(orders, state.n_orders + n_sleeves), _with_room(trades, state.n_trades + n_sleeves)
        bookings = _with_room(bookings, state.n_bookings + 5 * n_sleeves)
        movements = _with_room(movements, state.n_movements + 7 * n_sleeves)
        tables = _Tables(events, orders, trades, bookings, movements, opened, acting, legs, changes, demands, scratch)
        last_close = times[bar - 1] if bar > 0 else times[bar]
        if rule.has_carry and opens[bar] > last_close:
            _charge_carry(bar, last_close, opens[bar], bar - 1, grid, tables, symbols, sleeves, rule, state)
            last_close = opens[bar]
        if rule.is_netted:
            _cross(bar, grid, tables, sleeves, rule, state)
        if state.n_open > 0:
            _match(bar, grid, tables, symbols, sleeves, rule, state)
        if rule.has_carry:
            _charge_carry(bar, last_close, times[bar], bar, grid, tables, symbols, sleeves, rule, state)
        if state.can_fail and _equity(bar, grid, symbols, state) <= 0.0:
            state.end = _BANKRUPT
        if state.end == _DONE:
            _decide(bar, grid, tables, symbols, sleeves, rule, state)
        if state.end != _DONE:
            return events, orders, trades, bookings, movements
        stop = bar + 1
        while stop < n_bars and due[stop] == 0:
            stop += 1
        stop = _next_touch(bar, stop, grid, tables, symbols, sleeves, state)
        if rule.is_netted:
            stop = _next_cross(bar, stop, sleeves, rule)
        if state.can_fail:
            stop = _first_insolvent(bar + 1, stop, grid, symbols, state)
        if rule.drift_band == rule.drift_band:
            stop = _first_drift(bar + 1, stop, grid, tables, symbols, sleeves, rule, state)
    for place in range(state.n_open):
        sleeve = sleeves[opened[place]]
        _end(_EXPIRED, sleeve, times[n_bars - 1], tables, state)
    return (
        events[: state.n_events].copy(),
        orders[: state.n_orders].copy(),
        trades[: state.n_trades].copy(),
        bookings[: state.n_bookings].copy(),
        movements[: state.n_movements].copy(),
    )
