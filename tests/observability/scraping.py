"""A real Prometheus that scrapes the exporter of two sessions: a paced one, and one that is written event by event.

The paced session trades until a crash, after which its entries are denied. The other one has what a paper session over
a recording does not have: rejections, a clock offset, faults of the feed, a mismatch and a kill.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from peak_trade.core.values import OrderType, Side, TimeInForce, TradingState
from peak_trade.data.store import save_bars
from peak_trade.data.workspace import workspace_at
from peak_trade.journal.events import (
    AlertEvent,
    AlertLevel,
    BarEvent,
    ClockOffsetEvent,
    EndCause,
    Event,
    FeedFault,
    FeedFaultEvent,
    OrderEvent,
    OrderEventKind,
    ReconciliationEvent,
    SessionEvent,
    SessionPhase,
    TradingStateCause,
    TradingStateEvent,
)
from peak_trade.journal.keys import WorkspaceKey
from peak_trade.journal.writer import JournalWriter, create_session
from peak_trade.sessions.config import SessionConfig
from tests.observability.alert_cases import OBSERVABILITY
from tests.observability.troubled import CONFIG, RUN, troubled_bars

ROOT = Path(__file__).parents[2]
WRITTEN = "20240101_000000_testnet_ma_crossover_BTC-USDT_1m"
"""Id of the session that is written event by event."""
KIND = OrderEventKind


@dataclass(frozen=True)
class Scraped:
    """A running Prometheus with its query API, and the folder of the workspace."""

    url: str
    home: Path
    started: float

    def get(self, path: str, **parameters: object) -> Any:
        """Return the `data` of an answer of the HTTP API."""
        with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}") as answer:
            return json.load(answer)["data"]

    def query(self, expression: str) -> list[tuple[dict[str, str], float]]:
        """Return the series of an instant query: labels and value."""
        return [(each["metric"], float(each["value"][1])) for each in self.get("query", query=expression)["result"]]

    def query_range(self, expression: str, step: float = 1.0) -> list[tuple[dict[str, str], list[list[Any]]]]:
        """Return the series of a range query since the start: labels and pairs of time and value."""
        found = self.get("query_range", query=expression, start=self.started, end=time.time(), step=step)
        return [(each["metric"], each["values"]) for each in found["result"]]


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


def wait_until(is_true: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait until a condition holds; AssertionError when it does not in time."""
    end = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < end, f"{is_true} did not become true within {seconds:g} s"
        time.sleep(0.2)


