"""Every exception that peak_trade raises.

    PeakTradeError
    ├── ConfigError       a run file, a parameter or an argument is wrong
    ├── DataError         market data is missing, late or malformed
    ├── StrategyError     a strategy breaks its contract
    ├── LedgerError       cash and positions no longer add up
    ├── SessionError      a session or its journal is unreadable or out of order
    └── ReportError       a notebook or a page could not be made

A denied order is not an error: it is a `Denial`, and it is recorded.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class PeakTradeError(Exception):
    """Base of every exception that peak_trade raises on purpose."""


class ConfigError(PeakTradeError):
    """A run file, a parameter or an argument is wrong."""


class DataError(PeakTradeError):
    """Market data is missing, late or malformed."""


class StrategyError(PeakTradeError):
    """A strategy breaks its contract."""


class LedgerError(PeakTradeError):
    """Cash and positions no longer add up."""


class SessionError(PeakTradeError):
    """A session or its journal is unreadable or out of order."""


class ReportError(PeakTradeError):
    """A notebook or a page could not be made."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a sentence with the closest known name, or with all known names when none is close."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if close:
        return f"Did you mean {close[0]}?"
    return f"Known: {', '.join(names)}." if names else "There are none."
