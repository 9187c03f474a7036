"""The kill-switch drill: a session in a process of its own is killed from outside, with the code that `risk kill` uses.

The drill has a workspace of its own, so that it disturbs no session. It proves the kill on this machine, with this
installation, and on the disk of the workspace.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from peak_trade.core.digest import canonical_json
from peak_trade.core.errors import ConfigError, PeakTradeError, SessionError
from peak_trade.core.files import make_folder, write_text
from peak_trade.core.time import NS_PER_SECOND
from peak_trade.core.values import TradingState
from peak_trade.data.sample import synthetic_bars
from peak_trade.data.store import save_bars
from peak_trade.data.workspace import workspace, workspace_at
from peak_trade.governance.log import GovernanceLog
from peak_trade.journal.events import EndCause, Event, OrderEvent, OrderEventKind, SessionEvent, SessionPhase
from peak_trade.journal.files import is_sealed, read_events
from peak_trade.sessions.control.commands import kill_workspace
from peak_trade.sessions.control.state import read_control, refuse_when_halted
from peak_trade.sessions.store import check_journal, last_signature, session_ids, sessions_folder

START_SECONDS = 120.0
"""Time within which the session must have an open order."""

HALT_SECONDS = 30.0
"""Time within which the process of a killed session must have ended."""

_STEP = 0.02
_N_BARS = 2_000
_RUN_FILE = """\
[execution]
order_type = "limit"
limit_offset_bps = 9000.0

[risk]
max_gross_exposure = 1.0
"""
"""The session's one order is 90 % below the market: it rests until the kill cancels it."""


@dataclass(frozen=True, slots=True)
class Drill:
    """The result of a drill.

    `ended_at` is ns UTC by the machine's clock, `seconds` the time from the kill to the seal of the session's journal,
    `journal` the hash of its last line. `findings` are sentences on what did not work.
    """

    actor: str
    ended_at: int
    seconds: float
    journal: str
    findings: tuple[str, ...]

    @property
    def is_passed(self) -> bool:
        """Whether everything worked."""
        return not self.findings

    def to_dict(self) -> dict[str, Any]:
        """Return the drill as plain JSON values."""
        return asdict(self) | {"findings": list(self.findings)}


def run_drill(actor: str, clock: Callable[[], int] = time.time_ns) -> Drill:
    """Exercise the kill switch, and record the result in the governance log of the workspace.

    A session with an open order is started and killed as `peak-trade risk kill` does; then its journal, its orders and
    the trading state are checked.

    Parameters
    ----------
    actor : str
        Name of the person.
    clock : callable
        Returns now by the machine's clock, ns UTC.

    Raises
    ------
    ConfigError
        If no person is named.
    SessionError
        If the session could not be started.
    GovernanceError
        If the result can not be recorded.

    """
    if not actor.strip():
        raise ConfigError("a drill needs the name of the person who makes it: --by NAME.")
    drill, log = _drill(actor, clock), GovernanceLog(workspace(), clock)
    log.append_drill(actor, drill.is_passed, canonical_json(drill.to_dict()))
    return drill


def _drill(actor: str, clock: Callable[[], int]) -> Drill:
    make_folder(workspace())
    with tempfile.TemporaryDirectory(dir=workspace(), prefix=".drill-") as home, workspace_at(Path(home)):
        bars = synthetic_bars(_N_BARS)
        save_bars(bars)
        write_text(Path(home) / "run.toml", _RUN_FILE)
        with _session(Path(home), bars.symbol) as process:
            folder = _with_open_order(process)
            killed_at = time.time_ns()
            kill_workspace(actor, killed_at, "drill")
            findings = list(_ended(process))
        findings += _left(folder)
        seconds = (last_signature(folder).ts_recorded - killed_at) / NS_PER_SECOND
        return Drill(actor, clock(), seconds, last_signature(folder).hash, tuple(findings))


@contextmanager
def _session(home: Path, symbol: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a paper session in a process of its own, a bar in a second."""
    words = ["session", "run", "--mode", "paper", "--feed", "recorded", "--pace", "3600x", "--symbol", symbol]
    words += ["--timeframe", "1h", "--strategy", "buy_and_hold", "--config", str(home / "run.toml")]
    package = str(Path(__file__).parents[3])
    paths = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))
    with subprocess.Popen(
        [sys.executable, "-m", "peak_trade.cli", *words, "--quiet", "--no-record"],
        env=os.environ | {"PYTHONPATH": paths},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def _with_open_order(process: subprocess.Popen[bytes]) -> Path:
    """Wait until the session has an open order; return its folder."""
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        for name in session_ids():
            folder = sessions_folder() / name
            if any(event.event is OrderEventKind.ACCEPTED for event in _orders(_events(folder))):
                return folder
        time.sleep(_STEP)
    process.kill()
    _, written = process.communicate()
    said = written.decode(errors="replace").strip().splitlines()
    raise SessionError(f"the drill's session did not start: {said[-1] if said else 'it had no open order in time'}")


def _events(folder: Path) -> list[Event]:
    try:
        return read_events(folder)
    except PeakTradeError:  # a line that is being written
        return []


def _orders(events: list[Event]) -> list[OrderEvent]:
    return [event for event in events if isinstance(event, OrderEvent)]


def _ended(process: subprocess.Popen[bytes]) -> Iterator[str]:
    try:
        process.wait(HALT_SECONDS)
    except subprocess.TimeoutExpired:
        yield f"the session still ran {HALT_SECONDS:g} s after the kill."


def _left(folder: Path) -> Iterator[str]:
    """Yield what is wrong with the journal and the workspace after the kill."""
    events = read_events(folder)
    verdict = check_journal(folder)
    last = events[-1]
    if not verdict.is_intact or not is_sealed(folder):
        yield f"the journal of the killed session is {verdict.finding} and {'' if is_sealed(folder) else 'not '}sealed."
    if not (isinstance(last, SessionEvent) and last.phase is SessionPhase.STOPPED and last.cause is EndCause.KILLED):
        yield "the journal does not end with the kill."
    if any(event.leaves for event in {event.order_id: event for event in _orders(events)}.values()):
        yield "an order is still open."
    if read_control(workspace()).state is not TradingState.HALTED:
        yield "the workspace is not halted."
    try:
        refuse_when_halted()
        yield "a session could start after the kill."
    except PeakTradeError:
        return
