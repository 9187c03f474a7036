"""Options and arguments that several verbs share, so that one name has one meaning."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from peak_trade.core.errors import ConfigError
from peak_trade.core.extras import require

if TYPE_CHECKING:
    from peak_trade.governance.keys import AgentKey, ApproverKey


def _strategy_names(incomplete: str) -> list[str]:
    """Return the strategies that a beginning may mean, for the completion of the shell."""
    from peak_trade.wiring.strategies import STRATEGIES

    return [name for name in STRATEGIES if name.startswith(incomplete)]


def _open_holdout(context: typer.Context, is_asked: bool) -> bool:
    """Let the command load bars of sealed hold-outs until it ends."""
    if is_asked:
        from peak_trade.data.holdout import opening_holdout

        context.with_resource(opening_holdout(context.command_path))
    return is_asked


def _needs_vectorbt(is_asked: bool) -> bool:
    """Refuse the second opinion before the run if vectorbt is not installed."""
    if is_asked:
        require("the second opinion", "vectorbt")
    return is_asked


AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
StrategyName = Annotated[
    str,
    typer.Option(
        "--strategy",
        help="Name of a strategy, or package.module:Class for your own.",
        autocompletion=_strategy_names,
    ),
]
StrategyArgument = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        help="Name of a strategy, or package.module:Class for your own.",
        autocompletion=_strategy_names,
    ),
]
Symbol = Annotated[str, typer.Option("--symbol", help="Symbol as base/quote, for example BTC/USDT.")]
TimeframeText = Annotated[
    str, typer.Option("--timeframe", help="Bar length, for example 1m, 5m, 1h, 4h, 1d or 1M (months).")
]
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
AGENT = "ssh-agent:"
"""Begin of the name of a key that an SSH agent holds."""
ApproverKeys = Annotated[
    list[Path] | None,
    typer.Option(
        "--key",
        metavar="FILE",
        help="File of an approver's private key, or ssh-agent:NAME for one in the SSH agent. Repeat for several.",
    ),
]
RunFile = Annotated[
    Path | None,
    typer.Option("--config", help="Run file in TOML: costs, execution, sizing, instruments and risk limits."),
]
Cash = Annotated[
    float | None,
    typer.Option("--cash", help="Initial cash in quote currency.", show_default="10000, or the run file's"),
]
FeeBps = Annotated[
    float | None,
    typer.Option("--fee-bps", help="Fee per fill in basis points.", show_default="10, or the run file's"),
]
SlippageBps = Annotated[
    float | None,
    typer.Option("--slippage-bps", help="Slippage per fill in basis points.", show_default="5, or the run file's"),
]
ParameterValues = Annotated[
    list[str] | None,
    typer.Option(
        "--parameter",
        "-p",
        metavar="KEY=VALUE,VALUE",
        help="Strategy parameter with its values or a range: fast=5,10 or fast=5..50:5. Repeat for several.",
    ),
]
Constraints = Annotated[
    list[str] | None,
    typer.Option(
        "--constraint",
        help="Comparison that every combination fulfils, for example 'fast < slow'. Repeat for several.",
    ),
]
Yes = Annotated[bool, typer.Option("--yes", help="Run a grid of more than 100,000 combinations.")]
Processes = Annotated[
    int | None, typer.Option("--processes", help="Threads or processes.", min=1, show_default="one per CPU core")
]
Cluster = Annotated[
    str,
    typer.Option("--cluster", metavar="ADDRESS", help="Scheduler of a Dask cluster, for example tcp://10.0.0.5:8786."),
]
Record = Annotated[bool, typer.Option("--record/--no-record", help="Record the run in the registry.")]
CausalityCheck = Annotated[
    bool,
    typer.Option(
        "--causality-check/--no-causality-check", help="Check your own strategies for look-ahead, in short, first."
    ),
]
OpenHoldout = Annotated[
    bool,
    typer.Option(
        "--open-holdout",
        callback=_open_holdout,
        help="Load bars of a sealed hold-out. The opening is recorded for good.",
    ),
]
Policy = Annotated[
    Path,
    typer.Option("--config", help="Policy of the live-execution gate in TOML, for example config/live_policies.toml."),
]
RunId = Annotated[str, typer.Argument(metavar="RUN", help="Run id, or the unique beginning of one.")]
RunOrBundle = Annotated[
    str, typer.Argument(metavar="RUN", help="Run id, the unique beginning of one, or the folder of an exported run.")
]
AcceptChanges = Annotated[
    bool,
    typer.Option("--accept-changes", help="Run with bars and versions that are not the recorded ones, and name them."),
]
SecondOpinion = Annotated[
    bool, typer.Option("--second-opinion", help="Compare the run with vectorbt.", callback=_needs_vectorbt)
]
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


def approver_key(path: Path) -> ApproverKey | AgentKey:
    """Return the private key in a file, or that of an SSH agent as `ssh-agent:NAME`.

    The passphrase of a file is asked for on the terminal, and never taken from elsewhere.
    """
    from peak_trade.governance.keys import AgentKey, ApproverKey, is_locked

    if str(path).startswith(AGENT):
        return AgentKey(str(path).removeprefix(AGENT), os.environ.get("SSH_AUTH_SOCK", ""))
    path = path.expanduser()
    return ApproverKey(path, ask_passphrase(f"Passphrase of {path}") if is_locked(path) else None)


def ask_passphrase(question: str, is_new: bool = False) -> str:
    """Return a passphrase that is typed on the terminal, a new one twice; ConfigError without a terminal."""
    if not has_terminal():
        raise ConfigError("there is no terminal on which to ask for the passphrase. Run it in a terminal.")
    return str(typer.prompt(question, hide_input=True, confirmation_prompt=is_new, err=True))


def has_terminal() -> bool:
    """Return whether this process has a terminal, from which text can be read unseen."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True
