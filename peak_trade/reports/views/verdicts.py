"""Answer and costs of a backtest, for the strategy and the portfolio page alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from peak_trade.core.arrays import IntArray
from peak_trade.core.calendar import n_missing
from peak_trade.journal.events import CashFlowEvent
from peak_trade.metrics import Measure
from peak_trade.metrics.resampling import SharpeDifference, equity_sharpe_difference
from peak_trade.metrics.trading import CostBreakdown, cost_breakdown
from peak_trade.reports.answer import (
    WIDE,
    Answer,
    Check,
    Finding,
    Provenance,
    Strip,
    Tile,
    bounds_finding,
    data_kind,
    error_text,
    interval_finding,
    number,
    percent,
    with_error,
)
from peak_trade.reports.views.drawing import BLUE, GREY, RED, styled
from peak_trade.studies.trials import deflated

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from peak_trade.engine.result import BacktestResult
    from peak_trade.metrics.summary import Stats
    from peak_trade.studies.noise import TwinCheck

MOST_NAMED = 2
"""Largest number of strategies, and of symbols, that a title names."""
CONFIDENCE = 0.95
"""Deflated Sharpe ratio from which a result survives the choice among its trials."""


def provenance(result: BacktestResult) -> Provenance:
    """Return what a backtest is about and where its bars come from."""
    market, index = result.market, result.index
    missing = sum(n_missing(own, market.timeframe) for own in _times(result))
    first, last = (time.strftime("%Y-%m-%d") for time in (index[0], index[-1]))
    return Provenance(
        f"{_named(result.strategies, 'strategies')} on {_named(market.symbols, 'symbols')}, {market.timeframe}, "
        f"{first} to {last}",
        (data_kind(result.exchange),),
        (f"{first} to {last} UTC", f"{len(market):,} bars of {market.timeframe}, {missing:,} missing"),
        {name: result.digests[name] for name in ("data", "code") if name in result.digests},
    )


def costs(result: BacktestResult) -> CostBreakdown:
    """Return the costs of a backtest; the net profit is the change of its equity."""
    carry = sum(event.amount for event in result.events if isinstance(event, CashFlowEvent))
    return cost_breakdown(result.fills, float(result.equity_values[-1]) - result.settings.initial_cash, carry)


def answer(result: BacktestResult, twin: TwinCheck) -> Answer:
    """Return the verdict on a backtest, its five checks and its tiles.

    There is evidence of an edge only if the 95 % intervals of the Sharpe ratio, and of its difference from that of
    buying and holding the same symbols, lie above 0, and the deflated Sharpe ratio is at least 0.95.
    """
    paid, gap, stats = costs(result), _less_holding(result), result.stats()
    checks = _checks(result, twin, paid, gap)
    own, beats, *_, selection, _ = (check.finding for check in checks)
    if result.no_trade_reason:
        verdict, finding = "No trades", Finding.UNKNOWN
    elif Finding.UNKNOWN in (own, beats):
        verdict, finding = "Cannot say", Finding.UNKNOWN
    elif Finding.AGAINST in (own, beats):
        verdict, finding = "Worse than the benchmark", Finding.AGAINST
    elif own is beats is selection is Finding.SHOWN:
        verdict, finding = "Evidence of an edge", Finding.SHOWN
    else:
        verdict, finding = "No evidence of an edge", Finding.NOT_SHOWN
    sentence = result.no_trade_reason or _sentence(stats["total_return"], stats["sharpe"], own, result)
    return Answer(verdict, finding, sentence, _detail(result, paid), checks, _tiles(result, paid, gap))


def _named(names: Sequence[str], kind: str) -> str:
    return " and ".join(names) if len(names) <= MOST_NAMED else f"{len(names)} {kind}"


def _times(result: BacktestResult) -> list[IntArray]:
    times = result.market.times
    return [times if column.own_bars is None else times[column.own_bars] for column in result.market.columns]


def _less_holding(result: BacktestResult) -> SharpeDifference:
    return equity_sharpe_difference(result.equity_values, result.benchmark.equity_values, result.market.bars_per_year)


def _sentence(gain: Measure, ratio: Measure, own: Finding, result: BacktestResult) -> str:
    verb = "lost" if gain.value is not None and gain.value < 0.0 else "earned"
    earned = f"It {verb} {percent(gain.value)} after costs"
    holding = f"Buying and holding returned {percent(result.benchmark.stats()['total_return'].value)}."
    if ratio.value is None:
        return f"{earned}; its Sharpe ratio is not stated ({ratio.note}). {holding}"
    meaning = {
        Finding.SHOWN: "is above zero",
        Finding.AGAINST: "is below zero",
        Finding.NOT_SHOWN: "cannot be told from zero",
        Finding.UNKNOWN: "has no known error",
    }[own]
    return f"{earned}. Its Sharpe ratio of {with_error(ratio)} {meaning}. {holding}"


def _detail(result: BacktestResult, paid: CostBreakdown) -> str:
    share = paid.share_of_gross
    if not paid.n_fills:
        spent = "Nothing was traded"
    elif share is None:
        spent = f"It lost {number(-paid.gross)} {_quote(result)} before costs of {number(paid.costs)}"
    else:
        spent = f"Costs took {percent(share, sign=False)} of the gross profit"
    count, measures = deflated(result)
    chance = measures["deflated_sharpe"]
    if count is None or chance.value is None:
        return f"{spent}."
    trials = "the only trial" if count.n == 1 else f"one of {count.n:,} trials"
    return (
        f"{spent}. It is {trials} on this asset and span; its deflated Sharpe ratio is {number(chance.value)}, where "
        f"{CONFIDENCE} is asked for."
    )


def _checks(
    result: BacktestResult, twin: TwinCheck, paid: CostBreakdown, gap: SharpeDifference
) -> tuple[Check, Check, Check, Check, Check]:
    ratio, edge = result.stats()["sharpe"], twin.twin
    reach = None if ratio.value is None or ratio.stderr is None else WIDE * ratio.stderr
    own = (
        ""
        if reach is None or ratio.value is None
        else f"{number(ratio.value - reach)} to {number(ratio.value + reach)}"
    )
    bearable, cost = paid.break_even_bps, paid.paid_bps
    pays = Finding.UNKNOWN if bearable is None else Finding.SHOWN if paid.net > 0.0 else Finding.AGAINST
    count, measures = deflated(result)
    chance = measures["deflated_sharpe"]
    survives = Finding.UNKNOWN
    if chance.value is not None:
        survives = Finding.SHOWN if chance.value >= CONFIDENCE else Finding.NOT_SHOWN
    silent = {Finding.SHOWN: Finding.AGAINST, Finding.UNKNOWN: Finding.UNKNOWN}.get(
        interval_finding(edge), Finding.SHOWN
    )
    return (
        Check("Own edge", interval_finding(ratio), f"95 % interval of the Sharpe ratio: {own}" if own else ratio.note),
        Check(
            "Beats holding",
            bounds_finding(gap.low, gap.high),
            f"difference of the Sharpe ratios: {with_error(gap.difference)}",
        ),
        Check(
            "Survives costs",
            pays,
            f"{number(bearable, 1)} bps bearable, {number(cost, 1)} paid per fill"
            if bearable is not None
            else "no fills",
        ),
        Check(
            "Survives selection",
            survives,
            chance.note
            if chance.value is None or count is None
            else f"deflated Sharpe ratio {number(chance.value)}, {count.n:,} trial{'s' * (count.n > 1)}",
        ),
        Check("Silent on noise", silent, f"edge on the sign-flipped twin: {with_error(edge)}"),
    )


def _tiles(result: BacktestResult, paid: CostBreakdown, gap: SharpeDifference) -> tuple[Tile, ...]:
    ours, held = result.stats(), result.benchmark.stats()
    busy, share = ours["time_in_market"], paid.share_of_gross
    n_trades = len(result.trades)
    return (
        return_tile(ours, held),
        sharpe_tile(ours["sharpe"], held["sharpe"]),
        drawdown_tile(ours, held),
        Tile(
            "Costs, of gross profit",
            percent(share, sign=False) if share is not None else "no gross profit",
            Measure(share, paid.n_fills),
            foot=f"{number(paid.costs)} {_quote(result)} in {paid.n_fills:,} fills",
            strip=Strip.share(share, is_cost=True),
        ),
        Tile(
            "Time in market",
            percent(busy.value, sign=False),
            busy,
            foot=f"{n_trades:,} closed trade{'s' * (n_trades != 1)}{_median_length(result.trades)}",
            strip=Strip.share(busy.value),
        ),
        Tile(
            "Sharpe minus holding",
            number(gap.difference.value, sign=True),
            gap.difference,
            error_text(gap.difference),
            "the same bars, paired" if gap.difference.value is not None else gap.difference.note,
            Strip.interval(gap.difference),
        ),
    )


def return_tile(ours: Stats, other: Stats, word: str = "holding") -> Tile:
    """Return the tile of the net return, with that of another run, which `word` names."""
    gain = ours["total_return"]
    return Tile("Net return", percent(gain.value), gain, foot=f"{word} {percent(other['total_return'].value)}")


def sharpe_tile(ratio: Measure, other: Measure, label: str = "Sharpe ratio, a year", word: str = "holding") -> Tile:
    """Return the tile of a Sharpe ratio, with that of another run, which `word` names."""
    foot = ratio.note if ratio.value is None else f"{word} {with_error(other)}"
    return Tile(label, number(ratio.value), ratio, error_text(ratio), foot, Strip.interval(ratio, other.value))


def drawdown_tile(ours: Stats, other: Stats, word: str = "holding") -> Tile:
    """Return the tile of the largest drawdown, with that of another run, which `word` names."""
    deepest, theirs = ours["max_drawdown"], other["max_drawdown"]
    texts = [percent(None if each.value is None else -each.value) for each in (deepest, theirs)]
    strip = Strip.share(deepest.value, is_cost=True)
    return Tile("Max drawdown", texts[0], deepest, foot=f"{word} {texts[1]}", strip=strip)


def _median_length(trades: pd.DataFrame) -> str:
    if trades.empty:
        return ""
    hours = float((trades["exit_time"] - trades["entry_time"]).dt.total_seconds().median()) / 3_600.0
    return f", median {hours:,.0f} h" if hours < 48.0 else f", median {hours / 24.0:,.0f} d"


def _quote(result: BacktestResult) -> str:
    return result.market.columns[0].instrument.quote


def cost_table(paid: CostBreakdown) -> pd.DataFrame:
    """Return the steps from gross to net profit: step, amount, share of the gross profit, bps of the traded notional.

    Amounts are in quote currency, signed: costs are negative. The first four rows sum to the last.
    """
    steps = [
        ("gross profit", paid.gross),
        ("fees", -paid.fees),
        ("slippage", -paid.slippage),
        ("funding and borrow", paid.carry),
        ("net profit", paid.net),
    ]
    frame = pd.DataFrame(steps, columns=["step", "amount"])
    frame["of_gross"] = frame["amount"] / paid.gross if paid.gross > 0.0 else float("nan")
    frame["bps"] = 1e4 * frame["amount"] / paid.traded if paid.traded > 0.0 else float("nan")
    return frame


def cost_waterfall(paid: CostBreakdown, quote: str) -> Figure:
    """Draw the steps from gross to net profit as bars that hang from each other, in quote currency."""
    import plotly.graph_objects as go

    table = cost_table(paid)
    amounts = table["amount"].to_numpy()
    before = np.concatenate([[0.0], np.cumsum(amounts[:-1])])
    before[-1] = 0.0
    is_total = np.array([True, False, False, False, True])
    bar = go.Bar(
        orientation="h",
        y=table["step"].to_list(),
        x=amounts.tolist(),
        base=before.tolist(),
        text=[f"{amount:+,.2f}" for amount in amounts],
        textposition="outside",
        cliponaxis=False,
        name="amount",
        marker={
            "color": [GREY, *(RED if amount < 0.0 else BLUE for amount in amounts[1:])],
            "pattern": {"shape": ["" if total else "/" for total in is_total], "fgcolor": "#ffffff", "size": 5},
        },
    )
    figure = go.Figure(bar)
    figure.update_yaxes(autorange="reversed")
    ends = np.concatenate([before, before + amounts])
    margin = 0.2 * float(np.ptp(ends) or 1.0)
    figure.update_xaxes(title_text=quote, zeroline=True, range=[float(ends.min()) - margin, float(ends.max()) + margin])
    return styled(figure, height=260)


COST_FORMATS = {"amount": "{:+,.2f}", "of_gross": "{:+.1%}", "bps": "{:+.1f}"}
"""Formats of `cost_table`."""


def cost_sentence(paid: CostBreakdown, quote: str) -> str:
    """Return what the costs took of the gross profit, and how large they could be."""
    if not paid.n_fills:
        return "Nothing was traded, so there are no costs."
    if paid.share_of_gross is None:
        return (
            f"The run lost {-paid.gross:,.2f} {quote} before costs of {paid.costs:,.2f} {quote}; no cost is low enough."
        )
    return (
        f"Costs took {paid.costs:,.2f} {quote}, {paid.share_of_gross:.1%} of the gross profit. The strategy would "
        f"break even at {paid.break_even_bps:.1f} bps per fill; it paid {paid.paid_bps:.1f}."
    )
