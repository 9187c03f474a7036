"""Time to read the code of a user's strategy, which is a part of the id of every run."""

from __future__ import annotations

from pathlib import Path

import pytest

from peak_trade.wiring.strategies import make_strategy
from peak_trade.wiring.user_code import user_code
from tests.wiring.test_user_code import strategy, write


def test_code_of_a_strategy_that_imports_twenty_modules(
    benchmark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    names = [f"idea_{number}" for number in range(20)]
    write(tmp_path, {f"{name}.py": "import numpy as np\nimport pandas\nX = 1\n" * 50 for name in names})
    write(tmp_path, {"idea.py": strategy("\n".join(f"import {name}" for name in names), "1.0")})
    own_strategy = make_strategy("idea:Own")
    assert len(benchmark(user_code, [own_strategy]).modules) == 21
