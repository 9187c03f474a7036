"""Policies, approvals and evidence that tests change."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

from peak_trade.core.time import iso
from peak_trade.governance.approval import NS_PER_DAY, Approval, Request, sign
from peak_trade.governance.evidence import (
    Evidence,
    JournalFacts,
    OutOfSampleFacts,
    RiskFacts,
    ShadowFacts,
    VenueFacts,
)
from peak_trade.governance.keys import ApproverKey, make_approver_key
from peak_trade.governance.log import GovernanceLog
from peak_trade.governance.policy import PolicyFile
from peak_trade.governance.scope import Scope, ScopedStrategy

TEMPLATE = Path(__file__).parents[2] / "config" / "governance" / "live_approval_template.toml"
NOW = 1_800_000_000_000_000_000
"""2027-01-15 08:00 UTC."""

CODE, CONFIG, OTHER = "c" * 64, "f" * 64, "0" * 64
LIMITS = {
    "max_order_notional": 100.0,
    "max_gross_exposure": 1.0,
    "max_symbol_exposure": 0.5,
    "max_daily_loss_fraction": 0.02,
    "max_drawdown": 0.1,
    "max_price_deviation": 0.02,
    "max_open_orders": 5.0,
    "max_orders": 10.0,
}


class Clock:
    """A clock that a test sets."""

    def __init__(self, now: int = NOW) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now


def key(folder: Path, name: str) -> ApproverKey:
    path = folder / f"{name}.pem"
    if not path.exists():
        make_approver_key(path, None, [])
    return ApproverKey(path)


def policy_text(
    approvers: dict[str, str], version: int = 1, testnet: int = 1, policy_change: int = 1, **changes
) -> str:
    """Return a policy as TOML; `changes` replace values by name."""
    values = {
        "max_days": 7,
        "revoked": "[]",
        "max_drill_days": 7,
        "max_clock_offset_ms": 500,
        "min_trades": 30,
        "min_hours": 24,
    } | changes
    people = "".join(f'[[approvers]]\nname = "{name}"\npublic_key = "{public}"\n' for name, public in approvers.items())
    return f"""version = {version}
revoked = {values["revoked"]}
n_sessions = 3
{people}
[approvals]
testnet = {testnet}
policy_change = {policy_change}
max_days = {values["max_days"]}
[risk]
max_order_notional = 100
max_gross_exposure = 1.0
max_symbol_exposure = 1.0
max_daily_loss_fraction = 0.02
max_drawdown = 0.1
max_price_deviation = 0.05
max_open_orders = 5
max_orders_per_minute = 10
[readiness]
max_drill_days = {values["max_drill_days"]}
max_clock_offset_ms = {values["max_clock_offset_ms"]}
max_data_bars = 2
[out_of_sample]
min_days = 90
max_age_days = 60
min_trades = {values["min_trades"]}
min_sharpe = 0.5
min_deflated_sharpe = 0.95
max_drawdown = 0.25
[shadow]
min_hours = {values["min_hours"]}
max_age_days = 7
"""


def scope(**changes) -> Scope:
    values = {
        "stage": "testnet",
        "strategies": (ScopedStrategy(name="ma_crossover", parameters={"fast": 20, "slow": 50}),),
        "symbols": ("BTC/USDT",),
        "code": CODE,
        "config": CONFIG,
    }
    return Scope(**(values | changes))


def evidence(digest: str, **changes) -> Evidence:
    """Return evidence that meets every requirement, with changes."""
    values = {
        "scope": scope(),
        "gathered_at": NOW,
        "policy_file": digest,
        "trading_state": "active",
        "risk": RiskFacts(limits=LIMITS),
        "venue": VenueFacts(
            place="https://testnet.binance.vision", is_sandbox=True, is_loopback=False, has_credentials=True
        ),
        "clock_offset_ms": 12.0,
        "data_age_bars": 0.5,
        "is_causal": True,
        "out_of_sample": OutOfSampleFacts(
            run_id="a" * 64,
            events="b" * 64,
            first=NOW - 120 * NS_PER_DAY,
            last=NOW - NS_PER_DAY,
            n_trades=80,
            sharpe=1.5,
            sharpe_error=0.6,
            deflated_sharpe=0.97,
            max_drawdown=0.1,
        ),
        "shadow": ShadowFacts(
            session_id="20270113_080000_shadow_ma_crossover_BTC-USDT_1m",
            head="d" * 64,
            verdict="intact",
            first_recorded=NOW - 2 * NS_PER_DAY,
            last_recorded=NOW - NS_PER_DAY + 1,
            is_clock_emulated=False,
            is_same=True,
            diff="e" * 64,
            n_differences=0,
        ),
        "journals": (JournalFacts(session_id="s", head="d" * 64, verdict="intact", is_intact=True),),
    }
    return Evidence(**(values | changes))


def approval(state, **changes) -> Approval:
    values = {
        "approval_id": "1" * 32,
        "scope": scope(),
        "policy": state.policy.digest,
        "workspace": state.log_id,
        "max_notional": 100.0,
        "not_before": iso(NOW - NS_PER_DAY),
        "expires": iso(NOW + NS_PER_DAY),
        "approvers": ("ada",),
        "reason": "first session",
    }
    return Approval(**(values | changes))


def adopted(workspace: Path, **changes) -> SimpleNamespace:
    """Return a workspace with an adopted policy of ada and bob: log, clock, keys, policy and state."""
    clock = Clock()
    keys = {name: key(workspace.parent, name) for name in ("ada", "bob")}
    text = policy_text({name: each.public for name, each in keys.items()}, **changes)
    log = GovernanceLog(workspace, clock)
    log.adopt(PolicyFile(text.encode()), actor="ada")
    log.append_drill("ada", True, "halted within one bar")
    return SimpleNamespace(log=log, clock=clock, keys=keys, policy=PolicyFile(text.encode()), state=log.state())


def signed(setup, names=("ada",), **changes) -> bytes:
    return sign(approval(setup.state, approvers=tuple(names), **changes), [setup.keys[name] for name in names])


def request(approvers='["ada"]', decision=None, **changes) -> str:
    """Return a filled-in template of an approval."""
    values = {"expires": "2999-01-02T08:00", "not_before": "2999-01-01T08:00", "reason": "first session"} | changes
    written_out = f'''[scope]
stage = "testnet"
symbols = ["BTC/USDT"]
code = "{CODE}"
config = "{CONFIG}"
[[scope.strategies]]
name = "ma_crossover"
parameters = {{ fast = 20, slow = 50 }}'''
    text = TEMPLATE.read_text(encoding="utf-8").replace('["ada"]', approvers)
    for old, new in (
        ("2026-01-01T08:00", values["not_before"]),
        ("2026-01-02T08:00", values["expires"]),
        ('reason = ""', f'reason = "{values["reason"]}"'),
        ('decision = ""', written_out if decision is None else f'decision = "{decision}"'),
    ):
        assert text.count(old) == 1
        text = text.replace(old, new)
    return text


REQUEST = Request(scope(), 100.0)
