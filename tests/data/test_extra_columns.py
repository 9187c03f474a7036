"""Extra columns: the join by the time at which values were known, the store and its refusals, and every run of them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peak_trade.causality.check import check_causality, check_panel
from peak_trade.causality.short import check_run
from peak_trade.cli import main
from peak_trade.core.bars import Bars
from peak_trade.core.causality import CausalityVerdict
from peak_trade.core.errors import ConfigError, DataError, StrategyError
from peak_trade.core.extra_columns import ExtraColumn
from peak_trade.data.extra_columns import import_columns, list_columns, load_columns, save_columns
from peak_trade.data.sample import synthetic_bars
from peak_trade.data.store import load_bars, save_bars
from peak_trade.strategies.base import Strategy
from peak_trade.strategies.composite import Composite
from peak_trade.strategies.panel import Panel, PanelStrategy
from peak_trade.strategies.stateful import ClosedBar, Holding, StatefulStrategy
from peak_trade.studies.backtest import backtest
from peak_trade.studies.portfolio.run import run_portfolio
from peak_trade.studies.regime.study import study_regimes
from peak_trade.studies.run_files import RecordedBars, _described_bars
from peak_trade.studies.sweep.run import sweep
from peak_trade.wiring.detectors import make_detector
from peak_trade.wiring.portfolio_settings import PortfolioSettings
from peak_trade.wiring.sleeves import extra_columns_of
from tests.examples import examples

HOUR = 3_600 * 10**9


class Carry(Strategy):
    """Long while the funding rate is above a level."""

    extra_columns = ("funding",)
    level: float = 0.0

    @property
    def warm_up(self) -> int:
        return 0

    def exposure(self, bars: pd.DataFrame) -> np.ndarray:
        return (bars["funding"] > self.level).to_numpy(float)


class StepsByCarry(StatefulStrategy):
    """The rule of `Carry`, one bar after another."""

    extra_columns = ("funding",)

    @property
    def warm_up(self) -> int:
        return 0

    def start(self) -> float:
        return 0.0

    def step(self, state: Any, bar: ClosedBar, holding: Holding) -> tuple[float, float]:
        return float(bar.column("funding") > 0.0), 0.0


class CarryOfAll(PanelStrategy):
    """Long the symbols with a positive funding rate, in equal parts."""

    extra_columns = ("funding",)

    @property
    def warm_up(self) -> int:
        return 0

    def exposure(self, panel: Panel) -> pd.DataFrame:
        return (panel.column("funding") > 0.0).astype(float) / len(panel.symbols)


class SeesTheNextValue(Carry):
    """Joins the rate by the start of its period: the value that becomes known at the end is there at the start."""

    def exposure(self, bars: pd.DataFrame) -> np.ndarray:
        return (bars["funding"].shift(-8) > 0.0).to_numpy(float)


class SeesTheNextValueOfAll(CarryOfAll):
    """The same for all symbols."""

    def exposure(self, panel: Panel) -> pd.DataFrame:
        return (panel.column("funding").shift(-8) > 0.0).astype(float) / len(panel.symbols)


class ForgetsToNameIt(CarryOfAll):
    extra_columns = ()


class NamesNoTuple(Carry):
    extra_columns = "funding"  # type: ignore[assignment]


def funded(n_bars: int = 240, seed: int = 0, symbol: str = "BTC/USDT") -> Bars:
    bars = dataclasses.replace(synthetic_bars(n_bars, seed, ("funding",)), symbol=symbol, notes=())
    return bars.with_columns(*bars.extra)


def column_of(times: list[int], values: list[float], name: str = "funding") -> ExtraColumn:
    return ExtraColumn(name, np.array(times, dtype=np.int64), np.array(values))


TABLES = st.dictionaries(st.integers(0, 60), st.sampled_from([0.5, -1.0, 2.0, float("nan"), -0.0]), min_size=1)


@settings(max_examples=examples(60), deadline=None)
@given(table=TABLES, times=st.lists(st.integers(0, 60), min_size=1, unique=True))
def test_a_close_sees_the_latest_value_known_at_or_before_it(table: dict[int, float], times: list[int]) -> None:
    column = column_of(sorted(table), [table[time] for time in sorted(table)])
    closes = np.array(sorted(times), dtype=np.int64)
    for close, value, age in zip(closes.tolist(), column.at(closes), column.age_at(closes), strict=True):
        known = [time for time in table if time <= close]
        assert repr(float(value)) == repr(table[max(known)] if known else float("nan"))
        assert age == close - max(known) if known else np.isnan(age)


@settings(max_examples=examples(6), deadline=None)
@given(seed=st.integers(0, 999), cut=st.integers(0, 58), part=st.sampled_from([Carry, StepsByCarry]))
def test_values_known_after_a_close_never_change_the_run_up_to_it(seed: int, cut: int, part: Any) -> None:
    bars = funded(60, seed)
    (column,) = bars.extra
    draw = np.random.default_rng(seed)
    close = int(bars.times[cut])
    kept = column.known_at <= close
    later = np.unique(draw.integers(close + 1, close + 40 * HOUR, 9))
    other = column_of(
        [*column.known_at[kept].tolist(), *later.tolist()],
        [*column.values[kept].tolist(), *draw.standard_normal(later.size).tolist()],
    )
    before, after = (backtest(part(), each, causality_check=False) for each in (bars, bars.with_columns(other)))
    signals = [[repr(each) for each in run.events if each.ts_event <= close] for run in (before, after)]
    assert signals[0] == signals[1]
    np.testing.assert_array_equal(before.equity_values[: cut + 1], after.equity_values[: cut + 1])
    early = dataclasses.replace(bars, frame=bars.frame.iloc[: cut + 1])
    assert early.digest() == dataclasses.replace(early, extra=(other,)).digest()


@pytest.mark.long
def test_every_kind_of_strategy_sees_the_same_values() -> None:
    bars = funded()
    expected = backtest(Carry(), bars)
    assert len(expected.fill_list) > 10
    stepped = backtest(StepsByCarry(), bars)
    np.testing.assert_array_equal(stepped.equity_values, expected.equity_values)
    np.testing.assert_array_equal(backtest(Composite(members=(Carry(),)), bars).equity_values, expected.equity_values)
    entry = {"name": f"{__name__}:CarryOfAll", "symbols": ["BTC/USDT"]}
    panel = run_portfolio(PortfolioSettings.parse({"strategies": [entry]}, "portfolio"), [bars])
    np.testing.assert_array_equal(panel.run.equity_values, expected.equity_values)


def test_a_sweep_gives_every_set_the_column() -> None:
    bars = funded(120)
    found = sweep(Carry, {"level": [-0.5, 0.0]}, bars, n_processes=1, causality_check=False)
    assert found.winner.digests["data"] == backtest(Carry(), bars, causality_check=False).digests["data"]
    assert len(found.table) == 2
    assert found.table["total_return"].nunique() == 2


@pytest.mark.parametrize(("leak", "clean"), [(SeesTheNextValue, Carry)])
def test_the_check_rewrites_the_columns(leak: Any, clean: Any) -> None:
    bars = funded(400)
    assert not check_causality(leak(), bars, n_cuts=8).is_causal
    assert check_causality(clean(), bars, n_cuts=8).is_causal
    (short,) = check_run([(leak(), bars)])
    assert short.verdict is CausalityVerdict.LOOKS_AHEAD


def test_the_check_rewrites_the_columns_of_each_symbol() -> None:
    bars = [funded(150, seed, symbol) for seed, symbol in enumerate(("A/USD", "B/USD"))]
    assert [report.is_causal for report in check_panel(CarryOfAll(), bars, n_cuts=3)] == [True, True]
    assert [report.is_causal for report in check_panel(SeesTheNextValueOfAll(), bars, n_cuts=3)] == [False, False]
    (short,) = check_run([(SeesTheNextValueOfAll(), bars)])
    assert short.verdict is CausalityVerdict.LOOKS_AHEAD


def test_the_check_can_not_see_that_a_table_states_its_instants_too_early() -> None:
    """docs/causality.md says so; only the source of the table knows when its values were published."""
    bars = funded(300)
    (column,) = bars.extra
    early = ExtraColumn("funding", column.known_at - 8 * HOUR, column.values)
    assert check_causality(Carry(), bars.with_columns(early), n_cuts=8).is_causal


def test_a_panel_has_the_values_of_each_symbol_at_every_close() -> None:
    bars = [funded(60, 1, "A/USD"), funded(60, 2, "B/USD")]
    lacking = Bars.over(
        bars[1].frame.drop(bars[1].frame.index[20:30]), "B/USD", bars[1].timeframe, "generated", (), bars[1].extra
    )
    panel = Panel.of([lacking, bars[0]], ("funding",))
    for symbol, part in (("A/USD", bars[0]), ("B/USD", bars[1])):
        np.testing.assert_array_equal(panel.column("funding")[symbol], part.extra[0].at(panel.times))
    with pytest.raises(StrategyError, match=r"the panel has no column open_interest\. Name it in extra_columns"):
        panel.column("open_interest")
    bar = ClosedBar(0, 1.0, 1.0, 1.0, 1.0, 1.0, (("funding", 0.5),))
    assert (bar.column("funding"), hash(bar)) == (0.5, hash(ClosedBar(0, 1.0, 1.0, 1.0, 1.0, 1.0, bar.extra)))
    with pytest.raises(StrategyError, match=r"the bar has no column open_interest\. Name it in extra_columns"):
        bar.column("open_interest")


class NamesByParameter(Carry):
    source: str = "funding"

    @property
    def extra_columns(self) -> tuple[str, ...]:  # type: ignore[override]
        return (self.source,)


def test_names_that_depend_on_a_parameter_are_those_of_a_strategy_and_not_of_its_class() -> None:
    assert extra_columns_of(NamesByParameter(source="interest")) == ("interest",)
    with pytest.raises(ConfigError, match=r"extra_columns is a property.* Write a tuple of names"):
        extra_columns_of(NamesByParameter)


def test_what_gives_no_columns_refuses_in_one_line(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bars = funded(200)
    entry = {"name": f"{__name__}:ForgetsToNameIt", "symbols": ["BTC/USDT"]}
    with pytest.raises(StrategyError, match="the panel has no column funding"):
        run_portfolio(PortfolioSettings.parse({"strategies": [entry]}, "p"), [bars])
    with pytest.raises(ConfigError, match=r"BTC/USDT 1h: the bars have no extra column funding\. There are none\."):
        backtest(Carry(), dataclasses.replace(bars, extra=()))
    with pytest.raises(ConfigError, match=r"extra_columns was 'funding': write a tuple of names"):
        backtest(NamesNoTuple(), bars)
    with pytest.raises(ConfigError, match="carry: it reads the extra column funding, which a regime study does not"):
        study_regimes(Carry(), bars, make_detector("rules", bars.timeframe, {}))
    save_bars(bars)
    save_columns(bars.extra, bars.exchange, bars.symbol)
    arguments = ["session", "run", "--strategy", f"{__name__}:Carry", "--symbol", "BTC/USDT", "--timeframe", "1h"]
    for options in (["--feed", "recorded", "--exchange", "generated"], ["--mode", "testnet"]):
        assert main([*arguments, *options]) == 2
        refusal = capsys.readouterr().err.splitlines()
        assert refusal[-1].startswith("peak-trade: carry: it reads the extra column funding, which a session does not")


# The store


def table(**columns: Any) -> pd.DataFrame:
    times = pd.date_range("2024-01-01", periods=4, freq="8h", tz="UTC")
    return pd.DataFrame({"known_at": times, "funding": [1.0, np.nan, 3.0, 4.0], **columns})


def written(folder: Path, frame: pd.DataFrame) -> Path:
    path = folder / "table.parquet"
    frame.to_parquet(path)
    return path


def test_an_import_stores_every_numeric_column_and_states_what_it_did(home: Path, tmp_path: Path) -> None:
    path = written(tmp_path, table(count=[1, 2, 3, 4], venue="x"))
    done = import_columns(path, "BTC/USDT", "binance")
    assert [(each.stored.name, each.n_added, each.stored.n_nan) for each in done.saved] == [
        ("funding", 4, 1),
        ("count", 4, 0),
    ]
    assert [name.partition(" ")[0] for name in done.left_out] == ["venue"]
    assert "multiple of 8 hours" in done.remark
    assert "--delay" in done.remark
    assert list_columns() == sorted((each.stored for each in done.saved), key=lambda each: each.name)
    (column,) = load_columns("BTC/USDT", "binance", ["funding"])
    assert column.known_at[1] - column.known_at[0] == 8 * HOUR
    again = import_columns(path, "BTC/USDT", "binance")
    assert [(each.n_added, each.n_known, each.stored.digest) for each in again.saved] == [
        (0, 4, each.stored.digest) for each in done.saved
    ]


def test_a_delay_moves_the_instants_and_a_later_table_extends_the_column(home: Path, tmp_path: Path) -> None:
    names = {"rate": "funding"}
    first = import_columns(written(tmp_path, table().iloc[:3]), "BTC/USDT", "binance", names, delay="8h")
    assert not first.remark
    done = import_columns(written(tmp_path, table()), "BTC/USDT", "binance", names, delay="8h")
    assert (done.saved[0].n_added, done.saved[0].n_known) == (1, 3)
    (column,) = load_columns("BTC/USDT", "binance", ["rate"])
    assert column.known_at[0] == pd.Timestamp("2024-01-01 08:00", tz="UTC").value
    changed = written(tmp_path, table(funding=[1.0, np.nan, 3.5, 4.0]))
    with pytest.raises(
        DataError, match=r"rate: the value of 2024-01-02 00:00:00Z is 3\.5, stored is 3\.0\. Pass --replace"
    ):
        import_columns(changed, "BTC/USDT", "binance", names, delay="8h")
    replaced = import_columns(changed, "BTC/USDT", "binance", names, delay="8h", replace=True)
    assert (replaced.saved[0].n_known, replaced.saved[0].n_replaced) == (3, 1)


TIMES = table()["known_at"]
BAD: dict[str, tuple[pd.DataFrame, list[str], str]] = {
    "naive": (table(known_at=TIMES.dt.tz_localize(None)), [], "have no time zone. State it with tz_localize"),
    "numbers": (table(known_at=TIMES.astype("int64")), [], "column known_at is int64. Store instants as timestamps"),
    "unsorted": (table().iloc[[0, 2, 1, 3]], [], "2024-01-01 08:00:00Z (row 2) goes back in time"),
    "twice": (table().iloc[[0, 1, 1, 3]], [], "2024-01-01 08:00:00Z (row 2) appears twice"),
    "no instant": (table(known_at=[TIMES[0], None, TIMES[2], TIMES[3]]), [], "has no instant in row 1"),
    "future": (table(known_at=TIMES + pd.Timedelta("40000D")), [], "is in the future"),
    "infinite": (table(funding=[1.0, np.inf, 1.0, 1.0]), [], "the value was inf at 2024-01-01 08:00:00Z"),
    "text": (table(funding=["a", "b", "c", "d"]), ["--column", "f=funding"], "Give numbers"),
    "no numbers": (table(funding=["a", "b", "c", "d"]), [], "no column has numbers"),
    "no column": (table(), ["--column", "f=fundng"], "no column fundng; the columns are known_at, funding"),
    "no known_at": (
        table().rename(columns={"known_at": "time"}),
        [],
        "Name the column of the instants with --known-at",
    ),
    "name": (table(), ["--column", "Rate=funding"], "choose a name of lower-case letters"),
    "taken": (table(), ["--column", "close=funding"], "not a column of bars"),
    "no rows": (table().iloc[:0], [], "there are no rows"),
    "delay": (table(), ["--delay", "soon"], "soon"),
}


@pytest.mark.parametrize("case", sorted(BAD))
def test_bad_tables_are_refused_in_one_line(
    case: str, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frame, options, message = BAD[case]
    path = written(tmp_path, frame)
    arguments = ["data", "import-columns", str(path), "--symbol", "BTC/USDT", "--exchange", "binance", *options]
    assert main(arguments) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert message in lines[0]
    assert lines[0].count(str(path)) <= 1
    assert list_columns() == []


def test_a_file_that_is_no_table_and_a_missing_one_are_refused(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "text.parquet").write_text("hello")
    for name, message in (("text.parquet", "this is no Parquet file"), ("none.parquet", "could not be read")):
        arguments = ["data", "import-columns", str(tmp_path / name), "--symbol", "BTC/USDT", "--exchange", "binance"]
        assert main(arguments) == 2
        assert message in capsys.readouterr().err


def test_verbs_list_and_remove_columns(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = ["--symbol", "BTC/USDT", "--exchange", "binance"]
    assert main(["data", "import-columns", str(written(tmp_path, table())), *place, "--json"]) == 0
    (shown,) = json.loads(capsys.readouterr().out)["columns"]
    assert (shown["name"], shown["n_values"], shown["n_nan"], shown["n_added"]) == ("funding", 4, 1, 4)
    assert main(["data", "list-columns"]) == 0
    assert shown["digest"][:12] in capsys.readouterr().out
    assert main(["data", "remove-columns", "fundin", *place]) == 2
    assert "there is no extra column fundin. Did you mean funding?" in capsys.readouterr().err
    assert main(["data", "remove-columns", "funding", *place]) == 0
    assert list_columns() == []


def test_loaded_bars_state_when_a_column_is_known(home: Path) -> None:
    bars = dataclasses.replace(funded(100), extra=(), notes=())
    save_bars(bars)
    times = bars.times
    save_columns(
        [column_of([int(times[10])], [1.0]), column_of([int(times[-1]) + 1], [1.0], "late")], "generated", "BTC/USDT"
    )
    loaded = load_bars("BTC/USDT", "1h", columns=["funding"])
    assert "NaN at the 10 bars before; the oldest value that a bar sees is 89 hours old" in loaded.notes[-1]
    assert np.isnan(loaded.for_strategy(["funding"])["funding"]).sum() == 10
    with pytest.raises(DataError, match=r"late of BTC/USDT is known from .* after the last bar"):
        load_bars("BTC/USDT", "1h", columns=["late"])
    with pytest.raises(DataError, match=r"generated BTC/USDT: there is no extra column fundin\. Did you mean funding"):
        load_bars("BTC/USDT", "1h", columns=["fundin"])


def test_a_recorded_run_loads_its_columns_and_names_a_changed_one(home: Path) -> None:
    bars = funded(100)
    save_bars(bars)
    save_columns(bars.extra, bars.exchange, bars.symbol)
    record = RecordedBars(**json.loads(json.dumps(_described_bars(load_bars("BTC/USDT", "1h", columns=["funding"])))))
    same, change = record.load()
    assert not change
    assert same.digest() == record.digest
    (column,) = bars.extra
    longer = column_of([*column.known_at.tolist(), int(bars.times[-1]) + HOUR], [*column.values.tolist(), 9.0])
    save_columns([longer], bars.exchange, bars.symbol)
    assert record.load()[1] == ""
    save_columns([ExtraColumn("funding", column.known_at, -column.values)], bars.exchange, bars.symbol, replace=True)
    assert record.load()[1].endswith("values of the bars or of funding were changed.")


def test_a_damaged_file_is_named(home: Path) -> None:
    (saved,) = save_columns([column_of([1, 2], [1.0, 2.0])], "binance", "BTC/USDT")
    content = saved.stored.path.read_bytes()
    saved.stored.path.write_bytes(content[: len(content) // 2])
    for read in (list_columns, lambda: load_columns("BTC/USDT", "binance", ["funding"])):
        with pytest.raises(DataError, match="this file of extra columns is damaged"):
            read()


@pytest.mark.parametrize(
    ("series", "message"),
    [
        (pd.Series([1.0], pd.DatetimeIndex(["2024-01-01"])), "the index must hold instants with a time zone"),
        (pd.Series([1.0], [3]), "the index must hold instants with a time zone"),
        (pd.Series(["a"], pd.DatetimeIndex(["2021-01-01"], tz="UTC")), "Convert them to float64"),
        (pd.Series([1.0, 2.0], pd.DatetimeIndex(["2021-01-01"] * 2, tz="UTC")), "appears twice"),
    ],
)
def test_a_series_without_instants_is_refused(series: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        funded(30).with_column("funding", series)
