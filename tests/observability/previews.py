"""Draw every panel of the dashboards from the answers of a real Prometheus: `python -m tests.observability.previews`.

The pictures show the queries, units, legends and thresholds of the panels in the project's own figures. They are not
Grafana's drawing. Needs prometheus and chromium; takes about three minutes.
"""

from __future__ import annotations

import math
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from peak_trade.reports.markup import copy_scripts
from peak_trade.reports.views.drawing import BLUE, GREY, ORANGE, RED, label, styled
from tests.observability.panels import BOARDS, SESSION_VARIABLES, Board, Panel, Query, with_matchers
from tests.observability.scraping import ROOT, Scraped, scraped

FOLDER = ROOT / "docs" / "obs"
COLORS = (BLUE, ORANGE, "#2e7d4f", "#7b4ea3", RED, GREY)
THRESHOLD_COLORS = {"orange": ORANGE, "red": RED, "green": "#2e7d4f", "blue": BLUE}
FORMATS = {"percentunit": ".1%", "locale": ",.2f", "s": ".2~f", "dateTimeAsIso": None}
WIDTH, HEIGHT = 560, 300
STYLE = "body{font-family:system-ui,sans-serif;margin:16px;width:1140px;color:#30343a}h1{font-size:20px;margin:0 0 4px}"
STYLE += "p{margin:0 0 12px}div.grid{display:grid;grid-template-columns:1fr 1fr;gap:8px}"


def asked(query: Query) -> str:
    """Return the query as Grafana sends it when every variable is All; a rate spans at least four scrapes."""
    text = with_matchers(query.expression).replace("$__rate_interval", "10s")
    for name in ("job", "instance", *SESSION_VARIABLES):
        text = text.replace(f"${name}", ".+")
    return text


def legend(text: str, labels: dict[str, str]) -> str:
    """Return the legend of a series."""
    for name, value in labels.items():
        text = text.replace(f"{{{{{name}}}}}", value.rpartition(":")[2])
    return text


def drawn(panel: Panel, prometheus: Scraped) -> go.Figure:
    """Return the figure of a panel."""
    figure, values = go.Figure(), []
    for query in panel.queries:
        for labels, pairs in prometheus.query_range(asked(query)):
            times = pd.to_datetime([time for time, _ in pairs], unit="s", utc=True).strftime("%Y-%m-%d %H:%M:%S")
            numbers = [float(value) for _, value in pairs]
            values += [number for number in numbers if math.isfinite(number)]
            color = COLORS[len(figure.data) % len(COLORS)]
            figure.add_scatter(
                x=list(times), y=numbers, name=label(legend(query.legend, labels)), mode="lines",
                line={"color": color, "shape": "hv" if panel.states else "linear"}, showlegend=True,
            )  # fmt: skip
    _finish(figure, panel, values)
    return styled(figure, HEIGHT).update_layout(
        title={"text": label(panel.title), "x": 0.02, "font": {"size": 14}},
        margin={"t": 40, "b": 20},
        legend={"orientation": "h", "x": 0, "y": -0.15, "yanchor": "top", "font": {"size": 10}},
        width=WIDTH,
    )


def _finish(figure: go.Figure, panel: Panel, values: list[float]) -> None:
    if panel.states:
        figure.update_yaxes(tickvals=list(range(len(panel.states))), ticktext=list(panel.states))
    elif panel.unit == "dateTimeAsIso":
        figure.update_yaxes(type="date")
    else:
        figure.update_yaxes(tickformat=FORMATS.get(panel.unit, "~g"))
        for step in panel.thresholds:
            if values and step.value <= 1.5 * max(values):
                color = THRESHOLD_COLORS[step.color]
                figure.add_hline(step.value, line={"color": color, "width": 1, "dash": "dash"})


def page(board: Board, prometheus: Scraped) -> str:
    """Return the page with the figures of a dashboard."""
    panels = [panel for row in board.rows.values() for panel in row]
    figures = "".join(
        drawn(panel, prometheus).to_html(full_html=False, include_plotlyjs=False, config={"displayModeBar": False})
        for panel in panels
    )
    title = f"{board.title}: panel preview, not Grafana's drawing"
    note = "Answers of Prometheus to the queries of the panels; dashed lines are thresholds."
    head = f'<meta charset="utf-8"><style>{STYLE}</style><script src="plotly.min.js"></script>'
    return f'{head}<h1>{title}</h1><p>{note}</p><div class="grid">{figures}</div>'


def photograph(path: Path, picture: Path, height: int) -> None:
    """Write the picture of a page."""
    subprocess.run(
        [
            "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
            f"--user-data-dir={path.parent / 'profile'}", f"--window-size=1180,{height}",
            "--virtual-time-budget=10000", f"--screenshot={picture}", path.as_uri(),
        ],
        check=True, capture_output=True, timeout=180,
    )  # fmt: skip


def main() -> None:
    """Write the pictures of both dashboards."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        copy_scripts(folder)
        with scraped(folder, "2024-01-01T02:30", 100, 60.0) as prometheus:
            pages: dict[str, Any] = {board.uid: page(board, prometheus) for board in BOARDS}
        for board in BOARDS:
            path = folder / f"{board.uid}.html"
            path.write_text(pages[board.uid], encoding="utf-8")
            n_panels = sum(map(len, board.rows.values()))
            photograph(path, FOLDER / f"{board.uid}.png", 100 + -(-n_panels // 2) * (HEIGHT + 8))


if __name__ == "__main__":
    main()
