"""What differs between two matched orders; and of each difference, which of its inputs differ and may explain it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from peak_trade.diff.causes import Cause, Context, Found, Link
from peak_trade.diff.matching import OrderPair
from peak_trade.diff.order_histories import Life
from peak_trade.diff.pnl import fee_rate, split_contribution
from peak_trade.diff.sizing_rules import LAW_RTOL, follows_sizing, is_close, margin, per_equity, spends_its_cash
from peak_trade.journal.events import OrderEventKind

Kind = OrderEventKind
_FEE_BPS = 1e-3
"""Fee rates closer than this (bps) are one rate."""
_CODE = frozenset({Cause.CONFIGURATION, Cause.CODE_VERSION})
_TRADES = frozenset({Kind.PARTIALLY_FILLED, Kind.FILLED})
_REFUSALS = {Kind.DENIED: Cause.DENIAL, Kind.REJECTED: Cause.REJECTION}
_MOST = 0.5
"""Share of a difference from which on something accounts for it."""
_SCALED = ("volatility_target", "fractional_kelly")


def judge_alone(context: Context, pair: OrderPair) -> Found:
    """Return the difference that an order of one side only is."""
    life, other = (pair.shadow, context.live) if pair.shadow is not None else (pair.live, context.shadow)
    assert life is not None
    links = context.bars(life.symbol, life.row, life.row)
    if life.reason != "target":
        links += [Link("entry", life.sleeve), Link("signal", life.sleeve)]
    else:
        if other.target_at(life.sleeve, life.row) != life.target:
            links.append(Link("signal", life.sleeve))
        if not is_close(other.held_at(life.sleeve, life.row), life.held):
            links.append(Link("sleeve", life.sleeve))
        if life.quantity <= 2.0 * context.lots.get(life.symbol, 0.0):
            links.append(Link("money"))
    text = f"{life.side} {life.quantity:g} {life.order_type}, {life.reason}"
    shown = (text, None) if pair.shadow is not None else (None, text)
    owners = _CODE | {Cause.ORDER_TYPE, Cause.SIZE}
    return _made(pair, life.row, 2.0, Cause.UNEXPLAINED, "order", shown, links, owners, ("sleeve", "entry"))


def judge_pair(context: Context, pair: OrderPair) -> list[Found]:
    """Return the differences of a matched pair, each with where it may come from and what it did to the PnL."""
    assert pair.shadow is not None
    assert pair.live is not None
    return _Pair(context, pair, pair.shadow, pair.live).found()


def _made(
    pair: OrderPair, row: int, rank: float, cause: Cause, kind: str, values: tuple[Any, Any], links: list[Link],
    owners: frozenset[Cause], touches: tuple[str, ...], is_lawful: bool = False,
) -> Found:  # fmt: skip
    life = pair.shadow or pair.live
    assert life is not None
    places = tuple(tuple(side.places) if side is not None else () for side in (pair.shadow, pair.live))
    return Found(
        row, rank, cause, kind, life.symbol, *values, life.sleeve, pair, tuple(links), owners, touches, is_lawful,
        places=(places[0], places[1]),
    )  # fmt: skip


@dataclass(slots=True)
class _Pair:
    context: Context
    match: OrderPair
    one: Life
    other: Life
    by_kind: dict[str, Found] = field(default_factory=dict)

    def found(self) -> list[Found]:
        self._request()
        if not self._refusal():
            self._fills()
            self._ending()
        self._stamps()
        self._contributions()
        return list(self.by_kind.values())

    @property
    def _rows(self) -> tuple[int, int]:
        return min(self.one.row, self.other.row), max(self.one.row, self.other.row)

    def _add(
        self, row: int, rank: float, cause: Cause, kind: str, values: tuple[Any, Any], links: list[Link],
        owners: frozenset[Cause] = frozenset(), touches: tuple[str, ...] = (), is_lawful: bool = False,
    ) -> Found:  # fmt: skip
        found = _made(self.match, row, rank, cause, kind, values, links, owners, touches, is_lawful)
        self.by_kind[kind] = found
        return found

    def _from(self, *kinds: str) -> list[Link]:
        return [Link("found", self.by_kind[kind]) for kind in kinds if kind in self.by_kind]

    def _both(self, value: Callable[[Life], Any]) -> tuple[Any, Any]:
        return value(self.one), value(self.other)

    def _request(self) -> None:
        first, last = self._rows
        sleeve, symbol = self.one.sleeve, self.one.symbol
        is_protective = self.one.reason != "target"
        rank = 0.5 if is_protective else 2.0
        entry = [Link("entry", sleeve)] if is_protective else []
        bars = self.context.bars(symbol, first, last)
        signal = [Link("signal", sleeve)] if self.one.target != self.other.target else []
        held = [] if is_close(self.one.held, self.other.held) else [Link("sleeve", sleeve)]
        changes = ("sleeve", "entry")
        if self.one.side is not self.other.side:
            sides = self._both(lambda life: str(life.side))
            follows = signal + held if follows_sizing(self.one, self.other, self._lot) else signal
            self._add(first, rank, Cause.SIGNAL, "side", sides, follows, _CODE, changes)
        stamps = self._both(lambda life: life.decided_at)
        if abs(stamps[0] - stamps[1]) > self.context.tolerance_ns:
            late = bars + (entry or self.context.signals(sleeve, first, last)) if first != last else entry
            self._add(first, rank, Cause.TIMING, "decision time", stamps, late, touches=("entry",))
        types = self._both(lambda life: f"{life.order_type} {life.time_in_force}")
        if types[0] != types[1]:
            self._add(first, rank, Cause.ORDER_TYPE, "order type", types, [], _CODE | {Cause.ORDER_TYPE}, ("entry",))
        prices = self._both(lambda life: life.decision_price)
        if not is_close(*prices):
            links = self._from("decision time") + bars + entry
            self._add(first, rank, Cause.PRICE, "decision price", prices, links)
        for name in ("limit_price", "stop_price"):
            levels = self._both(lambda life, name=name: getattr(life, name))  # type: ignore[misc]
            if None not in levels and not is_close(*levels):
                links = self._from("decision price", "order type") + entry
                owners = _CODE | {Cause.ORDER_TYPE}
                self._add(first, rank, Cause.ORDER_TYPE, name.replace("_", " "), levels, links, owners, ("entry",))
        hints = self._drift(last)
        quantities = self._both(lambda life: life.quantity)
        if not is_close(*quantities):
            is_lawful = follows_sizing(self.one, self.other, self._lot)
            if is_lawful:
                seen = [] if is_close(self.one.close, self.other.close) else bars
                cash = Link("setting", "trading.initial_cash")
                links = signal + seen + held + [Link("money"), cash, Link("setting", "trading.sizing")]
            elif self.context.sizing in _SCALED:
                links = signal + self.context.bars(symbol, 0, last)
            else:
                links = signal + self._from("side")
            owners = _CODE | {Cause.SIZE}
            found = self._add(first, rank, Cause.SIZE, "quantity", quantities, links, owners, changes, is_lawful)
            found.hints = hints

    def _drift(self, row: int) -> tuple[Link, ...]:
        """Return where a size that breaks the law may come from: what moved money or position since the last size.

        A log that is wrong somewhere no longer adds up to the equity that later orders were sized by.
        """
        one, other, sleeve = self.one, self.other, self.one.sleeve
        if self.one.reason != "target" or not (one.target and other.target and one.equity and other.equity):
            return (Link("since", (self.context.drifts.get(sleeve, (0.0, 0))[1], row)),)
        shares = [per_equity(life, life.held + life.quantity * life.side.sign) for life in (one, other)]
        drift = shares[0] / shares[1] - 1.0 if all(shares) else 0.0
        before, since = self.context.drifts.get(sleeve, (0.0, 0))
        is_steady = abs(drift - before) <= 0.2 * abs(before)
        self.context.drifts[sleeve] = (drift, row)
        return (Link("sleeve", sleeve), Link("money")) if is_steady and before else (Link("since", (since, row)),)

    def _refusal(self) -> bool:
        ends = self._both(lambda life: life.outcome)
        refused = [end in _REFUSALS for end in ends]
        if refused[0] == refused[1]:
            return all(refused)
        life, side = (self.one, self.context.shadow) if refused[0] else (self.other, self.context.live)
        assert life.outcome is not None
        links: list[Link] = []
        if life.outcome is Kind.DENIED and self._input_change() >= margin(side, life):
            links = [Link("sleeve", life.sleeve)] if not is_close(self.one.held, self.other.held) else []
            links += [*self._from("quantity", "side"), Link("money")]
        owners = frozenset({Cause.DENIAL}) if life.outcome is Kind.DENIED else frozenset()
        shown = self._both(lambda each: f"{_name(each.outcome)} {each.end_reason}".strip())
        first, _ = self._rows
        self._add(first, 2.5, _REFUSALS[life.outcome], "outcome", shown, links, owners, ("sleeve", "entry"))
        return True

    def _input_change(self) -> float:
        equity = max(abs(self.one.equity), abs(self.other.equity), 1e-9)
        changes = (
            abs(self.one.quantity - self.other.quantity) / max(self.one.quantity, self.other.quantity),
            abs(self.one.equity - self.other.equity) / equity,
            abs(self.one.held - self.other.held) * self.one.decision_price / equity,
        )
        return max(changes)

    def _fills(self) -> None:
        one, other = self.one, self.other
        fills = [*one.fills, *other.fills]
        if not fills:
            return
        first, last = min(fill.row for fill in fills), max(fill.row for fill in fills)
        life_first = self._rows[0]
        is_trimmed = spends_its_cash(one, self._lot) and spends_its_cash(other, self._lot)
        if one.has_mixed_sides != other.has_mixed_sides:
            sides = self._both(lambda life: "against the order" if life.has_mixed_sides else "as the order")
            self._add(first, 0.0, Cause.SIGNAL, "fill side", sides, [], touches=("sleeve", "entry"))
        bars = self.context.bars(one.symbol, first, last)
        if one.fills and other.fills:
            stamps = self._both(lambda life: life.fills[0].ts_event)
            if abs(stamps[0] - stamps[1]) > self.context.tolerance_ns:
                links = self._from("decision time", "order type", "limit price", "stop price", "side") + bars
                self._add(first, 0.0, Cause.TIMING, "fill time", stamps, links, touches=("entry",))
        if not is_trimmed:
            self._filled(first, life_first, last)
        counts = self._both(lambda life: len(life.fills))
        if counts[0] != counts[1] and "filled" not in self.by_kind and all(counts):
            links = self._from("order type", *(["quantity", "fill time"] if first != last else [])) + bars
            self._add(first, 0.0, Cause.PARTIAL_FILL, "number of fills", counts, links, frozenset({Cause.PARTIAL_FILL}))
        if one.fills and other.fills:
            self._prices(first, bars)
            self._fees(first)
        if is_trimmed:
            self._filled(first, life_first, last)

    @property
    def _fill_row(self) -> int:
        return min((fill.row for life in (self.one, self.other) for fill in life.fills), default=self._rows[0])

    @property
    def _lot(self) -> float:
        return self.context.lots.get(self.one.symbol, 0.0)

    def _prices(self, row: int, bars: list[Link]) -> None:
        prices = self._both(lambda life: life.price)
        if abs(prices[1] - prices[0]) / (0.5 * sum(prices)) * 1e4 <= self.context.tolerance_bps:
            return
        links = self._from("side", "fill side", "order type", "limit price", "stop price")
        links += self._from("fill time", "decision time") if self._has_moved else []
        links += bars
        if any(fill.row != row for life in (self.one, self.other) for fill in life.fills):
            links += self._from("filled", "number of fills", "quantity")
        self._add(row, 0.0, Cause.PRICE, "fill price", prices, links, frozenset({Cause.PRICE}), ("entry",))

    @property
    def _has_moved(self) -> bool:
        """Whether the price that the order met accounts for most of the difference of its fills' prices."""
        arrivals, prices = self._both(lambda life: life.arrival_price), self._both(lambda life: life.price)
        return bool(abs(arrivals[1] - arrivals[0]) >= _MOST * abs(prices[1] - prices[0]))

    def _fees(self, row: int) -> None:
        rates = self._both(lambda life: fee_rate(life) * 1e4)
        kind = str(self.one.order_type)
        if abs(rates[0] - rates[1]) <= _FEE_BPS:
            self.context.fee_head(kind, None)
            return
        rounded = (round(rates[0], 4), round(rates[1], 4))
        head = self.context.fee_head(kind, rounded)
        links = self._from("order type", "limit price", "stop price")
        links += [] if head is None else [Link("found", head)]
        owners = frozenset({Cause.FEE}) if self.context.are_configured(rates) else frozenset()
        found = self._add(row, 0.0, Cause.FEE, "fee rate", rates, links, owners)
        if head is None:
            self.context.begin_fees(kind, rounded, found)

    def _filled(self, row: int, first: int, last: int) -> None:
        one, other = self.one, self.other
        filled = self._both(lambda life: life.filled)
        if is_close(*filled):
            return
        is_lawful = False
        if not is_close(one.quantity, other.quantity) and self._fills_like_its_quantity():
            links, is_lawful = self._from("quantity"), True
        elif spends_its_cash(one, self._lot) and spends_its_cash(other, self._lot):
            links, is_lawful = [*self._from("fee rate", "fill price", "quantity", "fill time"), Link("money")], True
        else:
            links = self._from("side", "order type", "limit price", "stop price", "decision time")
            links += self.context.bars(one.symbol, first, last)
            ended = [life for life in (one, other) if life.end_reason == "target changed"]
            if ended:
                links += self.context.signals(one.sleeve, first, max(self._end_row(life) for life in (one, other)))
            if any(life.end_reason.endswith(" filled") for life in (one, other)):
                links.append(Link("entry", one.sleeve))
        owners = frozenset({Cause.PARTIAL_FILL})
        touches = ("sleeve", "entry")
        self._add(row, 0.0, Cause.PARTIAL_FILL, "filled", filled, links, owners, touches, is_lawful)

    def _end_row(self, life: Life) -> int:
        return max([stamp for _, stamp in life.stamps] + [fill.row for fill in life.fills])

    def _fills_like_its_quantity(self) -> bool:
        """Whether both filled the same share, or fills are equal up to the end of the smaller order."""
        one, other = self.one, self.other
        shares = (one.filled / one.quantity, other.filled / other.quantity)
        slack = LAW_RTOL + self._lot / min(one.quantity, other.quantity)
        if abs(shares[0] - shares[1]) <= slack:
            return True
        smaller, larger = (one, other) if one.quantity < other.quantity else (other, one)
        if smaller.outcome is not Kind.FILLED or len(smaller.fills) > len(larger.fills):
            return False
        pairs = list(zip(smaller.fills, larger.fills, strict=False))
        return all(is_close(mine.quantity, theirs.quantity) for mine, theirs in pairs[:-1])

    def _ending(self) -> None:
        ends = self._both(lambda life: life.outcome)
        if ends[0] is ends[1]:
            return
        links = self._from("filled", "number of fills", "quantity", "fill time", "order type", "limit price")
        last = max(self._end_row(life) for life in (self.one, self.other))
        if any(life.end_reason == "target changed" for life in (self.one, self.other)):
            links += self.context.signals(self.one.sleeve, self._rows[0], last)
        links += self.context.bars(self.one.symbol, self._rows[0], last)
        shown = self._both(lambda life: f"{_name(life.outcome)} {life.end_reason}".strip())
        self._add(last, 2.5, Cause.UNEXPLAINED, "end", shown, links, frozenset())

    def _stamps(self) -> None:
        one, other = dict(self.one.stamps[::-1]), dict(self.other.stamps[::-1])
        is_known = {"outcome", "end", "filled", "number of fills"} & self.by_kind.keys()
        lone = sorted(str(kind) for kind in one.keys() ^ other.keys() if kind not in _TRADES)
        first, last = self._rows
        if lone and not is_known:
            held = self._both(lambda life: " ".join(str(kind) for kind, _ in life.stamps))
            self._add(last, 2.5, Cause.UNEXPLAINED, "steps", held, [])
        if {"decision time", "fill time"} & self.by_kind.keys():
            return
        for kind, stamps in self._stamp_pairs(one, other):
            if abs(stamps[0] - stamps[1]) > self.context.tolerance_ns:
                links: list[Link] = []
                if kind not in (Kind.SUBMITTED, Kind.ACCEPTED):
                    links = self._from("filled", "number of fills", "quantity", "limit price", "stop price", "end")
                    links += self.context.signals(self.one.sleeve, first, max(stamps))
                    links += self.context.bars(self.one.symbol, first, max(stamps))
                    if self.one.end_reason.endswith(" filled"):
                        links.append(Link("entry", self.one.sleeve))
                self._add(last, 2.6, Cause.TIMING, f"time of {kind}", stamps, links)
                return

    def _stamp_pairs(self, one: dict[Kind, int], other: dict[Kind, int]) -> list[tuple[Kind, tuple[int, int]]]:
        pairs = [(kind, (one[kind], other[kind])) for kind in one if kind in other and kind not in _TRADES]
        if len(self.one.fills) == len(self.other.fills):
            fills = zip(self.one.fills, self.other.fills, strict=True)
            pairs += [(Kind.FILLED, (mine.ts_event, theirs.ts_event)) for mine, theirs in fills]
        return pairs

    def _contributions(self) -> None:
        parts = split_contribution(self.one, self.other, *self.context.closes[self.one.symbol])
        marked = self.context.marked
        marked[self.one.symbol] = marked.get(self.one.symbol, 0.0) + parts.mark
        for kinds, amount in (
            (("side", "fill side", "quantity"), parts.side),
            (("quantity",), parts.quantity),
            (("outcome", "filled", "number of fills"), parts.filled),
            (("fill price", "fill time", "decision time") if self._has_moved else ("fill price",), parts.price),
            (("fee rate",), parts.fee),
        ):
            home = next((self.by_kind[kind] for kind in kinds if kind in self.by_kind), None)
            if home is None:
                self.context.tolerate(self._fill_row, amount)
            else:
                home.pnl += amount


def _name(outcome: Kind | None) -> str:
    return "open" if outcome is None else str(outcome)
