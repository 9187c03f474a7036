"""The sentences and tables of a diff's page. No measure is computed here: the diff did."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

import pandas as pd

from peak_trade.core.time import iso

if TYPE_CHECKING:
    from peak_trade.studies.diff import DiffResult

SIDES_FORMATS: Mapping[str, str] = MappingProxyType({"PnL": "{:,.2f}", "fees": "{:,.2f}", "shortfall": "{:,.2f}"})
CAUSES_FORMATS: Mapping[str, str] = MappingProxyType({"PnL": "{:+,.2f}"})
WATERFALL_CAPTION = "The steps sum exactly to the live PnL; what follows from a root counts for the root's cause."
PARITY_CAPTION = (
    "Basel's P&L attribution test over bars: green from Spearman 0.80 and KS 0.09 on, red below 0.70 or above 0.12."
)
SHORTFALL_CAPTION = (
    "Perold (1988): delay + trading + opportunity + fees = paper PnL less actual PnL. Positive is a cost."
)


def outcome(result: DiffResult) -> list[str]:
    """Return in sentences whether the two agree, what weighs most and what is unexplained."""
    sentences = [result.verdict]
    roots = [each for each in result.roots if each.total_pnl]
    gap = result.live_pnl - result.shadow_pnl
    if not result.is_equal:
        sentences.append(
            f"The shadow earned {result.shadow_pnl:,.2f}, the live side {result.live_pnl:,.2f}: {gap:+,.2f}."
        )
    if roots:
        weightiest = max(roots, key=lambda each: abs(each.total_pnl))
        sentences.append(
            f"The weightiest root is no. {weightiest.number}, {weightiest.cause}: {weightiest.total_pnl:+,.2f} with "
            f"{weightiest.n_follow:,} differences that follow from it."
        )
    if result.n_outside:
        sentences.append(f"{result.n_outside:,} orders lie outside the span that both saw and are not compared.")
    return sentences


def sides(result: DiffResult) -> pd.DataFrame:
    """Return one row a side: mode, bars, orders, fills, PnL over the common span, fees and shortfall."""
    rows = []
    for run, side, pnl in (("shadow", result.shadow, result.shadow_pnl), ("live", result.live, result.live_pnl)):
        part = result.shortfall[result.shortfall["run"] == run]
        n_fills = sum(len(life.fills) for life in side.lives.values())
        rows.append(
            (run, side.recording.mode, len(side.closes), len(side.lives), n_fills, pnl, float(part["fees"].sum()),
             float(part["shortfall"].sum()))
        )  # fmt: skip
    return pd.DataFrame(rows, columns=["side", "mode", "bars", "orders", "fills", "PnL", "fees", "shortfall"])


def causes(result: DiffResult) -> pd.DataFrame:
    """Return one row a cause: its roots, what follows from them and their PnL, live less shadow, quote currency."""
    rows: dict[str, list[float]] = {}
    for each in result.roots:
        row = rows.setdefault(str(each.cause), [0, 0, 0.0])
        row[0] += 1
        row[1] += each.n_follow
        row[2] += each.total_pnl
    frame = pd.DataFrame(
        [(cause, int(n_roots), int(n_follow), pnl) for cause, (n_roots, n_follow, pnl) in rows.items()],
        columns=["cause", "roots", "follow", "PnL"],
    )
    return frame.astype({"PnL": "float64"}).sort_values("PnL", key=abs, ascending=False, ignore_index=True)


def parity(result: DiffResult) -> dict[str, str]:
    """Return the parity score as fields."""
    score = result.parity
    if score.zone == "none":
        return {"parity": "not scored", "why": score.note}
    return {
        "parity": score.zone,
        "Spearman correlation": f"{score.spearman:.4f}",
        "Kolmogorov-Smirnov distance": f"{score.ks:.4f}",
        "over": score.note,
    }


def compared(result: DiffResult) -> dict[str, str]:
    """Return what was compared, how orders were matched, and the tolerances."""
    matched = [pair for pair in result.matches if pair.shadow is not None and pair.live is not None]
    by_sight = [pair for pair in matched if pair.confidence < 1.0]
    least = min((pair.confidence for pair in by_sight), default=1.0)
    equity = result.equity
    span = f"{iso(equity.index[0].value)} to {iso(equity.index[-1].value)}" if len(equity) else "none"
    return {
        "shadow": result.shadow.recording.name,
        "live": result.live.recording.name,
        "closes that both saw": f"{len(equity):,}, {span}",
        "orders matched by id": f"{len(matched) - len(by_sight):,}",
        "orders matched by sight": f"{len(by_sight):,}" + (f", confidence from {least:.2f}" if by_sight else ""),
        "orders of the shadow alone": f"{sum(pair.live is None for pair in result.matches):,}",
        "orders of the live side alone": f"{sum(pair.shadow is None for pair in result.matches):,}",
        "tolerance of fill prices": f"{result.tolerance_bps:g} bps",
        "tolerance of stamps": f"{result.tolerance_ms:g} ms",
        "unexplained": f"{result.unexplained_pnl:,.2f}, limit {result.unexplained_limit:,.2f}",
    }
