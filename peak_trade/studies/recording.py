"""Record finished runs in the registry, and their decisions in the workspace."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from peak_trade.core.digest import digest_bytes, digest_of
from peak_trade.core.time import iso
from peak_trade.engine.result import BacktestResult
from peak_trade.journal.codec import encode_event
from peak_trade.journal.events import BarEvent, OrderEvent, OrderEventKind
from peak_trade.journal.files import read_events, read_manifest
from peak_trade.journal.orders import denials_sentence
from peak_trade.sessions.store import config_of, summary
from peak_trade.studies.portfolio.result import PortfolioResult
from peak_trade.studies.risk.decisions import keep_decisions
from peak_trade.studies.sweep import SweepResult
from peak_trade.tracking.record import RunRecord, record_run


def record(result: BacktestResult, run_type: str = "backtest", notebook: str = "") -> str:
    """Record a run in MLflow and its decisions in the workspace, and return its run id.

    Recording a run again changes nothing. `notebook` is the notebook that ran it, with its version and digest; see
    `reports.notebooks.running_notebook`.
    """
    flat = result.parameters if len(result.strategies) > 1 else result.parameters.get(result.strategies[0], {})
    settings = result.settings.model_dump(mode="json")
    parameters = {**flat, "settings": settings} | ({"notebook": notebook} if notebook else {})
    metrics = _with_benchmark(result) | {"n_ambiguous_bars": float(result.n_ambiguous)}
    record_run(_run_record(result, run_type, parameters, metrics))
    keep_decisions(result)
    return result.run_id


def record_portfolio(result: PortfolioResult) -> str:
    """Record a portfolio run in MLflow and its decisions in the workspace, and return its run id; see `record`."""
    settings = result.settings.model_dump(mode="json", exclude={"strategies"})
    metrics = _with_benchmark(result.run) | {"diversification_ratio": result.diversification_ratio}
    record_run(_run_record(result.run, "portfolio", {**result.run.parameters, "settings": settings}, metrics))
    keep_decisions(result.run)
    return result.run.run_id


def record_sweep(result: SweepResult) -> str:
    """Record a sweep in MLflow as one run with its table as `sweep.parquet`, and return its run id.

    The metrics are those of its winner in the event loop.
    """
    winner = result.winner
    parameters = {
        "grid": {name: result.table[name].drop_duplicates().tolist() for name in result.parameter_names},
        "winner": winner.parameters[winner.strategies[0]],
        "winner_run_id": winner.run_id,
        "difference": result.difference,
        "settings": winner.settings.model_dump(mode="json"),
    }
    counts = {
        "n_sets": float(len(result.table)),
        "n_skipped": float(result.n_skipped),
        "n_trials": float(result.n_trials),
    }
    with TemporaryDirectory() as folder:
        table = Path(folder) / "sweep.parquet"
        result.table.to_parquet(table, compression="zstd")
        run = _run_record(winner, "sweep", parameters, {**winner.stats(), **counts})
        record_run(replace(run, run_id=result.run_id, digests=result.digests, artifacts=(table,)))
    return result.run_id


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
        end=iso(int(run.market.times[-1])),
        digests=run.digests,
        parameters={**parameters, "exchange": run.exchange},
        metrics=metrics,
        notes=_notes(run),
    )


def _notes(run: BacktestResult) -> dict[str, str]:
    after = run.nothing_traded_after
    return {
        "cut_short": " ".join(run.cut_short),
        "nothing_traded_after": "" if after is None else iso(after),
        "no_trade_reason": run.no_trade_reason,
        "risk_status": run.risk_status,
        "remarks": " ".join(run.remarks),
        "warm_up": " ".join(run.notes),
    }


def _with_benchmark(run: BacktestResult) -> dict[str, Any]:
    n_denials = sum(isinstance(event, OrderEvent) and event.event is OrderEventKind.DENIED for event in run.events)
    return {
        **run.stats(),
        "benchmark_total_return": run.benchmark.stats()["total_return"],
        "n_denials": float(n_denials),
    }


def session_record(folder: Path) -> RunRecord:
    """Return the entry of a session in the registry, for `record_run`.

    The data digest is that of the recording, or of the bars in the journal of a live session. The run id depends on the
    session id: two live sessions are two runs, even over the same bars.
    """
    config, found = config_of(folder), summary(folder)
    events = read_events(folder)
    bars = [event for event in events if isinstance(event, BarEvent)]
    digests = dict(read_manifest(folder)["digests"])
    settings = config.trading.model_dump(mode="json")
    digests.setdefault("data", digest_bytes(*(encode_event(bar) for bar in bars)))
    return RunRecord(
        run_id=digest_of([digests, folder.name])[:16],
        run_type=config.mode,
        strategy=config.strategy,
        symbol=config.symbol,
        timeframe=config.timeframe,
        start=iso(bars[0].ts_event) if bars else "",
        end=iso(bars[-1].ts_event) if bars else "",
        digests=digests,
        parameters={**config.parameters, "session": folder.name, "settings": settings},
        metrics={
            "total_return": (found.equity or 0.0) / config.trading.initial_cash - 1.0,
            "n_bars": float(found.n_bars),
            "n_fills": float(found.n_fills),
            "n_denials": float(found.n_denials),
        },
        notes={"cut_short": denials_sentence(events)},
    )
