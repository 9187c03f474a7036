"""`risk explain` names unreadable inputs and detects changed records."""

import json
import math
import shutil
from pathlib import Path

import pytest

from peak_trade.cli import main
from peak_trade.core.errors import ConfigError, SessionError
from peak_trade.core.values import Denial
from peak_trade.reports.views.risk import headroom_over_time
from peak_trade.risk.codes import DenialCode
from peak_trade.risk.limits import RiskLimits
from peak_trade.studies.risk.decisions import DECISIONS, decisions_in, explain, find_decision, headroom, keep_decisions
from peak_trade.wiring.gates import GATES
from tests.replacing import replace
from tests.risk.cases import ACCOUNT, CASES, MARKET, ORDER
from tests.risk.runs import decisions, run

RECORDED = sorted(Path(__file__).with_name("recorded").glob("version_*/*"))
"""Decisions of two runs in each earlier version of the format; never record them again."""

GATE = {gate.code: gate for gate in GATES}
LIMITS = {"max_order_notional": 6_000.0, "var": {"max_var": 0.02, "n_days": 400, "refuse_red_zone": False}}


@pytest.fixture(scope="module")
def result():
    return run(LIMITS | {"size_to_limits": True}, (0.5, 0.0, 1.0, 0.0))


@pytest.fixture(scope="module")
def unread():
    """A run whose declared history has fewer days than `min_days`."""
    short = {"max_var": 0.02, "min_days": 430, "n_days": 500, "refuse_red_zone": False}
    return run(LIMITS | {"var": short})


def refused(capsys, *arguments: str) -> str:
    """Return the line that a command prints when it exits 2."""
    assert main(list(arguments)) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "Traceback" not in printed.err
    assert len(printed.err.strip().splitlines()) == 1
    return printed.err


def test_a_reading_of_an_unreadable_input_has_the_limit_and_a_reason(unread):
    readings = {reading.code: reading for reading in explain(decisions(unread)[0]).readings}
    var = readings[DenialCode.VALUE_AT_RISK]
    assert var.is_denied
    assert math.isnan(var.observed)
    assert var.limit == 0.02
    assert "413 days" in var.reason
    assert readings[DenialCode.ORDER_NOTIONAL].reason == ""


@pytest.mark.parametrize("case", [case for case in CASES if case.looser], ids=lambda case: case.code.value)
def test_a_reading_has_its_limit_for_any_unreadable_input(case):
    gate, limits = GATE[case.code], case.risk_limits()
    reading = gate.read(None, None, None, limits)
    known = gate.read(ORDER, replace(ACCOUNT, ramp=1.0), MARKET, limits)
    assert reading.is_denied
    assert reading.reason
    if case.code is DenialCode.DUPLICATE_ORDER:
        assert math.isnan(reading.limit)
    elif not case.code.value.endswith(("depth", "share")) and case.code not in (DenialCode.SPREAD, DenialCode.SLIPPAGE):
        assert reading.limit == known.limit


def test_the_command_names_the_unreadable_input(home, unread, capsys):
    keep_decisions(unread)
    assert main(["risk", "explain", f"{unread.run_id}/{decisions(unread)[0].order_id}"]) == 0
    printed = capsys.readouterr().out
    assert "nan" not in printed
    assert "value_at_risk could not be read" in printed
    assert "413 days" in printed
    assert "0.02" in printed


@pytest.mark.long
def test_the_headroom_figure_shows_denials_on_what_could_not_be_read(unread, result):
    readings = headroom(unread.events)
    n_unread = int((readings["observed"].isna() & readings["is_denied"]).sum())
    drawn = {trace.name: trace for trace in headroom_over_time(readings).data}
    assert n_unread == len(decisions(unread)) > 0
    assert list(drawn["denied, unreadable input"].text) == [DenialCode.VALUE_AT_RISK] * n_unread
    assert "denied, unreadable input" not in {trace.name for trace in headroom_over_time(headroom(result.events)).data}


@pytest.mark.parametrize(
    "forge",
    [
        lambda decision: replace(decision, is_approved=True),
        lambda decision: replace(decision, is_approved=True, denials=()),
        lambda decision: replace(decision, denials=decision.denials[1:]),
        lambda decision: replace(decision, denials=(*decision.denials, Denial("drawdown", 1.0, 0.5))),
        lambda decision: replace(decision, denials=(replace(decision.denials[0], observed=1.0), *decision.denials[1:])),
        lambda decision: replace(decision, denials=(replace(decision.denials[0], limit=1.0), *decision.denials[1:])),
    ],
    ids=["approved", "without denials", "one less", "one more", "observed", "limit"],
)
def test_a_forged_answer_is_not_reproduced(forge):
    denied = decisions(run({"max_order_notional": 100.0, "max_symbol_exposure": 0.1}))[0]
    assert explain(denied).is_reproduced
    assert len(denied.denials) == 2
    assert not explain(forge(denied)).is_reproduced


def edit(result, home, old: str, new: str) -> str:
    """Change the record of the first approved decision by hand, and return its id."""
    file = keep_decisions(result)
    approved = next(decision for decision in decisions(result) if decision.is_approved)
    lines = file.read_text().splitlines(keepends=True)
    place = next(n for n, line in enumerate(lines) if f'"order_id":"{approved.order_id}"' in line)
    assert old in lines[place]
    lines[place] = lines[place].replace(old, new)
    file.write_text("".join(lines))
    return f"{result.run_id}/{approved.order_id}"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (r"\"max_order_notional\":6000.0", r"\"max_order_notional\":9000.0"),
        (r"\"equity\":10000.0", r"\"equity\":12000.0"),
        ('"is_approved":true', '"is_approved":false'),
        ('"sequence":1,', '"sequence":2,'),
    ],
    ids=["a limit", "equity", "the answer", "its place"],
)
def test_a_record_that_was_changed_by_hand_is_an_error(result, home, capsys, old, new):
    message = refused(capsys, "risk", "explain", edit(result, home, old, new))
    assert f"{DECISIONS}:1" in message
    assert "changed" in message


