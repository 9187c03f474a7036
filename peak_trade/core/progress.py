"""Progress of long work: the work says how far it is, and a terminal or a notebook shows it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

OnProgress = Callable[[int, int], None]
"""Called with what is done and what is to be done in all."""
Display = Callable[[str, str], AbstractContextManager[OnProgress]]
"""Opens a bar for a task and its unit."""


@dataclass(slots=True)
class _Shown:
    display: Display | None = None
    is_open: bool = False


_SHOWN = _Shown()


def show_progress(display: Display | None) -> Display | None:
    """Show the progress of all work that starts from now on, or of none; return the former display."""
    former, _SHOWN.display = _SHOWN.display, display
    return former


@contextmanager
def progress_shown(display: Display | None) -> Iterator[None]:
    """Show the progress of the work within the block."""
    former = show_progress(display)
    try:
        yield
    finally:
        show_progress(former)


@contextmanager
def progress(task: str, unit: str = "bars") -> Iterator[OnProgress]:
    """Yield a function of done and total. Work within other work that is shown is not shown itself.

    >>> with progress("sweep", "combinations") as on_progress:
    ...     on_progress(1, 3)
    """
    if _SHOWN.display is None or _SHOWN.is_open:
        yield lambda done, total: None
        return
    _SHOWN.is_open = True
    try:
        with _SHOWN.display(task, unit) as on_progress:
            yield on_progress
    finally:
        _SHOWN.is_open = False
