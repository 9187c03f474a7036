"""Build the parts of a session from its configuration, and check that they can be built."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from peak_trade.causality.continued import check_continued
from peak_trade.causality.short import check_run
from peak_trade.core.arrays import IntArray
from peak_trade.core.bars import Bars
from peak_trade.core.causality import CausalityOutcome
from peak_trade.core.errors import ConfigError
from peak_trade.core.time import Timeframe, iso, parse_utc, to_ns
from peak_trade.data.sample import synthetic_bars
from peak_trade.data.store import load_bars
from peak_trade.engine.market import Market
from peak_trade.engine.netting import check_netted
from peak_trade.engine.risk_engine import RiskEngine
from peak_trade.engine.simulated_venue import SimulatedVenue
from peak_trade.engine.venue import Venue
from peak_trade.journal.events import BarEvent
from peak_trade.risk.state import Control
from peak_trade.sessions.bar_buffer import BufferedHistory, MarketBuffer
from peak_trade.sessions.config import SessionConfig, SessionContext
from peak_trade.sessions.live_sleeves import LiveSleeves
from peak_trade.sessions.sandbox.venue import id_prefix
from peak_trade.strategies.base import BaseStrategy, Strategy
from peak_trade.strategies.panel import PanelStrategy
from peak_trade.wiring.digests import user_strategies
from peak_trade.wiring.feeds import FEEDS
from peak_trade.wiring.gates import gate_chain, make_risk_engine, require_sources, source_of
from peak_trade.wiring.portfolio import evaluation_of, strategy_of
from peak_trade.wiring.portfolio_settings import check_entries
from peak_trade.wiring.sleeves import Evaluation, refuse_extra_columns
from peak_trade.wiring.venues import VENUES


def check_sources(config: SessionConfig) -> None:
    """Refuse limits that need a source the session does not have; ConfigError.

    A recording has no order books. A live session whose own bars are its only return history must start with enough
    days of them.
    """
    feed = FEEDS[config.feed]
    if feed.is_recorded:
        require_sources(config.risk, "a recorded session")
    rules = None if config.risk is None else config.risk.var
    if not feed.is_live or rules is None or rules.source != "run":
        return
    n_days = config.n_history * Timeframe.parse(config.timeframe).seconds // 86_400
    if n_days <= rules.min_days:
        raise ConfigError(
            f"risk.var.source was 'run': the {config.n_history} bars a live session starts with are {n_days} days, "
            f'and risk.var.min_days is {rules.min_days}. Name stored bars, for example source = "1d".'
        )


def check_orders(config: SessionConfig) -> None:
    """Refuse an execution policy with orders that the strategies of a portfolio do not send; ConfigError."""
    if config.portfolio is not None and config.portfolio.mode == "netted":
        check_netted(config.trading.execution)


def check_span(config: SessionConfig, recording: Sequence[Bars] | None) -> None:
    """Raise ConfigError if a recording has a symbol without a bar from the start on."""
    if config.start is None:
        return
    for part in recording or ():
        last, named = int(part.times[-1]), f" of {part.symbol}" if len(config.symbols) > 1 else ""
        if last < to_ns(parse_utc(config.start, "start")):
            raise ConfigError(
                f"start was {config.start}: the last bar of the recording{named} closes at {iso(last)}. Choose "
                "an earlier start."
            )


def recording_of(config: SessionConfig) -> tuple[Bars, ...] | None:
    """Load the bars of a recorded session from the store, one Bars per symbol; None for any other."""
    if not FEEDS[config.feed].is_recorded:
        return None
    span = config.timeframe, config.exchange or None, None, config.end
    return tuple(load_bars(symbol, *span) for symbol in config.symbol_names)


def closes_of(recording: Sequence[Bars]) -> IntArray:
    """Return the close times of a recording at which some symbol has a bar, ns UTC."""
    times = recording[0].times
    for part in recording[1:]:
        times = np.union1d(times, part.times)
    return times


def check_strategies(
    config: SessionConfig,
    strategies: Sequence[Strategy | PanelStrategy],
    recording: Sequence[Bars] | None,
    history: Sequence[BarEvent],
    is_wanted: bool,
) -> tuple[CausalityOutcome, ...]:
    """Check the strategies of a user for look-ahead, in short, on the bars known at the start of a session.

    `strategies` are those of the entries of the configuration.
    A session that starts with too few bars for the warm-up of a strategy is checked on generated bars. StrategyError
    if a strategy is incremental and differs bar by bar, whether the check for look-ahead is wanted or not.
    """
    for strategy in strategies:
        refuse_extra_columns(strategy, "a session")
    known = recording if recording is not None else filled_buffer(config, history).bars()
    pairs: list[tuple[BaseStrategy, Sequence[Bars]]] = []
    n_generated = 0
    for entry, strategy in zip(config.entries, strategies, strict=True):
        own = [part for part in known if part.symbol in entry.traded]
        if recording is None and (
            len(own) < len(entry.traded) or min(len(part) for part in own) < strategy.warm_up + 20
        ):
            n_bars, n_generated = max(3_000, 2 * strategy.warm_up + 1_000), n_generated + 1
            own = [replace(synthetic_bars(n_bars), symbol=symbol) for symbol in entry.traded]
        if isinstance(strategy, Strategy) and user_strategies(strategy):
            check_continued(strategy, own[0])
        pairs.append((strategy, own))
    outcomes = check_run(pairs, is_wanted=is_wanted)
    if not n_generated or not is_wanted:
        return outcomes
    reason = "The bars were generated, because the session starts with too few."
    return tuple(replace(each, sentence=f"{each.sentence} {reason}") for each in outcomes)


def buffer_of(config: SessionConfig, n_bars: int) -> MarketBuffer:
    """Return an empty buffer for a number of closes."""
    instruments = list(config.instruments.values())
    return MarketBuffer(instruments, Timeframe.parse(config.timeframe), max(n_bars, 1), config.exchange)


def filled_buffer(config: SessionConfig, bars: Sequence[BarEvent]) -> MarketBuffer:
    """Return a buffer of bars; the last close has those that are given."""
    buffer = buffer_of(config, len(bars))
    for bar in bars:
        if not buffer.is_open_at(bar.ts_event):
            buffer.close()
        buffer.add(bar)
    buffer.close()
    return buffer


def recording_of_events(config: SessionConfig, bars: Sequence[BarEvent]) -> tuple[Bars, ...] | None:
    """Return recorded bars as a recording, one Bars per symbol of the session; None without bars."""
    parts = filled_buffer(config, bars).parts.values()
    return tuple(part.bars() for part in parts) if bars else None


def sleeves_of(config: SessionConfig, buffer: MarketBuffer, recording: Sequence[Bars] | None) -> LiveSleeves:
    """Return the sleeves of a session over its buffer; `recording` as of `LiveSleeves`."""
    strategies = [strategy_of(entry) for entry in config.entries]
    if config.portfolio is None:
        (strategy,), (symbol,) = strategies, config.symbol_names
        return LiveSleeves(buffer, [Evaluation(strategy, strategy.name, (symbol,), config.trading)], recording)
    entries = config.entries
    evaluations = [
        evaluation_of(entry, strategy, config.trading) for entry, strategy in zip(entries, strategies, strict=True)
    ]
    fixed = check_entries(entries, config.portfolio.allocation)
    return LiveSleeves(buffer, evaluations, recording, config.portfolio, fixed)


def risk_engine_of(
    config: SessionConfig,
    buffer: MarketBuffer,
    recording: Sequence[Bars] | None,
    control: Control | None = None,
    *,
    past: Sequence[Bars] = (),
) -> RiskEngine:
    """Return the session's risk engine, in the trading state `control` (active by default).

    Its daily histories consist of `past`, the declared source, extended by the session's bars.
    """
    limits = config.risk
    if limits is None or recording is not None:
        return make_risk_engine(limits, recording or (), control, past=past)
    history = BufferedHistory(buffer, *source_of(limits), past)
    return RiskEngine(gate_chain(limits), limits, daily_history=history, control=control)


def open_simulated(context: SessionContext, market: Market) -> SimulatedVenue:
    """Open the venue that fills orders from bars."""
    trading = context.config.trading
    return SimulatedVenue(market, trading.costs, worst_first=trading.intrabar == "worst")


def venue_maker(context: SessionContext) -> Callable[[Market], Venue]:
    """Return the function that opens the venue of the session's mode on a market."""

    def make_venue(market: Market) -> Venue:
        venue: Venue = VENUES[context.config.mode].open(context, market)
        return venue

    return make_venue


def order_prefix(context: SessionContext) -> str:
    """Return the start of the session's order ids: unique at a sandbox, `o-` elsewhere."""
    return id_prefix(context.session_id) if VENUES[context.config.mode].is_sandbox else "o-"
