"""Short check for look-ahead, which every run of a user's strategy makes within a budget of time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import product

import numpy as np
import pandas as pd

from peak_trade.causality.check import DEFAULT_CUTS, after_another_call, try_short
from peak_trade.causality.comparison import Comparison, as_results
from peak_trade.causality.evaluation import Evaluator, InAllSymbols, can_be_imported, frame_for
from peak_trade.causality.report import STATE_NOT_CHECKED
from peak_trade.causality.rewrites import REWRITES, choose_cuts, rewritten
from peak_trade.core.bar_frame import index_ns
from peak_trade.core.bars import Bars
from peak_trade.core.causality import CausalityOutcome, CausalityVerdict
from peak_trade.core.digest import digest_bytes
from peak_trade.core.errors import StrategyError, one_line
from peak_trade.strategies.base import BaseStrategy, Strategy
from peak_trade.strategies.panel import PanelStrategy
from peak_trade.wiring.digests import code_digest, user_strategies

N_BARS = 4_096
"""Number of the newest bars that are checked."""
BUDGET = 0.22
"""Time in seconds after which no further rewriting is evaluated, or RUN_FRACTION of the run's evaluation if larger."""
RUN_FRACTION = 0.05

_Subject = Strategy | InAllSymbols

_known: dict[tuple[str, str, str], CausalityOutcome] = {}
"""Outcomes of this process by code digest, digest of parameters, and digest of the bars, empty for a leak."""


