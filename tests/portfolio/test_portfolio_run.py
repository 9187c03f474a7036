from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peak_trade.core.bars import Bars
from peak_trade.core.errors import ConfigError, DataError
from peak_trade.core.time import Timeframe
from peak_trade.core.values import Instrument
from peak_trade.engine.settings import BacktestSettings
from peak_trade.journal.events import AllocationEvent
from peak_trade.metrics import sharpe, simple_returns
from peak_trade.portfolio.analytics import portfolio_sharpe
from peak_trade.reports.views import portfolio as portfolio_view
from peak_trade.strategies.ma_crossover import MaCrossover
from peak_trade.studies.backtest import backtest
from peak_trade.studies.portfolio.result import PortfolioResult
from peak_trade.studies.portfolio.run import run_portfolio
from peak_trade.wiring.portfolio_settings import PortfolioSettings
from tests.examples import examples, mostly_long
from tests.portfolio.conftest import made_bars

SYMBOLS = ("A/USD", "B/USD", "C/USD")
RTOL_SUM = 1e-9
FREE = {"fee_bps": 0.0, "slippage_bps": 0.0, "max_participation": None}


def crossover(symbol: str, fast: int = 5, slow: int = 12, **more: Any) -> dict[str, Any]:
    direction = more.pop("direction", "long")
    return {
        "name": "ma_crossover",
        "symbol": symbol,
        "parameters": {"fast": fast, "slow": slow, "direction": direction},
        **more,
    }


def settings_of(strategies: list[dict[str, Any]], **more: Any) -> PortfolioSettings:
    return PortfolioSettings.parse({"strategies": strategies, **more}, "portfolio")


def assert_sums(result: PortfolioResult) -> None:
    """Sleeves, strategies and symbols each sum to the portfolio's PnL at every bar."""
    whole = result.equity.to_numpy() - result.settings.initial_cash
    scale = np.maximum(np.abs(result.pnl.to_numpy()).sum(axis=1), result.settings.initial_cash)
    for parts in (result.pnl, result.pnl_by_strategy, result.pnl_by_symbol):
        assert (np.abs(parts.to_numpy().sum(axis=1) - whole) <= RTOL_SUM * scale).all()


sleeves = st.lists(
    st.tuples(st.sampled_from(SYMBOLS), st.integers(2, 6), st.integers(7, 30), st.sampled_from(["long", "both"])),
    min_size=1,
    max_size=5,
)


@pytest.mark.long
@settings(max_examples=examples(25), deadline=None)
@given(
    sleeves,
    st.sampled_from(["sleeves", "netted"]),
    st.sampled_from([{}, {"every": "day"}, {"drift_band": 0.02}, {"every": "week", "drift_band": 0.05}]),
    st.sampled_from([{}, {"method": "inverse_volatility", "window": 50, "every": "day"}]),
    st.sampled_from([0.0, 0.1]),
    st.sampled_from([FREE, {}, {"funding_bps_per_8h": 2.0, "borrow_rate": 0.2, "max_participation": 1e-5}]),
)
def test_pnl_of_books_sums_to_the_portfolio_at_every_bar(
    three_symbols, chosen, mode, rebalancing, allocation, lot, costs
):
    entries = [
        crossover(symbol, fast, slow, direction=direction, label=f"s{place}")
        for place, (symbol, fast, slow, direction) in enumerate(chosen)
    ]
    result = run_portfolio(
        settings_of(entries, mode=mode, rebalancing=rebalancing, allocation=allocation, costs=costs),
        three_symbols,
        instruments={symbol: Instrument(symbol, lot_size=lot) for symbol in SYMBOLS},
    )
    assert_sums(result)
    if mode == "netted":
        assert_journal_tells_the_pnl(result)


