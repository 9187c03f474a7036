"""The table of verbs, and the one place where an exception becomes a line and an exit code."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from functools import cache

import typer
from typer.core import TyperGroup

from peak_trade.cli import output
from peak_trade.cli.deprecated import with_current_options
from peak_trade.cli.verbs import LazyVerb
from peak_trade.core.errors import explain

VERBS = {
    "init": "Create a workspace with notebooks and example run files.",
    "data": "Import, fetch, list, check and resample bars.",
    "check": "Check that a strategy does not look ahead.",
    "backtest": "Run a strategy over stored bars.",
    "sweep": "Backtest every combination of parameter values.",
    "portfolio": "Backtest several strategies and symbols with shared cash.",
    "regime": "Detect market regimes and backtest a strategy with them.",
    "session": "Run, resume, list and show sessions.",
    "replay": "Run a session again from its journal and compare results.",
    "diff": "Compare two sessions or backtests.",
    "risk": "Explain risk decisions and control the trading state.",
    "audit": "Verify, prove, export, import and tidy journals.",
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

    Exit codes are 0 on success, 1 when a check failed or a comparison found differences, 2 on bad input or when the
    disk, the network or a database fails, 130 after Ctrl-C and 141 when the reader of the output is gone. An error is
    one line on standard error; when the run itself succeeded, its result is printed before.
    """
    output.prepare_streams()
    output.forget_notes()
    stdout = sys.stdout
    try:
        return _run(sys.argv[1:] if arguments is None else arguments)
    finally:
        sys.stdout = stdout  # Typer replaces a stream without a reader
        output.settle(stdout)


def _run(arguments: Sequence[str]) -> int:
    try:
        given = with_current_options(arguments)
        outcome = root().main(args=given, prog_name="peak-trade", standalone_mode=False)
        output.show_notes()
        output.write("")
    except typer.TyperException as refusal:
        message = refusal.format_message()
        if message.startswith("Usage: "):
            sys.stderr.write(f"{message}\n")
            return 2
        return _refuse(_usage_message(message, getattr(refusal, "ctx", None)))
    except typer.Exit as stop:
        return stop.exit_code
    except (KeyboardInterrupt, typer.Abort):
        return _refuse("stopped", 130)
    except Exception as error:
        return _refuse(explain(error))
    except SystemExit as stop:
        if isinstance(stop.__context__, BrokenPipeError):
            return 141
        return _refuse(f"code of the run called exit({stop.code!r}). Remove that call.")
    return outcome if isinstance(outcome, int) else 0


def _usage_message(message: str, context: typer.Context | None) -> str:
    """Return what is wrong with the arguments, as one line that says where their help is."""
    line = " ".join(message.replace("Value error, ", "").split())
    line = re.sub("^Invalid value for '([^']+)': ", r"\1: ", line)
    line = line.replace("Got unexpected extra argument(s)", "Unexpected arguments")
    end = "" if line.endswith((".", "?")) else "."
    return f"{line}{end}" if context is None else f"{line}{end} See `{context.command_path} --help`."


def _refuse(message: str, exit_code: int = 2) -> int:
    output.forget_notes()
    output.error(message)
    return exit_code
