"""Build the parts of a session from its configuration, and check that they can be built."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from peak_trade.causality.continued import check_continued
from peak_trade.causality.short import check_run
from peak_trade.core.bars import Bars
from peak_trade.core.causality import CausalityOutcome
from peak_trade.core.errors import ConfigError
from peak_trade.core.time import Timeframe, iso, parse_utc, to_ns
from peak_trade.data.sample import synthetic_bars
from peak_trade.data.store import load_bars
from peak_trade.engine.market import Market
from peak_trade.engine.risk_engine import RiskEngine
from peak_trade.engine.simulated_venue import SimulatedVenue
from peak_trade.engine.venue import Venue
from peak_trade.journal.events import BarEvent
from peak_trade.risk.state import Control
from peak_trade.sessions.bar_buffer import BarBuffer, BufferedHistory
from peak_trade.sessions.config import SessionConfig, SessionContext
from peak_trade.sessions.sandbox.venue import id_prefix
from peak_trade.strategies.base import Strategy
from peak_trade.wiring.digests import user_strategies
from peak_trade.wiring.feeds import FEEDS
from peak_trade.wiring.gates import gate_chain, make_risk_engine, require_sources, source_of
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


def check_span(config: SessionConfig, recording: Bars | None) -> None:
    """Raise ConfigError if a recording has no bar from the start on."""
    if recording is None or config.start is None:
        return
    last = int(recording.times[-1])
    if last < to_ns(parse_utc(config.start, "start")):
        raise ConfigError(
            f"start was {config.start}: the last bar of the recording closes at {iso(last)}. Choose an earlier start."
        )


def recording_of(config: SessionConfig) -> Bars | None:
    """Load the bars of a recorded session from the store; None for any other."""
    if not FEEDS[config.feed].is_recorded:
        return None
    return load_bars(config.symbol, config.timeframe, config.exchange or None, None, config.end)


def check_strategy(
    config: SessionConfig, strategy: Strategy, recording: Bars | None, history: Sequence[BarEvent], is_wanted: bool
) -> tuple[CausalityOutcome, ...]:
    """Check a user's strategy for look-ahead, in short, on the bars known at the start of a session.

    A session that starts with too few bars for the warm-up of the strategy is checked on generated bars. StrategyError
    if the strategy is incremental and differs bar by bar, whether the check for look-ahead is wanted or not.
    """
    refuse_extra_columns(strategy, "a session")
    bars = recording
    if bars is None and len(history) >= strategy.warm_up + 20:
        buffer = buffer_of(config, len(history))
        for event in history:
            buffer.add(event)
        bars = buffer.bars()
    generated = synthetic_bars(max(3_000, 2 * strategy.warm_up + 1_000))
    if user_strategies(strategy):
        check_continued(strategy, bars or generated)
    outcomes = check_run([(strategy, bars or generated)], is_wanted=is_wanted)
    if bars is not None or not is_wanted:
        return outcomes
    reason = "The bars were generated, because the session starts with too few."
    return tuple(replace(each, sentence=f"{each.sentence} {reason}") for each in outcomes)


def buffer_of(config: SessionConfig, n_bars: int) -> BarBuffer:
    """Return an empty buffer for a number of bars."""
    instrument = config.instrument.instrument(config.symbol)
    return BarBuffer(instrument, Timeframe.parse(config.timeframe), max(n_bars, 1), config.exchange)


def evaluation_of(config: SessionConfig, strategy: Strategy) -> Evaluation:
    """Return the evaluation of the session's strategy, which equals that of a backtest."""
    return Evaluation(strategy, config.trading, config.instrument.instrument(config.symbol))


def risk_engine_of(
    config: SessionConfig,
    buffer: BarBuffer,
    recording: Bars | None,
    control: Control | None = None,
    *,
    past: Sequence[Bars] = (),
) -> RiskEngine:
    """Return the session's risk engine, in the trading state `control` (active by default).

    Its daily histories consist of `past`, the declared source, extended by the session's bars.
    """
    limits = config.risk
    if limits is None or recording is not None:
        return make_risk_engine(limits, [] if recording is None else [recording], control, past=past)
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
