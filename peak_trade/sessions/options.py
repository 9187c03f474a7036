"""Build a session's configuration from the options of a command line and a run file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from peak_trade.core.errors import ConfigError
from peak_trade.core.time import Timeframe
from peak_trade.data.store import find_series
from peak_trade.engine.settings import BacktestSettings, check_leverage
from peak_trade.journal.telemetry import TelemetrySettings
from peak_trade.metrics.e_values import EdgeTest
from peak_trade.sessions.config import SessionConfig
from peak_trade.sessions.store import config_of, find_session
from peak_trade.wiring.exchanges import bar_source, sandbox_class
from peak_trade.wiring.feeds import FEEDS
from peak_trade.wiring.run_file import RunFile, read_run_file
from peak_trade.wiring.strategies import make_strategy
from peak_trade.wiring.venues import VENUES

TELEMETRY_FILE = Path("config/execution_telemetry.toml")


def make_config(
    options: Mapping[str, Any], parameters: Mapping[str, Any], cash: float | None, run_file: Path | None
) -> SessionConfig:
    """Return the configuration for the options of a command line.

    Parameters
    ----------
    options : mapping of str
        Fields of SessionConfig; None means not given. A shadow takes what is not given from the session it follows.
    parameters : mapping of str
        Parameters of the strategy, as values or text.
    cash : float or None
        Cash at the start, quote currency.
    run_file : Path or None
        A TOML file as of a backtest.

    Raises
    ------
    ConfigError
        If an option is missing, or has a value that is not allowed.

    """
    given = {name: value for name, value in options.items() if value is not None}
    overrides = {} if cash is None else {"initial_cash": cash}
    settings = RunFile(BacktestSettings.parse(overrides, "session"))
    if run_file is not None:
        settings = read_run_file(run_file, overrides)
    if "follow" in given:
        folder = find_session(given["follow"])
        followed = config_of(folder)
        given = _following(given | {"follow": folder.name}, followed)
        if "strategy" not in given:
            given["strategy"], parameters = followed.strategy, followed.parameters | dict(parameters)
        if run_file is None:
            settings = RunFile(followed.trading.model_copy(update=overrides), followed.risk)
    given.setdefault("strategy", "ma_crossover")
    given = _with_exchange(given)
    given["instrument"] = settings.rules.get(given["symbol"], given.get("instrument", {}))
    given["parameters"] = make_strategy(given["strategy"], parameters).model_dump(mode="json")
    config = SessionConfig.parse(given | {"trading": settings.settings, "risk": settings.risk}, "session")
    check_leverage([config.instrument.instrument(config.symbol)], config.trading, config.risk)
    return config


def _following(given: dict[str, Any], followed: SessionConfig) -> dict[str, Any]:
    for name in ("symbol", "timeframe", "exchange"):
        value = getattr(followed, name)
        if given.setdefault(name, value) != value:
            raise ConfigError(
                f"{name} was {given[name]}: the session that is followed trades {value}. Leave --{name} out."
            )
    return given | {"feed": "follow", "instrument": followed.instrument}


def _with_exchange(given: dict[str, Any]) -> dict[str, Any]:
    for name in ("symbol", "timeframe"):
        if name not in given:
            raise ConfigError(f"{name} is missing: name it with --{name}.")
    timeframe = Timeframe.parse(given["timeframe"])
    feed, venue = FEEDS.get(given.get("feed", "live")), VENUES.get(given.get("mode", ""))
    if feed is not None and feed.is_recorded:
        held = find_series(given["symbol"], timeframe, given.get("exchange"))
        return given | {"exchange": held.exchange, "evaluation": "whole"}
    given.setdefault("exchange", "binance")
    if feed is not None and feed.is_live:
        find = sandbox_class if venue is not None and venue.is_sandbox else bar_source
        find(given["exchange"])
    return given


def read_telemetry(path: Path | None) -> TelemetrySettings:
    """Return the telemetry settings of a file; by default of config/execution_telemetry.toml if it exists."""
    if path is None and not TELEMETRY_FILE.exists():
        return TelemetrySettings()
    return TelemetrySettings.from_toml(path or TELEMETRY_FILE)


def edge_test(claimed_sharpe: float | None, loss_bound: float | None, benchmark_exposure: float | None) -> EdgeTest:
    """Return the settings of the evidence of an edge from those that are given; ConfigError outside their range."""
    given = {"claimed_sharpe": claimed_sharpe, "loss_bound": loss_bound, "benchmark_exposure": benchmark_exposure}
    return EdgeTest.parse({name: value for name, value in given.items() if value is not None}, "evidence of an edge")
