"""The file of the trial ledger: hash-chained JSON lines that several processes extend; see `core.chained_lines`.

Run records keep the head of the ledger, so that a ledger that was cut or replaced is noticed.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from functools import cache
from pathlib import Path

from peak_trade.core.chained_lines import START, ChainedLines, FieldTypes, Line
from peak_trade.data.workspace import workspace
from peak_trade.tracking.assets import Closes

LEDGER = "trials.jsonl"
EARLIER_LEDGER = "trials.db"
"""Ledger of earlier versions: an SQLite table of pairs of digests."""
LEDGER_VERSION = 1
"""Version of the ledger, which its first line states."""
TrialKey = tuple[str, str, str]
"""Configuration, code and data digest of a trial."""
_TYPES: FieldTypes = {
    **START,
    "data": {"id": str, "symbol": str, "exchange": str, "timeframe": str, "step_ns": int, "first_step": int,
             "values": str},
    "trials": {"configs": list, "code": str, "data": str, "series": list, "first": int, "last": int, "bar_ns": int,
               "n": int, "per_year": float, "first_week": int, "sharpe": str, "skewness": str, "kurtosis": str,
               "weeks": str},
}  # fmt: skip


class TrialLedger(ChainedLines):
    """The trials and the data sets of one ledger.

    `trials` maps configuration, code and data digest of each trial to its line and its place in it; `series` maps the
    id of each data set to its closes.
    """

    what = "trial ledger"
    version = LEDGER_VERSION
    types = _TYPES

    def is_new(self, trial: TrialKey, has_returns: bool) -> bool:
        """Return whether a trial adds to the ledger: it is not in it, or only without returns."""
        line, _ = self.trials.get(trial, (None, 0))
        return line is None or (has_returns and not line["weeks"])

    def forget_lines(self) -> None:
        """Forget all trials and data sets."""
        self.trials: dict[TrialKey, tuple[Line, int]] = {}
        self.series: dict[str, Closes] = {}

    def take_line(self, content: Line) -> bool:
        """Add a line to `trials` or `series`; return whether its data set can be decoded."""
        if content["kind"] == "trials":
            for place, config in enumerate(content["configs"]):
                key = config, content["code"], content["data"]
                if self.is_new(key, bool(content["weeks"])):
                    self.trials[key] = content, place
            return True
        try:
            self.series[content["id"]] = Closes.decode(content)
        except ValueError:
            return False
        return True


def trial_ledger() -> TrialLedger:
    """Return the ledger of the workspace; one object per file and process, so that a forked one inherits no lock."""
    return _ledger_at((workspace() / LEDGER).absolute(), os.getpid())


def n_earlier_trials() -> int | None:
    """Return the number of trials in the workspace's ledger of an earlier version, 0 without one; None: unreadable."""
    path = (workspace() / EARLIER_LEDGER).absolute()
    if not path.exists():
        return 0
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
            return int(connection.execute("SELECT count(*) FROM trials").fetchone()[0])
    except sqlite3.Error:
        return None


@cache
def _ledger_at(path: Path, _process: int) -> TrialLedger:
    return TrialLedger(path)
