"""The VaR model is tested on the account's own portfolio, at 95 and 99 %, in every kind of run."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peak_trade.core.errors import DataError, SessionError
from peak_trade.core.history import ReturnHistory, WeightHistory
from peak_trade.engine.result import BacktestResult
from peak_trade.journal.codec import decode_event, encode_event
from peak_trade.journal.inputs import DecisionInputs, read_inputs
from peak_trade.risk.codes import DenialCode
from peak_trade.risk.gate import Proposal
from peak_trade.risk.limits import RiskLimits
from peak_trade.risk.portfolio_gates import model_tests
from peak_trade.risk.var_backtest import MIN_DAYS, most_yellow
from peak_trade.risk.walk_forward import walk_forward
from peak_trade.studies.backtest import backtest
from peak_trade.studies.portfolio.run import run_portfolio
from peak_trade.studies.risk.decisions import explain
from peak_trade.studies.risk.value_at_risk import book_weights
from peak_trade.wiring.gates import GATES
from peak_trade.wiring.portfolio_settings import PortfolioSettings
from tests.examples import examples, mostly_long
from tests.replacing import replace
from tests.risk.cases import ACCOUNT, BTC, ETH, MARKET, NOW, ORDER
from tests.risk.runs import decisions
from tests.risk.test_risk_engine import Weekly, bars_of

GATE = next(gate for gate in GATES if gate.code is DenialCode.VAR_MODEL)
LIMITS = RiskLimits.parse({"var": {"max_var": None, "method": "historical"}}, "test")
RNG = np.random.default_rng(12)
CALM = ReturnHistory("run", NOW, [BTC, ETH], 0.02 * RNG.standard_t(6, (2, 500)))


def held_before_falls(history: ReturnHistory, share: float = 1.0) -> WeightHistory:
    """An account that is long on days on which ETH falls and short on days on which it rises, so it only loses."""
    falls = history.returns[1, -250:]
    return WeightHistory(NOW, [ETH], [np.where(RNG.random(250) < share, -np.sign(falls), 0.0)])


def model_tests_of(weights: WeightHistory | None, history: ReturnHistory = CALM, limits: RiskLimits = LIMITS):
    account = replace(ACCOUNT, daily_weights=weights)
    found = model_tests(Proposal(ORDER, account, replace(MARKET, returns=history), limits))
    return [test for each in found for test in each.tests]


def reading_of(weights: WeightHistory | None, history: ReturnHistory = CALM):
    return GATE.read(ORDER, replace(ACCOUNT, daily_weights=weights), replace(MARKET, returns=history), LIMITS)


def test_an_account_that_loses_though_each_symbol_is_as_expected_is_in_the_red_zone():
    flat = reading_of(WeightHistory(NOW, [], np.zeros((0, 250))))
    assert not flat.is_denied
    losing = reading_of(held_before_falls(CALM))
    assert losing.is_denied
    assert losing.observed > losing.limit
    own = [test for test in model_tests_of(held_before_falls(CALM)) if test.portfolio == "the account"]
    assert [test.level for test in own] == [0.95, 0.99]
    assert losing.observed in {float(test.n_exceptions) for test in own}


def test_exceptions_at_99_percent_alone_put_the_model_in_the_red_zone():
    """Eleven losses, each beyond everything before it, are few at 95 % and too many at 99 %."""
    returns = CALM.returns.copy()
    returns[0] = np.where(np.abs(returns[0]) > 0.03, 0.0, returns[0])
    returns[0, 258:500:24] = -np.linspace(0.2, 0.3, 11)
    rare = ReturnHistory("run", NOW, [BTC, ETH], returns)
    no_days = WeightHistory(NOW, [], np.zeros((0, 250)))
    by_level = {test.level: test for test in model_tests_of(no_days, rare) if test.portfolio == BTC}
    assert by_level[0.95].n_exceptions <= by_level[0.95].limit
    assert by_level[0.99].n_exceptions > by_level[0.99].limit == 9
    assert reading_of(no_days, rare).is_denied
    assert not reading_of(None, rare).is_denied


def test_the_detail_of_a_reading_states_the_expected_number_of_exceptions():
    detail = reading_of(held_before_falls(CALM)).detail
    assert "the account at 95 %: " in detail
    assert "in 250 days, 12.5 expected, red above 26" in detail
    assert "in 250 days, 2.5 expected, red above 9" in detail


def test_records_without_daily_weights_are_tested_as_before():
    (test,) = model_tests_of(None)
    assert (test.portfolio, test.level, test.n_days) == (BTC, 0.95, 250)


@settings(max_examples=examples(20))
@given(st.integers(0, 2**32 - 1), st.floats(0.0, 1.0), st.integers(1, 3))
def test_the_own_portfolio_is_tested_on_the_days_it_was_held(seed, share, n_symbols):
    rng = np.random.default_rng(seed)
    names = [BTC, ETH, "SOL/USDT"][:n_symbols]
    history = ReturnHistory("run", NOW, [BTC, ETH, "SOL/USDT"], 0.02 * rng.standard_normal((3, 350)))
    weights = rng.normal(size=(n_symbols, 250)) * (rng.random(250) < share)
    own = [
        test for test in model_tests_of(WeightHistory(NOW, names, weights), history) if test.portfolio == "the account"
    ]
    n_held = int((weights != 0.0).any(axis=0).sum())
    assert [test.n_days for test in own] == ([n_held, n_held] if n_held >= MIN_DAYS else [])
    walks = walk_forward(weights.T, history.select(tuple(names)), "historical", (0.95, 0.99), 250)
    for test, walk in zip(own, walks, strict=False):
        assert test.n_exceptions == walk.exceptions.sum()
        assert test.expected == pytest.approx(n_held * (1.0 - test.level))
        assert test.limit == most_yellow(n_held, test.level)


def test_days_whose_returns_are_unknown_are_left_out_of_the_own_portfolio():
    returns = CALM.returns.copy()
    returns[1, 480:] = np.nan
    ended = ReturnHistory("run", NOW, [BTC, ETH], returns)
    own = [test for test in model_tests_of(held_before_falls(CALM), ended) if test.portfolio == "the account"]
    assert [test.n_days for test in own] == [230, 230]


@pytest.mark.parametrize(
    "bad",
    [
        "weights",
        1.0,
        np.ones((1, 250)),
        WeightHistory(NOW - 1, [BTC], np.ones((1, 250))),
        WeightHistory(NOW, [BTC], np.full((1, 250), np.nan)),
        WeightHistory(NOW, ["SOL/USDT"], np.ones((1, 250))),
        WeightHistory(NOW, [BTC], np.ones((1, 499))),
    ],
    ids=["text", "number", "array", "of another day", "nan", "of an unknown symbol", "too long"],
)
def test_unreadable_daily_weights_are_denied(bad):
    reading = reading_of(bad)
    assert reading.is_denied
    assert reading.reason


def test_daily_weights_are_part_of_the_record_and_optional_in_it():
    weights = held_before_falls(CALM)
    market = replace(MARKET, returns=CALM)
    with_weights = DecisionInputs(ORDER, replace(ACCOUNT, daily_weights=weights, positions={BTC: 1.0}), market, LIMITS)
    text = with_weights.to_json()
    _, account, again, _ = read_inputs(text)
    assert account == with_weights.account
    assert hash(account.daily_weights) == hash(weights)
    assert again.returns == CALM
    assert DecisionInputs(ORDER, account, again, LIMITS).to_json() == text
    without = DecisionInputs(ORDER, ACCOUNT, market, LIMITS).to_json()
    assert "daily_weights" not in without
    assert read_inputs(without)[1].daily_weights is None


def test_damaged_daily_weights_are_a_session_error():
    account = replace(ACCOUNT, daily_weights=held_before_falls(CALM))
    content = json.loads(DecisionInputs(ORDER, account, MARKET, LIMITS).to_json())
    for change in ({"n_days": 249}, {"symbols": [BTC, BTC]}, {"float64": "!"}, {"as_of": None, "symbols": None}):
        damaged = content | {
            "account": content["account"] | {"daily_weights": content["account"]["daily_weights"] | change}
        }
        with pytest.raises(SessionError, match="damaged"):
            read_inputs(json.dumps(damaged))


VAR_GATE = RiskLimits.parse({"size_to_limits": True, "var": {"max_var": 0.03, "n_days": 400}}, "test")


def check_weights(result: BacktestResult) -> int:
    """Assert that each decision of a run has the weights that the finished run shows; return how many are not zero."""
    n_weights = 0
    for decision in decisions(result):
        history, weights = decision.inputs.market.returns, decision.inputs.account.daily_weights
        if history is None:
            assert weights is None
            continue
        assert (weights.as_of, weights.n_days) == (history.as_of, 250)
        expected = book_weights(result, history, 250)
        shown = [history.symbols.index(symbol) for symbol in weights.symbols]
        np.testing.assert_array_equal(weights.weights, expected[:, shown].T)
        assert not np.delete(expected, shown, axis=1).any()
        assert (weights.weights != 0.0).any(axis=1).all()
        n_weights += int((weights.weights != 0.0).sum())
        assert explain(decode_event(json.loads(encode_event(decision)))).is_reproduced
    return n_weights


@pytest.mark.long
def test_a_backtest_shows_the_gate_the_weights_that_it_held():
    bars = [bars_of("BTC/USDT", 1, n_days=480), bars_of("ETH/USDT", 2, n_days=480)]
    past = [replace(part, frame=part.frame.iloc[:1_500]) for part in bars]
    late = [replace(part, frame=part.frame.iloc[1_500:]) for part in bars]
    assert check_weights(backtest(Weekly(), late, risk=VAR_GATE, history=past)) > 500


@pytest.mark.long
@pytest.mark.parametrize("mode", mostly_long(["netted", "sleeves"], 1))
def test_both_kinds_of_portfolio_show_the_gate_the_weights_that_they_held(mode):
    strategies = [
        {"name": "ma_crossover", "symbol": "BTC/USDT", "parameters": {"fast": 10, "slow": 40}},
        {"name": "rsi_reversion", "symbol": "BTC/USDT"},
        {"name": "donchian", "symbol": "ETH/USDT"},
    ]
    table = {"exchange": "sample", "timeframe": "6h", "mode": mode, "strategies": strategies}
    portfolio = PortfolioSettings.parse(table, "test").model_copy(update={"risk": VAR_GATE})
    bars = [bars_of("BTC/USDT", 1, n_days=480), bars_of("ETH/USDT", 2, n_days=480)]
    assert check_weights(run_portfolio(portfolio, bars).run) > 500


def test_limits_without_the_gate_keep_no_daily_weights():
    limits = RiskLimits.parse({"var": {"max_var": 0.03, "refuse_red_zone": False}}, "test")
    result = backtest(Weekly(), bars_of("BTC/USDT", 1, n_days=430), risk=limits)
    assert {decision.inputs.account.daily_weights for decision in decisions(result)} == {None}


def test_a_weight_history_has_one_row_per_symbol():
    with pytest.raises(DataError, match="one row per symbol"):
        WeightHistory(NOW, [BTC, ETH], np.ones((1, 250)))
