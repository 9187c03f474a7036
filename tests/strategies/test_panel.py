"""Panel strategies: rules against plain implementations, the checks of exposures, look-ahead, and runs."""

from __future__ import annotations

import math
import statistics
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peak_trade.causality.check import check_panel
from peak_trade.causality.short import check_run
from peak_trade.cli import main
from peak_trade.core.bars import Bars
from peak_trade.core.causality import CausalityVerdict
from peak_trade.core.errors import ConfigError, StrategyError
from peak_trade.strategies.cross_sectional_momentum import CrossSectionalMomentum
from peak_trade.strategies.ma_crossover import MaCrossover
from peak_trade.strategies.pairs import Pairs
from peak_trade.strategies.panel import Panel, PanelStrategy, check_panel_exposure
from peak_trade.strategies.volatility_basket import VolatilityBasket
from peak_trade.studies.portfolio.run import run_portfolio
from peak_trade.wiring.portfolio_settings import PortfolioSettings
from peak_trade.wiring.strategies import PANEL_STRATEGIES, make_panel_strategy, strategy_class
from tests.examples import examples, mostly_long
from tests.portfolio.conftest import made_bars

RTOL_PLAIN = 1e-9
"""Sums in another order."""
SHORT = {
    "cross_sectional_momentum": {"window": 20, "every": 4, "direction": "both"},
    "pairs": {"window": 30, "enter": 1.0, "leave": 0.2},
    "volatility_basket": {"window": 24, "every": 5},
}


def panel_bars(n_symbols: int, seed: int, n_bars: int = 160, *, gaps: bool = True) -> list[Bars]:
    """Bars of symbols of which the last is listed later, and of which each lacks some closes."""
    draw = np.random.default_rng(seed)
    parts = []
    for place in range(n_symbols):
        whole = made_bars(f"{'ABCDE'[place]}/USD", seed * 10 + place, n_bars, 30 if place == n_symbols - 1 else 0)
        kept = draw.random(len(whole)) > 0.05 if gaps else np.ones(len(whole), dtype=bool)
        kept[[0, -1]] = True
        parts.append(Bars(whole.frame[kept], whole.symbol, whole.timeframe, whole.exchange))
    return parts


