"""Strategies by name: built from values or text, refused with the closest name, distinguished by their digest."""

from __future__ import annotations

import linecache
import sys
from pathlib import Path

import numpy as np
import pytest

from peak_trade.cli import main
from peak_trade.core.errors import ConfigError
from peak_trade.engine.settings import BacktestSettings
from peak_trade.strategies.base import Strategy
from peak_trade.strategies.buy_and_hold import BuyAndHold
from peak_trade.strategies.composite import Composite
from peak_trade.strategies.ma_crossover import MaCrossover
from peak_trade.strategies.macd import Macd
from peak_trade.strategies.mean_reversion import MeanReversion
from peak_trade.strategies.momentum import Momentum
from peak_trade.strategies.rsi_reversion import RsiReversion
from peak_trade.wiring.digests import code_digest, config_digest
from peak_trade.wiring.strategies import (
    PANEL_STRATEGIES,
    STRATEGIES,
    describe_strategy,
    is_panel_strategy,
    make_strategy,
)

OWN = """
import numpy as np
from peak_trade.engine.settings import BacktestSettings
from peak_trade.strategies.base import Strategy

LEVEL = 1.0


class Own(Strategy):
    window: int = 3
    ahead: int = 0

    @property
    def warm_up(self):
        return self.window

    def exposure(self, bars):
        close = bars["close"]
        above = close.shift(-self.ahead) > close.shift(self.window)
        return np.where(close.shift(self.window).isna(), np.nan, above * LEVEL)


class NotFinished(Strategy):
    def exposure(self, bars):
        return np.zeros(len(bars))


class NotAStrategy:
    pass
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A user's module in the folder the command runs in."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_strategies_of_a_user.py").write_text(OWN, encoding="utf-8")
    monkeypatch.delitem(sys.modules, "own_strategies_of_a_user", raising=False)
    yield "own_strategies_of_a_user"
    sys.modules.pop("own_strategies_of_a_user", None)


@pytest.mark.parametrize("name", sorted(STRATEGIES))
def test_every_name_builds_its_strategy(name: str) -> None:
    strategy = make_strategy(name)
    assert strategy.name == name
    assert strategy == make_strategy(STRATEGIES[name])


@pytest.mark.parametrize(
    ("name", "texts", "expected"),
    [
        ("ma_crossover", {"fast": "10", "slow": "30"}, MaCrossover(fast=10, slow=30)),
        ("ma_crossover", {"direction": "both"}, MaCrossover(direction="both")),
        ("momentum", {"enter": "1", "leave": "-0.02"}, Momentum(enter=1.0, leave=-0.02)),
        ("rsi_reversion", {"trend_window": "200"}, RsiReversion(trend_window=200)),
        ("rsi_reversion", {"trend_window": "none"}, RsiReversion()),
        ("mean_reversion", {"max_volatility": "1e-2"}, MeanReversion(max_volatility=0.01)),
        (
            "composite",
            {"members": "ma_crossover, macd", "weights": "2,1", "rule": "vote"},
            Composite(members=(MaCrossover(), Macd()), weights=(2.0, 1.0), rule="vote"),
        ),
        ("composite", {"weights": "none"}, Composite()),
    ],
)
def test_text_becomes_the_type_of_its_parameter(name: str, texts: dict[str, str], expected: Strategy) -> None:
    assert make_strategy(name, texts) == expected


@pytest.mark.parametrize("kind", [np.int8, np.int64, np.uint16])
def test_a_numpy_number_is_the_number(kind: type[np.integer]) -> None:
    for made in (make_strategy("ma_crossover", {"fast": kind(5)}), MaCrossover(fast=kind(5))):
        assert made == MaCrossover(fast=5)
        assert type(made.fast) is int
        assert repr(made) == repr(MaCrossover(fast=5))
    nested = Composite(members=(Macd(), Momentum()), weights=(kind(2), np.float64(1.0)))
    assert nested == Composite(members=(Macd(), Momentum()), weights=(2.0, 1.0))
    with pytest.raises(ConfigError, match="fast was 0: input should be greater than or equal to 1"):
        MaCrossover(fast=kind(0))
    with pytest.raises(ConfigError, match="enter was 'x'"):
        Momentum(enter=np.str_("x"))


def test_members_are_named_by_tables_too() -> None:
    rows = [{"strategy": "ma_crossover", "fast": 5}, "buy_and_hold"]
    made = make_strategy("composite", {"members": rows, "weights": [1, 3]})
    assert made == Composite(members=(MaCrossover(fast=5), BuyAndHold()), weights=(1.0, 3.0))


def test_a_composite_comes_back_from_its_own_record() -> None:
    made = Composite(members=(MaCrossover(fast=5), Composite(rule="vote")), target_volatility=0.01)
    again = make_strategy("composite", made.model_dump(mode="json"))
    assert again == made
    assert config_digest([again], BacktestSettings(), []) == config_digest([made], BacktestSettings(), [])


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("ma_crossovr", {}, r"strategy ma_crossovr is not known\. Did you mean ma_crossover\?"),
        ("zzz", {}, "Known: bollinger_bands, breakout"),
        ("ma_crossover", {"fats": 3}, r"ma_crossover: fats is not a setting\. Did you mean fast\?"),
        ("ma_crossover", {"fast": "ten"}, "fast was 'ten'"),
        ("ma_crossover", {"fast": "2.5"}, r"fast was 2\.5"),
        ("ma_crossover", {"fast": "60"}, "fast must be the smaller"),
        ("ma_crossover", {"direction": "up"}, "direction was 'up'"),
        ("momentum", {"enter": "nan"}, "enter was nan"),
        ("composite", {"members": "macdd"}, "Did you mean macd"),
        ("composite", {"members": [{"fast": 3}]}, "strategy is missing"),
        ("composite", {"members": [{"strategy": "macd", "fats": 3}]}, "macd: fats is not a setting"),
        ("composite", {"members": [3]}, "members.0 was 3"),
        ("no_such_module:Own", {}, "there is no module no_such_module"),
        ("peak_trade.no_such:Own", {}, "there is no module peak_trade.no_such"),
        ("peak_trade.strategies.macd:Mcad", {}, r"has no Mcad\. Did you mean Macd\?"),
    ],
)
def test_what_can_not_be_built_is_refused_with_the_right_name(name, parameters, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_strategy(name, parameters)


def test_a_users_strategy_is_found_in_the_working_directory(own: str) -> None:
    path_before = list(sys.path)
    made = make_strategy(f"{own}:Own", {"window": "7"})
    assert (made.name, made.warm_up) == ("own", 7)
    assert sys.path == path_before


@pytest.mark.parametrize(
    ("part", "message"),
    [("Onw", "Did you mean Own"), ("NotFinished", "does not define warm_up"), ("NotAStrategy", "is not a Strategy")],
)
def test_a_users_class_that_is_no_strategy_is_refused(own: str, part: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_strategy(f"{own}:{part}")


@pytest.mark.parametrize("name", [":Reversal", "my_ideas:"])
def test_half_a_name_is_answered_with_its_form(name: str) -> None:
    with pytest.raises(ConfigError, match=r"write package\.module:Class"):
        make_strategy(name, {})


def test_a_users_module_that_fails_is_refused_in_one_line(own: str) -> None:
    Path("broken_module_of_a_user.py").write_text("import no_such_package_at_all\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="needs no_such_package_at_all, which is not installed"):
        make_strategy("broken_module_of_a_user:Own")
    Path("crooked_module_of_a_user.py").write_text("def (:\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"could not be imported \(SyntaxError"):
        make_strategy("crooked_module_of_a_user:Own")


def test_the_digest_follows_everything_in_a_users_module(own: str) -> None:
    first = code_digest([make_strategy(f"{own}:Own")])
    inside = code_digest([Composite(members=(make_strategy(f"{own}:Own"),))])
    del sys.modules[own]
    Path(f"{own}.py").write_text(OWN.replace("LEVEL = 1.0", "LEVEL = 0.25"), encoding="utf-8")
    linecache.checkcache()
    assert code_digest([make_strategy(f"{own}:Own")]) != first
    assert code_digest([Composite(members=(make_strategy(f"{own}:Own"),))]) != inside


CELL = """
from peak_trade.engine.settings import BacktestSettings
from peak_trade.strategies.base import Strategy

