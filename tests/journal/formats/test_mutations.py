"""Tables as users save them again: with other separators, encodings, columns and times, and with bad cells."""

from __future__ import annotations

import csv
import gzip
import io
import re
import tempfile
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peak_trade.core.errors import ConfigError
from peak_trade.journal.formats.external_log import ExternalLog
from tests.examples import examples, mostly_long
from tests.journal.formats import test_binance as binance
from tests.journal.formats import test_hummingbot as hummingbot
from tests.journal.formats import test_jesse as jesse
from tests.journal.formats import test_kraken as kraken
from tests.journal.formats import test_nautilus as nautilus
from tests.journal.formats.histories import History, Trade, orders_of, read

Table = list[list[str]]
"""Cells of a table; the first row is the header."""


def order(number: int, symbol: str, side: str, second: int, *fills: tuple[float, float, float, str]) -> History:
    trades = [Trade(10 * number + n, second + 5 * n, *fill) for n, fill in enumerate(fills)]
    return History(number, second, symbol, side, tuple(trades), 0.0)


HISTORIES = [
    order(0, "BTC/USDT", "buy", 0, (0.5, 42000.125, 10.5, "USDT"), (0.25, 42001.5, 5.25, "USDT")),
    order(1, "ETH/USDT", "sell", 3_600, (1234.5678, 2300.1, 0.75, "BNB")),
    order(2, "SOL/EUR", "buy", 7_200, (12.5, 95.125, 0.0125, "SOL")),
    order(3, "BTC/USDT", "sell", 260_000, (0.75, 43210.75, 32.4, "USDT")),
    order(4, "ETH/USDT", "buy", 2_000_000, (0.0001, 2222.001, 0.0002, "USDT")),
]
FILLS = [(each, fill) for each in HISTORIES for fill in each.fills]


def in_quote(each: History) -> History:
    """The order with its fees in quote currency, as formats without a currency of the fee have it."""
    fills = tuple(Trade(f.number, f.second, f.quantity, f.price, f.fee, each.quote) for f in each.fills)
    return History(each.number, each.second, each.symbol, each.side, fills, each.rest)


def binance_table(head: str) -> Callable[[Path], Path]:
    rows = [binance.trade_row(each, fill, head, binance.when(fill.second)) for each, fill in FILLS]
    return lambda folder: binance.write(folder, "log", f"Date(UTC),{head}", rows)


WRITERS: dict[str, Callable[[Path], Path]] = {
    "binance with units": binance_table(binance.UNITS),
    "binance with coins": binance_table(binance.COINS),
    "binance orders": lambda folder: binance.write(
        folder, "log", f"Date(UTC),{binance.ORDERS}", map(binance.order_row, HISTORIES)
    ),
    "kraken": lambda folder: kraken.write(
        folder, "log", kraken.NEW, [kraken.trade_row(in_quote(each), fill) for each, fill in FILLS]
    ),
    "hummingbot": lambda folder: hummingbot.write_csv(
        folder / "log", [hummingbot.trade_row(each, fill) for each, fill in FILLS]
    ),
    "nautilus fills": lambda folder: nautilus.write(
        folder, "log", [nautilus.fill_row(each, fill, is_iso=True) for each, fill in FILLS]
    ),
    "nautilus orders": lambda folder: nautilus.write(
        folder, "log", [nautilus.order_row(each, is_iso=True) for each in HISTORIES]
    ),
    "jesse orders": lambda folder: jesse.write(
        folder / "log", [jesse.live_order(in_quote(each)) for each in HISTORIES]
    ),
}


@cache
def table_of(name: str) -> Table:
    with tempfile.TemporaryDirectory() as folder:
        return list(csv.reader(io.StringIO(WRITERS[name](Path(folder)).read_text())))


def content(table: Table, delimiter: str = ",", quoting: Any = csv.QUOTE_MINIMAL, end: str = "\n") -> str:
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, quoting=quoting, lineterminator=end).writerows(table)
    return text.getvalue()


NUMBER = re.compile(r"([+-]?)(\d+|\d{1,3}(?:,\d{3})+)\.(\d+)(\s?[A-Z]*)")
TIME = re.compile(r"(\d{4})-(\d\d)-(\d\d) (\d\d:\d\d:\d\d)(?:\.0+)?(?:\+00:00)?")


def renumbered(table: Table, thousands: str, mark: str) -> Table:
    """The table with other separators in its numbers."""

    def cell_of(cell: str) -> str:
        match = NUMBER.fullmatch(cell)
        if match is None:
            return cell
        whole = f"{int(match[2].replace(',', '')):,}".replace(",", thousands)
        return f"{match[1]}{whole}{mark}{match[3]}{match[4]}"

    return [table[0], *([cell_of(cell) for cell in row] for row in table[1:])]


