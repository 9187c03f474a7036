"""Files behind the tables and figures of a page: CSV, Parquet, and finer series for the zoom of a figure.

`show` packs the exact values of a table or figure into the executed notebook, as Parquet. The build of the site writes
the files next to the pages. A figure that draws a thinned series has a script as well, which the page loads when a
reader zooms in: a script, because a page that is opened from a disk may not read other files.
"""

from __future__ import annotations

import base64
import gzip
import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from peak_trade.core.arrays import FloatArray
from peak_trade.core.files import read_bytes, write_bytes

DATA_MIME = "application/vnd.peak-trade.data+json"
MAX_CSV_ROWS = 500_000
"""Largest number of rows of a CSV file; a longer table has a Parquet file only."""
MAX_FINE_POINTS = 100_000
"""Largest number of points of a finer series; of a longer one, every so many-th stretch keeps its extremes."""
_NS_PER_MS = 1_000_000
_TIME = re.compile(r"\d{4}-\d\d-\d\d([ T]\d\d:\d\d(:\d\d(\.\d+)?)?)?")


@dataclass(frozen=True, slots=True, eq=False)
class WholeSeries:
    """The series of which a trace draws some points: the `meta` of the trace. `show` takes it out of the figure."""

    series: pd.Series[float]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, WholeSeries) and self.series.equals(other.series)

    __hash__ = None  # type: ignore[assignment]

    def __deepcopy__(self, memo: dict[int, Any]) -> WholeSeries:
        return self

    def to_plotly_json(self) -> dict[str, Any]:
        """Return nothing: a figure that is not shown by `show` has the drawn points only."""
        return {}


@dataclass(frozen=True, slots=True)
class Download:
    """A file behind a table or figure: what a link says, its path relative to a page, and its size in bytes."""

    label: str
    href: str
    n_bytes: int

    @property
    def size(self) -> str:
        """The size as text.

        >>> Download("CSV", "a.csv", 120_400).size
        '120 kB'
        """
        for unit, n_bytes in (("MB", 1_000_000), ("kB", 1_000)):
            if self.n_bytes >= n_bytes:
                return f"{self.n_bytes / n_bytes:,.{0 if self.n_bytes >= 10 * n_bytes else 1}f} {unit}"
        return f"{self.n_bytes} B"


def packed(frame: pd.DataFrame, columns: Sequence[str | None] = ()) -> dict[str, Any]:
    """Return a table as JSON values: its Parquet file in base64; `columns` name the series of the traces of a figure.

    Values that are neither numbers, times nor booleans become text.
    """
    plain = frame.reset_index(drop=True)
    plain.columns = _unique([str(column) for column in plain.columns])
    for column in plain.columns:
        if plain[column].dtype == object:
            plain[column] = [None if _is_missing(value) else str(value) for value in plain[column]]
    content = io.BytesIO()
    plain.to_parquet(content, index=False, compression="zstd")
    return {"parquet": base64.b64encode(content.getvalue()).decode(), "columns": list(columns)}


def figure_table(traces: Sequence[Mapping[str, Any]], whole: Sequence[pd.Series[float] | None]) -> dict[str, Any]:
    """Return the values of a figure, packed.

    Traces over time become columns of one table, with the whole series where a trace draws a thinned one. Other figures
    become one table of all points: trace, x, y and, of a heat map, z.

    Parameters
    ----------
    traces : sequence of mappings
        The traces of the figure, with their arrays.
    whole : sequence of Series or None, one per trace
        Index in UTC.

    """
    names = _unique([str(trace.get("name") or trace.get("type") or "values") for trace in traces])
    parts = [_over_time(trace, series) for trace, series in zip(traces, whole, strict=True)]
    if not parts or any(part is None for part in parts):
        return packed(_points(traces, names))
    shown = {name: part for name, part in zip(names, parts, strict=True) if part is not None}
    table = pd.concat(shown, axis=1).sort_index()
    table.index = table.index.get_level_values(0).rename("time")
    columns = [name if series is not None else None for name, series in zip(names, whole, strict=True)]
    return packed(table.reset_index(), columns)


