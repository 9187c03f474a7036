from __future__ import annotations

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peak_trade.cli import main
from peak_trade.core.errors import ConfigError, DataError
from peak_trade.core.time import Timeframe
from peak_trade.data.places import check_names, place_of
from peak_trade.data.sample import sample_bars
from peak_trade.data.store import load_bars
from tests.examples import mostly_long

HOUR = Timeframe.parse("1h")
SYMBOLS = ("BTC/USDT", "BTC/USDT:USDT-250627", "BTC-PERP", "stETH/USDT", "币安人生/USDT", "BTC/USD:BTC-211225-60000-P")


@pytest.mark.parametrize(
    ("symbol", "place"),
    [
        ("BTC/USDT", "gate.io/BTC-USDT/1h"),
        ("BTC/USDT:USDT", "gate.io/BTC-USDT_USDT/1h"),
        ("BTC/USDT:USDT-250627", "gate.io/BTC-USDT_USDT%2D250627/1h"),
        ("stETH/USDT", "gate.io/%73%74ETH-USDT/1h"),
        ("ж/USDT", "gate.io/%D0%B6-USDT/1h"),
    ],
)
def test_the_place_of_a_series_is_made_of_its_names(symbol, place):
    assert place_of("gate.io", symbol, HOUR).as_posix() == place


letters = st.sampled_from("AaBb1-_/:.%~éÉßSsıIiж ")
names = st.text(letters, max_size=6) | st.text(max_size=6)


@given(names, names, st.sampled_from(["gate.io", "gate-io", "gate_io", "Gate.io", "..", ""]))
def test_two_symbols_never_share_a_place_whatever_the_file_system_folds(first, second, exchange):
    places = [place_of(exchange, name, HOUR) for name in (first, second)]
    folded = {unicodedata.normalize("NFKC", str(place).casefold()) for place in places}
    assert len(folded) == len({first, second})
    assert all(len(place.parts) == 3 and not any(part[0] == "." for part in place.parts) for place in places)


@given(names, names)
def test_two_exchanges_never_share_a_place_whatever_the_file_system_folds(first, second):
    folded = {str(place_of(name, "BTC/USDT", HOUR)).casefold() for name in (first, second)}
    assert len(folded) == len({first, second})


@pytest.mark.parametrize(
    ("exchange", "symbol"),
    [
        *(
            ("binance", symbol)
            for symbol in ("", ".", "..", "./..", "BTC/.USDT", "BTC./USDT", "BTC/USDT:", "/", "A/B/C")
        ),
        *(
            ("binance", symbol)
            for symbol in ("BTC/USDT,ETH/USDT", "BTC USDT", "BTC\nUSDT", "A\\B", "btc/usdt", 300 * "A")
        ),
        *(
            (exchange, "BTC/USDT")
            for exchange in ("", ".", "..", "gate.", ".gate", "gate..io", "Binance", "a b", "a/b")
        ),
    ],
)
def test_what_is_no_name_is_refused_with_a_remedy(exchange, symbol):
    with pytest.raises(ConfigError, match=r"write|too long"):
        check_names(exchange, symbol)


@pytest.mark.parametrize("symbol", mostly_long(SYMBOLS, 1))
def test_bars_are_stored_listed_and_traded_under_names_as_exchanges_write_them(home, tmp_path, capsys, symbol):
    exchange, path = "gate.io", tmp_path / "bars.csv"
    sample_bars("BTC/USDT", n_bars=80).frame.reset_index().to_csv(path, index=False)
    names = ["--symbol", symbol, "--timeframe", "1h", "--exchange", exchange]
    assert main(["data", "import", str(path), *names]) == 0
    assert load_bars(symbol, "1h", exchange).symbol == symbol
    capsys.readouterr()
    assert main(["data", "list", "--json"]) == 0
    assert [(each["exchange"], each["symbol"]) for each in json.loads(capsys.readouterr().out)] == [(exchange, symbol)]
    assert main(["backtest", "--strategy", "buy_and_hold", *names, "--no-record"]) == 0
    assert symbol in capsys.readouterr().out
    assert main(["data", "check", *names]) == 0
    assert main(["data", "resample", *names, "--to", "4h"]) == 0
    assert main(["data", "remove", *names]) == 0


@pytest.mark.long
def test_a_session_runs_under_names_as_exchanges_write_them(home, capsys):
    from peak_trade.core.bars import Bars
    from peak_trade.data.store import save_bars

    for symbol in ("币安人生/USDT:USDT-250627", "BTC-PERP"):
        save_bars(Bars(sample_bars("BTC/USDT", n_bars=60).frame, symbol, HOUR, "gate.io"))
        names = ["--symbol", symbol, "--timeframe", "1h", "--exchange", "gate.io"]
        options = ["--strategy", "buy_and_hold", "--feed", "recorded", "--quiet", "--no-record"]
        assert main(["session", "run", *options, *names]) == 0
        capsys.readouterr()
        assert main(["session", "list", "--json"]) == 0
        assert symbol in str(json.loads(capsys.readouterr().out))


@pytest.mark.parametrize("spelled", ["steth/usdt", "STETH-USDT", "stethusdt"])
def test_another_spelling_of_a_stored_symbol_suggests_it(home, spelled):
    from peak_trade.core.bars import Bars
    from peak_trade.data.store import save_bars

    save_bars(Bars(sample_bars("BTC/USDT", n_bars=5).frame, "stETH/USDT", HOUR, "gate.io"))
    with pytest.raises(DataError, match="Did you mean stETH/USDT"):
        load_bars(spelled, "1h")
