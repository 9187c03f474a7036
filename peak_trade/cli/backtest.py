"""`peak-trade backtest`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from peak_trade.cli.verbs import verb_app
from peak_trade.core.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from peak_trade.core.bars import Bars
    from peak_trade.engine.result import BacktestResult
    from peak_trade.strategies.base import Strategy
    from peak_trade.wiring.run_file import RunFile

app = verb_app()


@app.command()
def backtest(
    strategy: Annotated[str, typer.Option(help="A strategy's name, or package.module:Class for one of your own.")],
    symbol: Annotated[
        list[str], typer.Option(help="Base and quote, for example BTC/USDT; may be given several times.")
    ],
    timeframe: Annotated[str, typer.Option(help="Length of a bar: 1m, 5m, 1h, 4h, 1d …")] = "1h",
    start: Annotated[str | None, typer.Option(help="First close time that counts, UTC, inclusive.")] = None,
    end: Annotated[str | None, typer.Option(help="End of the close times, UTC, exclusive.")] = None,
    exchange: Annotated[str | None, typer.Option(help="Needed when the symbol is held from two exchanges.")] = None,
    parameter: Annotated[list[str] | None, typer.Option("-p", help="A strategy parameter, key=value.")] = None,
    config: Annotated[
        Path | None, typer.Option(help="A run file: costs, execution, sizing, instruments, risk.")
    ] = None,
    cash: Annotated[float | None, typer.Option(help="Cash at the start, quote currency; 10000 unless given.")] = None,
    fees: Annotated[str | None, typer.Option(help="A published fee schedule: binance or kraken.")] = None,
    fee_bps: Annotated[float | None, typer.Option(help="Fee of a fill, basis points; 10 unless given.")] = None,
    slippage_bps: Annotated[float | None, typer.Option(help="Slippage, basis points; 5 unless given.")] = None,
    second_opinion: Annotated[bool, typer.Option("--second-opinion", help="Check the run against vectorbt.")] = False,
    record: Annotated[bool, typer.Option(help="Keep the run in the registry.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Run a strategy over stored bars.

    A decision on a close fills at the next bar's open, with fee and slippage. The run is recorded: see `runs list`.

    \b
    Example:
        peak-trade backtest --strategy ma_crossover --symbol BTC/USDT --timeframe 1h -p fast=10 -p slow=30

    Exits 0 when the run is done, 1 when the second opinion differs, 2 on bad input.
    """
    from peak_trade.cli.options import pairs
    from peak_trade.data.store import load_bars
    from peak_trade.engine.second_opinion import second_opinion as ask_vectorbt
    from peak_trade.engine.settings import BacktestSettings
    from peak_trade.wiring.gates import source_of
    from peak_trade.wiring.run_file import RunFile, read_run_file
    from peak_trade.wiring.strategies import make_strategy

    part = make_strategy(strategy, pairs(parameter))
    given = _given(cash, _fees(fees, fee_bps), slippage_bps)
    run_file = RunFile(BacktestSettings.parse(given, "backtest")) if config is None else read_run_file(config, given)
    bars = [load_bars(name, timeframe, exchange, start, end) for name in symbol]
    is_longer = start is not None and run_file.risk is not None and source_of(run_file.risk)[0] == "run"
    history = [load_bars(name, timeframe, exchange, None, end) for name in symbol] if is_longer else None
    result = _run_with_progress(part, bars, run_file, history)
    if record:
        from peak_trade.studies.recording import record as record_result

        record_result(result)
    opinion = ask_vectorbt(result) if second_opinion else None
    if as_json:
        _print_json(result, None if opinion is None else str(opinion))
    else:
        _print_tables(result, bars, None if opinion is None else str(opinion))
    if opinion is not None and not opinion.agrees:
        raise typer.Exit(1)


def _given(cash: float | None, fees: dict[str, float], slippage_bps: float | None) -> dict[str, Any]:
    costs = fees if slippage_bps is None else {**fees, "slippage_bps": slippage_bps}
    return ({} if cash is None else {"initial_cash": cash}) | ({"costs": costs} if costs else {})


def _fees(preset: str | None, fee_bps: float | None) -> dict[str, float]:
    from peak_trade.costs.model import FEE_PRESETS

    if preset is None:
        return {} if fee_bps is None else {"fee_bps": fee_bps}
    if fee_bps is not None:
        raise ConfigError(f"--fees {preset} and --fee-bps {fee_bps:g} are both given. Choose one.")
    if preset not in FEE_PRESETS:
        raise ConfigError(f"fees was {preset!r}. {did_you_mean(preset, FEE_PRESETS)}")
    return FEE_PRESETS[preset]


def _run_with_progress(
    part: Strategy, bars: list[Bars], run_file: RunFile, history: list[Bars] | None
) -> BacktestResult:
    from rich.console import Console
    from rich.progress import Progress

    from peak_trade.studies.backtest import backtest as run_backtest

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("backtest", total=max(len(part_bars) for part_bars in bars))
        return run_backtest(
            part,
            bars,
            run_file.settings,
            instruments=run_file.instruments,
            risk=run_file.risk,
            history=history,
            progress=lambda row: progress.update(task, completed=row),
        )


def _print_json(result: BacktestResult, opinion: str | None) -> None:
    import json

    content = {
        "run_id": result.run_id,
        "strategies": list(result.strategies),
        "symbols": list(result.market.symbols),
        "timeframe": str(result.market.timeframe),
        "n_bars": len(result.market),
        "stats": result.stats().to_dict(),
        "benchmark": result.benchmark.stats().to_dict(),
        "digests": result.digests,
        "content_digest": result.content_digest,
        "n_ambiguous_bars": result.n_ambiguous,
        "standing": result.standing,
        "why": result.why,
        "second_opinion": opinion,
    }
    typer.echo(json.dumps(content, indent=2))


def _print_tables(result: BacktestResult, bars: list[Bars], opinion: str | None) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    title = f"{', '.join(result.strategies)} on {', '.join(f'{part.symbol} ({part.exchange})' for part in bars)}"
    table = Table(title=f"{title}, {result.market.timeframe}, {len(result.market):,} bars")
    table.add_column("measure")
    table.add_column("strategy", justify="right")
    table.add_column("buy and hold", justify="right")
    benchmark = result.benchmark.stats()
    for name, measure in result.stats().items():
        table.add_row(name.replace("_", " "), str(measure), str(benchmark[name]))
    console.print(table)
    if result.best_intrabar is not None:
        worst, best = (run.stats()["total_return"] for run in (result, result.best_intrabar))
        console.print(
            f"{result.n_ambiguous:,} bars held both stop and target: total return {worst} at worst, {best} at best."
        )
    for line in (result.standing, result.why, opinion, f"run {result.run_id}, events {result.content_digest[:16]}"):
        if line:
            console.print(line, highlight=False)
