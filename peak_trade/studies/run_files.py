"""The files of a recorded run, from which it is made again: run file, sources, environment and events."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from peak_trade.core.arrays import FloatArray
from peak_trade.core.bars import Bars
from peak_trade.core.calendar import close_times
from peak_trade.core.digest import canonical_json, digest_bytes
from peak_trade.core.errors import ConfigError, DataError
from peak_trade.core.files import read_bytes
from peak_trade.core.settings import Settings
from peak_trade.core.time import iso
from peak_trade.data.store import load_bars
from peak_trade.engine.inputs import RunInputs
from peak_trade.engine.result import BacktestResult
from peak_trade.journal.codec import encode_event, spell_out
from peak_trade.metrics import Measure, format_measure, measures_in
from peak_trade.tracking.environment import environment, provenance
from peak_trade.tracking.queries import StoredRun, read_run
from peak_trade.tracking.record import EVENTS_TAG
from peak_trade.wiring.digests import named_files
from peak_trade.wiring.parts import class_path, described
from peak_trade.wiring.user_code import UserCode, nested_parts, user_code

if TYPE_CHECKING:
    import pandas as pd

RUN_FILE = "run.json"
ENVIRONMENT_FILE = "environment.json"
EVENTS_FILE = "events.jsonl.gz"
CELLS_FILE = "cells.json"
SOURCES = "sources"
RUN_FILE_VERSION = 2
"""Version of the run file."""


@dataclass(frozen=True, slots=True)
class RecordedBars:
    """Bars of a recorded run: `start` is inclusive, `end` exclusive, both on the close time in UTC."""

    exchange: str
    symbol: str
    timeframe: str
    start: str
    end: str
    n_bars: int
    digest: str
    extra_columns: tuple[str, ...] = ()
    """Names of the extra columns; their values count in the digest."""

    def __str__(self) -> str:
        return f"{self.exchange} {self.symbol} {self.timeframe} from {self.start} to {self.end}"

    def load(self) -> tuple[Bars, str]:
        """Return the bars of the store, and a sentence on how they differ from the recorded ones, empty if they do not.

        DataError when there are none.
        """
        try:
            bars = load_bars(
                self.symbol, self.timeframe, self.exchange, self.start, self.end, columns=self.extra_columns
            )
        except DataError as error:
            raise DataError(f"the bars {self} are gone: {error}") from None
        if bars.digest() == self.digest:
            return bars, ""
        of = f" of the bars or of {', '.join(self.extra_columns)}" if self.extra_columns else ""
        now = f"{len(bars):,} of {self.n_bars:,} are left" if len(bars) != self.n_bars else f"values{of} were changed"
        return bars, f"the bars {self} are not the recorded ones: {now}."


@dataclass(frozen=True, slots=True, eq=False)
class RecordedRun:
    """A run as its record has it.

    `arguments` are those of the study, as `wiring.parts.restored` reads them. `sources` map the path of each module of
    a user to its text, `cells` are statements of a notebook, in order. `code_digest` is that of the code of a user, and
    empty in an early record. `named_files` map each file that a user's part
    has as a parameter to its digest, `packages` each package that a user's code imports to its version. `events` are
    canonical JSON lines; `equity` is in quote currency. `obstacle` states why a run can not be made again whatever is
    here; it is empty for others.
    """

    run_id: str
    tags: Mapping[str, str]
    metrics: Mapping[str, float]
    study: str
    arguments: Mapping[str, Any]
    bars: tuple[RecordedBars, ...]
    history: tuple[RecordedBars, ...]
    start: str | None
    obstacle: str
    sources: Mapping[str, str]
    cells: tuple[str, ...]
    code_digest: str
    named_files: Mapping[str, str]
    packages: Mapping[str, str]
    environment: Mapping[str, Any]
    events: tuple[bytes, ...]
    equity: tuple[float, ...]

    @property
    def events_digest(self) -> str:
        """SHA-256 of the events and the equity."""
        return self.tags[EVENTS_TAG]

    def measures(self) -> dict[str, str]:
        """Return the recorded measures of the run by name, as tables show them."""
        found = {
            name: Measure(
                self.metrics.get(name), 0, self.metrics.get(f"{name}_stderr"), self.tags.get(f"note.{name}", "")
            )
            for name in measures_in("run")
        }
        return {name: format_measure(name, measure) for name, measure in found.items()}


def write_run_files(
    folder: Path, inputs: RunInputs, events: Sequence[bytes], equity: FloatArray
) -> tuple[tuple[Path, ...], dict[str, str]]:
    """Write the files of a run into a folder; return their paths and the tags that go with them."""
    code = user_code(inputs.parts)
    found = environment()
    contents = {
        ENVIRONMENT_FILE: canonical_json(found).encode(),
        EVENTS_FILE: gzip.compress(b"\n".join([*events, json.dumps(equity.tolist()).encode()]), 4, mtime=0),
    }
    if code.cells:
        contents[CELLS_FILE] = json.dumps(list(code.cells.values()), indent=1).encode()
    contents |= {f"{SOURCES}/{_path_of(name, code)}": text.encode() for name, text in code.modules.items()}
    run_file = {
        "version": RUN_FILE_VERSION,
        "study": inputs.study,
        "arguments": described(inputs.arguments),
        "bars": [_described_bars(part) for part in inputs.bars],
        "history": [_described_bars(part) for part in inputs.history],
        "start": None if inputs.start is None else iso(inputs.start),
        "obstacle": f"{code.without_source[0]}." if code.without_source else "",
        "packages": dict(code.packages),
        "code_digest": code.digest(),
        "named_files": {str(path): digest_bytes(read_bytes(path)) for path in _named_files(inputs.parts)},
        "files": {name: digest_bytes(content) for name, content in contents.items()},
    }
    contents[RUN_FILE] = json.dumps(run_file, indent=1, sort_keys=True).encode()
    for name, content in contents.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    tags = {
        "strategy_class": ", ".join(
            dict.fromkeys(class_path(type(part)) for part in inputs.parts if not callable(part))
        ),
        EVENTS_TAG: digest_of_events(events, equity),
        "digest.run_file": digest_bytes(contents[RUN_FILE]),
    }
    return tuple(sorted(folder.iterdir())), tags | provenance(found)


def read_recorded(run_id: str) -> RecordedRun:
    """Return a run as its record has it.

    Raises
    ------
    ConfigError
        If the run is unknown or unfinished, or one of its files is missing or damaged.

    """
    return recorded_of(read_run(run_id))


def recorded_of(stored: StoredRun) -> RecordedRun:
    """Return a run from its tags, metrics and files; see `read_recorded`."""
    if "digest.run_file" not in stored.tags:
        raise ConfigError(
            f"run {stored.run_id} was recorded without its files, by an earlier version of peak_trade. Make and record "
            "it again."
        )
    run_file = json.loads(_checked(stored, RUN_FILE, stored.tags["digest.run_file"]))
    if run_file["version"] != RUN_FILE_VERSION:
        raise ConfigError(
            f"run {stored.run_id}: the version of its run file is {run_file['version']}; this version of peak_trade "
            f"reads version {RUN_FILE_VERSION}. Use the version that recorded it, or make and record the run again."
        )
    contents = {name: _checked(stored, name, digest) for name, digest in run_file["files"].items()}
    *events, equity = _lines(stored.run_id, contents[EVENTS_FILE])
    return RecordedRun(
        run_id=stored.run_id,
        tags=stored.tags,
        metrics=stored.metrics,
        study=run_file["study"],
        arguments=run_file["arguments"],
        bars=tuple(RecordedBars(**part) for part in run_file["bars"]),
        history=tuple(RecordedBars(**part) for part in run_file["history"]),
        start=run_file["start"],
        obstacle=run_file["obstacle"],
        sources={
            name.removeprefix(f"{SOURCES}/"): content.decode()
            for name, content in contents.items()
            if name.startswith(f"{SOURCES}/")
        },
        cells=tuple(json.loads(contents.get(CELLS_FILE, b"[]"))),
        code_digest=run_file.get("code_digest", ""),
        named_files=run_file["named_files"],
        packages=run_file["packages"],
        environment=json.loads(contents[ENVIRONMENT_FILE]),
        events=tuple(events),
        equity=tuple(json.loads(equity)),
    )


def event_lines(run: BacktestResult, table: pd.DataFrame | None = None) -> list[bytes]:
    """Return the events of a run as canonical JSON, after the parameter sets of a study, if it is the run of one."""
    rows = [] if table is None else table.to_dict("records")
    rows = [{name: str(value) if isinstance(value, datetime) else value for name, value in row.items()} for row in rows]
    sets = [canonical_json(spell_out({"kind": "parameter set", **row})) for row in rows]
    return [*(line.encode() for line in sets), *(encode_event(event) for event in run.events)]


def digest_of_events(events: Sequence[bytes], equity: FloatArray) -> str:
    """Return the SHA-256 of events and of the equity, bit by bit; see `BacktestResult.content_digest`."""
    return digest_bytes(*events, equity.tobytes())


def _checked(stored: StoredRun, name: str, digest: str) -> bytes:
    content = stored.files.get(name)
    if content is None:
        raise ConfigError(f"run {stored.run_id}: its file {name} is gone. Make and record the run again.")
    if digest_bytes(content) != digest:
        raise ConfigError(f"run {stored.run_id}: its file {name} is damaged. Make and record the run again.")
    return content


def _lines(run_id: str, content: bytes) -> list[bytes]:
    try:
        return gzip.decompress(content).split(b"\n")
    except (OSError, EOFError, zlib.error) as error:
        raise ConfigError(f"run {run_id}: its file {EVENTS_FILE} can not be read ({error}).") from None


def _described_bars(bars: Bars) -> dict[str, Any]:
    return {
        "exchange": bars.exchange,
        "symbol": bars.symbol,
        "timeframe": str(bars.timeframe),
        "start": iso(int(bars.times[0])),
        "end": iso(close_times(int(bars.times[-1]), bars.timeframe)),
        "n_bars": len(bars),
        "digest": bars.digest(),
    } | ({"extra_columns": [column.name for column in bars.extra]} if bars.extra else {})


def _path_of(module: str, code: UserCode) -> str:
    is_package = any(name.startswith(f"{module}.") for name in code.modules)
    return f"{module.replace('.', '/')}{'/__init__' if is_package else ''}.py"


def _named_files(parts: Sequence[Any]) -> list[Path]:
    settings = [nested for part in parts if isinstance(part, Settings) for nested in nested_parts(part)]
    return [path for part in settings for path in named_files(part)]