def assert_journal_tells_the_pnl(result: PortfolioResult) -> None:
    """The shares in the journal alone lead to the last PnL of every sleeve, and sum to the netted fills."""
    shares = [event for event in result.run.events if isinstance(event, AllocationEvent)]
    last = {
        symbol: float(column.mark[-1])
        for symbol, column in zip(result.run.market.symbols, result.run.market.columns, strict=True)
    }
    expected = dict.fromkeys(result.pnl.columns, 0.0)
    by_order: dict[str, float] = {}
    for share in shares:
        expected[share.strategy, share.symbol] += share.quantity * (last[share.symbol] - share.price) - share.cost
        by_order[share.order_id] = by_order.get(share.order_id, 0.0) + share.quantity
    np.testing.assert_allclose(list(expected.values()), result.pnl.iloc[-1].to_numpy(), rtol=1e-8, atol=1e-6)
    for order_id, fills in result.run.fills.groupby("order_id"):
        traded = (fills["quantity"] * np.where(fills["side"] == "buy", 1.0, -1.0)).sum()
        np.testing.assert_allclose(by_order[order_id], traded, rtol=1e-9)


@settings(max_examples=examples(10), deadline=None)
@given(st.sampled_from(SYMBOLS), st.integers(2, 6), st.integers(7, 30), st.sampled_from(["sleeves", "netted"]))
def test_a_portfolio_of_one_is_that_strategys_backtest(three_symbols, symbol, fast, slow, mode):
    bars = next(part for part in three_symbols if part.symbol == symbol)
    alone = backtest(MaCrossover(fast=fast, slow=slow, direction="both"), bars, BacktestSettings())
    result = run_portfolio(settings_of([crossover(symbol, fast, slow, direction="both")], mode=mode), [bars])
    np.testing.assert_array_equal(result.equity.to_numpy(), alone.equity.to_numpy())
    assert result.run.fills["price"].tolist() == alone.fills["price"].tolist()
    if mode == "sleeves":
        assert result.run.content_digest == alone.content_digest


@pytest.mark.long
@pytest.mark.parametrize("mode", ["sleeves", "netted"])
@settings(max_examples=examples(8), deadline=None)
@given(st.integers(2, 6), st.integers(7, 30), st.sampled_from([{}, {"every": "week"}, {"drift_band": 0.03}]))
def test_two_equal_halves_do_what_the_whole_does(three_symbols, mode, fast, slow, rebalancing):
    """With cash for every order: where it runs out, the first of two halves is served before the second."""
    more = {"mode": mode, "rebalancing": rebalancing, "allocation": {"method": "fixed", "cash_buffer": 0.2}}
    rest = crossover("B/USD", 3, 9, weight=0.4, label="rest")
    whole = run_portfolio(
        settings_of([crossover("A/USD", fast, slow, weight=0.6, direction="both"), rest], **more), three_symbols
    )
    halves = [crossover("A/USD", fast, slow, weight=0.3, direction="both", label=label) for label in ("one", "two")]
    split = run_portfolio(settings_of([*halves, rest], **more), three_symbols)
    np.testing.assert_allclose(split.equity, whole.equity, rtol=RTOL_SUM)


@pytest.mark.long
@pytest.mark.parametrize("mode", mostly_long(["netted", "sleeves"], 1))
def test_the_order_in_which_strategies_are_listed_changes_nothing(three_symbols, mode):
    entries = [crossover("A/USD"), crossover("A/USD", 3, 20, label="slow"), crossover("B/USD", direction="both")]
    seen = set()
    for listed in permutations(entries):
        result = run_portfolio(
            settings_of(list(listed), mode=mode, allocation={"method": "risk_parity", "window": 100, "every": "month"}),
            three_symbols,
        )
        seen.add((result.run.content_digest, result.run.run_id))
    assert len(seen) == 1


@pytest.mark.long
@settings(max_examples=examples(10), deadline=None)
@given(sleeves, st.sampled_from([{}, {"every": "day"}]))
def test_without_costs_netting_changes_nothing_but_the_number_of_orders(three_symbols, chosen, rebalancing):
    entries = [
        crossover(symbol, fast, slow, direction=direction, label=f"s{place}")
        for place, (symbol, fast, slow, direction) in enumerate(chosen)
    ]
    runs = {
        mode: run_portfolio(
            settings_of(entries, mode=mode, rebalancing=rebalancing, costs=FREE, allocation={"cash_buffer": 0.3}),
            three_symbols,
        )
        for mode in ("sleeves", "netted")
    }
    np.testing.assert_allclose(runs["netted"].equity, runs["sleeves"].equity, rtol=RTOL_SUM)
    np.testing.assert_allclose(runs["netted"].pnl, runs["sleeves"].pnl, rtol=1e-7, atol=1e-7)
    assert len(runs["netted"].run.fills) <= len(runs["sleeves"].run.fills)


