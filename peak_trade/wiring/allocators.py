"""Table of allocators by name. To add one, write its function and add an entry."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from peak_trade.portfolio.allocation import Allocator

ALLOCATORS: dict[str, str] = {
    "inverse_volatility": "peak_trade.portfolio.allocators:inverse_volatility",
    "risk_parity": "peak_trade.portfolio.allocators:risk_parity",
    "minimum_variance": "peak_trade.portfolio.allocators:minimum_variance",
}
"""Allocator name to `module:function`. `equal` and `fixed` weights are not estimated and need no allocator."""


def find_allocator(method: str) -> Allocator | None:
    """Return the allocator of `[allocation] method`, or None for `equal` and `fixed`.

    Parameters
    ----------
    method : str
        equal, fixed, a name in ALLOCATORS, or `package.module:function`.

    Raises
    ------
    ConfigError
        If there is none; the message suggests the closest name.

    """
    from peak_trade.portfolio.allocation import UNESTIMATED

    if method in UNESTIMATED:
        return None
    from peak_trade.wiring.parts import find_function  # loads pandas

    return find_function("allocation.method", method, dict.fromkeys(UNESTIMATED, "") | ALLOCATORS)