def plain_momentum(strategy: CrossSectionalMomentum, panel: Panel) -> list[list[float]]:
    close = panel.close.to_numpy().tolist()
    current, rows = [0.0] * len(panel.symbols), []
    for row, time in enumerate(panel.times.tolist()):
        if row >= strategy.window and (time // 3_600_000_000_000) % strategy.every == 0:
            known = [
                (-close[row][s] / close[row - strategy.window][s], s)
                for s in range(len(current))
                if not math.isnan(close[row][s]) and not math.isnan(close[row - strategy.window][s])
            ]
            best = [s for _, s in sorted(known)]
            current = [0.0] * len(current)
            if strategy.direction == "long":
                for s in best[: strategy.n_held]:
                    current[s] = 1.0 / strategy.n_held
            else:
                n_sides = min(strategy.n_held, len(best) // 2)
                for s in best[:n_sides]:
                    current[s] = 0.5 / strategy.n_held
                for s in best[len(best) - n_sides :]:
                    current[s] = -0.5 / strategy.n_held
        rows.append(current)
    return rows


def plain_basket(strategy: VolatilityBasket, panel: Panel) -> list[list[float]]:
    logs = np.log(panel.close.to_numpy()).tolist()
    current, rows = [0.0] * len(panel.symbols), []
    for row, time in enumerate(panel.times.tolist()):
        if row >= strategy.window and (time // 3_600_000_000_000) % strategy.every == 0:
            spread = {}
            for s in range(len(current)):
                last = [logs[k][s] - logs[k - 1][s] for k in range(row + 1 - strategy.window, row + 1)]
                if not any(map(math.isnan, last)):
                    spread[s] = statistics.stdev(last) * math.sqrt(365 * 24)
            wanted = {s: strategy.annual_volatility / len(spread) / each for s, each in spread.items()}
            whole = max(sum(wanted.values()), 1.0)
            current = [wanted.get(s, 0.0) / whole for s in range(len(current))]
        rows.append(current)
    return rows


def plain_pairs(strategy: Pairs, panel: Panel) -> list[list[float]]:
    logs = np.log(panel.close.to_numpy())
    seen: list[tuple[float, float]] = []
    current, rows = [0.0, 0.0], []
    for a, b in logs.tolist():
        if not (math.isnan(a) or math.isnan(b)):
            seen.append((a, b))
            if len(seen) >= strategy.window:
                first, second = zip(*seen[-strategy.window :], strict=True)
                slope, level = statistics.linear_regression(second, first)
                left = [x - level - slope * y for x, y in zip(first, second, strict=True)]
                z = left[-1] / math.sqrt(sum(each**2 for each in left) / (len(left) - 2))
                if (current[0] > 0.0 and z > -strategy.leave) or (current[0] < 0.0 and z < strategy.leave):
                    current = [0.0, 0.0]
                if current == [0.0, 0.0] and abs(z) > strategy.enter and slope > 0.0:
                    side = -1.0 if z > 0.0 else 1.0
                    current = [side / (1.0 + slope), -side * slope / (1.0 + slope)]
        rows.append(current)
    return rows


PLAIN = {"cross_sectional_momentum": plain_momentum, "pairs": plain_pairs, "volatility_basket": plain_basket}


@pytest.mark.parametrize("name", sorted(PANEL_STRATEGIES))
@settings(max_examples=examples(50), deadline=None)
@given(seed=st.integers(0, 10_000), data=st.data())
def test_the_rules_are_those_of_a_plain_implementation(name: str, seed: int, data: Any) -> None:
    panel = Panel.of(panel_bars(2 if name == "pairs" else 4, seed))
    more: dict[str, Any] = {}
    if name == "cross_sectional_momentum":
        more = {"n_held": data.draw(st.integers(1, 3)), "direction": data.draw(st.sampled_from(["long", "both"]))}
    strategy = make_panel_strategy(name, SHORT[name] | more)
    found = np.asarray(strategy.exposure(panel))
    np.testing.assert_allclose(found, PLAIN[name](strategy, panel), rtol=RTOL_PLAIN, atol=1e-12)
    assert np.abs(found).sum() > 0.0


@pytest.mark.parametrize("name", mostly_long(sorted(PANEL_STRATEGIES), 1))
def test_no_strategy_looks_ahead_in_the_bars_of_any_symbol(name: str) -> None:
    bars = panel_bars(2 if name == "pairs" else 3, 3)
    reports = check_panel(make_panel_strategy(name, SHORT[name]), bars, n_cuts=2)
    assert [report.name for report in reports] == [f"{name} (bars of {part.symbol})" for part in bars]
    assert all(report.is_causal and not report.failed_rewrites for report in reports), reports


class SeesTheNextOf(PanelStrategy):
    """Hold the first symbol if the next close of another one is higher."""

    column: int = 1

    @property
    def warm_up(self) -> int:
        return 0

    def exposure(self, panel: Panel) -> pd.DataFrame:
        close = panel.close.ffill().iloc[:, self.column]
        held = np.zeros(panel.close.shape)
        held[:, 0] = (close.shift(-1) > close).to_numpy(float)
        return pd.DataFrame(held, panel.close.index, list(panel.symbols))


@pytest.mark.long
def test_look_ahead_is_found_in_the_symbol_that_it_is_in() -> None:
    bars = panel_bars(3, 5, gaps=False)
    reports = check_panel(SeesTheNextOf(), bars, n_cuts=2)
    assert [report.is_causal for report in reports] == [True, False, True]
    for column in range(3):
        strategy = SeesTheNextOf(column=column)
        (outcome,) = check_run([(strategy, tuple(bars))], clock=lambda: 0.0)
        assert outcome.verdict is CausalityVerdict.LOOKS_AHEAD, outcome
    entry = {"name": f"{__name__}:SeesTheNextOf", "symbols": [part.symbol for part in bars]}
    result = run_portfolio(settings_of(entry), bars)
    assert result.run.remarks[0].startswith("sees_the_next_of LOOKS AHEAD")


@settings(max_examples=examples(100), deadline=None)
@given(st.integers(0, 10_000), st.floats(0.3, 3.0))
def test_what_is_held_fits_the_gross_exposure_and_stays_in_gaps(seed: int, max_gross: float) -> None:
    panel = Panel.of(panel_bars(3, seed, 60))
    draw = np.random.default_rng(seed)
    asked = draw.uniform(-1.0, 1.0, panel.close.shape)
    asked *= np.minimum(1.0, max_gross / np.abs(asked).sum(axis=1))[:, None]
    held = check_panel_exposure(asked, panel, 0, max_gross, "x")
    has_bar = panel.has_bar
    assert (np.abs(held).sum(axis=1) <= max_gross * (1.0 + 1e-9)).all()
    before = np.vstack((np.zeros(3), held[:-1]))
    np.testing.assert_array_equal(held[~has_bar], before[~has_bar])
    whole = has_bar.all(axis=1)
    np.testing.assert_array_equal(held[whole], asked[whole])
    np.testing.assert_allclose(
        np.abs(held[has_bar] * asked[has_bar]), held[has_bar] * asked[has_bar]
    )  # a target is scaled, and never turned


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x.astype(int), "exposure has dtype int64; return float64"),
        (lambda x: x[:-1], r"exposure has shape \(59, 2\), the panel \(60, 2\)"),
        (lambda x: pd.DataFrame(x, columns=["A/USD", "C/USD"]), "has the columns A/USD, C/USD; return one column"),
        (lambda x: x + 2.0, r"exposure of A/USD was 2.0 at 2024-01-01 01?.*; it must lie in \[-1, 1\]"),
        (lambda x: x + np.inf, "exposure of A/USD was inf"),
        (lambda x: x + 0.6, "the gross exposure was 1.2 at .*; it must be at most 1. Return smaller exposures"),
        (lambda x: np.where(np.arange(60)[:, None] == 50, np.nan, x), "was nan at .*; return 0.0 to be flat"),
    ],
)
def test_an_exposure_that_breaks_the_contract_is_named(change: Any, message: str) -> None:
    panel = Panel.of([made_bars("A/USD", 1, 60), made_bars("B/USD", 2, 60)])
    with pytest.raises(StrategyError, match=message):
        check_panel_exposure(change(np.zeros((60, 2))), panel, 5, 1.0, "x")


