"""Every exception that peak_trade raises.

    PeakTradeError
    ├── ConfigError       a run file, a parameter or an argument is wrong
    ├── DataError         market data is missing, late or malformed
    ├── StrategyError     a strategy breaks its contract
    ├── LedgerError       cash and positions no longer add up
    ├── SessionError      a session or its journal is unreadable or out of order
    └── ReportError       a notebook or a page could not be made

A denied order is not an error: it is a `Denial`, and it is recorded. `explain` writes any other exception as a line
of the same form.
"""

from __future__ import annotations

import difflib
import errno
import re
import traceback
from collections.abc import Iterable
from pathlib import Path

LONGEST_QUOTE = 200
"""Most characters of an input that a message quotes."""
LONGEST_LINE = 600
"""Most characters of a message; a longer one can only be input, of which LONGEST_QUOTE are kept."""
FAULT = "is a fault of peak_trade"
"""Words in the line of an exception that no part of peak_trade raises on purpose."""

_QUOTES = re.compile(r"""(?<!\w)'[^']{199,}'|"[^"]{199,}"|\[.{199,}\]|\{.{199,}\}|\S{201,}""")
_REMEDIES = (
    ((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), "Free space on the disk, then run it again."),
    ((errno.EACCES, errno.EPERM, errno.EROFS), "Check the permissions, or choose another place."),
    ((errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG), "Check the path."),
)


class PeakTradeError(Exception):
    """Base of every exception that peak_trade raises on purpose; its text is one line, see `one_line`."""

    def __str__(self) -> str:
        return one_line(super().__str__())


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


def one_line(text: str) -> str:
    r"""Return a message as one printable line that quotes at most LONGEST_QUOTE characters of an input.

    Examples
    --------
    >>> one_line("symbol was 'BTC\nUSDT':\n  write base/quote")
    "symbol was 'BTC USDT': write base/quote"
    >>> len(one_line("symbol was " + repr(1_000 * "x")))
    211

    """
    line = " ".join(shortened(text, 10 * LONGEST_LINE).split())
    line = "".join(each if each.isprintable() else ascii(each)[1:-1] for each in line)
    line = _QUOTES.sub(lambda found: shortened(found[0]), line)
    return line if len(line) <= LONGEST_LINE else shortened(line)


def shortened(text: str, length: int = LONGEST_QUOTE) -> str:
    """Return the begin and the end of a text that is longer than `length` characters, with … between them."""
    if len(text) <= length:
        return text
    end = length // 4
    return f"{text[: length - end - 1]}…{text[-end:]}"


def excerpt(content: object, length: int = 60) -> str:
    """Return content as one line of at most `length` characters, for a message that quotes a part of an input.

    Examples
    --------
    >>> excerpt("a long line of text", 12)
    'a long l…ext'

    """
    return shortened(" ".join(str(content)[: 1_000 * length].split()), length)


def explain(error: BaseException) -> str:
    """Return what went wrong as one line: where, what it was, what to do.

    The failures of a disk, a network, a database or an installation say so. An exception that is none of these
    and not a PeakTradeError is named as a FAULT, with its place in the code.
    """
    import sqlite3

    if isinstance(error, PeakTradeError):
        return str(error)
    reason = str(error) or type(error).__name__
    if isinstance(error, OSError):
        found = [remedy for codes, remedy in _REMEDIES if error.errno in codes]
        where = "" if error.filename is None else f"{error.filename}: "
        remedy = found[0] if found else "Check the disk and the network, then run it again."
        return one_line(f"{where}{(error.strerror or reason).rstrip('.')}. {remedy}")
    if isinstance(error, sqlite3.Error):
        return one_line(f"database: {reason}. Close what uses the file; move it away when it is damaged.")
    if isinstance(error, MemoryError):
        return "there is not enough memory. Use fewer bars or fewer parameter values."
    if isinstance(error, ImportError):
        return one_line(f"{reason}. Install peak_trade again, with what it depends on.")
    frames = traceback.extract_tb(error.__traceback__)
    package = str(Path(__file__).parents[1])
    place = next((frame for frame in reversed(frames) if frame.filename.startswith(package)), None)
    at = "" if place is None else f" at {Path(place.filename).relative_to(package)}, line {place.lineno}"
    name = type(error).__name__
    return one_line(f"{name}{at}: {reason.rstrip('.')}. Check the input; if it is right, this {FAULT}: report it.")
