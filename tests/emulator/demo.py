"""The demo's pair of sessions: one that trades at the emulated exchange, and its shadow.

`python -m tests.emulator.demo` runs them over sample bars, once, in a workspace of their own, and prints its folder and
their ids on the last line. The exchange answers late, fills in parts and charges another fee than the shadow assumes:
the diff has to find these causes. The live session is refused first, then approved and admitted.
"""

from __future__ import annotations

import contextlib
import json
import random
import re
import secrets
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from peak_trade.core.bars import Bars
from peak_trade.core.time import NS_PER_SECOND, iso
from peak_trade.core.values import Instrument
from peak_trade.data.fetching import connect
from peak_trade.data.sample import sample_bars
from peak_trade.data.store import save_bars
from peak_trade.data.workspace import package_data, workspace, workspace_at
from peak_trade.governance.approval import Approval, sign
from peak_trade.governance.decision import Decision
from peak_trade.governance.keys import ApproverKey, make_approver_key
from peak_trade.governance.log import GovernanceLog
from peak_trade.governance.policy import read_policy
from peak_trade.governance.signing import APPROVALS
from peak_trade.sessions.config import SessionConfig
from peak_trade.sessions.control.drill import run_drill
from peak_trade.sessions.control.stop_switch import StopSwitch
from peak_trade.sessions.run import run_session
from peak_trade.sessions.sandbox.admission import request_of
from peak_trade.sessions.sandbox.client import connect_sandbox
from peak_trade.studies.backtest import backtest
from peak_trade.studies.readiness import Gate, start
from peak_trade.studies.recording import record
from peak_trade.wiring.strategies import make_strategy
from tests.emulator.exchange import Exchange
from tests.emulator.server import KEY, SECRET, Emulator

NS_PER_MS = 1_000_000
KEYS = {"BINANCE_TESTNET_KEY": KEY, "BINANCE_TESTNET_SECRET": SECRET}
HOME = "demo"
"""Folder of the demonstration's workspace in the workspace: its policy and its key are for nothing else."""

N_TESTED = 3_000
"""Bars of the backtest, before all others."""

N_HISTORY, N_SHADOWED, N_TRADED = 200, 30, 160
SHARED: dict[str, Any] = {
    "strategy": "ma_crossover",
    "parameters": {"fast": 5, "slow": 13, "direction": "long"},
    "symbol": "BTC/USDT",
    "timeframe": "1h",
    "exchange": "binance",
    "instrument": {"tick_size": 0.01, "lot_size": 0.00001, "min_notional": 5.0, "is_shortable": False},
    "trading": {"sizing": {"kind": "fraction_of_equity", "fraction": 0.8}},
    "risk": {
        "max_order_notional": 12_000.0,
        "max_gross_exposure": 1.0,
        "max_symbol_exposure": 1.0,
        "max_daily_loss_fraction": 0.2,
        "max_drawdown": 0.5,
        "max_price_deviation": 0.05,
        "max_open_orders": 5,
        "max_orders": 10,
    },
}
DEMONSTRATED = {
    "max_order_notional": 12_000.0,
    "max_symbol_exposure": 1.0,
    "max_daily_loss_fraction": 0.2,
    "max_drawdown": 0.6,
    "max_clock_offset_ms": 5_000.0,
    "min_sharpe": -10.0,
    "min_deflated_sharpe": 0.0,
}
"""Numbers of the policy that differ from the shipped ones: the demonstration's strategy loses on the sample bars."""


class EmulatedClock(StopSwitch):
    """The exchange's time; waiting advances it, and the end of the recording stops the session."""

    def __init__(self, exchange: Exchange, until_ms: int) -> None:
        super().__init__()
        self.exchange, self.until_ms = exchange, until_ms

    def now(self) -> int:
        return self.exchange.now_ms * NS_PER_MS

    def wait(self, seconds: float) -> bool:
        self.exchange.advance_to(self.exchange.now_ms + max(1, int(seconds * 1_000)))
        if self.exchange.now_ms >= self.until_ms:
            self.stop("end of the recording")
        return self.is_stopping


def main() -> int:
    """Run the pair unless it is there; print the folder of its workspace and `shadow live`."""
    home = workspace() / HOME
    pair = run_pair(home)
    sys.stdout.write(" ".join([str(home), *(folder.name for folder in pair)]) + "\n")
    return 0


def run_pair(home: Path) -> tuple[Path, ...]:
    """Run the pair in a workspace of its own unless it is there; return the folders of the shadow and the live session.

    The live session passes the live-execution gate: with evidence that is recorded here, on the emulator's clock, and
    with the approval of a key that is made for it and then thrown away.
    """
    held = home / "demo_sessions.json"
    names = json.loads(held.read_text(encoding="utf-8")) if held.is_file() else []
    if not names or not all((home / "sessions" / name).is_dir() for name in names):
        with workspace_at(home):
            names = _make_pair()
        held.write_text(json.dumps(names), encoding="utf-8")
    return tuple(home / "sessions" / name for name in names)


