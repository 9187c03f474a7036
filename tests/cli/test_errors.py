"""Every failure is one line with exit code 2; the result of a run that succeeded is printed before it."""

from __future__ import annotations

import errno
import io
import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peak_trade.cli import main, output
from peak_trade.core import chained_lines as ledger
from peak_trade.core.errors import FAULT, LONGEST_LINE, LONGEST_QUOTE, ConfigError, explain, listed, one_line
from peak_trade.core.lock import held_lock
from peak_trade.data.sample import sample_bars
from peak_trade.data.store import save_bars
from peak_trade.studies.sweep import run as studies_sweep
from peak_trade.tracking import registry as run_registry
from tests.examples import mostly_long

BACKTEST = ["backtest", "--strategy", "ma_crossover", "--symbol", "BTC/USDT"]


@pytest.fixture
def stored(registry: Path) -> Path:
    save_bars(sample_bars("BTC/USDT", n_bars=300))
    return registry


@given(st.text(max_size=20), st.sampled_from(["{}", "{!r}", "[{}]", "'{}' and '{}'"]), st.sampled_from([1, 100, 2_000]))
def test_a_message_is_one_printable_line_of_bounded_length(text: str, pattern: str, n: int) -> None:
    line = one_line(pattern.replace("{}", text * n))
    assert line.isprintable()
    assert len(line) <= LONGEST_LINE


@given(st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1), st.integers(1, 300))
def test_a_message_quotes_at_most_200_characters(text: str, n: int) -> None:
    value = text * n
    for quoted in (f"{value!r}", value, f'"{value}"', repr([value] * 3), repr({value: n})):
        for count in (1,) if quoted is value else (1, 2, 3, 40):
            message = "a was : b." + count * ", "
            assert len(str(ConfigError(f"a was {', '.join(count * [quoted])}: b."))) <= len(message) + LONGEST_QUOTE


@given(st.lists(st.text(min_size=1)))
def test_a_message_lists_at_most_200_characters_of_names(names: list[str]) -> None:
    assert len(listed(names)) == min(len(", ".join(names)), LONGEST_QUOTE)


