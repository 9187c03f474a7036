"""Grants for tests: a policy, a key, evidence and an approval, all through the real gate, on an emulated clock.

The evidence of a strategy is recorded once, in a folder that processes of a test share; each test works in a copy of
that workspace.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from peak_trade.core.bars import Bars
from peak_trade.core.digest import digest_of
from peak_trade.core.time import Timeframe, iso
from peak_trade.data.store import save_bars
from peak_trade.data.workspace import workspace, workspace_at
from peak_trade.governance.approval import Approval, sign
from peak_trade.governance.decision import Decision
from peak_trade.governance.grant import Grant
from peak_trade.governance.keys import ApproverKey, make_approver_key
from peak_trade.governance.log import GovernanceLog
from peak_trade.governance.policy import read_policy
from peak_trade.risk.limits import RiskLimits
from peak_trade.sessions.config import SessionConfig
from peak_trade.sessions.options import make_config
from peak_trade.sessions.run import run_session
from peak_trade.sessions.sandbox.admission import request_of
from peak_trade.studies.backtest import backtest
from peak_trade.studies.portfolio.run import run_portfolio
from peak_trade.studies.readiness import Gate, admit
from peak_trade.studies.recording import record, record_portfolio
from peak_trade.wiring.portfolio_settings import PortfolioSettings
from peak_trade.wiring.strategies import make_strategy

FOLDER = "PEAK_TRADE_TEST_GRANTS"
HOUR = 3_600 * 1_000_000_000
START = 1_546_300_800_000_000_000
"""2019-01-01, the time of the evidence: before that of every emulator."""

POLICY = """\
version = 1
revoked = []
n_sessions = 2
[[approvers]]
name = "ada"
public_key = "{key}"
[approvals]
testnet = 1
policy_change = 1
max_days = 7.0
[risk]
max_order_notional = 1e12
max_gross_exposure = 1e6
max_symbol_exposure = 1e6
max_daily_loss_fraction = 1.0
max_drawdown = 1.0
max_price_deviation = 1.0
max_open_orders = 1000
max_orders_per_minute = 1e6
[readiness]
max_drill_days = 3650.0
max_clock_offset_ms = 5000.0
max_data_bars = 3.0
[out_of_sample]
min_days = 0.1
max_age_days = 3650.0
min_trades = 1
min_sharpe = -1e6
min_deflated_sharpe = 0.0
max_drawdown = 1.0
[shadow]
min_hours = 24.0
max_age_days = 3650.0
"""
LOOSE: dict[str, Any] = {
    "max_order_notional": 1e9,
    "max_gross_exposure": 1e3,
    "max_symbol_exposure": 1e3,
    "max_daily_loss_fraction": 1.0,
    "max_drawdown": 1.0,
    "max_price_deviation": 1.0,
    "max_open_orders": 1000,
    "max_orders": 1000,
}
"""A value for every limit that the policy wants to be set."""


def with_all_limits(risk: RiskLimits | None) -> RiskLimits:
    """The limits, with a loose value for each one that the policy wants and that is not set."""
    given = {} if risk is None else risk.model_dump(exclude_none=True)
    return RiskLimits.parse(LOOSE | given, "test")


class Ticking:
    """An emulated clock that a session's bars advance by an hour each."""

    def __init__(self, now: int = START) -> None:
        self.time = now

    def now(self) -> int:
        return self.time

    def advance(self, _: object) -> None:
        self.time += HOUR


def find_registry() -> Path | None:
    """Return an empty run registry to copy, as the tests' fixture does; without one, MLflow makes it in seconds."""
    return None


def shared_folder() -> Path:
    """The folder of evidence and of the approver's key; a process that this one starts has the same."""
    if FOLDER not in os.environ:
        os.environ[FOLDER] = tempfile.mkdtemp(prefix="grants-")
        atexit.register(shutil.rmtree, os.environ[FOLDER], ignore_errors=True)
    return Path(os.environ[FOLDER])


def approver_key() -> ApproverKey:
    """The key of the approver."""
    path = shared_folder() / "ada.pem"
    if not path.exists():
        make_approver_key(path, None, [])
    return ApproverKey(path)


def policy_text() -> str:
    """The policy of the tests."""
    return POLICY.format(key=approver_key().public)


def evidence_for(config: SessionConfig) -> Path:
    """A workspace with evidence for the strategies of a session, their parameters, symbols, timeframe and exchange."""
    made = shared_folder() / digest_of(asked_by(config))[:16]
    if made.exists():
        return made
    folder = Path(tempfile.mkdtemp(dir=shared_folder()))
    with workspace_at(folder):
        registry = find_registry()
        if registry is not None:
            shutil.copy(registry, folder / "mlflow.db")
        log = GovernanceLog(folder, lambda: START)
        (folder / "policy.toml").write_text(policy_text(), encoding="utf-8")
        log.adopt(read_policy(folder / "policy.toml"), actor="ada")
        log.append_drill("ada", passed=True, detail="recorded by the fixture")
        if config.portfolio is None:
            record_evidence(asked_by(config))
        else:
            record_portfolio_evidence(config)
    return folder.rename(made)


