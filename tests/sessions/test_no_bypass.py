"""No option, setting or environment variable changes the refusal of a testnet session: each one is really set."""

from __future__ import annotations

import re
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import ccxt
import pytest

from peak_trade.cli import main
from peak_trade.cli.app import root
from peak_trade.core.settings import Settings
from peak_trade.data.workspace import workspace
from peak_trade.governance.decision import Decision
from peak_trade.governance.log import GovernanceLog
from peak_trade.risk.limits import LiquidityLimits, RiskLimits, StressLimits, VarLimits
from peak_trade.sessions.config import SessionConfig
from peak_trade.sessions.feeds.live import LiveFeed
from peak_trade.sessions.options import make_config
from peak_trade.sessions.store import session_ids
from peak_trade.studies import readiness
from peak_trade.wiring.exchanges import EXCHANGES, sandbox_class
from tests.sessions.running import RUN

PACKAGE = Path(readiness.__file__).parents[1]
ASKED = ["session", "run", "--mode", "testnet", "--symbol", "BTC/USDT", "--timeframe", "1h", "--quiet"]
OF_LIMITS = {"risk limits", "limits are live"}
"""Lines that may pass when a risk limit is set."""

OPTIONS: dict[str, list[str]] = {
    "claimed_sharpe": ["--claimed-sharpe", "3"],
    "loss_bound": ["--loss-bound", "0.5"],
    "benchmark_exposure": ["--benchmark-exposure", "0.5"],
    "open_holdout": ["--open-holdout"],
    "strategy": ["--strategy", "donchian"],
    "symbol": ["--symbol", "ETH/USDT"],
    "timeframe": ["--timeframe", "1m"],
    "exchange": ["--exchange", "krakenfutures"],
    "feed": ["--feed", "recorded"],
    "duration": ["--duration", "10h"],
    "pace": ["--pace", "60x"],
    "start": ["--start", "2024-01-01"],
    "end": ["--end", "2024-02-01"],
    "follow": ["--follow", "20240101"],
    "parameter": ["-p", "fast=3"],
    "cash": ["--cash", "500"],
    "config": ["--config", "run.toml"],
    "policy": ["--policy", "other.toml"],
    "telemetry": ["--telemetry", "telemetry.toml"],
    "causality_check": ["--no-causality-check"],
    "record": ["--no-record"],
    "metrics_port": ["--metrics-port", "19387"],
    "quiet": [],
    "as_json": ["--json"],
    "mode": ["--mode", "testnet"],
}
"""Every option of `session run`, really set. The other modes are other stages, whose orders leave the machine never."""

VARIABLES = {
    "PEAK_TRADE_HOME": "elsewhere",
    "MLFLOW_TRACKING_URI": "sqlite:///elsewhere.db",
    "MLFLOW_TRACKING_USERNAME": "user",
    "MLFLOW_TRACKING_PASSWORD": "secret",
    "MLFLOW_TRACKING_TOKEN": "secret",
    "COLUMNS": "40",
    "PYTHONPATH": "elsewhere",
    "PEAK_TRADE_NOTEBOOK": "1",
    "SSH_AUTH_SOCK": "elsewhere",
}
"""The environment variables that the package reads, beside the keys of sandboxes."""


