"""A strategy that changes its bars changes nothing else: fills, other strategies, digests and later calls."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peak_trade.causality.check import check_causality
from peak_trade.core.bar_frame import COLUMNS, private_frame
from peak_trade.core.bars import Bars
from peak_trade.core.compute import Compute, IndicatorCache
from peak_trade.core.errors import StrategyError
from peak_trade.core.time import Timeframe
from peak_trade.core.values import Instrument
from peak_trade.data.sample import synthetic_bars
from peak_trade.engine.market import Market
from peak_trade.journal.events import BarEvent
from peak_trade.regimes.rules import RulesDetector
from peak_trade.regimes.states import FilteredRegimes, SmoothedRegimes
from peak_trade.sessions.bar_buffer import BarBuffer
from peak_trade.strategies.base import Strategy
from peak_trade.strategies.composite import Composite
from peak_trade.studies.backtest import backtest
from peak_trade.studies.portfolio.run import run_portfolio
from peak_trade.studies.regime.strategy import RegimeAware
from peak_trade.studies.regime.study import study_regimes
from peak_trade.studies.sweep.run import sweep
from peak_trade.wiring.portfolio_settings import PortfolioSettings
from tests.examples import examples, mostly_long

Write = Callable[[pd.DataFrame], Any]
N_BARS = 120


def _unlocked(array: np.ndarray) -> np.ndarray:
    array.setflags(write=True)
    return array


def _base(array: np.ndarray) -> np.ndarray:
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


IN_PLACE: Any = {"inplace": True}
PANDAS_WRITES: dict[str, Write] = {
    "assignment": lambda frame: frame.__setitem__("open", frame["open"] * 0.5),
    "loc": lambda frame: frame.loc.__setitem__((slice(None), "open"), 1.0),
    "loc of a row": lambda frame: frame.loc.__setitem__(frame.index[3], 1.0),
    "iloc": lambda frame: frame.iloc.__setitem__((slice(None), 0), 1.0),
    "at": lambda frame: frame.at.__setitem__((frame.index[3], "open"), 1.0),
    "mask": lambda frame: frame.__setitem__(frame > 0.0, 1.0),
    "in place": lambda frame: frame.mask(frame > 0.0, 1.0, **IN_PLACE),
    "update": lambda frame: frame.update(frame * 2.0),
    "arithmetic": lambda frame: frame.__imul__(2.0),
    "series": lambda frame: frame["open"].iloc.__setitem__(slice(None), 1.0),
    "pop": lambda frame: frame.pop("volume"),
    "insert": lambda frame: frame.insert(0, "mean", 1.0),
    "own column": lambda frame: frame.__setitem__("mean", frame["close"].rolling(5).mean()),
    "columns": lambda frame: setattr(frame, "columns", list("abcde")),
    "index": lambda frame: setattr(frame, "index", frame.index[::-1]),
    "index name": lambda frame: setattr(frame.index, "name", "when"),
    "index values": lambda frame: _unlocked(frame.index.values).__setitem__(slice(None), np.datetime64(0, "ns")),
    "index frequency": lambda frame: setattr(frame.index, "freq", "h"),
}
ARRAY_WRITES: dict[str, Write] = {
    "values": lambda frame: frame["open"].values.__setitem__(slice(None), 1.0),
    "to_numpy": lambda frame: frame.to_numpy().__setitem__(slice(None), 1.0),
    "asarray": lambda frame: np.asarray(frame["open"]).__setitem__(slice(None), 1.0),
    "array": lambda frame: frame["open"].array.__setitem__(slice(None), 1.0),
    "unlock": lambda frame: _unlocked(frame["open"].to_numpy()).__setitem__(slice(None), 1.0),
    "unlock all": lambda frame: _unlocked(frame.to_numpy()).__setitem__(slice(None), 1.0),
    "unlock a view": lambda frame: _unlocked(frame["open"].to_numpy()[::2]).__setitem__(slice(None), 1.0),
    "unlock the base": lambda frame: _unlocked(_base(frame["open"].to_numpy())).__setitem__(slice(None), 1.0),
    "index memory": lambda frame: frame.index.asi8.__setitem__(slice(None), 0),
    "index base": lambda frame: _unlocked(_base(frame.index.asi8)).__setitem__(slice(None), 0),
    "out": lambda frame: np.multiply(frame["open"].to_numpy(), 2.0, out=frame["open"].to_numpy()),
}
WRITES = PANDAS_WRITES | ARRAY_WRITES


class Writer(Strategy):
    """Long above the mean of ten bars; applies a write to its bars first or last, and to bars kept from before."""

    write: str = ""
    is_last: bool = True
    catches: bool = True

    @property
    def warm_up(self) -> int:
        return 9

    def exposure(self, bars: pd.DataFrame) -> np.ndarray:
        KEPT.append(bars)
        close = bars["close"].copy()
        if self.write and not self.is_last:
            self._apply()
        exposure = (close > close.rolling(10).mean()).to_numpy(np.float64)
        if self.write and self.is_last:
            self._apply()
        return exposure

    def exposure_by(self, bars: pd.DataFrame, compute: Compute) -> np.ndarray:
        compute(_doubled, bars["close"].to_numpy())
        return self.exposure(bars)

    def _apply(self) -> None:
        for frame in KEPT:
            try:
                WRITES[self.write](frame)
            except (ValueError, KeyError, TypeError):
                if not self.catches:
                    raise


KEPT: list[pd.DataFrame] = []


@pytest.fixture(autouse=True)
def _forget() -> None:
    KEPT.clear()


def _doubled(values: np.ndarray) -> np.ndarray:
    return values * 2.0


def _state(bars: Bars) -> tuple[str, str, list[str]]:
    index = pd.DatetimeIndex(bars.frame.index)
    return bars.digest(), f"{index.name} {index.freq}", list(bars.frame.columns)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("is_last", mostly_long([False, True], 1))
@pytest.mark.parametrize("write", mostly_long(WRITES, 1))
def test_backtests_do_not_depend_on_writes(write: str, is_last: bool) -> None:
    bars, plain = synthetic_bars(N_BARS), Writer()
    before = _state(bars)
    writer = Writer(write=write, is_last=is_last)
    expected = backtest([plain, plain], bars)
    result = backtest([writer, plain], bars)
    assert _state(bars) == before
    assert result.digests["data"] == expected.digests["data"]
    if is_last:
        assert result.equity_values.tobytes() == expected.equity_values.tobytes()
        members = Composite(members=(plain, plain)).exposure(bars.for_strategy())
        written = Composite(members=(writer, plain)).exposure(bars.for_strategy())
        assert np.array_equal(written, members, equal_nan=True)


@pytest.mark.parametrize("write", mostly_long(ARRAY_WRITES, 5))
def test_writes_to_arrays_are_refused(write: str) -> None:
    for evaluate in (backtest, check_causality):
        KEPT.clear()
        with pytest.raises(StrategyError, match=r"exposure raised ValueError \(.*(read-only|WRITEABLE)"):
            evaluate(Writer(write=write, catches=False), synthetic_bars(N_BARS))


@settings(max_examples=examples(40), deadline=None)
@given(st.lists(st.sampled_from(sorted(WRITES)), max_size=6))
@pytest.mark.filterwarnings("ignore")
def test_no_sequence_of_writes_reaches_the_bars(writes: list[str]) -> None:
    bars = synthetic_bars(N_BARS)
    market, before = Market.of([bars]), _state(bars)
    handed = bars.for_strategy()
    member = private_frame(handed)
    for write in writes:
        try:
            WRITES[write](member)
        except (ValueError, KeyError, TypeError):
            continue
    pd.testing.assert_frame_equal(handed, synthetic_bars(N_BARS).frame)
    assert _state(bars) == before
    assert all(np.array_equal(getattr(market.columns[0], name), synthetic_bars(N_BARS).frame[name]) for name in COLUMNS)


def test_bars_do_not_follow_the_frame_they_were_made_of() -> None:
    source = synthetic_bars(N_BARS).frame.copy()
    source.index = source.index.copy(deep=True)
    bars = Bars(source, "X/USD", Timeframe.parse("1h"))
    before = bars.digest()
    _unlocked(source["open"].to_numpy())[:] = 1.0
    source.index.asi8[:] = 0
    assert bars.digest() == before


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("write", mostly_long(WRITES, 8))
def test_shared_indicators_can_not_be_changed(write: str) -> None:
    bars, shared = synthetic_bars(N_BARS), IndicatorCache()
    Writer(write=write).exposure_by(bars.for_strategy(), shared)
    indicated = shared(_doubled, bars.for_strategy()["close"].to_numpy())
    assert np.array_equal(indicated, 2.0 * synthetic_bars(N_BARS).frame["close"])
    assert indicated is shared(_doubled, bars.for_strategy()["close"].to_numpy())
    with pytest.raises(ValueError, match="WRITEABLE"):
        indicated.setflags(write=True)


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("write", WRITES)
def test_sessions_keep_their_bars(write: str) -> None:
    bars = synthetic_bars(N_BARS)
    buffer = BarBuffer(Instrument(bars.symbol), bars.timeframe, N_BARS, bars.exchange)
    for time, row in zip(bars.times.tolist(), bars.frame.to_numpy().tolist(), strict=True):
        buffer.add(BarEvent(time, bars.symbol, *row))
        if buffer.n_bars > N_BARS - 3:
            Writer(write=write).exposure(buffer.bars().for_strategy())
        pd.testing.assert_frame_equal(buffer.bars().frame, bars.frame.iloc[: buffer.n_bars], check_freq=False)
    assert buffer.bars().digest() == bars.digest()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("write", ["assignment", "index memory", "unlock the base"])
def test_parts_of_a_regime_strategy_keep_their_bars(write: str) -> None:
    bars = synthetic_bars(800)
    writer, handed = Writer(write=write), bars.for_strategy()
    RegimeAware(inner=writer, sideways_strategy=writer, mode="switch", detector=RulesDetector()).exposure(handed)
    pd.testing.assert_frame_equal(handed, bars.frame)


class WritingDetector(RulesDetector):
    """The rules detector, which writes into its bars afterwards."""

    write: str

    def filter(self, bars: pd.DataFrame) -> FilteredRegimes:
        return self._written(bars, super().filter)

    def smooth(self, bars: pd.DataFrame) -> SmoothedRegimes:
        return self._written(bars, super().smooth)

    def _written(self, bars: pd.DataFrame, detect: Callable[[pd.DataFrame], Any]) -> Any:
        found = detect(bars.set_axis(bars.index.copy(deep=True)))
        with suppress(ValueError, KeyError, TypeError):
            WRITES[self.write](bars)
        return found


def _sweep(write: str) -> Any:
    bars = synthetic_bars(N_BARS)
    before = _state(bars)
    found = sweep(Writer, {"write": ["", write, ""]}, bars)
    assert _state(bars) == before
    assert len(set(found.table["total_return"])) == 1
    assert found.winner.digests["data"] == sweep(Writer, {"write": [""]}, bars).winner.digests["data"]


def _regime(write: str) -> None:
    bars = synthetic_bars(900)
    before = _state(bars)
    found = [
        study_regimes(Writer(write=each), bars, detector)
        for each, detector in (("", RulesDetector()), (write, WritingDetector(write=write)))
    ]
    assert _state(bars) == before
    assert np.array_equal(found[0].labels, found[1].labels)
    assert found[0].result.equity_values.tobytes() == found[1].result.equity_values.tobytes()
    assert found[0].lookahead_cost().equals(found[1].lookahead_cost())
    assert _state(bars) == before


def _portfolio(write: str) -> None:
    bars = synthetic_bars(N_BARS)
    before = _state(bars)
    entry = {"name": f"{__name__}:Writer", "symbol": bars.symbol}
    curves = []
    for each in ("", write):
        entries = [entry | {"label": "one", "parameters": {"write": each}}, entry | {"label": "two"}]
        settings = PortfolioSettings.parse({"strategies": entries}, "portfolio")
        curves.append(run_portfolio(settings, [bars]).equity.to_numpy().tobytes())
    assert _state(bars) == before
    assert curves[0] == curves[1]


STUDIES = {"sweep": _sweep, "regime": _regime, "portfolio": _portfolio}
USED_WRITES = ["assignment", "own column", "pop", "index name", "index memory", "unlock the base"]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("write", mostly_long(USED_WRITES, 1))
@pytest.mark.parametrize("study", mostly_long(STUDIES, 1))
def test_every_study_keeps_its_bars(study: str, write: str, registry: Path) -> None:
    STUDIES[study](write)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("study", mostly_long(STUDIES, 1))
def test_a_study_that_hands_out_its_own_frame_is_found(
    study: str, registry: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Bars, "for_strategy", lambda bars, names=(): bars.frame)
    with pytest.raises(AssertionError):
        STUDIES[study]("own column")


@pytest.mark.filterwarnings("ignore")
def test_a_regime_strategy_that_hands_out_its_own_frame_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("peak_trade.studies.regime.strategy.private_frame", lambda frame: frame)
    with pytest.raises(AssertionError):
        test_parts_of_a_regime_strategy_keep_their_bars("assignment")
