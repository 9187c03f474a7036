"""Diff of two runs by name: a session from its verified journal, or a recorded backtest that is run again."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from msgspec.structs import replace

from peak_trade.core.arguments import checks_arguments
from peak_trade.core.bars import Bars
from peak_trade.core.causality import outcomes_of
from peak_trade.core.errors import ConfigError, SessionError, did_you_mean
from peak_trade.core.time import Timeframe
from peak_trade.core.values import Instrument, Order
from peak_trade.costs.model import Costs
from peak_trade.data.sample import sample_bars
from peak_trade.diff.packed import PackedEvents
from peak_trade.diff.recording import Recording, events_with_bars, flat_settings, recording_of
from peak_trade.diff.result import DiffResult, diff
from peak_trade.diff.tolerances import TOLERANCE_BPS, TOLERANCE_MS
from peak_trade.engine.market import Market
from peak_trade.engine.settings import BacktestSettings
from peak_trade.engine.simulated_venue import SimulatedVenue
from peak_trade.engine.venue import BuyingPower, Execution
from peak_trade.journal.events import DecisionEvent, Event, OrderEvent, SignalEvent
from peak_trade.journal.files import MANIFEST, read_manifest, stream_events
from peak_trade.sessions.config import SessionConfig
from peak_trade.sessions.store import check_journal, config_of, find_session, session_ids
from peak_trade.studies.log_diff import (
    ImportedLog,
    LogStatements,
    backtest_of_log,
    is_imported,
    log_on_bars,
    log_with_run,
    read_log,
    two_logs,
)
from peak_trade.tracking.queries import show_run
from peak_trade.wiring.strategies import make_strategy


@checks_arguments()
def diff_runs(
    shadow: str, live: str, tolerance_bps: float = TOLERANCE_BPS, tolerance_ms: float = TOLERANCE_MS
) -> DiffResult:
    """Return the diff of two runs by name; each may be an imported log. See `read_recording` and `diff`."""
    return compare(shadow, live, tolerance_bps=tolerance_bps, tolerance_ms=tolerance_ms)


def read_pair(shadow: str, live: str, stated: LogStatements) -> tuple[Recording, Recording]:
    """Return the recordings of two runs; `stated` are a user's statements about the logs among them."""
    logs = [read_log(folder) if (folder := imported_folder(name)) else None for name in (shadow, live)]
    match logs:
        case [ImportedLog() as one, ImportedLog() as other]:
            return two_logs(one, other, stated)
        case [ImportedLog() as log, None]:
            run = read_recording(live)
            return log_with_run(log, run, stated), run
        case [None, ImportedLog() as log]:
            run = read_recording(shadow)
            return run, log_with_run(log, run, stated)
    return read_recording(shadow), read_recording(live)


def imported_folder(name: str) -> Path | None:
    """Return the folder of an imported log, by the name of its session; None if the name is that of another run."""
    if name in EXAMPLES or not name.strip():
        return None
    if not os.path.exists(Path(name) / MANIFEST) and not any(known.startswith(name) for known in session_ids()):
        return None
    folder = find_session(name)
    return folder if is_imported(folder) else None