def retimed(table: Table, write: Callable[[datetime], str]) -> Table:
    """The table with its times, in ISO 8601 or in milliseconds since 1970, in another format."""

    def cell_of(cell: str) -> str:
        if re.fullmatch(r"1[67]\d{11}", cell):
            return write(datetime.fromtimestamp(int(cell) / 1_000, UTC))
        match = TIME.fullmatch(cell)
        return cell if match is None else write(datetime.fromisoformat(f"{cell[:10]}T{match[4]}+00:00"))

    return [table[0], *([cell_of(cell) for cell in row] for row in table[1:])]


NUMBERS: dict[str, tuple[str, str, str]] = {
    "plain": ("", ".", ","), "comma": (",", ".", ","), "space": (" ", ".", ","), "apostrophe": ("'", ".", "\t"),
    "German": (".", ",", ";"), "French": ("\u202f", ",", ";"), "decimal comma": ("", ",", ","),
    "decimal comma and tab": ("", ",", "\t"),
}  # fmt: skip
"""Separator of thousands, decimal separator, and delimiter."""
TIMES: dict[str, Callable[[datetime], str] | None] = {
    "as written": None, "with T and Z": lambda time: f"{time:%Y-%m-%dT%H:%M:%SZ}",
    "slashes": lambda time: f"{time:%Y/%m/%d %H:%M:%S}", "day first": lambda time: f"{time:%d.%m.%Y %H:%M:%S}",
    "seconds": lambda time: str(int(time.timestamp())), "microseconds": lambda time: f"{int(time.timestamp())}000000",
    "GMT": lambda time: f"{time:%Y-%m-%d %H:%M:%S} GMT",
}  # fmt: skip
COLUMNS: dict[str, Callable[[Table], Table]] = {
    "as they are": lambda table: table,
    "reversed": lambda table: [row[::-1] for row in table],
    "an index": lambda table: [[str(n - 1) if n else "", *row] for n, row in enumerate(table)],
    "notes": lambda table: [[*row, "für mich, \n2" if n else "Notes"] for n, row in enumerate(table)],
    "an empty one": lambda table: [[*row, ""] for row in table],
    "blanks": lambda table: [[f" {cell} " for cell in row] for row in table],
}
ROWS: dict[str, Callable[[Table], Table]] = {
    "as they are": lambda table: table,
    "newest first": lambda table: [table[0], *table[:0:-1]],
    "blank ones": lambda table: [table[0], *(row for each in table[1:] for row in (each, [""] * len(each)))],
    "a second header": lambda table: [*table[:3], table[0], *table[3:]],
    "written twice": lambda table: [*table, *table],
}
BYTES: dict[str, Callable[[str], bytes]] = {
    "UTF-8": str.encode,
    "a mark": lambda text: text.encode("utf-8-sig"),
    "two marks": lambda text: f"\ufeff{text}".encode("utf-8-sig"),
    "UTF-16": lambda text: text.encode("utf-16"),
    "UTF-16 without a mark": lambda text: text.encode("utf-16-le"),
    "a title": lambda text: f"All trades\n\n{text}".encode(),
    "a comment": lambda text: f"# made by me\n{text}".encode(),
    "gzip": lambda text: gzip.compress(text.encode()),
    "zip": lambda text: zipped("trades.csv", text),
}


def zipped(name: str, text: str) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(name, text)
    return packed.getvalue()


def log_of(data: bytes) -> ExternalLog:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "log")
        path.write_bytes(data)
        return read(path)


def log_or_line(data: bytes) -> ExternalLog | str:
    """The log, or why its file is refused."""
    try:
        return log_of(data)
    except ConfigError as error:
        return str(error)


def trades_of(log: ExternalLog) -> Counter[tuple[Any, ...]]:
    found = Counter[tuple[Any, ...]]()
    for events in orders_of(log).values():
        for event in events:
            if event.last_quantity:
                fee = 0.0 if event.fee != event.fee else round(event.fee, 9)
                found[
                    event.symbol, event.side, event.ts_event, event.last_quantity, event.last_price, fee,
                    event.fee_paid, event.fee_currency
                ] += 1  # fmt: skip
    return found


@cache
def expected(name: str) -> Counter[tuple[Any, ...]]:
    log = log_of(content(table_of(name)).encode())
    assert not log.refused
    return trades_of(log)


