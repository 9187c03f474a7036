"""Put a finished run into the registry."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from peak_trade.core.time import iso
from peak_trade.engine.result import BacktestResult
from peak_trade.studies.sweep import SweepResult
from peak_trade.tracking.record import RunRecord, record_run


def record(result: BacktestResult, run_type: str = "backtest", notebook: str = "") -> str:
    """Record a run in MLflow and return its run id; recording it again changes nothing.

    `notebook` names the notebook that ran it, its version and digest; see `reports.notebooks.running_notebook`.
    """
    flat = result.parameters if len(result.strategies) > 1 else result.parameters.get(result.strategies[0], {})
    run = RunRecord(
        run_id=result.run_id,
        run_type=run_type,
        strategy=", ".join(result.strategies),
        symbol=", ".join(result.market.symbols),
        timeframe=str(result.market.timeframe),
        start=iso(int(result.market.times[0])),
        end=iso(int(result.market.times[-1])),
        digests=result.digests,
        parameters={**flat, "settings": result.settings.model_dump(mode="json"), "exchange": result.exchange}
        | ({"notebook": notebook} if notebook else {}),
        metrics={
            **result.stats(),
            "benchmark_total_return": result.benchmark.stats()["total_return"],
            "n_ambiguous_bars": float(result.n_ambiguous),
        },
    )
    record_run(run)
    return result.run_id


def record_sweep(result: SweepResult) -> str:
    """Record a sweep in MLflow as one run with its table as `sweep.parquet`, and return its run id.

    The metrics are its winner's, as the event loop gives them.
    """
    winner = result.winner
    times = winner.market.times
    tried = {name: result.table[name].drop_duplicates().tolist() for name in result.parameter_names}
    with TemporaryDirectory() as folder:
        table = Path(folder) / "sweep.parquet"
        result.table.to_parquet(table, compression="zstd")
        record_run(
            RunRecord(
                run_id=result.run_id,
                run_type="sweep",
                strategy=", ".join(winner.strategies),
                symbol=", ".join(winner.market.symbols),
                timeframe=str(winner.market.timeframe),
                start=iso(int(times[0])),
                end=iso(int(times[-1])),
                digests=result.digests,
                parameters={
                    "grid": tried,
                    "winner": winner.parameters[winner.strategies[0]],
                    "winner_run_id": winner.run_id,
                    "difference": result.difference,
                    "settings": winner.settings.model_dump(mode="json"),
                    "exchange": winner.exchange,
                },
                metrics={
                    **winner.stats(),
                    "n_sets": float(len(result.table)),
                    "n_skipped": float(result.n_skipped),
                    "n_trials": float(result.n_trials),
                },
                artifacts=(table,),
            )
        )
    return result.run_id
