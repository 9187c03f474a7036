"""`peak-trade costs`: costs of trading, learned from logs and sessions."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from peak_trade.cli import options, output
from peak_trade.cli.verbs import verb_app

if TYPE_CHECKING:
    from peak_trade.costs.fit import Estimate
    from peak_trade.studies.cost_fit import CostFit

app = verb_app()

_UNITS = {
    "taker_fee": "taker fee, bps",
    "maker_fee": "maker fee, bps",
    "slippage": "slippage, bps",
    "buy_slippage": "slippage of buys, bps",
    "sell_slippage": "slippage of sells, bps",
    "size_effect": "slippage per volume of a bar, bps",
    "book_slippage": "slippage against the book, bps",
    "latency": "median latency, ms",
}


@app.callback()
def _costs() -> None:
    pass


@app.command("fit")
def fit(
    log: Annotated[str, typer.Argument(metavar="LOG", help="An imported log, a session, or the id of a run.")],
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Run file to write, with the fitted costs as its table [costs]."),
    ] = None,
    config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Run file with the costs that are assumed now.")
    ] = None,
    timeframe: Annotated[
        str | None,
        typer.Option(help="Timeframe of the bars of an imported log.", show_default="the finest held"),
    ] = None,
    exchange: options.StoredExchange = None,
    open_holdout: options.OpenHoldout = False,
    as_json: options.AsJson = False,
) -> None:
    """Estimate costs from the fills of a log or a session.

    The costs are fees, slippage and latency. Each estimate has an interval that contains the true value in 95 of 100
    cases. The orders are then simulated on bars with the costs that are assumed now and with the fitted ones: the gap
    to the PnL of the log shows what they explain.

    \b
    Example:
        peak-trade costs fit 20240101_000000_imported_trades --out costs.toml
        peak-trade backtest --strategy ma_crossover --symbol BTC/USDT --config costs.toml

    Exits 0 when the costs are fitted, 2 on bad input, such as too few fills or no bars.
    """
    from peak_trade.studies.cost_fit import fit_costs
    from peak_trade.studies.log_diff import LogStatements

    found = fit_costs(log, LogStatements(config, None, exchange, timeframe))
    if out is not None:
        found.write(out)
    output.show(found, as_json, lambda found: _page(found, out), _content)


def _page(found: CostFit, out: Path | None) -> output.Page:
    yield output.Table(
        ("cost", "estimate", "from", "to", "n"),
        [_row(_UNITS[name], each) for name, each in found.estimates.items()],
        f"Costs of {found.name}, 95% intervals",
        right=("estimate", "from", "to", "n"),
    )
    closed = "there is no gap to close" if found.gap == 0.0 else f"they close {found.closed:.0%} of the gap"
    yield (
        f"The same orders on bars: live PnL minus simulated PnL is {found.gap:+,.2f} with the assumed costs and "
        f"{found.fitted_gap:+,.2f} with the fitted ones; {closed}."
    )
    yield from (f"{note[:1].upper()}{note[1:]}." for note in found.notes)
    if out is not None:
        yield (
            f"Written: {out}, with the costs only. Use it with `peak-trade backtest --config {out}`, or copy its "
            "table [costs] into your run file."
        )


def _row(cost: str, estimate: Estimate | None) -> tuple[str, str, str, str, str]:
    if estimate is None:
        return cost, "–", "–", "–", ""
    return cost, f"{estimate.value:,.2f}", f"{estimate.low:,.2f}", f"{estimate.high:,.2f}", f"{estimate.n:,}"


def _content(found: CostFit) -> dict[str, Any]:
    return {
        "name": found.name,
        "estimates": {name: None if each is None else asdict(each) for name, each in found.estimates.items()},
        "costs": found.costs.model_dump(mode="json"),
        "gap": found.gap,
        "fitted_gap": found.fitted_gap,
        "closed": None if found.gap == 0.0 else found.closed,
        "notes": list(found.notes),
    }