def test_opposite_targets_of_one_size_need_no_order(three_symbols):
    frame = three_symbols[0]
    entries = [
        {"name": "buy_and_hold", "symbol": "A/USD"},
        {"name": "tests.portfolio.opposites:AlwaysShort", "symbol": "A/USD"},
    ]
    result = run_portfolio(settings_of(entries, mode="netted"), [frame])
    assert len(result.run.fills) == 0
    assert_sums(result)
    opened = frame.frame["open"].iloc[1]
    expected = 5_000.0 / frame.frame["close"].iloc[0] * (frame.frame["close"].iloc[-1] - opened)
    np.testing.assert_allclose(result.pnl.iloc[-1].to_numpy(), [-expected, expected], rtol=RTOL_SUM)


def test_three_equal_sleeves_invest_all_of_the_cash(three_symbols):
    entries = [{"name": "buy_and_hold", "symbol": symbol} for symbol in SYMBOLS]
    result = run_portfolio(settings_of(entries, costs=FREE), three_symbols)
    notional = result.run.fills["quantity"] * result.run.fills["decision_price"]
    np.testing.assert_allclose(notional.sum(), 10_000.0, rtol=0.01)


def test_a_week_brings_every_book_back_to_its_weight(three_symbols):
    entries = [{"name": "buy_and_hold", "symbol": symbol} for symbol in SYMBOLS]
    held = run_portfolio(settings_of(entries, costs=FREE, allocation={"cash_buffer": 0.1}), three_symbols)
    weekly = run_portfolio(
        settings_of(entries, costs=FREE, allocation={"cash_buffer": 0.1}, rebalancing={"every": "week"}), three_symbols
    )
    assert len(held.run.fills) == 3
    times = weekly.run.fills["ts_event"]
    assert (times.iloc[3:].dt.day_of_week == 0).all()
    assert (times.iloc[3:].dt.hour == 0).all()
    assert len(times) == 3 + 3 * 2


def test_a_drift_band_trades_only_the_book_that_left_it(three_symbols):
    entries = [{"name": "buy_and_hold", "symbol": symbol} for symbol in SYMBOLS]
    band = 0.1
    result = run_portfolio(
        settings_of(entries, costs=FREE, allocation={"cash_buffer": 0.1}, rebalancing={"drift_band": band}),
        three_symbols,
    )
    fills = result.run.fills
    assert len(fills) > 3
    index = result.equity.index
    share = pd.DataFrame(
        {
            part.symbol: result.run.positions[part.symbol] * part.frame["close"].to_numpy() / result.equity.to_numpy()
            for part in three_symbols
        },
        index=index,
    )
    outside = (share - 0.3).abs() > band * 0.3
    decided = {(fill.ts_event, fill.symbol) for fill in fills.iloc[3:].itertuples()}
    left = {(time, symbol) for symbol in SYMBOLS for time in index[outside[symbol]] if time > index[0]}
    assert decided == {pair for pair in left if pair[0] < index[-1]}


@pytest.mark.long
def test_weights_and_equity_ignore_the_future(three_symbols):
    entries = [crossover(symbol, direction="both") for symbol in SYMBOLS]
    chosen = settings_of(
        entries,
        allocation={"method": "minimum_variance", "window": 60, "every": "day", "annual_volatility": 0.5},
        rebalancing={"drift_band": 0.02},
    )
    whole = run_portfolio(chosen, three_symbols)
    cut = [Bars(part.frame.iloc[:250], part.symbol, part.timeframe, part.exchange) for part in three_symbols]
    known = run_portfolio(chosen, cut)
    np.testing.assert_array_equal(known.weights.to_numpy(), whole.weights.to_numpy()[:250])
    np.testing.assert_array_equal(known.equity.to_numpy(), whole.equity.to_numpy()[:250])


