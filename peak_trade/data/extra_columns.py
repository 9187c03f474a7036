"""The store of extra columns in the workspace: one Parquet file for each exchange, symbol and name.

A file holds the instants at which values became known, and the values. Its description is in the metadata of the file,
so that a list reads no values.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from time import time_ns
from typing import TYPE_CHECKING, Any

import numpy as np

from peak_trade.core.arguments import checks_arguments
from peak_trade.core.arrays import IntArray
from peak_trade.core.errors import DataError, did_you_mean, excerpt, listed
from peak_trade.core.extra_columns import ExtraColumn, check_name
from peak_trade.core.files import reason_of, require_regular, write_bytes
from peak_trade.core.lock import held_lock
from peak_trade.core.time import NS_PER_SECOND, Timeframe, iso
from peak_trade.data.places import check_names, place_of
from peak_trade.data.workspace import workspace

if TYPE_CHECKING:
    import pyarrow as pa

KNOWN_AT = "known_at"
"""Default name of the column of instants."""
LOCK_WAIT_SECONDS = 3.0
_ABOUT = b"peak_trade.extra_column"
_SUFFIX = ".parquet"


@dataclass(frozen=True, slots=True)
class StoredColumn:
    """A stored extra column; `first` and `last` are the instants at which its first and last value became known."""

    exchange: str
    symbol: str
    name: str
    n_values: int
    n_nan: int
    first: int
    last: int
    digest: str
    path: Path

    @property
    def names(self) -> tuple[str, str, str]:
        """Exchange, symbol and name."""
        return self.exchange, self.symbol, self.name

    def as_json(self) -> dict[str, Any]:
        """Return the fields by name with times as text, for JSON."""
        return {
            "exchange": self.exchange,
            "symbol": self.symbol,
            "name": self.name,
            "n_values": self.n_values,
            "n_nan": self.n_nan,
            "first": iso(self.first),
            "last": iso(self.last),
            "digest": self.digest,
            "path": str(self.path),
        }


@dataclass(frozen=True, slots=True)
class SavedColumn:
    """Result of a save: numbers of new values, of values already stored and of replaced ones, and the column."""

    n_added: int
    n_known: int
    n_replaced: int
    stored: StoredColumn


@dataclass(frozen=True, slots=True)
class ColumnsImport:
    """Result of an import: the columns, those of the file that were left out, and a remark on the instants."""

    n_rows: int
    saved: tuple[SavedColumn, ...]
    left_out: tuple[str, ...]
    remark: str


def columns_folder() -> Path:
    """Return the folder of the store of extra columns."""
    return workspace() / "columns"


@checks_arguments()
def import_columns(
    path: Path | str,
    symbol: str,
    exchange: str,
    columns: Mapping[str, str] | None = None,
    *,
    known_at: str = KNOWN_AT,
    delay: str | Timeframe | None = None,
    replace: bool = False,
    clock: Callable[[], int] = time_ns,
) -> ColumnsImport:
    """Import extra columns of a symbol from a Parquet file; a bad file changes nothing.

    Parameters
    ----------
    path : Path or str
        Parquet with one row per instant, in order.
    symbol, exchange : str
        Those of the bars that the columns belong to.
    columns : mapping of name to column of the file, optional
        Defaults to every numeric column of the file under its own name.
    known_at : str
        Column of the file with the instants at which the values of a row became known, with a time zone.
    delay : str or Timeframe, optional
        Time from the instants of the file to the publication, for instants that are the starts of periods.
    replace : bool
        Whether the columns of the file replace stored ones as a whole.
    clock : callable
        Returns the current time, ns UTC.

    Raises
    ------
    DataError
        When the file can not be read, a column is missing, is not numeric or has an infinity, the instants have no
        time zone, are not in order, appear twice or lie in the future, or a stored value differs.
    ConfigError
        When a name or the delay is malformed.

    """
    file = Path(path)
    check_names(exchange, symbol)
    table = _read(file)
    times = _instants(file, table, known_at, delay)
    chosen, left_out = _chosen(file, table, known_at, columns or {})
    values = {name: _values(file, table, column) for name, column in chosen.items()}
    try:
        found = [ExtraColumn(name, times, each) for name, each in values.items()]
    except DataError as error:
        raise DataError(f"{file}: {error}") from None
    now = clock()
    if times[-1] > now:
        row = int(np.searchsorted(times, now, side="right"))
        raise DataError(
            f"{file}: {iso(int(times[row]))} (row {row}) is in the future. Give instants at which the values had "
            "become known, and check their time zone."
        )
    saved = save_columns(found, exchange, symbol, replace=replace)
    return ColumnsImport(len(times), saved, left_out, "" if delay else _remark(times))


def save_columns(
    columns: Sequence[ExtraColumn], exchange: str, symbol: str, *, replace: bool = False
) -> tuple[SavedColumn, ...]:
    """Merge extra columns of a symbol into the store.

    Values at stored instants must be equal to the stored ones, unless the columns are to `replace` the stored columns.

    Raises
    ------
    DataError
        When a value differs (the first one is named) or another process is writing, and nothing is written; or when a
        file can not be written, for example on a full disk. Each column is whole: the old one or the new one.
    ConfigError
        When the symbol or the exchange is malformed.

    """
    check_names(exchange, symbol)
    with _writing():
        merged = [_merged(column, exchange, symbol, replace) for column in columns]
        try:
            return tuple(SavedColumn(*counts, _write(column, exchange, symbol)) for column, counts in merged)
        except OSError as error:
            raise DataError(f"{columns_folder()}: could not be written ({error.strerror}). Check the folder.") from None


def load_columns(symbol: str, exchange: str, names: Sequence[str]) -> tuple[ExtraColumn, ...]:
    """Load extra columns of a symbol; DataError when there is none of a name, or the content of a file is damaged."""
    return tuple(_load(_path_of(exchange, symbol, name), exchange, symbol, name) for name in names)


def list_columns() -> list[StoredColumn]:
    """Return every stored extra column, ordered by exchange, symbol and name; DataError when a file is damaged."""
    found = [_described(path) for path in columns_folder().glob(f"*/*/*{_SUFFIX}")]
    return sorted(found, key=lambda item: item.names)


def remove_column(symbol: str, exchange: str, name: str) -> StoredColumn:
    """Remove one stored extra column and return its description; DataError when there is none."""
    with _writing():
        path = _path_of(exchange, symbol, name)
        if not path.exists():
            raise _unknown(exchange, symbol, name)
        removed = _described(path)
        path.unlink()
        with suppress(OSError):
            for folder in (path.parent, path.parent.parent):
                folder.rmdir()
        return removed


def _read(file: Path) -> pa.Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        require_regular(file)
        return pq.read_table(file, pre_buffer=False)
    except OSError as error:
        raise DataError(f"{file}: could not be read ({reason_of(error)}).") from None
    except pa.ArrowException as error:
        raise DataError(f"{file}: this is no Parquet file ({excerpt(str(error))}). Write it with to_parquet.") from None


def _instants(file: Path, table: pa.Table, known_at: str, delay: str | Timeframe | None) -> IntArray:
    import pyarrow as pa
    import pyarrow.compute as pc

    column = _column(file, table, known_at, "Name the column of the instants with --known-at.")
    kind = column.type
    if not pa.types.is_timestamp(kind):
        raise DataError(f"{file}: column {known_at} is {kind}. Store instants as timestamps with a time zone.")
    if kind.tz is None:
        raise DataError(
            f"{file}: the instants in column {known_at} have no time zone. State it with tz_localize('UTC') and write "
            "the file again."
        )
    if column.null_count:
        row = pc.index(pc.is_null(column), True).as_py()
        raise DataError(f"{file}: column {known_at} has no instant in row {row}. Drop or fix that row.")
    try:
        times: IntArray = column.cast(pa.timestamp("ns", tz="UTC")).cast(pa.int64()).to_numpy()
    except pa.ArrowException as error:
        raise DataError(f"{file}: column {known_at} has an instant that is out of range ({error}).") from None
    if not times.size:
        raise DataError(f"{file}: there are no rows. Give at least one.")
    if delay is None:
        return times
    step = Timeframe.parse(delay)
    return times + step.ns


def _chosen(
    file: Path, table: pa.Table, known_at: str, columns: Mapping[str, str]
) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return the columns of the file by the names under which they are stored, and those that are left out."""
    if columns:
        return dict(columns), ()
    others = [field for field in table.schema if field.name != known_at and not field.name.startswith("__index_level")]
    numeric = {field.name: field.name for field in others if _is_number(field.type)}
    if not numeric:
        raise DataError(f"{file}: no column has numbers. The columns are {listed(table.column_names)}.")
    return numeric, tuple(f"{field.name} ({field.type})" for field in others if field.name not in numeric)


