"""Table of regime detectors by name. To add one, write its module and add an entry."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from peak_trade.core.arguments import checks_arguments
from peak_trade.core.time import Timeframe
from peak_trade.wiring.parts import find_class

if TYPE_CHECKING:
    from peak_trade.regimes.detector import Detector

DETECTORS: dict[str, str] = {
    "hmm": "peak_trade.regimes.hmm:HmmDetector",
    "jump": "peak_trade.regimes.jump:JumpDetector",
    "rules": "peak_trade.regimes.rules:RulesDetector",
}
"""Detector name to `module:Class`."""
_HOUR = 3_600
_SPANS = ("refit_every", "window", "min_bars", "min_duration")


@checks_arguments(timeframe="a Timeframe, for example Timeframe.parse('1h')")
def make_detector(name: str, timeframe: Timeframe, parameters: Mapping[str, Any] | None = None) -> Detector:
    """Build a detector from its name and its parameters, with default windows that fit the timeframe.

    Parameters
    ----------
    name : str
        A name in DETECTORS, or `package.module:Class`.
    timeframe : Timeframe
        Default windows are counted in hours: longer bars have fewer of them, shorter ones the same number.
    parameters : mapping of parameter to value
        Windows are in bars.

    Raises
    ------
    ConfigError
        On an unknown detector or parameter (with a suggestion), or an invalid value.

    """
    from peak_trade.regimes.detector import Detector

    part: type[Detector] = find_class("detector", name, DETECTORS, Detector)
    return part.parse(_fitting_defaults(part, timeframe) | dict(parameters or {}), f"detector {name}")


def detector_values(texts: Mapping[str, str]) -> dict[str, Any]:
    """Convert the settings of a detector from text to integers, numbers or text."""
    return {key: _value(text) for key, text in texts.items()}


def _value(text: str) -> Any:
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    return text


def _fitting_defaults(part: type[Detector], timeframe: Timeframe) -> dict[str, Any]:
    if timeframe.seconds <= _HOUR:
        return {}
    shrunk: dict[str, Any] = {}
    for key, field in part.model_fields.items():
        default = field.default
        if key in _SPANS:
            shrunk[key] = _fewer(default, timeframe, 1)
        elif key in ("features", "fallback", "rules"):
            windows = {
                inner: _fewer(value, timeframe, 2)
                for inner, value in default.model_dump().items()
                if type(value) is int
            }
            shrunk[key] = default.model_copy(update=windows)
    return shrunk


def _fewer(hours: int, timeframe: Timeframe, least: int) -> int:
    return max(least, round(hours * _HOUR / timeframe.seconds))
