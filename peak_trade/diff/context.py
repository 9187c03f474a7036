"""Data of both runs that the comparison of their orders, signals and cash flows shares."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field

from peak_trade.diff.causes import Cause, Finding, Kind, Step
from peak_trade.diff.links import Link, SleeveState, ToBar, ToState
from peak_trade.diff.order_histories import Sleeve
from peak_trade.diff.run_log import RunLog


@dataclass(frozen=True, slots=True)
class Sample:
    """Difference of one order that nothing explains, live − shadow; a positive one is worse or later in the live run.

    `difference` is in bps of the price or in ms. `finding` is the difference if it exceeds the tolerance; otherwise
    `pnl` is its effect, quote currency.
    """

    close_time: int
    difference: float
    pnl: float
    finding: Finding | None


@dataclass(slots=True, eq=False)
class Context:
    """Data of both runs for the comparison of two orders.

    `last_closes` are the last closes that both runs have, with the value in each run; `lot_sizes` are in base units.
    `bar_spans` are the first and last closes of differing bars, `signal_times` the closes of differing signals, in
    order. `sizing` is the kind of the sizing rule. `arrival_timeframe_ns` is the length of the bars from which the
    arrival prices of an external log are read.
    """

    shadow: RunLog
    live: RunLog
    tolerance_bps: float
    tolerance_ns: int
    last_closes: dict[str, tuple[float, float]]
    lot_sizes: dict[str, float]
    sizing: str = "fraction_of_equity"
    arrival_timeframe_ns: int = 0
    bar_spans: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    signal_times: dict[Sleeve, list[int]] = field(default_factory=dict)
    tolerated: list[Finding] = field(default_factory=list)
    """Effects within the tolerances."""

    drifts: dict[Sleeve, tuple[float, int]] = field(default_factory=dict)
    """Relative difference of a sleeve's last two quantities as fractions of equity, and the close of the request."""

    mark_pnl: dict[str, float] = field(default_factory=dict)
    """PnL of matched orders that is due to different last closes, by symbol."""

    samples: dict[Cause, list[Sample]] = field(default_factory=dict)
    """Differences that nothing explains, by the bias that they may share."""

    _first_fees: dict[tuple[str, tuple[float, float]], Finding] = field(default_factory=dict)

    def bar_links(self, symbol: str, first: int, last: int) -> list[Link]:
        """Return a link to the bars with a close in [first, last] if one of them differs."""
        spans = self.bar_spans.get(symbol, [])
        n_until = bisect_left(spans, (last + 1, 0))
        return [ToBar(symbol, first, last)] if n_until and spans[n_until - 1][1] >= first else []

    def signal_links(self, sleeve: Sleeve, first: int, last: int) -> list[Link]:
        """Return a link to the signal of a sleeve if one with a close in [first, last] differs."""
        times = self.signal_times.get(sleeve, [])
        n_before = bisect_left(times, first)
        is_known = n_before < len(times) and times[n_before] <= last
        return [ToState(sleeve, SleeveState.SIGNAL)] if is_known else []

    def tolerate(self, close_time: int, pnl: float, root: Finding | None = None) -> None:
        """Add a PnL (live − shadow, quote currency) to what is within the tolerances, or belongs to a bias."""
        if pnl:
            self.tolerated.append(
                Finding(
                    close_time=close_time,
                    step=Step.WITHIN_TOLERANCE,
                    cause=Cause.UNEXPLAINED,
                    kind=Kind.WITHIN_TOLERANCE,
                    pnl=pnl,
                    root=root,
                )
            )

    def first_fee_difference(self, order_type: str, rates: tuple[float, float]) -> Finding | None:
        """Return the first finding with these two fee rates (bps) since the rates of its order type were last equal.

        A finding of the same order type comes first.
        """
        others = (finding for (_, known), finding in self._first_fees.items() if known == rates)
        return self._first_fees.get((order_type, rates)) or next(others, None)

    def begin_fee_difference(self, order_type: str, rates: tuple[float, float], finding: Finding) -> None:
        """Store the first finding with two fee rates."""
        self._first_fees[order_type, rates] = finding

    def end_fee_differences(self, order_type: str) -> None:
        """Forget the differing fee rates of an order type, because the rates are equal again."""
        self._first_fees = {key: finding for key, finding in self._first_fees.items() if key[0] != order_type}

    def are_configured(self, rates: tuple[float, float]) -> bool:
        """Return whether each run charged a fee rate (bps) that its settings state."""
        for run, rate in zip((self.shadow, self.live), rates, strict=True):
            stated = [run.recording.settings.get(f"trading.costs.{name}") for name in ("fee_bps", "maker_fee_bps")]
            if not any(fee is not None and abs(rate - fee) <= 0.01 for fee in stated):
                return False
        return True