def _make_pair() -> list[str]:
    whole = sample_bars("BTC/USDT")
    n_bars = N_HISTORY + N_SHADOWED + N_TRADED + 5
    bars = Bars(whole.frame.iloc[-n_bars:], whole.symbol, whole.timeframe, "binance")
    exchange = Exchange(bars, seed=7, fee=0.0012, partial_share=0.5)
    exchange.advance_to(int(bars.times[N_HISTORY - 1]) // NS_PER_MS)
    clock = EmulatedClock(exchange, _end_after(bars, N_SHADOWED))
    delays = random.Random(7)
    emulator = Emulator(
        exchange, latency=lambda: exchange.advance_to(exchange.now_ms + delays.randrange(50, 2_500)), over_http=True
    )
    with contextlib.closing(emulator), tempfile.TemporaryDirectory() as keys:
        record_shadow(emulator, clock)
        record_backtest(Bars(whole.frame.iloc[-n_bars - N_TESTED : -n_bars], whole.symbol, whole.timeframe, "binance"))
        key = Path(keys) / "demonstration.pem"
        adopt_policy(make_approver_key(key, None, []), clock)
        live = trade_live(bars, emulator, clock, ApproverKey(key))
    shadow = run_session(
        SessionConfig.parse({**SHARED, "mode": "shadow", "feed": "follow", "follow": live.name}, "demo")
    )
    return [shadow.folder.name, live.name]


def record_shadow(emulator: Emulator, clock: EmulatedClock) -> None:
    """Record a paper session at the emulator and a shadow of it that lasts more than a day of the emulator's time."""

    @contextlib.contextmanager
    def connected(name: str) -> Iterator[Any]:
        with connect(name, emulator.url) as client:
            client.enableRateLimit = False
            yield client

    paper = SessionConfig.parse({**SHARED, "mode": "paper", "n_history": N_HISTORY}, "demo")
    started = clock.now()
    followed = run_session(paper, switch=clock, clock=clock.now, connect=connected).folder
    seen = [started]
    run_session(
        SessionConfig.parse({**SHARED, "mode": "shadow", "feed": "follow", "follow": followed.name}, "demo"),
        clock=lambda: seen[-1],
        on_status=lambda status: seen.append(max(started, status.last_bar)),
    )


def record_backtest(bars: Bars) -> None:
    """Record a backtest of the strategy on the bars before, and a second trial for its deflated Sharpe ratio."""
    save_bars(bars)
    instruments = {bars.symbol: Instrument(bars.symbol, **SHARED["instrument"])}
    backtest(make_strategy("buy_and_hold"), bars, instruments=instruments)
    record(backtest(make_strategy(SHARED["strategy"], SHARED["parameters"]), bars, instruments=instruments))


def adopt_policy(public_key: str, clock: EmulatedClock) -> None:
    """Adopt the shipped policy with the key of the demonstration, and with numbers that a demonstration meets."""
    text = (package_data() / "config" / "live_policies.toml").read_text(encoding="utf-8")
    for name, value in DEMONSTRATED.items():
        text, n_changed = re.subn(rf"(?m)^{name} = \S+", f"{name} = {value}", text)
        assert n_changed, name
    text += f'\n[[approvers]]\nname = "demonstration"\npublic_key = "{public_key}"\n'
    policy = workspace() / "policy.toml"
    policy.write_text(re.sub(r"(?m)^approvers = .*$", "", text), encoding="utf-8")
    GovernanceLog(workspace(), clock.now).adopt(read_policy(policy), actor="demonstration")
    run_drill("demonstration", clock.now)


def trade_live(bars: Bars, emulator: Emulator, clock: EmulatedClock, key: ApproverKey) -> Path:
    """Show that the gate refuses a session, approve it, trade at the emulator, and return the session's folder."""
    config = SessionConfig.parse({**SHARED, "mode": "testnet", "n_history": N_HISTORY}, "demo")
    gate = Gate(workspace() / "policy.toml", clock.now, lambda: client_of(emulator, clock))
    refused = start(config, gate)
    assert isinstance(refused, Decision)
    say("The session was refused:", *(f"  {line.name}: {line.observed}" for line in refused.failed))
    approval = approve(config, clock.now(), key)
    say(f"Approved until {approval.expires} by a demonstration key. The session starts:")
    clock.until_ms = _end_after(bars, N_SHADOWED + N_TRADED)
    outcome = start(config, gate, switch=EmulatedClock(clock.exchange, clock.until_ms))
    assert not isinstance(outcome, Decision), outcome.failed
    for line in GovernanceLog(workspace()).entries():
        say(f"  {line.action}: {line.summary}"[:160])
    say(f"  {outcome.folder.name}: {outcome.reason}, {outcome.status.n_fills} fills; EMULATED CLOCK")
    return outcome.folder


def approve(config: SessionConfig, now: int, key: ApproverKey) -> Approval:
    """Sign an approval of a session for nearly a week, as `peak-trade approve` does, into the workspace."""
    state, request = GovernanceLog(workspace(), lambda: now).state(), request_of(config, "")
    assert state.policy is not None
    values = {
        "approval_id": secrets.token_hex(16),
        "scope": request.scope.model_dump(mode="json"),
        "policy": state.policy.digest,
        "workspace": state.log_id,
        "max_notional": request.max_notional,
        "not_before": iso(now - NS_PER_SECOND),
        "expires": iso(now + 165 * 3_600 * NS_PER_SECOND),
        "approvers": ["demonstration"],
        "reason": "demonstration at the emulator",
    }
    approval = Approval.parse(values, "approval")
    folder = workspace() / APPROVALS
    folder.mkdir(exist_ok=True)
    (folder / f"{approval.approval_id}.json").write_bytes(sign(approval, [key]))
    return approval


def say(*lines: str) -> None:
    """Print lines for the person who watches."""
    sys.stderr.write("\n".join(lines) + "\n")


def _end_after(bars: Bars, n_traded: int) -> int:
    return int(bars.times[N_HISTORY + n_traded - 1]) // NS_PER_MS + 500


def client_of(emulator: Emulator, clock: EmulatedClock) -> Any:
    """Return the real ccxt client of the sandbox, pointed at the emulator."""
    client = connect_sandbox("binance", KEYS, emulator.url)
    client.enableRateLimit = False
    client.milliseconds = lambda: clock.now() // NS_PER_MS
    return client


if __name__ == "__main__":
    sys.exit(main())
