"""The `peak-trade` command: parse, call a study, print. Nothing heavy is imported before a verb runs."""

from __future__ import annotations

from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 0 fine, 1 what was checked failed, 2 bad input."""
    from peak_trade.cli.app import run

    return run(arguments)
