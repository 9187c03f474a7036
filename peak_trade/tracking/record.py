"""Record of one run in the registry."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from peak_trade.core.errors import ConfigError, did_you_mean
from peak_trade.metrics import Measure
from peak_trade.tracking.registry import open_registry
from peak_trade.tracking.trials import record_trials

DIGEST_NAMES = ("config", "data", "code", "seed", "environment")
"""Digests from which a run id is derived."""
RUN_TYPES = (
    "backtest",
    "sweep",
    "walk_forward",
    "regime",
    "portfolio",
    "paper",
    "shadow",
    "testnet",
    "replay",
    "diff",
)
LONGEST_VALUE = 5_000
"""Largest length of a parameter or tag, characters; MLflow allows a few more."""


@dataclass(frozen=True, slots=True)
class RunRecord:
    """Entry of one run in the registry.

    Parameters
    ----------
    run_id : str
        Derived from the five digests; recording it again changes nothing.
    run_type : str
        One of `RUN_TYPES`.
    strategy, symbol, timeframe : str
        Names in the run, joined by a comma.
    start, end : str
        First and last close time of the data, UTC, as `core.time.iso` writes them.
    digests : mapping
        Exactly the `DIGEST_NAMES`.
    parameters : mapping
        Plain values; nested mappings become dotted names.
    metrics : mapping of name to Measure or number
        The standard error of a Measure is stored as `<name>_stderr`, the note of one without a value as tag
        `note.<name>`.
    notes : mapping of name to text
        Stored as tags `note.<name>`; empty texts are left out.
    artifacts : tuple of Path
        Files to store with the run.

    Raises
    ------
    ConfigError
        On an unknown run type, or digests other than the five.

    """

    run_id: str
    run_type: str
    strategy: str
    symbol: str
    timeframe: str
    start: str
    end: str
    digests: Mapping[str, str]
    parameters: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Measure | float | None] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)
    artifacts: tuple[Path, ...] = ()

    def __post_init__(self) -> None:
        if self.run_type not in RUN_TYPES:
            raise ConfigError(f"run_type was {self.run_type!r}. {did_you_mean(self.run_type, RUN_TYPES)}")
        if set(self.digests) != set(DIGEST_NAMES):
            raise ConfigError(f"digests were {', '.join(self.digests)}; give exactly {', '.join(DIGEST_NAMES)}.")

    def tags(self) -> dict[str, str]:
        """Return the tags of the run, by which it is found."""
        named = {
            name: getattr(self, name)
            for name in ("run_id", "run_type", "strategy", "symbol", "timeframe", "start", "end")
        }
        named |= {f"digest.{name}": self.digests[name] for name in DIGEST_NAMES}
        for name, measure in self.metrics.items():
            if isinstance(measure, Measure) and measure.value is None:
                named[f"note.{name}"] = measure.note
        return named | {f"note.{name}": text for name, text in self.notes.items() if text}

    def numbers(self) -> dict[str, float]:
        """Return the metrics that have a value, and their standard errors."""
        found: dict[str, float] = {}
        for name, measure in self.metrics.items():
            measured = measure if isinstance(measure, Measure) else Measure(measure, 0)
            if measured.value is not None:
                found[name] = float(measured.value)
            if measured.stderr is not None:
                found[f"{name}_stderr"] = measured.stderr
        return found


def record_run(run: RunRecord) -> None:
    """Record a run in MLflow and its pair of config and data as a trial; an existing entry is not changed.

    A sweep itself is no trial; its parameter sets are recorded by the sweep.

    Raises
    ------
    ConfigError
        If the registry cannot be reached.

    """
    if run.run_type != "sweep":
        record_trials([(run.digests["config"], run.digests["data"])])
    with open_registry() as (client, experiment_id):
        from mlflow.entities import Metric, Param, RunTag

        for earlier in client.search_runs([experiment_id], filter_string=f"tags.run_id = '{run.run_id}'"):
            if earlier.info.status == "FINISHED":
                return
            client.delete_run(earlier.info.run_id)
        now = time.time_ns() // 1_000_000
        name = " ".join((run.run_type, run.strategy, run.symbol, run.timeframe))
        started = client.create_run(experiment_id, start_time=now, tags={"run_id": run.run_id}, run_name=name[:240])
        mlflow_id = started.info.run_id
        client.log_batch(
            mlflow_id,
            metrics=[Metric(key, value, now, 0) for key, value in run.numbers().items()],
            params=[Param(key, value) for key, value in _flat(run.parameters).items()],
            tags=[RunTag(key, value[:LONGEST_VALUE]) for key, value in run.tags().items()],
        )
        for path in run.artifacts:
            client.log_artifact(mlflow_id, str(path))
        client.set_terminated(mlflow_id, "FINISHED")


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = _text(value)[:LONGEST_VALUE]
    return flat


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value, default=str)
