"""Tables and figures of portfolio risk: coverage by regime, marginal risk, reverse stress and denials."""

import math

import numpy as np
import pandas as pd
import pytest

from peak_trade.core.errors import ConfigError, DataError
from peak_trade.core.time import NS_PER_SECOND
from peak_trade.core.values import Denial
from peak_trade.journal.events import DecisionEvent
from peak_trade.regimes.states import FilteredRegimes, Regime, SmoothedRegimes
from peak_trade.reports.views.risk import MAX_DENIALS, drawn_denials, fills_and_denials, fills_and_denials_note
from peak_trade.risk.limits import RiskLimits
from peak_trade.risk.var import estimate
from peak_trade.studies.risk.decisions import (
    binding_denial,
    denials_by_code,
    denied_orders,
    first_permitted,
    trading_spans,
)
from peak_trade.studies.risk.stress import reverse_stress_table
from peak_trade.studies.risk.value_at_risk import VAR_METHODS, coverage_by_regime, marginal_table
from tests.risk.cases import BTC, ETH, HISTORY
from tests.risk.runs import run
from tests.tolerances import RTOL_REFERENCE, RTOL_SAME

DAY = 86_400 * NS_PER_SECOND
CALM, WILD = 0.01, 0.03
N_DAYS = 4_000


def regimes_at(times, labels, kind=FilteredRegimes):
    labels = np.asarray(labels, dtype=np.int8)
    return kind(np.asarray(times, dtype=np.int64), labels, np.full((len(labels), 3), np.nan), 0, "known")


def walk_of(value_at_risk, loss):
    """Return a random walk of daily bars from 2 January 1970 on."""
    days = pd.DatetimeIndex((np.arange(len(loss)) + 2) * DAY, tz="UTC", name="day")
    frame = pd.DataFrame({"value_at_risk": value_at_risk, "loss": loss}, index=days)
    return frame.assign(is_exception=frame["loss"] > frame["value_at_risk"])


