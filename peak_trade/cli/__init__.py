"""The `peak-trade` command: each verb parses its arguments, calls one use case and prints the result.

Nothing heavy is imported before a verb runs.
"""

from peak_trade.cli.app import run as main

__all__ = ["main"]