def compare(
    shadow: str,
    live: str | None = None,
    *,
    strategy: str | None = None,
    parameters: Mapping[str, Any] | None = None,
    stated: LogStatements | None = None,
    tolerance_bps: float = TOLERANCE_BPS,
    tolerance_ms: float = TOLERANCE_MS,
) -> DiffResult:
    """Return the diff of two runs by name, or of an imported log and what is made from it.

    Parameters
    ----------
    shadow : str
        A run; see `read_recording`. It or `live` may be an imported log.
    live : str, optional
        Without it, `shadow` is an imported log that becomes the live side. It is compared with a backtest of `strategy`
        over its span or, without a strategy, with its own orders as the simulation fills them on stored bars.
    strategy : str, optional
    parameters : mapping, optional
        Parameters of the strategy.
    stated : LogStatements, optional
        Statements about the logs. With a strategy its run file is that of the backtest.
    tolerance_bps, tolerance_ms : float
        See `diff`.

    Raises
    ------
    SessionError
        If `live` is left out and `shadow` is not an imported log, or no bars are held.
    ConfigError
        If a second run and a strategy are both given, or a name is unknown.

    """
    stated = stated or LogStatements()
    if live is not None and strategy is not None:
        raise ConfigError(f"a strategy, {strategy}, and a second run, {live}, are both given. Leave one of them out.")
    if live is not None:
        pair = read_pair(shadow, live, stated)
    else:
        folder = imported_folder(shadow)
        if folder is None:
            raise SessionError(
                f"{shadow} is not an imported log. Import one with `peak-trade audit import`, or give a second run."
            )
        log = read_log(folder)
        if strategy is None:
            pair = log_on_bars(log, stated)[:2]
        else:
            run = backtest_of_log(log, strategy, parameters or {}, stated)
            pair = run, log_with_run(log, run, LogStatements(None, stated.cash, stated.exchange))
    return diff(*pair, tolerance_bps=tolerance_bps, tolerance_ms=tolerance_ms)


def read_recording(name: str) -> Recording:
    """Return the recording of a session or of a recorded backtest.

    Parameters
    ----------
    name : str
        Id of a session, the beginning of its id, or its folder; run id of a backtest or a portfolio, which is run
        again; or `example-shadow` or `example-live`, two generated runs.

    Raises
    ------
    SessionError
        If no run has this name, the journal does not verify, or the backtest can not be made again as recorded.

    """
    if name in EXAMPLES:
        return example(name)
    if not name.strip():
        raise SessionError(
            "the name of a run was empty. Give a session of `peak-trade session list`, or a "
            "run of `peak-trade runs list`."
        )
    if os.path.exists(Path(name) / MANIFEST) or any(known.startswith(name) for known in session_ids()):
        return read_session(find_session(name))
    try:
        record = show_run(name)
    except ConfigError as error:
        known = session_ids()
        sessions = f"Of the sessions: {did_you_mean(name, known)}" if known else "There are no sessions."
        raise SessionError(
            f"{name} is neither a session nor a recorded backtest. {sessions} Of the backtests: {error}"
        ) from None
    return rerun_backtest(record.columns[0])


def read_session(folder: Path) -> Recording:
    """Return the recording of a session; SessionError if its journal does not verify."""
    verdict = check_journal(folder)
    if not verdict.is_intact:
        raise SessionError(
            f"{folder.name}: the journal is {verdict.finding} ({verdict.message}); choose a session whose journal "
            "verifies."
        )
    config = config_of(folder)
    events = PackedEvents(map(_without_inputs, stream_events(folder)))
    strategies = {event.strategy for event in events if isinstance(event, SignalEvent | OrderEvent)}
    settings = flat_settings(
        strategy=_strategies(config, strategies),
        parameters=config.parameters,
        trading=config.trading.model_dump(mode="json"),
        instruments={each.name: each.instrument.model_dump(mode="json") for each in config.symbols},
        risk=None if config.risk is None else config.risk.model_dump(mode="json"),
    )
    manifest = read_manifest(folder)
    code = str(manifest.get("digests", {}).get("code", ""))
    timeframe = Timeframe.parse(config.timeframe)
    return Recording(folder.name, config.mode, timeframe, settings, code, events, outcomes_of(manifest))


def _strategies(config: SessionConfig, found: set[str]) -> str:
    """Return the names of the strategies of a session; those of a single one are in its events, where it has some."""
    if config.portfolio is not None:
        return ", ".join(dict.fromkeys(entry.shown_as for entry in config.entries))
    return ", ".join(sorted(found)) or make_strategy(config.label, config.parameters).name


def _without_inputs(event: Event) -> Event:
    """Leave out the inputs of a decision, which are thousands of characters and are not compared."""
    return replace(event, inputs="") if isinstance(event, DecisionEvent) else event


