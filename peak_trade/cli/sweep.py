"""`peak-trade sweep`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from peak_trade.cli.verbs import verb_app

if TYPE_CHECKING:
    from peak_trade.studies.sweep import SweepResult

app = verb_app()


@app.command()
def sweep(
    strategy: Annotated[str, typer.Option(help="A strategy's name, or package.module:Class for one of your own.")],
    symbol: Annotated[str, typer.Option(help="Base and quote, for example BTC/USDT.")],
    parameter: Annotated[list[str], typer.Option("-p", help="A parameter and the values to try, key=value,value.")],
    timeframe: Annotated[str, typer.Option(help="Length of a bar: 1m, 5m, 1h, 4h, 1d …")] = "1h",
    start: Annotated[str | None, typer.Option(help="First close time that counts, UTC, inclusive.")] = None,
    end: Annotated[str | None, typer.Option(help="End of the close times, UTC, exclusive.")] = None,
    exchange: Annotated[str | None, typer.Option(help="Needed when the symbol is held from two exchanges.")] = None,
    fee_bps: Annotated[float, typer.Option(help="Fee of a fill, basis points.")] = 10.0,
    slippage_bps: Annotated[float, typer.Option(help="Slippage, basis points.")] = 5.0,
    top: Annotated[int, typer.Option(help="How many sets to show, the highest Sharpe ratio first.", min=1)] = 10,
    record: Annotated[bool, typer.Option(help="Keep the sweep in the registry.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Backtest every combination of parameter values.

    Sets are screened on the array kernel: market orders, fee and slippage, no volume cap. The best set is run again
    in the event loop. Each set counts as a trial on these bars permanently: the more trials there are, the less the
    best Sharpe ratio means.

    \b
    Example:
        peak-trade sweep --strategy ma_crossover --symbol BTC/USDT -p fast=5,10,20 -p slow=40,60,80

    Exits 0 when the event loop agrees with the kernel on the best set, 1 when it does not, 2 on bad input.
    """
    from peak_trade.cli.options import pairs
    from peak_trade.data.store import load_bars
    from peak_trade.engine.settings import BacktestSettings
    from peak_trade.studies.sweep import sweep as run_sweep
    from peak_trade.wiring.strategies import parameter_grid, strategy_class

    part = strategy_class(strategy)
    grid = parameter_grid(part, pairs(parameter))
    settings = BacktestSettings.parse({"costs": {"fee_bps": fee_bps, "slippage_bps": slippage_bps}}, "sweep")
    result = run_sweep(part, grid, load_bars(symbol, timeframe, exchange, start, end), settings)
    if record:
        from peak_trade.studies.recording import record_sweep

        record_sweep(result)
    if as_json:
        _print_json(result, top)
    else:
        _print_table(result, top)
    if not result.agrees:
        raise typer.Exit(1)


def _print_json(result: SweepResult, top: int) -> None:
    import json

    content = {
        "run_id": result.run_id,
        "n_sets": len(result.table),
        "n_skipped": result.n_skipped,
        "n_trials": result.n_trials,
        "best": json.loads(result.best(top).to_json(orient="records", double_precision=15)),
        "winner": {"run_id": result.winner.run_id, "stats": result.winner.stats().to_dict()},
        "difference": result.difference,
    }
    typer.echo(json.dumps(content, indent=2))


def _print_table(result: SweepResult, top: int) -> None:
    from rich.console import Console
    from rich.table import Table

    console, best = Console(), result.best(top)
    market = result.winner.market
    names = f"{', '.join(result.winner.strategies)} on {', '.join(market.symbols)}, {market.timeframe}"
    table = Table(title=f"{names}, {len(market):,} bars: best {len(best)} of {len(result.table):,} sets")
    for name in best.columns:
        table.add_column(str(name).replace("_", " "), justify="right")
    for row in best.itertuples(index=False):
        table.add_row(*(f"{value:.4g}" if isinstance(value, float) else f"{value}" for value in row))
    console.print(table)
    verdict = "the event loop agrees" if result.agrees else f"the event loop differs: {result.difference}"
    for line in (
        f"{result.n_skipped:,} sets contradict themselves and were skipped." if result.n_skipped else "",
        f"On the best set {verdict}.",
        f"{result.n_trials:,} distinct trials on these bars so far.",
        f"sweep {result.run_id}, best run {result.winner.run_id}",
    ):
        if line:
            console.print(line, highlight=False)
