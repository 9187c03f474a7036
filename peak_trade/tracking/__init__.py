"""Run registry in MLflow, and the trial ledger."""

from peak_trade.tracking.queries import compare_runs, list_runs, show_run
from peak_trade.tracking.record import DIGEST_NAMES, RUN_TYPES, RunRecord, record_run
from peak_trade.tracking.trials import count_trials, record_trials

__all__ = [
    "DIGEST_NAMES",
    "RUN_TYPES",
    "RunRecord",
    "compare_runs",
    "count_trials",
    "list_runs",
    "record_run",
    "record_trials",
    "show_run",
]
