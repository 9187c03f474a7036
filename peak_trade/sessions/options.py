"""What a session is asked for, from a command line and a run file, as its configuration."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from peak_trade.core.errors import ConfigError, did_you_mean
from peak_trade.core.time import Timeframe
from peak_trade.data.fetching import SOURCES
from peak_trade.data.store import find_series
from peak_trade.engine.settings import BacktestSettings
from peak_trade.journal.telemetry import TelemetrySettings
from peak_trade.sessions.config import InstrumentSettings, SessionConfig
from peak_trade.sessions.sandbox.client import SANDBOXES
from peak_trade.sessions.store import config_of, find_session
from peak_trade.wiring.run_file import RunFile, read_run_file
from peak_trade.wiring.strategies import make_strategy

TELEMETRY_FILE = Path("config/execution_telemetry.toml")


def make_config(
    asked: dict[str, Any], parameters: Mapping[str, Any], cash: float | None, run_file: Path | None
) -> SessionConfig:
    """Return the configuration that a command line asks for; what a shadow leaves out, its session gives.

    `parameters` are the strategy's, as values or text; `run_file` is a TOML file as a backtest takes it.
    """
    given = {name: value for name, value in asked.items() if value is not None}
    overrides = {} if cash is None else {"initial_cash": cash}
    settings = RunFile(BacktestSettings.parse(overrides, "session"))
    if run_file is not None:
        settings = read_run_file(run_file, overrides)
    if "follow" in given:
        folder = find_session(given["follow"])
        followed = config_of(folder)
        shared = {name: getattr(followed, name) for name in ("symbol", "timeframe", "exchange")}
        for name, value in shared.items():
            if given.setdefault(name, value) != value:
                raise ConfigError(
                    f"{name} was {given[name]}: the session that is followed trades {value}. Leave --{name} out."
                )
        given |= {"follow": folder.name, "feed": "follow", "instrument": followed.instrument}
        if "strategy" not in given:
            given["strategy"], parameters = followed.strategy, followed.parameters | dict(parameters)
        if run_file is None:
            settings = RunFile(followed.trading.model_copy(update=overrides), followed.risk)
    given.setdefault("strategy", "ma_crossover")
    for name in ("symbol", "timeframe"):
        if name not in given:
            raise ConfigError(f"{name} is missing: name it with --{name}.")
    Timeframe.parse(given["timeframe"])
    if given.get("feed") == "recorded":
        held = find_series(given["symbol"], Timeframe.parse(given["timeframe"]), given.get("exchange"))
        given |= {"exchange": held.exchange, "evaluation": "whole"}
    given.setdefault("exchange", "binance")
    venues = SANDBOXES if given.get("mode") == "testnet" else SOURCES
    if given.get("feed") == "live" and given["exchange"] not in venues:
        raise ConfigError(f"exchange was {given['exchange']!r}. {did_you_mean(given['exchange'], venues)}")
    rules = settings.instruments.get(given["symbol"])
    if rules is not None:
        given["instrument"] = {name: getattr(rules, name) for name in InstrumentSettings.model_fields}
    part = make_strategy(given["strategy"], parameters)
    given["parameters"] = part.model_dump(mode="json")
    return SessionConfig.parse(given | {"trading": settings.settings, "risk": settings.risk}, "session")


def read_telemetry(path: Path | None) -> TelemetrySettings:
    """Return the telemetry settings of a file; unless one is named, of config/execution_telemetry.toml if there."""
    if path is None and not TELEMETRY_FILE.exists():
        return TelemetrySettings()
    return TelemetrySettings.from_toml(path or TELEMETRY_FILE)
