"""Commands that run in process groups of their own, so that Ctrl-C ends what they started, too."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

POLL_SECONDS = 0.1
GRACE_SECONDS = 10.0
"""Time that a command has to end after Ctrl-C before it is killed."""


def run_command(
    command: Sequence[str | Path],
    folder: Path,
    environment: Mapping[str, str] | None = None,
    while_running: Callable[[], None] = lambda: None,
) -> tuple[int, str]:
    """Run a command in a folder to its end; return its exit code and what it printed.

    Parameters
    ----------
    command : sequence of str or Path
        The program and its arguments.
    folder : Path
        The folder in which it runs.
    environment : mapping of name to value
        Its environment variables; None for those of this process.
    while_running : callable
        Called every `POLL_SECONDS`. If it raises, the command and all that it started are ended first.

    """
    with TemporaryDirectory() as kept:
        log = Path(kept) / "printed"
        with log.open("wb") as printed:
            process = subprocess.Popen(
                command, cwd=folder, env=environment, stdout=printed, stderr=subprocess.STDOUT, start_new_session=True
            )
        try:
            while process.poll() is None:
                time.sleep(POLL_SECONDS)
                while_running()
        finally:
            for number in (signal.SIGINT, signal.SIGKILL):
                if process.poll() is None:
                    with suppress(ProcessLookupError):
                        os.killpg(process.pid, number)
                    with suppress(subprocess.TimeoutExpired):
                        process.wait(GRACE_SECONDS)
        return process.returncode, log.read_text(encoding="utf-8", errors="replace")


def last_line(printed: str) -> str:
    """Return the last line that a command printed."""
    return (printed.strip().splitlines() or ["it printed nothing"])[-1]
