"""Backtest results: the events and fills of a run, and everything that follows from them and the bars."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from itertools import takewhile
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from peak_trade.core.arrays import FloatArray
from peak_trade.core.causality import CausalityOutcome, causality_note
from peak_trade.core.described import Described
from peak_trade.core.digest import digest_bytes, digest_of
from peak_trade.core.former_names import HasFormerNames
from peak_trade.core.time import iso
from peak_trade.core.values import Fill, TradingState
from peak_trade.data.holdout import is_holdout_sentence
from peak_trade.data.plausibility import find_implausible
from peak_trade.engine.columns import EventColumns, FillColumns, MovementColumns
from peak_trade.engine.compiled_run import CompiledRun, run_compiled, steps
from peak_trade.engine.inputs import RunInputs
from peak_trade.engine.loop import EventLoop
from peak_trade.engine.market import Market, SymbolBars
from peak_trade.engine.netting import NettedTrader
from peak_trade.engine.refused_exits import exits_below_minimum, small_exits_sentence
from peak_trade.engine.risk_engine import RiskEngine
from peak_trade.engine.settings import BacktestSettings
from peak_trade.engine.sleeve import Sleeve
from peak_trade.engine.target_counts import TargetCounts
from peak_trade.engine.traders import SleeveTrader
from peak_trade.journal.codec import encode_event
from peak_trade.journal.events import Event, OrderEvent, OrderEventKind, SignalEvent, TradingStateEvent
from peak_trade.journal.orders import GateDenials, denials_by_gate, denials_sentence
from peak_trade.metrics import format_measure
from peak_trade.metrics.drawdowns import drawdown
from peak_trade.metrics.summary import Stats, summary
from peak_trade.risk.limits import RiskLimits, has_limits
from peak_trade.risk.order_gates import INSTRUMENT_GATES

TRADE_COLUMNS = (
    "strategy",
    "symbol",
    "side",
    "entry_time",
    "exit_time",
    "quantity",
    "entry_price",
    "exit_price",
    "pnl",
    "fees",
    "return",
    "exit_reason",
)
"""Columns of the table of trades."""

NO_LIMITS = "No risk limits are set: every order that the instrument allows passes."


@dataclass(frozen=True, eq=False, repr=False)
class BacktestResult(Described, HasFormerNames):
    """A finished run. Money is in quote currency, times are close times in UTC, bars are indices of the market's grid.

    `digests` identifies config, data, code, seed and environment. `run_id` follows from these, `content_digest` from
    the events and the equity. `best_intrabar` is the same run with the target taken before the stop if one bar reached
    both.
    """

    former_names: ClassVar = {
        "fill_rows": "fill_bars",
        "bankrupt_row": "bankrupt_bar",
        "standing": "risk_status",
        "why": "no_trade_reason",
        "n_below_lot": "counts.n_below_lot",
    }

    market: Market
    settings: BacktestSettings
    strategies: tuple[str, ...]
    parameters: dict[str, Any]
    events: Sequence[Event]
    fill_list: Sequence[Fill]
    fill_bars: list[int]
    equity_values: FloatArray
    positions: dict[str, FloatArray]
    n_ambiguous: int
    counts: TargetCounts
    bankrupt_bar: int | None
    movements: Sequence[tuple[int, str, str, float, float]] = ()
    """Bar, strategy, symbol, change of position (base units) and of cash (quote currency) of each sleeve, in order."""
    digests: dict[str, str] = field(default_factory=dict)
    exchange: str = "unknown"
    best_intrabar: BacktestResult | None = None
    limits: RiskLimits | None = None
    notes: tuple[str, ...] = ()
    """Sentences on how the bars were read, and on the code that ran."""
    causality: tuple[CausalityOutcome, ...] = ()
    """Outcome of the check for look-ahead of each strategy that a user wrote; no part of any digest."""
    is_weighted: bool = False
    """Whether a target of 1 stands for another part of equity than the sizing says: a sleeve has a weight."""
    weight_remarks: tuple[str, ...] = ()
    """Sentences on the estimates of a portfolio's weights."""
    warm_up: tuple[str, ...] = ()
    """Sentences on the bars before the first traded one that the run knew, one per symbol; empty for a cold run."""
    inputs: RunInputs | None = None
    """The inputs of the run; None for a run within another one, such as a benchmark."""
    not_rerunnable: str = ""
    """Why the run can not be made again elsewhere, as a sentence; empty if it can."""
    not_compiled: str = ""
    """Why the event loop in Python ran it; empty if the compiled one did. The results are equal."""

    def description(self) -> tuple[str, dict[str, object]]:
        """Return what ran on which bars, and the measures that are read first."""
        market, stats = self.market, self.stats()
        names = ("total_return", "sharpe", "max_drawdown", "n_trades", "n_fills")
        span = f"{self.index[0]:%Y-%m-%d %H:%M} to {self.index[-1]:%Y-%m-%d %H:%M} UTC"
        return (
            f"BacktestResult: {', '.join(self.strategies)} on {', '.join(market.symbols)} ({self.exchange})",
            {"bars": f"{len(market):,} of {market.timeframe}, {span}"}
            | {name: format_measure(name, stats[name]) for name in names}
            | {
                "limits": self.risk_status if self.limits else "",
                "remarks": len(self.remarks) or "",
                "run id": self.run_id,
            },
        )

    @property
    def index(self) -> pd.DatetimeIndex:
        """Close times, shape (n_bars,), UTC."""
        return pd.DatetimeIndex(self.market.times, tz="UTC", name="close_time")

    @property
    def is_warm(self) -> bool:
        """Whether the run knew bars before its first one."""
        return bool(self.warm_up)

    @property
    def run_id(self) -> str:
        """First 16 hex digits of the digest of the five digests."""
        return digest_of(self.digests)[:16]

    @cached_property
    def content_digest(self) -> str:
        """SHA-256 of every event and of the equity, bit by bit."""
        return digest_bytes(*(encode_event(event) for event in self.events), self.equity_values.tobytes())

    @property
    def equity(self) -> pd.Series[float]:
        """Cash plus positions at each close, shape (n_bars,), quote currency; 0.0 after a bankruptcy."""
        return pd.Series(self.equity_values, index=self.index, name="equity")

    @property
    def returns(self) -> pd.Series[float]:
        """Simple return of each bar from its previous close, shape (n_bars - 1,), fraction; index close times, UTC.

        -1 at the bar of a bankruptcy, and NaN after it.
        """
        before = pd.Series(self.equity_values[:-1], index=self.index[1:], name="return")
        after = pd.Series(self.equity_values[1:], index=self.index[1:], name="return")
        return after / before.where(before > 0.0) - 1.0

    @property
    def drawdown(self) -> pd.Series[float]:
        """Fraction lost from the last peak of the equity at each close, shape (n_bars,), 0 … 1."""
        return drawdown(self.equity)

    @cached_property
    def exposure(self) -> pd.Series[float]:
        """Net exposure at each close: signed notional over equity, shape (n_bars,), fraction."""
        notional = np.zeros(len(self.market))
        for symbol, column in zip(self.market.symbols, self.market.columns, strict=True):
            held = self.positions[symbol]
            notional += np.where(held != 0.0, held * column.mark, 0.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            exposure = np.where(self.equity_values > 0.0, notional / self.equity_values, 0.0)
        return pd.Series(exposure, index=self.index, name="exposure")

    @cached_property
    def fills(self) -> pd.DataFrame:
        """One row per fill; see `fills_frame`."""
        return fills_frame(self.fill_list)

    @cached_property
    def trades(self) -> pd.DataFrame:
        """One row per round trip, flat to flat; see `trades_frame`."""
        return trades_frame(self.fill_list)

    @cached_property
    def benchmark(self) -> BacktestResult:
        """The run that buys all symbols in equal parts, each at its first close, and holds them, at the same costs."""
        weight = 1.0 / len(self.market.symbols)
        sleeves = [
            Sleeve("buy_and_hold", symbol, np.where(np.isnan(column.mark), 0.0, 1.0), weight)
            for symbol, column in zip(self.market.symbols, self.market.columns, strict=True)
        ]
        plain = BacktestSettings(initial_cash=self.settings.initial_cash, costs=self.settings.costs)
        return replace(run_sleeves(self.market, sleeves, plain), strategies=("buy_and_hold",), exchange=self.exchange)

    def stats(self, since: pd.Timestamp | None = None) -> Stats:
        """Return every measure of the run, or of its bars, trades and fills from a close on; see `metrics.summary`."""
        per_year, equity, exposure = self.market.timeframe.bars_per_year, self.equity, self.exposure
        trades, fills = self.trades, self.fills
        if since is not None:
            equity, exposure = equity[equity.index >= since], exposure[exposure.index >= since]
            trades, fills = trades[trades["entry_time"] >= since], fills[fills["ts_event"] >= since]
        return summary(equity, trades, fills, exposure, per_year)

    @cached_property
    def remarks(self) -> list[str]:
        """What a reader of the measures has to know, one sentence each.

        Look-ahead, code without source, sealed hold-outs, missing bars and volumes, implausible bars, and targets that
        were not held as asked.
        """
        sentences = [each for each in [causality_note(self.causality), self.not_rerunnable] if each]
        sentences += [each for each in dict.fromkeys(self.notes) if is_holdout_sentence(each)]
        gaps = [f"{n:,} of {whole:,} bars of {symbol}" for symbol, (n, whole) in self.market.gaps.items()]
        if gaps:
            sentences.append(
                f"Missing are {' and '.join(gaps)}. Measures are annualised by elapsed time: "
                f"{self.market.bars_per_year:,.1f} bars in a year of 365 days."
            )
        cap = self.settings.costs.max_participation
        for symbol, column in zip(self.market.symbols, self.market.columns, strict=True):
            if cap is not None and np.isnan(column.volume).all():
                sentences.append(
                    f"{symbol} has no volume: the limit of {cap:.0%} of a bar's volume can not work, and its fills "
                    "take any size."
                )
            sentences += self._held_across(symbol, column)
        reasons = self.counts.reasons(self.settings.sizing.kind) if self.fill_list else []
        trims = self.counts.trims(self.settings.sizing.kind, self.market.times)
        return [*sentences, *(f"{reason.capitalize()}." for reason in reasons), *trims, *self.weight_remarks]

    def _held_across(self, symbol: str, column: SymbolBars) -> list[str]:
        """Return a sentence on the implausible bars across which a position of a symbol was held, if there are any."""
        held = self.positions[symbol] != 0.0
        if not held.any():
            return []
        prices = np.column_stack((column.open, column.high, column.low, column.close))
        found = find_implausible(self.market.times, prices, self.market.timeframe.ns)
        crossed = [each for each in found if held[max(each.row - 1, 0) : each.row + 1].any()]
        if not crossed:
            return []
        more = f" and {len(crossed) - 1:,} more" if crossed[1:] else ""
        return [
            f"{symbol} was held across an implausible bar, {crossed[0]}{more}. Check the bars with `peak-trade data "
            "check`."
        ]

    @property
    def no_trade_reason(self) -> str:
        """The reason why nothing traded, as a sentence; empty if something traded."""
        if self.fill_list:
            return ""
        n_signals = sum(isinstance(event, SignalEvent) for event in self.events)
        if n_signals == 0:
            return f"Nothing traded: the target stayed flat over all {len(self.market):,} bars."
        ended = [event for event in self.events if isinstance(event, OrderEvent) and event.leaves == 0.0]
        denied = [event.reason for event in ended if event.event is OrderEventKind.DENIED]
        if denied:
            commonest = max(sorted(set(denied)), key=denied.count)
            return f"Nothing traded: {len(denied):,} orders were denied, most often for {commonest}."
        if reasons := self.counts.reasons(self.settings.sizing.kind):
            return f"Nothing traded: {'; '.join(reasons)}."
        if ended:
            commonest = max(sorted({event.reason for event in ended}), key=[event.reason for event in ended].count)
            return f"Nothing traded: {len(ended):,} orders ended unfilled, most often because of: {commonest}."
        return f"Nothing traded: the target changed {n_signals:,} times, but no order arose within the no-trade band."

    @cached_property
    def denials(self) -> list[GateDenials]:
        """The denied orders of each gate, most orders first; see `denials_by_gate`."""
        return denials_by_gate(self.events)

    @property
    def nothing_traded_after(self) -> int | None:
        """Time of the last fill, ns UTC, if the run wanted to trade after it and did not; None otherwise.

        It wanted to if an order was denied, or if a target asked for another side than that of the position. A target
        of the last bar does not count, because no bar is left to fill it.
        """
        return None if self._after_last_fill is None else self._after_last_fill[0]

    @cached_property
    def _after_last_fill(self) -> tuple[int, int, int] | None:
        """Time of the last fill, and the numbers of denied orders and of unmet targets after it; None if both are 0."""
        if not self.fill_list:
            return None
        last, end = max(fill.ts_event for fill in self.fill_list), int(self.market.times[-1])
        held: dict[tuple[str, str], float] = {}
        for _, strategy, symbol, change, _ in self.movements:
            held[strategy, symbol] = held.get((strategy, symbol), 0.0) + change
        later = [event for event in self.events if event.ts_event > last]
        n_denied = sum(isinstance(event, OrderEvent) and event.event is OrderEventKind.DENIED for event in later)
        n_unmet = sum(
            isinstance(event, SignalEvent)
            and event.ts_event < end
            and np.sign(event.exposure) != np.sign(round(held.get((event.strategy, event.symbol), 0.0), 12))
            for event in later
        )
        return (last, n_denied, n_unmet) if n_denied or n_unmet else None

    @cached_property
    def cut_short(self) -> list[str]:
        """What cut the run short, one sentence each: denied orders and exits, an end of trading, bankruptcy."""
        sentences = [denials_sentence(self.events), small_exits_sentence(self.events)]
        if self._after_last_fill is not None:
            last, n_denied, n_unmet = self._after_last_fill
            reason = f"{n_denied:,} orders were denied" if n_denied else f"{n_unmet:,} targets led to no position"
            sentences.append(
                f"Nothing traded after {iso(last)}, in the last {len(self.market) - 1 - self.fill_bars[-1]:,} of "
                f"{len(self.market):,} bars: {reason} since then."
            )
        if self.bankrupt_bar is not None:
            sentences.append(f"The account went bankrupt at {iso(int(self.market.times[self.bankrupt_bar]))}.")
        return [sentence for sentence in sentences if sentence]

    def trading_facts(self) -> dict[str, Any]:
        """Return the numbers of orders, denials by gate, the last fill and the sentences of the run, for JSON."""
        kinds = [event.event for event in self.events if isinstance(event, OrderEvent)]
        after = self.nothing_traded_after
        return {
            "n_orders": kinds.count(OrderEventKind.REQUESTED),
            "n_denials": kinds.count(OrderEventKind.DENIED),
            **self.counts.to_dict(self.market.times),
            "denials": [asdict(each) | {"first": iso(each.first), "last": iso(each.last)} for each in self.denials],
            "exits_below_minimum": [
                asdict(each) | {"first": iso(each.first), "last": iso(each.last)}
                for each in exits_below_minimum(self.events)
            ],
            "last_fill": iso(max(fill.ts_event for fill in self.fill_list)) if self.fill_list else None,
            "nothing_traded_after": None if after is None else iso(after),
            "causality": [each.to_dict() for each in self.causality],
            "remarks": self.remarks,
            "cut_short": self.cut_short,
            "risk_status": self.risk_status,
            "no_trade_reason": self.no_trade_reason,
            "assumptions": self.assumptions,
            "not_compiled": self.not_compiled,
        }

    @property
    def risk_status(self) -> str:
        """The trading state at the end as a sentence; empty if limits were set and trading was active."""
        if not has_limits(self.limits):
            return NO_LIMITS
        states = [event for event in self.events if isinstance(event, TradingStateEvent)]
        if not states or states[-1].state is TradingState.ACTIVE:
            return ""
        since = list(takewhile(lambda event: event.state is states[-1].state, reversed(states)))[-1]
        return f"Trading is {since.state} since {iso(since.ts_event)} ({since.reason} {since.observed:.4g})."

    @property
    def assumptions(self) -> list[str]:
        """The assumptions of the run, one sentence each."""
        costs, execution = self.settings.costs, self.settings.execution
        cap = costs.max_participation
        sentences = [
            *(each for each in self.notes if not is_holdout_sentence(each)),
            *self.warm_up,
            "A decision on a close fills at the next bar's open, never earlier.",
            f"A taking fill pays {costs.fee_bps:g} bps fee and {costs.slippage_bps:g} bps slippage.",
            "Fills take any size of a bar." if cap is None else f"Fills take at most {cap:.0%} of a bar's volume.",
            f"Entries are {execution.order_type.value} orders; exits by target are market orders.",
            f"The account starts with {self.settings.initial_cash:,.2f} {self.market.columns[0].instrument.quote}; "
            "a long buy is reduced at the fill to the available cash, and a constant target does not rebalance.",
            f"Every order is checked against the risk limits {self.limits.digest()[:16]}."
            if self.limits is not None and self.limits.in_force
            else NO_LIMITS,
        ]
        if execution.has_protection:
            order = "stop before target" if self.settings.intrabar == "worst" else "target before stop"
            sentences.append(
                f"Where a bar does not show the order of events, {order}: this happened in {self.n_ambiguous:,} bars."
            )
        return [*sentences, *self.remarks, *self.cut_short]


def run_sleeves(
    market: Market,
    sleeves: Sequence[Sleeve],
    settings: BacktestSettings,
    progress: Callable[[int], None] | None = None,
    *,
    is_netted: bool = False,
    drift_band: float | None = None,
    risk_engine: RiskEngine | None = None,
) -> BacktestResult:
    """Run sleeves over a market and return the result, without its digests.

    The compiled loop runs what it can, `EventLoop` everything else; `not_compiled` says why.
    """
    reason = "orders are checked against risk limits"
    if risk_engine is None or (not risk_engine.has_limits and risk_engine.gates == INSTRUMENT_GATES):
        compiled = run_compiled(market, sleeves, settings, is_netted=is_netted, drift_band=drift_band)
        if isinstance(compiled, CompiledRun):
            if progress is not None:
                progress(len(market))
            return _result_of_columns(market, sleeves, settings, compiled)
        reason = compiled
    return replace(
        run_event_loop(
            market,
            sleeves,
            settings,
            progress,
            is_netted=is_netted,
            drift_band=drift_band,
            risk_engine=risk_engine,
        ),
        not_compiled=reason,
    )


def run_event_loop(
    market: Market,
    sleeves: Sequence[Sleeve],
    settings: BacktestSettings,
    progress: Callable[[int], None] | None = None,
    *,
    is_netted: bool = False,
    drift_band: float | None = None,
    risk_engine: RiskEngine | None = None,
) -> BacktestResult:
    """Run sleeves in the event loop in Python, the reference of `run_sleeves`."""
    events: list[Event] = []
    trader = (NettedTrader if is_netted else SleeveTrader)(market, sleeves, settings)
    loop = EventLoop(
        market,
        sleeves,
        settings,
        emit=events.append,
        risk_engine=risk_engine,
        trader=trader,
        drift_band=drift_band,
    )
    loop.run(progress)
    return BacktestResult(
        market=market,
        settings=settings,
        strategies=_names(sleeves),
        parameters={},
        events=events,
        fill_list=loop.fills,
        fill_bars=loop.fill_bars,
        equity_values=equity_path(loop),
        positions=position_paths(loop),
        n_ambiguous=loop.n_ambiguous,
        counts=trader.counts,
        bankrupt_bar=loop.bankrupt_bar,
        movements=loop.movements,
        limits=loop.risk_engine.limits,
        is_weighted=_is_weighted(sleeves),
    )


def _result_of_columns(
    market: Market, sleeves: Sequence[Sleeve], settings: BacktestSettings, run: CompiledRun
) -> BacktestResult:
    positions, cash = run.paths(market.symbols, len(market))
    return BacktestResult(
        market=market,
        settings=settings,
        strategies=_names(sleeves),
        parameters={},
        events=EventColumns(run),
        fill_list=FillColumns(run),
        fill_bars=run.trades["bar"].tolist(),
        equity_values=_equity(market, cash, positions),
        positions=positions,
        n_ambiguous=0,
        counts=run.counts,
        bankrupt_bar=None,
        movements=MovementColumns(run),
        is_weighted=_is_weighted(sleeves),
    )


def _names(sleeves: Sequence[Sleeve]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(sleeve.strategy for sleeve in sleeves))


def _is_weighted(sleeves: Sequence[Sleeve]) -> bool:
    return any(not np.all(sleeve.weight == 1.0) for sleeve in sleeves)


def equity_path(loop: EventLoop) -> FloatArray:
    """Return equity at every close of a finished loop, shape (n_bars,), by the same sums as `EventLoop.equity`."""
    return _equity(loop.market, _steps(loop.cash_path, len(loop.market)), position_paths(loop))


def position_paths(loop: EventLoop) -> dict[str, FloatArray]:
    """Return the signed position at every close of a finished loop, by symbol, each of shape (n_bars,)."""
    return {symbol: _steps(path, len(loop.market)) for symbol, path in loop.position_path.items()}


def _equity(market: Market, cash: FloatArray, positions: Mapping[str, FloatArray]) -> FloatArray:
    """Return cash plus positions at their marks at every close, shape (n_bars,); symbols are added in their order."""
    equity = cash
    for symbol, column in zip(market.symbols, market.columns, strict=True):
        held, value = positions[symbol], np.zeros(len(market))
        np.multiply(held, column.mark, out=value, where=held != 0.0)
        equity = np.add(equity, value, out=value)
    return equity


def _steps(path: Sequence[tuple[int, float]], n_bars: int) -> FloatArray:
    return steps(np.array([bar for bar, _ in path], np.int64), np.array([value for _, value in path]), n_bars)


def fills_frame(fill_list: Sequence[Fill]) -> pd.DataFrame:
    """Return one row per fill, in the order in which they happened; `ts_event` as UTC times, sides as text."""
    columns: dict[str, Any] = {name: [getattr(fill, name) for fill in fill_list] for name in Fill.__struct_fields__}
    columns["side"] = [side.value for side in columns["side"]]
    return _table(columns, "ts_event")


@dataclass(slots=True)
class _OpenTrade:
    side: int
    entry_time: int
    quantity: float = 0.0
    open_quantity: float = 0.0
    paid: float = 0.0
    received: float = 0.0
    closed: float = 0.0
    fees: float = 0.0


def trades_frame(fill_list: Sequence[Fill]) -> pd.DataFrame:
    """Return one row per closed trade, sorted by exit time.

    A trade is a round trip, flat to flat. `pnl` is before fees and `fees` are all fees of the trade, both in quote
    currency; `return` is their difference over the entry notional. A flip closes one trade and opens the next, and its
    fee is divided by quantity. A trade that is still open at the end is not in the table.
    """
    held: dict[tuple[str, str], _OpenTrade] = {}
    rows: list[tuple[object, ...]] = []
    for fill in fill_list:
        key = (fill.strategy, fill.symbol)
        sign, left, fee_left = fill.side.sign, fill.quantity, fill.fee
        trade = held.get(key)
        if trade is not None and trade.side != sign:
            closing = min(left, trade.open_quantity)
            fee = fee_left * closing / left
            trade.received += closing * fill.price
            trade.closed += closing
            trade.open_quantity -= closing
            trade.fees += fee
            left, fee_left = left - closing, fee_left - fee
            if trade.open_quantity <= 1e-12 * trade.quantity:
                rows.append(_closed(key, trade, fill))
                del held[key]
                trade = None
        if left > 1e-12 * fill.quantity:
            if trade is None:
                trade = held[key] = _OpenTrade(sign, fill.ts_event)
            trade.quantity += left
            trade.open_quantity += left
            trade.paid += left * fill.price
            trade.fees += fee_left
    values = zip(*rows, strict=True) if rows else ((),) * len(TRADE_COLUMNS)
    columns = {name: list(each) for name, each in zip(TRADE_COLUMNS, values, strict=True)}
    return _table(columns, "entry_time", "exit_time")


def _table(columns: Mapping[str, Sequence[object]], *times: str) -> pd.DataFrame:
    """Return a table of columns, of which some are times in ns UTC."""
    table = pd.DataFrame(columns, dtype=None if columns[times[0]] else object)
    for name in times:
        table[name] = pd.DatetimeIndex(table[name].to_numpy(np.int64)).tz_localize("UTC")
    return table


def _closed(key: tuple[str, str], trade: _OpenTrade, fill: Fill) -> tuple[object, ...]:
    pnl = trade.side * (trade.received - trade.paid)
    side = "long" if trade.side > 0 else "short"
    entry, exit_ = trade.paid / trade.quantity, trade.received / trade.closed
    return (
        *key,
        side,
        trade.entry_time,
        fill.ts_event,
        trade.quantity,
        entry,
        exit_,
        pnl,
        trade.fees,
        (pnl - trade.fees) / trade.paid,
        fill.reason,
    )
