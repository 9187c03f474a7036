"""The table of verbs, and the one place where an exception becomes a line and an exit code."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import cache

import typer
from typer.core import TyperGroup

from peak_trade.cli.deprecated import with_current_options
from peak_trade.cli.output import error
from peak_trade.cli.verbs import LazyVerb
from peak_trade.core.errors import PeakTradeError

VERBS = {
    "init": "Create a workspace with notebooks and example run files.",
    "data": "Import, fetch, list, check and resample bars.",
    "check": "Check that a strategy does not look ahead.",
    "backtest": "Run a strategy over stored bars.",
    "sweep": "Backtest every combination of parameter values.",
    "portfolio": "Backtest several strategies and symbols from one cash pool.",
    "regime": "Detect market regimes and backtest a strategy with and without them.",
    "session": "Run, resume, list and show paper, shadow and testnet sessions.",
    "replay": "Run a session again from its journal and compare the results.",
    "diff": "Compare two sessions or backtests.",
    "risk": "Explain risk decisions and control the trading state.",
    "audit": "Verify, prove, export, import and tidy session journals.",
    "runs": "List, show and compare recorded runs.",
    "report": "Run notebooks as reports and list them.",
    "site": "Build the site of reports.",
}
"""Each verb with its summary; the verb `data` is the module `peak_trade.cli.data`."""

app = typer.Typer(
    name="peak-trade",
    help="Research, backtest and replay crypto strategies. Paper and exchange sandboxes only, never real money.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback()
def _root() -> None:
    pass


@cache
def root() -> TyperGroup:
    """Return the root command; the module of a verb is imported when the verb is called."""
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    for name, summary in VERBS.items():
        group.add_command(LazyVerb(name, summary))
    return group


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one verb and return its exit code.

    0 means success, 1 that a check failed or a comparison found differences, 2 that the input was wrong. An error is
    one line on standard error.
    """
    given = with_current_options(sys.argv[1:] if arguments is None else arguments)
    try:
        outcome = root().main(args=given, prog_name="peak-trade", standalone_mode=False)
    except PeakTradeError as refusal:
        return _refuse(str(refusal))
    except typer.TyperException as refusal:
        return _refuse(refusal.format_message().replace("Value error, ", ""))
    except typer.Exit as stop:
        return stop.exit_code
    except (KeyboardInterrupt, typer.Abort):
        return _refuse("stopped", 130)
    return outcome if isinstance(outcome, int) else 0


def _refuse(message: str, exit_code: int = 2) -> int:
    error(message)
    return exit_code
