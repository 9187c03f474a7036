"""What the comparison of two matched orders has in common, with and without an external log."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from peak_trade.diff.causes import Cause, Finding, Kind, Step
from peak_trade.diff.context import Context, Sample
from peak_trade.diff.links import Link, ToFinding
from peak_trade.diff.matching import OrderPair
from peak_trade.diff.order_histories import OrderHistory
from peak_trade.diff.order_rules import Rule, order_finding
from peak_trade.diff.pnl import fee_rate, split_contribution

MAIN_PART = 0.5
"""Fraction of a difference from which on another difference explains it."""


@dataclass(slots=True)
class PairComparison:
    """Two matched orders, and the findings of their differences by kind."""

    context: Context
    pair: OrderPair
    shadow: OrderHistory
    live: OrderHistory
    by_kind: dict[str, Finding] = field(default_factory=dict)

    @property
    def orders(self) -> tuple[OrderHistory, OrderHistory]:
        """Both orders, the shadow's first."""
        return self.shadow, self.live

    @property
    def lot_size(self) -> float:
        """Lot size of the symbol, base units."""
        return self.context.lot_sizes.get(self.shadow.symbol, 0.0)

    @property
    def are_filled(self) -> bool:
        """Whether both orders have a fill."""
        return bool(self.shadow.fills and self.live.fills)

    @property
    def delay(self) -> int:
        """Time from the first fill of the shadow's order to that of the live order, ns."""
        return self.live.fills[0].ts_event - self.shadow.fills[0].ts_event

    @property
    def price_change(self) -> float:
        """Change of the average fill price in bps of the mean of both, positive if the live one is worse."""
        shadow, live = self.both(lambda order: order.price)
        return float(self.shadow.side.sign * (live - shadow) / (0.5 * (live + shadow)) * 1e4)

    @property
    def fee_rates(self) -> tuple[float, float]:
        """Fee rates of both orders, bps of the notional."""
        return fee_rate(self.shadow) * 1e4, fee_rate(self.live) * 1e4

    @property
    def have_arrivals_moved(self) -> bool:
        """Whether the arrival prices explain the main part of the difference of the fill prices."""
        arrivals, prices = self.both(lambda order: order.arrival_price), self.both(lambda order: order.price)
        return bool(abs(arrivals[1] - arrivals[0]) >= MAIN_PART * abs(prices[1] - prices[0]))

    def both(self, value_of: Callable[[OrderHistory], Any]) -> tuple[Any, Any]:
        """Return a value of both orders."""
        return value_of(self.shadow), value_of(self.live)

    def add(
        self, kind: str, values: tuple[Any, Any], close_time: int, step: Step, links: Sequence[Link] = (),
        rule: Rule | None = None,
    ) -> Finding:  # fmt: skip
        """Add a difference of a kind and return it."""
        finding = self.by_kind[kind] = order_finding(self.pair, kind, values, close_time, step, links, rule)
        return finding

    def links_to(self, *kinds: Kind) -> list[Link]:
        """Return links to the findings of some kinds, as far as there are any."""
        return [ToFinding(self.by_kind[kind]) for kind in kinds if kind in self.by_kind]

    def first_of(self, kinds: Iterable[str]) -> Finding | None:
        """Return the finding of the first kind that differs."""
        return next((self.by_kind[kind] for kind in kinds if kind in self.by_kind), None)

    def split_pnl(
        self,
        close_time: int,
        kinds_of: Sequence[tuple[Sequence[Kind], Sequence[str]]],
        price_kinds: Sequence[Kind],
        is_sample: Callable[[Finding | None], bool],
    ) -> None:
        """Assign each part of the change of the contribution to the finding that explains it.

        Parameters
        ----------
        close_time : int
            Close of the bar of what no finding explains, ns UTC.
        kinds_of : sequence
            The kinds that explain a sum of parts of the change, the first one that differs, and the names of the parts.
        price_kinds : sequence of Kind
            The same for the price.
        is_sample : callable
            Whether the difference of the prices, with its finding or None, is one that a slippage bias may explain.

        """
        symbol = self.shadow.symbol
        change = split_contribution(self.shadow, self.live, *self.context.last_closes[symbol])
        self.context.mark_pnl[symbol] = self.context.mark_pnl.get(symbol, 0.0) + change.mark
        for kinds, parts in (*kinds_of, (price_kinds, ("price",)), ((Kind.FEE_RATE,), ("fee",))):
            finding, amount = self.first_of(kinds), sum(getattr(change, part) for part in parts)
            if kinds is price_kinds and is_sample(finding):
                self.add_sample(Cause.SLIPPAGE_BIAS, self.price_change, amount, finding)
            elif finding is None:
                self.context.tolerate(close_time, amount)
            if finding is not None:
                finding.pnl += amount

    def add_sample(self, bias: Cause, difference: float, pnl: float, finding: Finding | None) -> None:
        """Add a difference that nothing explains to those that a bias may explain."""
        close_time = self.live.fills[0].close_time if finding is None else finding.close_time
        sample = Sample(close_time, difference, 0.0 if finding is not None else pnl, finding)
        self.context.samples.setdefault(bias, []).append(sample)
