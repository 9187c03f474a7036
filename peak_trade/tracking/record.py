"""Record of one run in the registry."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from peak_trade.core.arrays import FloatArray
from peak_trade.core.dotted import flat
from peak_trade.core.errors import ConfigError, ReproductionError, did_you_mean
from peak_trade.data.holdout import holdout_note
from peak_trade.metrics import Measure
from peak_trade.tracking.counts import ledger_note
from peak_trade.tracking.registry import digest_of_files, discard_entry, has_files, open_registry, store_artifacts

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
SESSION_TYPES = ("paper", "shadow", "testnet")
"""Types of run that are sessions, to which events are added when they are resumed."""
LONGEST_VALUE = 5_000
"""Largest length of a parameter or tag, characters; MLflow allows a few more."""
EVENTS_TAG = "digest.events"
"""Tag with the digest of the events and the equity of a run."""
FILES_TAG = "digest.files"
"""Tag with the digest of the files of a run."""
GROWTH_TAG = "growth"
"""Tag with the growth of a run, of which lists draw a small line."""
N_GROWTH = 61
"""Most values of the growth of a run that are recorded."""
BATCH = 100
"""Most parameters that MLflow accepts at once."""


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
        Close times of the data, UTC, as `core.time.iso` writes them: the first one, and one timeframe after the last
        one. As options `--start` and `--end` they name the same bars.
    digests : mapping
        Exactly the `DIGEST_NAMES`.
    parameters : mapping
        Plain values; nested mappings become dotted names.
    metrics : mapping of name to Measure or number
        The standard error of a Measure is stored as `<name>_stderr`, the note of one without a value as tag
        `note.<name>`.
    notes : mapping of name to text
        Stored as tags `note.<name>`; empty texts are left out.
    provenance : mapping of name to text
        Tags on where the run comes from: its class, versions, commits, and the digests of its events and files.
    artifacts : tuple of Path
        Files and folders to store with the run.
    equity : array of shape (n_bars,), in quote currency
        Equity at each close, of which at most `N_GROWTH` values at equal steps are recorded over the first one, with 5
        digits.

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
    provenance: Mapping[str, str] = field(default_factory=dict)
    artifacts: tuple[Path, ...] = ()
    equity: FloatArray = field(default_factory=lambda: np.empty(0), compare=False)

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
        named |= {f"digest.{name}": self.digests[name] for name in DIGEST_NAMES} | dict(self.provenance)
        for name, measure in self.metrics.items():
            if isinstance(measure, Measure) and measure.value is None:
                named[f"note.{name}"] = measure.note
        if self.equity.size > 1:
            named[GROWTH_TAG] = " ".join(f"{value:.5g}" for value in self._growth())
        return named | {f"note.{name}": text for name, text in self.notes.items() if text}

    def _growth(self) -> FloatArray:
        n_values = min(self.equity.size, N_GROWTH)
        places = np.linspace(0.0, self.equity.size - 1.0, n_values).round().astype(int)
        growth: FloatArray = self.equity[places] / self.equity[0]
        return growth

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


def record_run(run: RunRecord, keep: Callable[[], object] = lambda: None) -> None:
    """Record a run in MLflow, with the length, the head and the id of the trial ledger and of the log of hold-outs.

    An existing entry is not changed, except that the outcome of a check for look-ahead replaces an earlier one. An
    entry is unfinished until all of it is stored, including what `keep` stores elsewhere; an unfinished one, whose
    recording was stopped, is replaced, and so is one whose files are gone or damaged. Equal runs that are recorded at
    the same time wait for each other and make one entry.

    Raises
    ------
    ConfigError
        If the registry cannot be reached.
    ReproductionError
        If the entry of this run id has another digest of events: the run depends on something that is none of its
        inputs. Nothing is changed.

    """
    run = replace(run, notes={**run.notes, **ledger_note(), **holdout_note()})
    with open_registry() as (client, experiment_id):
        from mlflow.entities import Metric, Param

        for earlier in client.search_runs([experiment_id], filter_string=f"tags.run_id = '{run.run_id}'"):
            if earlier.info.status == "FINISHED":
                _check_events(run, earlier.data.tags.get(EVENTS_TAG))
                if run.artifacts and not has_files(earlier.info.run_id, earlier.data.tags.get(FILES_TAG)):
                    discard_entry(client, earlier.info.run_id)
                    continue
                if run.notes.get("causality_verdict", "not checked") != "not checked":
                    for name in ("causality", "causality_verdict", "remarks"):
                        client.set_tag(earlier.info.run_id, f"note.{name}", run.tags()[f"note.{name}"][:LONGEST_VALUE])
                keep()
                return
            discard_entry(client, earlier.info.run_id)
        now = time.time_ns() // 1_000_000
        name = " ".join((run.run_type, run.strategy, run.symbol, run.timeframe))
        tags = {key: value[:LONGEST_VALUE] for key, value in run.tags().items()}
        metrics = [Metric(key, value, now, 0) for key, value in run.numbers().items()]
        parameters = [Param(key, _text(value)[:LONGEST_VALUE]) for key, value in flat(run.parameters).items()]
        started = client.create_run(experiment_id, start_time=now, tags=tags, run_name=name[:240])
        mlflow_id = started.info.run_id
        client.log_batch(mlflow_id, metrics=metrics)
        for first in range(0, len(parameters), BATCH):
            client.log_batch(mlflow_id, params=parameters[first : first + BATCH])
        store_artifacts(client, mlflow_id, run.artifacts)
        if run.artifacts:
            client.set_tag(mlflow_id, FILES_TAG, digest_of_files(run.artifacts))
        keep()
        client.set_terminated(mlflow_id, "FINISHED")


def _check_events(run: RunRecord, recorded: str | None) -> None:
    found = run.provenance.get(EVENTS_TAG)
    if None in (found, recorded) or found == recorded or run.run_type in SESSION_TYPES:
        return
    raise ReproductionError(
        f"run {run.run_id} is recorded with the events {str(recorded)[:16]}, this run has {str(found)[:16]}: its code "
        "depends on something that is none of its inputs, such as the clock, random numbers without a seed, or a file "
        "that no parameter names. The record was not changed. Make that an input, then run it again."
    )


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value, default=str)
