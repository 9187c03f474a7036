"""A testnet session at the emulated Kraken futures, through the real client: longs, shorts, faults, kills, replay."""

from __future__ import annotations

import pytest

from tests.sessions.running import part_of
from tests.sessions.trading import N_BARS, N_HISTORY, as_perpetual, assert_books_agree, orders_of, run
from peak_trade.journal.events import OrderEventKind


@pytest.fixture
def market(btc_1m):
    return as_perpetual(part_of(btc_1m, 900, N_HISTORY + N_BARS + 5))


def test_a(tmp_path, key, market):
    events, session, emulator = run(tmp_path / "s", key, market)
    assert len(orders_of(events, OrderEventKind.FILLED)) >= 4
    assert_books_agree(events, session, emulator)
