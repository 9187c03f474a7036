"""Portfolio gates: denials above the limits, sizing, the red zone of the model, and stress scenarios."""

import math
import re

import numpy as np
import pandas as pd
import pytest

from peak_trade.core.errors import DataError
from peak_trade.core.history import DailyHistory, ReturnHistory
from peak_trade.core.values import Side
from peak_trade.risk.codes import DenialCode
from peak_trade.risk.limits import RiskLimits, StressLimits, VarLimits
from peak_trade.risk.review import ApprovedOrder, review
from peak_trade.risk.scenarios import DATED, SCENARIO_NAMES
from peak_trade.risk.sizing import size_to_limits, size_to_var
from peak_trade.risk.stress import projected_drawdown, scenario_loss, stress_losses
from peak_trade.risk.var import estimate
from peak_trade.studies.risk.stress import stress_table
from peak_trade.studies.risk.value_at_risk import var_tests, var_walk
from peak_trade.wiring.gates import gate_chain, read_risk_file
from tests.replacing import replace
from tests.risk.cases import ACCOUNT, BTC, CRASHED, ETH, HISTORY, MARKET, NOW, ORDER
from tests.tolerances import RTOL_REFERENCE, RTOL_SAME

METHODS = ["historical", "parametric", "cornish_fisher", "filtered_historical"]
RULES = StressLimits()


@pytest.fixture(scope="module")
def limits(config):
    return read_risk_file(config / "risk_stress_gate_example.toml")


def codes(order, limits, account=ACCOUNT, market=MARKET):
    answer = review(order, account, market, gate_chain(limits), limits)
    return [] if isinstance(answer, ApprovedOrder) else [denial.code for denial in answer]


def test_a_portfolio_over_the_var_limit_is_blocked_and_one_below_it_passes(limits):
    var_of_all = estimate(np.ones(1), HISTORY.select((BTC,)), limits.var.method, 0.95, limits.var.ewma_decay)[0]
    most = 0.02 / var_of_all * ACCOUNT.equity / 100.0 - 1.0
    assert DenialCode.VALUE_AT_RISK in codes(replace(ORDER, quantity=most * 1.001), limits)
    assert DenialCode.VALUE_AT_RISK not in codes(replace(ORDER, quantity=most * 0.999), limits)


@pytest.mark.parametrize("method", METHODS)
def test_positions_and_pending_orders_count_and_a_hedge_reduces_the_risk(method):
    limits = RiskLimits.parse({"var": {"method": method, "refuse_red_zone": False}}, "test")
    held = replace(ACCOUNT, positions={BTC: 0.0, ETH: 60.0})
    order = replace(ORDER, quantity=15.0)
    assert codes(order, limits, replace(held, positions={})) == []
    assert codes(order, limits, held) == [DenialCode.VALUE_AT_RISK]
    assert codes(order, limits, replace(held, positions={}, pending=((ETH, 60.0),))) == [DenialCode.VALUE_AT_RISK]
    assert codes(replace(order, side=Side.SELL), limits, held) == []


def test_a_model_in_the_red_zone_denies_and_one_that_follows_the_volatility_passes(limits):
    assert DenialCode.VAR_MODEL not in codes(ORDER, limits, market=replace(MARKET, returns=CRASHED))
    limits = limits.model_copy(update={"var": limits.var.model_copy(update={"method": "historical"})})
    answer = review(ORDER, ACCOUNT, replace(MARKET, returns=CRASHED), gate_chain(limits), limits)
    denial = next(denial for denial in answer if denial.code is DenialCode.VAR_MODEL)
    assert denial.observed > denial.limit == 26.0


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("target", [1.0, -1.0, 0.1])
@pytest.mark.parametrize("others", [{}, {ETH: 0.2}, {ETH: -0.3}], ids=["alone", "beside a long", "beside a short"])
def test_size_to_var_uses_the_limit_and_never_exceeds_it(method, target, others):
    rules = VarLimits(method=method)
    size = size_to_var(BTC, target, others, HISTORY, rules)
    symbols = (BTC, *others)
    var = estimate(np.array([size, *others.values()]), HISTORY.select(symbols), method, 0.95)[0]
    assert 0.0 < size / target <= 1.0
    assert var <= 0.02
    assert size == target or var == pytest.approx(0.02 * 0.999, rel=1e-6)


