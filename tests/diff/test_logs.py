"""An external log can be either side of a diff: it is matched, and the money of the causes sums to the difference."""

from __future__ import annotations

import json
import math
import random
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peak_trade.cli import main
from peak_trade.core.errors import SessionError
from peak_trade.core.time import iso
from peak_trade.data.sample import sample_bars
from peak_trade.data.store import save_bars
from peak_trade.diff.causes import Cause
from peak_trade.diff.external import LogBars, matching_symbol, recording_of_log
from peak_trade.diff.recording import recording_of
from peak_trade.diff.result import DiffResult, diff
from peak_trade.engine.settings import BacktestSettings
from peak_trade.sessions.store import find_session, session_ids
from peak_trade.strategies.ma_crossover import MaCrossover
from peak_trade.studies.backtest import backtest
from peak_trade.studies.diff import compare, diff_runs, example
from peak_trade.studies.log_diff import LogStatements, backtest_of_log, read_log
from tests.diff.external_logs import WRITERS, LoggedOrder, as_csv, orders_in, written_and_read
from tests.diff.log_faults import FAULTS, bars_of, clean_log, counted, log_recording, planted, run_of, table, wrong_size
from tests.examples import examples, mostly_long
from tests.journal.formats import test_nautilus as nautilus
from tests.sessions.running import read_bars

SEEDS = st.integers(0, 4)


@st.composite
def logs(draw) -> tuple[int, list[LoggedOrder]]:
    """Orders of a run, each kept, dropped or changed in its time, quantity, side, price and fee."""
    seed = draw(SEEDS)
    run = run_of(seed)
    rng = random.Random(draw(st.integers(0, 2**31)))
    orders = []
    for order in clean_log(run, rng):
        if rng.random() < 0.2:
            continue
        factor, delay = rng.choice([1.0, rng.uniform(0.1, 3.0)]), rng.choice([0, rng.randrange(0, 10**13)])
        orders.append(
            replace(
                order,
                side=rng.choice([order.side] * 9 + ["buy", "sell"]),
                submitted=order.submitted + delay,
                ended=order.ended + delay,
                quantity=order.quantity * factor,
                executed=order.executed * factor,
                price=order.price * rng.choice([1.0, rng.uniform(0.98, 1.02)]),
                fee=order.fee * rng.choice([1.0, rng.uniform(0.0, 4.0)]),
            )
        )
    return seed, orders


def money(result: DiffResult) -> float:
    return max(1.0, abs(result.shadow_pnl), abs(result.live_pnl))


@settings(max_examples=examples(12), deadline=None)
@given(logs())
def test_the_causes_sum_to_the_difference_and_swapping_the_sides_mirrors_it(case):
    seed, orders = case
    run, bars = run_of(seed), bars_of(seed)
    log = log_recording(orders, run, bars, "orders-csv")
    there, back = diff(run, log), diff(log, run)
    for result in (there, back):
        steps = result.waterfall["amount"].tolist()
        assert math.isclose(math.fsum(steps[:-1]), steps[-1], rel_tol=0.0, abs_tol=1e-9 * money(result))
        ids = [order.order_id for pair in result.matches for order in pair.known]
        assert len(ids) == len(set(ids))
        assert all(0.0 < pair.confidence < 1.0 for pair in result.matches if pair.is_matched)
    assert math.isclose(there.live_pnl - there.shadow_pnl, back.shadow_pnl - back.live_pnl, rel_tol=1e-9)
    assert {(pair.shadow and pair.shadow.order_id, pair.live and pair.live.order_id) for pair in there.matches} == {
        (pair.live and pair.live.order_id, pair.shadow and pair.shadow.order_id) for pair in back.matches
    }


@pytest.mark.parametrize("form", mostly_long(WRITERS, 3))
@pytest.mark.parametrize("seed", mostly_long([0, 3], 1))
def test_the_log_of_a_run_agrees_with_the_run(seed, form):
    run = run_of(seed)
    result = diff(run, log_recording(orders_in(run.events), run, bars_of(seed), form))
    assert result.is_equal, result.verdict
    assert result.notes[0] == "the log holds no signals: causes before the order are `signal or timing`"
    assert all(pair.confidence > 0.98 for pair in result.matches)


