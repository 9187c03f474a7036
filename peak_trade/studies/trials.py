"""The trials behind a run, for a page, a terminal and JSON."""

from __future__ import annotations

from collections.abc import Mapping

from peak_trade.core.arguments import checks_arguments
from peak_trade.core.errors import PeakTradeError, warn_once
from peak_trade.engine.result import BacktestResult
from peak_trade.metrics import Measure, measures_in, simple_returns
from peak_trade.metrics.selection import deflated_measures
from peak_trade.tracking.counts import TrialCount, trials_of_run

NOT_COUNTED = "This run is not in the trial ledger: its trials are not counted."


def recorded_trials(digests: Mapping[str, str]) -> TrialCount | None:
    """Count the trials on the asset and the span of a run; None when the ledger cannot be read or lacks the run."""
    try:
        return trials_of_run(digests)
    except PeakTradeError as error:
        warn_once(str(error))
        return None


def trials_sentence(digests: Mapping[str, str]) -> str:
    """Return the number of trials on the asset and the span of a run and the state of the ledger, as a sentence."""
    try:
        count = trials_of_run(digests)
    except PeakTradeError as error:
        return f"This run is not counted as a trial: {error}"
    return NOT_COUNTED if count is None else count.sentence


@checks_arguments(run="the result of backtest")
def deflated(run: BacktestResult) -> tuple[TrialCount | None, dict[str, Measure]]:
    """Return the trials on the asset and the span of a run, and its deflated Sharpe ratios among them.

    The measures are those of `measures_in("selection")`, without values when the run is not in the ledger.
    """
    ratio, count = run.stats()["sharpe"], recorded_trials(run.digests)
    if count is None:
        missing = Measure(None, ratio.n, note="the run is not in the trial ledger")
        return None, dict.fromkeys(measures_in("selection"), missing)
    returns = simple_returns(run.equity_values)
    return count, deflated_measures(returns, ratio, count.n, count.n_effective, count.sharpe_variance)
