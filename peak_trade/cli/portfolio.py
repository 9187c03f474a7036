"""`peak-trade portfolio`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from peak_trade.cli.verbs import verb_app

if TYPE_CHECKING:
    import pandas as pd

    from peak_trade.studies.portfolio.result import PortfolioResult

app = verb_app()


@app.command()
def portfolio(
    config: Annotated[
        Path, typer.Option(help="A portfolio file, for example config/portfolios/multi_strategy_example.toml.")
    ],
    second_opinion: Annotated[bool, typer.Option("--second-opinion", help="Check the run against vectorbt.")] = False,
    record: Annotated[bool, typer.Option(help="Keep the run in the registry.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Backtest several strategies and symbols from one cash pool.

    The PnL of the strategies, and that of the symbols, sums to the portfolio's at every bar. Weights are estimated
    on the past only.

    \b
    Example:
        peak-trade portfolio --config config/portfolios/multi_strategy_example.toml

    Exits 0 when the run is done, 1 when the second opinion differs, 2 on bad input.
    """
    from peak_trade.studies.portfolio.run import run_portfolio
    from peak_trade.studies.portfolio.settings import PortfolioSettings

    settings = PortfolioSettings.from_toml(config)
    result = _run_with_progress(run_portfolio, settings)
    if record:
        from peak_trade.studies.recording import record_portfolio

        record_portfolio(result)
    opinion = None
    if second_opinion:
        from peak_trade.engine.second_opinion import second_opinion as ask_vectorbt

        opinion = ask_vectorbt(result.run)
    said = None if opinion is None else str(opinion)
    if as_json:
        _print_json(result, said)
    else:
        _print_tables(result, said)
    if opinion is not None and not opinion.agrees:
        raise typer.Exit(1)


def _run_with_progress(run: Any, settings: Any) -> PortfolioResult:
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("portfolio", total=None)
        result: PortfolioResult = run(settings, progress=lambda row: progress.update(task, completed=row))
    return result


def _print_json(result: PortfolioResult, opinion: str | None) -> None:
    import json

    content = {
        "run_id": result.run.run_id,
        "mode": result.settings.mode,
        "strategies": list(result.run.strategies),
        "symbols": list(result.run.market.symbols),
        "timeframe": str(result.run.market.timeframe),
        "n_bars": len(result.run.market),
        "stats": result.run.stats().to_dict(),
        "diversification_ratio": _finite(result.diversification_ratio),
        "attribution": _rows(result.attribution().reset_index()),
        "correlations": _rows(result.correlations()),
        "correlations_in_drawdown": _rows(result.drawdown_correlations()),
        "drawdowns": _rows(result.drawdowns()),
        "digests": result.run.digests,
        "content_digest": result.run.content_digest,
        "standing": result.run.standing,
        "why": result.run.why,
        "second_opinion": opinion,
    }
    typer.echo(json.dumps(content, indent=2))


def _rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): _finite(value) for name, value in row.items()} for row in frame.to_dict("records")]


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if abs(value) < float("inf") else None
    return value.isoformat() if hasattr(value, "isoformat") else value


def _print_tables(result: PortfolioResult, opinion: str | None) -> None:
    from rich.console import Console

    console = Console()
    market = result.run.market
    measures = [(name.replace("_", " "), str(measure)) for name, measure in result.run.stats().items()]
    measures.append(("diversification ratio", f"{result.diversification_ratio:.3f}"))
    n_sleeves = len(result.settings.strategies)
    title = f"{n_sleeves} strategies ({result.settings.mode}), {market.timeframe}, {len(market):,} bars"
    _print_table(console, title, ["measure", "portfolio"], measures)
    sleeves = [
        (
            str(row.strategy),
            str(row.symbol),
            f"{row.pnl:,.2f}",
            f"{row.risk_share:.1%}",
            f"{row.annual_risk:.2%}",
            f"{row.mean_weight:.1%}",
        )
        for row in result.attribution().reset_index().itertuples()
    ]
    _print_table(
        console, "What each gave", ["strategy", "symbol", "pnl", "risk share", "annual risk", "mean weight"], sleeves
    )
    pairs = result.correlations().merge(result.drawdown_correlations(), on=["first", "second"], suffixes=("", "_deep"))
    rows = [
        (
            f"{row.first} ~ {row.second}",
            f"{row.correlation:.3f}",
            f"{row.low:.3f} to {row.high:.3f}",
            f"{row.correlation_deep:.3f}",
        )
        for row in pairs.itertuples()
    ]
    if rows:
        _print_table(console, "Correlation of returns", ["pair", "all bars", "95 % interval", "in drawdown"], rows)
    for line in (
        result.run.standing,
        result.run.why,
        opinion,
        f"run {result.run.run_id}, events {result.run.content_digest[:16]}",
    ):
        if line:
            console.print(line, highlight=False)


def _print_table(console: Any, title: str, columns: list[str], rows: Sequence[tuple[str, ...]]) -> None:
    from rich.table import Table

    table = Table(title=title)
    for name in columns:
        table.add_column(name, justify="left" if name in ("measure", "strategy", "symbol", "pair") else "right")
    for row in rows:
        table.add_row(*row)
    console.print(table)
