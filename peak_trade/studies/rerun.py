"""Make a recorded run again from its record alone, and compare its events with the recorded ones."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from peak_trade.core.bars import Bars
from peak_trade.core.digest import digest_bytes, digest_of, package_digest
from peak_trade.core.errors import ConfigError, PeakTradeError, shortened
from peak_trade.core.files import read_bytes
from peak_trade.core.time import iso
from peak_trade.core.values import Instrument
from peak_trade.engine.result import BacktestResult
from peak_trade.journal.codec import encode_event
from peak_trade.sessions.replay import replayed_events
from peak_trade.sessions.store import find_session
from peak_trade.studies.backtest import backtest
from peak_trade.studies.bundle import is_bundle, within_bundle
from peak_trade.studies.portfolio.run import run_portfolio
from peak_trade.studies.regime.study import study_regimes
from peak_trade.studies.run_files import RecordedRun, digest_of_events, event_lines, read_recorded
from peak_trade.studies.sweep.run import sweep
from peak_trade.studies.walk_forward.run import walk_forward
from peak_trade.tracking.counting import not_trials
from peak_trade.tracking.environment import changed_versions
from peak_trade.wiring.digests import code_digest
from peak_trade.wiring.parts import recorded_code, restored
from peak_trade.wiring.portfolio import code_of

"""Called with the bars done and the bars in all."""


@dataclass(frozen=True, slots=True)
class FirstDifference:
    """The first event that is not the recorded one: its index from 0, and both events in short."""

    index: int
    recorded: str
    now: str

    def __str__(self) -> str:
        return f"event {self.index:,}: recorded is {self.recorded}; now there is {self.now}"


@dataclass(frozen=True, slots=True, eq=False)
class Rerun:
    """A recorded run that was made again.

    `result` is the run whose events are compared, the winner of a sweep; None for a session, which is replayed from its
    journal. `changes` are the inputs that are not the recorded ones, one sentence each, `notes` what else a reader has
    to know. `first_difference` is None if the events and the equity are equal to the recorded ones, to the bit.
    """

    record: RecordedRun
    result: BacktestResult | None
    run_id: str
    events_digest: str
    n_events: int
    first_difference: FirstDifference | None
    changes: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def is_equal(self) -> bool:
        """Whether the events and the equity are equal to the recorded ones."""
        return self.first_difference is None


def rerun(run_id: str, *, accept_changes: bool = False) -> Rerun:
    """Make a recorded run again with the inputs that its record names, and compare the events.

    Nothing is recorded. A rerun counts as a trial only with inputs that are not the recorded ones. Modules of a user
    that are not here, or have another source now, come from the record.

    Parameters
    ----------
    run_id : str
        The whole id, or a prefix of it that no other run has; or the folder of an exported run, which has its own bars.
    accept_changes : bool
        Whether to run with bars and versions that are not the recorded ones.

    Raises
    ------
    ConfigError
        If the run is unknown or unfinished, its files are damaged, or an input is missing, or is another one than
        recorded and `accept_changes` is not set. The message names it.

    """
    if not is_bundle(Path(run_id)):
        return rerun_record(read_recorded(run_id), accept_changes=accept_changes)
    with within_bundle(Path(run_id)) as record:
        return rerun_record(record, accept_changes=accept_changes)


def rerun_record(record: RecordedRun, *, accept_changes: bool = False) -> Rerun:
    """Make a recorded run again; see `rerun`."""
    try:
        if record.obstacle:
            raise ConfigError(record.obstacle)
        versions = changed_versions(record.environment, record.packages)
        loaded = [part.load() for part in (*record.bars, *record.history)]
        changes = [*filter(None, (change for _, change in loaded)), *_changed_files(record), *versions]
        bars = [part for part, _ in loaded[: len(record.bars)]]
        history = [part for part, _ in loaded[len(record.bars) :]]
        if changes and not accept_changes:
            more = f" ({len(changes) - 1:,} more inputs differ)" if changes[1:] else ""
            raise ConfigError(f"{changes[0]}{more} Restore it, or accept the changes with --accept-changes.")
        with recorded_code(record.sources, record.cells) as notes, nullcontext() if changes else not_trials():
            made = _STUDIES[record.study](restored(record.arguments), bars, history, record.start)
        if record.cells and record.code_digest and not changes:
            _check_cells(record, made.digests)
    except PeakTradeError as error:
        raise ConfigError(f"run {record.run_id} can not be made again: {error}") from None
    equity = np.empty(0) if made.run is None else made.run.equity_values
    events = made.lines
    return Rerun(
        record=record,
        result=made.run,
        run_id=record.run_id if made.run is None else digest_of(made.digests)[:16],
        events_digest=digest_of_events(events, equity),
        n_events=len(events),
        first_difference=_first_difference(record, events, equity.tolist()),
        changes=tuple(changes),
        notes=(*notes, *_code_note(record, made.digests)),
    )


def _changed_files(record: RecordedRun) -> Iterator[str]:
    for name, digest in record.named_files.items():
        if not Path(name).is_file():
            raise ConfigError(f"the file {name}, which a parameter names, is gone.")
        if digest_bytes(read_bytes(Path(name))) != digest:
            yield f"the file {name}, which a parameter names, is not the recorded one."


def _check_cells(record: RecordedRun, digests: Mapping[str, str]) -> None:
    """Raise ConfigError when the recorded statements of a notebook define other code than that which ran."""
    if digests["code"] != digest_of([package_digest(), record.code_digest]):
        raise ConfigError(
            "the statements that define its code in the cells of its notebook give other code here. Another statement "
            "changed it, such as a loop or the call of a method. Set it by one statement, then run and record it again."
        )


@dataclass(frozen=True, slots=True, eq=False)
class _Made:
    """A run that was made again, the digests of its study, and its events as lines."""

    run: BacktestResult | None
    digests: Mapping[str, str]
    lines: Sequence[bytes]


def _backtest(
    arguments: Mapping[str, Any],
    bars: Sequence[Bars],
    history: Sequence[Bars],
    start: str | None,
) -> _Made:
    run = backtest(
        arguments["strategy"],
        bars,
        arguments["settings"],
        instruments=_instruments(arguments),
        risk=arguments["risk"],
        history=history or None,
        start=start,
        causality_check=False,
    )
    return _Made(run, run.digests, event_lines(run))


def _portfolio(
    arguments: Mapping[str, Any],
    bars: Sequence[Bars],
    history: Sequence[Bars],
    _start: str | None,
) -> _Made:
    run = run_portfolio(
        arguments["settings"],
        bars,
        instruments=_instruments(arguments),
        history=history or None,
        is_cold=arguments["is_cold"],
        causality_check=False,
    ).run
    return _Made(run, run.digests, event_lines(run))


def _sweep(
    arguments: Mapping[str, Any],
    bars: Sequence[Bars],
    _history: Sequence[Bars],
    start: str | None,
) -> _Made:
    made = sweep(
        arguments["strategy_class"],
        arguments["grid"],
        bars[0],
        arguments["settings"],
        start,
        constraints=arguments.get("constraints", ()),
        method=arguments.get("method", "grid"),
        n_sets=arguments.get("n_sets"),
        seed=arguments.get("seed", 0),
        instruments=_instruments(arguments) or None,
        risk=arguments.get("risk"),
        n_best=arguments["n_best"],
        is_confirmed=True,
        causality_check=False,
    )
    return _Made(made.winner, made.digests, event_lines(made.winner, made.table))


def _walk_forward(
    arguments: Mapping[str, Any],
    bars: Sequence[Bars],
    _history: Sequence[Bars],
    start: str | None,
) -> _Made:
    given = {**arguments, "instruments": _instruments(arguments)}
    made = walk_forward(bars=bars[0], start=start, causality_check=False, **given)
    return _Made(made.result, made.digests, event_lines(made.result, made.table))


def _regime(
    arguments: Mapping[str, Any],
    bars: Sequence[Bars],
    _history: Sequence[Bars],
    start: str | None,
) -> _Made:
    run = study_regimes(
        arguments["strategy"],
        bars[0],
        arguments["detector"],
        arguments["settings"],
        start,
        causality_check=False,
        **arguments["wrapper"],
    ).result
    return _Made(run, run.digests, event_lines(run))


def _session(
    arguments: Mapping[str, Any], _bars: Sequence[Bars], _history: Sequence[Bars], _start: str | None
) -> _Made:
    config = arguments["config"]
    events = replayed_events(find_session(arguments["session"]))
    code = code_digest(code_of(config.entries, config.portfolio))
    return _Made(None, {"code": code}, [encode_event(event) for event in events])


def _instruments(arguments: Mapping[str, Any]) -> dict[str, Instrument]:
    return {symbol: Instrument(**fields) for symbol, fields in arguments.get("instruments", {}).items()}


_STUDIES: Mapping[str, Callable[..., _Made]] = {
    "backtest": _backtest,
    "portfolio": _portfolio,
    "sweep": _sweep,
    "walk_forward": _walk_forward,
    "regime": _regime,
    "session": _session,
}
"""The function that makes each study again, from its restored arguments, its bars, history and start."""


def _code_note(record: RecordedRun, digests: Mapping[str, str]) -> tuple[str, ...]:
    if digests["code"] == record.tags["digest.code"]:
        return ()
    commit = record.tags.get("package.commit", "")
    edited = " with changes" if record.tags.get("package.dirty") == "true" else ""
    recorded = f": that is commit {commit[:12]}{edited}" if commit else ""
    return (f"The code of peak_trade is not the recorded one{recorded}.",)


def _first_difference(record: RecordedRun, events: Sequence[bytes], equity: Sequence[float]) -> FirstDifference | None:
    for index in range(max(len(events), len(record.events))):
        was, now = (part[index] if index < len(part) else b"" for part in (record.events, events))
        if was != now:
            return FirstDifference(index, *_in_short(was, now))
    if np.asarray(equity).tobytes() == np.asarray(record.equity).tobytes():
        return None
    bar = next((bar for bar, pair in enumerate(zip(record.equity, equity, strict=False)) if pair[0] != pair[1]), 0)
    return FirstDifference(len(events), f"equity {record.equity[bar]!r} at bar {bar}", f"equity {equity[bar]!r}")


def _in_short(was: bytes, now: bytes) -> tuple[str, str]:
    """Return two events as short texts: kind, time, subject, and the values that differ."""
    before, after = (dict(json.loads(line)) if line else {} for line in (was, now))
    names = {*before, *after}
    if before.get("kind") == after.get("kind"):
        names = {name for name in names if before.get(name) != after.get(name)}
    return _short(before, names), _short(after, names)


_SUBJECT = ("order_id", "event", "strategy", "symbol")
_LONG = ("inputs",)


def _short(values: Mapping[str, Any], names: set[str]) -> str:
    if not values:
        return "no event"
    subject = " ".join(str(values[name]) for name in _SUBJECT if values.get(name))
    others = [name for name in values if name in names and name not in ("kind", "ts_event", *_SUBJECT)]
    shown = [name if name in _LONG else f"{name} {values[name]}" for name in others if values[name] not in (None, "")]
    when = f" at {iso(values['ts_event'])}" if "ts_event" in values else ""
    return shortened(", ".join(filter(None, [f"{values['kind']}{when} {subject}".strip(), *shown])))