def test_nan_is_flat_in_the_warm_up_of_a_symbol_that_is_listed_later() -> None:
    panel = Panel.of([made_bars("A/USD", 1, 60), made_bars("B/USD", 2, 60, start=30)])
    asked = np.full((60, 2), 0.5)
    asked[30:35, 1] = np.nan
    held = check_panel_exposure(asked, panel, 5, 1.0, "x")
    np.testing.assert_array_equal(held[:, 1], np.repeat([0.0, 0.5], [35, 25]))
    with pytest.raises(StrategyError, match="exposure of B/USD was nan"):
        check_panel_exposure(asked, panel, 4, 1.0, "x")


class TwoCrossovers(PanelStrategy):
    """A crossover on each of two symbols, with half of the equity each."""

    @property
    def warm_up(self) -> int:
        return 11

    def exposure(self, panel: Panel) -> np.ndarray:
        columns = [{name: getattr(panel, name)[symbol] for name in ("close",)} for symbol in panel.symbols]
        return np.column_stack([MaCrossover(fast=5, slow=12).exposure(pd.DataFrame(each)) for each in columns]) / 2.0


def settings_of(*entries: dict[str, Any], **more: Any) -> PortfolioSettings:
    return PortfolioSettings.parse({"strategies": list(entries), **more}, "portfolio")


@pytest.mark.parametrize("mode", mostly_long(["sleeves", "netted"], 1))
def test_a_panel_of_independent_rules_trades_as_the_rules_on_their_own(mode: str) -> None:
    bars = [made_bars("A/USD", 1), made_bars("B/USD", 2)]
    parameters = {"fast": 5, "slow": 12}
    alone = [{"name": "ma_crossover", "symbol": part.symbol, "parameters": parameters} for part in bars]
    together = {"name": f"{__name__}:TwoCrossovers", "symbols": ["B/USD", "A/USD"]}
    expected = run_portfolio(settings_of(*alone, mode=mode), bars)
    found = run_portfolio(settings_of(together, mode=mode), bars)
    assert found.run.fill_list
    np.testing.assert_array_equal(found.run.equity_values, expected.run.equity_values)
    assert list(found.pnl.columns) == [("TwoCrossovers", "A/USD"), ("TwoCrossovers", "B/USD")]
    np.testing.assert_array_equal(found.pnl.to_numpy(), expected.pnl.to_numpy())


