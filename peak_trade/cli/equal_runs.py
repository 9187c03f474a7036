"""Equal commands that are given at the same time: one makes the run, and the others wait and print its result."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from pathlib import Path
from typing import Any

import typer

from peak_trade.cli import output
from peak_trade.core.errors import ConfigError, PeakTradeError
from peak_trade.core.files import make_folder, read_text, write_text
from peak_trade.core.lock import held_lock
from peak_trade.data.workspace import workspace

WAIT_SECONDS = 3_600.0
"""Time that a command waits for an equal one."""
KEPT_SECONDS = 86_400.0
"""Time after which the result of a command is removed; only commands that wait for it read it."""


def shared(command: Callable[..., None]) -> Callable[..., None]:
    """Let a verb that records a run wait for an equal command that is under way, and print the result of that.

    A command that is given again later makes the run again, which checks that it can be reproduced. Without a record
    nothing is shared.
    """

    @wraps(command)
    def run(**values: Any) -> None:
        folder = workspace() / "cache" / "commands"
        name = _name(command.__name__, values, folder) if values["record"] else ""
        if not name:
            command(**values)
            return
        _remove_old(folder)
        result = folder / f"{name}.json"
        before = _stamp(result)
        with _waiting_for_equal(folder / f"{name}.lock", command.__name__):
            if _stamp(result) == before:
                _run_and_keep(command, values, result)
                return
            kept = json.loads(read_text(result))
        output.write(kept["text"])
        raise typer.Exit(kept["exit"])

    return run


def _name(verb: str, values: dict[str, Any], folder: Path) -> str:
    """Return a name that equal commands have alone; empty if an input is wrong, which the command itself says.

    Also empty if there is no folder for the results, as in a workspace that can not be written.
    """
    from peak_trade.wiring.named_inputs import inputs_digest

    lists = {name: sorted(values[name] or ()) for name in ("parameter", "setting") if name in values}
    width = [os.isatty(1), os.environ.get("COLUMNS", ""), shutil.get_terminal_size().columns]
    try:
        make_folder(folder)
        if not os.access(folder, os.W_OK):
            return ""
        return inputs_digest(values | lists | {"verb": verb, "folder": str(Path.cwd()), "width": width})[:32]
    except (PeakTradeError, OSError):
        return ""


def _run_and_keep(command: Callable[..., None], values: dict[str, Any], result: Path) -> None:
    code = 0
    with output.copied() as written:
        try:
            command(**values)
        except typer.Exit as end:
            code = end.exit_code
    if code in (0, 1):
        write_text(result, json.dumps({"text": written.getvalue(), "exit": code}))
    if code:
        raise typer.Exit(code)


@contextmanager
def _waiting_for_equal(lock: Path, verb: str) -> Iterator[None]:
    with ExitStack() as held:
        try:
            held.enter_context(held_lock(lock, 0.0))
        except TimeoutError as error:
            output.error(f"note: an equal {verb} is under way, and its result is shown when it is done: {error}")
            try:
                held.enter_context(held_lock(lock, WAIT_SECONDS))
            except TimeoutError as late:
                raise ConfigError(f"an equal {verb} is under way: {late}. Wait, or stop it.") from None
        yield


def _stamp(path: Path) -> tuple[int, int]:
    """Return what changes when a file is replaced; zeros if there is none."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return 0, 0
    return status.st_ino, status.st_mtime_ns


def _remove_old(folder: Path) -> None:
    oldest = time.time() - KEPT_SECONDS
    for path in folder.iterdir():
        if _stamp(path)[1] < oldest * 1e9:
            path.unlink(missing_ok=True)
