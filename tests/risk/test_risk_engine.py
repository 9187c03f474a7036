"""The risk engine in the event loop: recomputable decisions, sizes within the limits, a lasting state."""

import numpy as np
import pandas as pd
import pytest

from peak_trade.cli import main
from peak_trade.core.bars import Bars
from peak_trade.core.time import Timeframe
from peak_trade.core.values import TradingState
from peak_trade.data.sample import SYMBOLS, sample_bars
from peak_trade.journal.codec import decode_event, encode_event
from peak_trade.journal.events import DecisionEvent, OrderEvent, OrderEventKind, TradingStateEvent
from peak_trade.risk.codes import DenialCode
from peak_trade.risk.limits import RiskLimits
from peak_trade.strategies.base import Strategy
from peak_trade.studies.backtest import backtest
from peak_trade.studies.portfolio.run import run_portfolio
from peak_trade.studies.risk.decisions import denials_by_code, explain, find_decision, headroom, keep_decisions
from peak_trade.wiring.gates import read_risk_file
from peak_trade.wiring.portfolio_settings import PortfolioSettings
from tests.replacing import replace
from tests.tolerances import RTOL_SAME


class Weekly(Strategy):
    """Fully long in even weeks, flat in odd weeks: the same orders for any prices."""

    @property
    def warm_up(self) -> int:
        return 0

    def exposure(self, bars):
        return (bars.index.day_of_year.to_numpy() // 7 % 2).astype(np.float64)


def bars_of(symbol: str, seed: int, n_days: int = 600, drift: float = 0.0) -> Bars:
    rng = np.random.default_rng(seed)
    close = 100.0 * np.exp(np.cumsum(rng.normal(drift, 0.02, n_days * 4)))
    opened = np.concatenate(([100.0], close[:-1]))
    index = pd.date_range("2021-01-01 06:00", periods=n_days * 4, freq="6h", tz="UTC")
    columns = {
        "open": opened,
        "high": np.maximum(opened, close),
        "low": np.minimum(opened, close),
        "close": close,
        "volume": rng.uniform(5e4, 1e5, n_days * 4),
    }
    return Bars(pd.DataFrame(columns, index=index), symbol, Timeframe.parse("6h"))


BARS = bars_of("BTC/USDT", 1)


@pytest.fixture(scope="module")
def guarded(config):
    return backtest(Weekly(), BARS, risk=read_risk_file(config / "risk.toml"))


def _decisions(result):
    return [event for event in result.events if isinstance(event, DecisionEvent)]


def test_every_decision_of_a_run_is_reproduced_from_its_journal_line(guarded):
    import json

    decisions = _decisions(guarded)
    assert len(decisions) > 50
    for decision in decisions:
        explained = explain(decode_event(json.loads(encode_event(decision))))
        assert explained.is_reproduced
        assert explained.is_approved == (not any(reading.is_denied for reading in explained.readings))


def test_the_example_limits_size_orders_to_the_limit_and_let_them_trade(guarded):
    readings = headroom(guarded.events)
    var = readings[(readings["code"] == "value_at_risk") & ~readings["is_denied"] & (readings["observed"] > 0.001)]
    assert len(guarded.fill_list) > 10
    assert (var["observed"] <= 0.02).all()
    assert var["observed"].max() > 0.0199


def test_without_sizing_the_same_limits_deny_every_full_order(config):
    limits = read_risk_file(config / "risk.toml").model_copy(update={"size_to_limits": False})
    result = backtest(Weekly(), BARS, risk=limits)
    assert result.fill_list == []
    assert "value_at_risk" in denials_by_code(result.events)["code"].tolist()


def test_limits_that_never_bind_change_nothing_but_the_record():
    plain, guarded = backtest(Weekly(), BARS), backtest(Weekly(), BARS, risk=RiskLimits(max_gross_exposure=2.0))
    assert plain.events == [event for event in guarded.events if not isinstance(event, DecisionEvent)]
    np.testing.assert_array_equal(plain.equity_values, guarded.equity_values)


@pytest.mark.long
def test_two_runs_with_limits_have_one_digest(guarded, config):
    again = backtest(Weekly(), BARS, risk=read_risk_file(config / "risk.toml"))
    assert again.content_digest == guarded.content_digest
    assert again.run_id == guarded.run_id != backtest(Weekly(), BARS).run_id


def test_a_drawdown_halts_the_run_and_nothing_but_exits_passes_while_reducing():
    falling = bars_of("BTC/USDT", 3, drift=-0.004)
    limits = RiskLimits.parse({"state": {"reduce_drawdown": 0.2, "halt_drawdown": 0.6}}, "test")
    result = backtest(Weekly(), falling, risk=limits)
    states = [event for event in result.events if isinstance(event, TradingStateEvent)]
    assert states[0].state is TradingState.REDUCING
    first = states[0]
    place = int(np.searchsorted(falling.times, first.ts_event))
    peak = np.maximum.accumulate(result.equity_values)
    assert 1.0 - result.equity_values[place] / peak[place] >= 0.2
    assert (1.0 - result.equity_values[:place] / peak[:place] < 0.2).all()
    later = [event for event in result.events if isinstance(event, OrderEvent) and event.ts_event >= first.ts_event]
    submitted = {event.order_id for event in later if event.event is OrderEventKind.SUBMITTED}
    by_id = {decision.order_id: decision.inputs.order for decision in _decisions(result)}
    assert all(by_id[order_id].is_reducing for order_id in submitted)
    denied = [event for event in later if event.event is OrderEventKind.DENIED]
    assert denied
    assert all(event.reason.startswith(DenialCode.TRADING_STATE) for event in denied)


def test_drawdown_and_daily_loss_are_measured_on_every_bar_and_not_at_orders_only():
    limits = RiskLimits(max_drawdown=0.99, max_daily_loss_fraction=0.99)
    result = backtest(Weekly(), BARS, risk=limits)
    equity = result.equity_values
    times = BARS.times
    day = (times - 1) // 86_400_000_000_000
    for decision in _decisions(result):
        bar = int(np.searchsorted(times, decision.ts_event))
        account = decision.inputs.account
        earlier = np.flatnonzero(day < day[bar])
        start = equity[earlier[-1]] if earlier.size else equity[0]
        assert account.peak_equity == pytest.approx(equity[: bar + 1].max(), rel=RTOL_SAME)
        assert account.day_start_equity == pytest.approx(start, rel=RTOL_SAME)


def test_simultaneous_orders_see_each_other():
    pair = [BARS, bars_of("ETH/USDT", 2)]
    limits = RiskLimits(max_gross_exposure=0.6)
    result = backtest(Weekly(), pair, risk=limits)
    first = _decisions(result)[:2]
    assert [decision.is_approved for decision in first] == [True, False]
    assert first[1].denials[0].observed == pytest.approx(1.0, rel=1e-3)
    cut = backtest(Weekly(), pair, risk=limits.model_copy(update={"size_to_limits": True}))
    assert abs(cut.exposure.iloc[:40]).max() < 0.65
    assert {fill.symbol for fill in cut.fill_list} == {"BTC/USDT", "ETH/USDT"}


def test_the_throttle_disables_a_strategy_until_it_is_enabled():
    limits = RiskLimits(max_same_side_fills=1, fill_window=30 * 86_400.0)
    result = backtest(Weekly(), BARS, risk=limits)
    decisions = _decisions(result)
    denied = [decision for decision in decisions if not decision.is_approved]
    assert DenialCode.REPEATED_EXECUTION in [denial.code for denial in denied[0].denials]
    assert all(DenialCode.STRATEGY_DISABLED in [denial.code for denial in later.denials] for later in denied[1:])
    assert len(result.trades) == 1


@pytest.mark.long
def test_risk_estimates_use_a_longer_history_if_there_is_one(config):
    limits = read_risk_file(config / "risk.toml")
    late = replace(BARS, frame=BARS.frame.iloc[1_600:])
    alone, helped = backtest(Weekly(), late, risk=limits), backtest(Weekly(), late, risk=limits, history=[BARS])
    assert alone.fill_list == []
    assert len(helped.fill_list) > 4


def test_a_kept_decision_is_found_by_run_and_order(home, guarded):
    keep_decisions(guarded)
    decision = _decisions(guarded)[3]
    found = find_decision(f"{guarded.run_id}/{decision.order_id}")
    assert explain(found).is_reproduced
    assert found.denials == decision.denials


def test_the_command_explains_a_kept_decision(home, guarded, capsys):
    keep_decisions(guarded)
    denied = next(decision for decision in _decisions(guarded) if not decision.is_approved)
    assert main(["risk", "explain", f"{guarded.run_id[:6]}/{denied.order_id}"]) == 0
    printed = capsys.readouterr().out
    assert "denied" in printed
    assert "value_at_risk" in printed
    assert "equals the record" in printed


def test_a_record_that_was_changed_is_not_reproduced(guarded):
    denied = next(decision for decision in _decisions(guarded) if not decision.is_approved)
    forged = replace(denied, is_approved=True, denials=())
    assert not explain(forged).is_reproduced


@pytest.mark.long
def test_the_example_portfolio_is_sized_to_the_conservative_limits_and_trades(config):
    settings = PortfolioSettings.from_toml(config / "portfolios" / "multi_strategy_example.toml")
    limits = read_risk_file(config / "risk.toml")
    bars = [sample_bars(symbol) for symbol in SYMBOLS]
    result = run_portfolio(settings.model_copy(update={"risk": limits}), bars)
    assert len(result.run.fill_list) > 100
    assert {fill.symbol for fill in result.run.fill_list} == set(SYMBOLS)
    opening = [
        explain(decision).readings
        for decision in _decisions(result.run)
        if decision.is_approved and not decision.inputs.order.is_reducing
    ]
    readings = {code: [r.observed for row in opening for r in row if r.code == code] for code in DenialCode}
    assert 0.0195 < max(readings[DenialCode.VALUE_AT_RISK]) <= 0.02
    assert max(readings[DenialCode.SYMBOL_EXPOSURE]) <= 0.5


def test_an_unchanged_target_that_was_reduced_is_not_ordered_again_at_every_bar(config):
    settings = PortfolioSettings.from_toml(config / "portfolios" / "multi_strategy_example.toml")
    limits = RiskLimits(max_order_notional=500.0, size_to_limits=True)
    bars = [sample_bars(symbol, n_bars=2_000) for symbol in SYMBOLS]
    plain = run_portfolio(settings, bars)
    n_plain = sum(isinstance(event, OrderEvent) and event.event == "REQUESTED" for event in plain.run.events)
    for mode in ("sleeves", "netted"):
        result = run_portfolio(settings.model_copy(update={"risk": limits, "mode": mode}), bars)
        assert 0 < len(_decisions(result.run)) < 1.5 * n_plain