@pytest.mark.long
@pytest.mark.parametrize("form", mostly_long(["ccxt", "kraken"], 1))
def test_the_log_of_a_session_has_the_causes_of_its_journal(form):
    shadow, live = example("example-shadow"), example("example-live")
    bars = {"BTC/USDT": sample_bars("BTC/USDT", n_bars=2_000)}
    by_journal = diff(shadow, live).waterfall.set_index("step")["amount"]
    result = diff(shadow, log_recording(orders_in(live.events), shadow, bars, form))
    by_log = result.waterfall.set_index("step")["amount"]
    assert math.isclose(by_log["live"], by_journal["live"], rel_tol=0.1)
    for name in ("fee", "slippage bias", "price or slippage"):
        assert math.isclose(by_log[name], by_journal[name], rel_tol=0.1), name
    assert math.isclose(by_log["timing"], by_journal["missed bar"], rel_tol=0.1)  # a log does not show the bars it had


@pytest.mark.parametrize("name", mostly_long(FAULTS, 3))
def test_a_planted_fault_is_the_only_root_and_has_its_cause(name):
    for seed in range(2):
        count = counted(*planted((name,), seed, "orders-csv"))
        assert (count.n_found, count.n_false, count.n_wrongly_explained) == (1, 0, 0), (name, seed)


@pytest.mark.long
def test_the_price_of_a_late_order_inside_of_a_bar_is_no_root_of_its_own():
    """Its arrival price is interpolated and nearly that of the run, but the market moved within the bar."""
    for seed in (21, 82):
        assert counted(*planted(("late order",), seed, "orders-csv")).is_perfect


@pytest.mark.long
@pytest.mark.parametrize("form", WRITERS)
def test_faults_are_found_in_every_format(form):
    for name, count in table(20, form).items():
        assert (count.n_found, count.n_wrongly_explained) == (count.n_planted, 0), (name, count)
        assert count.n_false <= 0.01 * count.n_planted, (name, count)


def test_other_costs_are_found_with_the_settings_that_remove_them():
    bars = bars_of(1)
    real = BacktestSettings.parse({"costs": {"fee_bps": 26.0, "slippage_bps": 9.0}}, "test")
    charged = backtest(MaCrossover(fast=5, slow=15), list(bars.values()), real)
    assumed = backtest(MaCrossover(fast=5, slow=15), list(bars.values()), BacktestSettings())
    run = recording_of(assumed, "assumed")
    result = diff(run, log_recording(orders_in(charged.events, 3_000_000_000), run, bars, "orders-csv"))
    assert {root.cause for root in result.roots} == {Cause.FEE, Cause.SLIPPAGE_BIAS, Cause.LATENCY_BIAS}
    assert "Set costs.fee_bps = 26 (now 10)" in result.advice
    bias = next(root.bias for root in result.roots if root.cause is Cause.SLIPPAGE_BIAS)
    assert bias is not None
    assert math.isclose(bias.suggested, 9.0, abs_tol=0.01)


@pytest.mark.long
def test_another_fraction_of_equity_is_one_root_and_named():
    bars = list(bars_of(1).values())
    of = {name: {"costs": {"max_participation": None}, "sizing": {"kind": "fraction_of_equity", "fraction": value}}
          for name, value in (("run", 0.4), ("log", 0.3))}  # fmt: skip
    runs = {
        name: backtest(MaCrossover(fast=5, slow=15), bars, BacktestSettings.parse(each, "test"))
        for name, each in of.items()
    }
    run = recording_of(runs["run"], "run")
    result = diff(run, log_recording(orders_in(runs["log"].events), run, bars_of(1), "orders-csv"))
    assert [root.cause for root in result.roots] == [Cause.SIZE]
    assert "sizing.fraction = 0.3 (now 0.4)" in result.advice


