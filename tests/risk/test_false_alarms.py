"""False alarms of the liquidity gates on recorded data: below 5 %, by labels that know nothing of the gates."""

import pandas as pd
import pytest

from peak_trade.core.bars import Bars
from peak_trade.core.time import Timeframe
from peak_trade.risk.limits import RiskLimits
from peak_trade.studies.false_alarms import bar_orders, book_orders, books_of, confusion

ON_BARS = RiskLimits.parse({"liquidity": {}}, "test")
ON_BOOKS = RiskLimits.parse({"liquidity": {"book": "declared", "max_daily_volume_share": None}}, "test")


def five_minutes(real_data, name):
    frame = pd.read_parquet(real_data / "bars" / f"binance_{name}USDT_5m.parquet").set_index("timestamp")
    frame.index = pd.DatetimeIndex(frame.index).as_unit("ns") + pd.Timedelta("5min")
    return Bars(frame.astype(float), f"{name}/USDT", Timeframe.parse("5m"))


def test_on_five_minute_bars_fewer_than_one_safe_order_in_twenty_is_denied(real_data):
    orders = pd.concat([bar_orders(five_minutes(real_data, name), ON_BARS) for name in ("BTC", "VITE")])
    table = confusion(orders).set_index("symbol")
    assert (table["false_positive_rate"] < 0.05).all()
    assert table.loc["BTC/USDT", ["denied_unsafe", "denied_safe", "passed_unsafe"]].tolist() == [0, 0, 0]
    assert table.loc["VITE/USDT", "denied_unsafe"] > 500
    assert table.loc["VITE/USDT", "miss_rate"] < 0.35


def test_on_recorded_books_nearly_every_false_alarm_is_the_touch_depth_rule(real_data):
    frame = pd.read_parquet(real_data / "ticks" / "binance_BTCUSDT_book20_1s__2024-08-08.parquet")
    books = books_of(frame)
    table = confusion(book_orders(books, "BTC/USDT", ON_BOOKS)).set_index("symbol")
    assert 0.05 < table.loc["all", "false_positive_rate"] < 0.06
    liquidity = ON_BOOKS.liquidity.model_copy(update={"min_touch_depth": None})
    without = ON_BOOKS.model_copy(update={"liquidity": liquidity})
    table = confusion(book_orders(books, "BTC/USDT", without)).set_index("symbol")
    assert table.loc["all", "false_positive_rate"] < 0.001


def test_over_all_recorded_orders_fewer_than_one_safe_order_in_twenty_is_denied(real_data):
    frame = pd.read_parquet(real_data / "ticks" / "binance_BTCUSDT_book20_1s__2024-08-08.parquet")
    on_bars = [bar_orders(five_minutes(real_data, name), ON_BARS) for name in ("BTC", "VITE")]
    table = confusion(pd.concat([*on_bars, book_orders(books_of(frame), "BTC/USDT", ON_BOOKS)])).set_index("symbol")
    assert table.loc["all", "n_orders"] == 6_000
    assert table.loc["all", "false_positive_rate"] < 0.03


def test_a_confusion_matrix_is_worked_by_hand():
    orders = pd.DataFrame(
        {
            "symbol": ["A"] * 6,
            "notional": [1.0] * 6,
            "is_unsafe": [True, True, False, False, False, False],
            "is_denied": [True, False, True, False, False, False],
        }
    )
    row = confusion(orders).set_index("symbol").loc["A"]
    assert row.iloc[:5].tolist() == [6, 1, 1, 1, 3]
    assert row["false_positive_rate"] == pytest.approx(0.25)
    assert row["miss_rate"] == pytest.approx(0.5)
