"""The inputs of a run: the arguments, bars and return history that it was made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from peak_trade.core.bars import Bars

Study = Literal["backtest", "portfolio", "sweep", "walk_forward", "regime", "session"]
"""What makes a run."""


@dataclass(frozen=True, slots=True, eq=False)
class RunInputs:
    """The inputs of a run, from which it can be made again.

    `arguments` are those of the study by name, without bars; `parts` are the strategies and functions whose code ran.
    `bars` include those before the first traded close; `history` are those of the declared source of risk estimates.
    `start` is the first traded close, ns UTC, of a run that knew earlier bars; None if all bars are traded.
    """

    study: Study
    arguments: Mapping[str, Any]
    parts: tuple[Any, ...]
    bars: tuple[Bars, ...]
    history: tuple[Bars, ...] = ()
    start: int | None = None
