"""A session never sends an order except to a sandbox, and never continues when it can not record."""

from __future__ import annotations

import re
import resource
from pathlib import Path

import pytest

import peak_trade
from peak_trade.cli.session import status_rows
from peak_trade.core.errors import SessionError
from peak_trade.journal.codec import encode_event
from peak_trade.journal.events import OrderEvent
from peak_trade.journal.files import EVENTS, read_events
from peak_trade.journal.verify import VerdictKind, verify
from peak_trade.sessions.feeds.base import RecordedFeed
from peak_trade.sessions.runner import LOOP_EVENTS
from peak_trade.strategies.ma_crossover import MaCrossover
from peak_trade.wiring.exchanges import EXCHANGES, sandbox_class
from tests.sessions.running import open_session, part_of, run_session

STRATEGY = MaCrossover(fast=3, slow=9)
SOURCES = {path: path.read_text(encoding="utf-8") for path in Path(peak_trade.__file__).parent.rglob("*.py")}


def test_orders_are_sent_from_one_place_only():
    senders = [
        path.relative_to(path.parents[1]).as_posix()
        for path, text in SOURCES.items()
        if re.search(r"create_\w*order|\.private_?(post|Post)", text)
    ]
    assert senders == ["sandbox/venue.py"]


@pytest.mark.long
def test_the_code_names_no_other_exchange_host():
    hosts = {
        host
        for text in SOURCES.values()
        for host in re.findall(r"[\w.-]+\.(?:binance|kraken)\.\w+|[\w.-]*(?:binance|kraken)\.(?:com|vision|us)", text)
    }
    assert hosts == {"testnet.binance.vision", "demo-futures.kraken.com"}
    assert hosts == {sandbox_class(name).access.host for name, row in EXCHANGES.items() if row.sandbox}


def test_a_full_disk_stops_a_session_before_an_order_leaves_and_it_can_be_resumed(tmp_path, key, btc_1m):
    """A file size limit of the kernel stands for the full disk."""
    bars = part_of(btc_1m, 0, 200)
    run_session(tmp_path / "whole", key, STRATEGY, bars)
    whole = [encode_event(event) for event in read_events(tmp_path / "whole") if isinstance(event, LOOP_EVENTS)]
    folder = tmp_path / "s"
    session = open_session(folder, key, STRATEGY, bars)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, ((tmp_path / "whole" / EVENTS).stat().st_size // 2, limits[1]))
        with pytest.raises(SessionError, match="could not be written to disk"):
            session.run(RecordedFeed(bars))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        session.journal.close()
    held = read_events(folder)
    sent = {order.order.order_id for order in session.loop.venue.resting()} | {f.order_id for f in session.loop.fills}
    assert sent <= {event.order_id for event in held if isinstance(event, OrderEvent)}
    assert verify(folder, key.public).finding is VerdictKind.UNSEALED
    again = open_session(folder, key, STRATEGY, bars)
    again.run(RecordedFeed(bars), held)
    assert [encode_event(event) for event in read_events(folder) if isinstance(event, LOOP_EVENTS)] == whole


def test_a_session_that_does_not_repeat_itself_is_not_resumed(tmp_path, key, btc_1m):
    bars = part_of(btc_1m, 0, 200)
    folder = tmp_path / "s"
    session = open_session(folder, key, STRATEGY, bars)
    with pytest.raises(ZeroDivisionError):
        session.run(_Breaking(bars))
    session.journal.close()
    other = open_session(folder, key, MaCrossover(fast=4, slow=9), bars)
    with pytest.raises(SessionError, match="the recorded bars lead to"):
        other.run(RecordedFeed(bars), read_events(folder))
    other.journal.close()


class _Breaking(RecordedFeed):
    def items(self, after):
        for n, item in enumerate(super().items(after)):
            if n == 120:
                raise ZeroDivisionError
            yield item


def test_the_live_view_shows_where_a_session_stands(tmp_path, key, btc_1m):
    bars = part_of(btc_1m, 0, 60)
    seen = []
    session = run_session(tmp_path / "s", key, STRATEGY, bars, on_status=seen.append)
    shown = dict(status_rows(seen[-1], seen[-1].last_bar + 90 * 10**9))
    assert {"state", "position", "PnL", "last bar", "denials", "equity"} <= shown.keys()
    assert shown["last bar"].endswith("(90 s ago)")
    assert len(seen) == 61
    assert session.status("stopped").n_fills == len(session.loop.fills)
