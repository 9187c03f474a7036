"""Links from a finding to the inputs that differ as well, and at which its root may be found."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from peak_trade.diff.order_histories import Sleeve

if TYPE_CHECKING:
    from peak_trade.diff.causes import Finding


class SleeveState(StrEnum):
    """State of a sleeve that a finding changes and on which later findings depend."""

    SIGNAL = "signal"
    POSITION = "position"
    ENTRY = "entry"
    """Time and price of the entry, from which protective orders are computed."""


@dataclass(frozen=True, slots=True)
class ToFinding:
    """Link to the root of another finding."""

    finding: Finding


@dataclass(frozen=True, slots=True)
class ToSetting:
    """Link to a differing setting whose name begins with `prefix`."""

    prefix: str


@dataclass(frozen=True, slots=True)
class ToState:
    """Link to the last root that changed a state of a sleeve, at a close in or after `first` (ns UTC)."""

    sleeve: Sleeve
    state: SleeveState
    first: int = 0


@dataclass(frozen=True, slots=True)
class ToBar:
    """Link to the last differing bar of a symbol with a close in [first, last]."""

    symbol: str
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class ToLargestPnl:
    """Link to the root with the largest PnL so far, which explains most of a difference in equity."""


@dataclass(frozen=True, slots=True)
class ToLastChange:
    """Link to the last root that changed cash or a position at a close in [first, last]."""

    first: int
    last: int


Link = ToFinding | ToSetting | ToState | ToBar | ToLargestPnl | ToLastChange
