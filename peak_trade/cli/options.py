"""Options and arguments that several verbs share, so that one name has one meaning."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from peak_trade.core.errors import ConfigError

AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
StrategyName = Annotated[
    str, typer.Option("--strategy", help="Name of a strategy, or package.module:Class for your own.")
]
Symbol = Annotated[str, typer.Option("--symbol", help="Symbol as base/quote, for example BTC/USDT.")]
TimeframeText = Annotated[str, typer.Option("--timeframe", help="Bar length, for example 1m, 5m, 1h, 4h or 1d.")]
StoredExchange = Annotated[
    str | None,
    typer.Option("--exchange", help="Exchange of the stored bars. Required when several exchanges have the symbol."),
]
Start = Annotated[
    str | None,
    typer.Option(
        "--start",
        help="First close time that is traded in UTC, inclusive: 2024-01-01 or 2024-01-01T12:00. Earlier stored bars "
        "warm the strategy up, as in a session.",
    ),
]
Cold = Annotated[bool, typer.Option("--cold", help="Ignore the bars before the start: no warm-up.")]
End = Annotated[str | None, typer.Option("--end", help="End of the close times in UTC, exclusive.")]
Parameters = Annotated[
    list[str] | None,
    typer.Option("--parameter", "-p", metavar="KEY=VALUE", help="Strategy parameter. Repeat for several."),
]
RunFile = Annotated[
    Path | None,
    typer.Option("--config", help="Run file in TOML: costs, execution, sizing, instruments and risk limits."),
]
Record = Annotated[bool, typer.Option("--record/--no-record", help="Record the run in the registry.")]
SecondOpinion = Annotated[bool, typer.Option("--second-opinion", help="Compare the run with vectorbt.")]
ColumnNames = Annotated[
    list[str] | None,
    typer.Option(
        "--column",
        metavar="KEY=NAME",
        help="Column for time, date, open, high, low, close or volume, by its name or its number from 1. "
        "Repeat for several.",
    ),
]
Separator = Annotated[
    str | None, typer.Option("--sep", help="Separator of CSV: one character, or tab.", show_default="detected")
]
TimeFormat = Annotated[
    str | None,
    typer.Option("--time-format", help="Format of times that are text, for example '%d/%m/%Y %H:%M'."),
]
Anchor = Annotated[
    str | None,
    typer.Option(
        "--anchor", help="Time of the day (UTC) at which bars close, for example 16:00.", show_default="00:00"
    ),
]
SkipEmpty = Annotated[bool, typer.Option("--skip-empty", help="Leave out rows without prices.")]
NoVolume = Annotated[
    bool, typer.Option("--no-volume", help="Read bars without volume. Limits on shares of volume can not work then.")
]
SessionName = Annotated[
    str, typer.Argument(metavar="SESSION", help="Session id, the unique beginning of one, or the folder of a session.")
]
Telemetry = Annotated[
    Path | None,
    typer.Option(
        "--telemetry",
        help="Telemetry file in TOML: levels, sinks and retention of journals.",
        show_default="config/execution_telemetry.toml, if it exists",
    ),
]


def pairs(given: Sequence[str] | None, option: str = "-p", example: str = "fast=10") -> dict[str, str]:
    """Return the mapping of `key=value` texts; ConfigError on a text without a key, or a key given twice."""
    found: dict[str, str] = {}
    for text in given or ():
        key, separator, value = text.partition("=")
        if not separator or not key:
            raise ConfigError(f"{option} was {text!r}: write key=value, for example {option} {example}.")
        if key in found:
            raise ConfigError(f"{option} {key} is given twice, as {found[key]} and as {value}. Give it once.")
        found[key] = value
    return found
