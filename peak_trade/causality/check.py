"""Check that a strategy or function does not look ahead: change the bars after t, compare the results up to t."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import numpy as np
import pandas as pd
from pydantic import Field

from peak_trade.causality.comparison import Comparison, Results, as_results
from peak_trade.causality.continued import check_continued
from peak_trade.causality.evaluation import Evaluator, InOneSymbol, Subject, can_be_imported, frame_for
from peak_trade.causality.report import STATE_NOT_CHECKED, STATE_PARTLY_CHECKED, CausalityReport, Drift
from peak_trade.causality.rewrites import REWRITES, choose_cuts, rewritten
from peak_trade.core.arguments import checks_arguments
from peak_trade.core.arrays import IntArray
from peak_trade.core.bars import Bars, as_bars
from peak_trade.core.errors import ConfigError, PeakTradeError, StrategyError, one_line
from peak_trade.core.progress import progress
from peak_trade.core.settings import Seed
from peak_trade.strategies.base import Strategy, check_exposure
from peak_trade.strategies.panel import PanelStrategy
from peak_trade.wiring.strategies import make_strategy

DRIFT_TOLERANCE = 1e-9
"""Absolute difference above which two results count as different in the drift table."""
DEFAULT_CUTS = 40
"""Number of cuts, with which a leak on 7 % of the bars is found with 95 % probability."""


@checks_arguments(subject="a Strategy, or a function of a bar frame")
def check_causality(
    subject: Subject,
    bars: Bars | pd.DataFrame,
    *,
    warm_up: int | None = None,
    n_cuts: Annotated[int, Field(ge=1, le=1_000_000)] = DEFAULT_CUTS,
    seed: Seed = 0,
) -> CausalityReport:
    """Rewrite the bars after several cuts in every way of REWRITES, and report the results up to a cut that changed.

    Parameters
    ----------
    subject : Strategy, or function of a bar frame
        A function returns one value per bar: an array, a Series, a DataFrame, or a tuple of arrays.
    bars : Bars or DataFrame of shape (n_bars, 5), n_bars at least warm_up + 20
        A few thousand bars on which the subject enters and exits are enough.
    warm_up : int, bars
        Warm-up of a function, which the drift table leaves out; that of a strategy is its own.
    n_cuts : int, at least 1
        Number of cuts; see `choose_cuts`.
    seed : int
        Seed of the cuts and of the noise.

    Returns
    -------
    CausalityReport
        Results are compared bit by bit, with NaN equal to NaN. Each evaluation starts from the state that the subject's
        code had at the start (module variables, class attributes, closures, caches, files), and the short history comes
        first, so that what a call keeps does not hide a leak. The unchanged bars are evaluated again after a call on
        fewer bars: a subject whose results then differ is reported as the leak `repeated`. A kind of rewriting on which
        the subject raises an error (NaN prices, fewer bars) is listed under `failed_rewrites` and is not a leak.

    Raises
    ------
    StrategyError
        If the result on the unchanged bars breaks the contract of a strategy and there is no leak, if every rewriting
        of some cut failed, so that there is nothing to compare, or if an incremental strategy differs bar by bar.
    ConfigError
        If there are too few bars, or no cuts.

    """
    if not isinstance(bars, Bars):
        bars = as_bars(bars)
    return check_with(Evaluator(subject), bars, warm_up or 0, n_cuts, seed)


def check_panel(
    strategy: PanelStrategy, bars: Sequence[Bars], *, n_cuts: int = DEFAULT_CUTS, seed: int = 0
) -> list[CausalityReport]:
    """Check a panel strategy: rewrite the bars of one symbol after several cuts, for each symbol in turn.

    The bars of the other symbols stay, also after the cut; the exposures of all symbols are compared. The reports are
    in the order of the bars; see `check_causality`.

    Raises
    ------
    StrategyError, ConfigError
        As `check_causality`.

    """
    subjects = [InOneSymbol(strategy, part, tuple(each for each in bars if each is not part)) for part in bars]
    return [check_with(Evaluator(each), each.own, strategy.warm_up, n_cuts, seed) for each in subjects]


def check_in_fresh_processes(
    name: str, parameters: Mapping[str, Any], bars: Bars, n_cuts: int, seed: int = 0
) -> CausalityReport:
    """Check a strategy that is given by name, so that state inside libraries is found too; see `check_causality`.

    One process evaluates short histories first and then all bars, another one all bars first. If the strategy reads a
    file, both run again as if it did not exist; if the strategy then writes it, the second report counts.

    Raises
    ------
    StrategyError, ConfigError
        As `check_causality`, and when a process ends without an answer.

    """
    job = _Job(name, dict(parameters), bars, n_cuts, seed, True, sys.path)
    report = _report_of(job)
    if not report.files_read:
        return report
    with suppress(StrategyError):
        without = _report_of(replace(job, hidden=report.files_read))
        if without.files_written:
            return without
    return report


def check_with(evaluate: Evaluator, bars: Bars, warm_up: int, n_cuts: int, seed: int) -> CausalityReport:
    """Check the subject of an evaluator; see `check_causality`. The warm-up of a strategy is its own."""
    name, frame, subject = evaluate.name, frame_for(evaluate.subject, bars), evaluate.subject
    head = subject.warm_up if isinstance(subject, Strategy) else warm_up
    if len(bars) < head + 20:
        raise ConfigError(f"{name}: {len(bars)} bars are too few for a warm-up of {head}. Give at least {head + 20}.")
    early = head + (len(bars) - head) // 2
    first = try_short(evaluate, frame, early)
    outcome = evaluate.outcome(frame)
    breach = _breach(subject, outcome, bars.times, head, name)
    truth = as_results(outcome, len(bars), name)
    comparison = Comparison(truth, bars.times, name)
    if first is not None:
        comparison.compare("short first", early, first)
    comparison.compare("repeated", len(bars) - 1, after_another_call(evaluate, frame, early))
    cuts = choose_cuts(frame, truth, head, min(n_cuts, len(bars)), seed)
    with progress("check for look-ahead", "cuts") as on_progress:
        for n_done, cut in enumerate(cuts, start=1):
            compare_every_rewrite(evaluate, comparison, frame, cut, seed)
            on_progress(n_done, len(cuts))
    if breach is not None and not comparison.leaks:
        raise breach
    if isinstance(subject, Strategy) and not comparison.leaks:
        check_continued(subject, bars)
    return CausalityReport(
        name=name,
        n_bars=len(bars),
        n_cuts=len(cuts),
        n_rewrites=len(cuts) * len(REWRITES),
        leaks=tuple(comparison.leaks.values()),
        roundings=tuple(comparison.roundings.values()),
        writes=tuple(evaluate.writes),
        kept_state=tuple(evaluate.kept_state),
        failed_rewrites=tuple(comparison.failed.values()),
        drift=_drift(evaluate, frame, truth, head),
        files_read=evaluate.files.read,
        files_written=evaluate.files.written,
        state_note=STATE_PARTLY_CHECKED if can_be_imported(subject) else STATE_NOT_CHECKED,
    )


def compare_every_rewrite(
    evaluate: Evaluator, comparison: Comparison, frame: pd.DataFrame, cut: int, seed: int = 0
) -> None:
    """Compare the results of every rewriting at a cut; StrategyError when the subject raises on all of them."""
    n_failed = 0
    for kind in REWRITES:
        try:
            results = evaluate(rewritten(kind, frame, cut, seed))
        except Exception as error:
            n_failed += 1
            comparison.fail(kind, error)
            continue
        comparison.compare(kind, cut, results)
    if n_failed == len(REWRITES):
        raise comparison.nothing(cut)


def try_short(evaluate: Evaluator, frame: pd.DataFrame, cut: int, *, restores: bool = True) -> Results | None:
    """Return the results on the bars up to and including a cut; None when the subject raises on them."""
    try:
        return evaluate(frame.iloc[: cut + 1], restores=restores)
    except Exception:
        return None


def after_another_call(evaluate: Evaluator, frame: pd.DataFrame, cut: int) -> Results:
    """Return the results on the bars right after a call on those up to a cut, with the state which that call kept."""
    with suppress(Exception):
        evaluate(frame.iloc[: cut + 1], restores=False)
    return evaluate(frame)


def _breach(subject: Subject, outcome: object, times: IntArray, head: int, name: str) -> StrategyError | None:
    if isinstance(subject, Strategy):
        try:
            check_exposure(outcome, times, head, name)
        except StrategyError as error:
            return error
    return None


def _drift(evaluate: Evaluator, frame: pd.DataFrame, truth: Results, head: int) -> tuple[Drift, ...]:
    n_bars = len(frame)
    rows = []
    for n_dropped in sorted({1, 24, 7 * 24, n_bars // 4, n_bars // 2}):
        start = n_dropped + head
        if start >= n_bars:
            continue
        try:
            later = evaluate(frame.iloc[n_dropped:])
        except Exception:
            continue
        gaps = np.zeros(n_bars - start)
        for column, whole in truth.items():
            before, after = whole[start:], later[column][head:]
            gap = np.where(np.isnan(before) & np.isnan(after), 0.0, np.abs(before - after))
            gaps = np.maximum(gaps, np.where(np.isnan(gap), np.inf, gap))
        different = np.flatnonzero(gaps > DRIFT_TOLERANCE)
        settled = int(different[-1]) + 1 if different.size else 0
        rows.append(Drift(n_dropped, gaps.size, int(different.size), float(gaps.max()), settled))
    return tuple(rows)


@dataclass(frozen=True, slots=True)
class _Job:
    name: str
    parameters: dict[str, Any]
    bars: Bars
    n_cuts: int
    seed: int
    is_short_first: bool
    path: list[str]
    hidden: tuple[str, ...] = ()
    """Files that seem not to exist until the strategy writes them."""


@dataclass(slots=True)
class _Answer:
    results: dict[int, Results] = field(default_factory=dict)
    """Results by the last bar of the history."""
    report: CausalityReport | None = None
    error: PeakTradeError | None = None
    files_read: tuple[str, ...] = ()
    files_written: tuple[str, ...] = ()


def _report_of(job: _Job) -> CausalityReport:
    answers: list[_Answer] = []
    with progress("check for look-ahead", "processes") as on_progress:
        for is_first in (True, False):
            on_progress(len(answers), 2)
            answers.append(_answer_of(replace(job, is_short_first=is_first)))
    short_first, whole_first = answers
    report = whole_first.report
    if report is None:
        raise StrategyError(f"{job.name}: the check ended without a report. Run it again.")
    comparison = Comparison(whole_first.results[len(job.bars) - 1], job.bars.times, report.name)
    for cut, results in short_first.results.items():
        comparison.compare("fresh process", cut, results)
    return replace(
        report,
        leaks=(*comparison.leaks.values(), *report.leaks),
        roundings=(*comparison.roundings.values(), *report.roundings),
        files_read=tuple(sorted({*short_first.files_read, *whole_first.files_read})),
        files_written=tuple(sorted({*short_first.files_written, *whole_first.files_written})),
        state_note="",
    )


def _answer_of(job: _Job) -> _Answer:
    with TemporaryDirectory() as folder:
        place = Path(folder) / "job.pickle"
        place.write_bytes(pickle.dumps(job))
        command = [sys.executable, "-m", "peak_trade.causality.check", str(place)]
        paths = os.pathsep.join(filter(None, [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH")]))
        done = subprocess.run(
            command, capture_output=True, stdin=subprocess.DEVNULL, env=os.environ | {"PYTHONPATH": paths}, check=False
        )
        if done.returncode:
            last = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
            raise StrategyError(f"{job.name}: a fresh process ended with code {done.returncode} ({last}).")
        answer: _Answer = pickle.loads(place.with_suffix(".answer").read_bytes())
    if answer.error is not None:
        raise answer.error
    return answer


def _answer(job: _Job) -> _Answer:
    answer = _Answer()
    n_bars = len(job.bars)
    try:
        strategy = make_strategy(job.name, job.parameters)
        frame = frame_for(strategy, job.bars)
        evaluate = Evaluator(strategy, job.hidden)
        if job.is_short_first:
            head = strategy.warm_up
            for cut in sorted({head + (n_bars - head) * part // 4 for part in (1, 2, 3)}):
                results = try_short(evaluate, frame, cut, restores=False)
                answer.results |= {} if results is None else {cut: results}
        answer.results[n_bars - 1] = as_results(evaluate.outcome(frame), n_bars, evaluate.name)
        answer.files_read, answer.files_written = evaluate.files.read, evaluate.files.written
        if not job.is_short_first:
            answer.report = check_with(Evaluator(strategy, job.hidden), job.bars, 0, job.n_cuts, job.seed)
    except PeakTradeError as error:
        answer.error = error
    except Exception as error:
        answer.error = StrategyError(one_line(f"{job.name}: exposure raised {type(error).__name__} ({error})."))
    return answer


def main(place: Path) -> None:
    """Answer the job of a file, in the process of `_answer_of`."""
    job: _Job = pickle.loads(place.read_bytes())
    sys.path += [each for each in job.path if each not in sys.path]
    place.with_suffix(".answer").write_bytes(pickle.dumps(_answer(job)))


if __name__ == "__main__":
    from peak_trade.causality import check

    check.main(Path(sys.argv[1]))
