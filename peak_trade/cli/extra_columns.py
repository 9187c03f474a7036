"""`peak-trade data import-columns`, `list-columns` and `remove-columns`: extra columns of the bars of a symbol."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from peak_trade.cli import options, output
from peak_trade.core.time import iso

if TYPE_CHECKING:
    from collections.abc import Sequence

    from peak_trade.data.extra_columns import ColumnsImport, StoredColumn

Exchange = Annotated[str, typer.Option(help="Exchange of the bars that the columns belong to, for example binance.")]


def import_columns(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Parquet file with one row per instant, in order.")],
    symbol: options.Symbol,
    exchange: Exchange,
    known_at: Annotated[
        str,
        typer.Option(help="Column of FILE with the instants at which values became known, with a time zone."),
    ] = "known_at",
    column: Annotated[
        list[str] | None,
        typer.Option(
            "--column",
            metavar="NAME=COLUMN",
            help="Name under which a column of FILE is stored. Repeat for several. By default, every numeric column.",
        ),
    ] = None,
    delay: Annotated[
        str | None,
        typer.Option(
            help="Time from the instants of FILE to the publication of the values, for example 8h where the instants "
            "are starts of periods of 8 hours."
        ),
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Store the columns of FILE in place of the stored ones.")
    ] = False,
    as_json: options.AsJson = False,
) -> None:
    """Import extra columns of a symbol, such as funding rates.

    A strategy reads a column that it names in `extra_columns`. A bar sees the latest value that was known at its close.
    The instants must have a time zone, increase and not lie in the future. Importing a file again changes nothing, and
    values at stored instants must equal the stored ones, unless --replace is given.

    \b
    Example:
        peak-trade data import-columns funding.parquet --symbol BTC/USDT --exchange binance

    Exits 0 when the columns are stored, 2 on bad input, in which case nothing is written.
    """
    from peak_trade.data import extra_columns

    names = options.pairs(column, "--column", "funding_rate=fundingRate")
    done = extra_columns.import_columns(file, symbol, exchange, names, known_at=known_at, delay=delay, replace=replace)
    output.show(
        done,
        as_json,
        lambda done: _import_page(file, done),
        lambda done: {
            "file": str(file),
            "n_rows": done.n_rows,
            "left_out": done.left_out,
            "remark": done.remark,
            "columns": [
                each.stored.as_json()
                | {"n_added": each.n_added, "n_known": each.n_known, "n_replaced": each.n_replaced}
                for each in done.saved
            ],
        },
    )


def list_columns(as_json: options.AsJson = False) -> None:
    """List the extra columns of the store.

    First and last are the instants, in UTC, at which the first and the last value became known.

    \b
    Example:
        peak-trade data list-columns

    Exits 0, or 2 when a file is damaged.
    """
    from peak_trade.data import extra_columns

    output.show(extra_columns.list_columns(), as_json, _list_page, lambda held: [each.as_json() for each in held])


def remove_columns(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the column.")],
    symbol: options.Symbol,
    exchange: Exchange,
    as_json: options.AsJson = False,
) -> None:
    """Remove an extra column of a symbol from the store.

    Recorded runs keep their results; they can not be computed again without the column.

    \b
    Example:
        peak-trade data remove-columns funding_rate --symbol BTC/USDT --exchange binance

    Exits 0 when the column is removed, 2 when the store does not have it.
    """
    from peak_trade.data import extra_columns

    removed = extra_columns.remove_column(symbol, exchange, name)
    line = (
        f"{removed.exchange} {removed.symbol} {removed.name}: {output.count(removed.n_values, 'value')} removed, "
        f"digest {removed.digest[:12]}."
    )
    output.show(removed, as_json, lambda removed: [line], lambda removed: removed.as_json())


def _import_page(file: Path, done: ColumnsImport) -> output.Page:
    left_out = f" Left out: {', '.join(done.left_out)}." if done.left_out else ""
    yield f"{file}: {output.count(done.n_rows, 'row')}.{left_out}"
    for each in done.saved:
        held = each.stored
        span = f"{iso(held.first)} to {iso(held.last)}"
        replaced = f"{each.n_replaced:,} replaced, " if each.n_replaced else ""
        yield (
            f"{' '.join(held.names)}: {each.n_added:,} values added, {replaced}{each.n_known:,} already stored; the "
            f"store holds {held.n_values:,}, {held.n_nan:,} of them NaN, known from {span}, "
            f"digest {held.digest[:12]}."
        )
    if done.remark:
        yield done.remark


def _list_page(held: Sequence[StoredColumn]) -> output.Page:
    if not held:
        yield "The store has no extra columns. Import some with `peak-trade data import-columns FILE`."
        return
    yield output.Table(
        ("exchange", "symbol", "name", "values", "NaN", "first", "last", "digest"),
        [(*each.names, each.n_values, each.n_nan, iso(each.first), iso(each.last), each.digest[:12]) for each in held],
        right=("values", "NaN"),
    )
