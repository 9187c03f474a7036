"""The command: sessions and backtests by name, exit codes, JSON, and runs that cannot be compared."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime

import pytest

from peak_trade.cli import main
from peak_trade.core.time import to_ns
from peak_trade.data.sample import sample_bars
from peak_trade.data.store import save_bars
from peak_trade.journal.files import EVENTS
from peak_trade.sessions.store import find_session, session_ids
from peak_trade.studies.diff import read_recording

RUN = ["session", "run", "--feed", "recorded", "--timeframe", "1h", "--quiet", "--no-record", "-p", "slow=15"]
BTC = ["--symbol", "BTC/USDT"]


def session(capsys, *options: str, fast: str = "5") -> str:
    known = set(session_ids())
    assert main([*RUN, "-p", f"fast={fast}", *options]) == 0
    capsys.readouterr()
    (made,) = set(session_ids()) - known
    return made


@pytest.mark.long
def test_a_session_agrees_with_the_backtest_over_its_bars_and_with_itself(stored, capsys):
    name = session(capsys, *BTC)
    assert main(["backtest", "--strategy", "ma_crossover", *BTC, "-p", "fast=5", "-p", "slow=15", "--json"]) == 0
    run_id = json.loads(capsys.readouterr().out)["run_id"]
    assert main(["diff", name, name]) == 0
    assert "The runs agree." in capsys.readouterr().out
    assert main(["diff", run_id[:10], name, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["agree"]
    assert found["differences"] == []
    assert found["orders"]["matched"] > 5
    assert found["pnl_attribution"]["zone"] == "green"
    assert found["parity"] == found["pnl_attribution"]
    assert found["orders"]["by_sight"] == found["orders"]["heuristic_matches"]
    assert found["shadow"]["name"] == run_id


@pytest.mark.long
def test_a_different_fee_is_the_root_and_the_exit_code_is_1(stored, capsys, tmp_path):
    (tmp_path / "fee.toml").write_text("[costs]\nfee_bps = 30.0\n", encoding="utf-8")
    one, other = session(capsys, *BTC), session(capsys, *BTC, "--config", "fee.toml")
    assert main(["diff", one, other]) == 1
    assert "trading.costs.fee_bps" in capsys.readouterr().out
    assert main(["diff", one, other, "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert [(each["cause"], each["kind"]) for each in found["differences"] if each["is_root"]] == [("fee", "setting")]
    amounts = [step["amount"] for step in found["waterfall"]]
    assert sum(amounts[:-1]) == pytest.approx(amounts[-1], abs=1e-6)


def test_different_parameters_are_a_root_if_one_run_never_trades(stored, capsys):
    one = session(capsys, *BTC, "--end", "2023-01-08")
    never = session(capsys, *BTC, "--end", "2023-01-01T10:00", fast="6")
    assert main(["diff", one, never, "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    roots = [(each["cause"], each["subject"]) for each in found["differences"] if each["is_root"]]
    assert ("configuration", "parameters.fast") in roots
    assert not [root for root in roots if root[0] == "code version"]


def test_a_name_in_an_empty_workspace_is_told_that_there_are_no_runs(home, capsys):
    assert main(["diff", "nobody", "example-live"]) == 2
    assert capsys.readouterr().err == (
        "peak-trade: nobody is neither a session nor a recorded backtest. There are no sessions. Of the backtests: "
        "there are no runs yet; a backtest records the first one.\n"
    )


@pytest.mark.long
def test_runs_that_cannot_be_compared_exit_with_code_2_and_a_reason(stored, capsys):
    one = session(capsys, *BTC)
    eth = session(capsys, "--symbol", "ETH/USDT")
    early = session(capsys, *BTC, "--end", "2023-01-05")
    assert main(["diff", one, eth]) == 2
    assert "trades BTC/USDT" in capsys.readouterr().err
    assert main(["diff", one, "nobody"]) == 2
    assert "nobody is neither a session" in capsys.readouterr().err
    for nothing in ("", " "):
        assert main(["diff", one, nothing]) == 2
        assert "the name of a run was empty" in capsys.readouterr().err
    assert main(["diff", one, early, "--tolerance-bps", "-1"]) == 2
    capsys.readouterr()
    path = find_session(eth) / EVENTS
    path.write_bytes(path.read_bytes().replace(b'"exposure":1.0', b'"exposure":0.5', 1))
    assert main(["diff", eth, eth]) == 2
    assert "the journal is edited" in capsys.readouterr().err


@pytest.mark.long
def test_a_backtest_on_other_bars_than_recorded_is_rejected(stored, capsys):
    assert main(["backtest", "--strategy", "ma_crossover", *BTC, "--json"]) == 0
    run_id = json.loads(capsys.readouterr().out)["run_id"]
    assert main(["diff", run_id, run_id]) == 0
    capsys.readouterr()
    shutil.rmtree(stored / "bars")
    save_bars(sample_bars("BTC/USDT", n_bars=400, seed=99))
    assert main(["diff", run_id, run_id]) == 2
    assert "2023-01-01 01:00:00Z to 2023-01-17 17:00:00Z are not the recorded ones" in capsys.readouterr().err


START = ["--start", "2023-01-08"]


@pytest.mark.long
@pytest.mark.parametrize("start", [START, [*START, "--cold"]], ids=["warm", "cold"])
def test_a_backtest_from_a_start_is_run_again_as_warm_as_it_was(stored, capsys, start):
    words = ["backtest", "--strategy", "ma_crossover", *BTC, "-p", "fast=5", "-p", "slow=60", *start, "--json"]
    assert main(words) == 0
    backtest = json.loads(capsys.readouterr().out)
    rerun = read_recording(backtest["run_id"])
    signals = [event.ts_event for event in rerun.events if event.kind == "signal"]
    assert (min(signals) == to_ns(datetime(2023, 1, 8, tzinfo=UTC))) == ("--cold" not in start)
    assert main(["diff", backtest["run_id"], backtest["run_id"]]) == 0


@pytest.mark.long
def test_a_warm_backtest_agrees_with_the_session_from_the_same_start(stored, capsys):
    start = [*BTC, *START]
    name = session(capsys, *start)
    words = ["backtest", "--strategy", "ma_crossover", *start, "-p", "fast=5", "-p", "slow=15", "--json"]
    assert main(words) == 0
    run_id = json.loads(capsys.readouterr().out)["run_id"]
    assert main(["diff", run_id, name]) == 0
