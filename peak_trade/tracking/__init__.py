"""Run registry in MLflow, and the trial ledger."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from peak_trade.tracking.counts import TrialCount, trials_of
    from peak_trade.tracking.entries import RUN_TYPES
    from peak_trade.tracking.gaps import ledger_sentence
    from peak_trade.tracking.queries import compare_runs, count_runs, list_runs, show_run
    from peak_trade.tracking.record import DIGEST_NAMES, RunRecord, record_run

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

_HOMES = {
    **dict.fromkeys(("TrialCount", "trials_of"), "counts"),
    **dict.fromkeys(("compare_runs", "count_runs", "list_runs", "show_run"), "queries"),
    **dict.fromkeys(("DIGEST_NAMES", "RunRecord", "record_run"), "record"),
    "RUN_TYPES": "entries",
    "ledger_sentence": "gaps",
}
"""Public names and the module that each comes from, which is imported when the name is used: some need pandas."""


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
