"""Run registry in MLflow, and the trial ledger."""

from peak_trade.tracking.counts import TrialCount, ledger_sentence, trials_of
from peak_trade.tracking.queries import compare_runs, count_runs, list_runs, show_run
from peak_trade.tracking.record import DIGEST_NAMES, RUN_TYPES, RunRecord, record_run

__all__ = [
    "DIGEST_NAMES",
    "RUN_TYPES",
    "RunRecord",
    "TrialCount",
    "compare_runs",
    "count_runs",
    "ledger_sentence",
    "list_runs",
    "record_run",
    "show_run",
    "trials_of",
]
