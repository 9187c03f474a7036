"""Run files: settings, limits and instruments of a run, in TOML."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from peak_trade.core.arguments import checks_arguments
from peak_trade.core.errors import ConfigError, did_you_mean
from peak_trade.core.settings import Leverage, NonNegative, Settings, read_toml
from peak_trade.core.values import Instrument
from peak_trade.engine.settings import BacktestSettings
from peak_trade.risk.limits import RiskLimits


class InstrumentSettings(Settings):
    """Rules of an exchange for one symbol; 0 means no rule."""

    tick_size: NonNegative = 0.0
    """Step of prices, quote currency."""

    lot_size: NonNegative = 0.0
    """Step of quantities, base units."""

    min_notional: NonNegative = 0.0
    """Smallest order, quote currency."""

    is_shortable: bool = True
    """Whether a position may be below zero."""

    max_leverage: Leverage = 1.0
    """Largest exposure to the symbol, in multiples of equity."""

    def instrument(self, symbol: str) -> Instrument:
        """Return the instrument under this symbol."""
        return Instrument(symbol, **self.model_dump())


@dataclass(frozen=True, slots=True)
class RunFile:
    """Settings, limits (none: pass-through) and instruments by symbol of a run file."""

    settings: BacktestSettings
    risk: RiskLimits | None = None
    rules: dict[str, InstrumentSettings] = field(default_factory=dict)

    @property
    def instruments(self) -> dict[str, Instrument]:
        """The instruments by symbol."""
        return {symbol: rules.instrument(symbol) for symbol, rules in self.rules.items()}

    def settings_alone(self, what: str) -> BacktestSettings:
        """Return the settings; ConfigError if the file has limits or instruments, which `what` does not take."""
        found = "risk" if self.risk is not None else "instruments" if self.rules else ""
        if found:
            raise ConfigError(f"{what} takes no table [{found}] of a run file. Leave it out.")
        return self.settings


@checks_arguments()
def read_run_file(path: Path | str | None, overrides: dict[str, Any] | None = None) -> RunFile:
    """Read a run file.

    Parameters
    ----------
    path : Path or str or None
        TOML with the fields of BacktestSettings, and optionally tables `[risk]` and `[instruments."BTC/USDT"]`. None
        for the defaults.
    overrides : dict
        Values that take precedence over the file; tables are merged key by key.

    Raises
    ------
    ConfigError
        On an unknown key (with a suggestion) or an invalid value.
    """
    from peak_trade.wiring.gates import risk_limits  # loads numba

    if path is None:
        return RunFile(BacktestSettings.parse(overrides or {}, "settings"))
    file = Path(path)
    content = read_toml(file)
    risk, instruments = content.pop("risk", None), content.pop("instruments", {})
    for name, table in (("risk", risk), ("instruments", instruments)):
        if table is not None and not isinstance(table, dict):
            raise ConfigError(f"{path}: {name} was {table!r}; make it a table, [{name}].")
    for key, value in (overrides or {}).items():
        held = content.get(key)
        content[key] = {**held, **value} if isinstance(held, dict) and isinstance(value, dict) else value
    unknown = next((key for key in content if key not in BacktestSettings.model_fields), None)
    if unknown is not None:
        hint = did_you_mean(unknown, [*BacktestSettings.model_fields, "risk", "instruments"])
        raise ConfigError(f"{path}: {unknown} is not a setting. {hint}")
    return RunFile(
        BacktestSettings.parse(content, str(path)),
        None if risk is None else risk_limits(risk, str(path)),
        {symbol: _rules(symbol, table, file) for symbol, table in instruments.items()},
    )


def _rules(symbol: str, table: Any, path: Path) -> InstrumentSettings:
    if not isinstance(table, dict):
        raise ConfigError(f'{path}: instruments.{symbol} was {table!r}; make it a table, [instruments."{symbol}"].')
    return InstrumentSettings.parse(table, f"{path}: instruments.{symbol}")
