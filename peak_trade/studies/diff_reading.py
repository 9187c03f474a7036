"""Read what is named as a side of a diff: a session from its verified journal, or a recorded backtest run again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from peak_trade.core.errors import ConfigError, PeakTradeError, SessionError, did_you_mean
from peak_trade.core.time import Timeframe, parse_utc
from peak_trade.data.store import load_bars
from peak_trade.engine.settings import BacktestSettings
from peak_trade.journal.events import OrderEvent, SignalEvent
from peak_trade.journal.files import MANIFEST, read_events, read_manifest
from peak_trade.journal.verify import Finding
from peak_trade.sessions.store import find_session, session_ids
from peak_trade.studies.backtest import backtest
from peak_trade.studies.diff import DiffResult, diff
from peak_trade.studies.diff_example import EXAMPLES, example
from peak_trade.studies.diff_recording import Recording, flat_settings, recording_of
from peak_trade.studies.session import check_journal, config_of
from peak_trade.tracking.queries import show_run
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
    if verdict.finding not in (Finding.INTACT, Finding.UNSEALED):
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
