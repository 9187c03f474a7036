"""A sealed hold-out is loaded on purpose only, by every verb and function, and every opening stays on record."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import peak_trade as pt
from peak_trade.cli.app import run
from peak_trade.core.bars import Bars
from peak_trade.core.errors import DataError
from peak_trade.core.time import Timeframe, iso
from peak_trade.data.holdout import HOLDOUT_LOG, Holdout, admit, list_holdouts, seal
from peak_trade.data.resampling import resample, resample_stored
from peak_trade.data.sample import sample_bars
from peak_trade.data.store import load_bars, save_bars
from peak_trade.studies.holdout import holdout_state, seal_holdout
from tests.examples import mostly_long

PACKAGE = Path(pt.__file__).parent
BARS = sample_bars("BTC/USDT", n_bars=400)
HOUR = 3_600 * 10**9
SEALED_FROM = iso(int(BARS.times[300]))
NAME = {"symbol": "BTC/USDT", "timeframe": "1h"}


@pytest.fixture
def sealed(home) -> Holdout:
    save_bars(BARS)
    return seal_holdout("BTC/USDT", "1h", SEALED_FROM)


def hours_of(bars: Bars) -> set[int]:
    """The hours, by their close, that bars of whole hours are made of."""
    n = bars.timeframe.seconds // 3_600
    return {int(close) - k * HOUR for close in bars.times for k in range(n)}


@given(
    st.integers(0, 399), st.integers(1, 60), st.integers(0, 399), st.integers(1, 200), st.sampled_from([1, 2, 4, 24])
)
def test_bars_are_refused_if_and_only_if_they_share_an_hour_with_the_window(first, n, start, length, hours):
    window = Bars(BARS.frame.iloc[first : first + n], BARS.symbol, BARS.timeframe, BARS.exchange)
    coarse = BARS if hours == 1 else resample(BARS, f"{hours}h").bars
    inside = (coarse.times >= BARS.times[start]) & (coarse.times < BARS.times[0] + (start + length) * HOUR)
    if not inside.any():
        return
    loaded = Bars(coarse.frame[inside], coarse.symbol, coarse.timeframe, coarse.exchange)
    holdout = Holdout("sample", "BTC/USDT", "1h", int(window.times[0]), int(window.times[-1]), n, "", "", 0, 0)
    assert holdout.has_part_of(loaded) == bool(hours_of(window) & hours_of(loaded))


def test_a_span_that_ends_before_the_window_is_loaded_and_says_that_there_is_one(sealed):
    bars = load_bars("BTC/USDT", "1h", end=SEALED_FROM)
    assert len(bars) == 300
    assert bars.notes == (sealed.sentence,)
    assert sealed.sentence.endswith("never opened.")
    assert pt.backtest(pt.make_strategy("ma_crossover"), bars).remarks[0] == sealed.sentence


@pytest.mark.parametrize("start", [None, SEALED_FROM, iso(int(BARS.times[-1]))], ids=["whole", "window", "last bar"])
def test_a_span_with_a_sealed_bar_is_refused_without_an_opening(sealed, start):
    for _ in range(2):
        with pytest.raises(DataError, match=r"is sealed\. End at .*, or open it with --open-holdout"):
            load_bars("BTC/USDT", "1h", start=start)
    assert list_holdouts()[0].openings == ()


def test_the_window_is_sealed_at_every_bar_length_and_again_after_the_bars_were_removed(sealed):
    resample_stored("BTC/USDT", Timeframe.parse("1h"), Timeframe.parse("4h"))
    with pytest.raises(DataError, match="BTC/USDT 4h: the hold-out"):
        load_bars("BTC/USDT", "4h")
    assert run(["data", "remove", "--symbol", "BTC/USDT", "--timeframe", "1h"]) == 0
    save_bars(BARS)
    with pytest.raises(DataError, match="BTC/USDT 1h: the hold-out"):
        load_bars("BTC/USDT", "1h")


def test_every_opening_stays_with_its_purpose_and_its_span(sealed):
    assert len(load_bars("BTC/USDT", "1h", open_holdout="final test")) == 400
    with pt.opening_holdout("a second look"):
        load_bars("BTC/USDT", "1h", start=SEALED_FROM)
        load_bars("BTC/USDT", "1h")
    (held,) = list_holdouts()
    assert [(each.what, each.bars_were) for each in held.openings] == [
        ("final test", "unchanged"),
        ("a second look", "unchanged"),
    ]
    assert [iso(each.first) for each in held.openings] == [iso(int(BARS.times[0])), SEALED_FROM]
    assert "opened 2 times, first on" in load_bars("BTC/USDT", "1h", end=SEALED_FROM).notes[0]
    with pytest.raises(DataError, match="is sealed"):
        load_bars("BTC/USDT", "1h")


def test_an_opening_says_that_the_sealed_bars_were_changed_or_are_gone(sealed):
    changed = BARS.frame.copy()
    changed.iloc[350, :4] *= 1.01
    save_bars(Bars(changed, BARS.symbol, BARS.timeframe, BARS.exchange), replace=True)
    load_bars("BTC/USDT", "1h", open_holdout="one")
    assert list_holdouts()[0].openings[0].bars_were == "changed"
    assert "the sealed bars were changed." in list_holdouts()[0].sentence


def test_a_second_window_may_follow_the_first_and_not_overlap_it(home):
    save_bars(BARS)
    seal_holdout("BTC/USDT", "1h", SEALED_FROM, iso(int(BARS.times[350])))
    with pytest.raises(DataError, match="is sealed already"):
        seal_holdout("BTC/USDT", "1h", iso(int(BARS.times[349])))
    seal_holdout("BTC/USDT", "1h", iso(int(BARS.times[350])))
    assert [each.n_bars for each in list_holdouts()] == [50, 50]


def test_trials_on_the_window_before_its_seal_are_counted(home):
    save_bars(BARS)
    pt.backtest(pt.make_strategy("ma_crossover"), load_bars("BTC/USDT", "1h"))
    held = seal_holdout("BTC/USDT", "1h", SEALED_FROM)
    assert held.n_trials == 1
    assert "after 1 trial on its bars" in held.sentence


@pytest.mark.parametrize("line", [0, 1, 2])
def test_a_log_with_a_changed_line_refuses_every_load(sealed, home, line):
    load_bars("BTC/USDT", "1h", open_holdout="one")
    load_bars("BTC/USDT", "1h", open_holdout="two")
    path = home / HOLDOUT_LOG
    lines = path.read_bytes().splitlines(keepends=True)
    lines[line] = lines[line].replace(b"7", b"8", 1)
    path.write_bytes(b"".join(lines))
    for end in (None, SEALED_FROM):
        with pytest.raises(DataError, match=f"{HOLDOUT_LOG}: line .* of the log of hold-outs"):
            load_bars("BTC/USDT", "1h", end=end)


def test_a_log_that_was_cut_is_noticed_by_the_heads_in_run_records(registry, capsys):
    save_bars(BARS)
    seal_holdout("BTC/USDT", "1h", SEALED_FROM)
    bars = load_bars("BTC/USDT", "1h", open_holdout="one")
    pt.record(pt.backtest(pt.make_strategy("ma_crossover"), bars))
    assert holdout_state().faults == ()
    path = registry / HOLDOUT_LOG
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))
    assert run(["holdout", "status"]) == 1
    assert "1 recorded runs name a line of the log of hold-outs that is not in it" in capsys.readouterr().out


SPAN = ["--symbol", "BTC/USDT"]
RULE = ["--strategy", "ma_crossover"]
VERBS = {
    "backtest": ["backtest", *RULE, *SPAN, "--no-record"],
    "backtest after the window, warm": ["backtest", *RULE, *SPAN, "--start", iso(int(BARS.times[-2])), "--no-record"],
    "sweep": ["sweep", *RULE, *SPAN, "-p", "fast=5", "-p", "slow=20", "--no-record"],
    "portfolio": ["portfolio", "--config", "portfolio.toml", "--no-record"],
    "regime": ["regime", *RULE, *SPAN, "--detector", "rules", "--no-record"],
    "check": ["check", "strategy", "ma_crossover", *SPAN],
    "session": ["session", "run", *RULE, *SPAN, "--timeframe", "1h", "--feed", "recorded", "--quiet", "--no-record"],
    "rerun": ["runs", "rerun", "RUN"],
    "verify": ["runs", "verify", "RUN"],
    "export": ["runs", "export", "RUN", "--to", "exported"],
    "diff": ["diff", "RUN", "RUN"],
    "join": ["data", "join", "--symbol", "NEW/USDT", "--earlier", "BTC/USDT", "--ratio", "1", "--timeframe", "1h"],
    "report": ["report", "run", "strategy_backtest", "-p", "symbol=BTC/USDT"],
}
"""A command of every verb that loads stored bars, on a data set whose end is sealed."""
PORTFOLIO = """
exchange = "sample"
timeframe = "1h"
[[strategies]]
name = "ma_crossover"
symbol = "BTC/USDT"
"""


@pytest.fixture
def sealed_after_a_run(registry, tmp_path, monkeypatch) -> str:
    """A workspace with a recorded run on bars of which the last quarter was sealed afterwards; the id of the run."""
    root = PACKAGE.parent
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notebooks").symlink_to(root / "notebooks")
    (tmp_path / "portfolio.toml").write_text(PORTFOLIO)
    save_bars(BARS)
    later = BARS.frame.iloc[380:]
    save_bars(Bars(later, "NEW/USDT", BARS.timeframe, BARS.exchange))
    run_id = pt.record(pt.backtest(pt.make_strategy("ma_crossover"), load_bars("BTC/USDT", "1h")))
    seal_holdout("BTC/USDT", "1h", SEALED_FROM)
    return run_id


@pytest.mark.parametrize("name", mostly_long(VERBS, 1))
def test_every_verb_refuses_a_sealed_span_in_one_line_and_opens_it_on_request(name, sealed_after_a_run, capsys):
    given = [sealed_after_a_run if word == "RUN" else word for word in VERBS[name]]
    assert run(given) == 2
    refused = capsys.readouterr()
    assert refused.out == ""
    (line,) = [each for each in refused.err.splitlines() if "note:" not in each]
    assert "is sealed. End at" in line
    assert all(each.openings == () for each in list_holdouts())
    if name == "report":  # a kernel takes seconds
        return
    assert run([*given, "--open-holdout"]) in (0, 1) or name == "regime"  # too few bars, and opened all the same
    (held,) = list_holdouts()
    assert [each.what.split(" ")[:2] for each in held.openings] == [["peak-trade", given[0]]]


def test_a_check_of_the_store_leaves_sealed_bars_out(sealed, capsys):
    assert run(["data", "check"]) == 0
    out = capsys.readouterr().out
    assert "300 bars of 1h" in out
    assert "Not checked: bars from" in out
    assert list_holdouts()[0].openings == ()
    assert run(["data", "check", "--open-holdout"]) == 0
    assert "400 bars of 1h" in capsys.readouterr().out
    assert len(list_holdouts()[0].openings) == 1


READERS = {
    "data/fetching.py",  # compares downloaded bars with stored ones
    "data/holdout.py",  # the digest of the sealed bars
    "data/quality.py",  # admits what it reads
    "data/resampling.py",  # from the store into the store, where the window is sealed at every timeframe
    "data/series.py",
    "data/store.py",  # `load_bars` and `join_earlier` admit what they read
    "studies/holdout.py",  # the bars that are being sealed
}


@pytest.mark.long
def test_no_other_module_reads_bars_without_admission():
    found = set()
    for path in PACKAGE.rglob("*.py"):
        if "read_" not in path.read_text():
            continue
        calls = {node.func.id for node in ast.walk(ast.parse(path.read_text()))
                 if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}  # fmt: skip
        if calls & {"read_file", "read_bars"}:
            found.add(path.relative_to(PACKAGE).as_posix())
    assert found == READERS


@pytest.mark.long
def test_a_recorded_session_names_the_hold_out_of_its_bars(registry, capsys):
    save_bars(BARS)
    sealed = seal_holdout("BTC/USDT", "1h", SEALED_FROM)
    given = ["session", "run", *RULE, *SPAN, "--timeframe", "1h", "--feed", "recorded", "--quiet"]
    assert run([*given, "--end", SEALED_FROM]) == 0
    assert sealed.sentence in capsys.readouterr().out
    (session,) = (registry / "sessions").glob("2*")
    assert run(["session", "show", session.name]) == 0
    assert sealed.sentence in " ".join(capsys.readouterr().out.split())


def test_seal_and_status_show_the_commitment_and_bad_input_is_one_line(home, capsys):
    save_bars(BARS)
    given = ["holdout", "seal", "--symbol", "BTC/USDT", "--timeframe", "1h"]
    for wrong, line in (
        (["--start", "2099-01-01"], "no bar lies in the requested span"),
        (["--start", "tomorrow"], "write a UTC date"),
        (["--start", "2023-01-02", "--end", "2023-01-01"], "start must be before end"),
    ):
        assert run([*given, *wrong]) == 2
        assert line in capsys.readouterr().err
        assert list_holdouts() == []
    assert run([*given, "--start", SEALED_FROM, "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert run(["holdout", "status", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["holdouts"] == [made]
    assert made["commitment"] == list_holdouts()[0].commitment
    assert run(["holdout", "status"]) == 0
    assert made["commitment"] in capsys.readouterr().out


def test_admission_of_bars_without_a_hold_out_changes_nothing(home):
    assert admit(BARS) is BARS
    window = Bars(BARS.frame.iloc[:10], "ETH/USDT", BARS.timeframe, BARS.exchange)
    seal(window, 0)
    assert admit(BARS) is BARS
    assert np.array_equal(admit(BARS).times, BARS.times)