def check_run(
    pairs: Iterable[tuple[BaseStrategy, Bars | Sequence[Bars]]],
    *,
    is_wanted: bool = True,
    budget: float = BUDGET,
    n_runs: int = 1,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[CausalityOutcome, ...]:
    """Check the strategies that a user wrote, and those within other strategies, on the newest bars of a run.

    Parameters
    ----------
    pairs : iterable of (Strategy or PanelStrategy, Bars or sequence of Bars)
        The strategies of a run, each with its bars. Strategies of this package are left out, because its test suite
        checks them. Of a panel strategy the bars of all symbols are rewritten together.
    is_wanted : bool
        Whether to check; otherwise there is an outcome for every strategy that says so.
    budget : float, seconds
        Time for all strategies together, if it is more than RUN_FRACTION of the estimated time of the runs.
    n_runs : int
        Number of runs over the bars.
    clock : callable
        Returns seconds.

    Returns
    -------
    tuple of CausalityOutcome
        One for each distinct part. The check never raises: a part that raises has the verdict NOT_TESTED.

    """
    pairs = list(pairs)
    if not is_wanted:
        return tuple({part.name: _not_checked(part.name) for part, _ in pairs}.values())
    parts = {
        (code_digest([part]), part.digest()): (subject, frame)
        for strategy, given in reversed(pairs)
        for part, subject, frame in _subjects(strategy, [given] if isinstance(given, Bars) else given)
    }
    return tuple(
        _cached(subject, frame, key, budget / len(parts), n_runs, clock)
        for key, (subject, frame) in reversed(parts.items())
    )


def _subjects(strategy: BaseStrategy, bars: Sequence[Bars]) -> Iterator[tuple[BaseStrategy, _Subject, pd.DataFrame]]:
    """Yield each part of a strategy that a user wrote, and what is checked of it on which frame."""
    if isinstance(strategy, PanelStrategy):
        if user_strategies(strategy):
            yield strategy, *InAllSymbols.of(strategy, bars)
    elif isinstance(strategy, Strategy):
        for part in user_strategies(strategy.from_bars()):
            assert isinstance(part, Strategy)
            yield part, part, frame_for(part, bars[0])


def _not_checked(name: str) -> CausalityOutcome:
    sentence = f"{name} was not checked for look-ahead: the check was switched off."
    return CausalityOutcome(name, CausalityVerdict.NOT_CHECKED, sentence)


def _cached(
    subject: _Subject,
    frame: pd.DataFrame,
    key: tuple[str, str],
    budget: float,
    n_runs: int,
    clock: Callable[[], float],
) -> CausalityOutcome:
    newest = frame.iloc[-max(N_BARS, _warm_up(subject) + N_BARS // 4) :]
    if (*key, "") in _known:
        return _known[*key, ""]
    place = (*key, digest_bytes(index_ns(newest.index).tobytes(), newest.to_numpy().tobytes()))
    if place not in _known:
        _known[place] = _outcome(subject, len(frame) * n_runs, newest, budget, clock)
    if _known[place].verdict is CausalityVerdict.LOOKS_AHEAD:
        _known[*key, ""] = _known[place]
    return _known[place]


def _warm_up(subject: _Subject) -> int:
    return subject.warm_up if isinstance(subject, Strategy) else subject.strategy.warm_up


def _outcome(
    subject: _Subject, n_run: int, newest: pd.DataFrame, budget: float, clock: Callable[[], float]
) -> CausalityOutcome:
    name = subject.name
    if len(newest) < _warm_up(subject) + 20:
        reason = f"{len(newest):,} bars are too few for a warm-up of {_warm_up(subject):,}"
        return _not_tested(name, reason)
    try:
        return _ShortCheck(subject, newest, n_run, budget, clock).run()
    except Exception as error:
        return _not_tested(name, f"it raised {type(error).__name__} ({error})")


def _not_tested(name: str, reason: str) -> CausalityOutcome:
    sentence = f"{name} was not tested for look-ahead: {reason}."
    return CausalityOutcome(name, CausalityVerdict.NOT_TESTED, one_line(sentence))


@contextmanager
def naming_look_ahead(outcomes: Iterable[CausalityOutcome]) -> Iterator[None]:
    """Add the sentences on look-ahead to an error of a strategy: NaN at the last bars often comes from it."""
    try:
        yield
    except StrategyError as error:
        found = [each.sentence for each in outcomes if each.verdict is CausalityVerdict.LOOKS_AHEAD]
        if not found:
            raise
        raise StrategyError(f"{error} {' '.join(found)}") from error


def _count(n: int, noun: str) -> str:
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


class _ShortCheck:
    """One check: a short history, the newest bars, then rewritings of them while there is time."""

    def __init__(
        self,
        subject: _Subject,
        frame: pd.DataFrame,
        n_run: int,
        budget: float,
        clock: Callable[[], float],
    ) -> None:
        self._evaluate, self._frame, self._head = Evaluator(subject), frame, _warm_up(subject)
        self._n_run, self._budget, self._clock = n_run, budget, clock
        self._tried: list[int] = []
        self._state = "" if can_be_imported(subject) else f" {STATE_NOT_CHECKED}"

    def run(self) -> CausalityOutcome:
        started, budget = self._fit_to_budget()
        frame, evaluate, name = self._frame, self._evaluate, self._evaluate.name
        early = self._early()
        short = try_short(evaluate, frame, early)
        truth = as_results(evaluate.outcome(frame), len(frame), name)
        comparison = Comparison(truth, index_ns(frame.index), name)
        if short is not None:
            comparison.compare("short first", early, short)
            self._tried.append(early)
        cost = (self._clock() - started) / 2.0
        for kind, cut in self._plan(choose_cuts(frame, truth, self._head, DEFAULT_CUTS)):
            before = self._clock()
            if before + cost > started + budget:
                break
            self._compare(comparison, kind, cut)
            if comparison.leaks.keys() - {"repeated"}:
                break
            cost = self._clock() - before
        return self._outcome(comparison)

    def _fit_to_budget(self) -> tuple[float, float]:
        """Return the start and the budget, in seconds, after leaving out older bars if the strategy is slow.

        The first evaluation does not count: it imports and compiles what the run needs too.
        """
        try_short(self._evaluate, self._frame, self._early())
        started = self._clock()
        try_short(self._evaluate, self._frame, self._early())
        per_bar = (self._clock() - started) / (self._early() + 1)
        budget = max(self._budget, RUN_FRACTION * per_bar * self._n_run)
        n_affordable = int(budget / 4.0 / per_bar) if per_bar else len(self._frame)
        self._frame = self._frame.iloc[-max(n_affordable, self._head + 64) :]
        return started, budget

    def _early(self) -> int:
        return self._head + (len(self._frame) - self._head) // 8

    def _plan(self, cuts: list[int]) -> Iterator[tuple[str, int]]:
        yield "repeated", len(self._frame) - 1
        cuts = np.random.default_rng(0).permutation(cuts).tolist()
        yield from product((kind for kind in REWRITES if kind != "nan"), cuts)

    def _compare(self, comparison: Comparison, kind: str, cut: int) -> None:
        if kind == "repeated":
            comparison.compare(kind, cut, after_another_call(self._evaluate, self._frame, self._early()))
            return
        try:
            results = self._evaluate(rewritten(kind, self._frame, cut))
        except Exception as error:
            comparison.fail(kind, error)
            return
        comparison.compare(kind, cut, results)
        self._tried.append(cut)

    def _outcome(self, comparison: Comparison) -> CausalityOutcome:
        name = self._evaluate.name
        leaks, roundings = comparison.leaks, comparison.roundings
        if leaks:
            leak = next((each for kind, each in leaks.items() if kind != "repeated"), leaks.get("repeated"))
            cause = "LOOKS AHEAD" if leaks.keys() - {"repeated"} else "LOOKS AHEAD or depends on earlier calls"
            sentence = f"{name} {cause}, so that its results can not be reached: {leak}."
            verdict = CausalityVerdict.LOOKS_AHEAD
        elif not self._tried:
            errors = [each.error for each in comparison.failed.values()]
            return _not_tested(name, f"it raised on rewritten bars ({errors[0]})" if errors else "it is too slow")
        else:
            scope = (
                f"{_count(len(self._tried), 'rewriting')} at {_count(len(set(self._tried)), 'cut')} of the newest "
                f"{len(self._frame):,} bars"
            )
            verdict, sentence = CausalityVerdict.CAUSAL, f"{name} shows no look-ahead in a short check of {scope}."
            if roundings:
                first = next(iter(roundings.values()))
                verdict = CausalityVerdict.ROUNDING
                sentence = f"{name} shows rounding, not look-ahead ({first.ulps:g} ulps, no order changes): {first}."
        writes = "".join(f" It {write}." for write in self._evaluate.writes)
        return CausalityOutcome(name, verdict, one_line(f"{sentence}{self._state}{writes}"))