@pytest.fixture(scope="module")
def two_regimes():
    """Losses with low volatility in bull and high volatility in bear periods of 50 days each."""
    rng = np.random.default_rng(17)
    labels = np.where(np.arange(N_DAYS) // 50 % 2 == 0, Regime.BULL, Regime.BEAR)
    size = np.where(labels == Regime.BEAR, WILD, CALM)
    return regimes_at((np.arange(N_DAYS) + 1) * DAY, labels), size, rng.normal(0.0, size)


def test_a_var_that_ignores_regimes_covers_too_little_in_the_volatile_one(two_regimes):
    regimes, _, loss = two_regimes
    table = coverage_by_regime(walk_of(np.quantile(loss, 0.95), loss), regimes).set_index("regime")
    assert table.index.tolist() == ["bear", "bull"]
    assert table["n_days"].tolist() == [N_DAYS // 2] * 2
    assert table["n_exceptions"].sum() == pytest.approx(0.05 * N_DAYS, abs=1)
    assert table.loc["bear", "rate"] > 0.08 > 0.02 > table.loc["bull", "rate"]
    assert table["kupiec_p"].max() < 1e-6


def test_a_var_by_regime_has_its_stated_coverage_in_each(two_regimes):
    regimes, size, loss = two_regimes
    table = coverage_by_regime(walk_of(1.6448536 * size, loss), regimes)
    error = 4.0 * math.sqrt(0.05 * 0.95 / (N_DAYS / 2))
    assert table["rate"].tolist() == pytest.approx([0.05, 0.05], abs=error)
    assert table["kupiec_p"].min() > 1e-4


def test_a_day_belongs_to_the_regime_known_when_it_began():
    walk = walk_of([0.01, math.nan, 0.01, 0.01, 0.01], [0.02, 0.02, 0.02, 0.0, 0.02])
    times = [2 * DAY, 3 * DAY + 1, 4 * DAY, 5 * DAY, 6 * DAY]
    labels = [Regime.BEAR, Regime.BULL, Regime.SIDEWAYS, Regime.BULL, Regime.BEAR]
    table = coverage_by_regime(walk, regimes_at(times, labels))
    counts = [(row.regime, row.n_days, row.n_exceptions) for row in table.itertuples()]
    assert counts == [("unknown", 1, 1), ("bear", 1, 1), ("sideways", 1, 0), ("bull", 1, 1)]
    assert table["kupiec_p"].isna().all()


def test_later_days_change_no_count(two_regimes):
    regimes, _, loss = two_regimes
    walk = walk_of(0.03, loss).iloc[:1_000]
    known = regimes_at(regimes.times[:1_000], regimes.labels[:1_000])
    pd.testing.assert_frame_equal(coverage_by_regime(walk, regimes), coverage_by_regime(walk, known))


def test_smoothed_regimes_and_a_walk_without_estimates_are_errors(two_regimes):
    regimes, _, loss = two_regimes
    with pytest.raises(ConfigError, match="smoothed"):
        coverage_by_regime(walk_of(0.03, loss), regimes_at(regimes.times, regimes.labels, SmoothedRegimes))
    with pytest.raises(DataError, match="no day has a value at risk"):
        coverage_by_regime(walk_of(math.nan, loss), regimes)


@pytest.mark.parametrize("method", VAR_METHODS)
def test_the_components_sum_to_the_var_for_any_order_of_the_weights(method):
    table = marginal_table({ETH: -0.2, BTC: 0.5}, HISTORY, method)
    assert table["symbol"].tolist() == [BTC, ETH]
    var = estimate(np.array([0.5, -0.2]), HISTORY, method, 0.95)[0]
    assert table["component_var"].sum() == pytest.approx(var, rel=RTOL_REFERENCE)
    assert table["share"].sum() == pytest.approx(1.0, rel=RTOL_SAME)


def test_the_reverse_stress_table_shows_the_direction_of_the_move():
    limits = RiskLimits(max_drawdown=0.2, max_gross_exposure=0.8, max_net_exposure=0.1, max_concentration=0.9)
    table = reverse_stress_table({ETH: 0.3, BTC: 0.3}, HISTORY, limits, 10_000.0)
    assert table["outcome"].tolist() == ["fall", "rise", "broken now", "no move"]
    assert table["shock"].tolist()[:3] == pytest.approx([-1.0 / 3.0, (4 / 3 - 1) / (1 - 0.8), 0.0], rel=RTOL_REFERENCE)
    assert math.isnan(table["shock"].iloc[3])
    reached = reverse_stress_table({BTC: 0.5}, HISTORY, RiskLimits(max_gross_exposure=0.5), 10_000.0)
    assert (reached["shock"].iloc[0], reached["outcome"].iloc[0]) == (0.0, "at the limit")


@pytest.fixture(scope="module")
def refused():
    """A run whose limits deny some orders, by two gates at once."""
    result = run({"max_order_notional": 4_000.0, "max_symbol_exposure": 0.45}, (0.3, -0.3, 0.8), symbols=(BTC,))
    return result, denied_orders(result.events)


def test_denied_orders_are_the_denials_of_the_record(refused):
    result, denied = refused
    counts = denials_by_code(result.events)
    assert denied["code"].value_counts().to_dict() == dict(zip(counts["code"], counts["n_denials"], strict=True))
    assert denied["code"].nunique() == 2
    assert counts["n_first"].sum() == denied["order_id"].nunique() < counts["n_denials"].sum()
    assert counts["share_of_decisions"].sum() <= 1.0
    assert (denied["observed"] > denied["limit"]).all()
    assert denied["price"].isin(result.market.columns[0].mark).all()


def test_every_denied_order_has_one_gate_that_binds_and_the_spans_cover_the_run(refused):
    result, denied = refused
    assert denied.groupby("order_id")["binds"].sum().tolist() == [1] * denied["order_id"].nunique()
    assert denied.loc[denied["binds"], "code"].value_counts().to_dict() == {
        code: n for code, n in denials_by_code(result.events)[["code", "n_first"]].to_numpy().tolist() if n
    }
    spans = trading_spans(result)
    assert (spans["start"].iloc[0], spans["end"].iloc[-1]) == (result.index[0], result.index[-1])
    assert spans["end"].tolist()[:-1] == spans["start"].tolist()[1:]
    assert spans["share"].sum() == pytest.approx(1.0, rel=RTOL_SAME)
    assert (spans["could_trade"] != spans["could_trade"].shift()).all()
    assert spans.loc[~spans["could_trade"], "n_orders"].sum() == denied["order_id"].nunique()
    blocked = spans[~spans["could_trade"]]
    assert not any(((blocked["start"] <= time) & (time < blocked["end"])).any() for time in _approved(result))


def _approved(result):
    passed = [event.ts_event for event in result.events if isinstance(event, DecisionEvent) and event.is_approved]
    return pd.to_datetime(passed, utc=True)


def test_the_measures_from_the_first_permitted_bar_start_there(refused):
    result, _ = refused
    since = first_permitted(result)
    assert since == _approved(result)[0]
    later = result.stats(since)
    equity = result.equity[result.index >= since]
    assert later["total_return"].value == pytest.approx(equity.iloc[-1] / equity.iloc[0] - 1.0, rel=RTOL_SAME)
    assert later["total_return"].n == len(equity) - 1
    assert later["n_fills"].value == len(result.fills)


def test_of_an_order_that_is_sized_the_gate_binds_that_no_smaller_order_passes():
    large = Denial("symbol_exposure", 1.0, 0.5)
    unread, loss = Denial("value_at_risk", math.nan, math.nan), Denial("drawdown", 0.3, 0.2)

    def bound(sizes_orders, *denials):
        return binding_denial(DecisionEvent(0, "o-1", False, denials, ""), sizes_orders).code

    assert bound(False, large, unread) == "symbol_exposure"
    assert bound(True, large, unread) == "value_at_risk"
    assert bound(True, large, loss, unread) == "drawdown"
    assert bound(True, large) == "symbol_exposure"


@pytest.mark.long
def test_fills_and_denied_orders_are_drawn_on_the_price_with_a_lane_per_code(refused):
    result, denied = refused
    close = pd.Series(result.market.columns[0].mark, index=result.index)
    spans = trading_spans(result)
    figure = fills_and_denials(close, result.fills, denied, spans)
    traces = {trace.name: trace for trace in figure.data}
    binding = denied[denied["binds"]]
    bands = {
        f"{name}, {spans.loc[spans['could_trade'] == could, 'share'].sum():.1%} of the time"
        for name, could in (("could trade", True), ("could not trade", False))
    }
    assert set(traces) == {"close", "buy", "sell", "denied", *bands, *binding["code"]}
    orders = denied.drop_duplicates("order_id")
    assert list(traces["denied"].y) == orders["price"].tolist()
    for text, order_id in zip(traces["denied"].text, orders["order_id"], strict=True):
        assert text.endswith(": " + ", ".join(denied.loc[denied["order_id"] == order_id, "code"]))
    for code, own in binding.groupby("code"):
        assert traces[code].yaxis == "y2"
        assert list(traces[code].y) == [code] * len(own)
        assert list(traces[code].x) == own["ts_event"].dt.strftime("%Y-%m-%d %H:%M").tolist()
        for text, observed, limit in zip(traces[code].text, own["observed"], own["limit"], strict=True):
            assert text.endswith(f"observed {observed:.6g}, limit {limit:.6g}")
    assert len(fills_and_denials(close, result.fills, denied.iloc[:0], spans).data) == 3
    n_orders = len(orders)
    assert fills_and_denials_note(result.fills, denied).startswith(f"{n_orders} of {n_orders} denied orders are shown")


def test_unreadable_inputs_are_marked_and_of_many_denials_the_last_are_drawn(refused):
    result, denied = refused
    close = pd.Series(result.market.columns[0].mark, index=result.index)
    unread = denied.tail(1).assign(observed=math.nan, binds=True)
    assert "observed unread" in fills_and_denials(close, result.fills, unread, trading_spans(result)).data[-3].text[0]
    many = pd.concat([denied] * (MAX_DENIALS // len(denied) + 1), ignore_index=True)
    assert drawn_denials(result.fills, many).index.tolist() == many.index.tolist()[-MAX_DENIALS:]
    shown, n_orders = int(drawn_denials(result.fills, many)["binds"].sum()), int(many["binds"].sum())
    assert fills_and_denials_note(result.fills, many).startswith(f"{shown} of {n_orders} denied orders are shown")
    assert fills_and_denials_note(result.fills, many.iloc[:0]).startswith("There are no denials.")
