"""`peak-trade regime`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from peak_trade.cli.verbs import verb_app

if TYPE_CHECKING:
    import pandas as pd

    from peak_trade.studies.regime.second_opinion import RegimeOpinion
    from peak_trade.studies.regime.study import RegimeStudy

_SHORT = {"annual_volatility": "volatility", "expected_duration": "expected stay"}

app = verb_app()


@app.command()
def regime(
    strategy: Annotated[str, typer.Option(help="A strategy's name, or package.module:Class for one of your own.")],
    symbol: Annotated[str, typer.Option(help="Base and quote, for example BTC/USDT.")],
    start: Annotated[
        str | None, typer.Option(help="First close time to trade on, UTC; bars held before it warm the detector up.")
    ] = None,
    end: Annotated[str | None, typer.Option(help="End of the close times, UTC, exclusive.")] = None,
    detector: Annotated[
        str, typer.Option(help="Regime detector: hmm, jump, rules, or package.module:Class of your own.")
    ] = "hmm",
    timeframe: Annotated[str, typer.Option(help="Length of a bar: 1h, 4h, 1d …")] = "1h",
    exchange: Annotated[str | None, typer.Option(help="Needed when the symbol is held from two exchanges.")] = None,
    mode: Annotated[
        Literal["scale", "filter", "switch"], typer.Option(help="What a regime does to the strategy's exposure.")
    ] = "scale",
    parameter: Annotated[list[str] | None, typer.Option("-p", help="A strategy parameter, key=value.")] = None,
    setting: Annotated[list[str] | None, typer.Option("-d", help="A detector setting, key=value.")] = None,
    noise: Annotated[int, typer.Option(min=0, help="Series of each kind of noise control; 0 leaves them out.")] = 0,
    second_opinion: Annotated[bool, typer.Option("--second-opinion", help="Check the fits against hmmlearn.")] = False,
    record: Annotated[bool, typer.Option(help="Keep the run in the registry.")] = True,
    report: Annotated[
        bool, typer.Option("--report", help="Run the notebook regime_study, too, with the same parameters.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Detect market regimes and backtest a strategy with and without them.

    Refits look at the past only, and between them only filtered probabilities are used. Weights: bull 1.0, sideways
    0.5, bear 0.0. Prints the results in each regime and writes the transition plot into the workspace. The full
    study, with figures and noise controls, is the notebook regime_study: `--report` runs it, and
    `peak-trade site build` makes its page.

    \b
    Example:
        peak-trade regime --strategy ma_crossover --symbol BTC/USDT --start 2021-01-01

    Exits 0 when the study is done, 1 when the second opinion differs, 2 on bad input.
    """
    from peak_trade.cli.options import pairs
    from peak_trade.core.errors import ReportError
    from peak_trade.core.time import Timeframe
    from peak_trade.data.store import load_bars
    from peak_trade.data.workspace import workspace
    from peak_trade.reports.markup import write_figure_page
    from peak_trade.reports.views.regime import transition_plot
    from peak_trade.studies.regime.second_opinion import regime_second_opinion
    from peak_trade.studies.regime.study import noise_controls, study_regimes
    from peak_trade.wiring.detectors import detector_values, make_detector
    from peak_trade.wiring.strategies import make_strategy

    part = make_strategy(strategy, pairs(parameter))
    teller = make_detector(detector, Timeframe.parse(timeframe), detector_values(pairs(setting, "-d")))
    bars = load_bars(symbol, timeframe, exchange, None, end)
    study = study_regimes(part, bars, teller, start=start, mode=mode)
    opinion = regime_second_opinion(study) if second_opinion else None
    p_value, _ = study.permutation()
    verdict = study.verdict(p_value, noise_controls(study, noise) if noise else ())
    if record:
        from peak_trade.studies.recording import record as record_result

        record_result(study.result, "regime")
    plot = workspace() / "regimes" / study.result.run_id / "transitions.html"
    title = f"Transitions of {study.detector.name} regimes, {bars.symbol} {bars.timeframe}"
    write_figure_page(transition_plot(study.transitions()), title, plot)
    paths = {"transition_plot": str(plot)}
    if report:
        from peak_trade.reports.notebooks import run_report

        values: dict[str, Any] = {
            "symbol": symbol, "timeframe": timeframe, "exchange": exchange, "start": start, "end": end,
            "strategy": strategy, "strategy_parameters": pairs(parameter), "detector": detector,
            "detector_settings": detector_values(pairs(setting, "-d")), "mode": mode,
        }  # fmt: skip
        if noise:
            values["noise_series"] = noise
        done = run_report("regime_study", values, progress=not as_json)
        if done.is_failed:
            raise ReportError(f"{done.path}: code cell {done.failed_cell} failed: {done.error}. Open it to see why.")
        paths["report"] = str(done.path)
    if as_json:
        _print_json(study, p_value, verdict, opinion, paths)
    else:
        _print_tables(study, verdict, opinion, paths)
    if opinion is not None and not opinion.agrees:
        raise typer.Exit(1)


