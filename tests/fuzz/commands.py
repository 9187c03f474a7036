"""Calls of every verb, generated from the command tree and from the examples in its help."""

from __future__ import annotations

import inspect
import io
import re
import shlex
import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
import typer

from peak_trade.cli import main
from peak_trade.cli.app import root
from peak_trade.cli.reference import contexts
from peak_trade.core.errors import FAULT, LONGEST_QUOTE
from peak_trade.data.sample import sample_bars
from peak_trade.data.store import save_bars

ROOT = Path(__file__).parents[2]
MARK = "ж"
"""A character that no message has but the input."""
SECONDS = 60.0
"""Time after which a call counts as hanging."""
ORDERS = """order_id,time,end_time,symbol,side,type,quantity,status,executed,price
1,2024-01-01 00:00:00,2024-01-01 00:00:01,BTC/USDT,BUY,MARKET,0.5,FILLED,0.5,42000
"""
PORTFOLIO = '[[strategies]]\nname = "ma_crossover"\nsymbol = "BTC/USDT"\n'
NAMES = {
    r"20\d{6}_\d{6}(_\w+)?": "{session}",
    r"\b3f2a9c\b|\b3f9c1a\b|\b77b2e0\b": "{run}",
    r"\bmy_ideas\.reversal:Reversal\b": "ma_crossover",
    r"\bconfig/portfolios/\S+": "portfolio.toml",
    r" > \S+$": "",
    r"--timeframe 1m --duration 10m": "--timeframe 1h --feed recorded --quiet",
}
"""Names in examples, and those that the workspace of the tests has."""
HOSTILE_TEXTS = (
    "",
    MARK * 5_000,
    " ".join([MARK * 40] * 100),
    f"{MARK * 300}={MARK * 300}",
    ",".join([MARK * 9] * 100),
    "\n",
    "'",
    "\udcff",
    "../../..",
    "nan",
    "-1",
    "1e999",
    "9" * 5_000,
    "2024-01-01",
    "9999-12-31T23:59:59+14:00",
    "0001-01-01",
    "1s",
    "99999999999w",
    "BTC/USDT",
    "peak_trade.core.errors:ConfigError",
    "os:getcwd",
    "antigravity_:X",
    "fast=nan",
    "fast=1e999",
    "fast=-9223372036854775809",
    "=",
    "[[[[",
)
HOSTILE_NUMBERS = ("0", "-1", "1", "2", "nan", "inf", "-inf", "1e308", "5e-324", "9" * 30, "9" * 5_000, "x", "")
HOSTILE_FILES = (
    "",
    ".",
    "missing",
    "/dev/null",
    "/dev/zero",
    "/proc/self/mem",
    "pipe",
    "binary",
    "empty",
    "marks.toml",
    "marks.json",
    "marks.csv",
    "nested.json",
    "nested.toml",
    MARK * 100,
    "9" * 5_000,
    "missing/deeper/file.csv",
    "bars.csv/below",
)


STOPPED = "peak-trade: stopped"
"""What a verb that serves until it is stopped says at its end, with exit code 0."""


class Hanging(BaseException):
    """A call took longer than SECONDS."""


class Call(NamedTuple):
    """The arguments of one call, and the exit codes that its verb may have."""

    verb: str
    arguments: tuple[str, ...]


def verbs() -> dict[str, typer.Context]:
    """Return the context of every verb of the tree, by its words."""
    known = {context.command_path: context for context in contexts(root(), "peak-trade", None)}
    return {path: context for path, context in known.items() if not hasattr(context.command, "commands")}


def examples(verb: str, context: typer.Context) -> list[tuple[str, ...]]:
    """Return the arguments of the examples in the help of a verb, with names of the workspace of the tests."""
    found = re.findall(r"^\s*(peak-trade .*)$", inspect.cleandoc(context.command.help or ""), re.MULTILINE)
    lines = [line for line in found if line.startswith(verb)] or [verb]
    for pattern, name in NAMES.items():
        lines = [re.sub(pattern, name, line) for line in lines]
    unrecorded = ["--no-record"] if has_record(context) else []
    return [(*shlex.split(line)[1:], *unrecorded) for line in lines]


def has_record(context: typer.Context) -> bool:
    """Return whether a verb records its run."""
    return any(parameter.name == "record" for parameter in context.command.params)


def calls(verb: str, context: typer.Context) -> Iterator[Call]:
    """Yield the examples of a verb, then each of its parameters with every hostile value, and words too many."""
    base = examples(verb, context)
    for arguments in base:
        yield Call(verb, arguments)
    for parameter in context.command.params:
        for value in hostile_values(parameter):
            yield Call(verb, _with(base[0], verb, parameter, value))
    yield Call(verb, (*base[0], MARK * 1_000))
    yield Call(verb, (*base[0], f"--{MARK * 1_000}"))
    yield Call(verb, tuple(verb.split()[1:]))


