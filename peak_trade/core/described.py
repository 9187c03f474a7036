"""Results in an interpreter: a title and a few facts, which a notebook shows as a table."""

from __future__ import annotations

from collections.abc import Mapping


class Described:
    """Base of a result that prints as a title and one line per fact. A dataclass needs `repr=False`."""

    __slots__ = ()

    def description(self) -> tuple[str, Mapping[str, object]]:
        """Return the title and the facts by name; a fact without text is left out."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return described(*self.description())


def described(title: str, facts: Mapping[str, object]) -> str:
    """Return a title and one indented line per fact; a fact without text is left out.

    >>> print(described("BacktestResult: cash on BTC/USDT", {"fills": 0, "run id": "1f2e", "note": ""}))
    BacktestResult: cash on BTC/USDT
      fills   0
      run id  1f2e
    """
    texts = {name: " ".join(str(value).split()) for name, value in facts.items()}
    width = max(map(len, texts), default=0)
    return "\n".join([title, *(f"  {name:<{width}}  {text}" for name, text in texts.items() if text)])