@pytest.mark.parametrize("name", mostly_long(WRITERS, 3))
@given(st.data())
@settings(max_examples=examples(150), deadline=None)
def test_a_table_that_is_saved_in_another_way_has_the_same_trades(name, data):
    def draw(choices: dict[str, Any]) -> Any:
        return choices[data.draw(st.sampled_from(list(choices)))]

    thousands, mark, delimiter = draw(NUMBERS)
    write_time = draw(TIMES)
    table = renumbered(table_of(name), thousands, mark)
    table = table if write_time is None else retimed(table, write_time)
    table = draw(ROWS)(draw(COLUMNS)(table))
    quoting = data.draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
    text = content(table, delimiter, quoting, data.draw(st.sampled_from(["\n", "\r\n"])))
    log = log_of(draw(BYTES)(text))
    assert not log.refused, log.refused[:2]
    assert trades_of(log) == expected(name)


BAD_CELLS = (
    "", "NaN", "nan", "inf", "-inf", "-1", "0", "1e400", "1e16", "abc", "--", "N/A", "#REF!", "1,2,3", "1_000", "0x10",
    "1/2", "50%", "(5)", "/", "BTC/", "/USDT", "../../etc", "BTC\nUSDT", "[]", "{}", "\0", "true", "9" * 30, "x" * 500,
    "1 2", "1.2.3", "12.13.2024", "2024-13-01", "24:00",
)  # fmt: skip


@pytest.mark.parametrize("name", WRITERS)
@given(st.data())
@settings(max_examples=examples(150), deadline=None)
def test_a_bad_cell_changes_no_other_row(name, data):
    """What is read without a fault is right: only the row with the bad cell, and its order, may differ."""
    table = [list(row) for row in table_of(name)]
    row = data.draw(st.integers(1, len(table) - 1))
    column = data.draw(st.integers(0, len(table[0]) - 1))
    table[row][column] = data.draw(st.sampled_from(BAD_CELLS))
    log = log_or_line(content(table).encode())
    if isinstance(log, str):
        assert len(log.splitlines()) == 1
        return
    assert {number for number, _ in log.refused} <= set(mates(name, row))
    missing, added = expected(name) - trades_of(log), trades_of(log) - expected(name)
    assert missing.total() <= len(mates(name, row))
    for symbol, _, _, quantity, price, *_ in added:
        assert symbol
        assert min(quantity, price) > 0.0
        assert (quantity, price) in {(each[3], each[4]) for each in missing} | numbers_in(table[row])


def mates(name: str, row: int) -> list[int]:
    """The rows of the order of a row, of a table with one row per fill or per order."""
    n_rows = len(table_of(name)) - 1
    first_order = range(1, 1 + len(HISTORIES[0].fills)) if n_rows == len(FILLS) else range(1, 2)
    return list(first_order) if row in first_order else [row]


def numbers_in(row: list[str]) -> set[tuple[float, float]]:
    """All pairs of the numbers of a row."""

    def values() -> Iterator[float]:
        for cell in row:
            match = re.match(r"[+-]?[\d,]*\.?\d+(?:e\d+)?", cell)
            if match:
                yield abs(float(match[0].replace(",", "")))

    found = list(values())
    return {(one, other) for one in found for other in found}


@pytest.mark.parametrize("name", mostly_long(WRITERS, 1))
def test_a_missing_column_is_named_or_not_needed(name):
    """Without a column the trades are the same, less exact, or the file or each of its rows is refused."""
    table = table_of(name)
    for column in range(len(table[0])):
        cut = [row[:column] + row[column + 1 :] for row in table]
        log = log_or_line(content(cut).encode())
        if isinstance(log, str):
            assert len(log.splitlines()) == 1
        else:
            kept = {each[:2] + each[3:5] for each in trades_of(log)}
            assert kept <= {each[:2] + each[3:5] for each in expected(name)}, table[0][column]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"%PDF-1.7\n", "it is a PDF document, not a log. Save its table as CSV."),
        (b"\xd0\xcf\x11\xe0\xa1\xb1" + bytes(500), "it is an old Excel file"),
        (b"<!DOCTYPE html><html>", "it is a web page"),
        (zipped("xl/workbook.xml", "<x/>"), "it is an Excel workbook; save its sheet as CSV"),
        (gzip.compress(b"SQLite format 3\0" + bytes(100)), "it is a compressed SQLite database. Unpack it"),
        (gzip.compress(content(table_of("kraken")).encode())[:-20], "could not be read"),
        (gzip.compress(b""), "the file is empty"),
        (zipped("a.csv", ""), "the file is empty"),
    ],
    ids=["PDF", "old Excel", "web page", "Excel", "packed database", "cut off", "packed and empty", "zip and empty"],
)
def test_a_file_that_is_no_log_is_named(data, words):
    with pytest.raises(ConfigError, match=re.escape(words)):
        log_of(data)