def _is_number(kind: pa.DataType) -> bool:
    import pyarrow as pa

    types = pa.types
    return any(is_kind(kind) for is_kind in (types.is_floating, types.is_integer, types.is_boolean, types.is_decimal))


def _values(file: Path, table: pa.Table, name: str) -> Any:
    import pyarrow as pa

    column = _column(file, table, name, "Name it with --column NAME=COLUMN.")
    if not _is_number(column.type):
        raise DataError(f"{file}: column {name} is {column.type}. Give numbers.")
    kind = pa.float64()
    whole = column.cast(pa.int8()) if pa.types.is_boolean(column.type) else column
    return whole.cast(kind, safe=False).to_numpy().astype(np.float64)


def _column(file: Path, table: pa.Table, name: str, remedy: str) -> pa.ChunkedArray:
    n_found = table.column_names.count(name)
    if n_found == 1:
        return table.column(name)
    fault = "no column" if not n_found else "two columns"
    raise DataError(f"{file}: {fault} {excerpt(name)}; the columns are {listed(table.column_names)}. {remedy}")


def _remark(times: IntArray) -> str:
    """Return a sentence on instants that look like the starts of periods; empty for others."""
    if times.size < 3:
        return ""
    steps, counts = np.unique(np.diff(times), return_counts=True)
    step = int(steps[counts.argmax()])
    if step < 60 * NS_PER_SECOND or (times % step).any():
        return ""
    hours = step / NS_PER_SECOND / 3600.0
    return (
        f"Every instant is a multiple of {hours:.4g} hours. If these are starts of periods and not the times of "
        "publication, the values look ahead: import them with --delay, and --replace."
    )


