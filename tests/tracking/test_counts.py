"""No rename, resampling, rescaling or dropped bar starts the count of trials again."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from peak_trade.core.bars import Bars, as_bars
from peak_trade.core.errors import ConfigError
from peak_trade.core.time import Timeframe
from peak_trade.data.resampling import resample
from peak_trade.data.sample import sample_bars
from peak_trade.tracking import trials_of
from peak_trade.tracking.assets import Closes, asset_name, have_same_returns, is_same_asset
from peak_trade.tracking.trials import Evaluation, Observations, record_trials, week_ends, weekly_returns
from tests.examples import mostly_long


def jumping(n_bars: int) -> Bars:
    """Return hourly bars of which single ones move by several percent."""
    close = 100.0 * np.exp(np.cumsum(0.008 * np.random.default_rng(3).standard_t(2.5, n_bars)))
    index = pd.date_range("2023-01-01 01:00", periods=n_bars, freq="h", tz="UTC", unit="ns", name="close_time")
    frame = pd.DataFrame({name: close for name in ("open", "high", "low", "close")}, index)
    return Bars(frame.assign(volume=1.0), "BTC/USDT", Timeframe.parse("1h"))


JUMPS = jumping(24 * 120)
LONG = sample_bars("BTC/USDT", n_bars=24 * 120)
SHORT = sample_bars("BTC/USDT", n_bars=24 * 12)


def coarser(bars: Bars, timeframe: str) -> Bars:
    return resample(bars, Timeframe.parse(timeframe)).bars


def scaled(bars: Bars, factor: float) -> Bars:
    return replace(bars, frame=bars.frame.mul([factor] * 4 + [1.0]))


def without(bars: Bars, place: int) -> Bars:
    return replace(bars, frame=bars.frame.drop(bars.frame.index[place]))


CHANGES = {
    "an unknown new name": lambda bars: replace(bars, symbol="FOO/BAR"),
    "another exchange": lambda bars: replace(bars, exchange="kraken"),
    "an alias": lambda bars: replace(bars, symbol="XBT-USDT", exchange="other"),
    "another timeframe": lambda bars: coarser(bars, "4h"),
    "another timeframe and name": lambda bars: replace(coarser(bars, "4h"), symbol="FOO/BAR"),
    "daily bars of another name": lambda bars: replace(coarser(bars, "1d"), symbol="FOO/BAR"),
    "one bar dropped": lambda bars: without(bars, 30),
    "one bar dropped and another name": lambda bars: replace(without(bars, 23), symbol="FOO/BAR"),
    "the first bar dropped": lambda bars: without(bars, 0),
    "scaled prices": lambda bars: scaled(bars, 1_000.0),
    "scaled prices and another name": lambda bars: replace(scaled(bars, 1e-3), symbol="FOO/BAR"),
    "no name": lambda bars: as_bars(bars.frame),
    "the last third": lambda bars: replace(bars, frame=bars.frame.iloc[-len(bars) // 3 :], symbol="FOO/BAR"),
}


def record(bars: Bars, *configs: str, ratios: tuple[float, ...] = (), last: int | None = None) -> None:
    k = len(configs)
    sharpe = np.array(ratios or (0.01,) * k)
    first_week, ends = week_ends(bars.times, bars.timeframe)
    weeks = np.random.default_rng(len(configs[0])).normal(0.0, 0.02, (k, ends.size))
    observed = Observations(len(bars) - 1, bars.bars_per_year, first_week, sharpe, np.zeros(k), np.full(k, 3.0), weeks)
    times = bars.times if last is None else bars.times[: last + 1]
    record_trials(Evaluation.of(configs, "", bars.digest(), [bars], times), observed)


@pytest.mark.parametrize("bars", mostly_long([SHORT, LONG], 1), ids=["12 days", "120 days"])
@pytest.mark.parametrize("change", CHANGES)
def test_the_count_continues_after(change, bars, home):
    if change.startswith("daily") and bars is SHORT:
        bars = sample_bars("BTC/USDT", n_bars=24 * 25)
    record(bars, "one", "two")
    changed = CHANGES[change](bars)
    assert trials_of(changed).n == 2
    record(changed, "three")
    assert trials_of(bars).n == trials_of(changed).n == 3


@given(st.lists(st.sampled_from(sorted(CHANGES.keys() - {"the last third"})), max_size=4), st.booleans())
def test_the_count_continues_after_any_changes_in_a_row(changes, is_cut):
    """Whatever is done to the bars that were tried, their closes remain those of one asset."""
    changed = CHANGES["the last third"](LONG) if is_cut else LONG
    for change in changes:
        with suppress(ConfigError):  # bars that are as coarse already
            changed = CHANGES[change](changed)
    assert is_same_asset(Closes.of(changed), Closes.of(LONG))


@given(st.data())
def test_a_window_that_ends_within_a_day_is_of_the_same_asset(data):
    """The close of a day that is cut short is not compared with the close at the end of that day."""
    first, second = (
        data.draw(st.tuples(st.integers(0, 900), st.integers(24 * 31, 1_900)), label="window") for _ in range(2)
    )
    windows = [replace(JUMPS, frame=JUMPS.frame.iloc[start : start + n]) for start, n in (first, second)]
    one, two = (without(each, data.draw(st.integers(0, len(each) - 1), label="dropped")) for each in windows)
    shared = min(each.times[-1] for each in (one, two)) - max(each.times[0] for each in (one, two))
    renamed = Closes.of(replace(two, symbol="FOO/BAR"))
    assert is_same_asset(renamed, Closes.of(JUMPS))
    assert is_same_asset(Closes.of(one), renamed) or shared < 5 * 24 * 3_600 * 10**9


@pytest.mark.parametrize("timeframe", ["5h", "7h", "9h", "36h", "2d", "1w"])
def test_bars_that_do_not_divide_a_day_are_of_the_same_asset(timeframe):
    changed = Closes.of(replace(coarser(JUMPS, timeframe), symbol="FOO/BAR"))
    assert is_same_asset(changed, Closes.of(JUMPS))


def test_days_that_end_at_another_hour_are_linked_to_each_other():
    days = JUMPS.frame.iloc[7::24]
    both = [Bars(frame, name, Timeframe.parse("1d")) for frame, name in ((days, "A/USD"), (days.iloc[20:75], "B/USD"))]
    assert is_same_asset(*map(Closes.of, both))


def other(bars: Bars, symbol: str = "ETH/USDT", seed: int = 5) -> Bars:
    steps = np.random.default_rng(seed).normal(0.0, 0.006, len(bars))
    close = 100.0 * np.exp(np.cumsum(steps))
    frame = pd.DataFrame({name: close for name in ("open", "high", "low", "close")}, bars.frame.index)
    return Bars(frame.assign(volume=1.0), symbol, bars.timeframe)


@pytest.mark.parametrize("bars", [LONG, SHORT], ids=["120 days", "12 days"])
def test_another_asset_has_a_count_of_its_own(bars, home):
    record(bars, "one", "two")
    record(other(bars), "one")
    record(as_bars(other(bars, seed=6).frame), "one")
    assert trials_of(bars).n == 2
    assert trials_of(other(bars)).n == 1
    assert trials_of([bars, other(bars)]).n == 3
    assert trials_of(bars.frame).n == 2
    assert trials_of(as_bars(other(bars, seed=6).frame)).n == 1
    assert trials_of(as_bars(other(bars, seed=7).frame)).n == 0


def test_prices_that_do_not_move_show_no_asset():
    flat = [Closes.of(Bars(other(LONG).frame * 0.0 + 5.0, name, LONG.timeframe)) for name in ("A/USD", "B/USD")]
    assert not is_same_asset(*flat)


@given(st.floats(0.9, 0.999), st.integers(0, 20))
def test_the_correlation_of_daily_returns_decides_on_long_spans(correlation, seed):
    rng = np.random.default_rng(seed)
    days = pd.date_range("2024-01-02", periods=400, freq="D", tz="UTC", unit="ns")
    steps = rng.normal(0.0, 0.03, (2, 400))
    steps[1] = correlation * steps[0] + np.sqrt(1.0 - correlation**2) * steps[1]
    made = [
        Closes("A/USD", "x", "1d", 86_400 * 10**9, int(days[0].value // (86_400 * 10**9)), np.cumsum(part))
        for part in steps
    ]
    observed = np.corrcoef(np.diff(made[0].values), np.diff(made[1].values))[0, 1]
    assert have_same_returns(*made) is bool(observed > 0.98)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("XBT/USD", "BTCUSD"), ("XXBT-USD", "BTCUSD"), ("btcusd", "BTCUSD"), ("XDG/EUR", "DOGEEUR"),
     ("BTC/USD:USD", "BTCUSD"), ("XRP/USD", "XRPUSD")],
)  # fmt: skip
def test_aliases_are_one_name(name, expected):
    assert asset_name(name) == expected


def test_few_bars_without_a_name_are_found_again(home):
    for n_bars in (1, 2, 40):
        bars = as_bars(SHORT.frame.iloc[:n_bars], timeframe="1h")
        record(bars, "one", "two")
        assert trials_of(bars).n >= 2
    assert trials_of(as_bars(other(SHORT).frame.iloc[:40])).n == 0


def test_an_equal_configuration_on_equal_data_counts_once(home):
    record(LONG, "one", "two")
    size = (home / "trials.jsonl").stat().st_size
    record(LONG, "two", "one")
    assert (trials_of(LONG).n, (home / "trials.jsonl").stat().st_size) == (2, size)
    record(LONG, "two", "three")
    assert trials_of(LONG).n == 3


def test_a_failed_run_counts_once_with_the_later_one_that_succeeds(home):
    evaluation = Evaluation.of(["one"], "", LONG.digest(), [LONG], LONG.times)
    record_trials(evaluation)
    record_trials(evaluation)
    assert (trials_of(LONG).n, trials_of(LONG).n_failed, trials_of(LONG).n_effective) == (1, 1, 1.0)
    assert trials_of(LONG).sharpe_variance is None
    record(LONG, "one")
    assert (trials_of(LONG).n, trials_of(LONG).n_failed) == (1, 0)
    record_trials(evaluation)
    assert trials_of(LONG).n_failed == 0


def test_one_shared_bar_counts_and_neighbours_do_not(home):
    record(LONG, "one", last=998)
    frame, last = LONG.frame, LONG.frame.index[998]
    assert trials_of(replace(LONG, frame=frame.iloc[998:])).n == 1
    assert trials_of(replace(LONG, frame=frame.iloc[999:])).n == 0
    four_hours = coarser(LONG, "4h")
    later = four_hours.frame[four_hours.frame.index > last]
    assert later.index[0] - pd.Timedelta(hours=4) < last < later.index[0]
    assert trials_of(replace(four_hours, frame=later)).n == 1
    assert trials_of(replace(four_hours, frame=later.iloc[1:])).n == 0


def test_the_variance_is_that_of_the_sharpe_ratios_per_bar(home):
    ratios = (0.01, 0.03, -0.02)
    record(LONG, "a", "b", "c", ratios=ratios)
    assert trials_of(LONG).sharpe_variance == pytest.approx(np.var(ratios, ddof=1))
    assert trials_of(coarser(LONG, "4h")).sharpe_variance == pytest.approx(4.0 * np.var(ratios, ddof=1))
    record(LONG, "d", ratios=(np.nan,))
    assert (trials_of(LONG).n, trials_of(LONG).sharpe_variance) == (4, pytest.approx(np.var(ratios, ddof=1)))


def test_a_new_workspace_reads_since_today(home):
    assert trials_of(LONG).sentence.startswith("Trial ledger since today, 0 trials: ")
    record(LONG, "one")
    assert trials_of(LONG).sentence.startswith("Trial ledger since today, 1 trial: ")
    assert not home.with_name(".peak_trade").exists()


def test_a_changed_line_is_said(home):
    record(LONG, "one")
    record(LONG, "two")
    path = home / "trials.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"first_week":', b'"first_week" :', 1))
    count = trials_of(LONG)
    assert (count.n, len(count.gaps)) == (2, 1)
    assert ", 2 trials, 1 gap: " in count.sentence
    assert "Gap: line 4 of the trial ledger does not follow from the one before it." in count.sentence


@pytest.mark.parametrize(
    "value", mostly_long([b"null", b'""', b'"x"', b"[7]", b"{}", b"-1", b"0", b"0.0", b"1e400"], 3)
)
def test_lines_with_any_value_are_counted_or_skipped(value, home):
    record(LONG, "one")
    path = home / "trials.jsonl"
    valid = path.read_bytes()
    names = set(re.findall(rb'"(\w+)":', valid))
    assert len(names) > 15
    for name in sorted(names):
        path.write_bytes(re.sub(rb'("%s"):("[^"]*"|\[[^]]*\]|[^,}]*)' % name, rb"\1:" + value, valid))
        assert trials_of(LONG).sentence


@given(st.integers(0, 10_000), st.integers(2, 400), st.sampled_from(["1h", "4h", "1d", "1w"]))
def test_weekly_returns_compound_to_the_total_return(seed, n_bars, timeframe):
    step = Timeframe.parse(timeframe)
    times = 1_700_000_000 * 10**9 // step.ns * step.ns + step.ns * np.arange(n_bars)
    equity = 100.0 * np.exp(np.cumsum(np.random.default_rng(seed).normal(0.0, 0.02, n_bars)))
    first, ends = week_ends(times, step)
    weeks = weekly_returns(equity[None, ends], float(equity[0]), ends)[0]
    assert ends[-1] == n_bars - 1
    assert np.nanprod(1.0 + weeks) == pytest.approx(equity[-1] / equity[0], rel=1e-12)
    monday = pd.Timestamp("1969-12-29", tz="UTC") + pd.Timedelta(weeks=first)
    assert monday <= pd.Timestamp(times[0] - step.ns, tz="UTC") < monday + pd.Timedelta(weeks=1)
