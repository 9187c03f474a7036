"""False alarms of the liquidity gates on recorded data: below 5 %, by labels that do not depend on the gates."""

import math
from pathlib import Path

import pandas as pd
import pytest

from peak_trade.core.bars import Bars
from peak_trade.core.errors import DataError
from peak_trade.core.time import Timeframe
from peak_trade.core.values import OrderBook
from peak_trade.risk.limits import LiquidityLimits
from peak_trade.studies.risk.false_alarms import LABEL_RULES, confusion, labelled_orders, read_books

PAGE = Path(__file__).parents[2] / "docs" / "risk.md"
BOOKS = "ticks/binance_BTCUSDT_book20_1s__2024-08-08.parquet"


def five_minutes(real_data, name):
    frame = pd.read_parquet(real_data / "bars" / f"binance_{name}USDT_5m.parquet").set_index("timestamp")
    frame.index = pd.DatetimeIndex(frame.index).as_unit("ns") + pd.Timedelta("5min")
    return Bars(frame.astype(float), f"{name}/USDT", Timeframe.parse("5m"))


@pytest.fixture(scope="module")
def recorded(real_data):
    return [five_minutes(real_data, name) for name in ("BTC", "VITE")], read_books(real_data / BOOKS)


@pytest.fixture(scope="module")
def matrix(recorded):
    bars, books = recorded
    return confusion(labelled_orders(bars, LiquidityLimits(), books, "BTC/USDT"))


def test_on_bars_and_on_books_of_their_size_fewer_than_one_safe_order_in_twenty_is_denied(matrix):
    rates = matrix.set_index("drawn_from")["false_positives"]
    assert (rates[["BTC/USDT bars", "VITE/USDT bars", "BTC/USDT books, small", "all"]] < 0.05).all()
    assert 0.1 < rates["BTC/USDT books, large"] < 0.12


def test_the_unsafe_orders_of_books_are_refused_and_most_of_those_of_a_thin_market(matrix):
    table = matrix.set_index("drawn_from")
    n_unsafe = table["denied_unsafe"] + table["passed_unsafe"]
    assert n_unsafe.tolist() == [0, 1175, 0, 289, 1464]
    assert table.loc["BTC/USDT books, large", "misses"] < 0.05
    assert table.loc["VITE/USDT bars", "misses"] < 0.3


def test_labels_and_orders_do_not_depend_on_the_gates(recorded):
    bars, books = recorded
    loose = LiquidityLimits(touch_width=0.01, min_book_depth=None, max_slippage=1.0, max_daily_volume_share=1.0)
    one, other = (labelled_orders(bars[1:], rules, books, "BTC/USDT") for rules in (LiquidityLimits(), loose))
    pd.testing.assert_frame_equal(one.drop(columns="is_denied"), other.drop(columns="is_denied"))
    assert one["is_denied"].sum() > other["is_denied"].sum()


def test_the_page_shows_the_matrix_and_what_each_width_of_the_touch_does(recorded, matrix):
    bars, books = recorded
    page = PAGE.read_text(encoding="utf-8")
    for rule in LABEL_RULES:
        assert rule in " ".join(page.split())
    rows = [_row(cells) for cells in matrix.itertuples(index=False)]
    for width in (0.0, 0.00001, 0.00005, 0.0001, 0.0002):
        table = confusion(labelled_orders(bars, LiquidityLimits(touch_width=width), books, "BTC/USDT"))
        small, large = (part for part in table.itertuples(index=False) if "books" in part.drawn_from)
        rates = (small.false_positives, large.false_positives, large.misses)
        rows.append(
            f"| {1e4 * width:g} bps | {small.denied_safe} | " + " | ".join(f"{rate:.1%}" for rate in rates) + " |"
        )
    assert [row for row in rows if row not in page.replace(" %", "%")] == []


def _row(cells):
    misses = "none unsafe" if math.isnan(cells.misses) else f"{cells.misses:.1%}"
    counts = [f"{count:,}" for count in cells[3:]]
    return f"| {cells.drawn_from} | {cells.false_positives:.1%} | {misses} | {' | '.join(counts)} |"


@pytest.mark.parametrize(
    "content", [None, b"no parquet", pd.DataFrame({"timestamp": [1]})], ids=["none", "text", "bars"]
)
def test_a_file_without_order_books_is_an_error_of_one_line(content, tmp_path):
    path = tmp_path / "books.parquet"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        content.to_parquet(path)
    with pytest.raises(DataError, match="not a Parquet file of order books") as caught:
        read_books(path)
    assert "\n" not in str(caught.value)


def test_a_recording_of_one_book_is_an_error():
    with pytest.raises(DataError, match="too few"):
        labelled_orders([], None, [OrderBook(1, ((99.0, 1.0),), ((100.0, 1.0),))], "BTC/USDT")


def test_a_confusion_matrix_is_worked_by_hand():
    orders = pd.DataFrame(
        {
            "drawn_from": ["A"] * 6,
            "notional": [1.0] * 6,
            "is_unsafe": [True, True, False, False, False, False],
            "is_denied": [True, False, True, False, False, False],
        }
    )
    row = confusion(orders).set_index("drawn_from").loc["A"]
    assert row.iloc[2:].tolist() == [6, 1, 1, 1, 3]
    assert row["false_positives"] == pytest.approx(0.25)
    assert row["misses"] == pytest.approx(0.5)