@pytest.mark.long
def test_fees_in_a_third_coin_are_named_and_not_compared_unless_its_bars_are_held():
    run, bars = run_of(0), bars_of(0)
    orders = [replace(order, fee=0.01, fee_currency="BNB") for order in orders_in(run.events)]
    cash = {"trading.initial_cash": 10_000.0}
    log = recording_of_log("log", written_and_read(orders, "orders-csv"), LogBars(bars, bars), cash, 10.0)
    result = diff(run, log)
    assert not [root for root in result.roots if root.cause is Cause.FEE]
    assert f"fees of {0.01 * len(orders):g} BNB are not converted: no bars of BNB are held" in " ".join(result.notes)
    held = LogBars(bars, bars, {"BNB": replace_symbol(bars["BTC/USDT"])})
    converted = diff(run, recording_of_log("log", written_and_read(orders, "orders-csv"), held, cash, 10.0))
    assert Cause.FEE in {root.cause for root in converted.roots}
    assert any("BNB are converted with the 1h closes of BNB/USDT" in note for note in converted.notes)


def replace_symbol(bars):
    return type(bars)(bars.frame, "BNB/USDT", bars.timeframe, bars.exchange)


@pytest.mark.long
def test_orders_of_a_symbol_without_bars_are_named():
    run, bars = run_of(0), bars_of(0)
    orders = orders_in(run.events)
    more = [replace(order, order_id=f"bnb-{n}", symbol="BNB/USDT") for n, order in enumerate(orders[:24])]
    result = diff(run, log_recording([*orders, *more], run, bars, "orders-csv"))
    assert result.is_equal
    assert "24 orders of BNB/USDT: no bars held" in result.notes
    with pytest.raises(SessionError, match=r"no order can be compared\. 24 orders of BNB/USDT: no bars held"):
        log_recording(more, run, bars, "orders-csv")


@pytest.mark.parametrize("hours", [8, -5])
def test_times_of_another_zone_are_recognised_by_the_prices(hours):
    run, bars = run_of(0), bars_of(0)
    shift = hours * 3_600 * 10**9
    orders = [
        replace(order, submitted=order.submitted + shift, ended=order.ended + shift) for order in orders_in(run.events)
    ]
    inner = [order for order in orders[5:-5] if order.symbol == "BTC/USDT"]
    notes = log_recording(inner, run, bars, "orders-csv").log.notes
    assert any(
        f"they fit if the times are those of UTC{hours:+d}, which the import has to know" in each for each in notes
    )


def test_orders_in_another_quote_currency_are_named():
    run, bars = run_of(0), bars_of(0)
    ratio = type(bars["BTC/USDT"])(bars["ETH/USDT"].frame, "ETH/BTC", bars["ETH/USDT"].timeframe, "sample")
    orders = orders_in(run.events)
    more = [replace(order, order_id=f"r-{n}", symbol="ETH/BTC") for n, order in enumerate(orders[:3])]
    held = LogBars({**bars, "ETH/BTC": ratio}, bars)
    log = recording_of_log("log", written_and_read([*orders, *more], "orders-csv"), held, {})
    assert "3 orders of ETH/BTC: not quoted in USDT, as the other symbols are" in log.log.notes


@pytest.mark.long
def test_a_freqtrade_database_is_compared_with_its_own_backtest():
    run, bars = run_of(2), bars_of(2)
    orders = clean_log(run, random.Random(2))
    simulated = log_recording(orders_in(run.events), run, bars, "freqtrade-backtest")
    assert {root.cause for root in diff(simulated, log_recording(orders, run, bars, "freqtrade")).roots} <= {
        Cause.LATENCY_BIAS
    }
    fault = wrong_size(orders, 12, random.Random(1), bars)
    result = diff(simulated, log_recording(orders, run, bars, "freqtrade"))
    assert [root.cause for root in result.roots if root.cause is not Cause.LATENCY_BIAS] == [fault.cause]
    assert result.advice.startswith("Largest cause: size or rounding")