def test_size_to_var_leaves_nothing_when_the_rest_is_over_the_limit():
    assert size_to_var(BTC, 1.0, {ETH: 2.0}, HISTORY, VarLimits()) == pytest.approx(0.0, abs=1e-9)


def test_size_to_var_raises_for_a_history_that_lacks_a_symbol():
    with pytest.raises(DataError, match="SOL/USDT"):
        size_to_var("SOL/USDT", 1.0, {}, HISTORY, VarLimits())


def test_an_order_reduced_to_the_limits_passes_and_a_larger_one_does_not(limits):
    chain = gate_chain(limits)
    cut = size_to_limits(replace(ORDER, quantity=100.0), ACCOUNT, MARKET, chain, limits)
    assert 0.0 < cut.quantity < 100.0
    assert codes(cut, limits) == []
    assert codes(replace(cut, quantity=cut.quantity * 1.002), limits) != []
    assert size_to_limits(ORDER, ACCOUNT, MARKET, chain, limits) is ORDER


def test_an_order_that_fails_at_any_size_is_returned_unchanged(limits):
    broken = replace(MARKET, returns=None)
    assert size_to_limits(ORDER, ACCOUNT, broken, gate_chain(limits), limits) is ORDER


def test_the_worst_scenario_of_one_asset_is_its_own_shock():
    losses = stress_losses(np.array([0.5]), HISTORY.select((BTC,)), RULES)
    assert tuple(losses) == SCENARIO_NAMES
    assert losses["march_2020"] == pytest.approx(0.5 * 0.3717, rel=RTOL_SAME)
    assert losses["all_down_10"] == pytest.approx(0.05, rel=RTOL_SAME)
    assert losses["spread_x10"] == pytest.approx(0.5 * 10 * 0.5 * 0.0005, rel=RTOL_SAME)


def test_a_volatility_stress_widens_the_distribution():
    weights = np.array([0.3, 0.2])
    losses = stress_losses(weights, HISTORY, RULES)
    returns = weights @ HISTORY.returns
    mean = returns.mean()
    for name, stretch in (("volatility_x2", 2.0), ("volatility_x3", 3.0)):
        widened = mean + stretch * (returns - mean)
        assert widened.std() == pytest.approx(stretch * returns.std(), rel=RTOL_SAME)
        assert losses[name] == pytest.approx(-np.quantile(widened, 0.01), rel=RTOL_REFERENCE)
    assert losses["volatility_x3"] > losses["volatility_x2"] > 0.0


def test_a_long_short_portfolio_is_not_safe_in_a_fall():
    pair = {"BTC/USDT": 0.5, "ETH/USDT": -0.5}
    for scenario in DATED:
        assert scenario_loss(pair, scenario) > 0.0
    flat = {"BTC/USDT": 0.5}
    assert scenario_loss(flat, DATED[0]) == pytest.approx(0.5 * 0.3717, rel=RTOL_SAME)
    assert scenario_loss({"BTC/USDT": -0.5}, DATED[0]) == pytest.approx(0.5 * 0.3717, rel=RTOL_SAME)


def test_with_correlation_one_positions_lose_their_own_var_together():
    weights = np.array([0.3, 0.2])
    own = [estimate(np.ones(1), HISTORY.select((symbol,)), "historical", 0.99)[0] for symbol in (BTC, ETH)]
    losses = stress_losses(weights, HISTORY, RULES)
    assert losses["correlation_1"] == pytest.approx(0.3 * own[0] + 0.2 * own[1], rel=RTOL_SAME)
    assert losses["correlation_1"] >= estimate(weights, HISTORY, "historical", 0.99)[0]


def test_the_projected_drawdown_is_seeded_grows_with_size_and_is_zero_in_a_rise():
    weights = np.array([0.3, 0.2])
    once = projected_drawdown(weights, HISTORY, RULES)
    assert once == projected_drawdown(weights, HISTORY, RULES)
    assert 0.0 < once < projected_drawdown(2.0 * weights, HISTORY, RULES) < 1.0
    rising = ReturnHistory("run", NOW, [BTC], np.full((1, 400), 0.001))
    assert projected_drawdown(np.ones(1), rising, RULES) == 0.0
    assert projected_drawdown(np.full(1, 50.0), CRASHED.select((BTC,)), RULES) == 1.0


