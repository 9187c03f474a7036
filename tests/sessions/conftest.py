"""Real bars, a key, and live sessions on an emulator."""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from pathlib import Path

import pytest

from peak_trade.core.bars import Bars
from peak_trade.data.fetching import connect
from peak_trade.data.store import save_bars
from peak_trade.governance.decision import Decision
from peak_trade.journal.keys import WorkspaceKey
from peak_trade.sessions.control.stop_switch import StopSwitch
from peak_trade.sessions.options import make_config
from peak_trade.sessions.run import resume_session, run_session
from peak_trade.sessions.sandbox.client import connect_sandbox
from peak_trade.sessions.store import session_ids
from peak_trade.studies import evidence
from peak_trade.studies.readiness import admit_again
from tests.sessions import granting
from tests.sessions.running import part_of, read_bars, sealed_sessions, wavy
from tests.sessions.trading import KEYS, NS_PER_MS, EmulatedSwitch, exchange_at


@pytest.fixture(autouse=True)
def _registry_of_grants(request, monkeypatch):
    monkeypatch.setattr(granting, "find_registry", lambda: request.getfixturevalue("empty_registry"))


_reports_of = evidence._reports
_reports = {}


@pytest.fixture(autouse=True)
def _strategies_are_checked_once(monkeypatch):
    """Check a strategy of the package for look-ahead once, not for every grant."""

    def reports(entry):
        if ":" in entry.name:
            return _reports_of(entry)
        asked = entry.model_dump_json()
        if asked not in _reports:
            _reports[asked] = _reports_of(entry)
        return _reports[asked]

    monkeypatch.setattr(evidence, "_reports", reports)


@pytest.fixture(scope="session")
def btc_1h(real_data: Path) -> Bars:
    """Hourly bars of BTC/USDT, 2020-09 to 2023."""
    return read_bars(real_data / "bars" / "binance_BTCUSDT_1h.parquet", "BTC/USDT", "1h")


@pytest.fixture(scope="session")
def btc_1m(real_data: Path) -> Bars:
    """Minute bars of BTC/USDT, ten days of 2024."""
    return read_bars(real_data / "bars" / "binance_BTCUSDT_1m.parquet", "BTC/USDT", "1m")


@pytest.fixture(scope="session")
def key(tmp_path_factory: pytest.TempPathFactory) -> WorkspaceKey:
    """A workspace's key."""
    return WorkspaceKey(tmp_path_factory.mktemp("home") / "keys")


@pytest.fixture
def live(home, btc_1m):
    """Runs a live paper session on the emulator's bars."""
    bars = part_of(btc_1m, 900, 105)
    exchange = exchange_at(bars, 60)
    switch = EmulatedSwitch(exchange, int(bars.times[99]) // NS_PER_MS)

    def run(emulator, risk=None, settings=None, resumes=None, on_status=lambda status: None, skew_ms=0, **asked):
        @contextmanager
        def connected(name):
            with connect(name, emulator.url) as client:
                client.enableRateLimit = False
                yield client

        def sandbox():
            client = connect_sandbox("binance", KEYS, emulator.url)
            client.enableRateLimit = False
            client.milliseconds = lambda: exchange.now_ms
            return client

        def clock():
            return (exchange.now_ms + skew_ms) * NS_PER_MS

        base = {"mode": "paper", "strategy": "ma_crossover", "symbol": "BTC/USDT", "timeframe": "1m"}
        config = make_config(base | asked, {"fast": 3, "slow": 9}, 5_000.0, None)
        if settings is not None:
            config = config.model_copy(update={"trading": settings})
        surroundings = {
            "switch": StopSwitch() if asked.get("feed") == "follow" else switch,
            "on_status": on_status,
            "clock": clock,
            "connect": connected,
        }
        config = config.model_copy(update={"n_history": 50, "risk": risk})
        if config.mode == "testnet" and (risk is not None or resumes is not None):
            config = config.model_copy(update={"risk": granting.with_all_limits(risk)})
            surroundings["sandbox"] = sandbox
            gate = granting.gate(clock, sandbox)
            found = granting.grant_for(config, clock, sandbox) if resumes is None else admit_again(resumes, gate)
            while isinstance(found, Decision) and exchange.now_ms < switch.until:  # a feed without bars is refused
                exchange.advance_to(exchange.now_ms + 60_000)
                found = admit_again(resumes, gate)
            surroundings["grant"] = granting.granted(found)
        if resumes is not None:
            return resume_session(resumes, **surroundings)
        return run_session(config, **surroundings)

    return run, exchange, bars


@pytest.fixture(scope="session")
def one_session(tmp_path_factory):
    """A workspace with the bars of `stored` and one sealed session."""
    return sealed_sessions(tmp_path_factory.mktemp("template") / "home", 1, 120)


@pytest.fixture
def ran(one_session: Path, home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """The session of a copy of that workspace, as if it had just been run."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(one_session, home)
    return session_ids()[0]


@pytest.fixture
def stored(home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A workspace whose store holds the bars."""
    monkeypatch.chdir(tmp_path)
    save_bars(wavy())
    return home