@pytest.mark.parametrize("name", ["BTCUSDT", "btc-usdt", "BTC_USDT", "BTC/USDT:USDT"])
def test_a_symbol_is_found_under_the_names_of_exchanges(name):
    assert matching_symbol(name, ["ETH/USDT", "BTC/USDT"]) == "BTC/USDT"
    assert matching_symbol("BTC/EUR", ["BTC/USDT"]) == "BTC/EUR"


@pytest.fixture
def imported(registry: Path, monkeypatch, tmp_path: Path) -> str:
    """A workspace with bars, and the log of a backtest that paid 26 bps, imported as a session."""
    monkeypatch.chdir(tmp_path)
    bars = [sample_bars(symbol, n_bars=400) for symbol in ("BTC/USDT", "ETH/USDT")]
    for each in bars:
        save_bars(each)
    result = backtest(MaCrossover(fast=5, slow=15), bars, BacktestSettings.parse({"costs": {"fee_bps": 26.0}}, "test"))
    Path("trades.csv").write_text(as_csv(orders_in(result.events, 2_000_000_000)), encoding="utf-8")
    assert main(["audit", "import", "trades.csv", "--format", "orders-csv"]) == 0
    return session_ids()[0]


PARAMETERS = ["-p", "fast=5", "-p", "slow=15"]


@pytest.mark.long
def test_one_command_runs_the_backtest_of_a_log_and_names_what_to_set(imported, capsys):
    assert main(["diff", imported, "--strategy", "ma_crossover", *PARAMETERS]) == 1
    text = capsys.readouterr().out
    assert "Largest cause: fee" in text
    assert "Set costs.fee_bps = 26 (now 10) in the settings of backtest of ma_crossover." in text
    Path("run.toml").write_text("[costs]\nfee_bps = 26.0\n", encoding="utf-8")
    main(["diff", imported, "--strategy", "ma_crossover", *PARAMETERS, "--config", "run.toml"])
    assert "fee" not in capsys.readouterr().out.split("P&L attribution")[0].split("Roots")[1]


