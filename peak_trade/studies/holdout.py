"""Sealing of a hold-out with the trials on it so far, and the state of all hold-outs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from peak_trade.core.arguments import checks_arguments
from peak_trade.core.bars import span_ns
from peak_trade.core.time import Timeframe
from peak_trade.data.holdout import HOLDOUT_NOTE, Holdout, read_log, seal
from peak_trade.data.store import find_series, read_file
from peak_trade.tracking.counts import trials_of
from peak_trade.tracking.entries import local_notes
from peak_trade.tracking.registry import is_registry_in_workspace


@dataclass(frozen=True, slots=True)
class HoldoutState:
    """The hold-outs of a workspace, in the order in which they were sealed.

    `faults` has a sentence if recorded runs name a line of the log that is gone: the log was cut or replaced.
    """

    holdouts: tuple[Holdout, ...]
    faults: tuple[str, ...]


@checks_arguments()
def seal_holdout(
    symbol: str,
    timeframe: str | Timeframe,
    start: datetime | str,
    end: datetime | str | None = None,
    exchange: str | None = None,
) -> Holdout:
    """Seal the stored bars with start <= close_time < end as the hold-out of their data set.

    From then on bars of the symbol and the exchange that share time with the window are loaded only on purpose, at any
    timeframe; see `load_bars`. A seal can not be removed.

    Parameters
    ----------
    symbol : str
    timeframe : str or Timeframe
    start, end : datetime or ISO text
        Instants without an offset are taken as UTC. `end` defaults to the end of the stored bars.
    exchange : str, optional
        Required only when the symbol is stored from several exchanges.

    Returns
    -------
    Holdout
        With the number of trials that had used bars of the window before.

    Raises
    ------
    DataError
        When there is no such series, no bar is in the window, or a part of it is sealed already.
    ConfigError
        When start is not before end, or the trial ledger cannot be read.

    """
    series = find_series(symbol, Timeframe.parse(timeframe), exchange)
    bars = read_file(series.path, *span_ns(start, end))
    return seal(bars, trials_of(bars).n)


def holdout_state() -> HoldoutState:
    """Return the hold-outs of the workspace, and whether lines of their log are gone that recorded runs name.

    DataError when a line of the log is missing, moved or changed.
    """
    log = read_log()
    noted = [note.split(" ") for note in local_notes(HOLDOUT_NOTE)]
    if not is_registry_in_workspace():  # it has the runs of other workspaces too
        noted = [each for each in noted if each[-1] == log.file_id]
    n_lost = sum(each[1] not in log.heads for each in noted)
    lost = f"{n_lost:,} recorded runs name a line of the log of hold-outs that is not in it: it was cut or replaced."
    return HoldoutState(tuple(log.holdouts.values()), (lost,) if n_lost else ())
