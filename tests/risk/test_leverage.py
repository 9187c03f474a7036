"""No order leads to more exposure than an instrument's `max_leverage`, and no setting asks for it."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peak_trade.cli import main
from peak_trade.core.errors import ConfigError
from peak_trade.core.values import Instrument, Side
from peak_trade.costs.model import Costs
from peak_trade.data.sample import sample_bars
from peak_trade.data.store import save_bars
from peak_trade.engine.settings import BacktestSettings, check_leverage
from peak_trade.journal.inputs import DecisionInputs, read_inputs
from peak_trade.risk.limits import RiskLimits
from peak_trade.risk.order_gates import LEVERAGE_GATE
from peak_trade.studies.backtest import backtest
from peak_trade.studies.risk.decisions import explain
from peak_trade.wiring.digests import config_digest
from tests.examples import examples
from tests.replacing import replace
from tests.risk.cases import ACCOUNT, BTC, ETH, MARKET, ORDER
from tests.risk.runs import Pattern, decisions, history_of, run, traded_part
from tests.tolerances import RTOL_SAME

PLAIN = replace(MARKET, instrument=Instrument(BTC))
FREE = Costs(fee_bps=0.0, slippage_bps=0.0, max_participation=None)


def reading(quantity: float, side: Side = Side.BUY, leverage: float = 1.0, price: float = 100.0, **account):
    order = replace(ORDER, quantity=quantity, side=side)
    market = replace(MARKET, instrument=Instrument(BTC, max_leverage=leverage), decision_price=price)
    return LEVERAGE_GATE.read(order, replace(ACCOUNT, **account), market, RiskLimits())


@settings(max_examples=examples(100))
@given(
    st.floats(-300.0, 300.0).filter(lambda held: held == 0.0 or abs(held) > 1e-3),
    st.floats(1e-3, 300.0),
    st.sampled_from(list(Side)),
    st.floats(1.0, 3.0),
    st.lists(st.floats(-100.0, 100.0), max_size=3),
)
def test_an_order_passes_if_the_exposure_stays_within_the_leverage_or_does_not_grow(
    held, quantity, side, leverage, open_
):
    pending = tuple((BTC, leaves) for leaves in open_)
    found = reading(quantity, side, leverage, positions={BTC: held}, pending=pending)
    signed = quantity if side is Side.BUY else -quantity
    with_side = sum(leaves for leaves in open_ if leaves * signed > 0.0)
    reached = max((held + signed + with_side) * np.sign(signed), abs(held + signed))
    assert found.is_denied is bool(reached > abs(held) and reached * 100.0 / ACCOUNT.equity > leverage * (1.0 + 1e-9))
    assert found.limit == leverage


def test_rounding_is_tolerated_and_a_lot_more_is_not():
    assert not reading(100.0 * (1.0 + 1e-12), positions={}).is_denied
    assert reading(100.001, positions={}).is_denied
    assert reading(100.0, Side.SELL, positions={BTC: 0.0}).observed == 1.0


@pytest.mark.parametrize(
    ("pending", "is_denied"), [((), False), (((BTC, 50.0),), True), (((BTC, -50.0),), False), (((ETH, 50.0),), False)]
)
def test_pending_orders_for_the_symbol_and_side_count(pending, is_denied):
    assert reading(60.0, positions={}, pending=pending).is_denied is is_denied


def test_an_exit_passes_even_without_a_price():
    order = replace(ORDER, side=Side.SELL, quantity=150.0, is_reducing=True)
    account = replace(ACCOUNT, positions={BTC: 150.0})
    assert LEVERAGE_GATE(order, account, replace(PLAIN, decision_price=float("nan")), RiskLimits()) is None


@pytest.mark.parametrize("bad", [0.5, 0.0, -1.0, float("nan"), float("inf"), 1e15, "2", True, None])
def test_a_leverage_below_one_or_unreadable_is_refused_in_one_line(bad):
    with pytest.raises(ConfigError) as error:
        backtest(
            Pattern(targets=[1.0]), sample_bars(BTC, n_bars=50), instruments={BTC: Instrument(BTC, max_leverage=bad)}
        )
    assert "max_leverage" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("values", "limits", "says"),
    [
        ({"sizing": {"kind": "volatility_target", "max_scale": 2.0}}, {}, "sizing.max_scale was 2"),
        ({}, {"max_symbol_exposure": 1.5}, "risk.max_symbol_exposure was 1.5"),
    ],
    ids=["max_scale", "max_symbol_exposure"],
)
def test_a_setting_above_the_leverage_is_refused_in_one_line(values, limits, says):
    chosen, risk = BacktestSettings.parse(values, "test"), RiskLimits.parse(limits, "test") if limits else None
    levered = {BTC: Instrument(BTC, max_leverage=2.0)}
    bars = sample_bars(BTC, n_bars=300)
    with pytest.raises(ConfigError, match=says) as error:
        backtest(Pattern(targets=[1.0]), bars, chosen, risk=risk)
    assert "\n" not in str(error.value)
    assert BTC in str(error.value)
    backtest(Pattern(targets=[1.0]), bars, chosen, risk=risk, instruments=levered)
    mixed = [Instrument(ETH, max_leverage=1.0), levered[BTC]]
    if limits:
        check_leverage(mixed, chosen, risk)
    else:
        with pytest.raises(ConfigError, match=ETH):
            check_leverage(mixed, chosen, risk)


def test_the_commands_refuse_such_a_run_file_before_the_run(home, tmp_path, capsys):
    save_bars(sample_bars(BTC, n_bars=300))
    file = tmp_path / "run.toml"
    file.write_text("[risk]\nmax_symbol_exposure = 1.5\n")
    chosen = ["--symbol", BTC, "--config", str(file)]
    for words in (["backtest", "--strategy", "ma_crossover"], ["session", "run", "--timeframe", "1h"]):
        assert main([*words, *chosen]) == 2
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert "max_symbol_exposure was 1.5" in line
    file.write_text(f'[risk]\nmax_symbol_exposure = 1.5\n[instruments."{BTC}"]\nmax_leverage = 1.5\n')
    assert main(["backtest", "--strategy", "ma_crossover", *chosen, "--no-record"]) == 0


class Late(Pattern):
    """The same targets from a bar on."""

    first: int

    def exposure(self, bars):
        return np.where(np.arange(len(bars)) < self.first, 0.0, super().exposure(bars))


@pytest.mark.parametrize("limits", [None, {"max_order_notional": 1e9}], ids=["without limits", "with limits"])
@pytest.mark.parametrize("leverage", [1.0, 1.2])
def test_strategies_that_share_a_symbol_stay_within_its_leverage(limits, leverage):
    """A short grows as the price rises; a second one is reduced to what is left."""
    bars = traded_part(history_of(BTC, 0, step=0.03))
    strategies = [Pattern(targets=[-1.0]), Late(targets=[-1.0], first=8)]
    result = backtest(
        strategies,
        bars,
        BacktestSettings(costs=FREE),
        instruments={BTC: Instrument(BTC, max_leverage=leverage)},
        risk=None if limits is None else RiskLimits.parse(limits, "test"),
    )
    first, second = result.fill_list
    held = first.quantity * second.decision_price
    equity = 10_000.0 - first.quantity * (second.decision_price - first.price)
    wanted, room = 0.5 * equity, leverage * equity - held
    assert held / equity > 0.6
    assert second.quantity * second.decision_price == pytest.approx(min(wanted, room), rel=1e-3)
    assert (held + second.quantity * second.decision_price) / equity <= leverage * (1.0 + RTOL_SAME)


def test_a_record_keeps_a_leverage_and_leaves_out_the_default():
    inputs = DecisionInputs(ORDER, ACCOUNT, PLAIN, RiskLimits())
    assert "max_leverage" not in json.loads(inputs.to_json())["market"]["instrument"]
    assert read_inputs(inputs.to_json())[2].instrument == Instrument(BTC)
    levered = replace(PLAIN, instrument=Instrument(BTC, max_leverage=3.0))
    text = DecisionInputs(ORDER, ACCOUNT, levered, RiskLimits()).to_json()
    assert read_inputs(text)[2].instrument.max_leverage == 3.0
    chosen = BacktestSettings()
    plain, other = (config_digest([], chosen, [each]) for each in (Instrument(BTC), levered.instrument))
    assert plain != other


def test_an_approval_of_more_exposure_is_not_reproduced():
    decision = decisions(run({"max_order_notional": 1e9}, (0.5,)))[0]
    large = replace(decision.inputs.order, quantity=500.0)
    forged = replace(decision, inputs=decision.inputs._replace(order=large))
    assert not explain(forged).is_reproduced
    denial = LEVERAGE_GATE(large, forged.inputs.account, forged.inputs.market, forged.inputs.limits)
    assert (denial.observed, denial.limit) == (5.0, 1.0)
    assert explain(replace(forged, is_approved=False, denials=(denial,))).is_reproduced
    assert not explain(replace(decision, is_approved=False, denials=(denial,))).is_reproduced
