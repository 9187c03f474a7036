"""Alerts reach a webhook, and a webhook that does not respond delays nothing."""

from __future__ import annotations

import json
import math
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from peak_trade.cli import main
from peak_trade.core.errors import ConfigError
from peak_trade.core.values import TradingState
from peak_trade.journal import sinks as journal_sinks
from peak_trade.journal.events import AlertEvent, AlertLevel, BarEvent, TradingStateEvent
from peak_trade.journal.keys import WorkspaceKey
from peak_trade.journal.sinks import WebhookSettings, webhook_url
from peak_trade.journal.telemetry import Sinks, make_sinks
from peak_trade.journal.verify import VerdictKind, verify
from peak_trade.journal.writer import JournalWriter, create_session

WARNING = AlertEvent(1, AlertLevel.WARNING, "late", "a bar is late", math.inf, 1.0)
CRITICAL = AlertEvent(2, AlertLevel.CRITICAL, "unequal", "the account differs", 1.0, 0.0)
HALTED = TradingStateEvent(3, TradingState.HALTED, "drawdown", 0.3, 0.2)
EVENTS = [BarEvent(1, "BTC/USDT", 1.0, 1.0, 1.0, 1.0, 1.0), WARNING, CRITICAL, HALTED]
VARIABLE = "PEAK_TRADE_WEBHOOK_URL"


class Receiver:
    """A server on loopback that responds with `statuses`, and repeats the last one."""

    def __init__(self) -> None:
        self.statuses, self.got, self.paths = [204], [], []
        self.is_free = threading.Event()
        self.is_free.set()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                receiver.is_free.wait(10.0)
                receiver.paths.append(self.path)
                receiver.got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                status = receiver.statuses[0] if len(receiver.statuses) == 1 else receiver.statuses.pop(0)
                self.send_response(status)
                self.end_headers()

            def log_message(self, *_):
                """Log nothing."""

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/secret?token=1"

    def close(self) -> None:
        self.is_free.set()
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def receiver(monkeypatch):
    monkeypatch.setattr(journal_sinks, "_RETRY_DELAYS", (0.0, 0.01, 0.01))
    found = Receiver()
    monkeypatch.setenv(VARIABLE, found.url)
    yield found
    found.close()


def start(tmp_path, **settings: object) -> JournalWriter:
    key, folder = WorkspaceKey(tmp_path / "keys"), tmp_path / "s"
    create_session(folder, {}, key, lambda: 1)
    sinks = make_sinks(Sinks.parse({"webhook": {"enabled": True} | settings}, "test"), folder)
    return JournalWriter(folder, key, lambda: 7, sinks=sinks, commit_seconds=60.0)


def record(writer: JournalWriter) -> None:
    for event in EVENTS:
        writer.append(event)
    writer.seal()


@pytest.mark.parametrize(("level", "expected"), [("warning", [2, 3, 4]), ("critical", [3, 4])])
def test_alerts_from_the_level_up_and_changes_of_state_are_posted(tmp_path, receiver, level, expected):
    writer = start(tmp_path, level=level)
    record(writer)
    assert [post["sequence"] for post in receiver.got] == expected
    assert receiver.got[-1] == {
        "event": {"actor": "", "kind": "trading_state", "limit": 0.2, "observed": 0.3, "reason": "drawdown",
                  "state": "halted", "ts_event": 3},
        "sequence": 4, "session_id": "s", "ts_recorded": 7,
    }  # fmt: skip
    assert set(receiver.paths) == {"/secret?token=1"}
    assert writer.dropped_sinks == []


def test_a_passing_failure_is_tried_again(tmp_path, receiver):
    receiver.statuses = [503, 429, 200]
    writer = start(tmp_path)
    record(writer)
    assert [post["sequence"] for post in receiver.got] == [2, 2, 2, 3, 4]
    assert writer.dropped_sinks == []


@pytest.mark.parametrize(("status", "n_tries"), [(500, 3), (404, 1), (403, 1)])
def test_a_webhook_that_refuses_is_dropped_and_the_session_is_sealed(tmp_path, receiver, status, n_tries):
    receiver.statuses = [status]
    writer = start(tmp_path)
    record(writer)
    assert len(receiver.got) == n_tries
    assert writer.dropped_sinks == [f"WebhookSink: an alert was not accepted (HTTP {status})"]
    assert verify(writer.folder, None).finding is VerdictKind.INTACT


def test_a_webhook_that_is_not_there_is_dropped_without_telling_its_url(tmp_path, receiver, monkeypatch):
    monkeypatch.setenv(VARIABLE, "http://127.0.0.1:1/secret")
    writer = start(tmp_path)
    record(writer)
    assert writer.dropped_sinks == ["WebhookSink: an alert could not be delivered in 3 tries (ConnectionRefusedError)"]
    assert verify(writer.folder, None).finding is VerdictKind.INTACT


def test_a_failure_is_known_at_the_next_handing_out(tmp_path, receiver):
    receiver.statuses = [404]
    writer = start(tmp_path)
    writer.append(WARNING)
    deadline = time.monotonic() + 5.0
    while not writer.dropped_sinks and time.monotonic() < deadline:
        writer.append(EVENTS[0])
        writer.commit()
        writer.flush_sinks()
    assert writer.dropped_sinks
    writer.seal()


def test_a_slow_receiver_holds_neither_commits_nor_copies_up(tmp_path, receiver):
    receiver.is_free.clear()
    writer = start(tmp_path)
    for event in EVENTS:
        writer.append(event)
    writer.commit()
    writer.flush_sinks()
    assert (writer.committed, receiver.got) == (len(EVENTS), [])
    receiver.is_free.set()
    writer.seal()
    assert [post["sequence"] for post in receiver.got] == [2, 3, 4]


def test_the_end_of_a_session_waits_only_so_long(tmp_path, receiver, monkeypatch):
    monkeypatch.setattr(journal_sinks, "_CLOSE_SECONDS", 0.05)
    receiver.is_free.clear()
    writer = start(tmp_path)
    record(writer)
    assert writer.dropped_sinks == ["WebhookSink: alerts were still pending 0.05 s after the end"]
    assert verify(writer.folder, None).finding is VerdictKind.INTACT


@pytest.mark.parametrize(
    "url",
    [
        "",
        "http://example.org/x",
        "ftp://127.0.0.1/x",
        "https:///x",
        "https://me:it@h/",
        "https://h:x/",
        "https://h/a b",
        "https://h/\n",
        "x",
    ],
)
def test_a_url_that_can_not_be_used_is_refused_without_telling_it(url):
    with pytest.raises(ConfigError) as refused:
        webhook_url(WebhookSettings(enabled=True), {VARIABLE: url})
    assert VARIABLE in str(refused.value)
    assert len(url) < 2 or url not in str(refused.value)


def test_a_webhook_that_is_off_needs_no_url():
    assert webhook_url(WebhookSettings(), {}) is None


def test_a_session_without_the_url_does_not_start(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PEAK_TRADE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv(VARIABLE, raising=False)
    (tmp_path / "t.toml").write_text("[sinks.webhook]\nenabled = true\n")
    asked = ["session", "run", "--symbol", "BTC/USDT", "--timeframe", "1m", "--telemetry", "t.toml"]
    assert main(asked) == 2
    assert VARIABLE in capsys.readouterr().err
    assert not (tmp_path / "home" / "sessions").exists()
