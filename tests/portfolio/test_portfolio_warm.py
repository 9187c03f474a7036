"""A portfolio from a start on knows the bars before it, as a backtest and a session do, unless it is cold."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peak_trade.cli import main
from peak_trade.core.errors import DataError
from peak_trade.data.store import save_bars
from peak_trade.journal.events import SignalEvent
from peak_trade.strategies.ma_crossover import MaCrossover
from peak_trade.studies.backtest import backtest
from peak_trade.studies.portfolio.run import run_portfolio
from tests.examples import examples
from tests.portfolio.conftest import made_bars
from tests.portfolio.test_portfolio_run import crossover, settings_of

WHOLE = made_bars("B/USD", 2)
GAPPY = replace(WHOLE, frame=WHOLE.frame[np.arange(len(WHOLE)) % 11 < 10])
BARS = [made_bars("A/USD", 1), GAPPY, made_bars("C/USD", 3, start=210)]
TIMES = BARS[0].frame.index


def day(first: int) -> str:
    return TIMES[first].isoformat()


@settings(max_examples=examples(15), deadline=None)
@given(first=st.integers(0, 390), order_type=st.sampled_from(["market", "limit", "stop"]))
def test_a_portfolio_of_one_strategy_equals_its_backtest_over_the_same_span(first, order_type):
    execution = {"order_type": order_type, "stop_loss_atr": 2.0, "limit_offset_bps": 20.0, "stop_offset_bps": 20.0}
    chosen = settings_of([crossover("A/USD", 5, 40)], start=day(first), execution=execution)
    portfolio = run_portfolio(chosen, BARS)
    single = backtest(MaCrossover(fast=5, slow=40), BARS[0], chosen.run_settings, start=day(first))
    assert portfolio.run.index[0] == TIMES[first]
    np.testing.assert_array_equal(portfolio.run.equity_values, single.equity_values)
    assert [fill.price for fill in portfolio.run.fill_list] == [fill.price for fill in single.fill_list]
    assert portfolio.run.warm_up == single.warm_up
    assert portfolio.run.is_warm == (first > 0)


@settings(max_examples=examples(15), deadline=None)
@given(
    first=st.integers(1, 390),
    allocation=st.sampled_from(
        [
            {},
            {"method": "inverse_volatility", "window": 50, "every": "day"},
            {"method": "risk_parity", "window": 100, "every": "week", "annual_volatility": 0.2},
        ]
    ),
    mode=st.sampled_from(["sleeves", "netted"]),
)
def test_a_start_changes_no_weight_and_no_target_after_it(first, allocation, mode):
    entries = [crossover("A/USD", 5, 40), crossover("B/USD", 3, 20, direction="both"), crossover("C/USD", 4, 15)]
    whole = run_portfolio(settings_of(entries, allocation=allocation, mode=mode), BARS)
    late = run_portfolio(settings_of(entries, allocation=allocation, mode=mode, start=day(first)), BARS)
    np.testing.assert_array_equal(late.weights.to_numpy(), whole.weights.to_numpy()[first:])
    np.testing.assert_array_equal(late.unit_returns.to_numpy(), whole.unit_returns.to_numpy()[first:])
    times = late.run.market.times
    columns = zip(late.run.market.symbols, late.run.market.columns, strict=True)
    openings = {symbol: times[0 if column.own_bars is None else column.own_bars[0]] for symbol, column in columns}

    def targets(result):
        """The targets after the first bar of each symbol, at which the late run states the one that it opens with."""
        signals = [event for event in result.run.events if isinstance(event, SignalEvent)]
        return [
            (event.ts_event, event.strategy, event.symbol, event.exposure)
            for event in signals
            if event.ts_event > openings[event.symbol]
        ]

    assert targets(late) == targets(whole)


def test_a_cold_portfolio_knows_no_bar_before_its_start():
    entries = [crossover("A/USD", 5, 40), crossover("B/USD", 3, 20)]
    chosen = settings_of(entries, start=day(100), end=day(300))
    cold = run_portfolio(chosen, BARS, is_cold=True)
    cut = run_portfolio(settings_of(entries), [part.between(day(100), day(300)) for part in BARS])
    assert cold.run.content_digest == cut.run.content_digest
    assert not cold.run.is_warm
    warm = run_portfolio(chosen, BARS)
    assert len(warm.run.market) == len(cold.run.market) == 200
    assert warm.run.is_warm
    assert warm.run.content_digest != cold.run.content_digest
    differ = [name for name, digest in warm.run.digests.items() if cold.run.digests[name] != digest]
    assert differ == ["config", "data"]


def test_a_start_after_the_last_bar_is_refused():
    with pytest.raises(DataError, match="no bar lies in the requested span"):
        run_portfolio(settings_of([crossover("A/USD")], start="2030-01-01"), BARS)


@pytest.mark.long
def test_the_command_warms_up_unless_it_is_cold(home, tmp_path, capsys):
    for part in BARS[:2]:
        save_bars(part)
    file = tmp_path / "portfolio.toml"
    entry = '[[strategies]]\nname = "ma_crossover"\nsymbol = "{}"\nparameters = {{ fast = 5, slow = 40 }}\n'
    content = f'start = "{day(100)}"\n' + entry.format("A/USD") + entry.format("B/USD")
    file.write_text(content, encoding="utf-8")
    shown = {}
    for words in ([], ["--cold"]):
        assert main(["portfolio", "--config", str(file), "--no-record", "--json", *words]) == 0
        shown[len(words)] = json.loads(capsys.readouterr().out)
    said = [text for text in shown[0]["assumptions"] if "earlier bars" in text]
    assert said == [
        f"The run starts at 2024-01-05 04:00:00Z: {n} earlier bars of {symbol} warm it up and are not traded."
        for n, symbol in ((100, "A/USD"), (91, "B/USD"))
    ]
    assert not any("earlier bars" in text for text in shown[1]["assumptions"])
    assert shown[0]["content_digest"] != shown[1]["content_digest"]