@contextmanager
def running(command: list[str], log: Path, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program while the block runs."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, **options)
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


def answers(url: str) -> bool:
    """Return whether a server answers."""
    try:
        with urllib.request.urlopen(url):
            return True
    except OSError:
        return False


def scrape_configuration(exporter_port: int) -> dict[str, Any]:
    """Return prometheus.yml with the target of this test, absolute paths, and one second between two scrapes."""
    config: dict[str, Any] = yaml.safe_load((OBSERVABILITY / "prometheus.yml").read_text(encoding="utf-8"))
    config["global"] = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
    config["rule_files"] = [str(OBSERVABILITY / name) for name in config["rule_files"]]
    config["scrape_configs"][0]["static_configs"] = [{"targets": [f"127.0.0.1:{exporter_port}"]}]
    del config["alerting"]
    return config


@contextmanager
def scraped(folder: Path, start: str = "2024-01-01T03:00", n_bars: int = 30, pace: float = 120.0) -> Iterator[Scraped]:
    """Run both sessions to their ends under the eyes of Prometheus, and yield it while it still runs."""
    home, port, exporter_port = folder / "home", free_port(), free_port()
    environment = os.environ | {"PEAK_TRADE_HOME": str(home), "PYTHONPATH": str(ROOT)}
    with workspace_at(home):
        save_bars(troubled_bars())
    (folder / "troubled.toml").write_text(CONFIG, encoding="utf-8")
    (folder / "prometheus.yml").write_text(yaml.safe_dump(scrape_configuration(exporter_port)), encoding="utf-8")
    peak_trade = [sys.executable, "-m", "peak_trade.cli"]
    span = ["--start", start, "--duration", f"{n_bars}m", "--pace", f"{pace:g}x"]
    serve = [*peak_trade, "metrics", "serve", "--port", str(exporter_port)]
    prometheus = ["prometheus", f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'tsdb'}"]
    prometheus += [f"--web.listen-address=127.0.0.1:{port}"]
    with (
        running(serve, folder / "exporter.log", cwd=folder, env=environment),
        running(prometheus, folder / "prometheus.log", cwd=folder),
    ):
        found = Scraped(f"http://127.0.0.1:{port}", home, time.time())
        wait_until(lambda: answers(f"http://127.0.0.1:{exporter_port}/metrics"))
        wait_until(lambda: answers(f"{found.url}/-/ready"))
        with running([*peak_trade, *RUN, *span], folder / "session.log", cwd=folder, env=environment) as session:
            write_session(home, n_bars * 60.0 / pace)
            assert session.wait(120) == 0, (folder / "session.log").read_text()
        time.sleep(2.5)
        yield found


def write_session(home: Path, seconds: float) -> None:
    """Write a testnet session over the given time, and leave it running in its kill."""
    config = SessionConfig.from_manifest(
        {
            "mode": "testnet",
            "strategies": [{"name": "ma_crossover"}],
            "symbols": [{"name": "BTC/USDT"}],
            "timeframe": "1m",
            "exchange": "binance",
        },
        "test",
    )
    folder, key = home / "sessions" / WRITTEN, WorkspaceKey(home / "keys")
    folder.parent.mkdir(parents=True, exist_ok=True)
    manifest = {"version": 2, "session_id": WRITTEN, "config": config.model_dump(mode="json")}
    create_session(folder, manifest, key, time.time_ns)
    journal = JournalWriter(folder, key, time.time_ns, commit_seconds=0.2)
    stages = list(_stages())
    for make in stages:
        for event in make(time.time_ns()):
            journal.append(event)
        time.sleep(seconds / len(stages))
    journal.close()


def _stages() -> Iterator[Callable[[int], list[Event]]]:
    yield lambda now: [
        SessionEvent(now, SessionPhase.STARTED, "testnet", "", 10_000.0),
        ClockOffsetEvent(now, "binance", 40.0, 12.0),
        _bar(now, 100.0),
    ]
    yield lambda now: [*_order(now, "a", KIND.FILLED), _bar(now, 101.0)]
    yield lambda now: [*_order(now, "b", KIND.REJECTED), *_order(now, "c", KIND.REJECTED), _bar(now, 99.0)]
    yield lambda now: [
        *[each for order_id in "def" for each in _order(now, order_id, KIND.REJECTED)],
        FeedFaultEvent(now, "BTC/USDT", FeedFault.DISCONNECTED, 0, ""),
        AlertEvent(now, AlertLevel.WARNING, "exit_refused", "an exit was refused", 1.0, 0.0),
        ReconciliationEvent(now, "BTC", 1.0, 2.0, False),
    ]
    yield lambda now: [
        TradingStateEvent(now, TradingState.HALTED, "kill", 1.0, 0.0, "ada", TradingStateCause.KILL),
    ]
    yield lambda now: []


def _bar(now: int, close: float) -> BarEvent:
    return BarEvent(now, "BTC/USDT", close, close + 1.0, close - 1.0, close, 10.0)


def _order(now: int, order_id: str, last: OrderEventKind) -> list[Event]:
    def event(kind: OrderEventKind, time_of: int, **changes: Any) -> OrderEvent:
        fields = {"quantity": 1.0, "cumulative": 0.0, "leaves": 1.0, "decision_price": 100.0, "arrival_price": 100.0}
        return OrderEvent(
            time_of, order_id, "ma_crossover", "BTC/USDT", kind, Side.BUY, OrderType.MARKET, TimeInForce.GTC,
            **(fields | changes),
        )  # fmt: skip

    later = now + 250_000_000
    end = {
        KIND.FILLED: {"cumulative": 1.0, "leaves": 0.0, "last_quantity": 1.0, "last_price": 100.1, "fee": 0.1},
        KIND.REJECTED: {"cause": EndCause.EXCHANGE, "reason": "by the exchange", "leaves": 0.0},
    }[last]
    before = [event(kind, now) for kind in (KIND.REQUESTED, KIND.SUBMITTED)]
    accepted = [event(KIND.ACCEPTED, now)] if last is KIND.FILLED else []
    return [*before, *accepted, event(last, later, **end)]
