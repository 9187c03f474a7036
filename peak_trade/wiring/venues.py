"""The venue of each mode of a session; to add one, write its file and its entry.

Orders leave this process for a sandbox of EXCHANGES only: a new venue simulates, or it is one of these sandboxes.
"""

from __future__ import annotations

import pkgutil
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class VenueEntry:
    """A venue: the `module:function` that opens it from a session's context and market."""

    place: str
    is_sandbox: bool = False
    """Whether orders go to an exchange's sandbox: the session then needs an approval and limits."""

    def open(self, context: Any, market: Any) -> Any:
        """Open the venue of a session on its market."""
        return pkgutil.resolve_name(self.place)(context, market)


_SIMULATED = "peak_trade.sessions.parts:open_simulated"

VENUES: dict[str, VenueEntry] = {
    "paper": VenueEntry(_SIMULATED),
    "shadow": VenueEntry(_SIMULATED),
    "testnet": VenueEntry("peak_trade.sessions.sandbox.venue:open_sandbox", is_sandbox=True),
}
"""Mode of a session to its venue."""
