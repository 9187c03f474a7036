"""False alarms of the liquidity gates on recorded data: below 5 %, by labels that do not depend on the gates."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from peak_trade.core.bars import Bars
from peak_trade.core.errors import DataError
from peak_trade.core.time import Timeframe
from peak_trade.core.values import OrderBook, Side
from peak_trade.risk.limits import LiquidityLimits, RiskLimits
from peak_trade.risk.liquidity import mid_price
from peak_trade.studies.risk import false_alarms
from peak_trade.studies.risk.false_alarms import (
    BOOK_NOTIONALS,
    LABEL_RULES,
    book_orders,
    confusion,
    labelled_orders,
    read_books,
)
from peak_trade.wiring.gates import read_risk_file
from tests.risk.thin import thin_bars

PAGE = Path(__file__).parents[2] / "docs" / "risk.md"
DEPTHS = [(1.5, 1.5), (1.5, 0.7), (1.2, 0.7), (1.0, 0.7), (0.9, 0.7), (0.8, 0.7)]
BAR_SHARES = [None, 10.0, 1.0, 0.1]
BOOKS = "ticks/binance_BTCUSDT_book20_1s__2024-08-08.parquet"


def five_minutes(real_data, name):
    frame = pd.read_parquet(real_data / "bars" / f"binance_{name}USDT_5m.parquet").set_index("timestamp")
    frame.index = pd.DatetimeIndex(frame.index).as_unit("ns") + pd.Timedelta("5min")
    return Bars(frame.astype(float), f"{name}/USDT", Timeframe.parse("5m"))


@pytest.fixture(scope="module")
def recorded(real_data):
    bars = [*(five_minutes(real_data, name) for name in ("BTC", "VITE")), thin_bars(seed=1)]
    return bars, read_books(real_data / BOOKS)


@pytest.fixture(scope="module")
def matrix(recorded):
    bars, books = recorded
    return confusion(labelled_orders(bars, LiquidityLimits(), books, "BTC/USDT"))


@pytest.mark.long
def test_on_bars_and_on_books_of_their_size_fewer_than_one_safe_order_in_twenty_is_denied(matrix):
    rates = matrix.set_index("drawn_from")["false_positives"]
    assert (rates.drop("BTC/USDT books, large") < 0.05).all()
    assert 0.1 < rates["BTC/USDT books, large"] < 0.12


@pytest.mark.long
def test_the_unsafe_orders_of_books_are_refused_and_most_of_those_of_a_thin_market(matrix):
    table = matrix.set_index("drawn_from")
    n_unsafe = table["denied_unsafe"] + table["passed_unsafe"]
    assert n_unsafe.tolist() == [0, 1175, 1336, 0, 289, 2800]
    assert table.loc["BTC/USDT books, large", "misses"] < 0.05
    assert (table.loc[["VITE/USDT bars", "THIN1/USDT bars"], "misses"] < 0.3).all()


@pytest.mark.long
@pytest.mark.parametrize("seed", [2, 3])
def test_the_shipped_examples_deny_few_safe_orders_of_a_thin_pair(seed, config):
    """The limits of the files are used as they are; on bars their order books are not."""
    for name in ("risk.toml", "risk_liquidity_gate_example.toml"):
        rules = read_risk_file(config / name).liquidity
        rates = confusion(labelled_orders([thin_bars(seed)], rules)).set_index("drawn_from")
        assert rates.loc["all", "false_positives"] < 0.05
        assert rates.loc["all", "misses"] < 0.32


@pytest.mark.long
def test_labels_and_orders_do_not_depend_on_the_gates(recorded):
    bars, books = recorded
    loose = LiquidityLimits(touch_width=0.01, min_book_depth=None, max_slippage=1.0, max_daily_volume_share=1.0)
    one, other = (labelled_orders(bars[1:2], rules, books, "BTC/USDT") for rules in (LiquidityLimits(), loose))
    pd.testing.assert_frame_equal(one.drop(columns="is_denied"), other.drop(columns="is_denied"))
    assert one["is_denied"].sum() > other["is_denied"].sum()


@pytest.mark.long
def test_the_page_shows_the_rules_of_the_labels_and_the_matrix(matrix):
    page = PAGE.read_text(encoding="utf-8")
    for rule in LABEL_RULES:
        assert rule in " ".join(page.split())
    rows = [_row(cells) for cells in matrix.itertuples(index=False)]
    assert [row for row in rows if row not in page.replace(" %", "%")] == []


@pytest.mark.long
def test_the_page_shows_what_each_limit_denies_and_misses(recorded):
    bars, books = recorded
    rows = []

    def on_books(**limits):
        orders = labelled_orders([], LiquidityLimits(**limits), books, "BTC/USDT")
        return confusion(orders).set_index("drawn_from").loc[["BTC/USDT books, small", "BTC/USDT books, large"]]

    for width in (0.0, 0.00001, 0.00005, 0.0001, 0.0002):
        table = on_books(touch_width=width)
        n_denied = table["denied_safe"].iloc[0]
        rows.append(f"| {1e4 * width:g} bps | {n_denied} | {_rates(table)} |")
    for book, touch in DEPTHS:
        rows.append(f"| {book:g} | {touch:g} | {_rates(on_books(min_book_depth=book, min_touch_depth=touch))} |")
    for share in BAR_SHARES:
        orders = labelled_orders(bars[1:], LiquidityLimits(max_bar_volume_share=share))
        *parts, _ = confusion(orders).itertuples(index=False)
        cells = [f"{rate:.1%}" for part in parts for rate in (part.false_positives, part.misses)]
        rows.append(f"| {'none' if share is None else f'{share:g}'} | " + " | ".join(cells) + " |")
    page = PAGE.read_text(encoding="utf-8").replace(" %", "%")
    assert [row for row in rows if row not in page] == []


MISSES = (0.045, 0.07, 0.1)
"""Fractions of the unsafe orders at which estimates of the next book's depth are compared."""


