"""The table of verbs, and the one place where an exception becomes a line and an exit code."""

from __future__ import annotations

import gc
import re
import sys
from collections.abc import Sequence
from functools import cache
from types import TracebackType
from typing import Annotated

import typer
from typer.core import TyperGroup

from peak_trade import __version__
from peak_trade.cli import INTERRUPTED, output
from peak_trade.cli.deprecated import with_current_options
from peak_trade.cli.verbs import LazyVerb
from peak_trade.core.errors import ReproductionError, explain
from peak_trade.core.progress import progress_shown

VERBS = {
    "init": "Create a workspace with notebooks and example run files.",
    "new": "Write a strategy or a notebook to start from.",
    "data": "Import, fetch, list, check and resample bars.",
    "strategies": "List strategies and show their parameters.",
    "check": "Check strategies for look-ahead, and risk limits.",
    "holdout": "Seal bars that wait for a final test.",
    "backtest": "Run a strategy over stored bars.",
    "sweep": "Backtest combinations of parameter values.",
    "walk-forward": "Choose parameters on past bars, trade them on the next.",
    "portfolio": "Backtest several strategies and symbols with shared cash.",
    "regime": "Detect market regimes and backtest a strategy with them.",
    "ready": "Check whether a session may start at a stage.",
    "session": "Run, resume, list and show sessions.",
    "metrics": "Serve the metrics of sessions to Prometheus.",
    "replay": "Run a session again from its journal and compare results.",
    "diff": "Compare two sessions, backtests or imported logs.",
    "costs": "Estimate costs from logs and sessions.",
    "risk": "Explain risk decisions and control the trading state.",
    "policy": "Sign and adopt the policy of sessions at a sandbox.",
    "approve": "Sign or revoke the approval of a session at a sandbox.",
    "governance": "Show and verify the log of policies and approvals.",
    "audit": "Verify, prove, export, import and tidy journals.",
    "alerts": "Show which alerts would have fired in a session.",
    "runs": "List, show, compare, verify and export recorded runs.",
    "report": "Run notebooks as reports and list them.",
    "site": "Build the site of reports.",
    "health": "Run the test suite repeatedly and report flaky tests.",
}
"""Each verb with its summary; the verb `data` is the module `peak_trade.cli.data`."""

COLLECTOR_THRESHOLD = (50_000, 20, 20)
"""`gc.set_threshold` while a verb runs: events and decisions stay until the end, and the collector walks them again."""

app = typer.Typer(
    name="peak-trade",
    help="Research, backtest and replay crypto strategies.\n\nPaper and exchange sandboxes only, never real money.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _show_version(is_asked: bool) -> None:
    if is_asked:
        output.write(f"peak-trade {__version__}\n")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
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

    Exit codes are 0 on success, 1 when a check failed, a comparison found differences or a run differs from the
    recorded one of its id, 2 on bad input or when the disk, the network or a database fails, 130 after Ctrl-C and 141
    when the reader of the output is gone. An error is one line on standard error; when the run itself succeeded, its
    result is printed before.
    """
    output.prepare_streams()
    output.forget_notes()
    stdout, threshold = sys.stdout, gc.get_threshold()
    gc.set_threshold(*COLLECTOR_THRESHOLD)
    try:
        return _run(sys.argv[1:] if arguments is None else arguments)
    finally:
        gc.set_threshold(*threshold)
        sys.stdout = stdout  # Typer replaces a stream without a reader
        output.settle(stdout)


def _run(arguments: Sequence[str]) -> int:
    try:
        given = with_current_options(arguments)
        with progress_shown(output.progress):
            outcome = root().main(args=given, prog_name="peak-trade", standalone_mode=False)
        if outcome == INTERRUPTED:  # Typer's answer to Ctrl-C
            return _refuse("stopped", INTERRUPTED)
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
        return _refuse("stopped", INTERRUPTED)
    except Exception as error:
        if _is_interrupted(error):
            return _refuse("stopped", INTERRUPTED)
        return _refuse(explain(error), 1 if isinstance(error, ReproductionError) else 2)
    except SystemExit as stop:
        if isinstance(stop.__context__, BrokenPipeError):
            return 141
        if _module_of_last_frame(stop.__traceback__).startswith("typer."):  # completion of the shell
            return int(stop.code or 0)
        return _refuse(f"code of the run called exit({stop.code!r}). Remove that call.")
    return outcome if isinstance(outcome, int) else 0


def _is_interrupted(error: Exception) -> bool:
    """Return whether an error is a Ctrl-C that came while pydantic built a class, which names it in its own error."""
    return type(error).__name__ == "SchemaError" and "KeyboardInterrupt" in str(error)


def _module_of_last_frame(traceback: TracebackType | None) -> str:
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    return "" if traceback is None else str(traceback.tb_frame.f_globals.get("__name__", ""))


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
