"""The same portfolio through vectorbt's grouped, cash-shared orders, one column per sleeve."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from peak_trade.engine.second_opinion import second_opinion
from peak_trade.portfolio.rebalancing import first_closes
from peak_trade.studies.portfolio.result import PortfolioResult
from peak_trade.studies.portfolio.run import run_portfolio
from peak_trade.wiring.portfolio_settings import PortfolioSettings, ordered
from peak_trade.wiring.strategies import make_strategy
from tests.tolerances import RTOL_REFERENCE

FEE_BPS, SLIPPAGE_BPS = 10.0, 5.0


def entry(symbol, fast, slow, **more):
    parameters = {"fast": fast, "slow": slow, "direction": more.pop("direction", "both")}
    return {"name": "ma_crossover", "symbol": symbol, "parameters": parameters, **more}


def through_vectorbt(result: PortfolioResult, bars):
    """Decide quantities, prices, fees and equity in vectorbt from the strategies' targets alone."""
    import vectorbt as vbt

    settings = result.settings
    frames = {part.symbol: part.frame for part in bars}
    entries = ordered(settings.strategies)
    times = result.run.market.times
    due = np.zeros(len(times), dtype=bool)
    if settings.rebalancing.every:
        due |= first_closes(times, settings.rebalancing.every)
    if settings.allocation.is_estimated:
        due |= first_closes(times, settings.allocation.every)
    size = np.full((len(times), len(entries)), np.nan)
    for place, item in enumerate(entries):
        exposure = np.nan_to_num(make_strategy(item.name, item.parameters).exposure(frames[item.symbol]))
        decides = due | (np.diff(exposure, prepend=0.0) != 0.0)
        target = exposure * result.weights.to_numpy()[:, place]
        size[1:, place] = np.where(decides, target, np.nan)[:-1]

    def table(column):
        return np.column_stack([frames[item.symbol][column].to_numpy() for item in entries])

    close, opened = table("close"), table("open")
    return vbt.Portfolio.from_orders(
        pd.DataFrame(close),
        size=size,
        size_type="targetpercent",
        price=opened,
        val_price=np.vstack([opened[:1], close[:-1]]),
        fees=FEE_BPS / 10_000.0,
        slippage=SLIPPAGE_BPS / 10_000.0,
        init_cash=settings.initial_cash,
        direction="both",
        cash_sharing=True,
        group_by=True,
        freq="1h",
    )


@pytest.mark.parametrize(
    "more",
    [
        {"allocation": {"method": "fixed", "cash_buffer": 0.3}},
        {"allocation": {"method": "fixed", "cash_buffer": 0.3}, "rebalancing": {"every": "day"}},
        {"allocation": {"method": "inverse_volatility", "window": 50, "every": "day", "cash_buffer": 0.3}},
    ],
    ids=["held", "daily", "estimated"],
)
def test_vectorbt_decides_the_same_fills_and_equity(three_symbols, more):
    is_fixed = more["allocation"]["method"] == "fixed"
    shares = (0.4, 0.2, 0.3, 0.1) if is_fixed else (None,) * 4
    entries = [
        entry("A/USD", 5, 12, weight=shares[0]),
        entry("A/USD", 3, 30, weight=shares[1], label="slow"),
        entry("B/USD", 4, 9, weight=shares[2], direction="long"),
        entry("C/USD", 2, 20, weight=shares[3]),
    ]
    costs = {"fee_bps": FEE_BPS, "slippage_bps": SLIPPAGE_BPS, "max_participation": None}
    result = run_portfolio(PortfolioSettings.parse({"strategies": entries, "costs": costs, **more}, "p"), three_symbols)
    theirs = through_vectorbt(result, three_symbols)
    np.testing.assert_allclose(result.equity, theirs.value().to_numpy(), rtol=RTOL_REFERENCE)
    sleeves = {(item.shown_as, item.symbol): place for place, item in enumerate(ordered(result.settings.strategies))}
    ours = sorted(
        (row, sleeves[fill.strategy, fill.symbol], fill.signed_quantity, fill.price, fill.fee)
        for row, fill in zip(result.run.fill_bars, result.run.fill_list, strict=True)
    )
    records = np.sort(theirs.orders.records_arr, order=["idx", "col"])
    signs = np.where(records["side"] == 0, 1.0, -1.0)
    expected = zip(
        records["idx"], records["col"], records["size"] * signs, records["price"], records["fees"], strict=True
    )
    np.testing.assert_allclose(np.array(ours), np.array(list(expected)), rtol=RTOL_REFERENCE)
    assert len(ours) > 100


@pytest.mark.long
@pytest.mark.parametrize("mode", ["sleeves", "netted"])
def test_vectorbt_books_the_same_fills_to_the_same_equity(three_symbols, mode):
    """Also where cash runs out, volume caps a fill, and bands ask for orders, which it can not decide itself."""
    entries = [entry("A/USD", 5, 12), entry("A/USD", 3, 30, label="slow"), entry("B/USD", 4, 9), entry("C/USD", 2, 20)]
    costs = {"fee_bps": FEE_BPS, "slippage_bps": SLIPPAGE_BPS, "max_participation": 2e-5}
    result = run_portfolio(
        PortfolioSettings.parse(
            {"strategies": entries, "mode": mode, "costs": costs, "rebalancing": {"drift_band": 0.05}}, "p"
        ),
        three_symbols,
    )
    opinion = second_opinion(result.run)
    assert opinion.agrees, str(opinion)
