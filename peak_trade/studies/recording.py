"""Record finished runs in the registry, and their decisions in the workspace."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from peak_trade.core.arguments import checks_arguments
from peak_trade.core.arrays import FloatArray
from peak_trade.core.calendar import close_times
from peak_trade.core.causality import causality_tags, outcomes_of
from peak_trade.core.digest import canonical_json, digest_bytes, digest_of
from peak_trade.core.time import Timeframe, iso
from peak_trade.engine.inputs import RunInputs
from peak_trade.engine.refused_exits import small_exits_sentence
from peak_trade.engine.result import BacktestResult
from peak_trade.journal.codec import encode_event
from peak_trade.journal.events import BarEvent, OrderEvent, OrderEventKind
from peak_trade.journal.files import read_events, read_manifest
from peak_trade.journal.orders import denials_sentence
from peak_trade.journal.session_chain import CHAIN_HEAD, entry_of
from peak_trade.sessions.edge import edge_of
from peak_trade.sessions.manifest import history_of
from peak_trade.sessions.runner import LOOP_EVENTS
from peak_trade.sessions.store import config_of, summary
from peak_trade.studies.portfolio.result import PortfolioResult
from peak_trade.studies.risk.decisions import keep_decisions
from peak_trade.studies.run_files import event_lines, write_run_files
from peak_trade.studies.sweep.result import SweepResult
from peak_trade.studies.trials import deflated
from peak_trade.studies.walk_forward.result import WalkForward
from peak_trade.tracking.record import RunRecord, record_run
from peak_trade.wiring.parts import described
from peak_trade.wiring.portfolio import code_of

if TYPE_CHECKING:
    import pandas as pd


@checks_arguments(result="the result of backtest")
def record(result: BacktestResult, run_type: str = "backtest", notebook: str = "") -> str:
    """Record a run in MLflow and its decisions in the workspace, and return its run id.

    Recording a run again changes nothing. `notebook` is the notebook that ran it, with its version and digest; see
    `reports.notebooks.running_notebook`.
    """
    flat = result.parameters if len(result.strategies) > 1 else result.parameters.get(result.strategies[0], {})
    settings = result.settings.model_dump(mode="json")
    parameters = {**flat, "settings": settings} | ({"notebook": notebook} if notebook else {})
    metrics = _with_benchmark(result) | {"n_ambiguous_bars": float(result.n_ambiguous)}
    _record_with_files(_run_record(result, run_type, parameters, metrics), result)
    return result.run_id


def record_portfolio(result: PortfolioResult) -> str:
    """Record a portfolio run in MLflow and its decisions in the workspace, and return its run id; see `record`."""
    settings = result.settings.model_dump(mode="json", exclude={"strategies"})
    metrics = _with_benchmark(result.run) | {"diversification_ratio": result.diversification_ratio}
    entry = _run_record(result.run, "portfolio", {**result.run.parameters, "settings": settings}, metrics)
    _record_with_files(entry, result.run)
    return result.run.run_id


def record_sweep(result: SweepResult, notebook: str = "") -> str:
    """Record a sweep in MLflow as one run with its table as `sweep.parquet`, and return its run id.

    The metrics are those of its winner in the event loop. `notebook` is that of `record`.
    """
    winner = result.winner
    parameters = {
        "grid": {name: result.table[name].drop_duplicates().tolist() for name in result.parameter_names},
        "winner": winner.parameters[winner.strategies[0]],
        "winner_run_id": winner.run_id,
        "difference": result.difference,
        "engine": result.engine,
        "method": result.method,
        "settings": winner.settings.model_dump(mode="json"),
    } | ({"notebook": notebook} if notebook else {})
    counts = {"n_sets": float(len(result.table)), "n_skipped": float(result.n_skipped)}
    with TemporaryDirectory() as folder:
        table = Path(folder) / "sweep.parquet"
        result.table.to_parquet(table, compression="zstd")
        metrics = {**winner.stats()} | _among_trials(winner) | result.overfitting_measures() | counts
        run = _run_record(winner, "sweep", parameters, metrics)
        notes = {**run.notes, **_sweep_notes(result)}
        entry = replace(run, run_id=result.run_id, digests=result.digests, notes=notes, artifacts=(table,))
        _record_with_files(entry, replace(winner, inputs=result.inputs), result.table)
    return result.run_id


def record_walk_forward(found: WalkForward) -> str:
    """Record a walk-forward in MLflow as one run with its windows as `walk_forward.parquet`, and return its run id.

    The metrics are those of the test windows.
    """
    run, arguments = found.result, found.inputs.arguments
    parameters = {
        **{name: arguments[name] for name in ("train", "test", "purge", "embargo", "scheme")},
        "grid": {name: list(arguments["grid"][name]) for name in found.grid},
        "settings": run.settings.model_dump(mode="json"),
    }
    counts = {
        "n_windows": float(len(found.folds)),
        "n_sets": float(found.folds[0].n_sets),
        "n_changes": float(found.n_changes),
        "in_sample_sharpe": None if math.isnan(found.in_sample_sharpe) else found.in_sample_sharpe,
        "efficiency": found.efficiency,
    }
    with TemporaryDirectory() as folder:
        table = Path(folder) / "walk_forward.parquet"
        found.table.to_parquet(table, compression="zstd")
        entry = _run_record(run, "walk_forward", parameters, _with_benchmark(run) | counts)
        notes = {**entry.notes, "verdict": found.verdict}
        entry = replace(entry, run_id=found.run_id, digests=found.digests, notes=notes, artifacts=(table,))
        _record_with_files(entry, replace(run, inputs=found.inputs), found.table)
    return found.run_id


def _record_with_files(entry: RunRecord, result: BacktestResult, table: pd.DataFrame | None = None) -> None:
    """Record a run with the files from which it is made again; see `run_files`. `table` is that of a sweep."""
    keep: Callable[[], object] = partial(keep_decisions, result) if table is None else lambda: None
    if result.inputs is None:
        record_run(entry, keep)
        return
    _record_lines(entry, result.inputs, event_lines(result, table), result.equity_values, keep)


def _record_lines(
    entry: RunRecord,
    inputs: RunInputs,
    lines: Sequence[bytes],
    equity: FloatArray,
    keep: Callable[[], object] = lambda: None,
) -> None:
    with TemporaryDirectory() as folder:
        paths, tags = write_run_files(Path(folder), inputs, lines, equity)
        record_run(replace(entry, provenance=tags, artifacts=(*entry.artifacts, *paths)), keep)


def _sweep_notes(result: SweepResult) -> dict[str, str]:
    tags = causality_tags(list(result.causality.values()))
    return tags | ({"causality": result.causality_sentence} if tags else {})


def _run_record(
    run: BacktestResult, run_type: str, parameters: Mapping[str, Any], metrics: Mapping[str, Any]
) -> RunRecord:
    return RunRecord(
        run_id=run.run_id,
        run_type=run_type,
        strategy=", ".join(run.strategies),
        symbol=", ".join(run.market.symbols),
        timeframe=str(run.market.timeframe),
        start=iso(int(run.market.times[0])),
        end=iso(close_times(int(run.market.times[-1]), run.market.timeframe)),
        digests=run.digests,
        parameters={
            **parameters,
            "settings": {**parameters["settings"], **_rules(run)},
            "exchange": run.exchange,
        },
        metrics=metrics,
        notes=_notes(run),
        equity=run.equity_values,
    )


def _rules(run: BacktestResult) -> dict[str, Any]:
    """Return the instruments of a run, and its limits if it has any."""
    instruments = described(run.market.instruments)
    limits = {} if run.limits is None else {"risk": run.limits.model_dump(mode="json")}
    return {"instruments": canonical_json(instruments), **limits}


def _notes(run: BacktestResult) -> dict[str, str]:
    after = run.nothing_traded_after
    return {
        "cut_short": " ".join(run.cut_short),
        "nothing_traded_after": "" if after is None else iso(after),
        "no_trade_reason": run.no_trade_reason,
        "risk_status": run.risk_status,
        **causality_tags(run.causality),
        "not_rerunnable": run.not_rerunnable,
        "remarks": " ".join(run.remarks),
        "notes": " ".join(run.notes),
        "warm_up": " ".join(run.warm_up),
    }


def _with_benchmark(run: BacktestResult) -> dict[str, Any]:
    n_denials = sum(isinstance(event, OrderEvent) and event.event is OrderEventKind.DENIED for event in run.events)
    return {
        **run.stats(),
        **_among_trials(run),
        "benchmark_total_return": run.benchmark.stats()["total_return"],
        "n_denials": float(n_denials),
    }


def record_session(entry: RunRecord, folder: Path) -> None:
    """Record a session in MLflow under its entry; see `session_record`."""
    config = config_of(folder)
    parts = tuple(code_of(config.entries, config.portfolio))
    inputs = RunInputs("session", {"session": folder.name, "config": config}, parts, (), history_of(folder, config))
    lines = [encode_event(event) for event in read_events(folder) if isinstance(event, LOOP_EVENTS)]
    _record_lines(entry, inputs, lines, np.empty(0))


def _among_trials(run: BacktestResult) -> dict[str, Any]:
    count, measures = deflated(run)
    n_trials, n_effective = (0, 0.0) if count is None else (count.n, count.n_effective)
    return {**measures, "n_trials": float(n_trials), "n_effective_trials": n_effective}


def session_record(folder: Path) -> RunRecord:
    """Return the entry of a session in the registry, for `record_session`.

    The data digest is that of the recording, or of the bars in the journal of a live session. The run id depends on the
    session id: two live sessions are two runs, even over the same bars.
    """
    config, found, entry, edge = config_of(folder), summary(folder), entry_of(folder), edge_of(folder)
    events = read_events(folder)
    bars = [event for event in events if isinstance(event, BarEvent)]
    manifest = read_manifest(folder)
    digests = dict(manifest["digests"])
    settings = config.trading.model_dump(mode="json")
    settings["instruments"] = canonical_json(
        {each.name: each.instrument.model_dump(mode="json") for each in config.symbols}
    )
    if config.risk is not None:
        settings["risk"] = config.risk.model_dump(mode="json")
    digests.setdefault("data", digest_bytes(*(encode_event(bar) for bar in bars)))
    return RunRecord(
        run_id=digest_of([digests, folder.name])[:16],
        run_type=config.mode,
        strategy=", ".join(dict.fromkeys(each.shown_as for each in config.entries))
        if config.portfolio
        else config.label,
        symbol=", ".join(config.symbol_names),
        timeframe=config.timeframe,
        start=iso(bars[0].ts_event) if bars else "",
        end=iso(close_times(bars[-1].ts_event, Timeframe.parse(config.timeframe))) if bars else "",
        digests=digests,
        parameters={**config.parameters, "session": folder.name, "settings": settings},
        metrics={
            "total_return": (found.equity or 0.0) / config.trading.initial_cash - 1.0,
            "n_bars": float(found.n_bars),
            "n_fills": float(found.n_fills),
            "n_denials": float(found.n_denials),
        },
        notes={
            "cut_short": " ".join(filter(None, (denials_sentence(events), small_exits_sentence(events)))),
            CHAIN_HEAD: "" if entry is None else entry.head,
            "remarks": " ".join(manifest.get("holdouts", ())),
            "edge": "" if edge is None else edge.sentence,
            **causality_tags(outcomes_of(manifest)),
        },
    )
