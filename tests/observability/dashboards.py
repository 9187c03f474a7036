"""Write Grafana's dashboards as JSON: `python -m tests.observability.dashboards`. Needs grafana-foundation-sdk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, statetimeline, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import BigValueTextMode, GraphThresholdsStyleMode, LegendPlacement
from grafana_foundation_sdk.models.dashboard import DataSourceRef, Threshold, ThresholdsMode, ValueMap, VariableRefresh
from grafana_foundation_sdk.models.dashboard import ValueMappingResult as Mapped

from peak_trade.core.files import write_text
from tests.observability.panels import BOARDS, SESSION_VARIABLES, Board, Panel, PanelKind, with_matchers

HEIGHT, WIDTHS = 8, {PanelKind.TIME_SERIES: 12, PanelKind.STAT: 6, PanelKind.STATES: 12}
"""Size of a panel in the units of Grafana's grid, which is 24 wide."""
SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")


def dashboard_json(board: Board) -> str:
    """Return a dashboard as the JSON text that Grafana loads."""
    built = (
        dashboard.Dashboard(f"peak_trade: {board.title}")
        .uid(f"peak_trade_{board.uid}")
        .description(board.description)
        .tags(["peak_trade"])
        .readonly()
        .refresh("15s")
        .time("now-1h", "now")
        .timezone("utc")
        .with_variable(dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus"))
    )
    for name in ("job", "instance"):
        built = built.with_variable(_variable(name, "peak_trade_build_info"))
    for name in SESSION_VARIABLES:
        built = built.with_variable(_variable(name, "peak_trade_timeframe_seconds"))
    for title, panels in board.rows.items():
        built = built.with_row(dashboard.Row(title))
        for panel in panels:
            built = built.with_panel(_panel(panel))
    content = json.loads(JSONEncoder(sort_keys=True).encode(built.build()))
    return json.dumps(_numbered(content), indent=2, sort_keys=True) + "\n"


def _variable(name: str, metric: str) -> dashboard.QueryVariable:
    return (
        dashboard.QueryVariable(name)
        .label(name.title())
        .query(f"label_values({metric}, {name})")
        .datasource(SOURCE)
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .multi(True)
        .include_all(True)
        .all_value(".+")
    )


def _panel(panel: Panel) -> Any:
    builders: dict[PanelKind, Any] = {
        PanelKind.TIME_SERIES: timeseries.Panel,
        PanelKind.STAT: stat.Panel,
        PanelKind.STATES: statetimeline.Panel,
    }
    steps = [Threshold(color=panel.base), *(Threshold(each.value, each.color) for each in panel.thresholds)]
    built = (
        builders[panel.kind]()
        .title(panel.title)
        .description(panel.description)
        .unit(panel.unit)
        .datasource(SOURCE)
        .height(HEIGHT)
        .span(WIDTHS[panel.kind])
        .thresholds(dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps))
    )
    for place, query in enumerate(panel.queries):
        target = prometheus.Dataquery().expr(with_matchers(query.expression)).legend_format(query.legend)
        built = built.with_target(target.ref_id("ABC"[place]).range())
    if panel.states:
        texts = {str(value): Mapped(text=text, index=value) for value, text in enumerate(panel.states)}
        built = built.mappings([ValueMap(texts)])
    if panel.kind is PanelKind.STAT:
        return built.text_mode(BigValueTextMode.VALUE_AND_NAME)
    legend = common.VizLegendOptions().show_legend(True).placement(LegendPlacement.BOTTOM)
    built = built.legend(legend)
    if panel.kind is PanelKind.TIME_SERIES:
        style = common.GraphThresholdsStyleConfig().mode(GraphThresholdsStyleMode.DASHED)
        built = built.thresholds_style(style).span_nulls(False)
    return built


def _numbered(content: dict[str, Any]) -> dict[str, Any]:
    for number, panel in enumerate(content["panels"], 1):
        panel["id"] = number
    return content


if __name__ == "__main__":
    folder = Path(__file__).parents[2] / "config" / "observability" / "grafana" / "dashboards"
    for board in BOARDS:
        write_text(folder / f"{board.uid}.json", dashboard_json(board))
