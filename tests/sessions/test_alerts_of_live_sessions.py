"""The rehearsal of a live session: it is sampled by the times of recording, so an outage of the feed is seen."""

from __future__ import annotations

import pytest

from peak_trade.core.time import NS_PER_SECOND
from peak_trade.journal.events import FeedFault, FeedFaultEvent
from peak_trade.journal.files import read_lines
from peak_trade.observability.rehearsal import rehearse_alerts
from tests.emulator.server import emulated
from tests.observability import programs


@pytest.mark.long
@programs.needs("promtool")
def test_an_outage_of_a_live_feed_fires_until_the_feed_is_back(live):
    run, exchange, _ = live
    n_bars = 0

    def cut(status):
        nonlocal n_bars
        n_bars += 1
        if n_bars == 10:
            emulator.fail("GET", "/api/v3/klines", "drop", times=12)

    with emulated(exchange) as emulator:
        result = run(emulator, on_status=cut)
    lines = list(read_lines(result.folder))
    faults = {line.event.fault: line.ts_recorded for line in lines if isinstance(line.event, FeedFaultEvent)}
    done = rehearse_alerts(result.folder.name)
    (firing,) = [each for each in done.firings if each.alert == "PeakTradeFeedStale"]
    assert faults[FeedFault.DISCONNECTED] < firing.fired < faults[FeedFault.RECONNECTED] <= firing.resolved
    assert firing.resolved - faults[FeedFault.RECONNECTED] <= 15 * NS_PER_SECOND
