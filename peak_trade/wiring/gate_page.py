"""Write the table of denial codes into docs/risk.md: `python -m peak_trade.wiring.gate_page`."""

from __future__ import annotations

from pathlib import Path

from peak_trade.wiring.gates import GATES

_WIDTHS = (20, 28, 60, 12, 8)
"""Number of dashes below each name, from which a page derives the width of the column."""
START, END = "<!-- codes: start -->", "<!-- codes: end -->"


def codes_table() -> str:
    """Return a Markdown table with one row per gate, in the order of evaluation."""
    names = ("code", "limit", "observed", "reducing orders", "ramps")
    lines = [f"| {' | '.join(names)} |", f"|{'|'.join('-' * width for width in _WIDTHS)}|"]
    for gate in GATES:
        setting = f"`{gate.setting}`" if gate.setting else "always"
        bound = "at least the limit" if gate.is_floor else "at most the limit"
        relief = "pass" if gate.relieves else "checked"
        ramps = "yes" if gate.ramps else ""
        lines.append(f"| `{gate.code}` | {setting} | {gate.code.meaning}; {bound} | {relief} | {ramps} |")
    return "\n".join(lines)


def with_table(page: str) -> str:
    """Return a page with the current table between its two marks."""
    before, _, rest = page.partition(START)
    _, _, after = rest.partition(END)
    return f"{before}{START}\n{codes_table()}\n{END}{after}"


if __name__ == "__main__":
    path = Path(__file__).parents[2] / "docs" / "risk.md"
    path.write_text(with_table(path.read_text(encoding="utf-8")), encoding="utf-8")
