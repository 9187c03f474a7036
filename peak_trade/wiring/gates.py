"""Table of gates in the order of evaluation, and the gate chain of a risk file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from peak_trade.core.bars import Bars
from peak_trade.core.calendar import period_of
from peak_trade.core.errors import ConfigError, DataError, did_you_mean
from peak_trade.core.history import DailyHistory, day_of, extend_history
from peak_trade.core.settings import read_toml
from peak_trade.core.time import Timeframe, from_ns, iso
from peak_trade.data.store import find_series, load_bars
from peak_trade.engine.risk_engine import RiskEngine
from peak_trade.risk import liquidity, order_gates, portfolio_gates
from peak_trade.risk.codes import DenialCode
from peak_trade.risk.gate import GateChain, RiskGate
from peak_trade.risk.limits import RiskLimits
from peak_trade.risk.state import Control

GATES: tuple[RiskGate, ...] = (
    RiskGate(DenialCode.TRADING_STATE, "", order_gates.trading_state, relieves=False),
    RiskGate(DenialCode.STRATEGY_DISABLED, "", order_gates.strategy_disabled),
    RiskGate(DenialCode.MISSING_DATA, "", order_gates.missing_data),
    RiskGate(DenialCode.STALE_DATA, "max_data_age", order_gates.stale_data),
    RiskGate(DenialCode.ORDER_SHAPE, "", order_gates.order_shape, relieves=False),
    *order_gates.INSTRUMENT_GATES,
    RiskGate(DenialCode.DUPLICATE_ORDER, "duplicate_window", order_gates.duplicate_order, relieves=False),
    RiskGate(DenialCode.ORDER_RATE, "max_orders", order_gates.order_rate),
    RiskGate(DenialCode.REPEATED_EXECUTION, "max_same_side_fills", order_gates.repeated_execution),
    RiskGate(DenialCode.ORDER_NOTIONAL, "max_order_notional", order_gates.order_notional, ramps=True),
    RiskGate(DenialCode.PRICE_COLLAR, "max_price_deviation", order_gates.price_collar),
    RiskGate(DenialCode.SYMBOL_EXPOSURE, "max_symbol_exposure", order_gates.symbol_exposure, ramps=True),
    RiskGate(DenialCode.GROSS_EXPOSURE, "max_gross_exposure", order_gates.gross_exposure, ramps=True),
    RiskGate(DenialCode.NET_EXPOSURE, "max_net_exposure", order_gates.net_exposure, ramps=True),
    RiskGate(DenialCode.CONCENTRATION, "max_concentration", order_gates.concentration, ramps=True),
    RiskGate(DenialCode.OPEN_ORDERS, "max_open_orders", order_gates.open_orders),
    RiskGate(DenialCode.DAILY_LOSS, "max_daily_loss", order_gates.daily_loss),
    RiskGate(DenialCode.DAILY_LOSS_FRACTION, "max_daily_loss_fraction", order_gates.daily_loss_fraction),
    RiskGate(DenialCode.DRAWDOWN, "max_drawdown", order_gates.drawdown),
    RiskGate(DenialCode.STALE_BOOK, "liquidity.max_book_age", liquidity.stale_book),
    RiskGate(DenialCode.SPREAD, "liquidity.max_spread", liquidity.spread),
    RiskGate(DenialCode.SLIPPAGE, "liquidity.max_slippage", liquidity.slippage),
    RiskGate(DenialCode.TOUCH_DEPTH, "liquidity.min_touch_depth", liquidity.touch_depth, is_floor=True),
    RiskGate(DenialCode.BOOK_DEPTH, "liquidity.min_book_depth", liquidity.book_depth, is_floor=True),
    RiskGate(DenialCode.DAILY_VOLUME_SHARE, "liquidity.max_daily_volume_share", liquidity.daily_volume_share),
    RiskGate(DenialCode.BAR_VOLUME_SHARE, "liquidity.max_bar_volume_share", liquidity.bar_volume_share),
    RiskGate(
        DenialCode.VAR_MODEL,
        "var.refuse_red_zone",
        portfolio_gates.var_model,
        describe=portfolio_gates.describe_model,
    ),
    RiskGate(DenialCode.VALUE_AT_RISK, "var.max_var", portfolio_gates.value_at_risk, ramps=True),
    RiskGate(
        DenialCode.EXPECTED_SHORTFALL, "var.max_expected_shortfall", portfolio_gates.expected_shortfall, ramps=True
    ),
    RiskGate(DenialCode.STRESS_LOSS, "stress.max_stress_loss", portfolio_gates.stress_loss, ramps=True),
    RiskGate(
        DenialCode.PROJECTED_DRAWDOWN, "stress.max_projected_drawdown", portfolio_gates.drawdown_projection, ramps=True
    ),
)
"""All gates; those whose limit is not set are not part of a gate chain."""

_BOOK_GATES = {DenialCode.STALE_BOOK, DenialCode.TOUCH_DEPTH, DenialCode.BOOK_DEPTH}


def gate_chain(limits: RiskLimits) -> GateChain:
    """Return the gate chain of limits: the gates that always apply and one for every limit that is set."""
    has_book = limits.liquidity is not None and limits.liquidity.book == "declared"
    return GateChain(
        gate for gate in GATES if _is_set(limits, gate.setting) and (has_book or gate.code not in _BOOK_GATES)
    )


def make_risk_engine(
    limits: RiskLimits | None, bars: Sequence[Bars], control: Control | None = None, *, past: Sequence[Bars] = ()
) -> RiskEngine:
    """Return the risk engine of a run on `bars`, one Bars per symbol; without limits only the instrument is checked.

    Its daily histories consist of `past`, the declared source, extended by the run's bars; without `past`, of the run's
    bars alone.

    Raises
    ------
    ConfigError
        If there are limits and bars without volume, which their gates can not read.

    """
    if limits is None:
        return RiskEngine.without_limits()
    for part in (*bars, *(past if limits.liquidity is not None else ())):
        if not part.has_volume:
            raise ConfigError(
                f"{part.exchange} {part.symbol} {part.timeframe} has no volume: the gates missing_data, "
                "daily_volume_share, bar_volume_share and slippage can not work. Import the bars with their volume, or "
                "run without risk limits."
            )
    needs_history = limits.var is not None or limits.liquidity is not None
    source, n_days = source_of(limits)
    history = DailyHistory(extend_history(past, bars), source, n_days) if needs_history else None
    return RiskEngine(gate_chain(limits), limits, daily_history=history, control=control)


def source_of(limits: RiskLimits) -> tuple[str, int]:
    """Return the name of the source of the return history, and the number of days that it needs."""
    return ("run", 2) if limits.var is None else (limits.var.source, limits.var.n_days)


def declared_history(
    limits: RiskLimits | None, exchanges: Mapping[str, str], first: int, until: int
) -> tuple[Bars, ...]:
    """Load the source that `[risk.var] source` declares, one Bars per symbol; none if that is the run itself.

    Parameters
    ----------
    limits : RiskLimits, or None
    exchanges : mapping of symbol to the exchange that the run's bars are from
    first : int
        The run's first close, ns UTC: the history must reach to the day before.
    until : int
        The last close that is loaded, ns UTC.

    Raises
    ------
    DataError
        If the store lacks a symbol of the source, or its history is too short.

    """
    declared = None if limits is None or limits.var is None else limits.var
    if declared is None or declared.stored is None:
        return ()
    exchange, timeframe = declared.stored
    return tuple(
        _loaded(declared.source, symbol, timeframe, exchange or own, first, until)
        for symbol, own in sorted(exchanges.items())
    )


def require_sources(limits: RiskLimits | None, what: str) -> None:
    """Raise ConfigError if limits declare an order book and `what` (the kind of run) has none."""
    if limits is not None and limits.liquidity is not None and limits.liquidity.book == "declared":
        raise ConfigError(
            f"risk.liquidity.book was 'declared': {what} has no order books, so every order would be denied. "
            'Set book = "absent", or use the limits in a live session.'
        )


def _loaded(source: str, symbol: str, timeframe: Timeframe, exchange: str, first: int, until: int) -> Bars:
    where = f"risk.var.source was {source!r}"
    try:
        first_held = find_series(symbol, timeframe, exchange).first
        if first_held > until:
            raise DataError(f"{exchange} {symbol} {timeframe} starts at {iso(first_held)}, after the run.")
        bars = load_bars(symbol, timeframe, exchange, None, from_ns(until + 1_000))
    except DataError as error:
        raise DataError(f"{where}: {error}") from None
    if period_of(first - 1, "day") > day_of(bars)[-1] + 1:
        raise DataError(
            f"{where}: {exchange} {symbol} {timeframe} ends at {iso(int(bars.times[-1]))}, days before the run's first "
            f"bar at {iso(first)}. Import the days between."
        )
    return bars


def risk_limits(table: Mapping[str, Any], where: str) -> RiskLimits:
    """Build limits from the `[risk]` table of a run file: the limits themselves, or `file`, the path of a risk file."""
    if "file" in table:
        if len(table) > 1:
            other = sorted(set(table) - {"file"})[0]
            raise ConfigError(f"{where}: risk.{other} is set in addition to risk.file. Move it into that file.")
        return read_risk_file(Path(str(table["file"])))
    return RiskLimits.parse(table, where)


def read_risk_file(path: Path) -> RiskLimits:
    """Read a risk file: one `[risk]` table and its subtables."""
    content = read_toml(path)
    unknown = sorted(set(content) - {"risk"})
    if unknown:
        raise ConfigError(f"{path}: {unknown[0]} is not a table of a risk file. {did_you_mean(unknown[0], ['risk'])}")
    if not isinstance(content.get("risk"), dict):
        raise ConfigError(f"{path}: there is no [risk] table. Put the limits into one.")
    return RiskLimits.parse(content["risk"], str(path))


def _is_set(limits: RiskLimits, setting: str) -> bool:
    part: Any = limits
    for key in setting.split(".") if setting else ():
        part = None if part is None else getattr(part, key)
    return part is not None and part is not False