@pytest.fixture
def desk(home, tmp_path, monkeypatch):
    """A folder without a policy, and no network; what would be asked of the exchange is a failure of the test."""
    monkeypatch.chdir(tmp_path)
    for exchange in (name for name, row in EXCHANGES.items() if row.sandbox):
        access = sandbox_class(exchange).access
        monkeypatch.delenv(access.key_variable, raising=False)
        monkeypatch.delenv(access.secret_variable, raising=False)

    def silent(*_: Any, **__: Any) -> None:
        raise ccxt.NetworkError("no network in tests")

    monkeypatch.setattr(LiveFeed, "measure", silent)
    monkeypatch.setattr("peak_trade.sessions.run.client_of", lambda *_: pytest.fail("the exchange was asked"))
    Path("run.toml").write_text("[risk]\nmax_order_notional = 10.0\nmax_open_orders = 1\n", encoding="utf-8")
    shipped = (PACKAGE.parent / "config" / "live_policies.toml").read_text(encoding="utf-8")
    key = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"
    Path("other.toml").write_text(
        shipped.replace("approvers = []", "") + f'\n[[approvers]]\nname = "eve"\npublic_key = "{key}"\n',
        encoding="utf-8",
    )
    Path("telemetry.toml").write_text('level = "replay"\n', encoding="utf-8")
    return tmp_path


def refusal(capsys, *options):
    """The exit code of a run, and the requirements that it does not meet."""
    capsys.readouterr()
    code = main([*ASKED, *options])
    shown = capsys.readouterr().out
    assert session_ids() == []
    names = re.findall(r"^FAIL  ([a-z\- ]+):", shown, re.MULTILINE) or re.findall(r'"name": "([^"]+)"', shown)
    return code, set(names)


def options_of_run() -> set[str]:
    session = root().commands["session"].load()
    return {each.name for each in session.commands["run"].params if each.name != "help"}


@pytest.mark.long
def test_no_option_changes_the_refusal(desk, capsys):
    assert options_of_run() == set(OPTIONS)
    baseline = refusal(capsys)
    assert baseline[0] == 1
    assert {"policy", "approval", "shadow session", "out-of-sample evidence", "kill switch drill"} <= baseline[1]
    for name, words in OPTIONS.items():
        code, names = refusal(capsys, *words)
        if code == 2:  # refused before the gate was asked
            assert name in ("symbol", "feed", "pace", "start", "end", "follow"), name
        elif name == "as_json":
            assert code == 1
            assert baseline[1] <= names
        else:
            assert (code, names - OF_LIMITS) == (1, baseline[1] - OF_LIMITS), name


def variables_read() -> set[str]:
    """Names of the environment variables in the source of the package, and those of the sandboxes' keys."""
    patterns = (r"environ(?:\.get|\.setdefault)?[\[(]\s*[\"']([A-Z_]+)", r"getenv\(\s*[\"']([A-Z_]+)",
                r"[\"']([A-Z_]+)[\"'] (?:not )?in os\.environ")  # fmt: skip
    texts = [path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py")]
    return {name for text in texts for pattern in patterns for name in re.findall(pattern, text)}


def test_the_variables_that_the_package_reads_are_known():
    assert variables_read() <= set(VARIABLES)
    assert variables_read() >= {"PEAK_TRADE_HOME", "MLFLOW_TRACKING_URI"}


@pytest.mark.long
def test_no_environment_variable_changes_the_refusal(desk, capsys, monkeypatch):
    baseline = refusal(capsys)
    for name, value in VARIABLES.items():
        with monkeypatch.context() as patch:
            patch.setenv(name, value)
            assert refusal(capsys) == baseline, name
    with monkeypatch.context() as patch:
        access = sandbox_class("binance").access
        patch.setenv(access.key_variable, "k" * 64)
        patch.setenv(access.secret_variable, "s" * 64)
        assert refusal(capsys) == (1, baseline[1] - {"credentials"})


def leaves(kind: type[Settings], place: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], Any]]:
    """Every field of a class of settings and of those within it, with its annotation."""
    found = []
    for name, field in kind.model_fields.items():
        inner = [each for each in (field.annotation, *get_args(field.annotation))
                 if isinstance(each, type) and issubclass(each, Settings)]  # fmt: skip
        if inner:
            found += leaves(inner[0], (*place, name))
        else:
            found.append(((*place, name), field.annotation))
    return found


