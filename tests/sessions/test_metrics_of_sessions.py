"""The metrics of a live session at the emulator: scraped at every bar, through an interruption, and by its own port."""

from __future__ import annotations

import random
import socket
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import pytest

from peak_trade.cli import main
from peak_trade.journal.files import is_sealed, read_events
from peak_trade.observability.exporter import Exporter
from peak_trade.observability.metrics import METRICS
from peak_trade.risk.limits import RiskLimits
from peak_trade.sessions.runner import Session
from peak_trade.sessions.store import find_session, session_ids, summary
from tests.emulator.server import emulated
from tests.examples import mostly_long
from tests.observability.following import counters_of, counts_of, is_counter, text_of, value, values_of
from tests.sessions.running import RUN
from tests.sessions.trading import NS_PER_MS


@pytest.mark.long
@pytest.mark.parametrize("mode", ["paper", "testnet"])
def test_an_interruption_of_a_live_session_makes_no_counter_fall(live, mode):
    run, exchange, _ = live

    def clock():
        return exchange.now_ms * NS_PER_MS

    exporter = Exporter(clock=clock)
    before, n_bars = {}, 0

    def scrape(status):
        nonlocal n_bars
        n_bars += 1
        if n_bars % 4 and status.state.startswith("running"):
            return
        now = values_of(exporter)
        assert all(now[series] >= number for series, number in before.items() if is_counter(series))
        before.update(now)
        if status.state.startswith("running"):
            assert value(exporter, "session_running") == 1
            assert value(exporter, "feed_age_seconds", mode=mode) >= 0.0
        if n_bars == 16:
            raise KeyboardInterrupt
        texts = [text_of(each) for each in (exporter, Exporter(clock=clock), exporter)]
        assert texts[0] != texts[2] or texts[1] == texts[0], "equal, unless the journal grew in between"

    with emulated(exchange) as emulator:
        with pytest.raises(KeyboardInterrupt):
            run(emulator, RiskLimits(max_gross_exposure=1.0), mode=mode, on_status=scrape)
        (name,) = [each for each in session_ids() if f"_{mode}_" in each]
        assert value(exporter, "session_running") == 0
        assert value(exporter, "journal_verified") == 1
        run(emulator, resumes=name, on_status=scrape, mode=mode)
    assert value(exporter, "session_running") is None
    assert value(exporter, "journal_verified") == 1
    assert value(exporter, "clock_offset_seconds") is not None
    assert value(exporter, "position_mismatch") == 0
    assert n_bars > 30
    counts = counts_of(read_events(find_session(name)))
    assert sum(counts["orders_total"].values()) >= 4
    assert counters_of(exporter, "orders_total", "side", "status") == counts["orders_total"]
    assert counters_of(exporter, "fills_total", "side") == counts["fills_total"]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


RUNNING = 'peak_trade_session_running{mode="paper",strategy="ma_crossover",symbol="BTC/USDT"} 1.0'


def scraped(port: int) -> str:
    """The metrics at a port, once a session with a bar runs; one that is resumed does not run at first."""
    for _ in range(1_000):
        try:
            text = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5).read().decode()
        except OSError:
            text = ""
        if "peak_trade_last_bar_timestamp_seconds{" in text and RUNNING in text:
            return text
        time.sleep(0.01)
    raise AssertionError("no metric of a session")


PACED = [*RUN, "--pace", "14400x", "--duration", "300h"]
"""Four bars a second, so that there is time for a scrape; the session ends after it."""


def ending_after(scrape, by):
    """End a session after a scrape, in the place of `Session._is_over`."""

    def is_over(_session, _now):
        return by() if scrape.done() else False

    return is_over


def interrupt():
    raise KeyboardInterrupt


@pytest.mark.long
def test_a_session_serves_its_own_metrics_while_it_runs_and_while_it_is_resumed(stored, monkeypatch):
    assert main(RUN) == 0
    port = free_port()
    with ThreadPoolExecutor(1) as pool, monkeypatch.context() as patch:
        texts = [pool.submit(scraped, port)]
        patch.setattr(Session, "_is_over", ending_after(texts[0], interrupt))
        assert main([*PACED, "--metrics-port", str(port)]) == 130
    (name,) = [each for each in session_ids() if not is_sealed(find_session(each))]
    with ThreadPoolExecutor(1) as pool, monkeypatch.context() as patch:
        texts.append(pool.submit(scraped, port))
        patch.setattr(Session, "_is_over", ending_after(texts[1], lambda: True))
        assert main(["session", "resume", name, "--quiet", "--no-record", "--metrics-port", str(port)]) == 0
    for text in texts:
        assert RUNNING in text.result()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)


def test_a_session_does_not_start_when_its_port_is_taken(stored, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main([*RUN, "--metrics-port", str(port)]) == 2
    assert f"port {port} of 127.0.0.1 could not be opened" in capsys.readouterr().err
    assert session_ids() == []


def any_run_file(chance: random.Random) -> str:
    """Costs, order type and limits that trade, deny and halt more or less often."""
    kind = chance.choice(["market", "limit", "stop"])
    offset = {"limit": "limit_offset_bps = 20.0", "stop": "stop_offset_bps = 10.0"}.get(kind, "")
    return f"""
        [costs]
        fee_bps = {chance.choice([0.0, 10.0])}
        slippage_bps = {chance.choice([0.0, 5.0])}
        max_participation = {chance.choice([1.0, 2e-5])}

        [execution]
        order_type = "{kind}"
        {offset}

        [risk]
        max_gross_exposure = {chance.choice([0.3, 1.0])}
        size_to_limits = {chance.choice(["true", "false"])}
        max_orders = {chance.choice([1, 60])}
        order_window = 50000.0
        max_drawdown = {chance.choice([0.01, 0.5])}

        [risk.state]
        halt_drawdown = {chance.choice([0.02, 0.6])}
    """


@pytest.mark.parametrize("seed", mostly_long(range(24), 1))
def test_the_counters_of_a_session_with_any_settings_are_the_counts_of_its_journal(stored, tmp_path, seed):
    chance = random.Random(seed)
    (tmp_path / "run.toml").write_text(any_run_file(chance), encoding="utf-8")
    speeds = ["-p", f"fast={chance.randint(2, 5)}", "-p", f"slow={chance.randint(6, 20)}"]
    assert main([*RUN[:-4], *speeds, "--config", str(tmp_path / "run.toml")]) == 0
    exporter, folder = Exporter(), find_session(session_ids()[0])
    counts = counts_of(read_events(folder))
    for metric in METRICS:
        if metric.short_name in counts:
            found = counters_of(exporter, metric.short_name, *metric.labels)
            assert found == counts[metric.short_name], metric.name
    assert value(exporter, "equity_quote") == pytest.approx(summary(folder).equity, rel=1e-12)
    assert value(exporter, "orders_open") == 0
    assert counts["orders_total"], "a session that orders nothing shows nothing"
