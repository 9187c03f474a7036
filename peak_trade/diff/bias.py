"""Systematic bias: differences too small to be reported one by one, but with one sign on nearly all orders.

The exact two-sided sign test asks whether differences above and below zero are equally likely (Conover 1999, Practical
Nonparametric Statistics, section 3.4). Differences of zero are left out and counted. At least 10 orders are required,
and the level of 1 % holds for all causes together (Holm 1979).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from peak_trade.diff.causes import Cause, Finding, Kind, Step
from peak_trade.diff.context import Context, Sample
from peak_trade.diff.links import ToFinding

MIN_ORDERS = 10
LEVEL = 0.01
_RESOLUTION = {Cause.SLIPPAGE_BIAS: 0.01, Cause.LATENCY_BIAS: 1.0}
"""Differences below are zero: in bps of the price, and in ms."""
_SETTING = "trading.costs.slippage_bps"
_N_ERRORS = 2.0
"""Standard errors below zero up to which a setting of zero is suggested."""


@dataclass(frozen=True, slots=True)
class Bias:
    """A systematic difference, live − shadow: bps of the price or ms; a positive one is worse or later in the live run.

    `estimate` is the mean over the `n_orders` orders that differ, `error` its standard error. `n_same` orders have its
    sign, `n_zero` orders do not differ. `setting` is the setting to change, empty without one, and `suggested` its
    value.
    """

    cause: Cause
    estimate: float
    error: float
    n_same: int
    n_orders: int
    n_zero: int
    p_value: float
    setting: str = ""
    suggested: float = math.nan

    def __str__(self) -> str:
        name, unit = ("slippage model", "bps") if self.cause is Cause.SLIPPAGE_BIAS else ("simulated latency", "ms")
        decimals = min(max(1, -math.floor(math.log10(self.error))), 6) if self.error > 0.0 else 1
        text = (
            f"{name} too {'low' if self.estimate > 0.0 else 'high'} by {abs(self.estimate):,.{decimals}f} ± "
            f"{self.error:,.{decimals}f} {unit} on {self.n_same:,} of {self.n_orders:,} fills"
        )
        text += f", {self.n_zero:,} equal" if self.n_zero else ""
        return f"{text}; {self.setting} = {self.suggested:.{decimals}f} removes it" if self.setting else text


def sign_test(n_positive: int, n_negative: int) -> float:
    """Return the exact two-sided p-value of the sign test; 1.0 without a difference.

    Examples
    --------
    >>> sign_test(10, 0)
    0.001953125

    """
    n_orders = n_positive + n_negative
    if n_orders == 0:
        return 1.0
    from scipy.special import bdtr

    return min(1.0, 2.0 * float(bdtr(min(n_positive, n_negative), n_orders, 0.5)))


def is_significant(p_values: Mapping[Cause, float], level: float = LEVEL) -> dict[Cause, bool]:
    """Return by Holm's method which hypotheses are rejected at a level that holds for all of them together."""
    ordered = sorted(p_values, key=lambda cause: p_values[cause])
    found = dict.fromkeys(p_values, False)
    for place, cause in enumerate(ordered):
        if p_values[cause] > level / (len(ordered) - place):
            break
        found[cause] = True
    return found


def find_biases(context: Context) -> list[Finding]:
    """Return the systematic differences as findings; what is not systematic is added to what is within the tolerances.

    The PnL of a bias is that of its differences within the tolerances. A larger difference follows from the bias if it
    is within the tolerance of the estimate.
    """
    biases = {}
    for cause, samples in context.samples.items():
        bias = _measured(cause, samples, context)
        if bias.n_orders >= MIN_ORDERS:
            biases[cause] = bias
    rejected = is_significant({cause: bias.p_value for cause, bias in biases.items()})
    findings = []
    for cause, samples in context.samples.items():
        if rejected.get(cause):
            findings.append(_bias_finding(biases[cause], samples, context))
        else:
            for sample in samples:
                context.tolerate(sample.close_time, sample.pnl)
    return findings


def _measured(cause: Cause, samples: Sequence[Sample], context: Context) -> Bias:
    values = [each.difference for each in samples if abs(each.difference) >= _RESOLUTION[cause]]
    n_positive = sum(value > 0.0 for value in values)
    n_orders = len(values)
    estimate = math.fsum(values) / n_orders if values else 0.0
    squares = math.fsum((value - estimate) ** 2 for value in values)
    error = math.sqrt(squares / (n_orders - 1) / n_orders) if n_orders > 1 else math.nan
    current = context.shadow.recording.settings.get(_SETTING) if cause is Cause.SLIPPAGE_BIAS else None
    suggested = math.nan if current is None else current + estimate
    if suggested < 0.0:
        suggested = 0.0 if suggested >= -_N_ERRORS * error else math.nan
    return Bias(
        cause=cause,
        estimate=estimate,
        error=error,
        n_same=n_positive if estimate > 0.0 else n_orders - n_positive,
        n_orders=n_orders,
        n_zero=len(samples) - n_orders,
        p_value=sign_test(n_positive, n_orders - n_positive),
        setting="" if math.isnan(suggested) else _SETTING,
        suggested=suggested,
    )


def _bias_finding(bias: Bias, samples: Sequence[Sample], context: Context) -> Finding:
    is_price = bias.cause is Cause.SLIPPAGE_BIAS
    tolerance = context.tolerance_bps if is_price else context.tolerance_ns / 1e6
    finding = Finding(
        close_time=0,
        step=Step.WHOLE_RUN,
        cause=bias.cause,
        kind=Kind.BIAS,
        subject="all orders",
        shadow=0.0,
        live=bias.estimate,
        bias=bias,
        run_causes=frozenset({Cause.PRICE}) if is_price else frozenset(),
        pnl=math.fsum(each.pnl for each in samples),
    )
    for sample in samples:
        if sample.finding is None:
            context.tolerate(sample.close_time, sample.pnl, finding)
        elif abs(sample.difference - bias.estimate) <= tolerance:
            sample.finding.links = [ToFinding(finding)]
    return finding