def rerun_backtest(run_id: str) -> Recording:
    """Run a recorded backtest or portfolio again and return its recording.

    SessionError if its events are not the recorded ones.
    """
    from peak_trade.studies.rerun import rerun_record  # loads numba, which a diff of sessions does without
    from peak_trade.studies.run_files import read_recorded

    try:
        record = read_recorded(run_id)
        if record.study != "portfolio" and (record.study != "backtest" or ", " in record.tags["strategy"]):
            raise SessionError(
                f"{run_id} is a {record.tags['run_type']} run of {record.tags['strategy']}; choose a session, a "
                "portfolio run or a backtest of one strategy."
            )
        again = rerun_record(record)
    except ConfigError as error:
        raise SessionError(str(error)) from None
    if again.result is None or again.first_difference is not None:
        raise SessionError(f"run {run_id} differs from its record, first at {again.first_difference}.")
    return recording_of(again.result, run_id, again.result.limits)


EXAMPLES = ("example-shadow", "example-live")
"""Names of the two generated runs."""
MISSED_BAR = 700
"""Index of the bar that the live run lacks."""
VENUE_FEE_BPS = 26.0
MAX_EXTRA_SLIPPAGE_BPS = 18.0
LATENCY_MS = (40.0, 400.0)
"""Lowest and highest latency."""
_SYMBOL = "BTC/USDT"
_GRID = Instrument(_SYMBOL, tick_size=0.01, lot_size=1e-5, min_notional=5.0)
_STRATEGY, _PARAMETERS = "ma_crossover", {"fast": 12, "slow": 48}


class WorseVenue(SimulatedVenue):
    """A venue with up to 18 bps of additional slippage and a latency of 40 to 400 ms."""

    def __init__(self, market: Market, costs: Costs) -> None:
        super().__init__(market, costs)
        self._random = np.random.default_rng(8)

    def match(self, bar: int, buying_power: BuyingPower) -> Iterator[Execution]:
        """Yield the executions in a bar, with a latency."""
        for execution in super().match(bar, buying_power):
            latency = int(self._random.uniform(*LATENCY_MS) * 1e6)
            yield replace(execution, ts_event=execution.ts_event + latency)

    def _slipped(self, order: Order, reference: float, tick: float) -> float:
        extra = order.side.sign * self._random.uniform(0.0, MAX_EXTRA_SLIPPAGE_BPS) / 1e4
        return super()._slipped(order, reference * (1.0 + extra), tick)


def example(name: str) -> Recording:
    """Return one of the two generated runs: `example-shadow` or `example-live`.

    The live run lacks a bar, pays a fee of 26 bps instead of the configured 10, and has up to 18 bps of additional
    slippage and a latency of 40 to 400 ms.
    """
    bars = sample_bars(_SYMBOL, n_bars=2_000)
    configured, strategy = BacktestSettings(), make_strategy(_STRATEGY, _PARAMETERS)
    settings = flat_settings(
        strategy=strategy.name,
        parameters=strategy.model_dump(mode="json"),
        trading=configured.model_dump(mode="json"),
        instruments={_SYMBOL: asdict(_GRID)},
        risk=None,
    )
    if name == EXAMPLES[0]:
        return Recording(name, "shadow", bars.timeframe, settings, "", _events(bars, configured))
    kept = Bars(bars.frame.drop(bars.frame.index[MISSED_BAR]), bars.symbol, bars.timeframe, bars.exchange)
    charged = BacktestSettings(costs=Costs(fee_bps=VENUE_FEE_BPS))
    return Recording(name, "paper", bars.timeframe, settings, "", _events(kept, charged, is_worse=True))


def _events(bars: Bars, settings: BacktestSettings, *, is_worse: bool = False) -> list[Event]:
    from peak_trade.engine.loop import EventLoop
    from peak_trade.wiring.sleeves import sleeve_for

    market = Market.of([bars], {_SYMBOL: _GRID})
    strategy = make_strategy(_STRATEGY, _PARAMETERS)
    sleeve = sleeve_for(strategy, strategy.name, bars, market, settings, 1.0, 0)
    events: list[Event] = []
    venue = WorseVenue(market, settings.costs) if is_worse else None
    loop = EventLoop(market, [sleeve], settings, emit=events.append, venue=venue)
    loop.run()
    return events_with_bars(market, events, loop.fill_bars)
