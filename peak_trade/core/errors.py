"""Every exception that peak_trade raises.

    PeakTradeError
    ├── ConfigError       a run file, a parameter or an argument is wrong
    ├── DataError         market data is missing, late or malformed
    ├── StrategyError     a strategy breaks its contract
    ├── LedgerError       cash and positions no longer add up
    ├── SessionError      a session or its journal is unreadable or out of order
    ├── GovernanceError   an approval, a policy or the governance log does not hold
    ├── ReportError       a notebook or a page could not be made
    ├── WorkerError       a process or a cluster that ran tasks has ended
    └── ReproductionError a run differs from an earlier one with the same run id

A denied order is not an error: it is a `Denial`, and it is recorded. `explain` writes any other exception as a line
of the same form.
"""

from __future__ import annotations

import difflib
import errno
import logging
import re
import traceback
from collections.abc import Iterable, Sequence
from functools import cache
from numbers import Number
from pathlib import Path

LONGEST_QUOTE = 200
"""Most characters of an input that a message quotes."""
LONGEST_LINE = 600
"""Most characters of a message; a longer one can only be input, of which LONGEST_QUOTE are kept."""
FAULT = "is a fault of peak_trade"
"""Words in the line of an exception that no part of peak_trade raises on purpose."""

_QUOTES = re.compile(r"""(?<!\w)'[^']*'|"[^"]*"|\[.*\]|\{.*\}|\S{61,}""")
_REMEDIES = (
    ((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), "Free space on the disk, then run it again."),
    ((errno.EACCES, errno.EPERM, errno.EROFS), "Check the permissions, or choose another place."),
    ((errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.EINVAL), "Check the path."),
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


class GovernanceError(PeakTradeError):
    """An approval, a policy or the governance log does not hold; what needs it is refused."""


class ReportError(PeakTradeError):
    """A notebook or a page could not be made."""


class WorkerError(PeakTradeError):
    """A process or a cluster that ran tasks has ended; see `core.executor`."""


class ReproductionError(PeakTradeError):
    """A run differs from an earlier one with the same run id."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a sentence with the closest known name, or with all known names when none is close."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if close:
        return f"Did you mean {close[0]}?"
    return f"Known: {listed(names)}." if names else "There are none."


def listed(names: Iterable[str]) -> str:
    """Return names with commas between them, at most LONGEST_QUOTE characters of them."""
    return shortened(", ".join(names))


def one_line(text: str) -> str:
    r"""Return a message as one printable line that quotes at most LONGEST_QUOTE characters of an input in all.

    Examples
    --------
    >>> one_line("symbol was 'BTC\nUSDT':\n  write base/quote")
    "symbol was 'BTC USDT': write base/quote"
    >>> len(one_line("symbol was " + repr(1_000 * "x")))
    211

    """
    line = " ".join(shortened(text, 1_000_000).split())
    line = "".join(each if each.isprintable() else ascii(each)[1:-1] for each in line)
    lengths = [len(found[0]) for found in _QUOTES.finditer(line)]
    longest = _longest_of(lengths)
    line = _QUOTES.sub(lambda found: shortened(found[0], longest), line)
    return line if len(line) <= LONGEST_LINE else shortened(line)


def _longest_of(lengths: Sequence[int]) -> int:
    """Return the length to which texts are shortened so that they have LONGEST_QUOTE characters in all."""
    if sum(lengths) <= LONGEST_QUOTE:
        return LONGEST_QUOTE
    left, longest = LONGEST_QUOTE, 0
    for place, length in enumerate(sorted(lengths)):
        longest = left // (len(lengths) - place)
        left -= min(length, longest)
    return max(longest, 1)


def shortened(text: str, length: int = LONGEST_QUOTE) -> str:
    """Return the begin and the end of a text that is longer than `length` characters, with … between them."""
    if len(text) <= length:
        return text
    end = length // 4
    return f"{text[: length - end - 1]}…{text[-end:]}"


@cache
def warn_once(text: str) -> None:
    """Log a warning once per process, of an error that ends nothing."""
    logging.getLogger("peak_trade").warning(text)


def excerpt(content: object, length: int = 60) -> str:
    """Return content as one line of at most `length` characters, for a message that quotes a part of an input.

    Examples
    --------
    >>> excerpt("a long line of text", 12)
    'a long l…ext'

    """
    return shortened(" ".join(str(content)[: 1_000 * length].split()), length)


def exact(number: float) -> str:
    """Return a number with the digits that tell it from every other number, which is how numbers are compared.

    Examples
    --------
    >>> exact(100.0), exact(0.1 + 0.2)
    ('100', '0.30000000000000004')

    """
    return repr(float(number)).removesuffix(".0")


def quoted(value: object) -> str:
    """Return the representation of a value for a message, at most LONGEST_QUOTE characters of it.

    Examples
    --------
    >>> quoted("BTC")
    "'BTC'"
    >>> len(quoted(list(range(1_000_000))))
    200

    """
    try:
        return excerpt(repr(value), LONGEST_QUOTE)
    except Exception:  # the code of any class, and the digits of a number that has too many
        return a_kind(type(value))


def shown(value: object) -> str:
    """Return text, a number or None as `quoted`, a class by its name, and any other value by that of its class."""
    if isinstance(value, type):
        return f"the class {value.__name__}"
    is_plain = value is None or isinstance(value, str | bytes | Number)
    return quoted(value) if is_plain else a_kind(type(value))


def a_kind(part: type) -> str:
    """Return the name of a class with its article, which a plural has not: a Strategy, an Instrument, Bars."""
    name = part.__name__
    if name.endswith("s"):
        return name
    return f"{'an' if name[0] in 'AEIOUaeiou' else 'a'} {name}"


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