def hostile_values(parameter: Any) -> tuple[str, ...]:
    """Return the hostile values of a parameter, by its type."""
    if getattr(parameter, "is_flag", False):
        return ("",)
    annotation = parameter.type_descriptor.annotation
    if annotation in (int, float):
        return HOSTILE_NUMBERS
    return HOSTILE_FILES if annotation is Path else HOSTILE_TEXTS


def _with(arguments: tuple[str, ...], verb: str, parameter: Any, value: str) -> tuple[str, ...]:
    words = len(verb.split()) - 1
    given = list(arguments)
    if parameter.param_type_name == "argument":
        place = words
        return (*given[:place], value, *given[place + 1 :])
    option = parameter.opts[0]
    for name in parameter.opts:
        while name in given and not getattr(parameter, "multiple", False):
            place = given.index(name)
            del given[place : place + (1 if getattr(parameter, "is_flag", False) else 2)]
    return (*given, option) if getattr(parameter, "is_flag", False) else (*given, option, value)


def make_workspace(folder: Path) -> dict[str, str]:
    """Make the files that the examples name, with bars, one session and one recorded run; return their names."""
    bars = sample_bars("BTC/USDT", n_bars=400)
    bars.frame.tail(50).to_csv(folder / "btc.csv")
    bars.frame.tail(50).to_csv(folder / "bars.csv")
    save_bars(bars)
    (folder / "orders.csv").write_text(ORDERS)
    (folder / "portfolio.toml").write_text(PORTFOLIO)
    (folder / "config").mkdir()
    shutil.copy(ROOT / "config" / "risk.toml", folder / "config")
    shutil.copytree(ROOT / "notebooks", folder / "notebooks")
    marks = [MARK * 50] * 200
    (folder / "marks.csv").write_text(",".join(marks) + "\n" + ",".join(marks) + "\n")
    (folder / "marks.json").write_text(f"[{','.join(f'{mark!r}' for mark in marks)}]".replace("'", '"'))
    (folder / "marks.toml").write_text("".join(f"{n}.'{mark}' = '{mark}'\n" for n, mark in enumerate(marks)))
    (folder / "nested.json").write_text("[" * 100_000)
    (folder / "nested.toml").write_text(f"a = {'[' * 20_000}")
    (folder / "binary").write_bytes(bytes(range(256)) * 40)
    (folder / "empty").touch()
    recorded = ["--symbol", "BTC/USDT", "--timeframe", "1h", "--feed", "recorded", "--quiet", "--no-record"]
    session = ask(["session", "run", *recorded])
    run = ask(["backtest", "--strategy", "ma_crossover", "--symbol", "BTC/USDT"])
    assert (session.code, run.code) == (0, 0), (session, run)
    return {"session": session.out.split(":")[0], "run": run.out.split("run ")[-1][:16]}


class Outcome(NamedTuple):
    """What a call printed, and its exit code."""

    code: int
    out: str
    err: str


@contextmanager
def limited() -> Iterator[None]:
    def stop(*_: object) -> None:
        raise Hanging

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)


class Stopped(threading.Event):
    """An event for which nobody waits: Ctrl-C came."""

    def wait(self, timeout: float | None = None) -> bool:
        raise KeyboardInterrupt


def ask(arguments: list[str]) -> Outcome:
    """Call the command line; an exception that leaves it, and a call that hangs, are errors of the test."""
    out, err = io.StringIO(), io.StringIO()
    with limited(), redirect_stdout(out), redirect_stderr(err), pytest.MonkeyPatch.context() as patch:
        patch.setattr("peak_trade.cli.metrics.threading", SimpleNamespace(Event=Stopped))
        code = main(arguments)
    return Outcome(code, out.getvalue(), err.getvalue())


def fault_of(outcome: Outcome) -> str:
    """Return what is wrong with the outcome of a call; empty when it is a result or one clear line."""
    code, out, err = outcome
    errors = [line for line in err.splitlines() if line.startswith("peak-trade: ") and "peak-trade: note: " not in line]
    errors = [line for line in errors if code or line != STOPPED]
    if code not in (0, 1, 2):
        return f"exit code {code}"
    if FAULT in err or "Traceback" in err:
        return "a traceback"
    if code == 2 and len(errors) != 1 and "Usage: " not in err:
        return f"{len(errors)} lines of errors"
    if code < 2 and errors:
        return f"an error with exit code {code}"
    if code == 1 and not out:
        return "exit code 1 without a result"
    if err.count(MARK) > LONGEST_QUOTE:
        return f"{err.count(MARK)} characters of the input"
    if any(not line.isprintable() for line in errors):
        return "characters that cannot be printed"
    return ""