def _print_json(
    study: RegimeStudy, p_value: float, verdict: list[str], opinion: RegimeOpinion | None, paths: dict[str, str]
) -> None:
    import json

    content: dict[str, Any] = {
        "run_id": study.result.run_id,
        "facts": study.facts(),
        "regimes": _rows(study.table()),
        "transitions": _rows(study.transitions().reset_index()),
        "durations": _rows(study.stays()),
        "cheating": _rows(study.cheating()),
        "p_value": p_value,
        "fallbacks": [
            {"reason": span.reason, "start": span.start, "end": span.end} for span in study.filtered.fallbacks
        ],
        "verdict": verdict,
        "second_opinion": None
        if opinion is None
        else {"agrees": opinion.agrees, "verdict": str(opinion), "fits": _rows(opinion.to_frame())},
    }
    typer.echo(json.dumps(content | paths, indent=2))


def _rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    import json

    rows: list[dict[str, Any]] = json.loads(frame.to_json(orient="records", date_format="iso", double_precision=12))
    return rows


def _print_tables(study: RegimeStudy, verdict: list[str], opinion: RegimeOpinion | None, paths: dict[str, str]) -> None:
    from rich.console import Console

    from peak_trade.reports.views.regime import REGIME_FORMATS

    console = Console()
    about = f"{study.strategy.inner.name} on {study.bars.symbol} ({study.bars.exchange}) {study.bars.timeframe}"
    console.print(_regimes_across(f"{about}, regimes by {study.detector.name}", study.table(), REGIME_FORMATS))
    console.print(_table("From one bar to the next", study.transitions().reset_index()))
    console.print(_table("Stays, bars", study.stays()))
    for name, value in study.facts().items():
        console.print(f"{name}: {value:,.6g}" if isinstance(value, float) else f"{name}: {value}", highlight=False)
    if opinion is not None:
        console.print(_table("The fits in hmmlearn", opinion.to_frame()))
        console.print(str(opinion), highlight=False, soft_wrap=True)
    written = [f"{name.replace('_', ' ')} {path}" for name, path in paths.items()]
    for sentence in (*verdict, f"run {study.result.run_id}", *written):
        console.print(sentence, highlight=False, soft_wrap=True)


def _regimes_across(title: str, frame: pd.DataFrame, formats: Any) -> Any:
    from rich.table import Table

    table = Table(title=title)
    table.add_column("measure")
    for name in frame["regime"]:
        table.add_column(str(name), justify="right")
    for column in frame.columns.drop(["regime", "sharpe_stderr", "note"]):
        cells = [_cell(value, formats.get(column)) for value in frame[column]]
        if column == "sharpe":
            notes = zip(cells, frame["sharpe_stderr"], frame["note"], strict=True)
            cells = [note or f"{cell} ± {error:.2f}" for cell, error, note in notes]
        table.add_row(_SHORT.get(column, column.replace("_", " ")), *cells)
    return table


def _table(title: str, frame: pd.DataFrame) -> Any:
    from rich.table import Table

    table = Table(title=title)
    for name in frame.columns:
        table.add_column(str(name).replace("_", " "), justify="left" if frame[name].dtype.kind in "OUT" else "right")
    for row in frame.itertuples(index=False, name=None):
        table.add_row(*(_cell(value, None) for value in row))
    return table


def _cell(value: Any, pattern: str | None) -> str:
    if isinstance(value, float) and value != value:
        return "–"
    if pattern:
        return pattern.format(value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)