def asked_by(config: SessionConfig) -> dict[str, Any]:
    """What evidence for a session is about."""
    series = {"timeframe": config.timeframe, "exchange": config.exchange}
    if config.portfolio is not None:
        return series | {name: str(getattr(config, name)) for name in ("entries", "portfolio")}
    return series | {"strategy": config.label, "parameters": config.parameters, "symbol": config.symbol_names[0]}


def record_evidence(values: dict[str, Any]) -> None:
    """Record a shadow session of a day and a backtest into the workspace."""
    bars = wave(values["symbol"], values["timeframe"], values["exchange"], 300.0)
    save_bars(bars)
    shared = {name: values[name] for name in ("strategy", "symbol", "timeframe", "exchange")}
    end = iso(int(bars.times[60]))
    paper = make_config(shared | {"mode": "paper", "feed": "recorded", "end": end}, values["parameters"], None, None)
    followed = run_session(paper, clock=lambda: START)
    clock = Ticking()
    shadow = make_config({"mode": "shadow", "follow": followed.folder.name}, {}, None, None)
    run_session(shadow, clock=clock.now, on_status=clock.advance)
    backtest(make_strategy("buy_and_hold"), bars)  # a deflated Sharpe ratio needs a second trial
    record(backtest(make_strategy(values["strategy"], values["parameters"]), bars))


def wave(symbol: str, timeframe: str, exchange: str, pace: float) -> Bars:
    """A month of bars before the time of the evidence that rise and fall; `pace` is in bars per radian."""
    length = Timeframe.parse(timeframe)
    close = 20_000.0 * (1.0 + 0.05 * np.sin(np.arange(int(31 * 86_400 / length.seconds)) / pace))
    opened = np.concatenate((close[:1], close[:-1]))
    values_of = {"open": opened, "high": np.maximum(opened, close), "low": np.minimum(opened, close), "close": close}
    index = pd.date_range(end=pd.Timestamp(START, tz="UTC"), periods=len(close), freq=length.duration)
    return Bars(pd.DataFrame(values_of | {"volume": np.full(len(close), 1e6)}, index=index), symbol, length, exchange)


def record_portfolio_evidence(config: SessionConfig) -> None:
    """Record a shadow session of a day and a run of a portfolio into the workspace."""
    bars = [
        wave(symbol, config.timeframe, config.exchange, 6.0 + place) for place, symbol in enumerate(config.symbol_names)
    ]
    for part in bars:
        save_bars(part)
    values = config.model_dump(mode="json") | {"mode": "paper", "feed": "recorded", "risk": None}
    values |= {"evaluation": "whole", "end": iso(int(bars[0].times[60]))}
    followed = run_session(SessionConfig.parse(values, "test"), clock=lambda: START)
    clock = Ticking()
    shadow = make_config({"mode": "shadow", "follow": followed.folder.name}, {}, None, None)
    run_session(shadow, clock=clock.now, on_status=clock.advance)
    for cash in (5_000.0, config.trading.initial_cash):  # a deflated Sharpe ratio needs a second trial
        record_portfolio(run_portfolio(portfolio_of(config, initial_cash=cash)))


def portfolio_of(config: SessionConfig, **changes: Any) -> PortfolioSettings:
    """The settings of a portfolio run of a session."""
    values = {name: getattr(config, name) for name in ("exchange", "timeframe")} | {"strategies": config.entries}
    return PortfolioSettings(**(dict(config.portfolio or {}) | values | changes))


def prepare(config: SessionConfig) -> None:
    """Copy evidence for a session's strategies into the workspace, unless it has a policy."""
    if not (workspace() / "policy.toml").exists():
        shutil.copytree(evidence_for(config), workspace(), dirs_exist_ok=True)


def approve(config: SessionConfig, now: int, **changes: Any) -> Path:
    """Sign an approval of a session from now on, and return its file."""
    state = GovernanceLog(workspace(), lambda: now).state()
    assert state.policy is not None
    request = request_of(config, "")
    values = {
        "approval_id": os.urandom(16).hex(),
        "scope": request.scope.model_dump(mode="json"),
        "policy": state.policy.digest,
        "workspace": state.log_id,
        "max_notional": request.max_notional,
        "not_before": iso(now - HOUR),
        "expires": iso(now + 144 * HOUR),
        "approvers": ["ada"],
        "reason": "test",
    }
    content = sign(Approval.parse(values | changes, "approval"), [approver_key()])
    folder = workspace() / "approvals"
    folder.mkdir(exist_ok=True)
    path = folder / f"{values['approval_id']}.json"
    path.write_bytes(content)
    return path


def gate(clock: Callable[[], int], sandbox: Callable[[], Any] | None) -> Gate:
    """The gate with the policy of the tests."""
    return Gate(workspace() / "policy.toml", clock, sandbox)


def grant_for(config: SessionConfig, clock: Callable[[], int], sandbox: Callable[[], Any] | None) -> Grant:
    """The grant of a session at the emulator."""
    prepare(config)
    approve(config, clock())
    return granted(admit(config, gate(clock, sandbox)))


def granted(found: Grant | Decision) -> Grant:
    """The grant that the gate returned."""
    if isinstance(found, Decision):
        raise AssertionError("; ".join(f"{line.name}: {line.observed} ({line.required})" for line in found.failed))
    return found
