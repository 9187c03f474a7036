"""The table of verbs, and the one place where an error becomes a line and an exit code."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import cache

import typer
from typer._click.exceptions import ClickException
from typer.core import TyperGroup

from peak_trade.cli import (
    audit,
    backtest,
    check,
    data,
    diff,
    init,
    portfolio,
    regime,
    replay,
    report,
    risk,
    runs,
    session,
    site,
    sweep,
)
from peak_trade.core.errors import PeakTradeError

app = typer.Typer(
    name="peak-trade",
    help="Research, backtest and replay crypto strategies. Paper and exchange sandboxes only, never real money.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

app.add_typer(audit.app, name="audit")
app.command("backtest")(backtest.backtest)
app.add_typer(check.app, name="check")
app.add_typer(data.app, name="data")
app.command("diff")(diff.diff)
app.command("portfolio")(portfolio.portfolio)
app.command("regime")(regime.regime)
app.command("replay")(replay.replay)
app.add_typer(report.app, name="report")
app.add_typer(risk.app, name="risk")
app.add_typer(runs.app, name="runs")
app.add_typer(session.app, name="session")
app.command("init")(init.init)
app.add_typer(site.app, name="site")
app.command("sweep")(sweep.sweep)


@app.callback()
def _root() -> None:
    pass


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; a PeakTradeError is printed as one line on stderr and gives exit code 2."""
    try:
        outcome = _command().main(
            args=list(arguments) if arguments is not None else None, prog_name="peak-trade", standalone_mode=False
        )
    except PeakTradeError as error:
        return _refuse(str(error))
    except ClickException as error:
        return _refuse(error.format_message().replace("Value error, ", ""))
    except typer.Exit as stop:
        return stop.exit_code
    except (KeyboardInterrupt, typer.Abort):
        return _refuse("stopped", 130)
    return outcome if isinstance(outcome, int) else 0


@cache
def _command() -> TyperGroup:
    return typer.main.get_group(app)


def _refuse(message: str, exit_code: int = 2) -> int:
    sys.stderr.write(f"peak-trade: {message}\n")
    return exit_code
