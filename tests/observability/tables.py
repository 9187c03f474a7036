"""Write the tables of docs/obs/OBSERVABILITY_SETUP.md from code: `python -m tests.observability.tables`."""

from __future__ import annotations

from pathlib import Path

from peak_trade.observability.metrics import METRICS, SESSION_LABELS, Metric
from tests.observability.alert_cases import alerts

PAGE = Path(__file__).parents[2] / "docs" / "obs" / "OBSERVABILITY_SETUP.md"
_WIDTHS = {"metrics": (36, 12, 18, 60, 40), "alerts": (28, 10, 60, 14, 20)}
"""Number of dashes below each name, from which a page derives the width of the column."""


def metrics_table() -> str:
    """Return a Markdown table with one row per metric."""
    rows = [(f"`{each.name}`", each.kind, _labels(each), each.help, each.event) for each in METRICS]
    return _table("metrics", ("metric", "type", "labels", "value", "from the journal's events"), rows)


def alerts_table() -> str:
    """Return a Markdown table with one row per alert of the rule files."""
    rows = [
        (
            f"[{name}](runbook.md#{name.lower()})",
            rule["labels"]["severity"],
            f"`{rule['expr']}`",
            rule.get("for", "at once"),
            rule["annotations"]["missing_data"],
        )
        for name, rule in alerts().items()
    ]
    return _table("alerts", ("alert", "severity", "condition", "for", "without its metrics"), rows)


def with_tables(page: str) -> str:
    """Return a page with the current tables between their marks."""
    for name, table in (("metrics", metrics_table()), ("alerts", alerts_table())):
        start, end = f"<!-- {name}: start -->", f"<!-- {name}: end -->"
        before, _, rest = page.partition(start)
        page = f"{before}{start}\n{table}\n{end}{rest.partition(end)[2]}"
    return page


def _labels(metric: Metric) -> str:
    session = ["session's"] if metric.is_of_session else []
    return ", ".join([*session, *(f"`{name}`" for name in metric.all_labels if name not in SESSION_LABELS)])


def _table(kind: str, names: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [f"| {' | '.join(names)} |", f"|{'|'.join('-' * width for width in _WIDTHS[kind])}|"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


if __name__ == "__main__":
    PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