def other_value(annotation: Any, current: Any) -> Any:
    """Another value than the current one, of the field's type."""
    if get_origin(annotation) is Annotated:
        return other_value(get_args(annotation)[0], current)
    if current is None and annotation in (int, str):
        return {int: 3_600, str: "2024-01-01"}[annotation]
    if get_origin(annotation) is list:
        return ["all_down_10"]
    if get_origin(annotation) is Literal:
        return next((value for value in get_args(annotation) if value != current), current)
    if get_origin(annotation) in (Union, UnionType):
        kinds = [each for each in get_args(annotation) if each is not NoneType]
        return other_value(kinds[0], current)
    if isinstance(current, bool):
        return not current
    if isinstance(current, str):
        return f"{current}x"
    if isinstance(current, int | float):
        return current * 2 or 1
    if current is None:
        return 0.01
    return current


def changed(settings: Settings, place: tuple[str, ...], annotation: Any) -> Settings:
    """The settings with another value at a place; nothing checks whether it is allowed."""
    name, *rest = place
    held = getattr(settings, name)
    if rest:
        tables = {"liquidity": LiquidityLimits, "var": VarLimits, "stress": StressLimits, "risk": RiskLimits}
        inner = tables[name]() if held is None else held
        return settings.model_copy(update={name: changed(inner, tuple(rest), annotation)})
    return settings.model_copy(update={name: other_value(annotation, held)})


OWN_CHECK = {"mode", "strategies", "symbols", "timeframe", "exchange", "portfolio"}
"""Fields that name the session; options set them above. Any other mode is another stage; no portfolio trades here."""


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
def test_no_setting_changes_the_refusal(desk, monkeypatch):
    monkeypatch.setattr("peak_trade.studies.evidence._N_CUTS", 1)
    risk = RiskLimits(max_order_notional=10.0)
    asked = {"mode": "testnet", "strategy": "ma_crossover", "symbol": "BTC/USDT", "timeframe": "1h"}
    config = make_config(asked, {}, None, None).model_copy(update={"risk": risk})
    baseline = readiness.start(config, readiness.Gate())
    assert isinstance(baseline, Decision)
    expected = {line.name for line in baseline.failed}
    places = [place for place, _ in leaves(SessionConfig) if place[0] not in OWN_CHECK]
    assert len(places) >= 60
    for place, annotation in leaves(SessionConfig):
        if place[0] in OWN_CHECK:
            continue
        found = readiness.start(changed(config, place, annotation), readiness.Gate())
        assert isinstance(found, Decision), place
        assert {line.name for line in found.failed} - OF_LIMITS == expected - OF_LIMITS, place
    assert session_ids() == []


def test_a_typer_option_is_no_secret_way(desk):
    """No verb has an option whose name promises to skip a check."""
    promises = re.compile(r"force|skip|bypass|unsafe|override|insecure|ignore-gate|no-gate|allow-live")
    found = []

    def walk(command: Any, path: str) -> None:
        loaded = command.load() if hasattr(command, "load") else command
        for name, child in getattr(loaded, "commands", {}).items():
            walk(child, f"{path} {name}")
        found.extend(f"{path} {each.opts}" for each in loaded.params if promises.search(" ".join(each.opts)))

    walk(root(), "peak-trade")
    verbs = ("session", "ready", "approve", "policy", "governance", "risk")
    assert [each for each in found if each.split()[1] in verbs] == []


def test_a_fresh_paper_session_needs_neither_a_policy_nor_a_key(stored, capsys):
    assert main(RUN) == 0
    (entry,) = GovernanceLog(workspace()).entries()
    assert entry.summary == "paper session allowed"
    assert main(["risk", "kill", "--by", "ada"]) == 0
    capsys.readouterr()
    assert main(RUN) == 1
    assert "FAIL  kill switch: trading is halted" in capsys.readouterr().out
    assert [each.summary for each in GovernanceLog(workspace()).entries()][1:] == ["paper session refused: kill switch"]
    assert len(session_ids()) == 1
