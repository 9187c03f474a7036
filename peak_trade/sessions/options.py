"""Build a session's configuration from the options of a command line and a run file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from peak_trade.core.errors import ConfigError, listed
from peak_trade.core.time import Timeframe
from peak_trade.data.store import find_series
from peak_trade.engine.settings import BacktestSettings, check_leverage
from peak_trade.journal.telemetry import TelemetrySettings
from peak_trade.metrics.e_values import EdgeTest
from peak_trade.sessions.config import SessionConfig
from peak_trade.sessions.store import config_of, find_session
from peak_trade.wiring.exchanges import bar_source, sandbox_class
from peak_trade.wiring.feeds import FEEDS
from peak_trade.wiring.portfolio import strategy_of
from peak_trade.wiring.portfolio_settings import PortfolioRules, PortfolioSettings, StrategyEntry, is_portfolio_file
from peak_trade.wiring.run_file import RunFile, read_run_file
from peak_trade.wiring.sleeves import refuse_extra_columns
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
        A TOML file as of a backtest, or one of a portfolio, which names the strategies and symbols.

    Raises
    ------
    ConfigError
        If an option is missing, or has a value that is not allowed.

    """
    given = {name: value for name, value in options.items() if value is not None}
    overrides = {} if cash is None else {"initial_cash": cash}
    if run_file is not None and is_portfolio_file(run_file):
        return _portfolio_config(given, parameters, overrides, run_file)
    settings = RunFile(BacktestSettings.parse(overrides, "session"))
    if run_file is not None:
        settings = read_run_file(run_file, overrides)
    if "follow" in given:
        folder = find_session(given["follow"])
        followed = config_of(folder)
        given = _following(given | {"follow": folder.name}, followed)
        if followed.portfolio is not None:
            return _following_portfolio(given, parameters, overrides, run_file, followed)
        if "strategy" not in given:
            given["strategy"], parameters = followed.label, followed.parameters | dict(parameters)
        if run_file is None:
            settings = RunFile(followed.trading.model_copy(update=overrides), followed.risk)
    given.setdefault("strategy", "ma_crossover")
    for name in ("symbol", "timeframe"):
        if name not in given:
            raise ConfigError(f"{name} is missing: name it with --{name}.")
    given = _with_exchange(given, [given["symbol"]])
    given["instrument"] = settings.rules.get(given["symbol"], given.get("instrument", {}))
    given["parameters"] = make_strategy(given["strategy"], parameters).model_dump(mode="json")
    config = SessionConfig.parse(given | {"trading": settings.settings, "risk": settings.risk}, "session")
    return _checked(config)


def _portfolio_config(
    given: dict[str, Any], parameters: Mapping[str, Any], overrides: Mapping[str, Any], path: Path
) -> SessionConfig:
    """Return the configuration of a session that runs the portfolio of a file.

    The span of the file is that of a recording; a live session trades from now on.
    """
    settings = PortfolioSettings.from_toml(path).model_copy(update=overrides)
    for name in ("strategy", "symbol", "timeframe"):
        if name in given:
            raise ConfigError(f"{name} was {given[name]}: {path} is a portfolio and names its own. Leave --{name} out.")
    if parameters:
        raise ConfigError(
            f"a parameter was given: {path} is a portfolio and has those of its strategies. Leave -p out."
        )
    symbols = sorted({symbol for entry in settings.strategies for symbol in entry.traded})
    if "follow" in given:
        folder = find_session(given["follow"])
        followed = config_of(folder)
        if list(followed.symbol_names) != symbols:
            raise ConfigError(
                f"{path} trades {listed(symbols)}: the session that is followed trades "
                f"{listed(followed.symbol_names)}. Follow a session of the same symbols."
            )
        given = given | {"follow": folder.name, "feed": "follow", "exchange": followed.exchange}
    feed = FEEDS.get(given.get("feed", "live"))
    if feed is not None and feed.is_recorded:
        span = {name: value for name, value in (("start", settings.start), ("end", settings.end)) if value is not None}
        given = span | given
    if settings.exchange is not None:
        given = {"exchange": settings.exchange} | given
    given = _with_exchange(given | {"timeframe": settings.timeframe}, symbols)
    entries = [entry.model_dump(mode="json") | {"parameters": _resolved(entry)} for entry in settings.strategies]
    config = SessionConfig.parse(
        given
        | {
            "strategies": entries,
            "symbols": [{"name": symbol} for symbol in symbols],
            "trading": settings.run_settings,
            "risk": settings.risk,
            "portfolio": {name: getattr(settings, name) for name in PortfolioRules.model_fields},
        },
        str(path),
    )
    quotes = sorted({instrument.quote for instrument in config.instruments.values()})
    if len(quotes) > 1:
        raise ConfigError(f"{path}: quote currencies differ ({listed(quotes)}): one cash account has one currency.")
    return _checked(config)


def _checked(config: SessionConfig) -> SessionConfig:
    """Return a configuration; ConfigError if its leverage is not allowed, or a strategy reads extra columns."""
    check_leverage(list(config.instruments.values()), config.trading, config.risk)
    for entry in config.entries:
        refuse_extra_columns(strategy_of(entry), "a session")
    return config


def _resolved(entry: StrategyEntry) -> dict[str, Any]:
    """Return all parameters of the strategy of an entry, also those at their default."""
    return strategy_of(entry).model_dump(mode="json")


def _following_portfolio(
    given: dict[str, Any],
    parameters: Mapping[str, Any],
    overrides: Mapping[str, Any],
    run_file: Path | None,
    followed: SessionConfig,
) -> SessionConfig:
    """Return the configuration of a session that follows one of a portfolio and takes its strategies."""
    if run_file is not None or parameters or "strategy" in given or "symbol" in given:
        raise ConfigError(
            f"{given['follow']} runs a portfolio: a session that follows it takes its strategies, or names a portfolio "
            "file with --config. Leave the other options out."
        )
    trading = followed.trading.model_copy(update=overrides)
    taken = {name: getattr(followed, name) for name in ("strategies", "symbols", "risk", "portfolio")}
    return SessionConfig.parse(given | taken | {"trading": trading}, "session")


def _following(given: dict[str, Any], followed: SessionConfig) -> dict[str, Any]:
    values = {"timeframe": followed.timeframe, "exchange": followed.exchange}
    if followed.portfolio is None:
        values = {"symbol": followed.symbol_names[0], **values}
    for name, value in values.items():
        if given.setdefault(name, value) != value:
            raise ConfigError(
                f"{name} was {given[name]}: the session that is followed trades {value}. Leave --{name} out."
            )
    own = {} if followed.portfolio is not None else {"instrument": followed.symbols[0].instrument}
    return given | {"feed": "follow", **own}


def _with_exchange(given: dict[str, Any], symbols: Sequence[str]) -> dict[str, Any]:
    """Return the options with the exchange of the bars: that of the store for a recording."""
    timeframe = Timeframe.parse(given["timeframe"])
    feed, venue = FEEDS.get(given.get("feed", "live")), VENUES.get(given.get("mode", ""))
    if feed is not None and feed.is_recorded:
        exchanges = {symbol: find_series(symbol, timeframe, given.get("exchange")).exchange for symbol in symbols}
        if len(set(exchanges.values())) > 1:
            named = listed(f"{symbol} {exchange}" for symbol, exchange in exchanges.items())
            raise ConfigError(f"exchanges differ ({named}): a session has the bars of one. Import the others from it.")
        return given | {"exchange": exchanges[symbols[0]], "evaluation": "whole"}
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
