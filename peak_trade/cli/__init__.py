"""The `peak-trade` command: each verb parses its arguments, calls one use case and prints the result.

Nothing heavy is imported before a verb runs, and nothing at all before `main`, which answers Ctrl-C with one line.
Ctrl-C while the interpreter itself starts is out of its reach; while it ends after a command, it is ignored.
"""

import sys

TYPE_CHECKING = False  # the module typing is imported in `main`

if TYPE_CHECKING:
    from collections.abc import Sequence

INTERRUPTED = 130
"""Exit code after Ctrl-C."""


def main(arguments: "Sequence[str] | None" = None) -> int:
    """Run one verb and return its exit code; see `app.run`. Ctrl-C prints one line, also while modules are imported.

    Without arguments, those of the process are read, and the process is about to end: a later Ctrl-C is ignored.
    """
    try:
        from peak_trade.cli.app import run

        code = run(arguments)
        if arguments is None:
            _ignore_interrupts()
    except KeyboardInterrupt:
        sys.stderr.write("peak-trade: stopped\n")
        return INTERRUPTED
    return code


def _ignore_interrupts() -> None:
    """Let the interpreter end: it takes a while, and Ctrl-C in it would end the process without a line."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)
