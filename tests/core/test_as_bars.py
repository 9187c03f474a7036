"""A DataFrame becomes bars: the meaning of its index is stated, and what is converted is noted."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from peak_trade.core.bar_frame import COLUMNS
from peak_trade.core.bars import as_bars
from peak_trade.core.errors import ConfigError, DataError
from peak_trade.data.sample import synthetic_bars
from peak_trade.strategies.buy_and_hold import BuyAndHold
from peak_trade.studies.backtest import backtest

BARS = synthetic_bars(48)
PRICES = BARS.frame.round()


def test_times_of_opens_are_moved_to_the_closes():
    opens = PRICES.set_axis(PRICES.index - pd.Timedelta("1h"), axis=0)
    moved = as_bars(opens, "BTC/USD", stamp="open")
    assert moved.digest() == as_bars(PRICES, "BTC/USD").digest()
    assert moved.notes == ("The index of BTC/USD held opens: it was moved to the closes, 1h later.",)
    assert as_bars(PRICES, "BTC/USD", stamp="close").notes == ()


@given(
    spelling=st.tuples(*(st.sampled_from([str.lower, str.upper, str.title, " {} ".format]) for _ in COLUMNS)),
    kinds=st.tuples(*(st.sampled_from(["float64", "int64", "float32", "Int64"]) for _ in COLUMNS)),
    order=st.permutations(COLUMNS),
)
def test_spelling_type_and_order_of_the_columns_do_not_matter(spelling, kinds, order):
    spelled = dict(zip(COLUMNS, (write(name) for write, name in zip(spelling, COLUMNS, strict=True)), strict=True))
    frame = PRICES.astype(dict(zip(COLUMNS, kinds, strict=True)))[list(order)].rename(columns=spelled)
    found = as_bars(frame)
    expected = PRICES.astype({name: "float32" for name, kind in zip(COLUMNS, kinds, strict=True) if kind == "float32"})
    pd.testing.assert_frame_equal(found.frame, expected.astype("float64"), check_names=False, check_freq=False)
    is_changed = [any(name != text for name, text in spelled.items()), any(kind != "float64" for kind in kinds)]
    assert len(found.notes) == sum(is_changed)


def test_five_numbered_columns_are_read_in_order():
    found = as_bars(PRICES.set_axis(range(5), axis=1))
    assert found.digest() == as_bars(PRICES).digest()
    assert found.notes[0].startswith("Columns of X/USD were renamed: 0 to open, 1 to high")


def test_a_result_repeats_what_was_converted():
    frame = PRICES.rename(columns=str.title).astype({"Volume": "int64"})
    result = backtest(BuyAndHold(), as_bars(frame, "BTC/USD").between())
    assert result.assumptions[1] == "Columns of BTC/USD were converted to float64: volume from int64."


def test_a_frame_that_is_ambiguous_or_no_number_is_refused():
    with pytest.raises(DataError, match="two columns are close"):
        as_bars(PRICES.assign(Close=1.0))
    with pytest.raises(DataError, match="column volume is"):
        as_bars(PRICES.astype({"volume": str}))
    with pytest.raises(DataError, match="no column open"):
        as_bars(PRICES.set_axis(range(1, 6), axis=1))
    with pytest.raises(ConfigError, match="stamp was 'start'"):
        as_bars(PRICES, stamp="start")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="volume was nan"):
        as_bars(PRICES.assign(Volume=pd.array([pd.NA] + [1] * 47, dtype="Int64")).drop(columns="volume"))
    assert np.isfinite(as_bars(PRICES).frame.to_numpy()).all()
