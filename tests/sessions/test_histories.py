"""A session's declared history: stored bars before its own, the same ones when it is resumed or replayed."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from peak_trade.cli import main
from peak_trade.core.bars import Bars
from peak_trade.core.errors import ConfigError, DataError, SessionError
from peak_trade.core.history import DailyHistory, extend_history
from peak_trade.core.time import Timeframe
from peak_trade.data.resampling import resample
from peak_trade.data.store import list_bars, save_bars
from peak_trade.journal.events import BarEvent, DecisionEvent
from peak_trade.journal.files import MANIFEST, read_events, read_manifest
from peak_trade.risk.limits import RiskLimits
from peak_trade.sessions.bar_buffer import BufferedHistory, MarketBuffer
from peak_trade.sessions.config import SessionConfig
from peak_trade.sessions.replay import replay
from peak_trade.sessions.run import resume_session, run_session
from peak_trade.studies.backtest import backtest
from peak_trade.studies.risk.decisions import explain, find_decision
from peak_trade.wiring.gates import declared_history, make_risk_engine, read_risk_file
from peak_trade.wiring.strategies import make_strategy
from tests.replacing import replace
from tests.sessions.running import BTC

DAY = 86_400 * 10**9
SYMBOL = "BTC/USDT"


def hourly(n_days: int = 420, symbol: str = SYMBOL, seed: int = 3) -> Bars:
    """Hourly bars whose level varies, so that a crossover trades."""
    n_bars = 24 * n_days
    draws = np.random.default_rng(seed).normal(0.0, 0.004, n_bars)
    close = 100.0 * np.exp(np.cumsum(draws) + 0.05 * np.sin(np.arange(n_bars) / 8.0))
    opened = np.concatenate(([100.0], close[:-1]))
    columns = {"open": opened, "high": np.maximum(opened, close), "low": np.minimum(opened, close), "close": close}
    index = pd.date_range("2022-01-01 01:00", periods=n_bars, freq="h", tz="UTC")
    return Bars(
        pd.DataFrame(columns | {"volume": np.full(n_bars, 1e6)}, index=index), symbol, Timeframe(3_600), "sample"
    )


def last(bars: Bars, n_bars: int) -> Bars:
    """The last bars."""
    return replace(bars, frame=bars.frame.iloc[-n_bars:])


WHOLE = hourly()
DAILY = resample(WHOLE, Timeframe(86_400)).bars
TRADED = last(WHOLE, 300)


@pytest.fixture(scope="module")
def limits(request) -> RiskLimits:
    return read_risk_file(request.config.rootpath / "config" / "risk.toml")


def naming(limits: RiskLimits, source: str) -> RiskLimits:
    """The limits with another source of the history."""
    return limits.model_copy(update={"var": limits.var.model_copy(update={"source": source})})


@pytest.fixture
def stored(home):
    """A workspace that holds 300 hourly bars and 420 daily ones."""
    save_bars(TRADED)
    save_bars(DAILY)
    return home


def config_with(risk: RiskLimits, **changes) -> SessionConfig:
    values = {
        "mode": "paper",
        "strategy": "ma_crossover",
        "parameters": make_strategy("ma_crossover", {"fast": 3, "slow": 9}).model_dump(mode="json"),
        "symbol": SYMBOL,
        "timeframe": "1h",
        "exchange": "sample",
        "feed": "recorded",
        "evaluation": "whole",
        "risk": risk,
    }
    return SessionConfig(**values | changes)


def decisions_in(folder):
    return [event for event in read_events(folder) if isinstance(event, DecisionEvent)]


def change_manifest(folder, change):
    content = read_manifest(folder)
    change(content["config"])
    (folder / MANIFEST).write_text(json.dumps(content))


@pytest.mark.long
def test_a_session_of_a_few_hundred_bars_trades_on_the_conservative_limits_once_a_daily_source_is_declared(
    stored, limits
):
    alone = run_session(config_with(limits))
    assert alone.status.n_fills == 0
    assert alone.status.n_denials > 5
    outcome = run_session(config_with(naming(limits, "1d")))
    assert outcome.status.n_fills > 10
    for decision in decisions_in(outcome.folder):
        found = explain(decision)
        assert found.is_reproduced
        assert all(reading.observed <= 0.02 for reading in found.readings if reading.code == "value_at_risk")
    kept = find_decision(f"{outcome.folder.name}/o-1")
    assert "max_leverage" in {reading.code for reading in explain(kept).readings}
    change_manifest(outcome.folder, lambda config: config["symbols"][0]["instrument"].pop("max_leverage"))
    kept = find_decision(f"{outcome.folder.name}/o-1")
    assert "max_leverage" not in {reading.code for reading in explain(kept).readings}


@pytest.mark.long
def test_a_session_a_backtest_and_another_exchanges_name_give_the_same_decisions(stored, limits):
    named = naming(limits, "sample 1d")
    session = decisions_in(run_session(config_with(named)).folder)
    run = backtest(make_strategy("ma_crossover", {"fast": 3, "slow": 9}), TRADED, risk=named)
    tested = [event for event in run.events if isinstance(event, DecisionEvent)]
    assert [(one.order_id, one.denials) for one in session] == [(one.order_id, one.denials) for one in tested]
    elsewhere = Bars(TRADED.frame, SYMBOL, TRADED.timeframe, "other")
    assert backtest(make_strategy("ma_crossover", {"fast": 3, "slow": 9}), elsewhere, risk=named).fill_list


@pytest.mark.long
def test_a_session_replays_on_its_history_though_the_store_has_grown_and_not_on_another_one(stored, limits):
    outcome = run_session(config_with(naming(limits, "1d")))
    assert replay(outcome.folder.name).is_identical
    later = hourly(430).frame.loc[WHOLE.frame.index[-1] :].iloc[1:]
    save_bars(resample(Bars(later, SYMBOL, WHOLE.timeframe, "sample"), Timeframe(86_400)).bars)
    assert replay(outcome.folder.name).is_identical
    held = next(item for item in list_bars() if str(item.timeframe) == "1d")
    held.path.unlink()
    with pytest.raises(SessionError, match="is gone"):
        replay(outcome.folder.name)
    save_bars(Bars(DAILY.frame * 1.01, SYMBOL, DAILY.timeframe, "sample"))
    with pytest.raises(SessionError, match="not the one that the session started on"):
        replay(outcome.folder.name)


@pytest.mark.long
def test_an_interrupted_session_is_resumed_on_the_history_it_started_on(stored, limits):
    config = config_with(naming(limits, "1d"))
    whole = run_session(config)
    folder = whole.folder

    class Killed(Exception):
        pass

    def kill(status):
        if status.n_bars == 150:
            raise Killed

    with pytest.raises(Killed):
        run_session(config, on_status=kill)
    broken = max(folder.parent.glob("*/"), key=lambda part: part.stat().st_mtime)
    resumed = resume_session(broken.name)
    assert resumed.status.n_fills == whole.status.n_fills
    assert [d.denials for d in decisions_in(resumed.folder)] == [d.denials for d in decisions_in(folder)]


@pytest.mark.long
def test_the_manifest_carries_the_digest_of_the_history(stored, limits):
    digests = read_manifest(run_session(config_with(naming(limits, "1d"))).folder)["digests"]
    plain = read_manifest(run_session(config_with(limits)).folder)["digests"]
    assert set(digests) - set(plain) == {"history"}


def test_the_digest_of_a_run_knows_its_history_and_not_what_came_after_the_run(stored, limits):
    named = naming(limits, "1d")
    strategy = make_strategy("ma_crossover", {})
    first = backtest(strategy, TRADED, risk=named).digests["data"]
    assert first != backtest(strategy, TRADED, risk=limits).digests["data"]
    later = hourly(430).frame.loc[WHOLE.frame.index[-1] :].iloc[1:]
    save_bars(resample(Bars(later, SYMBOL, WHOLE.timeframe, "sample"), Timeframe(86_400)).bars)
    assert backtest(strategy, TRADED, risk=named).digests["data"] == first


def test_decisions_on_a_declared_history_do_not_know_its_later_days(limits):
    named = naming(limits, "1d")
    strategy = make_strategy("ma_crossover", {"fast": 3, "slow": 9})
    cut = DAILY.frame.copy()
    middle = TRADED.frame.index[150]
    cut.loc[cut.index > middle] *= 5.0
    rewritten = Bars(cut, SYMBOL, DAILY.timeframe, "sample")
    found = [
        [
            (event.ts_event, event.denials, event.inputs.order.quantity)
            for event in backtest(strategy, TRADED, risk=named, history=[past]).events
            if isinstance(event, DecisionEvent) and event.ts_event <= middle.value
        ]
        for past in (DAILY, rewritten)
    ]
    assert len(found[0]) > 5
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("4h", "risk.var.source was '4h': there are no bars of BTC/USDT at 4h, only at 1h, 1d"),
        ("kraken 1d", "risk.var.source was 'kraken 1d': there are no bars from exchange kraken"),
    ],
)
def test_a_source_that_is_not_there_is_refused_at_the_start_in_one_line(stored, limits, source, message):
    for start in (
        lambda: backtest(make_strategy("ma_crossover", {}), TRADED, risk=naming(limits, source)),
        lambda: run_session(config_with(naming(limits, source))),
    ):
        with pytest.raises(DataError) as found:
            start()
        assert str(found.value).startswith(message)
        assert "\n" not in str(found.value)
    assert not (stored / "sessions").exists()


def test_a_symbol_that_the_source_lacks_is_refused(stored, limits):
    other = replace(TRADED, symbol="ETH/USDT")
    with pytest.raises(DataError, match=r"'1d': there are no bars of ETH/USDT"):
        backtest(make_strategy("ma_crossover", {}), [TRADED, other], risk=naming(limits, "1d"))
    with pytest.raises(DataError, match=r"ETH/USDT has no history, only BTC/USDT has"):
        make_risk_engine(limits, [TRADED, other], past=[DAILY])


def test_a_source_that_ends_days_before_the_run_or_starts_after_it_is_refused(home, limits):
    named = naming(limits, "1d")
    first, until = int(TRADED.times[0]), int(TRADED.times[-1])
    n_before = int(np.searchsorted(DAILY.times, first))
    save_bars(Bars(DAILY.frame.iloc[: n_before - 1], SYMBOL, DAILY.timeframe, "sample"))
    with pytest.raises(DataError, match="Import the days between"):
        declared_history(named, {SYMBOL: "sample"}, first, until)
    save_bars(Bars(DAILY.frame.iloc[:n_before], SYMBOL, DAILY.timeframe, "sample"))
    assert declared_history(named, {SYMBOL: "sample"}, first, until)[0].times[-1] < first
    with pytest.raises(DataError, match="after the run"):
        declared_history(named, {SYMBOL: "sample"}, 0, int(DAILY.times[0]) - DAY)


@pytest.mark.parametrize("source", ["daily", "no such source anywhere", "1w", "2d", "Binance 1d", "", "binance 1d 1h"])
def test_what_can_not_be_a_source_is_refused_when_the_limits_are_read(source):
    with pytest.raises(ConfigError, match="like 1d or binance 1d"):
        RiskLimits.parse({"var": {"source": source}}, "run.toml")


def test_a_history_is_carried_on_by_the_closed_bars_of_a_live_session(limits):
    """On every day the buffer, all bars and the hourly bars alone give the same history."""
    n_past = 400
    past = Bars(DAILY.frame.iloc[:n_past], SYMBOL, DAILY.timeframe, "sample")
    own = Bars(WHOLE.frame.iloc[24 * n_past - 30 :], SYMBOL, WHOLE.timeframe, "sample")
    buffer = MarketBuffer([BTC], own.timeframe, len(own), "sample")
    record, whole = BufferedHistory(buffer, "1d", 380, [past]), DailyHistory(extend_history([past], [own]), "1d", 380)
    hours = DailyHistory([WHOLE], "1d", 380)
    for now, row in zip(own.times.tolist(), own.frame.itertuples(index=False), strict=True):
        buffer.add(BarEvent(now, SYMBOL, *row))
        assert record.returns_at(now) == whole.returns_at(now)
        assert record.activity_at(SYMBOL, now) == whole.activity_at(SYMBOL, now)
        np.testing.assert_array_equal(whole.returns_at(now).returns, hours.returns_at(now).returns)
    assert np.isfinite(record.returns_at(now).returns).all()


def test_a_live_session_whose_own_bars_are_too_few_days_is_refused_before_it_asks_the_exchange(home, limits):
    config = config_with(limits, feed="live", evaluation="bar", exchange="binance")
    with pytest.raises(ConfigError, match=r"500 bars .* are 20 days, and risk.var.min_days is 350"):
        run_session(config, connect=lambda name: pytest.fail("the exchange was asked"))


def test_what_declares_an_order_book_is_refused_where_there_is_none(stored, tmp_path, capsys, monkeypatch, request):
    monkeypatch.chdir(tmp_path)
    limits = read_risk_file(request.config.rootpath / "config" / "risk_liquidity_gate_example.toml")
    with pytest.raises(ConfigError, match="a recorded session has no order books"):
        run_session(config_with(limits))
    (tmp_path / "run.toml").write_text('[risk.liquidity]\nbook = "declared"\n')
    asked = ["backtest", "--strategy", "cash", "--symbol", SYMBOL, "--config", "run.toml"]
    assert main(asked) == 2
    found = capsys.readouterr().err
    assert "a backtest has no order books" in found
    assert found.count("\n") == 1
