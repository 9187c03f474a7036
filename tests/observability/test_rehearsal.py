"""Rehearsal: a session with planted troubles fires their alerts at the right times, and a quiet one fires none."""

from __future__ import annotations

import json
import re
import shutil

import pandas as pd
import pytest

from peak_trade.cli import main
from peak_trade.core.bars import Bars
from peak_trade.core.time import to_ns
from peak_trade.data.store import save_bars
from peak_trade.journal.events import SessionEvent, SessionPhase
from peak_trade.observability import rehearsal
from peak_trade.observability.recorded import example, read_recorded
from peak_trade.observability.rehearsal import rehearse, rehearse_alerts
from peak_trade.sessions.store import latest_session, sessions_folder
from tests.examples import mostly_long
from tests.observability import programs
from tests.observability.alert_cases import OBSERVABILITY, alerts
from tests.observability.troubled import CONFIG, GAP, N_BARS, RUN, troubled_bars
from tests.replacing import replace

SECOND = pd.Timedelta(seconds=1)


def record(home, monkeypatch, tmp_path, bars):
    """Record a session over bars and return its id."""
    monkeypatch.chdir(tmp_path)
    save_bars(bars)
    (tmp_path / "troubled.toml").write_text(CONFIG, encoding="utf-8")
    assert main(RUN) == 0
    return latest_session()


@pytest.fixture
def troubled(home, monkeypatch, tmp_path):
    return record(home, monkeypatch, tmp_path, troubled_bars())


def fired(done):
    return sorted({firing.alert for firing in done.firings})


@pytest.mark.long
@programs.needs("promtool")
def test_planted_troubles_fire_their_alerts_and_no_others(troubled, capsys):
    assert main(["alerts", "rehearse", troubled, "--json"]) == 1
    shown = json.loads(capsys.readouterr().out)
    assert {each["alert"] for each in shown["firings"]} == {
        "PeakTradeDailyLoss",
        "PeakTradeDenialBurst",
        "PeakTradeDrawdown",
        "PeakTradeFeedStale",
        "PeakTradeOrderLatency",  # of the order that was decided before the gap and filled after it
    }
    assert shown["alerts"] == list(alerts())


@pytest.mark.long
@programs.needs("promtool")
def test_a_stale_feed_fires_when_its_rule_says_so(troubled):
    """The newest bar is older than two bars from two minutes after it, for 30 s, until the next bar."""
    done = rehearse_alerts(troubled)
    (firing,) = [firing for firing in done.firings if firing.alert == "PeakTradeFeedStale"]
    newest = pd.Timestamp("2024-01-01 00:01", tz="UTC") + (GAP.start - 1) * 60 * SECOND
    assert firing.fired == to_ns(newest + (120 + 15 + 30) * SECOND)
    assert firing.resolved == to_ns(newest + (len(GAP) + 1) * 60 * SECOND)
    assert done.n_evaluations == N_BARS * 4 - 4 + 2