def write_downloads(given: Mapping[str, Any], name: str, folder: Path, target: str) -> tuple[list[Download], str]:
    """Write the files of a packed table or figure, and return them and the path of its script, empty without one.

    Parameters
    ----------
    given : mapping
        The result of `packed` or `figure_table`.
    name : str
        Name of the table or figure, and of its files.
    folder : Path
        Folder of the files.
    target : str
        Path of the folder relative to a page.

    """
    parquet = base64.b64decode(given["parquet"])
    frame = pd.read_parquet(io.BytesIO(parquet))
    contents = {"Parquet": (f"{name}.parquet", parquet)}
    if len(frame) <= MAX_CSV_ROWS:
        contents = {"CSV": (f"{name}.csv", frame.to_csv(index=False).encode())} | contents
    for file, content in contents.values():
        _write(folder / file, content)
    script = ""
    if any(given["columns"]):
        script = f"{target}/{name}.js"
        _write(folder / f"{name}.js", finer_script(f"figure-{name}", frame, given["columns"]).encode())
    return [Download(label, f"{target}/{file}", len(content)) for label, (file, content) in contents.items()], script


def finer_script(div_id: str, frame: pd.DataFrame, columns: Sequence[str | None]) -> str:
    """Return the script that hands a figure its whole series: times in ms and values to 7 digits, compressed."""
    series = {
        str(place): _fine(frame["time"][known], frame.loc[known, column])
        for place, column in enumerate(columns)
        if column is not None and (known := frame[column].notna()).any()
    }
    text = json.dumps(series, separators=(",", ":"), allow_nan=False)
    content = base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()
    return f"peakTrade.finer({json.dumps(div_id)},{json.dumps(content)});\n"


def _fine(times: pd.Series[Any], values: pd.Series[float]) -> dict[str, Any]:
    moments = times.to_numpy(dtype="datetime64[ns]").astype(np.int64) // _NS_PER_MS
    numbers = np.asarray(values, dtype=np.float64)
    if len(numbers) > MAX_FINE_POINTS:
        kept = _extremes(numbers, MAX_FINE_POINTS // 2)
        moments, numbers = moments[kept], numbers[kept]
    steps = np.diff(moments, prepend=moments[:1])
    return {"start": int(moments[0]), "steps": steps.tolist(), "values": [float(f"{value:.7g}") for value in numbers]}


def _extremes(values: FloatArray, n_stretches: int) -> Any:
    """Return the places of the smallest and the largest value of each of equal stretches, in order."""
    edges = np.linspace(0, len(values), n_stretches + 1).astype(np.int64)[:-1]
    ranks = np.argsort(np.argsort(values, kind="stable"), kind="stable")
    order = np.argsort(ranks, kind="stable")
    least, most = np.minimum.reduceat(ranks, edges), np.maximum.reduceat(ranks, edges)
    return np.unique(np.concatenate([order[least], order[most], [0, len(values) - 1]]))


def _over_time(trace: Mapping[str, Any], whole: pd.Series[float] | None) -> pd.Series[Any] | None:
    """Return the values of a trace by time and by place among equal times; None if its x are no times."""
    values: Any
    if whole is not None:
        index, values = pd.DatetimeIndex(whole.index), whole.to_numpy()
    else:
        x, values = trace.get("x"), trace.get("y")
        if x is None or values is None or trace.get("type") == "heatmap" or not len(x):
            return None
        known = [place for place, each in enumerate(x) if each is not None]
        if not all(isinstance(x[place], str) and _TIME.fullmatch(x[place]) for place in known):
            return None
        index = pd.DatetimeIndex([pd.Timestamp(x[place]) for place in known], tz="UTC")
        values = np.array([values[place] for place in known], dtype=object)
        if not any(isinstance(value, str) for value in values):
            values = values.astype(np.float64)
    places = pd.Series(np.arange(len(index))).groupby(index).cumcount()
    return pd.Series(values, index=pd.MultiIndex.from_arrays([index, places]))


def _points(traces: Sequence[Mapping[str, Any]], names: Sequence[str]) -> pd.DataFrame:
    parts = []
    for trace, name in zip(traces, names, strict=True):
        x, y, z = (trace.get(axis) for axis in "xyz")
        if z is not None and x is not None and y is not None:
            grid = [(name, across, down, z[i][j]) for i, down in enumerate(y) for j, across in enumerate(x)]
            parts.append(pd.DataFrame(grid, columns=["trace", "x", "y", "z"]))
        elif y is not None:
            across = list(range(len(y))) if x is None else list(x)
            parts.append(pd.DataFrame({"trace": name, "x": across, "y": list(y)}))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame({"trace": list(names)})


def _unique(names: Sequence[str]) -> list[str]:
    """Return the names with a number after each that came before: a, a 2, b."""
    seen: dict[str, int] = {}
    found = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        found.append(name if seen[name] == 1 else f"{name} {seen[name]}")
    return found


def _is_missing(value: Any) -> bool:
    return value is None or value is pd.NaT or value is pd.NA or (isinstance(value, float) and value != value)


def _write(path: Path, content: bytes) -> None:
    if not path.is_file() or read_bytes(path) != content:
        write_bytes(path, content)