@contextmanager
def _writing() -> Iterator[None]:
    folder = columns_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with held_lock(folder / ".lock", LOCK_WAIT_SECONDS):
            yield
    except TimeoutError as error:
        raise DataError(f"store of columns {error}. Nothing was written; try again when it is done.") from None
    except OSError as error:
        raise DataError(f"{folder}: the store can not be written ({error.strerror}). Check the folder.") from None


def _merged(column: ExtraColumn, exchange: str, symbol: str, replace: bool) -> tuple[ExtraColumn, tuple[int, int, int]]:
    """Return the column to store, and the numbers of added, known and replaced values."""
    path = _path_of(exchange, symbol, column.name)
    if not path.exists():
        return column, (column.known_at.size, 0, 0)
    held = _load(path, exchange, symbol, column.name)
    shared, rows, rows_held = np.intersect1d(column.known_at, held.known_at, assume_unique=True, return_indices=True)
    new, old = column.values[rows], held.values[rows_held]
    differs = (new != old) & ~(np.isnan(new) & np.isnan(old))
    n_added = column.known_at.size - shared.size
    if replace:
        return column, (n_added, int((~differs).sum()), int(differs.sum()))
    if differs.any():
        row = int(np.flatnonzero(differs)[0])
        raise DataError(
            f"{exchange} {symbol} {column.name}: the value of {iso(int(shared[row]))} is {float(new[row])!r}, stored "
            f"is {float(old[row])!r}. Pass --replace to store the columns of the file in place of the stored ones."
        )
    fresh = np.setdiff1d(np.arange(column.known_at.size), rows, assume_unique=True)
    times = np.concatenate([held.known_at, column.known_at[fresh]])
    order = np.argsort(times, kind="stable")
    values = np.concatenate([held.values, column.values[fresh]])
    return ExtraColumn(column.name, times[order], values[order]), (n_added, shared.size, 0)


def _write(column: ExtraColumn, exchange: str, symbol: str) -> StoredColumn:
    import pyarrow as pa
    import pyarrow.parquet as pq

    about: dict[str, Any] = {
        "exchange": exchange,
        "symbol": symbol,
        "name": column.name,
        "n_values": int(column.known_at.size),
        "n_nan": int(np.isnan(column.values).sum()),
        "first": int(column.known_at[0]),
        "last": int(column.known_at[-1]),
        "digest": column.digest(),
    }
    schema = pa.schema(
        [(KNOWN_AT, pa.timestamp("ns", tz="UTC")), (column.name, pa.float64())], {_ABOUT: json.dumps(about)}
    )
    arrays = [pa.array(column.known_at, type=pa.timestamp("ns", tz="UTC")), pa.array(column.values)]
    buffer = pa.BufferOutputStream()
    pq.write_table(pa.table(arrays, schema=schema), buffer)
    path = _path_of(exchange, symbol, column.name)
    write_bytes(path, buffer.getvalue().to_pybytes())
    return StoredColumn(**about, path=path)


def _described(path: Path) -> StoredColumn:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        require_regular(path)
        about: dict[str, Any] = json.loads((pq.read_schema(path).metadata or {})[_ABOUT])
        found = StoredColumn(**about, path=path)
    except OSError as error:
        raise _damaged(path, reason_of(error)) from None
    except (pa.ArrowException, KeyError, ValueError, TypeError) as error:
        raise _damaged(path, str(error)) from None
    if _path_of(found.exchange, found.symbol, found.name) != path:
        raise _damaged(path, f"it holds {' '.join(found.names)}")
    return found


def _load(path: Path, exchange: str, symbol: str, name: str) -> ExtraColumn:
    if not path.exists():
        raise _unknown(exchange, symbol, name)
    about, table = _described(path), _read(path)
    times = table.column(KNOWN_AT).cast("int64").to_numpy()
    column = ExtraColumn(name, times, table.column(name).to_numpy())
    if column.digest() != about.digest:
        raise _damaged(path, "its values do not match its digest")
    return column


def _damaged(path: Path, why: str) -> DataError:
    return DataError(f"{path}: this file of extra columns is damaged ({excerpt(why)}). Delete it and import it again.")


def _unknown(exchange: str, symbol: str, name: str) -> DataError:
    names = [path.stem for path in _path_of(exchange, symbol, "x").parent.glob(f"*{_SUFFIX}")]
    return DataError(
        f"{exchange} {symbol}: there is no extra column {name}. {did_you_mean(name, names)} Import it with "
        "`peak-trade data import-columns`."
    )


def _path_of(exchange: str, symbol: str, name: str) -> Path:
    check_name(name)
    return columns_folder() / place_of(exchange, symbol, Timeframe(1)).parent / f"{name}{_SUFFIX}"
