"""Part of the home page that is written: the latest run of each study, decisions on sessions, and their alerts."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from peak_trade.health.rederivation import Rederivation
from peak_trade.health.report import HealthReport
from peak_trade.metrics.measure import Measure
from peak_trade.reports.answer import WIDE, DataKind, error_text, number, percent
from peak_trade.reports.display import PLOTLY_MIME
from peak_trade.reports.markup import raw_html, render
from peak_trade.reports.notebooks import Notebook, ReportRun, first_of, results
from peak_trade.sessions.audit import AuditedSession


def _count(value: float | None) -> str:
    return number(value, 0)


def _signed(value: float | None) -> str:
    return number(value, sign=True)


def _share(value: float | None) -> str:
    return percent(value, sign=False)


HEADLINES: dict[str, Callable[[float | None], str]] = {
    "Difference": _signed,
    "Sharpe with regimes": number,
    "Sharpe without": number,
    "Net return": percent,
    "Sharpe ratio out of sample": number,
    "Kept of the ratio in sample": percent,
    "Sharpe ratio, a year": number,
    "Live minus shadow": _signed,
    "Shortfall, live minus shadow": _signed,
    "Not explained": number,
    "Orders denied": _count,
    "Costs, of gross profit": _share,
    "Probability of overfitting": _share,
}
"""Labels of the tiles that the home page prefers, in this order, with the format of their numbers."""
N_NUMBERS = 3
N_SESSIONS = 3
LINES = (("strategy", "buy and hold"), ("equity",), ("live \u2212 shadow",))
"""Traces of a figure that the drawing of a study shows, by preference; the second is the benchmark."""
WIDTH, HEIGHT, MARGIN, LABEL = 308.0, 48.0, 5.0, 90.0
"""Size of the drawing of a study, its empty border, and the end of the benchmark's name, in pixels."""


@dataclass(frozen=True, slots=True)
class HomeNumber:
    """One number of a study on the home page, as texts; `span` holds the ends of its 95 % interval and the value."""

    label: str
    value: str
    error: str
    span: tuple[float, float, float] | None


@dataclass(frozen=True, slots=True)
class HomeRow:
    """A study on the home page with its latest run.

    Without a run, `page` is empty. `drawing` holds the paths of an inline SVG and what it shows in words.
    """

    name: str
    title: str
    page: str = ""
    about: str = ""
    executed: str = ""
    finding: str = ""
    verdict: str = ""
    sentence: str = ""
    failure: str = ""
    kinds: tuple[DataKind, ...] = ()
    bars: str = ""
    numbers: tuple[HomeNumber, ...] = ()
    drawing: Mapping[str, Any] | None = None


def home_page(
    rows: Sequence[HomeRow],
    decisions: Sequence[Mapping[str, Any]],
    faults: Sequence[str],
    sessions: Sequence[AuditedSession],
    health: HealthReport | None = None,
    rederived: Rederivation | None = None,
) -> str:
    """Return the Markdown of the home page's part that is written; the sessions are newest first."""
    values: dict[str, Any] = {"rows": rows, "decisions": decisions, "faults": faults, "sessions": sessions[:N_SESSIONS]}
    values |= {"health": health, "rederived": rederived}
    return f"{raw_html(render('home.html.j2', width=WIDTH, height=HEIGHT, **values))}\n"


def home_rows(
    notebooks: Sequence[Notebook], latest: Mapping[str, tuple[ReportRun, Mapping[str, Any]]]
) -> list[HomeRow]:
    """Return a row per notebook: by the time of its latest run, newest first, then the notebooks without a run.

    `latest` holds, by name of the notebook, the latest run and the content of its file.
    """
    known = {notebook.name for notebook in notebooks}
    ran = sorted(
        ((name, *latest[name]) for name in latest if name in known), key=lambda each: each[1].executed_at, reverse=True
    )
    rows = [_home_row(run, content) for _, run, content in ran]
    return rows + [HomeRow(each.name, each.title) for each in notebooks if each.name not in latest]


def about_run(run: ReportRun) -> str:
    """Return what a run is about, from its parameters; empty if they do not say."""
    given = {name: value for name, value in run.parameters.items() if isinstance(value, str | int | float) and value}
    return ", ".join(str(given[name]) for name in ("strategy", "symbol", "timeframe", "config") if name in given)


def _home_row(run: ReportRun, content: Mapping[str, Any]) -> HomeRow:
    typed = results(content)
    answer, origin = first_of(typed, "answer"), first_of(typed, "provenance")
    numbers = () if run.is_failed else _numbers(answer.get("tiles", {}))
    return HomeRow(
        name=run.notebook,
        title=run.title,
        page=f"{run.slug}.html",
        about=origin.get("title") or about_run(run),
        executed=run.executed_at.replace("T", " ").removesuffix("Z")[:16],
        finding=answer.get("finding", ""),
        verdict=answer.get("verdict", "No verdict"),
        sentence=answer.get("sentence", "This notebook states no answer."),
        failure=f"Failed in code cell {run.failed_cell}: {run.error}" if run.is_failed else "",
        kinds=tuple(map(DataKind, origin.get("data", []))),
        bars="".join(origin.get("facts", [])[-1:]),
        numbers=numbers,
        drawing=None if run.is_failed else _lines(content) or _intervals(numbers),
    )


