"""Completion of names within quotes in a notebook: strategies, parameters, symbols, detectors and figures."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType

from peak_trade.core.errors import PeakTradeError

_NAMED = re.compile(r"""\b(\w+)\(\s*(?:[\w.]+\s*,\s*)?["'][^"']*$""")
_KEY = re.compile(r"""\bmake_strategy\(\s*["']([\w.:]+)["']\s*,\s*(?:\{.*?|dict\(.*?)["']?\w*$""")


def _strategies() -> Iterable[str]:
    from peak_trade.wiring.strategies import STRATEGIES

    return STRATEGIES


def _stored() -> Iterable[str]:
    from peak_trade.data.store import list_bars

    return sorted({series.symbol for series in list_bars()})


def _samples() -> Iterable[str]:
    from peak_trade.data.sample import SYMBOLS

    return SYMBOLS


def _detectors() -> Iterable[str]:
    from peak_trade.wiring.detectors import DETECTORS

    return DETECTORS


def _figures() -> Iterable[str]:
    from peak_trade.reports.views.figures import FIGURES

    return dict.fromkeys(name for figures in FIGURES.values() for name in figures)


NAMES: Mapping[str, Callable[[], Iterable[str]]] = MappingProxyType(
    {
        "make_strategy": _strategies,
        "strategies_table": _strategies,
        "load_bars": _stored,
        "sample_bars": _samples,
        "make_detector": _detectors,
        "plot": _figures,
    }
)
"""Function of the facade and what may stand in the quotes of its argument."""


def completions(text: str) -> list[str]:
    """Return the names that may stand at the end of a line of code; none where no name is expected.

    >>> completions('pt.make_strategy("ma_crossover", {"')
    ['fast', 'slow', 'direction']
    """
    try:
        if found := _KEY.search(text):
            from peak_trade.wiring.strategies import describe_strategy

            return [each.name for each in describe_strategy(found[1]).parameters]
        found = _NAMED.search(text)
        return list(NAMES[found[1]]()) if found and found[1] in NAMES else []
    except PeakTradeError:  # a strategy that is not there, or a damaged store: nothing to suggest
        return []
