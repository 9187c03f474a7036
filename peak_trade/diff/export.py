"""A diff as plain JSON values, and a difference as a sentence."""

from __future__ import annotations

import math
import re
from typing import Any

from peak_trade.core.time import iso
from peak_trade.diff.order_histories import SideLog
from peak_trade.diff.result import Difference, DiffResult

_STAMPS = ("decision time", "fill time", "signal time", "start")


def as_json(result: DiffResult, most: int | None = None) -> dict[str, Any]:
    """Return everything that a diff found as JSON values; times as ISO UTC text, money in quote currency.

    `most` caps the listed differences; roots are listed first, and `n_differences` counts all.
    """
    listed = sorted(result.differences, key=lambda each: (not each.is_root, each.number))[:most]
    score = result.parity
    return {
        "shadow": _side(result.shadow, result.shadow_pnl),
        "live": _side(result.live, result.live_pnl),
        "agree": result.is_equal,
        "verdict": result.verdict,
        "tolerance_bps": result.tolerance_bps,
        "tolerance_ms": result.tolerance_ms,
        "unexplained": {
            "pnl": result.unexplained_pnl, "limit": result.unexplained_limit, "passes": result.is_explained
        },
        "waterfall": [{"step": step, "amount": amount} for step, amount in result.waterfall.itertuples(index=False)],
        "parity": {
            "zone": score.zone, "n_bars": score.n_bars, "spearman": _number(score.spearman), "ks": _number(score.ks),
            "note": score.note,
        },
        "shortfall": {
            run: frame[["delay", "trading", "opportunity", "fees", "shortfall"]].sum().to_dict()
            for run, frame in result.shortfall.groupby("run", sort=False)
        },
        "orders": {
            "matched": sum(pair.shadow is not None and pair.live is not None for pair in result.matches),
            "shadow_only": [pair.shadow.order_id for pair in result.matches if pair.shadow and not pair.live],
            "live_only": [pair.live.order_id for pair in result.matches if pair.live and not pair.shadow],
            "by_sight": [
                {
                    "shadow": pair.shadow.order_id,
                    "live": pair.live.order_id,
                    "confidence": pair.confidence,
                    "by": pair.by,
                }
                for pair in result.matches
                if pair.shadow and pair.live and pair.confidence < 1.0
            ],
            "outside_the_common_span": result.n_outside,
        },
        "n_roots": len(result.roots),
        "n_differences": len(result.differences),
        "differences": [_difference(each) for each in listed],
    }  # fmt: skip


def sentence(each: Difference) -> str:
    """Return what differs, as a sentence.

    Examples
    --------
    >>> from peak_trade.diff.causes import Cause
    >>> sentence(Difference(1, Cause.FEE, "fee rate", "BTC/USDT", 10.0, 20.0, "o-7", "o-7", 0, 1, 0.0, 0.0, 0, (), ()))
    'o-7 BTC/USDT: fee rate was 10 in the shadow, 20 live'

    """
    ids = dict.fromkeys(name for name in (each.shadow_order, each.live_order) if name)
    subject = " ".join([*([" / ".join(ids)] if ids else []), each.subject])
    before, after = (value_text(each.kind, value) for value in (each.shadow, each.live))
    if each.kind == "missing bar":
        seen = "live" if each.shadow is None else "in the shadow"
        return f"{subject}: {after if each.shadow is None else before} seen only {seen}"
    if each.shadow is None or each.live is None:
        where, value = ("live", after) if each.shadow is None else ("in the shadow", before)
        return f"{subject}: {each.kind} only {where}: {value}"
    return f"{subject}: {each.kind} was {before} in the shadow, {after} live"


def value_text(kind: str, value: Any) -> str:
    """Return one of a difference's two values as text; stamps as UTC time, the clock's offset in ms."""
    if value is None:
        return "none"
    if isinstance(value, int) and (kind in _STAMPS or kind.startswith("time of ")):
        return re.sub(r"(\.\d{3})\d*Z", r"\1Z", iso(value))
    if kind == "clock":
        return f"{value:+g} ms"
    if isinstance(value, tuple):
        return " ".join(f"{name} {part:g}" for name, part in zip("ohlcv", value, strict=False))
    return f"{value:.8g}" if isinstance(value, float) else str(value)


def _side(side: SideLog, pnl: float) -> dict[str, Any]:
    lives = side.lives.values()
    return {
        "name": side.recording.name,
        "mode": side.recording.mode,
        "pnl": pnl,
        "n_bars": len(side.closes),
        "n_orders": len(lives),
        "n_fills": sum(len(life.fills) for life in lives),
        "equity": side.equity[-1] if side.equity else side.initial_cash,
    }


def _difference(each: Difference) -> dict[str, Any]:
    return {
        "number": each.number, "cause": str(each.cause), "kind": each.kind, "subject": each.subject,
        "shadow": None if each.shadow is None else value_text(each.kind, each.shadow),
        "live": None if each.live is None else value_text(each.kind, each.live),
        "shadow_order": each.shadow_order, "live_order": each.live_order, "at": iso(each.at) if each.at else None,
        "root": each.root, "is_root": each.is_root, "pnl": each.pnl, "total_pnl": each.total_pnl,
        "n_follow": each.n_follow, "text": sentence(each),
    }  # fmt: skip


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value