@pytest.mark.parametrize("mode", ["sleeves", "netted"])
def test_a_symbol_is_traded_only_while_it_has_bars(mode):
    late, whole = made_bars("A/USD", 1, start=150), made_bars("B/USD", 2)
    early = Bars(made_bars("C/USD", 3).frame.iloc[:200], "C/USD", Timeframe.parse("1h"), "made")
    entries = [crossover(symbol, direction="both") for symbol in SYMBOLS]
    result = run_portfolio(
        settings_of(entries, mode=mode, rebalancing={"every": "day"}, allocation={"method": "equal"}),
        [late, whole, early],
    )
    assert_sums(result)
    times = result.run.fills.set_index("symbol")["ts_event"]
    assert times["A/USD"].min() >= late.frame.index[0]
    assert times["C/USD"].max() < early.frame.index[-1]


def test_gaps_of_one_symbol_leave_the_others_alone():
    gapped = made_bars("A/USD", 1)
    holes = Bars(gapped.frame.drop(gapped.frame.index[100:130]), "A/USD", gapped.timeframe, "made")
    entries = [crossover("A/USD", direction="both"), crossover("B/USD", direction="both")]
    result = run_portfolio(settings_of(entries, rebalancing={"every": "day"}), [holes, made_bars("B/USD", 2)])
    assert_sums(result)
    missing = gapped.frame.index[100:130]
    fills = result.run.fills
    assert not fills[fills["symbol"] == "A/USD"]["ts_event"].isin(missing[:-1]).any()


@pytest.mark.parametrize("mode", ["sleeves", "netted"])
def test_a_bankruptcy_ends_the_run_and_still_adds_up(mode):
    calm = made_bars("A/USD", 1)
    frame = made_bars("B/USD", 2).frame.copy()
    frame.iloc[200:, :4] *= 5.0
    entries = [
        {"name": "tests.portfolio.opposites:AlwaysShort", "symbol": "B/USD"},
        crossover("A/USD", label="other"),
    ]
    result = run_portfolio(
        settings_of(entries, mode=mode),
        [calm, Bars(frame, "B/USD", calm.timeframe, "made")],
    )
    assert result.run.bankrupt_bar is not None
    assert result.equity.iloc[-1] == 0.0
    assert_sums(result)


