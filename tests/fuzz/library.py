"""Calls of every public function and class, generated from `peak_trade.__all__` and their annotations."""

from __future__ import annotations

import dataclasses
import inspect
import itertools
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import BaseModel

import peak_trade as pt
from peak_trade.core.errors import LONGEST_LINE, LONGEST_QUOTE, PeakTradeError
from peak_trade.core.time import Timeframe
from peak_trade.data.sample import sample_bars
from peak_trade.strategies.buy_and_hold import BuyAndHold
from tests.fuzz.commands import MARK, limited

TEXTS = ("BTC/USDT", "ma_crossover", "rules", "1h")


class Rude:
    """A value whose every method fails."""

    def _fail(self, *_: object) -> Any:
        raise RuntimeError(MARK * 1_000)

    __str__ = __len__ = __bool__ = __iter__ = __float__ = __int__ = __lt__ = _fail


@cache
def bars() -> pt.Bars:
    return sample_bars("BTC/USDT", n_bars=800)


def odd_frames() -> Iterator[pd.DataFrame]:
    """Yield frames that are not bars, each in its own way."""
    frame = bars().frame.head(60)
    yield pd.DataFrame()
    yield pd.DataFrame({MARK * 30 + str(n): [1.0] for n in range(100)})
    yield frame.reset_index()
    yield frame.tz_localize(None) if frame.index.tz is None else frame.tz_convert(None)
    yield frame.astype(str)
    yield frame.astype(object)
    yield frame.astype(complex)
    yield frame.astype("category")
    yield frame.iloc[::-1]
    yield frame.iloc[[0, 0, 1]]
    yield pd.concat([frame, frame], axis=1)
    yield frame * np.nan
    yield frame * np.inf
    yield frame * 1e308
    yield frame * 0.0
    yield -frame
    yield frame.set_axis(pd.MultiIndex.from_product([[MARK], frame.columns]), axis=1)
    yield frame.set_axis([pd.NaT, *frame.index[1:]], axis=0)
    yield frame.set_axis(pd.period_range("2024", periods=len(frame), freq="h"), axis=0)
    yield frame.set_axis(pd.date_range("1678", periods=len(frame), freq="h", tz="UTC"), axis=0)
    yield frame.head(1)


def hostile_values() -> list[Any]:
    """Return values of wrong types and of extreme sizes."""
    return [
        None, True, 0, -1, 1, 10**5_000, -(10**30), float("nan"), float("inf"), -0.0, 1e308, Decimal(1), 1j,
        "", MARK * 5_000, " ".join([MARK * 40] * 100), "\0", "\udcff", "1h", "nan", b"", b"\xff",
        datetime(1, 1, 1, tzinfo=UTC), datetime.max.replace(tzinfo=UTC),
        Path("/dev/zero"), [], [None], (), {}, {None: None}, {MARK * 3_000: MARK * 3_000},
        {f"{MARK * 30}{n}": n for n in range(100)}, [MARK * 60] * 50, set(), range(10**12), (n for n in ()), object(),
        object, BuyAndHold, type, lambda *_, **__: None, Rude(), Rude, np.zeros(0), np.zeros((3, 3)), np.float64(1.0),
        np.bool_(True), pd.Series(dtype=float), pd.NaT, pd.Timestamp("2024-01-01"), BuyAndHold(), bars(),
        [bars(), bars()],
        pt.Costs(), Timeframe(3_600), *odd_frames(),
    ]  # fmt: skip


@cache
def specimens() -> tuple[Any, ...]:
    """Return one sound value of each type that the public functions take."""
    detector = pt.make_detector("rules", Timeframe(3_600), {"min_duration": 1})
    study = pt.study_regimes(BuyAndHold(), bars(), detector)
    portfolio = pt.PortfolioSettings(strategies=({"name": "buy_and_hold", "symbol": "BTC/USDT"},))
    found = (BuyAndHold(), bars(), bars().frame, pt.BacktestSettings(), pt.Costs(), Timeframe(3_600), detector)
    series = bars().frame["close"].pct_change().iloc[1:]
    return (
        *found,
        series,
        study,
        study.result,
        study.filtered,
        portfolio,
        BuyAndHold,
        {"fraction": [0.5]},
        {},
        [],
        *TEXTS,
        2,
    )


def public() -> dict[str, Any]:
    """Return every public function and class that can be called, by its name."""
    parts = {name: getattr(pt, name) for name in pt.__all__}
    return {name: part for name, part in parts.items() if not inspect.isabstract(part)}


def parameters(part: Any) -> dict[str, bool]:
    """Return the names of the arguments of a function, or of the fields of a class, and whether each is required."""
    if isinstance(part, type) and issubclass(part, BaseModel):
        return {name: field.is_required() for name, field in part.model_fields.items()}
    known = inspect.signature(part).parameters.values()
    single = [each for each in known if each.kind not in (each.VAR_KEYWORD, each.VAR_POSITIONAL)]
    return {each.name: each.default is each.empty for each in single}


def sound_arguments(part: Any) -> dict[str, Any]:
    """Return arguments that a part takes, found by trial; the last ones tried when there are none."""
    required = [name for name, is_required in parameters(part).items() if is_required]
    tried: dict[str, Any] = {}
    choices = []
    for name in required:
        fitting = [value for value in specimens() if fault_of_call(part, {**tried, name: value}, name) is None]
        choices.append(fitting or list(specimens())[:3])
        tried[name] = choices[-1][0]
    for values in itertools.islice(itertools.product(*choices), 200):
        tried = dict(zip(required, values, strict=True))
        with suppress(PeakTradeError):
            part(**tried)
            return tried
    return tried


def fault_of_call(part: Any, arguments: dict[str, Any], name: str) -> str | None:
    """Return the message in which a part names an argument as the wrong one; None when it does not."""
    try:
        inspect.signature(part).bind_partial(**arguments)
        part(**{**dict.fromkeys(parameters(part)), **arguments})
    except PeakTradeError as error:
        return str(error) if f": {name} was" in str(error) else None
    except Exception:
        return None
    return None


@cache
def n_hostile() -> int:
    """Return the number of hostile values."""
    return len(hostile_values())


def calls(
    name: str, part: Any, is_wanted: Callable[[str], bool] = lambda label: True
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield sound arguments, then each argument with every hostile value, with words that name the call.

    Calls whose words are not wanted are left out, and nothing is made for them.
    """

    def label(argument: str, place: int) -> str:
        return f"{name}({argument}=hostile[{place}])"

    alone = f"{name}()"
    wanted = {
        argument: [place for place in range(n_hostile()) if is_wanted(label(argument, place))]
        for argument in parameters(part)
    }
    if not is_wanted(alone) and not any(wanted.values()):
        return
    sound = sound_arguments(part)
    if is_wanted(alone):
        yield alone, sound
    for argument, places in wanted.items():
        values = hostile_values() if places else []
        for place in places:
            yield label(argument, place), {**sound, argument: values[place]}


def outcome_of(part: Callable[..., Any], arguments: dict[str, Any]) -> str:
    """Return what is wrong with a call; empty when it has a result or raises one clear line."""
    try:
        with limited():
            part(**arguments)
    except PeakTradeError as error:
        line = str(error)
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[:200]}"
    else:
        return ""
    if not line.isprintable() or len(line) > LONGEST_LINE:
        return f"not one line: {line[:200]!r}"
    return f"{line.count(MARK)} characters of the input" if line.count(MARK) > LONGEST_QUOTE else ""


def is_dataclass(part: Any) -> bool:
    """Return whether a part is the class of a dataclass."""
    return isinstance(part, type) and dataclasses.is_dataclass(part)
