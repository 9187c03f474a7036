"""Evaluations that count: `counted` records those within it as trials, and `not_trials` leaves them out.

Every study and every session over a recording evaluates parameter sets within `counted`. Evaluations that judge a
method rather than a parameter set on its data run within `not_trials`: generated series, sign-flipped bars, and parts
of a study that is counted as a whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace

from peak_trade.core.bars import Bars
from peak_trade.core.errors import DataError, PeakTradeError, warn_once
from peak_trade.tracking.trials import Evaluation, Observations, record_trials

_is_counted: ContextVar[bool] = ContextVar("is_counted", default=True)
_collecting: ContextVar[CollectedTrials | None] = ContextVar("collecting", default=None)


@dataclass(slots=True)
class CountedTrial:
    """An evaluation that runs, and the function that returns what was observed; None until it has succeeded.

    Of an evaluation of several sets, only the first `n_started` are trials when it fails.
    """

    evaluation: Evaluation
    observe: Callable[[], Observations] | None = None
    n_started: int = 1


@contextmanager
def counted(evaluation: Evaluation) -> Iterator[CountedTrial]:
    """Record an evaluation as trials when the block ends, by an exception too; the block sets `observe`.

    A ledger that cannot be written is one warning in the log of `peak_trade`, and the evaluation is not counted.
    """
    trial = CountedTrial(evaluation)
    try:
        yield trial
    finally:
        if _is_counted.get():
            _record(trial)


@contextmanager
def not_trials() -> Iterator[None]:
    """Count no evaluation within the block as a trial, in this thread."""
    token = _is_counted.set(False)
    try:
        yield
    finally:
        _is_counted.reset(token)


@dataclass(slots=True)
class CollectedTrials:
    """Trials that another process observed, without their bars, to be recorded in this one."""

    observed: list[tuple[Evaluation, Observations | None]] = field(default_factory=list)

    def record(self, bars: Sequence[Bars]) -> None:
        """Record the trials, which were evaluated on these bars."""
        for evaluation, observed in self.observed:
            _record_observed(replace(evaluation, bars=tuple(bars)), observed)


@contextmanager
def collected(trials: CollectedTrials) -> Iterator[None]:
    """Collect the trials within the block, in this thread, and do not record them."""
    token = _collecting.set(trials)
    try:
        yield
    finally:
        _collecting.reset(token)


def _record(trial: CountedTrial) -> None:
    try:
        observed = None if trial.observe is None else trial.observe()
    except DataError:  # equity without returns
        observed = None
    evaluation = trial.evaluation
    if trial.observe is None:
        evaluation = replace(evaluation, configs=evaluation.configs[: trial.n_started])
    collecting = _collecting.get()
    if collecting is not None:
        collecting.observed.append((replace(evaluation, bars=()), observed))
    else:
        _record_observed(evaluation, observed)


def _record_observed(evaluation: Evaluation, observed: Observations | None) -> None:
    try:
        record_trials(evaluation, observed)
    except PeakTradeError as error:
        warn_once(f"{error} Its trials are not counted.")