def test_a_portfolio_that_rebalances_does_not_say_that_it_never_does(three_symbols):
    entries = [crossover("A/USD"), crossover("B/USD")]
    result = run_portfolio(settings_of(entries, rebalancing={"every": "week"}), three_symbols)
    assert "does not rebalance" not in " ".join(result.assumptions)
    assert len(result.assumptions) == len(result.run.assumptions) + 4


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"strategies": []}, ConfigError, "strategies"),
        ({"mode": "net"}, ConfigError, "mode was 'net'"),
        ({"strategies": [crossover("A/USD") | {"symbl": 1}]}, ConfigError, r"Did you mean symbol\?"),
        ({"strategies": [crossover("A/USD") | {"name": "ma_crosover"}]}, ConfigError, "Did you mean ma_crossover"),
        ({"strategies": [crossover("A/USD") | {"parameters": {"fst": 3}}]}, ConfigError, "Did you mean fast"),
        ({"strategies": [crossover("A/USD"), crossover("A/USD")]}, ConfigError, "Give one of the two a label"),
        ({"strategies": [crossover("D/USD")]}, DataError, "D/USD: there are no bars"),
        ({"allocation": {"methd": "equal"}}, ConfigError, r"allocation.methd is not a setting. Did you mean method\?"),
        ({"allocation": {"method": "fixed"}}, ConfigError, "weight is missing"),
        ({"mode": "netted", "execution": {"stop_loss": 0.1}}, ConfigError, "netted sleeves trade with market orders"),
        ({"timeframe": "1 hour"}, ConfigError, "timeframe"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_settings_are_refused_by_name(three_symbols, change, error, says):
    values = {"strategies": [crossover("A/USD"), crossover("B/USD")]} | change
    with pytest.raises(error, match=says):
        run_portfolio(PortfolioSettings.parse(values, "portfolio"), three_symbols)


def test_symbols_that_never_meet_quotes_and_timeframes_that_differ_are_refused():
    first, second = made_bars("A/USD", 1), made_bars("B/USD", 2)
    entries = [crossover("A/USD"), crossover("B/USD")]
    early = Bars(first.frame.iloc[:100], "A/USD", first.timeframe, "made")
    late = Bars(second.frame.iloc[200:], "B/USD", first.timeframe, "made")
    with pytest.raises(DataError, match="do not overlap"):
        run_portfolio(settings_of(entries), [early, late])
    coarse = Bars(second.frame.iloc[::4], "B/USD", Timeframe.parse("4h"), "made")
    with pytest.raises(ConfigError, match="timeframes differ"):
        run_portfolio(settings_of(entries), [first, coarse])
    euro = Bars(second.frame, "B/EUR", first.timeframe, "made")
    with pytest.raises(ConfigError, match="quote currencies differ"):
        run_portfolio(settings_of([crossover("A/USD"), crossover("B/EUR")]), [first, euro])


def test_sharpe_is_the_closed_form_of_weights_volatilities_and_correlations():
    """Daily bars that open where the last one closed, brought back to their weights at every close, without costs."""
    days, symbols = [], ("A/USD", "B/USD", "C/USD")
    for seed, symbol in enumerate(symbols, start=1):
        frame = made_bars(symbol, seed).frame.copy()
        frame["open"] = frame["close"].shift(1, fill_value=100.0)
        frame["high"], frame["low"] = frame[["open", "close"]].max(axis=1), frame[["open", "close"]].min(axis=1)
        frame.index = pd.date_range("2024-01-01", periods=len(frame), freq="D", tz="UTC")
        days.append(Bars(frame, symbol, Timeframe.parse("1d"), "made"))
    weights = (0.5, 0.3, 0.1)
    entries = [
        {"name": "buy_and_hold", "symbol": symbol, "weight": weight / 0.9}
        for symbol, weight in zip(symbols, weights, strict=True)
    ]
    result = run_portfolio(
        settings_of(
            entries,
            timeframe="1d",
            costs=FREE,
            allocation={"method": "fixed", "cash_buffer": 0.1},
            rebalancing={"every": "day"},
        ),
        days,
    )
    returns = pd.concat([part.frame["close"].pct_change() for part in days], axis=1).iloc[1:]
    closed = portfolio_sharpe(weights, returns.mean(), returns.std(), returns.corr(), 365.0)
    assert sharpe(simple_returns(result.equity), 365.0).value == pytest.approx(closed, rel=RTOL_SUM)


@pytest.mark.long
def test_real_bars_of_three_symbols_add_up(real_data):
    bars = []
    for base in ("BTC", "ETH", "SOL"):
        frame = pd.read_parquet(real_data / "bars" / f"binance_{base}USDT_1h.parquet").iloc[:6_000]
        frame = frame.set_index("timestamp").astype(float)
        frame.index = frame.index + pd.Timedelta("1h")
        bars.append(Bars(frame, f"{base}/USDT", Timeframe.parse("1h"), "binance"))
    entries = [
        {"name": name, "symbol": part.symbol, "parameters": {"direction": "both"}}
        for part in bars
        for name in ("ma_crossover", "rsi_reversion")
    ]
    result = run_portfolio(
        settings_of(
            entries,
            mode="netted",
            allocation={"method": "inverse_volatility", "max_weight": 0.4, "cash_buffer": 0.05},
            rebalancing={"every": "week", "drift_band": 0.2},
        ),
        bars,
        instruments={part.symbol: Instrument(part.symbol, lot_size=1e-5, min_notional=5.0) for part in bars},
    )
    assert_sums(result)
    assert len(result.run.fills) > 500
    assert result.drawdowns()["drawdown"].iloc[0] == pytest.approx(result.drawdown.max(), rel=RTOL_SUM)


@pytest.mark.long
def test_new_listings_wait_for_an_estimate_and_the_result_names_them():
    """Nine books, of which four are listed within the window: the others have the volatility that was asked for."""
    draw = np.random.default_rng(1)
    shared, n_bars = draw.normal(size=900), 900
    bars = []
    for place in range(9):
        moves = 0.009 * (np.sqrt(0.8) * shared + np.sqrt(0.2) * draw.normal(size=n_bars))
        whole = made_bars(f"S{place}/USD", place, n_bars)
        close = 100.0 * np.exp(np.cumsum(moves))
        frame = whole.frame.assign(open=np.r_[close[:1], close[:-1]], close=close)
        frame = frame.assign(high=frame[["open", "close"]].max(axis=1), low=frame[["open", "close"]].min(axis=1))
        bars.append(Bars(frame.iloc[400 if place >= 5 else 0 :], whole.symbol, whole.timeframe, "made"))
    entries = [{"name": "buy_and_hold", "symbol": part.symbol} for part in bars]
    allocation = {"annual_volatility": 0.3, "window": 240, "every": "day"}
    result = run_portfolio(settings_of(entries, allocation=allocation, costs=FREE), bars)
    weights = result.weights.to_numpy()
    assert (weights[400:600, 5:] == 0.0).all()
    assert (weights[-100:] > 0.0).all()
    for span in (slice(300, 400), slice(400, 600), slice(700, 900)):
        returns = np.diff(result.equity.to_numpy()[span]) / result.equity.to_numpy()[span][:-1]
        assert returns.std(ddof=1) * np.sqrt(8_760.0) == pytest.approx(0.3, rel=0.2)
    assert [event.subject for event in result.left_out] == [f"buy_and_hold S{place}/USD" for place in range(5, 9)]
    (remark,) = [text for text in result.run.remarks if "Left out of the volatility target" in text]
    assert "buy_and_hold S8/USD (" in remark
    assert remark in result.assumptions
    assert remark in portfolio_view.outcome(result)
    assert result.trimmed is None


def test_a_volatility_target_is_trimmed_to_the_equity_and_the_result_says_when(three_symbols):
    entries = [{"name": "buy_and_hold", "symbol": symbol} for symbol in SYMBOLS]
    allocation = {"annual_volatility": 4.0, "window": 100, "every": "day", "max_scale": 8.0}
    result = run_portfolio(settings_of(entries, allocation=allocation), three_symbols)
    assert result.weights.to_numpy().sum(axis=1).max() <= 1.0 + RTOL_SUM
    assert result.trimmed is not None
    assert result.trimmed.n_estimates == len(three_symbols[0]) // 24 - 100 // 24
    (remark,) = [text for text in result.run.remarks if "trimmed at" in text]
    assert f"asked for up to {result.trimmed.largest:.2f} times the invested part" in remark


@pytest.mark.parametrize("method", ["inverse_volatility", "risk_parity", "minimum_variance"])
def test_a_nearly_constant_book_does_not_end_a_portfolio(three_symbols, method):
    peg = made_bars("PEG/USD", 9)
    prices = {name: 1.0 + 1e-10 * (peg.frame[name] - 100.0) for name in ("open", "high", "low", "close")}
    bars = [*three_symbols, Bars(peg.frame.assign(**prices), peg.symbol, peg.timeframe, "made")]
    entries = [{"name": "buy_and_hold", "symbol": part.symbol} for part in bars]
    allocation = {"method": method, "window": 100, "every": "week"}
    result = run_portfolio(settings_of(entries, allocation=allocation), bars)
    assert [event.subject for event in result.left_out] == ["buy_and_hold PEG/USD"]
    np.testing.assert_allclose(result.weights.xs("PEG/USD", axis=1, level="symbol").to_numpy(), 0.25, rtol=1e-12)
    assert "Their equal weight kept" in " ".join(result.run.remarks)


def test_windows_of_weights_are_annualised_by_the_time_that_they_span(three_symbols):
    """Of hourly bars every second one is missing: the volatility of the portfolio is still the one asked for."""
    thin = [
        Bars(part.frame.iloc[np.flatnonzero(np.arange(400) % 4 < 2)], part.symbol, part.timeframe)
        for part in three_symbols
    ]
    entries = [{"name": "buy_and_hold", "symbol": symbol} for symbol in SYMBOLS]
    allocation = {"annual_volatility": 0.2, "window": 100, "every": "week"}
    result = run_portfolio(settings_of(entries, allocation=allocation), thin)
    row = int(np.flatnonzero(result.weights.to_numpy().any(axis=1))[0])
    past = result.unit_returns.to_numpy()[row - 99 : row + 1] @ result.weights.to_numpy()[row]
    years = (result.weights.index[row] - result.weights.index[row - 100]).total_seconds() / 31_536_000.0
    assert past.std(ddof=1) * np.sqrt(100 / years) == pytest.approx(0.2, rel=1e-9)
