"""Write docs/cli.md from the help of every verb: `python -m peak_trade.cli.reference`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from peak_trade.cli.app import root
from peak_trade.cli.verbs import LazyVerb

WIDTH = 100
HEADER = """# Command line

Generated from `--help` by `python -m peak_trade.cli.reference`; a test compares the two. Do not edit.

Every verb exits 0 on success, 1 when a check failed, a comparison found differences or a run differs from the recorded
one of its id, 2 on bad input or when a disk, a network or a database fails, 130 after Ctrl-C and 141 when the reader of
its output is gone. An error is one line on standard error that says where, what it was and what to do; it quotes
at most 200 characters of the input. A run that succeeded but cannot be recorded is printed before the error. Results
go to standard output, as text or with `--json` as JSON; notes and progress go to standard error.
`peak-trade --install-completion` installs the completion of verbs, options and choices for the shell.
"""


def reference() -> str:
    """Return the reference of every verb as Markdown."""
    pages = ((context.command_path, help_text(context)) for context in contexts(root(), "peak-trade", None))
    return "\n".join([HEADER, *(f"## {path}\n\n```text\n{text}\n```\n" for path, text in pages)])


def contexts(command: Any, name: str, parent: Any) -> Iterator[Any]:
    """Yield a context of the command and of each command below it, in the order of the help."""
    loaded = command.load() if isinstance(command, LazyVerb) else command
    context = typer.Context(loaded, info_name=name, parent=parent, terminal_width=WIDTH, max_content_width=WIDTH)
    yield context
    for child_name, child in getattr(loaded, "commands", {}).items():
        yield from contexts(child, child_name, context)


def help_text(context: Any) -> str:
    """Return the help of a command without space at the ends of its lines."""
    return "\n".join(line.rstrip() for line in context.command.get_help(context).splitlines()).rstrip()


if __name__ == "__main__":
    page = Path(__file__).parents[2] / "docs" / "cli.md"
    page.parent.mkdir(exist_ok=True)
    page.write_text(reference(), encoding="utf-8")