def test_a_removed_line_is_detected_at_the_next_line(result, home, capsys):
    file = keep_decisions(result)
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(lines[1:]))
    assert "changed" in refused(capsys, "risk", "explain", f"{result.run_id}/{decisions(result)[1].order_id}")


@pytest.mark.parametrize("n_kept", [0, 1, 12, 24])
def test_a_cut_is_detected_wherever_the_decision_is(result, home, capsys, n_kept):
    file = keep_decisions(result)
    lines = file.read_text().splitlines(keepends=True)
    assert len(lines) == 25
    file.write_text("".join(lines[:n_kept]))
    message = refused(capsys, "risk", "explain", f"{result.run_id}/{decisions(result)[0].order_id}")
    assert "cut" in message
    assert str(file) in message
    file.write_text("".join(lines)[: -len(lines[-1]) // 2])
    assert "cut" in refused(capsys, "risk", "explain", f"{result.run_id}/{decisions(result)[0].order_id}")


def test_a_run_without_decisions_has_a_last_line(home):
    file = keep_decisions(run(LIMITS, (0.0, 0.0)))
    assert list(decisions_in(file)) == []
    assert json.loads(file.read_text())["n_decisions"] == 0


@pytest.mark.parametrize("folder", RECORDED, ids=lambda folder: f"{folder.parent.name}-{folder.name}")
def test_decisions_of_earlier_versions_are_read_and_a_change_of_them_is_detected(folder, tmp_path):
    kept = list(decisions_in(folder / DECISIONS))
    assert len(kept) in (4, 9, 18)
    for decision in kept:
        explained = explain(decision)
        assert explained.is_reproduced
        assert explained.is_approved is not any(reading.is_denied for reading in explained.readings)
        assert DenialCode.MAX_LEVERAGE not in {reading.code for reading in explained.readings}
    copy = tmp_path / folder.name
    shutil.copytree(folder, copy)
    text = (copy / DECISIONS).read_text()
    (copy / DECISIONS).write_text(text.replace('"is_approved":', '"is_approved": ', 1))
    with pytest.raises(SessionError, match="changed after it was written"):
        list(decisions_in(copy / DECISIONS))


def test_two_runs_of_each_earlier_version_are_kept_and_one_has_more_exposure_than_the_gate_allows():
    assert [folder.parent.name for folder in RECORDED] == ["version_1"] * 2 + ["version_2"] * 2
    (shared,) = [folder for folder in RECORDED if len(list(decisions_in(folder / DECISIONS))) == 4]
    decision = list(decisions_in(shared / DECISIONS))[1]
    now = json.loads(decision.inputs)
    now["market"]["instrument"]["max_leverage"] = 1.0
    assert decision.is_approved
    assert not explain(replace(decision, inputs=json.dumps(now))).is_reproduced


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda lines: [*lines, lines[1]], f"{DECISIONS}:25: this is not a line of a journal"),
        (lambda lines: [*lines[:9], lines[9].replace("10000.0", "10001.0"), *lines[10:]], f"{DECISIONS}:10: this line"),
        (lambda lines: [*lines[:9], *lines[10:]], "decisions are missing: the file was cut"),
        (lambda lines: [lines[0][:-1]], "decisions are missing: the file was cut"),
    ],
    ids=["line after the end", "later line edited", "later line removed", "half a line"],
)
def test_a_change_anywhere_in_the_file_is_detected(result, home, capsys, change, named):
    file = keep_decisions(result)
    file.write_text("".join(change(file.read_text().splitlines(keepends=True))))
    assert named in refused(capsys, "risk", "explain", f"{result.run_id}/{decisions(result)[0].order_id}")


@pytest.mark.parametrize("damage", ['{"kind":"decision",', "decision\x00", '{"kind":"decision"}'])
def test_a_damaged_line_is_named(result, home, capsys, damage):
    file = keep_decisions(result)
    file.write_text(damage + "\n" + file.read_text())
    message = refused(capsys, "risk", "explain", f"{result.run_id}/{decisions(result)[1].order_id}")
    assert f"{DECISIONS}:1" in message


def test_every_decision_of_a_kept_run_is_found_and_equals_its_record(result, home):
    keep_decisions(result)
    for decision in decisions(result):
        found = find_decision(f"{result.run_id}/{decision.order_id}")
        assert json.loads(found.inputs) == json.loads(decision.inputs.to_json())
        assert explain(found).is_reproduced
    with pytest.raises(ConfigError, match="no decision"):
        find_decision(f"{result.run_id}/o-999")


def test_a_changed_limits_file_does_not_affect_an_explanation(result):
    """A decision has its own limits: the explanation reads no file."""
    decision = next(decision for decision in decisions(result) if decision.is_approved)
    assert explain(decision).is_reproduced
    tighter = decision.inputs._replace(limits=RiskLimits(max_order_notional=1.0))
    assert not explain(replace(decision, inputs=tighter)).is_reproduced


def test_a_trading_state_that_is_a_folder_is_an_error_of_one_line(home, capsys):
    (home / "trading_state.json").mkdir(parents=True)
    assert main(["risk", "kill", "--by", "ada"]) == 1
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("no process was told to halt; the state could not be saved: ")
    assert "trading_state.json is a folder" in line
    assert [path.name for path in home.iterdir()] == ["trading_state.json"]
