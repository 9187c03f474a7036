"""A session checks a user's strategy for look-ahead at its start, and says so in its manifest, record and pages."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from peak_trade.causality import short
from peak_trade.cli import main
from peak_trade.core.causality import CausalityVerdict, outcomes_of
from peak_trade.data.sample import sample_bars, save_samples
from peak_trade.journal.files import read_events, read_manifest
from peak_trade.reports.views import diff as diff_view
from peak_trade.sessions.config import SessionConfig
from peak_trade.sessions.feeds.base import bar_events
from peak_trade.sessions.options import make_config
from peak_trade.sessions.parts import check_strategies
from peak_trade.sessions.run import run_session
from peak_trade.studies.diff import diff_runs
from peak_trade.studies.recording import session_record
from tests.causality.planted import NegativeShift

ASKED = {
    "mode": "paper",
    "strategy": "tests.causality.planted:NegativeShift",
    "symbol": "BTC/USDT",
    "timeframe": "1h",
    "exchange": "sample",
    "feed": "recorded",
    "duration": 48 * 3_600,
    "pace": None,
    "start": "2023-02-01",
    "end": "2023-03-01",
    "follow": None,
}


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    short._known.clear()
    yield
    short._known.clear()


def config(**changes: object) -> SessionConfig:
    return make_config(ASKED | changes, {}, None, None)


@pytest.mark.long
@pytest.mark.usefixtures("home")
def test_a_session_says_that_its_strategy_looks_ahead_and_does_not_depend_on_the_check(
    capsys: pytest.CaptureFixture[str],
) -> None:
    save_samples()
    notes: list[str] = []
    checked = run_session(config(), on_note=notes.append)
    assert notes[0].startswith("negative_shift LOOKS AHEAD")
    assert notes[0] in checked.notes
    (outcome,) = outcomes_of(read_manifest(checked.folder))
    assert outcome.verdict is CausalityVerdict.LOOKS_AHEAD
    assert session_record(checked.folder).notes["causality_verdict"] == "looks ahead"
    assert main(["session", "show", checked.folder.name]) == 0
    assert "negative_shift LOOKS AHEAD" in " ".join(capsys.readouterr().out.split())

    sides = diff_runs(checked.folder.name, checked.folder.name)
    assert diff_view.outcome(sides)[-1] == notes[0]

    short._known.clear()
    unchecked = run_session(config(), causality_check=False)
    assert unchecked.notes[0] == "negative_shift was not checked for look-ahead: the check was switched off."
    digests = [read_manifest(each.folder)["digests"] for each in (checked, unchecked)]
    assert digests[0] == digests[1]
    fills = [[event for event in read_events(each.folder) if event.kind == "fill"] for each in (checked, unchecked)]
    assert fills[0] == fills[1]


def test_a_live_session_is_checked_on_its_history_or_on_generated_bars() -> None:
    live, strategy = config(feed="live", exchange="binance", start=None, end=None), NegativeShift()
    history = bar_events(sample_bars("BTC/USDT", n_bars=200))
    (outcome,) = check_strategies(live, [strategy], None, history, is_wanted=True)
    assert outcome.verdict is CausalityVerdict.LOOKS_AHEAD
    assert "generated" not in outcome.sentence
    short._known.clear()
    (outcome,) = check_strategies(live, [strategy], None, history[:10], is_wanted=True)
    assert outcome.verdict is CausalityVerdict.LOOKS_AHEAD
    assert outcome.sentence.endswith("The bars were generated, because the session starts with too few.")


@pytest.mark.parametrize("recorded", [None, [], ["x"], [{"verdict": "splendid"}], [{"sentence": "x"}]])
def test_a_malformed_outcome_is_left_out(recorded: object) -> None:
    manifest = {} if recorded is None else {"causality": recorded}
    assert outcomes_of(json.loads(json.dumps(manifest))) == []
