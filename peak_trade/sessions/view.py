"""The live view of a session in the terminal."""

from __future__ import annotations

from peak_trade.core.time import NS_PER_SECOND, iso
from peak_trade.sessions.runner import Status


def rows(status: Status, now: int) -> list[tuple[str, str]]:
    """Return what a live view shows, as name and text; `now` is ns UTC."""
    age = max(0.0, (now - status.last_bar) / NS_PER_SECOND)
    return [
        ("state", status.state),
        ("position", f"{status.position:g} {status.symbol.partition('/')[0]}"),
        ("equity", f"{status.equity:,.2f}"),
        ("PnL", f"{status.pnl:+,.2f}"),
        ("last close", f"{status.close:g}"),
        ("last bar", f"{iso(status.last_bar)} ({_age(age)} ago)" if status.last_bar else "none yet"),
        ("bars", f"{status.n_bars:,}"),
        ("fills", f"{status.n_fills:,}"),
        ("open orders", str(status.n_open_orders)),
        ("denials", f"{status.n_denials:,}"),
        ("feed faults", f"{status.n_faults:,}"),
    ]


def _age(seconds: float) -> str:
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"
