"""Read what is named as a side of a diff: a session from its verified journal, or a recorded backtest run again."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from peak_trade.core.bars import Bars
from peak_trade.core.errors import ConfigError, PeakTradeError, SessionError, did_you_mean
from peak_trade.core.time import Timeframe, parse_utc
from peak_trade.core.values import Instrument, Order
from peak_trade.costs.model import Costs
from peak_trade.data.sample import sample_bars
from peak_trade.data.store import load_bars
from peak_trade.diff.recording import Recording, events_with_bars, flat_settings, recording_of
from peak_trade.diff.result import DiffResult, diff
from peak_trade.engine.loop import EventLoop
from peak_trade.engine.market import Market
from peak_trade.engine.settings import BacktestSettings
from peak_trade.engine.venue import BuyingPower, Execution, SimulatedVenue
from peak_trade.journal.events import Event, OrderEvent, SignalEvent
from peak_trade.journal.files import MANIFEST, read_events, read_manifest
from peak_trade.journal.verify import VerdictKind
from peak_trade.sessions.store import check_journal, config_of, find_session, session_ids
from peak_trade.strategies.ma_crossover import MaCrossover
from peak_trade.studies.backtest import backtest
from peak_trade.tracking.queries import show_run
from peak_trade.wiring.sleeves import sleeve_for
from peak_trade.wiring.strategies import make_strategy


def diff_runs(shadow: str, live: str, tolerance_bps: float = 5.0, tolerance_ms: float = 1_000.0) -> DiffResult:
    """Return the diff of two runs by name; see `read_recording` and `diff`."""
    return diff(read_recording(shadow), read_recording(live), tolerance_bps=tolerance_bps, tolerance_ms=tolerance_ms)


def read_recording(name: str) -> Recording:
    """Return a session or a recorded backtest as one side of a diff.

    Parameters
    ----------
    name : str
        A session's id, its beginning or its folder; the run id of a recorded backtest, which is run again; or
        `example-shadow` and `example-live`, two generated runs.

    Raises
    ------
    SessionError
        When neither is known under that name, the journal is not what was written, or the backtest no longer comes
        out under its run id.

    """
    if name in EXAMPLES:
        return example(name)
    if (Path(name) / MANIFEST).exists() or any(known.startswith(name) for known in session_ids() if name):
        return read_session(find_session(name))
    try:
        record = show_run(name)
    except ConfigError as error:
        hint = did_you_mean(name, session_ids())
        raise SessionError(f"{name} is no session ({hint}) and no recorded backtest ({error}).") from None
    return rerun_backtest(record.columns[0], dict(record.iloc[:, 0].dropna().items()))


def read_session(folder: Path) -> Recording:
    """Return a session as one side of a diff; SessionError unless its journal verifies."""
    verdict = check_journal(folder)
    if verdict.finding not in (VerdictKind.INTACT, VerdictKind.UNSEALED):
        raise SessionError(
            f"{folder.name}: the journal is {verdict.finding} ({verdict.message}); what is not authentic is not "
            "compared."
        )
    config = config_of(folder)
    events = read_events(folder)
    named = {event.strategy for event in events if isinstance(event, SignalEvent | OrderEvent)}
    grid = config.instrument.model_dump(mode="json")
    settings = flat_settings(
        strategy=", ".join(sorted(named)) or make_strategy(config.strategy, config.parameters).name,
        parameters=config.parameters,
        trading=config.trading.model_dump(mode="json"),
        instruments={config.symbol: grid},
        risk=None if config.risk is None else config.risk.model_dump(mode="json"),
    )
    code = str(read_manifest(folder).get("digests", {}).get("code", ""))
    return Recording(folder.name, config.mode, Timeframe.parse(config.timeframe), settings, code, events)


def rerun_backtest(run_id: str, record: Mapping[Any, Any]) -> Recording:
    """Return a backtest as one side of a diff, run again from its record; SessionError when its run id changes.

    `record` maps (kind, name) to text, as `show_run` returns it.
    """
    tags = {name: str(value) for (kind, name), value in record.items() if kind == "tag"}
    parameters = {name: value for (kind, name), value in record.items() if kind == "parameter"}
    if tags.get("run_type") != "backtest" or ", " in tags["strategy"]:
        raise SessionError(
            f"{run_id} is a {tags.get('run_type')} run of {tags['strategy']}: only sessions and backtests of one "
            "strategy can be compared."
        )
    own = {n: v for n, v in parameters.items() if not n.startswith("settings.") and n not in ("exchange", "notebook")}
    trading = _nested(
        {n.removeprefix("settings."): _value(v) for n, v in parameters.items() if n.startswith("settings.")}
    )
    try:
        strategy = make_strategy(tags["strategy"], {name: _value(value) for name, value in own.items()})
        settings = BacktestSettings.parse(trading, f"run {run_id}")
        end = parse_utc(tags["end"].replace("Z", "+00:00"), "end")
        timeframe = Timeframe.parse(tags["timeframe"])
        bars = [
            load_bars(symbol, timeframe, parameters.get("exchange"), tags["start"].replace("Z", "+00:00"),
                      end + timeframe.duration)
            for symbol in tags["symbol"].split(", ")
        ]  # fmt: skip
        result = backtest(strategy, bars, settings)
    except PeakTradeError as error:
        raise SessionError(f"run {run_id} can't be run again: {error}") from None
    if result.run_id != run_id:
        changed = [name for name, digest in result.digests.items() if digest != tags.get(f"digest.{name}", digest)]
        raise SessionError(
            f"run {run_id} comes out as {result.run_id} today: {', '.join(changed) or 'its settings'} differ from the "
            "recorded ones. Run the backtest anew and compare that."
        )
    return recording_of(result, run_id)


def _value(text: Any) -> Any:
    try:
        return json.loads(text)
    except (TypeError, ValueError):
        return text


def _nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for name, value in flat.items():
        *parents, last = name.split(".")
        place = nested
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = value
    return nested


EXAMPLES = ("example-shadow", "example-live")
"""Names under which the two are found."""
MISSED_ROW = 700
VENUE_FEE_BPS = 26.0
WORST_SLIPPAGE_BPS = 18.0
LATENCIES_MS = (40.0, 400.0)
_SYMBOL = "BTC/USDT"
_GRID = Instrument(_SYMBOL, tick_size=0.01, lot_size=1e-5, min_notional=5.0)
_STRATEGY = MaCrossover(fast=12, slow=48)


class WorseVenue(SimulatedVenue):
    """A venue that slips by up to 18 bps more than it should, and answers 40 to 400 ms late."""

    def __init__(self, market: Market, costs: Costs) -> None:
        super().__init__(market, costs)
        self._random = np.random.default_rng(8)

    def match(self, row: int, buying_power: BuyingPower) -> Iterator[Execution]:
        """Yield the executions of the bar of `row`, late."""
        for execution in super().match(row, buying_power):
            late = int(self._random.uniform(*LATENCIES_MS) * 1e6)
            yield replace(execution, ts_event=execution.ts_event + late)

    def _slipped(self, order: Order, reference: float, tick: float) -> float:
        extra = order.side.sign * self._random.uniform(0.0, WORST_SLIPPAGE_BPS) / 1e4
        return super()._slipped(order, reference * (1.0 + extra), tick)


def example(name: str) -> Recording:
    """Return one of the two generated runs: `example-shadow` or `example-live`.

    The live one missed a bar, pays 26 bps where 10 are configured, slips by up to 18 bps more and is 40 to 400 ms late.
    """
    bars = sample_bars(_SYMBOL, n_bars=2_000)
    configured = BacktestSettings()
    settings = flat_settings(
        strategy=_STRATEGY.name,
        parameters=_STRATEGY.model_dump(mode="json"),
        trading=configured.model_dump(mode="json"),
        instruments={_SYMBOL: asdict(_GRID)},
        risk=None,
    )
    if name == EXAMPLES[0]:
        return Recording(name, "shadow", bars.timeframe, settings, "", _events(bars, configured))
    kept = Bars(bars.frame.drop(bars.frame.index[MISSED_ROW]), bars.symbol, bars.timeframe, bars.exchange)
    charged = BacktestSettings(costs=Costs(fee_bps=VENUE_FEE_BPS))
    return Recording(name, "paper", bars.timeframe, settings, "", _events(kept, charged, is_worse=True))


def _events(bars: Bars, settings: BacktestSettings, *, is_worse: bool = False) -> list[Event]:
    market = Market.of([bars], {_SYMBOL: _GRID})
    sleeve = sleeve_for(_STRATEGY, _STRATEGY.name, bars, market, settings, 1.0, 0)
    events: list[Event] = []
    venue = WorseVenue(market, settings.costs) if is_worse else None
    loop = EventLoop(market, [sleeve], settings, emit=events.append, venue=venue)
    loop.run()
    return events_with_bars(market, events, loop.fill_rows)
