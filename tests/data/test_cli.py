from __future__ import annotations

import json

import pytest

from peak_trade.cli import main
from peak_trade.data.sample import sample_bars
from peak_trade.data.store import load_bars, save_bars


@pytest.fixture
def held(home):
    return save_bars(sample_bars("BTC/USDT", n_bars=50)).series


def test_an_empty_store_lists_what_to_do(home, capsys):
    assert main(["data", "list"]) == 0
    assert "peak-trade data sample" in capsys.readouterr().out
    assert main(["data", "list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []


def test_the_list_names_what_is_held(held, capsys):
    assert main(["data", "list"]) == 0
    out = capsys.readouterr().out
    assert all(part in out for part in ("sample", "BTC/USDT", "1h", "50", held.digest[:12]))
    assert main(["data", "list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["digest"] == held.digest


def test_the_store_is_checked_as_a_whole_or_by_name(held, capsys):
    assert main(["data", "check"]) == 0
    assert "Every bar is valid." in capsys.readouterr().out
    assert main(["data", "check", "--symbol", "BTC/USDT", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["n_bars"] == 50
    assert main(["data", "check", "--symbol", "BTC/EUR"]) == 2
    assert capsys.readouterr().err == "peak-trade: there are no bars of BTC/EUR. Did you mean BTC/USDT?\n"


def test_resampling_stores_the_coarse_bars_and_names_the_rest(held, capsys):
    assert main(["data", "resample", "--symbol", "BTC/USDT", "--to", "4h"]) == 0
    out = capsys.readouterr().out
    assert "12 bars added" in out
    assert "Left out: 2023-01-03 04:00:00Z, with 2 of 4 fine bars." in out
    assert len(load_bars("BTC/USDT", "4h")) == 12
    assert main(["data", "resample", "--symbol", "BTC/USDT", "--timeframe", "4h", "--to", "1h"]) == 2
    assert "can not be made from 4h" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["import", "fetch", "join", "list", "check", "remove", "sample", "resample"])
def test_every_verb_shows_an_example_and_its_exit_codes(verb, capsys):
    assert main(["data", verb, "--help"]) == 0
    out = capsys.readouterr().out
    assert f"peak-trade data {verb}" in out
    assert "Exits 0" in out