def test_the_projection_keeps_days_of_a_block_together():
    pairs = ReturnHistory("run", NOW, [BTC], np.tile([[0.1, -0.1]], 200))
    long_blocks = projected_drawdown(np.ones(1), pairs, StressLimits(block_days=10, horizon_days=10))
    single_days = projected_drawdown(np.ones(1), pairs, StressLimits(block_days=1, horizon_days=10))
    assert 0.1 <= long_blocks < 0.2
    assert single_days > long_blocks


def hourly(real_data, name):
    from peak_trade.core.bars import Bars
    from peak_trade.core.time import Timeframe

    frame = pd.read_parquet(real_data / "bars" / f"binance_{name}USDT_1h.parquet").set_index("timestamp")
    frame.index = pd.DatetimeIndex(frame.index).as_unit("ns") + pd.Timedelta("1h")
    return Bars(frame.astype(float), f"{name}/USDT", Timeframe.parse("1h"))


@pytest.fixture(scope="module")
def real_bars(real_data):
    return [hourly(real_data, name) for name in ("BTC", "ETH", "SOL")]


def test_the_shocks_of_march_2020_follow_from_the_closes_of_its_source():
    closes = [float(text.replace(",", "")) for text in re.findall(r"[\d,]+\.\d+", DATED[0].source)]
    changes = [after / before - 1.0 for before, after in zip(closes[::2], closes[1::2], strict=True)]
    assert list(DATED[0].shocks.values()) == pytest.approx(changes, abs=5e-5)
    assert DATED[0].other == min(DATED[0].shocks.values())


def test_dated_shocks_are_those_of_the_real_bars(real_bars):
    closes = pd.DataFrame({part.symbol.partition("/")[0]: part.frame["close"] for part in real_bars})
    falls = closes / closes.shift(freq="24h") - 1.0
    for scenario in DATED[1:]:
        start, end = (pd.Timestamp(day, tz="UTC") for day in scenario.window.split(" to "))
        inside = (closes.index > start) & (closes.index <= end)
        window = falls.reindex(closes.index)[inside]
        worst = window.loc[window["BTC"].idxmin()]
        assert scenario.shocks == pytest.approx(worst.to_dict(), abs=5e-5)
        correlations = closes[inside].pct_change().corr().to_numpy()[np.triu_indices(3, 1)]
        assert scenario.correlation == pytest.approx(correlations.min(), abs=5e-3)
        assert scenario.other == min(scenario.shocks.values())


def test_a_full_position_in_bitcoin_breaks_the_limit_on_nearly_every_day_and_a_sized_one_never(real_bars):
    record = DailyHistory(real_bars[:1], "run", 500)
    sizes = []
    for day in range(400, 1_190, 10):
        history = record.returns_at(int(real_bars[0].times[day * 24]))
        size = size_to_var(BTC, 1.0, {}, history, VarLimits())
        sizes.append(size)
        assert estimate(np.array([size]), history, VarLimits().method, 0.95)[0] <= 0.02
    assert max(sizes) < 1.0
    assert 0.25 < np.mean(sizes) < 0.55


def test_the_filtered_model_holds_on_real_bars_and_a_halved_one_does_not(real_bars):
    walk = var_walk(real_bars, {"BTC/USDT": 0.2, "ETH/USDT": 0.1, "SOL/USDT": 0.05}, "filtered_historical")
    halved = walk.assign(value_at_risk=walk["value_at_risk"] / 2.0)
    halved["is_exception"] = halved["loss"] > halved["value_at_risk"]
    table = var_tests({"filtered": walk, "halved": halved}).set_index("model")
    assert table.loc["filtered", "kupiec_p"] > 0.05
    assert table.loc["filtered", "zone"] == "green"
    assert table.loc["halved", "kupiec_p"] < 1e-6
    assert table.loc["halved", "zone"] == "red"


def test_the_stress_table_names_every_scenario_and_its_source(real_bars):
    table = stress_table({"BTC/USDT": 0.4}, DailyHistory(real_bars[:1], "run", 500).returns_at(2**62))
    assert table["scenario"].tolist() == list(SCENARIO_NAMES)
    assert table["source"].str.len().min() > 10
    assert math.isfinite(table["loss"].sum())