class InACell(Strategy):
    @property
    def warm_up(self):
        return 0
    def exposure(self, bars):
        return bars["close"].to_numpy() * 0.0 + {level}
"""


def from_cell(level: float, name: str | None) -> Strategy:
    """Define the class as a notebook does: without a file, its text kept by linecache under the cell's name."""
    text = CELL.format(level=level)
    if name is not None:
        linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
    scope = {"__name__": "__main__"}
    exec(compile(text, name or "<unread>", "exec", dont_inherit=True), scope)
    return scope["InACell"]()


def test_the_digest_follows_a_class_in_a_notebook_cell() -> None:
    digests = [code_digest([from_cell(level, f"/tmp/cell_{row}.py")]) for row, level in enumerate([1.0, 1.0, 0.5])]
    assert digests[0] == digests[1] != digests[2]


def test_the_digest_follows_compiled_code_where_no_source_can_be_read() -> None:
    digests = [code_digest([from_cell(level, None)]) for level in (1.0, 1.0, 0.5)]
    assert digests[0] == digests[1] != digests[2]


def test_check_strategy_exits_0_for_a_causal_strategy(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "strategy", "momentum", "-p", "direction=both", "--bars", "600"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("momentum: causal. 600 bars,")
    assert "Warm-up drift" in shown


@pytest.mark.long
def test_check_strategy_exits_1_for_a_leak_and_names_the_bar(own: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "strategy", f"{own}:Own", "-p", "ahead=1", "--bars", "600"]) == 1
    shown = capsys.readouterr().out
    assert "own: LOOKS AHEAD" in shown
    assert "removed: with the bars after 2021-01-" in shown
    assert "(bar " in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["momentun"], "Did you mean momentum"),
        (["momentum", "-p", "windw=3"], "Did you mean window"),
        (["momentum", "-p", "window"], "write key=value"),
        (["momentum", "--bars", "30"], "too few"),
        (["nowhere_at_all:X"], "there is no module nowhere_at_all"),
    ],
)
def test_check_strategy_exits_2_on_bad_input_with_one_line(arguments, message: str, capsys) -> None:
    assert main(["check", "strategy", *arguments]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""


def test_a_class_says_its_kind() -> None:
    assert {describe_strategy(name).sees for name in STRATEGIES} == {"one symbol"}
    assert {describe_strategy(name).sees for name in PANEL_STRATEGIES} == {"several symbols"}
    assert describe_strategy("tests.strategies.stepping:Watches").sees == "one symbol and its own position"
    assert [is_panel_strategy(name) for name in ("pairs", "cash")] == [True, False]
    with pytest.raises(ConfigError, match="Did you mean pairs"):
        is_panel_strategy("pairz")
