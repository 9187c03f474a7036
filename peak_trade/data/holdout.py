"""Sealed hold-outs: windows of bars that are committed before use, and the log of every opening.

A hold-out is a window of one data set, the bars of a symbol of an exchange. Its line in the log has the window, the
digest of its bars and the digest of both, the commitment. Bars of the window are loaded within `opening_holdout` only,
at any timeframe, and each opening is a line of the log that stays. The log is append-only and hash-chained; see
`core.chained_lines`.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from peak_trade.core.bars import Bars
from peak_trade.core.calendar import open_times
from peak_trade.core.chained_lines import START, ChainedLines, FieldTypes, Line
from peak_trade.core.digest import digest_of
from peak_trade.core.errors import ConfigError, DataError, PeakTradeError
from peak_trade.core.time import Timeframe, iso
from peak_trade.data.places import place_of
from peak_trade.data.series import DESCRIPTION, StoredSeries, read_bars, read_series
from peak_trade.data.workspace import workspace

HOLDOUT_LOG = "holdouts.jsonl"
HOLDOUT_NOTE = "holdouts"
"""Name of the note in the record of a run that holds the length and the head of the log of hold-outs."""
OPENING = "PEAK_TRADE_OPENING"
"""Environment variable that names an opening to the processes of a command, such as the kernel of a notebook."""
_SENTENCE = "Hold-out of "
_TYPES: FieldTypes = {
    **START,
    "sealed": {"exchange": str, "symbol": str, "timeframe": str, "first_close": int, "last_close": int, "n_bars": int,
               "digest": str, "commitment": str, "n_trials": int, "ts_recorded": int},
    "opened": {"commitment": str, "token": str, "ts_recorded": int, "what": str, "timeframe": str, "first": int,
               "last": int, "bars_were": str},
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Opening:
    """An opening of a hold-out: when (ns UTC), by what, the span that was loaded (close times, ns UTC), and its bars.

    `bars_were` is `unchanged`, `changed` or `gone`: the sealed bars as they were in the store at the opening.
    """

    ts_recorded: int
    what: str
    timeframe: str
    first: int
    last: int
    bars_were: str


@dataclass(frozen=True, slots=True)
class Holdout:
    """A sealed window: the bars of a symbol that close from `first_close` to `last_close`, ns UTC.

    `digest` is that of the `n_bars` bars of `timeframe` in it, `commitment` that of names, window and digest.
    `n_trials` is the number of trials that had used bars of the window when it was sealed.
    """

    exchange: str
    symbol: str
    timeframe: str
    first_close: int
    last_close: int
    n_bars: int
    digest: str
    commitment: str
    n_trials: int
    ts_recorded: int
    openings: tuple[Opening, ...] = ()

    @property
    def first_open(self) -> int:
        """Open of the first sealed bar, ns UTC."""
        return int(open_times(self.first_close, Timeframe.parse(self.timeframe)))

    @property
    def window(self) -> str:
        """The first and the last close in words."""
        return f"{iso(self.first_close)[:-4]} to {iso(self.last_close)[:-4]} UTC"

    @property
    def sentence(self) -> str:
        """When the hold-out was sealed and how often it was opened, for every result of its data set."""
        used = f" after {_times(self.n_trials, 'trial')} on its bars" if self.n_trials else ""
        sealed = (
            f"{_SENTENCE}{self.exchange} {self.symbol}, {self.window}: sealed on {iso(self.ts_recorded)[:10]}{used}"
        )
        if not self.openings:
            return f"{sealed}, never opened."
        first, last = self.openings[0], self.openings[-1]
        opened = f"{sealed}, opened {_times(len(self.openings), 'time')}, first on {_opened(first)}"
        opened += f" and last on {_opened(last)}" if len(self.openings) > 1 else ""
        changed = next((each for each in self.openings if each.bars_were != "unchanged"), None)
        note = (
            "" if changed is None else f" On {iso(changed.ts_recorded)[:10]} the sealed bars were {changed.bars_were}."
        )
        return f"{opened}.{note}"

    def has_part_of(self, bars: Bars) -> bool:
        """Return whether one of the bars, of any timeframe, shares time with the window."""
        opens = open_times(bars.times, bars.timeframe)
        return bool(((bars.times > self.first_open) & (opens < self.last_close)).any())


class HoldoutLog(ChainedLines):
    """The hold-outs of a log, by commitment, with their openings in order."""

    what = "log of hold-outs"
    types = _TYPES

    def forget_lines(self) -> None:
        """Forget all hold-outs."""
        self.holdouts: dict[str, Holdout] = {}
        self.tokens: set[tuple[str, str]] = set()

    def take_line(self, content: Line) -> bool:
        """Add a hold-out or an opening; return whether the commitment is that of the window, or known."""
        values = {name: content[name] for name in self.types[content["kind"]]}
        if content["kind"] == "sealed":
            holdout = Holdout(**values)
            if holdout.commitment != _commitment(holdout):
                return False
            self.holdouts.setdefault(holdout.commitment, holdout)
            return True
        holdout_of_it = self.holdouts.get(values["commitment"])
        if holdout_of_it is None:
            return False
        self.tokens.add((values.pop("commitment"), values.pop("token")))
        openings = (*holdout_of_it.openings, Opening(**values))
        self.holdouts[holdout_of_it.commitment] = replace(holdout_of_it, openings=openings)
        return True


def read_log() -> HoldoutLog:
    """Return the log of the workspace, up to date.

    Raises
    ------
    DataError
        When a line is missing, moved or changed: what was sealed is not known then.
    ConfigError
        When the file cannot be read.

    """
    log = _log_at((workspace() / HOLDOUT_LOG).absolute(), os.getpid())
    log.refresh()
    if log.faults:
        raise DataError(
            f"{workspace() / HOLDOUT_LOG}: {log.faults[0]}. Restore the file from a copy; bars wait for it."
        )
    return log


def list_holdouts() -> list[Holdout]:
    """Return the hold-outs of the workspace, in the order in which they were sealed; errors as of `read_log`."""
    return list(read_log().holdouts.values())


def seal(bars: Bars, n_trials: int) -> Holdout:
    """Seal the window of bars as a hold-out of their data set; `n_trials` is the number of trials on them so far.

    Raises
    ------
    DataError
        When the window overlaps one of the same data set that is sealed already, or the log is damaged.

    """
    first_close, last_close = int(bars.times[0]), int(bars.times[-1])
    names = bars.exchange, bars.symbol, str(bars.timeframe)
    made = Holdout(*names, first_close, last_close, len(bars), bars.digest(), "", n_trials, time.time_ns())
    made = replace(made, commitment=_commitment(made))
    log = read_log()
    with log.extending():
        for each in log.holdouts.values():
            overlaps = each.first_open < made.last_close and made.first_open < each.last_close
            if (each.exchange, each.symbol) == names[:2] and overlaps:
                raise DataError(f"{bars.exchange} {bars.symbol}: {each.window} is sealed already. Name another window.")
        values = {name: getattr(made, name) for name in log.types["sealed"]}
        log.append([{"kind": "sealed", **values}])
    return made


@contextmanager
def opening_holdout(what: str) -> Iterator[None]:
    """Let bars of sealed hold-outs be loaded within a block, also by processes that it starts.

    Parameters
    ----------
    what : str
        The purpose, which the log keeps for good with the time and the span. A block is one opening of a hold-out,
        however often it loads bars of it.

    Raises
    ------
    ConfigError
        If the purpose has a null character.

    """
    if "\0" in what:
        raise ConfigError(f"open_holdout was {what!r}: it has a null character. Say the purpose in plain text.")
    former = os.environ.get(OPENING)
    os.environ[OPENING] = f"{secrets.token_hex(8)} {' '.join(what.split())}"
    try:
        yield
    finally:
        if former is None:
            del os.environ[OPENING]
        else:
            os.environ[OPENING] = former


def admit(bars: Bars) -> Bars:
    """Return bars of the store with the sentences on the hold-outs of their data set as notes.

    Raises
    ------
    DataError
        When a bar shares time with a sealed hold-out, unless this is within `opening_holdout`; the opening is recorded
        before this returns.

    """
    log = read_log()
    for each in _of_data_set(log, bars):
        if each.has_part_of(bars):
            _open(log, each, bars)
    sentences = [each.sentence for each in _of_data_set(log, bars)]
    notes = (*bars.notes, *sentences)
    return Bars.over(bars.frame, bars.symbol, bars.timeframe, bars.exchange, notes, bars.extra) if sentences else bars


def sealed_from(series: StoredSeries) -> int | None:
    """Return the close, ns UTC, before which no bar of a series is sealed; None if none is, or within an opening."""
    if OPENING in os.environ:
        return None
    held = [each.first_open + 1 for each in _of_data_set(read_log(), series)]
    return min((each for each in held if each <= series.last), default=None)


def is_holdout_sentence(note: str) -> bool:
    """Return whether a note of bars is the sentence of a hold-out."""
    return note.startswith(_SENTENCE)


def holdout_note() -> dict[str, str]:
    """Return the note of a run with the length, the head and the id of the log; empty without one to read."""
    try:
        log = read_log()
    except PeakTradeError:
        return {}
    return {HOLDOUT_NOTE: f"{log.n_lines} {log.head} {log.file_id}"} if log.n_lines else {}


def _open(log: HoldoutLog, holdout: Holdout, bars: Bars) -> None:
    token, _, what = os.environ.get(OPENING, "").partition(" ")
    if not token:
        is_finer = bars.timeframe.ns < Timeframe.parse(holdout.timeframe).ns
        last_end = holdout.first_open if is_finer else holdout.first_close
        raise DataError(
            f"{bars.exchange} {bars.symbol} {bars.timeframe}: the hold-out {holdout.window} is sealed. End at "
            f"{iso(last_end)[:-4]}, or open it with --open-holdout, which is recorded for good."
        )
    with log.extending():
        if (holdout.commitment, token) not in log.tokens:
            log.append(
                [
                    {
                        "kind": "opened",
                        "commitment": holdout.commitment,
                        "token": token,
                        "ts_recorded": time.time_ns(),
                        "what": what,
                        "timeframe": str(bars.timeframe),
                        "first": int(bars.times[0]),
                        "last": int(bars.times[-1]),
                        "bars_were": _bars_now(holdout),
                    }
                ]
            )


def _bars_now(holdout: Holdout) -> str:
    timeframe = Timeframe.parse(holdout.timeframe)
    folder = workspace() / "bars" / place_of(holdout.exchange, holdout.symbol, timeframe)
    try:
        bars = read_bars(read_series(folder / DESCRIPTION), holdout.first_close, holdout.last_close + 1)
    except DataError:
        return "gone"
    return "unchanged" if bars.digest() == holdout.digest else "changed"


def _of_data_set(log: HoldoutLog, series: StoredSeries | Bars) -> Sequence[Holdout]:
    return [each for each in log.holdouts.values() if (each.exchange, each.symbol) == (series.exchange, series.symbol)]


def _commitment(holdout: Holdout) -> str:
    names = ("exchange", "symbol", "timeframe", "first_close", "last_close", "n_bars", "digest")
    return digest_of({name: getattr(holdout, name) for name in names})


def _opened(opening: Opening) -> str:
    return f"{iso(opening.ts_recorded)[:10]} ({opening.what})"


def _times(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


@cache
def _log_at(path: Path, _process: int) -> HoldoutLog:
    return HoldoutLog(path)
