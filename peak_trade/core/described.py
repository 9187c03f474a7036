"""Text of a result in an interpreter: a title and a few facts below it."""

from __future__ import annotations

from collections.abc import Mapping


def described(title: str, facts: Mapping[str, object]) -> str:
    """Return a title and one indented line per fact; a fact without text is left out.

    >>> print(described("BacktestResult: cash on BTC/USDT", {"fills": 0, "run id": "1f2e", "note": ""}))
    BacktestResult: cash on BTC/USDT
      fills   0
      run id  1f2e
    """
    texts = {name: str(value) for name, value in facts.items()}
    width = max(map(len, texts), default=0)
    return "\n".join([title, *(f"  {name:<{width}}  {text}" for name, text in texts.items() if text)])
