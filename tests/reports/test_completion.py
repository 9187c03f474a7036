"""A notebook completes names within quotes, and Shift-Tab shows what each field means."""

from __future__ import annotations

import pytest

import peak_trade as pt
from peak_trade.core.field_words import meanings_of
from peak_trade.data.sample import SYMBOLS, sample_bars
from peak_trade.data.store import save_bars
from peak_trade.reports.views.completion import NAMES, completions
from peak_trade.wiring.strategies import STRATEGIES, describe_strategy
from tests.examples import mostly_long


@pytest.fixture
def complete(home):
    """The completion of a shell, as a function of the text before the cursor."""
    from IPython.core.completer import provisionalcompleter
    from IPython.core.interactiveshell import InteractiveShell

    shell = InteractiveShell()
    shell.push({"pt": pt})
    pt._register_completion(shell)

    def texts(code):
        with provisionalcompleter():
            return [found.text for found in shell.Completer.completions(code, len(code))]

    return texts


@pytest.mark.long
def test_names_are_completed_within_quotes(complete):
    assert complete('rule = pt.make_strategy("') == list(STRATEGIES)
    assert complete("x = 1\npt.make_strategy('mom") == ["momentum"]
    assert complete('pt.sample_bars("E') == ["ETH/USDT"]
    assert complete('pt.make_detector("h') == ["hmm"]
    assert complete('pt.plot(result, "trad') == ["trades"]
    assert complete('pt.load_bars("') == [] or "BTC/USDT" not in complete('pt.load_bars("')
    save_bars(sample_bars("BTC/USDT", n_bars=50))
    assert complete('pt.load_bars("B') == ["BTC/USDT"]


@pytest.mark.parametrize("name", mostly_long(STRATEGIES, 3))
def test_the_parameters_of_a_strategy_are_completed_as_keys(name):
    known = [each.name for each in describe_strategy(name).parameters]
    assert completions(f'pt.make_strategy("{name}", {{"') == known
    assert completions(f'pt.make_strategy("{name}", {{"a": 1, "') == known
    assert completions(f"pt.make_strategy('{name}', dict(") == known


@pytest.mark.parametrize(
    "text", ['pt.make_strategy("nothing", {"', 'open("', "pt.make_strategy(", "", 'x = "make_strategy']
)
def test_nothing_is_suggested_where_no_name_is_expected(text):
    assert completions(text) == []


def test_every_completed_function_is_of_the_facade():
    assert set(NAMES) <= set(pt.__all__)
    assert list(NAMES["sample_bars"]()) == list(SYMBOLS)


def test_measures_are_completed_as_keys():
    stats = pt.backtest(pt.make_strategy("ma_crossover"), sample_bars("BTC/USDT", n_bars=300)).stats()
    assert stats._ipython_key_completions_() == list(stats)


@pytest.mark.parametrize("name", [name for name in pt.__all__ if hasattr(getattr(pt, name), "model_fields")])
def test_the_docstring_of_settings_says_what_each_field_means(name):
    part = getattr(pt, name)
    meanings = meanings_of(part)
    for field in part.model_fields:
        assert f"\n{field} : " in part.__doc__
        if field in meanings:
            assert " ".join(meanings[field].split()) in part.__doc__


def test_a_strategy_of_a_user_documents_its_fields_and_keeps_its_meaning():
    class Reversal(pt.Strategy):
        """Buy what fell."""

        window: int = 20
        """Number of closes, bars."""

    assert Reversal.__doc__.startswith("Buy what fell.\n\nParameters")
    assert "window : whole number, by default 20\n    Number of closes, bars." in Reversal.__doc__
