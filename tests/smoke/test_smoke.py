"""The fastest tests: imports, help, one backtest."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from peak_trade.cli import main

pytestmark = pytest.mark.smoke

HEAVY = {"numpy", "pandas", "vectorbt", "mlflow", "plotly", "numba", "ccxt", "hmmlearn", "dask", "pydantic", "scipy"}


def modules_after(statement: str) -> set[str]:
    listing = "print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"
    program = f"import sys, json; {statement}; {listing}"
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=root)
    return set(json.loads(done.stdout))


def test_importing_the_package_loads_nothing_heavy() -> None:
    assert not modules_after("import peak_trade") & HEAVY


def test_the_command_line_loads_nothing_heavy_before_a_verb_runs() -> None:
    assert not modules_after("import peak_trade.cli.app") & (HEAVY - {"pydantic"})


@pytest.mark.long
def test_a_diff_of_sessions_loads_no_compiler() -> None:
    """The compiler and what it compiled take more memory than a journal of 1,000,000 events."""
    assert not modules_after("import peak_trade.studies.diff, peak_trade.diff.bias") & (
        HEAVY - {"numpy", "pandas", "pydantic"}
    )


def test_every_name_of_the_facade_can_be_had() -> None:
    import peak_trade as pt

    assert sorted(pt.__all__) == dir(pt)
    for name in pt.__all__:
        assert getattr(pt, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'backtset'"):
        pt.backtset  # noqa: B018


def test_a_backtest_trades_and_adds_up() -> None:
    import peak_trade as pt
    from peak_trade.data.sample import sample_bars
    from peak_trade.strategies.ma_crossover import MaCrossover

    result = pt.backtest(MaCrossover(fast=5, slow=20), sample_bars("BTC/USDT", n_bars=300))
    assert len(result.fill_list) > 4
    flows = sum(fill.signed_quantity * fill.price + fill.fee for fill in result.fill_list)
    held = result.positions["BTC/USDT"][-1] * result.market.columns[0].close[-1]
    assert result.equity_values[-1] == pytest.approx(10_000.0 - flows + held, rel=1e-9)


def test_a_wrong_verb_gets_one_line_and_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bakctest"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
