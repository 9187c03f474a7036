"""An exchange's keys are in no file of a session and in no output."""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager

import pandas as pd

from peak_trade.cli import main
from peak_trade.cli.session import status_rows
from peak_trade.data.fetching import connect
from peak_trade.journal.telemetry import TelemetrySettings
from peak_trade.risk.limits import RiskLimits
from peak_trade.sessions.options import make_config
from peak_trade.sessions.run import run_session
from peak_trade.sessions.sandbox.client import connect_sandbox
from tests.emulator.server import emulated
from tests.sessions import granting
from tests.sessions.running import part_of
from tests.sessions.trading import KEYS, NS_PER_MS, EmulatedSwitch, exchange_at

SINKS = {name: {"enabled": True, "level": "full"} for name in ("sqlite", "parquet", "stdout")}


def test_keys_are_in_no_file_and_no_output(home, tmp_path, btc_1m, capsys, caplog, monkeypatch):
    """Manifest, journal, every copy, exports, the live view and the terminal; also when the exchange refuses."""
    for name, secret in KEYS.items():
        monkeypatch.setenv(name, secret)
    bars = part_of(btc_1m, 900, 105)
    exchange = exchange_at(bars, 60)
    seen = []
    with emulated(exchange) as emulator:

        def sandbox():
            client = connect_sandbox("binance", KEYS, emulator.url)
            client.enableRateLimit = False
            client.milliseconds = lambda: exchange.now_ms
            return client

        @contextmanager
        def connected(name):
            with connect(name, emulator.url) as client:
                yield client

        asked = {"mode": "testnet", "strategy": "ma_crossover", "symbol": "BTC/USDT", "timeframe": "1m"}
        config = make_config(asked, {"fast": 3, "slow": 9}, 5_000.0, None)
        risk = granting.with_all_limits(RiskLimits(max_gross_exposure=2.0))
        config = config.model_copy(update={"n_history": 50, "risk": risk})

        def clock():
            return exchange.now_ms * NS_PER_MS

        grant = granting.grant_for(config, clock, sandbox)
        emulator.fail("POST", "/api/v3/order", "error", status=400, code=-1013, message="Filter failure: LOT_SIZE")
        emulator.fail("GET", "/api/v3/klines", "drop")
        outcome = run_session(
            config,
            switch=EmulatedSwitch(exchange, int(bars.times[99]) // NS_PER_MS),
            clock=clock,
            grant=grant,
            on_status=seen.append,
            telemetry=TelemetrySettings.parse({"sinks": SINKS}, "test"),
            connect=connected,
            sandbox=sandbox,
        )
    name = outcome.folder.name
    for suffix in ("csv", "json", "parquet"):
        assert main(["audit", "export", "--session", name, "--output", str(tmp_path / f"trail.{suffix}")]) == 0
    for verb in (["session", "show", name], ["session", "show", name, "--json"], ["session", "list"],
                 ["audit", "verify", name], ["replay", "--session", name]):  # fmt: skip
        assert main(verb) == 0
    view = str([status_rows(status, status.last_bar) for status in seen])
    printed = capsys.readouterr()
    database = sqlite3.connect(outcome.folder / "events.db")
    rows = database.execute("select event from events").fetchall()
    database.close()
    texts = {
        "out": printed.out, "err": printed.err, "log": caplog.text, "view": view, "rows": str(rows),
        "copy": pd.read_parquet(outcome.folder / "events.parquet").to_csv(),
    } | {
        path.name: path.read_bytes().decode(errors="replace")
        for path in tmp_path.rglob("*") if path.is_file()
    }  # fmt: skip
    assert {"manifest.json", "events.jsonl", "checkpoints.jsonl", "events.db", "events.parquet", "trail.csv",
            "trail.json", "trail.parquet"} <= texts.keys()  # fmt: skip
    assert outcome.status.n_fills >= 4
    assert "LOT_SIZE" in texts["events.jsonl"]
    assert all(len(texts[where]) > 500 for where in ("out", "view", "rows", "copy"))
    assert '"kind":"bar"' in texts["out"]
    for secret in KEYS.values():
        assert [where for where, text in texts.items() if secret in text] == []
