"""`peak-trade ready`: the checklist of the live-execution gate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from peak_trade.cli import options, output
from peak_trade.cli.verbs import verb_app

if TYPE_CHECKING:
    from peak_trade.governance.decision import Decision
    from peak_trade.governance.requirements import CheckLine

app = verb_app()


@app.command()
def ready(
    config: options.Policy,
    stage: Annotated[
        Literal["paper", "shadow", "testnet"],
        typer.Option(help="Stage that is checked: a mode of a session."),
    ] = "testnet",
    strategy: Annotated[
        str | None, typer.Option(help="Name of a strategy, or package.module:Class for your own.", show_default="none")
    ] = None,
    symbol: Annotated[
        str | None, typer.Option(help="Symbol as base/quote, for example BTC/USDT.", show_default="none")
    ] = None,
    timeframe: Annotated[
        str | None, typer.Option(help="Bar length, for example 1m, 5m or 1h.", show_default="1h, or the portfolio's")
    ] = None,
    exchange: Annotated[
        str | None, typer.Option(help="Exchange of the sandbox.", show_default="binance, or the portfolio's")
    ] = None,
    duration: Annotated[
        str | None,
        typer.Option(help="Length in bar time, as of `session run`.", show_default="no limit"),
    ] = None,
    parameter: options.Parameters = None,
    cash: Annotated[
        float | None, typer.Option(help="Initial cash in quote currency.", show_default="10000, or the run file's")
    ] = None,
    run_file: Annotated[
        Path | None, typer.Option("--run-file", help="Run file or portfolio file, the --config of `session run`.")
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Check whether a session may start at a stage.

    One line per requirement says what was observed, and what to do if it is not met. The session is named with the
    options of `session run`, which decides by the same checklist. The decision is recorded in the governance log, with
    its evidence. Keys of exchanges are never printed.

    \b
    Examples:
        peak-trade ready --config config/live_policies.toml
        peak-trade ready --config config/live_policies.toml --strategy rsi --symbol BTC/USDT --run-file run.toml
        peak-trade ready --config config/live_policies.toml --run-file portfolio.toml

    Exits 0 when every requirement is met, 1 when one is not, 2 on bad input.
    """
    from peak_trade.cli.session import seconds_of
    from peak_trade.studies import readiness

    asked = {
        "strategy": strategy,
        "symbol": symbol,
        "timeframe": timeframe,
        "exchange": exchange,
        "duration": seconds_of(duration),
    }
    session = readiness.named(stage, asked, options.pairs(parameter), cash, run_file)
    decision = readiness.check(session, readiness.Gate(config))
    output.show(decision, as_json, checklist, checklist_content)
    if not decision.is_allowed:
        raise typer.Exit(1)


def checklist(decision: Decision) -> output.Page:
    """Yield the lines of a decision: what was observed and required, and what to do."""
    for line in decision.lines:
        yield from _shown(line)
    yield f"decision {decision.digest()}"
    yield _verdict(decision)


def refusal(decision: Decision) -> output.Page:
    """Yield the requirements that a refused session does not meet."""
    for line in decision.failed:
        yield from _shown(line)
    yield f"The session was not started. {_verdict(decision)}"


def _shown(line: CheckLine) -> output.Page:
    yield f"{'PASS' if line.passed else 'FAIL'}  {line.name}: {line.observed}"
    if not line.passed:
        yield f"      required: {line.required}"
        yield f"      {line.remedy}"


def _verdict(decision: Decision) -> str:
    stage, n_failed = decision.evidence.scope.stage, len(decision.failed)
    if not n_failed:
        return f"{stage}: ready."
    return f"{stage}: not ready, {n_failed} of {output.count(len(decision.lines), 'requirement')} not met."


def checklist_content(decision: Decision) -> dict[str, Any]:
    """Return a decision for JSON."""
    lines: Sequence[dict[str, Any]] = [asdict(line) for line in decision.lines]
    return {
        "stage": decision.evidence.scope.stage,
        "is_ready": decision.is_allowed,
        "decision": decision.digest(),
        "lines": lines,
        "evidence": decision.evidence.model_dump(mode="json"),
    }
