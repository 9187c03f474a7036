"""Diffs as plain JSON values, and differences as sentences."""

from __future__ import annotations

import math
import re
from dataclasses import asdict
from typing import Any

from peak_trade.core.time import iso
from peak_trade.diff.bias import Bias
from peak_trade.diff.causes import TIME_KINDS, Kind
from peak_trade.diff.order_histories import BarValues
from peak_trade.diff.result import Difference, DiffResult
from peak_trade.diff.run_log import RunLog

DEPRECATED_KEYS = {"parity": "pnl_attribution", "orders.by_sight": "orders.heuristic_matches"}
"""Old JSON keys and the keys that replace them. Version 0.1 writes both, version 0.2 only the new ones."""


def as_json(result: DiffResult) -> dict[str, Any]:
    """Return the content of a diff as JSON values, roots first; times are ISO UTC text, money in quote currency."""
    score = result.pnl_attribution
    found: dict[str, Any] = {
        "shadow": _run(result.shadow, result.shadow_pnl),
        "live": _run(result.live, result.live_pnl),
        "agree": result.is_equal,
        "verdict": result.verdict,
        "advice": result.advice,
        "notes": result.notes,
        "tolerance_bps": result.tolerance_bps,
        "tolerance_ms": result.tolerance_ms,
        "unexplained": {
            "pnl": result.unexplained_pnl,
            "limit": result.unexplained_limit,
            "passes": result.is_explained,
        },
        "within_tolerance": {"n_differences": result.n_tolerated, "pnl": result.tolerated_pnl},
        "waterfall": [{"step": step, "amount": amount} for step, amount in result.waterfall.itertuples(index=False)],
        "pnl_attribution": {
            "zone": score.zone,
            "n_bars": score.n_bars,
            "spearman": None if math.isnan(score.spearman) else score.spearman,
            "ks": None if math.isnan(score.ks) else score.ks,
            "note": score.note,
        },
        "shortfall": {
            run: frame[["delay", "trading", "opportunity", "fees", "shortfall"]].sum().to_dict()
            for run, frame in result.shortfall.groupby("run", sort=False)
        },
        "orders": _orders(result),
        "n_roots": len(result.roots),
        "n_differences": len(result.differences),
        "differences": [_difference(each) for each in sorted(result.differences, key=lambda each: not each.is_root)],
    }
    for old, new in DEPRECATED_KEYS.items():
        *path, key = new.split(".")
        parent = found[path[0]] if path else found
        parent[old.split(".")[-1]] = parent[key]
    return found


def sentence(difference: Difference) -> str:
    """Return a difference as a sentence.

    Examples
    --------
    >>> from peak_trade.diff.causes import Cause
    >>> fee = Difference(
    ...     number=1, cause=Cause.FEE, kind="fee rate", subject="BTC/USDT", shadow=10.0, live=20.0,
    ...     shadow_order="o-7", live_order="o-7", at=0, root=1, pnl=0.0, total_pnl=0.0, n_follow=0,
    ...     shadow_events=(), live_events=(),
    ... )
    >>> sentence(fee)
    'o-7 BTC/USDT: fee rate was 10 in the shadow, 20 live'

    """
    if difference.bias is not None:
        return str(difference.bias)
    ids = dict.fromkeys(name for name in (difference.shadow_order, difference.live_order) if name)
    subject = " ".join([*([" / ".join(ids)] if ids else []), difference.subject])
    kind = difference.kind
    shadow, live = (value_text(kind, value) for value in (difference.shadow, difference.live))
    if difference.shadow is None or difference.live is None:
        where, value = ("live", live) if difference.shadow is None else ("in the shadow", shadow)
        return (
            f"{subject}: {value} only {where}"
            if kind == Kind.MISSING_BAR
            else f"{subject}: {kind} only {where}: {value}"
        )
    others = f", and equally on {difference.n_equal - 1:,} more" if difference.n_equal > 1 else ""
    return f"{subject}: {kind} was {shadow} in the shadow, {live} live{others}"


def value_text(kind: str, value: Any) -> str:
    """Return one of the two values of a difference as text: times in UTC, the offset of a clock in ms."""
    if value is None:
        return "none"
    if kind in TIME_KINDS:
        return re.sub(r"(\.\d{3})\d*Z", r"\1Z", iso(value))
    if kind == Kind.CLOCK:
        return f"{value:+g} ms"
    if isinstance(value, BarValues):
        return " ".join(f"{name[0]} {part:g}" for name, part in value._asdict().items())
    return f"{value:.8g}" if isinstance(value, float) else str(value)


def _run(run: RunLog, pnl: float) -> dict[str, Any]:
    orders = run.histories.values()
    return {
        "name": run.recording.name,
        "mode": run.recording.mode,
        "pnl": pnl,
        "n_bars": len(run.close_times),
        "n_orders": len(orders),
        "n_fills": sum(len(order.fills) for order in orders),
        "equity": run.equity[-1] if run.equity else run.initial_cash,
    }


def _orders(result: DiffResult) -> dict[str, Any]:
    unmatched = [[pair.known[0].order_id for pair in result.matches if pair.histories[side] is None] for side in (1, 0)]
    return {
        "matched": sum(pair.is_matched for pair in result.matches),
        "shadow_only": unmatched[0],
        "live_only": unmatched[1],
        "heuristic_matches": [
            {
                "shadow": pair.known[0].order_id,
                "live": pair.known[1].order_id,
                "confidence": pair.confidence,
                "by": pair.rule,
            }
            for pair in result.matches
            if pair.is_heuristic
        ],
        "outside_the_common_span": result.n_outside,
    }


def _bias(bias: Bias) -> dict[str, Any]:
    content = asdict(bias)
    return content | {"cause": str(bias.cause), "suggested": bias.suggested if bias.setting else None}


def _difference(difference: Difference) -> dict[str, Any]:
    kind = difference.kind
    shadow, live = (None if v is None else value_text(kind, v) for v in (difference.shadow, difference.live))
    return {
        "number": difference.number,
        "cause": str(difference.cause),
        "kind": kind,
        "subject": difference.subject,
        "shadow": shadow,
        "live": live,
        "shadow_order": difference.shadow_order,
        "live_order": difference.live_order,
        "at": iso(difference.at) if difference.at else None,
        "root": difference.root,
        "is_root": difference.is_root,
        "pnl": difference.pnl,
        "total_pnl": difference.total_pnl,
        "n_follow": difference.n_follow,
        "n_equal": difference.n_equal,
        "bias": None if difference.bias is None else _bias(difference.bias),
        "text": sentence(difference),
    }
