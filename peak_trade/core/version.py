"""Version of this package."""

from __future__ import annotations

import sys


def package_version() -> str:
    """Return the version of peak_trade, which stands in its `__init__` alone."""
    return str(vars(sys.modules["peak_trade"])["__version__"])
