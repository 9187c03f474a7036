"""Evaluation of a strategy or function on bars that are its own, each time from the state it had at the start."""

from __future__ import annotations

import io
import sys
import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from threading import RLock
from typing import Any

import numpy as np
import pandas as pd

from peak_trade.causality.comparison import Results, as_results
from peak_trade.causality.kept_state import FileLog, KeptState
from peak_trade.causality.report import Write
from peak_trade.core.bar_frame import COLUMNS, index_ns, private_frame
from peak_trade.core.bars import Bars
from peak_trade.core.extra_columns import ExtraColumn
from peak_trade.core.time import Timeframe
from peak_trade.strategies.base import BaseStrategy, Strategy, strategy_errors
from peak_trade.strategies.panel import Panel, PanelStrategy
from peak_trade.strategies.stateful import StatefulStrategy
from peak_trade.tracking.counting import not_trials
from peak_trade.wiring.sleeves import extra_columns_of

_ONE_AT_A_TIME = RLock()
"""Held during an evaluation, since it replaces `open`, standard output and the state of modules for all threads."""


@dataclass(frozen=True, slots=True, eq=False)
class InOneSymbol:
    """A panel strategy as a function of the bars of one symbol; `others` are those of its other symbols."""

    strategy: PanelStrategy
    own: Bars
    others: tuple[Bars, ...]

    @property
    def name(self) -> str:
        """Name of the strategy, and the symbol whose bars are rewritten."""
        return f"{self.strategy.name} (bars of {self.own.symbol})"

    def __call__(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return the exposures of all symbols at the closes of a frame, shape (n_bars, n_symbols).

        The bars of the other symbols begin with the frame, and go on after it.
        """
        names = extra_columns_of(self.strategy)
        own = self._over(self.own, frame, names)
        others = [self._over(part, part.frame_with(names).loc[frame.index[0] :], names) for part in self.others]
        panel = Panel.of([own, *(part for part in others if len(part))], names)
        rows = np.searchsorted(panel.times, own.times)
        return pd.DataFrame(np.asarray(self.strategy.exposure(panel))[rows], frame.index, list(panel.symbols))

    @staticmethod
    def _over(bars: Bars, frame: pd.DataFrame, names: Sequence[str]) -> Bars:
        times = index_ns(frame.index)
        extra = tuple(ExtraColumn(name, times, frame[name].to_numpy()) for name in names) if len(frame) else ()
        return Bars.over(frame, bars.symbol, bars.timeframe, bars.exchange, extra=extra)


@dataclass(frozen=True, slots=True, eq=False)
class InAllSymbols:
    """A panel strategy as a function of one frame: five columns of bars for each symbol, then its extra columns."""

    strategy: PanelStrategy
    symbols: tuple[str, ...]
    timeframe: Timeframe

    @classmethod
    def of(cls, strategy: PanelStrategy, bars: Sequence[Bars]) -> tuple[InAllSymbols, pd.DataFrame]:
        """Return the function and the frame. The columns of the first symbol have the names of bars."""
        extra = extra_columns_of(strategy)
        panel = Panel.of(bars, extra)
        columns = [getattr(panel, name)[symbol] for symbol in panel.symbols for name in COLUMNS]
        columns += [panel.column(name)[symbol] for name in extra for symbol in panel.symbols]
        names = [*COLUMNS, *(f"{symbol} {name}" for symbol in panel.symbols[1:] for name in COLUMNS)]
        names += [f"{symbol} {name}" for name in extra for symbol in panel.symbols]
        values = np.frombuffer(np.concatenate(columns).tobytes()).reshape(len(names), -1)
        frame = pd.DataFrame(values.T, panel.close.index, names, copy=False)
        return cls(strategy, panel.symbols, panel.timeframe), frame

    @property
    def name(self) -> str:
        """Name of the strategy."""
        return self.strategy.name

    def __call__(self, frame: pd.DataFrame) -> Any:
        """Return the exposures of all symbols, shape (n_bars, n_symbols)."""
        values, symbols = frame.to_numpy(), list(self.symbols)
        prices, known = np.split(values, [len(symbols) * len(COLUMNS)], axis=1)
        frames: dict[str, Any] = {
            name: pd.DataFrame(prices[:, place :: len(COLUMNS)], frame.index, symbols, copy=False)
            for place, name in enumerate(COLUMNS)
        }
        extra = {
            name: pd.DataFrame(known[:, place : place + len(symbols)], frame.index, symbols, copy=False)
            for place, name in zip(range(0, known.shape[1], len(symbols)), extra_columns_of(self.strategy), strict=True)
        }
        return self.strategy.exposure(Panel(self.timeframe, **frames, extra=extra))


def frame_for(subject: Subject, bars: Bars) -> pd.DataFrame:
    """Return the frame of bars for a subject, with the extra columns that it reads."""
    strategy = subject.strategy if isinstance(subject, InOneSymbol | InAllSymbols) else subject
    return bars.frame_with(extra_columns_of(strategy) if isinstance(strategy, BaseStrategy) else ())


Subject = Strategy | InOneSymbol | InAllSymbols | Callable[[pd.DataFrame], Any]


def can_be_imported(subject: Subject) -> bool:
    """Return whether another process can import the class of a strategy, or a function, by its name."""
    strategy = subject.strategy if isinstance(subject, InOneSymbol | InAllSymbols) else subject
    part: Any = type(strategy) if isinstance(strategy, BaseStrategy) else strategy
    found: Any = sys.modules.get(getattr(part, "__module__", ""))
    for name in getattr(part, "__qualname__", "<unknown>").split("."):
        found = getattr(found, name, None)
    return found is part and part.__module__ != "__main__"


class Evaluator:
    """Evaluates a subject from the state that it had when this object was made; collects its writes into the bars.

    Files that it wrote are restored, too; `hidden` are files that seem not to exist. The frames that are passed in are
    those of Bars, rows of them, or rewritten ones: nothing can write to their memory.
    """

    def __init__(self, subject: Subject, hidden: Collection[str] = ()) -> None:
        if isinstance(subject, Strategy):
            self.name: str = subject.name
            self._evaluate: Callable[[pd.DataFrame], Any] = (
                subject.followed if isinstance(subject, StatefulStrategy) else subject.exposure
            )
        elif isinstance(subject, InOneSymbol | InAllSymbols):
            self.name, self._evaluate = subject.name, subject
        else:
            self.name = getattr(subject, "__name__", type(subject).__name__)
            self._evaluate = subject
        self.writes: list[Write] = []
        self.kept_state: dict[str, None] = {}
        self.subject = subject
        self.files = FileLog(hidden)
        self._state = KeptState(subject.strategy if isinstance(subject, InOneSymbol | InAllSymbols) else subject)
        self._state.restore()

    def outcome(self, frame: pd.DataFrame) -> Any:
        """Return what the subject returns for a copy of the bars, and note what it writes into the copy.

        StrategyError when the subject raises.
        """
        handed = private_frame(frame)
        with self._quiet(), strategy_errors(self.name):
            outcome = self._evaluate(handed)
        self._note_writes(frame, handed)
        return outcome

    def __call__(self, frame: pd.DataFrame, *, restores: bool = True) -> Results:
        """Return the results on a copy of the bars by name, each of shape (n_bars,); the name of a single one is empty.

        The state is then restored, unless `restores` is False. Exceptions of the subject are passed on.
        """
        with self._quiet(restores):
            outcome = self._evaluate(private_frame(frame))
        return as_results(outcome, len(frame), self.name)

    @contextmanager
    def _quiet(self, restores: bool = True) -> Iterator[None]:
        with _ONE_AT_A_TIME, warnings.catch_warnings(), np.errstate(all="ignore"), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            try:
                with not_trials(), self.files.watched():
                    yield
            finally:
                if restores:
                    self.kept_state |= dict.fromkeys(self._state.restore())
                    self.files.restore()

    def _note_writes(self, frame: pd.DataFrame, handed: pd.DataFrame) -> None:
        known = {each.column for each in self.writes}
        if not handed.index.equals(frame.index):
            found = [Write("index")]
        else:
            found = [write for name in COLUMNS if (write := _write_to(name, frame, handed)) is not None]
        self.writes += [write for write in found if write.column not in known]


def _write_to(name: str, frame: pd.DataFrame, handed: pd.DataFrame) -> Write | None:
    if list(handed.columns).count(name) != 1:
        return Write(name)
    before, after = frame[name].to_numpy(), handed[name].to_numpy()
    changed = np.flatnonzero(~((before == after) | (np.isnan(before) & pd.isna(after))))
    if not changed.size:
        return None
    row = int(changed[0])
    return Write(
        name, int(index_ns(frame.index)[row]), before[row].item(), getattr(after[row], "item", lambda: after[row])()
    )
