"""Names of regimes: whether the data identify them, and whether they stay the same with other seeds and start bars."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from peak_trade.core.errors import DataError
from peak_trade.core.executor import Executor
from peak_trade.core.progress import progress
from peak_trade.regimes.detector import Detector
from peak_trade.regimes.states import REGIMES, Regime
from peak_trade.studies.regime.study import RegimeStudy

LEAST_AGREEMENT = 0.8
"""Share of equal labels below which the names are withheld."""
LEAST_SEPARATION = 1.0
"""Standard errors between the mean returns of the bull and the bear state below which they are not identified."""
START_STEP = 24
"""Bars between the start bars of a detector that is never refitted."""


@dataclass(frozen=True, slots=True, eq=False)
class Naming:
    """Names that a page may give to the regimes of a study, and the agreement that they rest on.

    `names` maps bear, sideways and bull to the names to show. `agreement` has one row per other run of the detector:
    change, and equal, the share of the bars of the study with the same label. Empty when it was not measured.
    """

    names: Mapping[str, str]
    sentences: tuple[str, ...]
    agreement: pd.DataFrame

    def apply(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return a table with these names in its columns, its index and its text."""
        renamed = frame.rename(index=self.names, columns=self.names)
        return renamed.replace({"regime": dict(self.names)}) if "regime" in frame else renamed

    def to_dict(self) -> dict[str, Any]:
        """Return names, sentences and agreement as plain values, for JSON."""
        agreement = self.agreement.to_dict("records")
        return {"names": dict(self.names), "sentences": list(self.sentences), "agreement": agreement}


def label_agreement(study: RegimeStudy, n_runs: int, executor: Executor | None = None) -> pd.DataFrame:
    """Run the detector again with `n_runs` other seeds and `n_runs` other start bars, and compare the labels.

    The runs are independent of each other, and `executor` runs them. Within a run each fit may begin at the one before
    it, so the fits of one run are a chain.

    Returns
    -------
    DataFrame of shape (2 n_runs, 2)
        change, and equal: the share of the known bars of the study, from its first traded bar on, with the same label.
        The start bars shift the refits by parts of the time between two of them. Runs that have too few bars are left
        out, and other seeds of a detector that has none.

    """
    frame, detector = study.bars.for_strategy(), study.detector
    seed, every = getattr(detector, "seed", None), getattr(detector, "refit_every", START_STEP * (n_runs + 1))
    runs = [] if seed is None else [(f"seed {seed + i}", {"seed": seed + i}, 0) for i in range(1, n_runs + 1)]
    runs += [(f"start + {cut} bars", {}, cut) for cut in (every * i // (n_runs + 1) for i in range(1, n_runs + 1))]
    tasks = [(detector.model_copy(update=update), cut) for _, update, cut in runs]
    with progress("labels", "runs") as on_progress:
        found = (executor or Executor()).map(_labels, frame, tasks, on_progress)
    rows = []
    for (change, _, cut), other in zip(runs, found, strict=True):
        if other is None:
            continue
        first = max(study.first, cut)
        ours, theirs = study.labels[first - study.first :], other[first - cut :]
        known = (ours >= 0) & (theirs >= 0)
        if known.any():
            rows.append((change, float((ours == theirs)[known].mean())))
    return pd.DataFrame(rows, columns=["change", "equal"]).astype({"equal": "float64"})


def _labels(frame: pd.DataFrame, run: tuple[Detector, int]) -> NDArray[np.int8] | None:
    """Return the labels of a detector from a bar on; None if there are too few bars."""
    detector, cut = run
    try:
        return detector.filter(frame.iloc[cut:]).labels
    except DataError:
        return None


def name_regimes(study: RegimeStudy, n_runs: int = 5, executor: Executor | None = None) -> Naming:
    """Decide how the regimes of a study may be called.

    Parameters
    ----------
    study : RegimeStudy
    n_runs : int
        Seeds and start bars of `label_agreement`; 0 does not measure it.
    executor : Executor, optional
        Where its runs take place. Defaults to the processes of this machine.

    Returns
    -------
    Naming
        Numbers where labels agree in less than 80 % of the bars on average over the other seeds, or over the other
        start bars. Otherwise calm, normal and wild by the volatility of their bars, where the mean returns of the top
        and the bottom state are less than one standard error apart in half of the refits or more. Otherwise bear,
        sideways and bull.

    """
    agreement, sentences = label_agreement(study, n_runs, executor), []
    is_stable = True
    for kind, unit in (("seed", "seed"), ("start", "start bar")):
        part = agreement.loc[agreement["change"].str.startswith(kind), "equal"]
        if len(part):
            is_stable &= part.mean() >= LEAST_AGREEMENT
            several = f"{len(part)} other {unit}{'s' if len(part) > 1 else ''}"
            sentences.append(
                f"The labels agree with those of {several} in {part.mean():.1%} of the bars, with the worst in "
                f"{part.min():.1%}."
            )
    if not len(agreement):
        sentences.append("Whether the labels agree with those of other seeds and start bars was not measured.")
    refits = study.refits()
    known = refits["separation"].dropna()
    is_identified = known.empty or float(known.median()) >= LEAST_SEPARATION
    if len(known):
        probability = refits["bull_above_bear"].median()
        sentences.append(
            f"The mean return of the top state is {known.median():.1f} standard errors above that of the bottom state "
            f"in the median refit: P(top > bottom | data) = {probability:.1%}."
        )
    plain = [regime.name.lower() for regime in REGIMES]
    names = dict(zip(plain, plain, strict=True))
    if not is_stable:
        names = {name: f"state {int(regime) + 1}" for name, regime in zip(plain, REGIMES, strict=True)}
        sentences.append(
            f"The names are withheld, because labels agree in less than {LEAST_AGREEMENT:.0%} of the bars."
        )
    elif not is_identified:
        names = _by_volatility(study)
        sentences.append("The mean returns are not identified, so the regimes are named by their volatility.")
    return Naming(names, tuple(sentences), agreement)


def _by_volatility(study: RegimeStudy) -> dict[str, str]:
    close = study.close.to_numpy()
    returns, known = np.diff(close) / close[:-1], study.labels[:-1]
    spread = {regime: returns[known == regime].std() if (known == regime).sum() > 1 else np.inf for regime in REGIMES}
    ordered: list[Regime] = sorted(REGIMES, key=lambda regime: spread[regime])
    return {regime.name.lower(): name for regime, name in zip(ordered, ("calm", "normal", "wild"), strict=True)}
