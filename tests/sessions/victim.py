"""Sessions in processes of their own that are killed at a random instant.

`serve` reads one JSON line per session, forks, lets the child run the session until a timer kills it with SIGKILL, and
answers with `killed` or `ended`. The child writes what was acknowledged to a file next to the journal.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any, TextIO

import pandas as pd

from peak_trade.core.bars import Bars
from peak_trade.core.time import Timeframe
from peak_trade.journal.files import MANIFEST, read_events
from peak_trade.journal.keys import WorkspaceKey
from peak_trade.journal.writer import JournalWriter
from peak_trade.sessions.feeds.base import RecordedFeed
from peak_trade.strategies.ma_crossover import MaCrossover
from tests.sessions import running, trading

STRATEGY = MaCrossover(fast=3, slow=9)


class AcknowledgingWriter(JournalWriter):
    """Writes the number of durable events to a separate file."""

    def commit(self) -> None:
        super().commit()
        with (self.folder / "acknowledged").open("a") as file:
            file.write(f"{self.committed}\n")


class RemoteTime:
    """The clock of an emulator in another process."""

    skew_ms = 0

    def __init__(self, url: str, bars: Bars, until: int) -> None:
        self.url, self.until = url, until
        self.exchange = type("Recording", (), {"bars": bars})

    def now(self) -> int:
        return self._advance(0) * trading.NS_PER_MS

    def wait(self, seconds: float) -> bool:
        return self._advance(max(1, int(seconds * 1_000))) >= self.until

    def _advance(self, ms: int) -> int:
        with urllib.request.urlopen(f"{self.url}/control/advance?ms={ms}") as reply:
            return int(reply.read())


def die(folder: Path, seconds: float | None) -> None:
    """Kill this process after some seconds, or (None) once the session's folder exists."""
    if seconds is not None:
        time.sleep(seconds)
    else:
        while not (folder / MANIFEST).exists():
            time.sleep(0.0002)
    os.kill(os.getpid(), signal.SIGKILL)


def run(order: dict[str, Any]) -> None:
    """Run one session until it ends or the timer kills this process."""
    folder, key = Path(order["folder"]), WorkspaceKey(Path(order["keys"]))
    timeframe = Timeframe.parse(order["timeframe"])
    bars = Bars(pd.read_parquet(order["bars"]), order["symbol"], timeframe, order["exchange"])
    threading.Thread(target=die, args=(folder, order["seconds"]), daemon=True).start()
    if order["url"]:
        clock = RemoteTime(order["url"], bars, order["until"])
        emulator = type("Elsewhere", (), {"url": order["url"]})
        session, live, events = trading.open_testnet(folder, key, STRATEGY, emulator, clock)  # type: ignore[arg-type]
        session.run(live, events)
    else:
        session = running.open_session(folder, key, STRATEGY, bars)
        session.run(RecordedFeed(bars, pace=120_000.0, wait=time.sleep), read_events(folder))


def serve(orders: TextIO, answers: TextIO) -> None:
    """Answer orders until there are no more."""
    running.JournalWriter = trading.JournalWriter = AcknowledgingWriter  # type: ignore[misc]
    for line in orders:
        order = json.loads(line)
        if order["url"]:
            trading.admission(order["exchange"])  # once for all sessions
        child = os.fork()
        if child == 0:
            try:
                run(order)
            except BaseException as error:
                sys.stderr.write(f"{error!r}\n")
                os._exit(1)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        answers.write("killed\n" if os.WIFSIGNALED(status) else f"ended {os.WEXITSTATUS(status)}\n")
        answers.flush()
