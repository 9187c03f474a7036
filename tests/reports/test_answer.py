"""Answers of report pages: verdicts follow from their checks, and costs sum to the net profit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import peak_trade as pt
from peak_trade.data.sample import sample_bars
from peak_trade.diff.recording import recording_of
from peak_trade.diff.result import diff
from peak_trade.metrics import Measure, SharpeDifference
from peak_trade.metrics.trading import cost_breakdown
from peak_trade.reports.answer import DataKind, Finding, Strip, data_kind, interval_finding, number, percent, with_error
from peak_trade.reports.display import RESULT_MIME, bundle
from peak_trade.reports.views import diff_answer, regime_answer, risk_answer, tear_sheet, verdicts
from peak_trade.risk.limits import RiskLimits, StressLimits, VarLimits
from peak_trade.studies.noise import NoiseControl, check_twin
from peak_trade.studies.regime.naming import Naming
from tests.examples import examples
from tests.tolerances import RTOL_SAME

AMOUNTS = st.floats(0.01, 1e6)


@pytest.fixture(scope="module")
def bars():
    return sample_bars("BTC/USDT", n_bars=3_000)


@pytest.fixture(scope="module")
def run(bars, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PEAK_TRADE_HOME", str(tmp_path_factory.mktemp("answers")))
        rule = pt.make_strategy("ma_crossover", {"fast": 10, "slow": 40})
        yield pt.backtest(rule, bars), check_twin(rule, bars)


@settings(max_examples=examples(50))
@given(
    st.lists(st.tuples(st.sampled_from(["buy", "sell"]), AMOUNTS, AMOUNTS, AMOUNTS, st.floats(0.0, 10.0)), max_size=20),
    st.floats(-1e6, 1e6),
    st.floats(-1e4, 1e4),
)
def test_the_steps_from_gross_to_net_sum(rows, net, carry):
    fills = pd.DataFrame(rows, columns=["side", "quantity", "price", "reference_price", "fee"])
    paid = cost_breakdown(fills, net, carry)
    table = verdicts.cost_table(paid)
    scale = float(table["amount"].abs().max()) + 1.0
    assert abs(table["amount"].iloc[:4].sum() - table["amount"].iloc[4]) <= RTOL_SAME * scale
    against = sum((p - r) * q * (1 if side == "buy" else -1) for side, q, p, r, _ in rows)
    assert abs(paid.slippage - against) <= RTOL_SAME * (abs(against) + paid.traded + 1.0)
    assert (paid.share_of_gross is None) == (paid.gross <= 0.0)
    assert (paid.break_even_bps is None) == (not rows)


def test_the_break_even_cost_leaves_nothing(run):
    result, _ = run
    paid = verdicts.costs(result)
    assert paid.fees == pytest.approx(result.fills["fee"].sum(), rel=RTOL_SAME)
    assert paid.gross - paid.break_even_bps / 1e4 * paid.traded == pytest.approx(0.0, abs=RTOL_SAME * paid.traded)
    assert paid.paid_bps == pytest.approx(15.0, abs=0.01)  # 10 bps of fee, 5 of slippage


def test_a_free_run_earns_its_gross_profit(bars):
    free = pt.BacktestSettings(costs=pt.Costs(fee_bps=0.0, slippage_bps=0.0))
    paid = verdicts.costs(pt.backtest(pt.make_strategy("ma_crossover", {"fast": 10, "slow": 40}), bars, free))
    assert (paid.gross, paid.costs, paid.share_of_gross) == (paid.net, 0.0, 0.0)


def test_a_verdict_follows_from_the_intervals(run):
    result, twin = run
    answer = verdicts.answer(result, twin)
    own, beats, *_ = (check.finding for check in answer.checks)
    assert len(answer.checks) == 5
    assert len(answer.tiles) == 6
    assert answer.finding in (Finding.NOT_SHOWN, Finding.AGAINST)
    assert (answer.finding is Finding.AGAINST) == (Finding.AGAINST in (own, beats))
    ratio = result.stats()["sharpe"]
    assert with_error(ratio) in answer.sentence


def test_a_leak_on_the_twin_is_no_silence(run):
    result, twin = run
    loud = replace(twin, twin=Measure(3.0, 3_000, 0.5))
    *_, silent = verdicts.answer(result, loud).checks
    assert silent.finding is Finding.AGAINST


def test_a_run_without_trades_or_too_short_cannot_say(bars):
    rule = pt.make_strategy("ma_crossover", {"fast": 10, "slow": 40})
    short = bars.frame.iloc[:200]
    few = pt.as_bars(short, "BTC/USDT", "1h", stamp="close")
    answer = verdicts.answer(pt.backtest(rule, few), check_twin(rule, few))
    assert (answer.verdict, answer.finding) == ("Cannot say", Finding.UNKNOWN)
    assert "not stated" in answer.sentence
    cash = pt.make_strategy("cash")
    still = verdicts.answer(pt.backtest(cash, bars), check_twin(cash, bars))
    assert (still.verdict, still.finding) == ("No trades", Finding.UNKNOWN)


@pytest.mark.parametrize(
    ("measure", "finding"),
    [
        (Measure(1.0, 100, 0.5), Finding.SHOWN),
        (Measure(0.9, 100, 0.5), Finding.NOT_SHOWN),
        (Measure(-1.0, 100, 0.5), Finding.AGAINST),
        (Measure(1.0, 100), Finding.UNKNOWN),
        (Measure(None, 3, note="too few"), Finding.UNKNOWN),
    ],
)
def test_an_interval_is_above_below_or_around_zero(measure, finding):
    assert interval_finding(measure) is finding


@settings(max_examples=examples(50))
@given(st.floats(-1e3, 1e3), st.floats(1e-3, 1e3), st.none() | st.floats(-1e3, 1e3))
def test_a_strip_stays_in_its_tile_and_in_order(value, error, other):
    strip = Strip.interval(Measure(value, 100, error), other)
    places = [strip.wide[0], strip.narrow[0], strip.mark, strip.narrow[1], strip.wide[1]]
    assert places == sorted(places)
    assert all(0.0 <= place <= 100.0 for place in [*places, strip.zero, *([] if other is None else [strip.other])])


def test_numbers_are_written_one_way():
    assert number(-0.001) == "0.00"
    assert number(-1234.5, 1, unit=" USDT") == "\u22121,234.5 USDT"
    assert number(None) == percent(None) == "not stated"
    assert percent(-0.2929) == "\u221229.3%"
    assert with_error(Measure(None, 3, note="too few")) == "too few"


def test_an_answer_is_shown_as_html_with_its_numbers_beside(run):
    result, twin = run
    shown = bundle(verdicts.answer(result, twin), "answer")
    assert shown[RESULT_MIME]["kind"] == "answer"
    assert set(shown[RESULT_MIME]["tiles"]) >= {"Net return", "Max drawdown"}
    assert 'class="pt-headline"' in shown["text/html"]
    origin = bundle(verdicts.provenance(result), "provenance")[RESULT_MIME]
    assert origin["data"] == ["generated"]
    assert origin["facts"][1] == "3,000 bars of 1h, 0 missing"
    assert np.all([kind.gloss for kind in (data_kind("sample"), data_kind("binance"))])


class Short(pt.Strategy):
    """Short at every close."""

    @property
    def warm_up(self):
        return 0

    def exposure(self, bars):
        return -np.ones(len(bars))


@pytest.mark.long
def test_a_page_of_a_bankrupt_run_is_whole(bars):
    frame = bars.frame.copy()
    frame.iloc[1_500:, :4] *= 3.0
    dear = replace(bars, frame=frame)
    instruments = {"BTC/USDT": pt.Instrument("BTC/USDT", is_shortable=True)}
    result = pt.backtest(Short(), dear, instruments=instruments, causality_check=False)
    assert result.bankrupt_bar == 1_500
    returns = result.returns
    assert returns.iloc[1_499] == -1.0
    assert returns.iloc[1_500:].isna().all()
    assert returns.iloc[:1_499].notna().all()
    found = verdicts.answer(result, check_twin(Short(), dear))
    assert (found.verdict, found.checks[1].finding) == ("Cannot say", Finding.UNKNOWN)
    assert "went bankrupt" in found.checks[1].text
    daily = tear_sheet.of_result(result).daily_returns
    assert daily.iloc[-1] == -1.0
    assert all(part.name for part in tear_sheet.of_result(result).parts())


def test_missing_bars_are_counted(bars):
    frame = bars.frame.drop(bars.frame.index[100:110])
    gaps = pt.as_bars(frame, "BTC/USDT", "1h", stamp="close")
    rule = pt.make_strategy("ma_crossover", {"fast": 10, "slow": 40})
    assert "2,990 bars of 1h, 10 missing" in verdicts.provenance(pt.backtest(rule, gaps)).facts


def test_a_diff_of_a_run_with_itself_agrees_and_one_with_another_fee_names_it(run, bars):
    result, _ = run
    itself = diff_answer.answer(diff(recording_of(result), recording_of(result)))
    assert (itself.verdict, {check.finding for check in itself.checks[:4]}) == ("The runs agree", {Finding.SHOWN})
    dear = pt.BacktestSettings(costs=pt.Costs(fee_bps=20.0))
    other = pt.backtest(pt.make_strategy("ma_crossover", {"fast": 10, "slow": 40}), bars, dear)
    compared = diff(recording_of(result), recording_of(other))
    named = diff_answer.answer(compared)
    findings = {check.name: check.finding for check in named.checks}
    assert (findings["Same fee"], findings["Same orders"]) == (Finding.AGAINST, Finding.SHOWN)
    assert named.sentence.startswith("Live earned ")
    assert " less than the shadow; the largest cause is fee: " in named.sentence
    assert diff_answer.provenance(compared).kinds == (DataKind.GENERATED,)
    gap = next(tile.measure.value for tile in named.tiles if tile.label == "Live minus shadow")
    assert gap == pytest.approx(compared.live_pnl - compared.shadow_pnl, rel=RTOL_SAME)


@pytest.mark.parametrize(("leaks", "finding"), [(False, Finding.SHOWN), (True, Finding.AGAINST)])
def test_a_regime_study_whose_method_leaks_can_not_say(leaks, finding):
    edges = pd.DataFrame({"traded": np.linspace(0.4, 0.6, 20) + (0.0 if leaks else -0.5)})
    control = NoiseControl("sign-flipped twins", edges)
    naming = Naming({}, (), pd.DataFrame({"change": ["seed 1"], "equal": [0.5]}))
    checks = regime_answer._checks(StudyStub(), 0.5, [control], naming)
    assert checks[2].finding is finding
    assert [check.finding for check in checks[:2]] == [Finding.NOT_SHOWN, Finding.NOT_SHOWN]
    assert checks[4].finding is Finding.AGAINST


class StudyStub:
    """A study whose regimes change nothing beyond chance."""

    sharpe_test = SharpeDifference(Measure(0.1, 100, 0.5), -0.9, 1.1, 0.8)


@pytest.mark.parametrize(
    ("largest", "verdict"),
    [(1e9, "The limits fit the strategy"), (100.0, "The limits stop the strategy")],
)
def test_a_risk_study_says_whether_its_limits_let_the_strategy_trade(largest, verdict, bars):
    rule = pt.make_strategy("ma_crossover", {"fast": 10, "slow": 40})
    result = pt.backtest(rule, bars, risk=RiskLimits(max_order_notional=largest))
    limits = RiskLimits(var=VarLimits(), stress=StressLimits(max_stress_loss=0.9))
    coverage = pd.DataFrame({"kupiec_p": [0.5], "n_exceptions": [12.0], "expected": [12.5], "n_days": [250]})
    stressed = pd.DataFrame({"scenario": ["crash"], "loss": [0.5]})
    found = risk_answer.answer(result, limits, coverage, stressed)
    assert found.verdict == verdict
    wrong = coverage.assign(kupiec_p=0.01)
    checks = {check.name: check.finding for check in risk_answer.answer(result, limits, wrong, stressed).checks}
    assert checks["VaR coverage"] is Finding.AGAINST
    assert checks["Stress within limit"] is Finding.SHOWN
