"""`peak-trade regime`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from peak_trade.cli import deprecated, options, output
from peak_trade.cli.equal_runs import shared
from peak_trade.cli.verbs import verb_app
from peak_trade.core.errors import ReportError
from peak_trade.core.extras import require

if TYPE_CHECKING:
    import pandas as pd

    from peak_trade.studies.by_name import RegimeOutcome

FORMER_KEYS = {
    "cheating": "lookahead_cost",
    "lookahead_cost.reading": "lookahead_cost.timing",
    "durations.stays": "durations.count",
}
"""Former JSON keys and the keys that replace them. This version writes both, the next one only the new ones."""

app = verb_app()


@app.command()
@shared
def regime(
    strategy: options.StrategyName,
    symbol: options.Symbol,
    start: Annotated[
        str | None,
        typer.Option(help="First close time to trade on in UTC. Earlier bars of the store warm the detector up."),
    ] = None,
    end: options.End = None,
    detector: Annotated[
        str, typer.Option(help="Regime detector: hmm, jump, rules, or package.module:Class for your own.")
    ] = "hmm",
    timeframe: options.TimeframeText = "1h",
    exchange: options.StoredExchange = None,
    mode: Annotated[
        Literal["scale", "filter", "switch"], typer.Option(help="Effect of a regime on the exposure of the strategy.")
    ] = "scale",
    parameter: options.Parameters = None,
    setting: Annotated[
        list[str] | None,
        typer.Option("--setting", "-d", metavar="KEY=VALUE", help="Detector setting. Repeat for several."),
    ] = None,
    noise: Annotated[
        int, typer.Option(min=0, help="Series of each kind of noise control; 20 are needed to judge. 0 runs none.")
    ] = 0,
    label_runs: Annotated[
        int, typer.Option(min=0, help="Other seeds and start bars with which the labels are compared. 0 skips it.")
    ] = 5,
    second_opinion: Annotated[
        bool, typer.Option("--second-opinion", help="Compare the fits of the hmm detector with hmmlearn.")
    ] = False,
    processes: options.Processes = None,
    cluster: options.Cluster = "",
    causality_check: options.CausalityCheck = True,
    open_holdout: options.OpenHoldout = False,
    record: options.Record = True,
    report: Annotated[
        bool, typer.Option("--report", help="Run the notebook regime_study with the same parameters.")
    ] = False,
    as_json: options.AsJson = False,
) -> None:
    """Detect market regimes and backtest a strategy with them.

    The results are compared with those of the strategy without regimes. Detectors are refitted on past bars only,
    and only filtered probabilities are used between two fits. Exposures are multiplied by 1.0 in bull, 0.5 in
    sideways and 0.0 in bear regimes. The transition plot is written to the workspace. The full study is the
    notebook regime_study: --report runs it, `peak-trade site build` makes its page.

    \b
    Example:
        peak-trade regime --strategy ma_crossover --symbol BTC/USDT --start 2021-01-01

    Exits 0 when the study is done, 1 when the second opinion or a record of the same
    run id differs, 2 on bad input.
    """
    from peak_trade.studies import by_name, recording

    if report:
        require("--report", "papermill", "ipykernel")
    parameters, settings = options.pairs(parameter), options.pairs(setting, "-d")
    outcome = by_name.regime(
        strategy,
        parameters,
        symbol,
        by_name.Span(timeframe, exchange, start, end),
        detector=detector,
        detector_settings=settings,
        mode=mode,
        n_noise=noise,
        n_label_runs=label_runs,
        n_processes=processes,
        cluster=cluster,
        causality_check=causality_check,
    )
    paths: dict[str, str] = {}

    def show() -> None:
        output.show(outcome, as_json, lambda outcome: _page(outcome, paths), lambda outcome: _content(outcome, paths))

    values = {
        "symbol": symbol,
        "timeframe": timeframe,
        "exchange": exchange,
        "start": start,
        "end": end,
        "strategy": strategy,
        "strategy_parameters": parameters,
        "detector": detector,
        "detector_settings": outcome.detector_settings,
        "mode": mode,
        "label_runs": label_runs,
    }
    with output.result_first(show):
        if second_opinion:
            outcome = by_name.with_opinion(outcome)
        paths["transition_plot"] = _write_plot(outcome)
        if report:
            paths["report"] = _run_notebook(values | ({"noise_series": noise} if noise else {}))
    show()
    if record:
        recording.record(outcome.study.result, "regime")
    if outcome.opinion is not None and not outcome.opinion.agrees:
        raise typer.Exit(1)


def _write_plot(outcome: RegimeOutcome) -> str:
    from peak_trade.reports.views.regime import write_transition_plot

    return str(write_transition_plot(outcome.study))


def _run_notebook(values: dict[str, Any]) -> str:
    from peak_trade.reports.notebooks import run_report

    done = run_report("regime_study", values, progress=sys.stderr.isatty())
    if done.is_failed:
        raise ReportError(f"{done.path}: code cell {done.failed_cell} failed: {done.error}. Open it to see why.")
    return str(done.path)


def _page(outcome: RegimeOutcome, paths: dict[str, str]) -> output.Page:
    from peak_trade.reports.views.regime import DURATION_FORMATS, REGIME_FORMATS
    from peak_trade.studies.trials import trials_sentence

    study = outcome.study
    series = f"{study.bars.symbol} ({study.bars.exchange}), {study.bars.timeframe}"
    title = f"{study.strategy.inner.name} on {series}, {study.detector.name} regimes"
    naming = outcome.naming
    yield _across(title, naming.apply(study.table()), REGIME_FORMATS)
    yield output.frame_table(naming.apply(study.transitions()).reset_index(), "Transitions from one bar to the next")
    yield output.frame_table(naming.apply(study.durations()), "Durations in bars", DURATION_FORMATS)
    yield output.Table(("fact", "value"), list(study.facts().items()), right=("value",))
    if outcome.opinion is not None:
        yield output.frame_table(outcome.opinion.to_frame(), "Fits in hmmlearn")
        yield str(outcome.opinion)
    yield from naming.sentences
    yield from study.remarks
    yield from outcome.verdict
    yield trials_sentence(study.result.digests)
    yield f"run {study.result.run_id}"
    for name, path in paths.items():
        yield f"{name.replace('_', ' ')} {path}"


def _across(title: str, frame: pd.DataFrame, formats: Mapping[str, str]) -> output.Table:
    """Return a table with one column per regime; a Sharpe ratio has its standard error, or the note instead."""
    rows = []
    for name in frame.columns.drop(["regime", "sharpe_stderr", "note"]):
        cells = [output.cell(value, formats.get(name, "")) for value in frame[name].tolist()]
        if name == "sharpe":
            errors = zip(cells, frame["sharpe_stderr"].tolist(), frame["note"].tolist(), strict=True)
            cells = [note or f"{text} ± {output.cell(error, formats['sharpe_stderr'])}" for text, error, note in errors]
        rows.append((name.replace("_", " "), *cells))
    regimes = [str(regime) for regime in frame["regime"].tolist()]
    return output.Table(("measure", *regimes), rows, title, right=regimes)


def _content(outcome: RegimeOutcome, paths: dict[str, str]) -> dict[str, Any]:
    from peak_trade.studies.noise import noise_table
    from peak_trade.studies.trials import recorded_trials

    study = outcome.study
    counted = recorded_trials(study.result.digests)
    content = {
        "run_id": study.result.run_id,
        "causality": [each.to_dict() for each in study.result.causality],
        "facts": study.facts(),
        "regimes": output.records(study.table()),
        "transitions": output.records(study.transitions().reset_index()),
        "durations": output.records(study.durations()),
        "lookahead_cost": output.records(study.lookahead_cost()),
        "sharpe_gain": study.sharpe_gain().to_dict()
        | {name: getattr(study.sharpe_test, name) for name in ("low", "high", "p_value")},
        "p_value": outcome.p_value,
        "noise": output.records(noise_table(outcome.noise)) if outcome.noise else [],
        "fallbacks": [
            {"reason": span.reason, "start": span.start, "end": span.end} for span in study.filtered.fallbacks
        ],
        "naming": outcome.naming.to_dict(),
        "verdict": outcome.verdict,
        "remarks": study.remarks,
        "trials": None if counted is None else counted.to_dict(),
        "second_opinion": None
        if outcome.opinion is None
        else {
            "agrees": outcome.opinion.agrees,
            "verdict": str(outcome.opinion),
            "fits": output.records(outcome.opinion.to_frame()),
        },
        **paths,
    }
    return deprecated.with_former_keys(content, FORMER_KEYS)
