"""The evidence of an edge of a session follows from its journal, and its settings are fixed before the first bar."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

import peak_trade as pt
from peak_trade.cli.app import run
from peak_trade.core.errors import ConfigError
from peak_trade.data.sample import sample_bars
from peak_trade.data.store import save_bars
from peak_trade.data.workspace import workspace_at
from peak_trade.journal.events import BarEvent
from peak_trade.journal.files import read_events, read_manifest
from peak_trade.metrics.e_values import EdgeTest, e_values
from peak_trade.sessions import edge
from peak_trade.sessions.audit import audited_sessions
from peak_trade.sessions.config import SessionConfig
from peak_trade.sessions.edge import e_value_of, edge_from_events, edge_of
from peak_trade.sessions.options import edge_test
from peak_trade.sessions.store import config_of, find_session, session_ids, sessions_folder

BARS = sample_bars("BTC/USDT", n_bars=400)
CONFIG = {"mode": "paper", "strategy": "ma_crossover", "parameters": {"fast": 3, "slow": 10}, "symbol": "BTC/USDT",
          "timeframe": "1h", "exchange": "sample", "feed": "recorded", "evaluation": "whole"}  # fmt: skip


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A workspace with a session that declares its test."""
    home = tmp_path_factory.mktemp("template") / "home"
    with workspace_at(home):
        save_bars(BARS)
        pt.run_session(SessionConfig.parse(CONFIG, "test"), edge_test=EdgeTest(claimed_sharpe=2.0))
    return home


@pytest.fixture
def folder(recorded, home):
    shutil.copytree(recorded, home)
    return find_session(session_ids()[0])


def test_the_returns_are_those_of_the_same_backtest_less_the_benchmark_of_earlier_bars(folder):
    found = edge_of(folder)
    plain = pt.backtest(pt.make_strategy("ma_crossover", {"fast": 3, "slow": 10}), BARS)
    equity, closes = plain.equity_values, BARS.frame["close"].to_numpy()
    exposure = plain.exposure.to_numpy()
    held = np.array([exposure[:bar].mean() for bar in range(1, len(BARS))])
    excess = equity[1:] / equity[:-1] - 1.0 - held * (closes[1:] / closes[:-1] - 1.0)
    np.testing.assert_allclose(found.excess, excess, rtol=0.0, atol=1e-12)
    np.testing.assert_array_equal(found.times, BARS.times[1:])
    assert found.test.claimed_sharpe == 2.0
    np.testing.assert_allclose(
        found.e_values.values, e_values(excess, found.test, BARS.timeframe.bars_per_year).values, rtol=1e-9
    )


@pytest.mark.long
def test_the_settings_are_in_the_signed_manifest_and_the_benchmark_may_be_fixed(folder):
    declared = read_manifest(folder)["edge_test"]
    assert EdgeTest.parse(declared, "x") == EdgeTest(claimed_sharpe=2.0)
    fixed = edge_from_events(read_events(folder), config_of(folder), EdgeTest(benchmark_exposure=0.5))
    assert (fixed.exposure == 0.5).all()


def test_a_value_does_not_change_with_later_events(folder):
    events, config = read_events(folder), config_of(folder)
    whole = edge_from_events(events, config, EdgeTest())
    places = [place for place, event in enumerate(events) if isinstance(event, BarEvent)]
    for n in (2, 50, 200):
        part = edge_from_events(events[: places[n]], config, EdgeTest())
        assert len(part.times) == n - 1
        np.testing.assert_array_equal(part.e_values.values, whole.e_values.values[: n - 1])


@pytest.mark.long
def test_a_loss_beyond_the_bound_is_booked_and_ends_the_test(folder):
    events, config = read_events(folder), config_of(folder)
    test = EdgeTest(loss_bound=0.001)
    found = edge_from_events(events, config, test)
    assert found.e_values.value == 0.0
    assert "e = 0 for good. The assumption of the test was broken" in found.sentence
    assert found.sentence.endswith("more than the bound of 0.1%.")


@pytest.mark.long
def test_a_session_over_stored_bars_is_no_evidence_and_shows_no_value_in_the_list(folder, capsys):
    assert edge_of(folder).sentence.endswith("The bars were stored before the session started, so this is no evidence.")
    assert e_value_of(folder) is None
    assert replace(edge_of(folder), is_recorded=False).sentence.endswith("expected after about 1.5 years.")
    assert run(["session", "list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["e"] is None


@pytest.mark.long
def test_the_journal_is_read_exactly_if_its_value_counts(folder, monkeypatch):
    read = []
    stream = edge.stream_events
    monkeypatch.setattr(edge, "stream_events", lambda folder: read.append(folder) or stream(folder))
    assert e_value_of(folder) is None
    assert not read
    monkeypatch.setattr(edge, "_has_stored_bars", lambda config: False)
    assert e_value_of(folder) == edge_of(folder).e_values.value
    assert read == [folder, folder]


@pytest.mark.long
def test_the_value_is_shown_where_the_session_is(registry, capsys):
    save_bars(BARS)
    given = ["session", "run", "--feed", "recorded", "--symbol", "BTC/USDT", "--timeframe", "1h", "--quiet"]
    assert run([*given, "--claimed-sharpe", "2", "--loss-bound", "0.5"]) == 0
    assert "Evidence of an edge: e = " in capsys.readouterr().out
    (folder,) = sessions_folder().glob("2*")
    assert run(["session", "show", folder.name, "--json"]) == 0
    shown_edge = json.loads(capsys.readouterr().out)["edge"]
    assert (shown_edge["threshold"], shown_edge["n_bars"]) == (20.0, 399)
    assert shown_edge["settings"]["loss_bound"] == 0.5
    assert audited_sessions()[0][0].edge == shown_edge["sentence"]
    shown = pt.list_runs(run_type="paper").iloc[0]["run_id"]
    assert pt.show_run(shown)[shown]["tag", "note.edge"] == shown_edge["sentence"]


@pytest.mark.parametrize(
    "words",
    [["--claimed-sharpe", "0"], ["--loss-bound", "2"], ["--benchmark-exposure", "99"]],
    ids=" ".join,
)
def test_bad_settings_are_one_line(words, home, capsys):
    save_bars(BARS)
    given = ["session", "run", "--feed", "recorded", "--symbol", "BTC/USDT", "--timeframe", "1h", "--quiet"]
    assert run([*given, *words]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if "note:" not in line]
    assert len(lines) == 1
    assert lines[0].startswith("peak-trade: evidence of an edge: ")
    with pytest.raises(ConfigError):
        edge_test(-1.0, None, None)


def test_a_session_without_the_declaration_has_no_evidence(folder):
    manifest = folder / "manifest.json"
    content = json.loads(manifest.read_text())
    del content["edge_test"]
    manifest.write_text(json.dumps(content))
    assert edge_of(folder) is None