def test_a_run_of_every_panel_strategy_sums_up_with_estimated_weights_and_gaps() -> None:
    bars = panel_bars(3, 7, 400)
    symbols = [part.symbol for part in bars]
    entries = [
        {"name": name, "symbols": symbols[:2] if name == "pairs" else symbols, "parameters": SHORT[name]}
        for name in PANEL_STRATEGIES
    ]
    single = {"name": "ma_crossover", "symbol": "A/USD", "parameters": {"fast": 5, "slow": 12}}
    allocation = {"method": "inverse_volatility", "window": 60, "every": "day"}
    result = run_portfolio(settings_of(*entries, single, allocation=allocation, mode="netted"), bars)
    whole = result.equity.to_numpy() - result.settings.initial_cash
    np.testing.assert_allclose(result.pnl.to_numpy().sum(axis=1), whole, atol=1e-6)
    weights = result.weights.T.groupby(level="strategy").first().T
    assert (weights.sum(axis=1) <= 1.0 + 1e-9).all()
    for strategy, group in result.weights.T.groupby(level="strategy"):
        np.testing.assert_array_equal(group.to_numpy(), np.broadcast_to(weights[strategy], group.shape))
    assert result.run.parameters["pairs 2 symbols from A/USD"]["window"] == 30


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"name": "pairs", "symbol": "A/USD"}, "strategy pairs: it sees several symbols at once"),
        ({"name": "ma_crossover", "symbols": ["A/USD"]}, "strategy ma_crossover: it sees one symbol"),
        ({"name": "pairs", "symbols": ["A/USD", "A/USD"]}, "symbols has A/USD twice"),
        ({"name": "pairs"}, "Give symbol, or symbols for a panel strategy"),
        ({"name": "pairs", "symbol": "A/USD", "symbols": ["B/USD"]}, "Give symbol, or symbols"),
        ({"name": "cash", "symbol": "A/USD", "max_gross": 2.0}, "max_gross belongs to symbols"),
        ({"name": "pairs", "symbols": ["A/USD", "C/USD"]}, "C/USD: there are no bars"),
        ({"name": "pairz", "symbols": ["A/USD", "B/USD"]}, "panel strategy pairz"),
        ({"name": f"{__name__}:TwoCrossovers", "symbol": "A/USD"}, "it sees several symbols at once"),
    ],
)
def test_bad_entries_are_refused(entry: dict[str, Any], message: str) -> None:
    with pytest.raises(Exception, match=message) as raised:
        run_portfolio(settings_of(entry), [made_bars("A/USD", 1), made_bars("B/USD", 2)])
    assert "\n" not in str(raised.value)


def test_pairs_want_two_symbols() -> None:
    bars = panel_bars(3, 1)
    with pytest.raises(StrategyError, match=r"pairs: there were 3 symbols\. Give two\."):
        run_portfolio(settings_of({"name": "pairs", "symbols": [part.symbol for part in bars]}), bars)


@pytest.mark.parametrize("verb", ["backtest", "sweep"])
def test_verbs_of_one_symbol_refuse_a_panel_strategy(verb: str, home: Any, capsys: pytest.CaptureFixture[str]) -> None:
    more = ["-p", "window=20,30"] if verb == "sweep" else []
    assert main([verb, "--strategy", "pairs", "--symbol", "BTC/USDT", *more]) == 2
    assert "it sees several symbols at once, and runs in a portfolio only" in capsys.readouterr().err


@pytest.mark.long
def test_the_check_takes_several_symbols_for_a_panel_strategy_only(
    home: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", "strategy", "pairs", "-p", "window=20", "--bars", "200", "--cuts", "2"]) == 0
    assert "pairs (bars of A/USD): causal" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="pairs: it sees several symbols"):
        strategy_class("pairs")