@pytest.mark.long
def test_the_initial_cash_is_that_of_the_user_of_the_run_file_or_of_the_log(registry, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    save_bars(sample_bars("BTC/USDT", n_bars=400))
    run = backtest(MaCrossover(fast=5, slow=15), sample_bars("BTC/USDT", n_bars=400), BacktestSettings())
    fills = WRITERS["nautilus"](tmp_path, orders_in(run.events))
    row = {"": "2020-01-01 00:00:00+00:00", "locked": "0", "free": "1", "account_id": "SIM-1"}
    nautilus.write(tmp_path, "account.csv", [row | {"total": "750", "currency": "USDT"},
                                             row | {"total": "3", "currency": "EUR"}])  # fmt: skip
    assert main(["audit", "import", str(fills), "account.csv"]) == 0
    assert "Balances before the first order: 3 EUR, 750 USDT." in capsys.readouterr().out
    (name,) = session_ids()
    cash = "trading.initial_cash"
    Path("costs.toml").write_text("[costs]\nfee_bps = 26.0\n", encoding="utf-8")
    Path("cash.toml").write_text("initial_cash = 5_000\n", encoding="utf-8")
    for stated, amount in (
        (LogStatements(), 750.0),
        (LogStatements("costs.toml"), 750.0),
        (LogStatements("cash.toml"), 5_000.0),
        (LogStatements("cash.toml", 40.0), 40.0),
    ):
        result = compare(name, stated=stated)
        assert result.live.recording.settings[cash] == amount
        assert any(note.startswith(f"initial cash {amount:,.2f} USDT, from") for note in result.notes)
    assert any("the log also starts with 3 EUR" in note for note in result.notes)
    backtested = backtest_of_log(read_log(find_session(name)), "ma_crossover", {}, LogStatements("costs.toml"))
    assert backtested.settings[cash] == 750.0


@pytest.mark.long
def test_a_log_is_compared_with_a_recorded_run_with_its_own_orders_and_with_itself(imported, capsys):
    assert main(["backtest", "--strategy", "ma_crossover", "--symbol", "BTC/USDT", "--symbol", "ETH/USDT", "--json",
                 *PARAMETERS]) == 0  # fmt: skip
    run_id = capsys.readouterr().out.split('"run_id": "')[1].split('"')[0]
    assert Cause.FEE in {root.cause for root in diff_runs(run_id, imported).roots}
    assert Cause.FEE in {root.cause for root in diff_runs(imported, run_id).roots}
    assert diff_runs(imported, imported).is_equal
    alone = compare(imported)
    assert alone.advice.startswith("Largest cause: fee")
    assert {root.cause for root in alone.roots} <= {Cause.FEE, Cause.PARTIAL_FILL}


@pytest.mark.long
def test_a_log_on_other_bars_than_those_of_its_time_is_refused(imported, tmp_path, capsys):
    cases = {
        ("diff", imported, "--timeframe", "5m"): "only at 1h|no bars|no order can be compared",
        ("diff", imported, "--strategy", "ma_crossover", "--timeframe", "4h"): "no 4h bars of",
        ("diff", imported, imported, "--strategy", "ma_crossover"): "Leave one of them out",
        ("diff", imported, "--exchange", "nope"): "no bars from exchange nope are held",
        ("diff", "example-live"): "is not an imported log",
        ("diff", imported, "--config", "missing.toml"): "missing.toml",
    }
    for arguments, expected in cases.items():
        assert main(list(arguments)) == 2, arguments
        error = capsys.readouterr().err
        assert error.count("\n") == 1, error
        assert any(each in error for each in expected.split("|")), error


def test_a_real_paper_log_is_compared_on_spot_bars(real_data: Path, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PEAK_TRADE_HOME", str(tmp_path / "home"))
    for coin in ("BTC", "ETH"):
        bars = read_bars(real_data / "bars" / f"binance_{coin}USDT_1h.parquet", f"{coin}/USDT", "1h")
        save_bars(bars.between("2021-12-01", "2022-02-01"))
    path = real_data / "orders" / "paper_session_binancefutures_2021-12.parquet"
    assert main(["audit", "import", str(path), "--format", "jesse", "--strategy", "OB5F_LS", "--json"]) == 0
    done = json.loads(capsys.readouterr().out)
    assert done["starting_balances"] == {"USDT": 200.0}
    assert all(balance["is_equal"] for balance in done["balances"])
    assert done["adds_up"]
    assert len(done["equities"]) == 17
    assert all(each["is_possible"] for each in done["equities"])
    equities = [each for each in done["equities"] if each["positions"]]
    assert [round(each["unrealised"], 2) for each in equities] == [2.17, -1.76, 3.72, 0.76]
    assert [len(each["bar_prices"]) for each in equities] == [1, 1, 0, 0]
    assert all("BNB/USDT" in each["implied_prices"] for each in equities)
    assert math.isclose(equities[2]["implied_prices"]["BNB/USDT"]["low"], 458.8814, rel_tol=1e-6)
    result = compare(session_ids()[0])
    assert len(result.live.histories) == 30
    assert "24 orders of BNB/USDT: no bars held" in result.notes
    assert sum(pair.is_matched for pair in result.matches) == len(result.matches)
    basis = [note for note in result.notes if "of their bar" in note]
    assert [note.partition(":")[0] for note in basis] == ["BTC/USDT", "ETH/USDT"]
    amounts = result.waterfall["amount"].tolist()
    assert math.isclose(math.fsum(amounts[:-1]), amounts[-1], abs_tol=1e-9)
    assert result.is_explained
    assert iso(min(result.live.close_times)).startswith("2021-12-28")


def test_the_answer_names_the_run_that_has_an_order_alone():
    result, _ = planted(("missing order",), 1, "orders-csv")
    assert "signal or timing" in result.advice
    assert result.advice.endswith("only the shadow run has an order there.")
