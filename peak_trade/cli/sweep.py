"""`peak-trade sweep`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from peak_trade.cli import options, output
from peak_trade.cli.equal_runs import shared
from peak_trade.cli.verbs import verb_app
from peak_trade.core.errors import ConfigError

if TYPE_CHECKING:
    from peak_trade.studies.sweep.result import SweepResult
    from peak_trade.studies.sweep.settings import SweepSettings

app = verb_app()


@app.command()
@shared
def sweep(
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="FILE", help="Sweep file in TOML, for example config/sweeps/ma_crossover.toml. Options override it."
        ),
    ] = None,
    strategy: Annotated[
        str | None, typer.Option(help="Name of a strategy, or package.module:Class for your own.")
    ] = None,
    symbol: Annotated[str | None, typer.Option(help="Symbol as base/quote, for example BTC/USDT.")] = None,
    parameter: options.ParameterValues = None,
    constraint: options.Constraints = None,
    method: Annotated[
        str | None, typer.Option(help="grid, random or search (with Optuna).", show_default="grid, or the file's")
    ] = None,
    sets: Annotated[int | None, typer.Option(help="Combinations of a random choice or a search.", min=1)] = None,
    seed: Annotated[
        int | None,
        typer.Option(help="Seed of a random choice or a search.", min=0, show_default="0, or the file's"),
    ] = None,
    timeframe: Annotated[
        str | None, typer.Option(help="Bar length, for example 1m, 5m, 1h, 4h or 1d.", show_default="1h, or the file's")
    ] = None,
    start: options.Start = None,
    end: options.End = None,
    cold: options.Cold = False,
    exchange: options.StoredExchange = None,
    config: options.RunFile = None,
    fee_bps: options.FeeBps = None,
    slippage_bps: options.SlippageBps = None,
    top: Annotated[
        int, typer.Option(help="Best combinations, which run again in the event loop and are printed.", min=1)
    ] = 10,
    processes: options.Processes = None,
    cluster: options.Cluster = "",
    yes: options.Yes = False,
    causality_check: options.CausalityCheck = True,
    open_holdout: options.OpenHoldout = False,
    record: options.Record = True,
    as_json: options.AsJson = False,
) -> None:
    """Backtest combinations of parameter values.

    Market orders with a fraction of equity, fee and slippage run on the array kernel, everything else in the event
    loop. The best combinations run again in the event loop, and only those are results. Every combination counts as a
    trial on these bars for good. The best Sharpe ratio of many trials is high by chance alone.

    \b
    Example:
        peak-trade sweep config/sweeps/ma_crossover.toml
        peak-trade sweep --strategy ma_crossover --symbol BTC/USDT -p fast=5,10,20 -p slow=40..80:20

    Exits 0 when the event loop agrees with the kernel on the best combination, 1 when it or
    a record of the same run id differs, 2 on bad input.
    """
    from peak_trade.studies import by_name, recording

    named = {"strategy": strategy, "symbol": symbol, "exchange": exchange, "timeframe": timeframe, "start": start}
    chosen = {"end": end, "method": method, "sets": sets, "seed": seed, "constraints": constraint or None}
    result = by_name.sweep(
        _settings(file, {name: value for name, value in (named | chosen).items() if value is not None}, parameter),
        is_cold=cold,
        run_file=config,
        overrides=by_name.overriding_settings(fee_bps=fee_bps, slippage_bps=slippage_bps),
        n_best=top,
        is_confirmed=yes,
        n_processes=processes,
        cluster=cluster,
        causality_check=causality_check,
    )

    output.show(result, as_json, _page, _content)
    if record:
        recording.record_sweep(result)
    if not result.agrees:
        raise typer.Exit(1)


def _settings(file: Path | None, given: dict[str, Any], parameter: list[str] | None) -> SweepSettings:
    from peak_trade.core.settings import read_toml
    from peak_trade.studies.sweep.settings import SweepSettings

    content = {} if file is None else read_toml(file)
    texts = options.pairs(parameter)
    if file is None:
        for option, name in (("--strategy", "strategy"), ("--symbol", "symbol")):
            if name not in given:
                raise ConfigError(f"sweep: {option} is missing. Give it, or a sweep file.")
    held = content.get("parameters", {})
    parameters = {**held, **texts} if isinstance(held, dict) else held
    return SweepSettings.parse({**content, **given, "parameters": parameters}, "sweep" if file is None else str(file))


def _page(result: SweepResult) -> output.Page:
    from peak_trade.metrics import measure_formats
    from peak_trade.studies.trials import trials_sentence

    market = result.winner.market
    series = f"{', '.join(result.winner.strategies)} on {', '.join(market.symbols)}, {market.timeframe}"
    title = f"{series}, {len(market):,} bars: best {len(result.results):,} of {len(result.table):,} combinations"
    yield output.frame_table(result.results.drop(columns="difference"), title, measure_formats("sweep"))
    yield output.selection_table(result.winner, "The best combination as one of many trials")
    yield result.overfitting_sentence
    yield result.engine_sentence
    if result.n_skipped:
        yield f"{output.count(result.n_skipped, 'combination')} skipped because the values contradict each other."
    yield from filter(None, [result.equal_sets_sentence, result.agreement_sentence])
    yield trials_sentence(result.winner.digests)
    yield from filter(None, [result.ranking, result.causality_sentence])
    yield from result.winner.remarks
    yield f"sweep {result.run_id}, best run {result.winner.run_id}"


def _content(result: SweepResult) -> dict[str, Any]:
    from peak_trade.studies.trials import deflated

    counted, chosen = deflated(result.winner)
    return {
        "run_id": result.run_id,
        "method": result.method,
        "n_sets": len(result.table),
        "n_skipped": result.n_skipped,
        "n_trials": result.n_trials,
        "trials": None if counted is None else counted.to_dict(),
        "engine": result.engine,
        "engine_reason": result.engine_reason,
        "execution": result.execution,
        "best": output.records(result.results),
        "equal_sets": [[result.parameters_of(place) for place in group] for group in result.equal_sets],
        "winner": {
            "run_id": result.winner.run_id,
            "stats": result.winner.stats().to_dict(),
            "measures": result.winner.stats().to_measures(),
            "selection": {name: each.to_dict() for name, each in chosen.items()},
        },
        "overfitting": {name: each.to_dict() for name, each in result.overfitting_measures().items()},
        "difference": result.difference,
        "ranking": result.ranking,
        "n_checked": sum(each.verdict.value != "not checked" for each in result.causality.values()),
        "causality": [{"row": row} | each.to_dict() for row, each in result.causality.items()],
        "remarks": result.winner.remarks,
    }
