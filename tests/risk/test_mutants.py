"""Mutation tests of the gates: every subtle change of the code makes a test fail."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.risk import mutants
from tests.risk.mutants import Mutant

ALIVE, MEASURES, NEVER, OWN = "test_alive.py", "test_measures.py", "test_never_allow.py", "test_own_portfolio.py"
IN_A_RUN = f"{MEASURES}::test_in_a_run_both_risk_readings_are_the_estimate_by_the_method_and_level_that_are_set"
MODEL = f"{MEASURES}::test_the_model_that_is_tested_is_the_one_that_is_set"
PRICED = f"{MEASURES}::test_an_order_is_valued_at_the_decision_price_and_not_at_the_last_mark"
RAMP = "test_ramp.py::test_a_ramp_scales_the_size_limits_and_no_other"
DUPLICATES = f"{MEASURES}::test_an_order_is_a_duplicate_if_all_fields_are_equal_within_the_window"
WINDOWS = f"{MEASURES}::test_a_window_excludes_an_event_exactly_its_length_ago"
RISK_ENGINE_KEEPS = f"{MEASURES}::test_the_risk_engine_keeps_the_orders_and_fills_that_its_gates_count"
SIZES = f"{MEASURES}::test_every_limit_that_a_smaller_order_can_keep_is_a_size_limit"
SCENARIOS = f"{MEASURES}::test_the_worst_of_the_named_scenarios_counts"
PURITY = "test_purity.py"
COLLAR = f"{MEASURES}::test_the_collar_measures_each_price_of_an_order"

LEVERAGE = "test_leverage.py"
SEE_EACH_OTHER = "test_risk_engine.py::test_simultaneous_orders_see_each_other"
SEEDED = "test_var.py::test_filtered_returns_are_the_plain_recursion"
ZONES = "test_var_backtest.py::test_zones_at_another_level_follow_the_binomial_distribution"
OWN_MARK = "price if symbol == order.symbol else positive(account.marks[symbol])"

ORDERS, BOOKS, PORTFOLIO = "risk/order_gates.py", "risk/liquidity.py", "risk/portfolio_gates.py"
STRESS, DESK, BACKTEST = "risk/stress.py", "engine/risk_engine.py", "risk/var_backtest.py"

MUTANTS = [
    Mutant(ORDERS, "n_orders = 1.0\n", "n_orders = 0.0\n", WINDOWS),
    Mutant(ORDERS, "instant(past.decided_at) > earliest", "instant(past.decided_at) >= earliest", WINDOWS),
    Mutant(ORDERS, "positive(proposal.limits.order_window)", "60.0", WINDOWS),
    Mutant(ORDERS, "positive(proposal.limits.fill_window)", "3600.0", WINDOWS),
    Mutant(ORDERS, "positive(proposal.limits.duplicate_window)", "3600.0", DUPLICATES),
    Mutant(ORDERS, "past.strategy == order.strategy", "True", DUPLICATES),
    Mutant(ORDERS, "past.reason == order.reason", "True", DUPLICATES),
    Mutant(ORDERS, "past.symbol == order.symbol", "True", DUPLICATES),
    Mutant(ORDERS, "past.order_id == order.order_id", "False", DUPLICATES),
    Mutant(
        ORDERS,
        "past.strategy == strategy",
        "True",
        f"{MEASURES}::test_fills_of_another_strategy_or_side_do_not_count",
    ),
    *(
        Mutant("wiring/gates.py", f"order_gates.{name}, ramps=True", f"order_gates.{name}", RAMP)
        for name in ("order_notional", "symbol_exposure", "gross_exposure", "net_exposure", "concentration")
    ),
    Mutant(
        "risk/gate.py",
        "self._shared: dict[Callable[[Proposal], Any], Any] = {}",
        "self._shared: Any = reduces.__dict__",
        PURITY,
    ),
    Mutant("core/values.py", "MappingProxyType(dict(self.positions))", "self.positions", PURITY),
    Mutant("core/values.py", "MappingProxyType(dict(self.marks))", "MappingProxyType(self.marks)", PURITY),
    Mutant(ORDERS, "positive(order.decision_price) / market_price", "market_price / market_price", COLLAR),
    Mutant(ORDERS, "(order.limit_price, order.stop_price)", "(order.limit_price,)", COLLAR),
    Mutant(
        ORDERS,
        "if order.is_reducing is True and _price_or_zero(market.decision_price) == 0.0:",
        "if order.is_reducing is True:",
        f"{MEASURES}::test_the_minimum_notional_applies_to_an_exit_as_to_an_entry",
    ),
    Mutant(
        ORDERS,
        "held = min(held, reachable_positions(",
        "min(held, reachable_positions(",
        f"{MEASURES}::test_a_pending_sale_counts_where_there_are_no_shorts",
    ),
    Mutant(
        ORDERS,
        "return lost if lost > 0.0 else 0.0",
        "return abs(lost)",
        "test_gates.py::test_a_profit_never_trips_a_daily_loss_limit",
    ),
    Mutant(
        "risk/gate.py",
        "< 0.0 and quantity + exiting <= room",
        "< 0.0",
        "test_gates.py::test_an_order_that_does_not_purely_reduce_is_not_relieved",
    ),
    Mutant("risk/gate.py", "and not isinstance(value, bool) and -LARGEST", "and -LARGEST", NEVER),
    Mutant(BOOKS, "return 0.5 * not_negative(rules.model_spread) + cost", "return cost", ALIVE),
    Mutant(BOOKS, "return not_negative(rules.model_spread)", "return 0.0", ALIVE),
    Mutant(BOOKS, "not_negative(rules.impact_coefficient)", "1.0", ALIVE),
    Mutant(
        BOOKS,
        "return positive(rules.market_order_share)",
        "return positive(rules.market_order_share) if order.order_type is OrderType.MARKET else 1.0",
        ALIVE,
    ),
    Mutant(BOOKS, "positive(order.quantity) / positive(proposal.market.bar_volume)", "0.0", ALIVE),
    Mutant(PORTFOLIO, OWN_MARK, "positive(account.marks[symbol])", PRICED),
    Mutant(
        PORTFOLIO,
        "return estimate(weights, history, rules.method,",
        'return estimate(weights, history, "historical",',
        IN_A_RUN,
    ),
    Mutant(
        PORTFOLIO,
        "estimate(weights, history, rules.method, rules.level,",
        "estimate(weights, history, rules.method, 0.95,",
        IN_A_RUN,
    ),
    Mutant(
        PORTFOLIO,
        "estimate(weights, history, rules.method, rules.level, rules.ewma_decay)",
        "estimate(weights, history, rules.method, rules.level)",
        IN_A_RUN,
    ),
    Mutant(
        PORTFOLIO,
        "complete_walk(weights, history, method, levels, N_BACKTEST_DAYS, ewma_decay)",
        'complete_walk(weights, history, "historical", levels, N_BACKTEST_DAYS, ewma_decay)',
        MODEL,
    ),
    Mutant(
        PORTFOLIO,
        "complete_walk(weights, history, method, levels, N_BACKTEST_DAYS, ewma_decay)",
        "complete_walk(weights, history, method, levels, N_BACKTEST_DAYS)",
        MODEL,
    ),
    Mutant(
        PORTFOLIO,
        "complete_walk(weights, history, method, levels, N_BACKTEST_DAYS, ewma_decay)",
        "complete_walk(weights, history, method, (0.95,) * len(levels), N_BACKTEST_DAYS, ewma_decay)",
        MODEL,
    ),
    Mutant(ORDERS, "LEVERAGE_RTOL = 1e-9", "LEVERAGE_RTOL = 1e-3", LEVERAGE),
    Mutant(ORDERS, "if reached <= abs(held) or exposure <=", "if exposure <=", LEVERAGE),
    Mutant(ORDERS, "low, high = reachable_positions(order, account)[order.symbol]", "pass", LEVERAGE),
    Mutant("engine/loop.py", "sizes_orders or self._shares_symbols:", "sizes_orders:", LEVERAGE),
    Mutant(PORTFOLIO, "_TESTED_LEVELS = (0.95, 0.99)", "_TESTED_LEVELS = (0.95,)", OWN),
    Mutant(PORTFOLIO, "return (*tests, _own_tests(", "return (*tests,) if used else (*tests, _own_tests(", OWN),
    Mutant(
        DESK,
        "            weights,\n        )",
        "            None,\n        )",
        f"{OWN}::test_a_backtest_shows_the_gate_the_weights_that_it_held",
    ),
    Mutant(
        STRESS,
        "_PATH_LEVEL = 0.95",
        "_PATH_LEVEL = 0.90",
        f"{MEASURES}::test_the_projected_drawdown_is_the_ninety_fifth_percentile_of_paths",
    ),
    Mutant(
        STRESS,
        "down[place] if weight > 0.0 else up[place]",
        "down[place]",
        f"{MEASURES}::test_with_correlation_one_a_short_position_loses_in_its_own_tail",
    ),
    Mutant(STRESS, "for name in rules.scenarios or SCENARIO_NAMES", "for name in SCENARIO_NAMES", SCENARIOS),
    Mutant(
        STRESS,
        "max(direct, math.sqrt(",
        "max(direct, 0.0 * math.sqrt(",
        "test_stress_gate.py::test_a_long_short_portfolio_is_not_safe_in_a_fall",
    ),
    Mutant("risk/sizing.py", "        DenialCode.CONCENTRATION,\n", "", SIZES),
    Mutant("risk/sizing.py", "        DenialCode.STRESS_LOSS,\n", "", SIZES),
    Mutant("risk/sizing.py", "        DenialCode.TOUCH_DEPTH,\n", "", SIZES),
    Mutant(DESK, "            n_open,\n            control", "            0,\n            control", ALIVE),
    Mutant(DESK, "self._keeps_orders = bool(", "self._keeps_orders = False and bool(", RISK_ENGINE_KEEPS),
    Mutant(DESK, "        if self._keeps_fills:\n", "        if False:\n", RISK_ENGINE_KEEPS),
    Mutant(
        DESK,
        "            control.ramp,\n",
        "            1.0,\n",
        f"{MEASURES}::test_the_risk_engine_passes_the_ramp_of_its_trading_state_to_the_gates",
    ),
    Mutant(DESK, "            control.throttled,\n", "            (),\n", ALIVE),
    Mutant(DESK, "pending_quantities(loop.venue, order) if n_open else ()", "()", SEE_EACH_OTHER),
    Mutant(
        DESK,
        "            day_start,\n",
        "            peak,\n",
        "test_risk_engine.py::test_drawdown_and_daily_loss_are_measured_on_every_bar_and_not_at_orders_only",
    ),
    Mutant(
        "risk/var.py",
        "(z**3 - 3.0 * z) * k / 24.0",
        "(z**3 + 3.0 * z) * k / 24.0",
        "test_var.py::test_the_cornish_fisher_shortfall_is_the_mean_of_its_quantiles_beyond_the_level",
    ),
    Mutant("risk/var.py", "SEED_DAYS = 20", "SEED_DAYS = 21", SEEDED),
    Mutant(BACKTEST, "_RED_FROM = 0.95, 0.9999", "_RED_FROM = 0.95, 0.999", ZONES),
    Mutant(
        "studies/risk/decisions.py",
        "decision.is_approved is (not denials) and ",
        "",
        "test_records.py::test_a_forged_answer_is_not_reproduced",
    ),
]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_the_code_of_a_mutant_occurs_exactly_once(mutant):
    assert mutant.count == 1, f"the list has gone stale: {mutant.old!r} is {mutant.count} times in {mutant.path}"


@pytest.fixture(scope="module")
def exit_codes(tmp_path_factory):
    """Exit codes of pytest by mutant; the last one is the unchanged package."""
    unbroken = Mutant("risk/gate.py", "2**63", "2**63", " ".join(sorted({m.tests for m in MUTANTS})))
    folder = tmp_path_factory.mktemp("mutants")
    asked = json.dumps([*MUTANTS, unbroken])
    command = [sys.executable, str(Path(mutants.__file__)), str(folder)]
    done = subprocess.run(command, input=asked, capture_output=True, text=True, check=False, timeout=3_600)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.long
def test_the_unchanged_copy_passes(exit_codes):
    assert exit_codes[-1] == 0


@pytest.mark.long
@pytest.mark.parametrize("place", range(len(MUTANTS)), ids=lambda place: MUTANTS[place].name)
def test_a_mutant_makes_its_test_fail(place, exit_codes):
    lives = {0: "no test noticed", 98: "another package was tested"}
    assert exit_codes[place] == 1, lives.get(exit_codes[place], f"pytest could not run: exit {exit_codes[place]}")