def _numbers(tiles: Mapping[str, Sequence[float | None]]) -> tuple[HomeNumber, ...]:
    order = [label for label in HEADLINES if label in tiles] + [label for label in tiles if label not in HEADLINES]
    shown = []
    for label in order[:N_NUMBERS]:
        value, error = tiles[label]
        span = None if value is None or not error else (value - WIDE * error, value + WIDE * error, value)
        measure = Measure(value, 0, error)
        shown.append(HomeNumber(label, HEADLINES.get(label, number)(value), error_text(measure), span))
    return tuple(shown)


def _lines(content: Mapping[str, Any]) -> dict[str, Any] | None:
    figures = [
        output["data"][PLOTLY_MIME]["data"]
        for cell in content["cells"]
        for output in cell.get("outputs", [])
        if PLOTLY_MIME in output.get("data", {})
    ]
    for names in LINES:
        for traces in figures:
            named = {trace.get("name"): trace for trace in traces if trace["type"] == "scatter"}
            if all(name in named for name in names):
                return _drawn_lines({name: named[name] for name in names})
    return None


def _drawn_lines(traces: Mapping[str, Mapping[str, Any]]) -> dict[str, Any] | None:
    """Return the paths of traces on common axes, each from its own first to its last time."""
    series = {name: (_times(trace["x"]), _values(trace["y"])) for name, trace in traces.items()}
    kept = {name: (x[np.isfinite(y)], y[np.isfinite(y)]) for name, (x, y) in series.items()}
    if any(len(y) < 2 for _, y in kept.values()):
        return None
    first, last = (pick(pick(x) for x, _ in kept.values()) for pick in (min, max))
    least, most = (pick(pick(y) for _, y in kept.values()) for pick in (min, max))
    paths, ends, texts, beside = [], [], [], []
    for name, (x, y) in kept.items():
        across = MARGIN + (WIDTH - 2.0 * MARGIN) * (x - first) / (last - first or 1.0)
        down = HEIGHT - MARGIN - (HEIGHT - 2.0 * MARGIN) * (y - least) / (most - least or 1.0)
        points = [f"{left:.1f} {top:.1f}" for left, top in zip(across, down, strict=True)]
        paths.append("M" + "L".join(points))
        ends.append((f"{across[-1]:.1f}", f"{down[-1]:.1f}"))
        beside += np.interp(np.linspace(MARGIN, LABEL, 30), across, down).tolist()
        texts.append(f"{name}: first {y[0]:,.6g}, least {y.min():,.6g}, most {y.max():,.6g}, last {y[-1]:,.6g}")
    label = 11 if min(beside) > HEIGHT - max(beside) else int(HEIGHT) - 3
    names = list(kept)
    return {"kind": "lines", "paths": paths, "ends": ends, "names": names, "label": label, "text": "; ".join(texts)}


def _intervals(numbers: Sequence[HomeNumber]) -> dict[str, Any] | None:
    spans = [(each.label, each.span) for each in numbers if each.span]
    if not spans:
        return None
    least, most = min(0.0, *(span[0] for _, span in spans)), max(0.0, *(span[1] for _, span in spans))

    def place(value: float) -> float:
        return round(MARGIN + (WIDTH - 2.0 * MARGIN) * (value - least) / (most - least), 1)

    bars = [(round(HEIGHT * (row + 0.5) / len(spans), 1), *map(place, span)) for row, (_, span) in enumerate(spans)]
    texts = [f"{label}: {span[2]:.2f}, 95 % interval {span[0]:.2f} to {span[1]:.2f}" for label, span in spans]
    return {"kind": "intervals", "bars": bars, "zero": place(0.0), "text": "; ".join(texts)}


def _times(given: Sequence[Any] | Mapping[str, str]) -> Any:
    """Return the x of a trace as numbers; the places of its points if they are not times."""
    try:
        return np.array(given, dtype="datetime64[s]").astype(float)
    except (TypeError, ValueError):
        return np.arange(len(_values(given)), dtype=float)


def _values(given: Sequence[Any] | Mapping[str, str]) -> Any:
    """Return the numbers of a trace, which plotly writes as a list or as the bytes of an array."""
    if isinstance(given, Mapping):
        return np.frombuffer(base64.b64decode(given["bdata"]), dtype=given["dtype"]).astype(float)
    return np.array([math.nan if value is None else value for value in given], dtype=float)