@pytest.mark.long
@programs.needs("promtool")
def test_speed_stretches_the_rules_and_not_the_session(troubled):
    """At ten times the speed, an evaluation is 150 s of the session, and 30 s of a rule are 300 s."""
    done = rehearse_alerts(troubled, 10.0)
    (firing,) = [firing for firing in done.firings if firing.alert == "PeakTradeFeedStale"]
    newest = pd.Timestamp("2024-01-01 00:01", tz="UTC") + (GAP.start - 1) * 60 * SECOND
    first_stale = done.start + -(-(to_ns(newest + 121 * SECOND) - done.start) // to_step(150)) * to_step(150)
    assert firing.fired == first_stale + 2 * to_step(150)


def to_step(seconds):
    return seconds * 1_000_000_000


@pytest.mark.long
@programs.needs("promtool")
def test_a_quiet_session_fires_nothing(home, monkeypatch, tmp_path, capsys):
    bars = troubled_bars()
    part = Bars(bars.frame.iloc[: GAP.start], bars.symbol, bars.timeframe, bars.exchange)
    session = record(home, monkeypatch, tmp_path, part)
    capsys.readouterr()
    assert main(["alerts", "rehearse", session]) == 0
    assert "No alert fires." in capsys.readouterr().out


@pytest.mark.long
@programs.needs("promtool")
def test_an_interrupted_session_is_down_and_a_resumption_resolves_it(troubled):
    recorded = read_recorded(troubled)
    assert "PeakTradeSessionDown" not in fired(rehearse(recorded, 10.0))
    cut = replace(read_recorded(troubled), is_sealed=False, is_interrupted=True)
    assert "PeakTradeSessionDown" in fired(rehearse(cut, 10.0))

    resumed = read_recorded(troubled)
    place = next(place for place, each in enumerate(resumed.events) if each.known > resumed.start + to_step(6_000))
    known = resumed.events[place].known
    event = SessionEvent(known, SessionPhase.RESUMED, "paper", "", 10_000.0)
    events = list(resumed.events)
    events.insert(place, resumed.events[place]._replace(event=event))
    (firing,) = [
        firing for firing in rehearse(replace(resumed, events=events)).firings if firing.alert == "PeakTradeSessionDown"
    ]
    assert firing.resolved == known


@pytest.mark.long
@programs.needs("promtool")
def test_the_rules_of_another_folder_are_evaluated(tmp_path):
    (tmp_path / "own.yml").write_text(
        "groups:\n- name: own\n  rules:\n  - alert: Always\n    expr: up == 1\n", encoding="utf-8"
    )
    done = rehearse(example(), 240.0, tmp_path)
    assert (done.alerts, len(done.firings), done.firings[0].resolved) == (("Always",), 1, None)
    assert done.duration(done.firings[0]) == (done.end - done.start) / 1e9


@pytest.mark.long
@programs.needs("promtool")
def test_wrong_rules_are_one_line(tmp_path, capsys):
    (tmp_path / "own.yml").write_text("groups:\n- name: own\n  rules:\n  - alert: A\n    expr: up ==\n")
    assert main(["alerts", "rehearse", "example", "--rules", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("peak-trade: promtool refused the rules: ")
    assert error.count("\n") == 1
    assert "own.yml" in error


def test_without_promtool_the_error_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert main(["alerts", "rehearse", "example", "--speed", "10000"]) == 2
    assert "promtool is not on PATH. Install Prometheus" in capsys.readouterr().err


def test_bad_input_is_one_line(home, tmp_path, capsys):
    for arguments, message in (
        (["no-such-session"], "there is no session no-such-session"),
        (["no-such-session"], "Known: example."),
        (["exampel"], "Did you mean example?"),
        (["example", "--speed", "0.5"], "speed was 0.5. Give at least 1"),
        (["example", "--speed", "nan"], "speed was nan"),
        (["example", "--rules", str(tmp_path)], "has no rule file *.yml"),
    ):
        assert main(["alerts", "rehearse", *arguments]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1


@pytest.mark.parametrize("most", mostly_long([10, 77, 1_000], 1))
def test_a_speed_that_is_too_low_names_the_lowest_whole_one_that_works(monkeypatch, capsys, most):
    monkeypatch.setattr(rehearsal, "MOST_EVALUATIONS", most)
    monkeypatch.setattr(shutil, "which", lambda name: None)

    def refusal(speed):
        assert main(["alerts", "rehearse", "example", "--speed", f"{speed}"]) == 2
        return capsys.readouterr().err

    least = int(re.search(r"are the most\. Give ([0-9,]+) or more\.", refusal(1))[1].replace(",", ""))
    assert "promtool is not on PATH" in refusal(least)
    assert f"Give {least:,} or more." in refusal(least - 1)


def test_a_changed_journal_is_not_rehearsed(troubled, capsys):
    path = sessions_folder() / troubled / "events.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"side":"buy"', b'"side":"sell"', 1))
    capsys.readouterr()
    assert main(["alerts", "rehearse", troubled]) == 2
    assert "it is not rehearsed" in capsys.readouterr().err


@pytest.mark.long
def test_series_keep_gaps_and_runs():
    recorded = example()
    series = rehearsal._Series()
    samples = list(rehearsal._scrapes(recorded, recorded.start, to_step(3_600), 200))
    for each in samples:
        series.add(recorded, each)
    texts = {each["series"]: each["values"] for each in series.texts()}
    assert texts['up{instance="exporter:9108",job="peak_trade"}'] == "1.0x199"
    ages = next(value for name, value in texts.items() if name.startswith("peak_trade_feed_age_seconds"))
    assert ages.startswith("0.0x119 3600.0 7200.0")
    assert sum(map(length, ages.split())) == 200


def length(text):
    return int(text.partition("x")[2] or 0) + 1


def test_the_default_rules_are_those_of_the_package(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert rehearsal._rule_files(None) == sorted((OBSERVABILITY / "rules").glob("*.yml"))
    own = tmp_path / "config" / "observability" / "rules"
    own.mkdir(parents=True)
    (own / "mine.yml").touch()
    assert [path.name for path in rehearsal._rule_files(None)] == ["mine.yml"]


@pytest.mark.long
@programs.needs("promtool")
def test_alerts_see_the_recording_rules_of_their_own_evaluation_in_any_order_of_files(tmp_path):
    rules = tmp_path / "rules"
    rules.mkdir()
    for alert, group in (("Before", "a"), ("After", "z")):
        (rules / f"{group}.yml").write_text(
            f"groups: [{{name: {group}, rules: [{{alert: {alert}, expr: noted >= 1}}]}}]\n", encoding="utf-8"
        )
    recorded = "groups: [{name: m, rules: [{record: noted, expr: peak_trade_order_denials_total}]}]\n"
    (rules / "m.yml").write_text(recorded, encoding="utf-8")
    for _ in range(2):
        first, second = rehearse_alerts("example", 960.0, rules).firings[:2]
        assert {first.alert, second.alert} == {"Before", "After"}
        assert first.fired == second.fired