@given(st.text(st.characters(codec="ascii", categories=["L", "N"]), max_size=LONGEST_QUOTE - 2))
def test_a_short_message_is_printed_as_it_is(value: str) -> None:
    message = f"the run's symbol was {value!r}: the exchange's name (see docs) is needed."
    assert str(ConfigError(message)) == message


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device. Free space"),
        (PermissionError(errno.EACCES, "Permission denied", "runs"), "runs: Permission denied. Check the permissions"),
        (FileNotFoundError(errno.ENOENT, "No such file", "a.csv"), "a.csv: No such file. Check the path."),
        (TimeoutError("the read timed out."), "the read timed out. Check the disk and the network"),
        (sqlite3.OperationalError("database is locked"), "database: database is locked. Close"),
        (MemoryError(), "there is not enough memory. Use fewer bars"),
        (ImportError("No module named 'vectorbt'"), "No module named 'vectorbt'. Install"),
        (ConfigError("a\n  b"), "a b"),
        (OverflowError("too large"), f"OverflowError: too large. Check the input; if it is right, this {FAULT}"),
        (KeyError(), "KeyError: KeyError. Check the input"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_an_exception_is_explained_in_one_line(error: Exception, expected: str) -> None:
    assert explain(error).startswith(expected)
    assert (FAULT in explain(error)) is (FAULT in expected or isinstance(error, KeyError))


def test_the_line_of_a_fault_names_its_place(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(output, "show", lambda *arguments: 1 / 0)
    assert main(["data", "list"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("peak-trade: ZeroDivisionError at cli/data.py, line ")
    assert FAULT in line


def test_a_call_of_exit_in_a_run_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(output, "show", lambda *arguments: sys.exit(1))
    assert main(["data", "list"]) == 2
    assert capsys.readouterr().err == "peak-trade: code of the run called exit(1). Remove that call.\n"


def damage_registry(home: Path) -> None:
    (home / "mlflow.db").write_bytes(bytes(range(256)) * 100)


def delete_experiment(home: Path) -> None:
    with run_registry.open_registry() as (client, experiment_id):
        client.delete_experiment(experiment_id)


def lock_registry(home: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(home / "mlflow.db")
    connection.execute("BEGIN EXCLUSIVE")
    return connection


@pytest.mark.parametrize("form", mostly_long(["--json", "text"], 1))
@pytest.mark.parametrize(
    ("fault", "says"),
    mostly_long(
        [
            (damage_registry, "mlflow.db: file is not a database. Close what uses it"),
            (lock_registry, "mlflow.db: database is locked by process "),
            (delete_experiment, "the experiment peak_trade was deleted. Restore it with `mlflow experiments restore"),
        ],
        1,
    ),
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_run_that_cannot_be_recorded_is_printed_before_the_error(
    fault, says, form, stored: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run_registry, "LOCK_WAIT_SECONDS", 0.01)
    kept = fault(stored)
    assert main([*BACKTEST, *([form] if form == "--json" else [])]) == 2
    if kept is not None:
        kept.close()
    shown = capsys.readouterr()
    *notes, line = shown.err.splitlines()
    assert says in line
    assert all("note: these JSON keys are deprecated" in note for note in notes)
    run_id = json.loads(shown.out)["run_id"] if form == "--json" else shown.out.splitlines()[-1].split()[1].strip(",")
    assert len(run_id) == 16


@pytest.mark.parametrize(
    "verb",
    [
        [*BACKTEST, "--config"],
        ["portfolio", "--config"],
        ["session", "run", "--mode", "paper", "--symbol", "BTC/USDT", "--timeframe", "1h", "--telemetry"],
        ["data", "import", "--symbol", "BTC/USDT", "--timeframe", "1h", "--exchange", "kraken"],
        ["audit", "import"],
        ["audit", "check"],
    ],
    ids=lambda verb: "-".join(verb[:2]),
)
@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_a_file_that_never_ends_is_refused(
    kind: str, verb: list[str], home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = "/dev/zero"
    if kind == "pipe":
        os.mkfifo(path := str(tmp_path / "pipe.csv"))
    assert main([*verb, path]) == 2
    assert "a device, a pipe or a socket, not a file" in capsys.readouterr().err


@pytest.mark.long
@pytest.mark.parametrize(
    ("verb", "fault"),
    mostly_long([("backtest", "damaged"), ("backtest", "locked"), ("sweep", "locked"), ("sweep", "damaged")], 2),
)
def test_a_ledger_that_is_damaged_or_locked_fails_no_run(
    verb: str, fault: str, stored: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ledger, "LOCK_WAIT_SECONDS", 0.01)
    words = [verb, "--strategy", "ma_crossover", "--symbol", "BTC/USDT", "-p", "fast=5"]
    lines = "one\ntwo\n"
    if fault == "damaged":
        (stored / "trials.jsonl").write_text(lines)
        assert main(words) == 0
        assert (stored / "trials.jsonl").read_text().startswith(lines)
        return
    with held_lock(stored / ".trials.jsonl.lock", 1.0):
        assert main([*words, "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["run_id"]) == 16


@pytest.mark.long
@pytest.mark.parametrize("is_recorded", [True, False], ids=["recorded", "not-recorded"])
def test_a_difference_exits_1_only_when_the_run_is_recorded(
    is_recorded: bool, stored: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(studies_sweep, "_difference", lambda *arguments: "the fills differ")
    if not is_recorded:
        damage_registry(stored)
    code = main(["sweep", "--strategy", "ma_crossover", "--symbol", "BTC/USDT", "-p", "fast=5,10"])
    assert code == (1 if is_recorded else 2)
    assert "best the event loop differs, first on (fast=" in capsys.readouterr().out


@pytest.mark.parametrize("verb", [["data", "list"], ["audit", "spec"], ["--help"]], ids=" ".join)
def test_an_output_that_takes_nothing_more_is_one_line(
    verb: list[str], home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with open("/dev/full", "w") as full, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", full)
        assert main(verb) == 2
    assert "No space left on device. Free space on the disk" in capsys.readouterr().err


@pytest.mark.parametrize("verb", [["data", "list"], ["audit", "spec"], ["--help"]], ids=" ".join)
def test_an_output_without_a_reader_ends_quietly(
    verb: list[str], home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as unread, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", unread)
        patch.setattr(sys, "stderr", sys.stderr)
        assert main(verb) == 141
    assert capsys.readouterr().err == ""


def test_an_output_that_cannot_encode_a_character_gets_its_escape(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", taken)
    output.prepare_streams()
    output.write("± \udcff")
    assert taken.buffer.getvalue() == rb"\xb1 \udcff"


@pytest.mark.long
@pytest.mark.parametrize("streams", [">/dev/full 2>/dev/full", ">&- 2>&-"])
def test_closed_streams_change_no_exit_code(streams: str) -> None:
    program = "import sys; from peak_trade.cli import main; sys.exit(main(['data', 'nonsense']))"
    assert subprocess.run(f'{sys.executable} -c "{program}" {streams}', shell=True).returncode == 2
