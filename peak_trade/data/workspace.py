"""The one folder that runs write to."""

from __future__ import annotations

import os
from pathlib import Path


def workspace() -> Path:
    """Return the workspace: the folder that PEAK_TRADE_HOME names, else `.peak_trade` in the current folder.

    It is made by the first thing that is written to it, not here.
    """
    named = os.environ.get("PEAK_TRADE_HOME")
    return Path(named).expanduser() if named else Path(".peak_trade")
