"""Walk-forward VaR of models that the package does not have: GARCH(1,1) with filtered simulation or a tail of extremes.

Peers of the filtered historical method, for the comparison in `docs/risk.md`. All are univariate: they forecast the
return series of the portfolio. Parameters are fitted with `arch` on the 500 days before every 20th day; the variance
and the standardised returns are updated every day.

References
----------
Bollerslev (1986), "Generalized autoregressive conditional heteroskedasticity"; Barone-Adesi, Giannopoulos and Vosper
(1999), "VaR without correlations for portfolios of derivative securities", for the filtered simulation; McNeil and Frey
(2000), "Estimation of tail-related risk measures for heteroscedastic financial time series: an extreme value approach",
for the tail.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from scipy import stats

from peak_trade.core.arrays import FloatArray

Peer = Literal["GARCH-normal FHS", "GARCH-t FHS", "GARCH EVT"]
PEERS: tuple[Peer, ...] = ("GARCH-normal FHS", "GARCH-t FHS", "GARCH EVT")
TAIL_SHARE = 0.1
"""Fraction of the standardised losses to which the generalised Pareto distribution is fitted."""
_PERCENT = 100.0
"""`arch` converges for returns in percent."""


def peer_var(
    returns: FloatArray, peer: Peer, levels: tuple[float, ...], window: int = 500, every: int = 20
) -> FloatArray:
    """Return the VaR of each day after the first `window` days, shape (n_levels, n_days - window), fractions.

    Causal: the VaR of a day uses returns of earlier days only.
    """
    days = _PERCENT * returns
    stated = np.full((len(levels), days.size - window), np.nan)
    for start in range(0, days.size - window, every):
        past = days[start : start + window]
        mean, omega, alpha, beta = _fitted(past, "t" if peer == "GARCH-t FHS" else "normal")
        stop = min(start + every, days.size - window)
        variance = _variance(days[start : stop + window] - mean, omega, alpha, beta, float(past.var()))
        standard = (days[start : stop + window] - mean) / np.sqrt(variance[:-1])
        tail = _tail(-standard[:window], levels) if peer == "GARCH EVT" else None
        for day in range(start, stop):
            place = day - start
            known = standard[place : place + window]
            quantiles = -np.quantile(known, 1.0 - np.array(levels)) if tail is None else tail
            stated[:, day] = (quantiles * np.sqrt(variance[place + window]) - mean) / _PERCENT
    return stated


def _fitted(past: FloatArray, distribution: str) -> tuple[float, float, float, float]:
    from arch import arch_model

    model = arch_model(past, mean="Constant", vol="GARCH", p=1, q=1, dist=distribution, rescale=False)
    found = model.fit(disp="off", show_warning=False).params
    return tuple(float(found[name]) for name in ("mu", "omega", "alpha[1]", "beta[1]"))


def _variance(shocks: FloatArray, omega: float, alpha: float, beta: float, first: float) -> FloatArray:
    """Return the variance before each day and after the last one, shape (n_days + 1,)."""
    variance = np.empty(shocks.size + 1)
    variance[0] = first
    for day, shock in enumerate(shocks):
        variance[day + 1] = omega + alpha * shock * shock + beta * variance[day]
    return variance


def _tail(losses: FloatArray, levels: tuple[float, ...]) -> FloatArray:
    """Return the quantiles of the losses at the levels, by a generalised Pareto distribution beyond a threshold."""
    threshold = np.quantile(losses, 1.0 - TAIL_SHARE)
    excesses = losses[losses > threshold] - threshold
    shape, _, scale = stats.genpareto.fit(excesses, floc=0.0)
    share = excesses.size / losses.size
    return np.array(
        [threshold + stats.genpareto.ppf(1.0 - (1.0 - level) / share, shape, 0.0, scale) for level in levels]
    )
