"""Write docs/cli.md from the help of every verb: `python -m peak_trade.cli.reference`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

WIDTH = 100
HEADER = """# Command line

Made from `--help` by `python -m peak_trade.cli.reference`; a test compares the two. Do not edit.

Every verb exits 0 when all is fine, 1 when what was checked failed, 2 on bad input with one line that says where, what
it was and what to do.
"""


def reference() -> str:
    """Return the reference of every verb as Markdown."""
    from peak_trade.cli.app import app

    command = typer.main.get_command(app)
    return "\n".join([HEADER, *(f"## {path}\n\n```text\n{text}\n```\n" for path, text in _pages(command, None))])


def _pages(command: Any, parent: Any) -> Iterator[tuple[str, str]]:
    name = command.name if parent is not None else "peak-trade"
    context = typer.Context(command, info_name=name, parent=parent, terminal_width=WIDTH, max_content_width=WIDTH)
    lines = (line.rstrip() for line in command.get_help(context).splitlines())
    yield context.command_path, "\n".join(lines).rstrip()
    for child in getattr(command, "commands", {}).values():
        yield from _pages(child, context)


if __name__ == "__main__":
    page = Path(__file__).parents[2] / "docs" / "cli.md"
    page.parent.mkdir(exist_ok=True)
    page.write_text(reference(), encoding="utf-8")
