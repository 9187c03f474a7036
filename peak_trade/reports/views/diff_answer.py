"""Answer and origin of a diff: whether live did what the shadow did, and what the largest difference costs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from peak_trade.core.values import quote_of
from peak_trade.diff.advice import largest_cause
from peak_trade.diff.causes import Cause
from peak_trade.metrics import Measure
from peak_trade.reports.answer import Answer, Check, DataKind, Finding, Provenance, Strip, Tile, data_kind, number

if TYPE_CHECKING:
    from peak_trade.diff.recording import Recording
    from peak_trade.diff.result import DiffResult

PRICES = (Cause.PRICE, Cause.SLIPPAGE_BIAS)
TIMES = (Cause.TIMING, Cause.CLOCK_SKEW, Cause.LATENCY_BIAS)
_ZONES = {"green": Finding.SHOWN, "amber": Finding.NOT_SHOWN, "red": Finding.AGAINST}


def provenance(result: DiffResult) -> Provenance:
    """Return what a diff compares: the symbols, the dates in common and the kind of both runs."""
    index = result.equity.index
    span = f"{index[0]:%Y-%m-%d} to {index[-1]:%Y-%m-%d}" if len(index) else "no bar in common"
    sides = (result.shadow.recording, result.live.recording)
    strategy = str(sides[0].settings.get("strategy", "orders"))
    return Provenance(
        f"{strategy} on {' and '.join(sorted(result.last_closes))}, {span}: {sides[1].mode} against {sides[0].mode}",
        tuple(dict.fromkeys(kind for kind in map(_kind, sides) if kind is not None)),
        (
            f"shadow: {sides[0].name}",
            f"live: {sides[1].name}",
            f"{len(index):,} closes of {sides[0].timeframe} in common",
        ),
    )


def answer(result: DiffResult) -> Answer:
    """Return the verdict on a diff: equal, explained, or not explained; its checks and its tiles."""
    gap = result.live_pnl - result.shadow_pnl
    zone = result.pnl_attribution.zone
    if not result.is_explained:
        verdict, finding = "Not explained", Finding.AGAINST
    elif result.is_equal:
        verdict, finding = "The runs agree", Finding.SHOWN
    else:
        verdict, finding = f"Explained, parity {zone}", _ZONES.get(zone, Finding.NOT_SHOWN)
    biases = [str(each.bias) for each in result.roots if each.bias is not None]
    said = (f"{text[:1].upper()}{text[1:]}." for text in biases)
    detail = " ".join((result.verdict, *([result.advice] if result.advice else []), *said))
    return Answer(verdict, finding, _sentence(result, gap), detail, _checks(result), _tiles(result, gap))


def _sentence(result: DiffResult, gap: float) -> str:
    if result.is_equal:
        n_orders = len(result.matches)
        return f"Live did what the shadow did: {n_orders:,} order{'s' * (n_orders != 1)} agree within the tolerances."
    unit = f" {_quote(result)}"
    start = f"Live earned {number(abs(gap), unit=unit)} {'less' if gap < 0.0 else 'more'} than the shadow"
    largest = largest_cause(result)
    if largest is None:
        return f"{start}."
    cause, amount = largest
    zone = result.pnl_attribution.zone
    attributed = "" if zone == "none" else f" The P&L attribution test is {zone}."
    return f"{start}; the largest cause is {cause}: {number(amount, sign=True, unit=unit)}.{attributed}"


def _quote(result: DiffResult) -> str:
    """Return the quote currency of the symbols, or the words where they have several."""
    quotes = {quote_of(symbol) for symbol in result.last_closes if "/" in symbol}
    return quotes.pop() if len(quotes) == 1 else "of the quote currency"


def _checks(result: DiffResult) -> tuple[Check, ...]:
    lone = sum(not pair.is_matched for pair in result.matches)
    late = [each for each in result.roots if each.cause in TIMES]
    priced = [each for each in result.roots if each.cause in PRICES]
    fees = [each for each in result.roots if each.cause is Cause.FEE]
    bias = next((each.bias for each in result.roots if each.bias is not None and each.cause in PRICES), None)
    score = result.pnl_attribution
    return (
        _same("Same orders", lone, f"{lone:,} of {len(result.matches):,} in one run only"),
        _same("Same time", len(late), f"{len(late):,} root differences of time"),
        Check("Unbiased price", Finding.AGAINST, str(bias))
        if bias is not None
        else _same("Unbiased price", len(priced), f"{len(priced):,} root differences of price"),
        _same("Same fee", len(fees), f"{len(fees):,} root differences of fees"),
        Check(
            "P&L attribution",
            _ZONES.get(score.zone, Finding.UNKNOWN),
            score.note
            if score.zone == "none"
            else f"{score.zone}: correlation {number(score.spearman, 3)}, distance {number(score.ks, 3)}",
        ),
    )


def _tiles(result: DiffResult, gap: float) -> tuple[Tile, ...]:
    matched, n_bars = sum(pair.is_matched for pair in result.matches), len(result.equity)
    share = matched / len(result.matches) if result.matches else None
    costs = result.shortfall.groupby("run")["shortfall"].sum()
    shadow, live = (float(costs.get(name, 0.0)) for name in ("shadow", "live"))
    return (
        Tile("PnL of the shadow", number(result.shadow_pnl, sign=True), Measure(result.shadow_pnl, n_bars)),
        Tile("PnL live", number(result.live_pnl, sign=True), Measure(result.live_pnl, n_bars)),
        Tile("Live minus shadow", number(gap, sign=True), Measure(gap, n_bars), foot=_quote(result)),
        Tile(
            "Orders in both runs",
            f"{matched:,}",
            Measure(float(matched), len(result.matches)),
            foot=f"of {len(result.matches):,}",
            strip=Strip.share(share),
        ),
        Tile(
            "Not explained",
            number(result.unexplained_pnl),
            Measure(result.unexplained_pnl, n_bars),
            foot=f"limit {number(result.unexplained_limit)}",
        ),
        Tile(
            "Shortfall, live minus shadow",
            number(live - shadow, sign=True),
            Measure(live - shadow, n_bars),
            foot=f"shadow {number(shadow)}, live {number(live)}",
        ),
    )


def _same(name: str, n_roots: int, text: str) -> Check:
    return Check(name, Finding.AGAINST if n_roots else Finding.SHOWN, text)


def _kind(recording: Recording) -> DataKind | None:
    if recording.mode in list(DataKind):
        return DataKind(recording.mode)
    return data_kind(recording.exchange) if recording.exchange else None