def depth_estimates(books):
    """Estimates of the next book's depth by name, shape (2, n_books): bids, then asks, each from past books only."""
    quantities = np.array([[[size for _, size in side] for side in (book.bids, book.asks)] for book in books])
    depth = quantities.sum(axis=2).T
    spans = [depth[:, max(place - 9, 0) : place + 1] for place in range(len(books))]
    median = np.array([np.median(span, axis=1) for span in spans]).T
    return {
        "the 20 levels, as the gate": depth,
        "without the best level": depth - quantities[:, :, 0].T,
        "times the median of ten books, root": np.sqrt(depth * median),
        "0.7 own side, 0.3 other side": depth**0.7 * depth[::-1] ** 0.3,
    }


@pytest.mark.long
def test_no_other_estimate_of_the_depth_brings_large_orders_below_five_percent(recorded):
    """Each estimate is compared at the threshold that misses as many unsafe orders, over twelve seeds."""
    _, books = recorded
    drawn = [
        (place, notional / mid_price(books[place]), int(side is Side.BUY))
        for seed in range(1, 13)
        for place, notional, side in false_alarms._draws(
            np.random.default_rng(seed), 2_000, (0, len(books) - 1), BOOK_NOTIONALS["large"]
        )
    ]
    place, quantity, side = map(np.array, zip(*drawn, strict=True))
    estimates = depth_estimates(books)
    unsafe = estimates["the 20 levels, as the gate"][side, place + 1] < quantity
    rows = []
    for name, depth in estimates.items():
        used = quantity / depth[side, place]
        thresholds = [np.sort(used[unsafe])[int(missed * unsafe.sum())] for missed in MISSES]
        rates = [float((used[~unsafe] >= threshold).mean()) for threshold in thresholds]
        assert rates[0] > 0.085
        rows.append(f"| {name} | " + " | ".join(f"{rate:.1%}" for rate in rates) + " |")
    spans = [[abs(side[-1][0] / side[0][0] - 1.0) for side in (book.bids, book.asks)] for book in books]
    bids, asks = 1e4 * np.median(spans, axis=0)
    page = PAGE.read_text(encoding="utf-8").replace(" %", "%")
    assert f"the median {bids:.1f} bps of it for bids and {asks:.1f} bps for asks" in " ".join(page.split())
    assert [row for row in rows if row not in page] == []


@pytest.mark.long
def test_the_page_shows_how_much_the_rates_depend_on_the_seed(recorded):
    _, books = recorded
    rules = LiquidityLimits(book="declared", max_daily_volume_share=None, max_bar_volume_share=None)
    limits, notionals = RiskLimits(liquidity=rules), BOOK_NOTIONALS["large"]
    large = [confusion(book_orders(books, "BTC/USDT", limits, notionals=notionals, seed=n)) for n in range(1, 25)]
    thin = [confusion(labelled_orders([thin_bars(seed)])) for seed in range(2, 22)]
    page = " ".join(PAGE.read_text(encoding="utf-8").split())
    false, misses = (np.array([table[name].iloc[0] for table in large]) for name in ("false_positives", "misses"))
    assert false.argmin() == 0
    assert f"{false.min():.1%} to {false.max():.1%} (mean {false.mean():.1%}) with" in page
    assert f"{misses.min():.1%} to {misses.max():.1%} misses (mean {misses.mean():.1%})" in page
    false, misses = (np.array([table[name].iloc[0] for table in thin]) for name in ("false_positives", "misses"))
    assert f"{false.min():.1%} to {false.max():.1%} false positives and" in page
    assert f"{misses.min():.1%} to {misses.max():.1%} misses." in page


def _rates(table):
    """False positives of small and large orders, and misses of large ones."""
    false, misses = table["false_positives"], table["misses"]
    return f"{false.iloc[0]:.1%} | {false.iloc[1]:.1%} | {misses.iloc[1]:.1%}"


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
