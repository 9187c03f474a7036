"""Verbs that import their module when they are called, so that help and completion answer at once."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup


def verb_app() -> typer.Typer:
    """Return the Typer application of one verb or of one group of verbs."""
    return typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None)


@contextmanager
def until_stopped() -> Iterator[None]:
    """Let SIGTERM end the block as Ctrl-C does."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with suppress(KeyboardInterrupt):
            yield
    finally:
        signal.signal(signal.SIGTERM, before)


class LazyVerb(TyperCommand):
    """A verb that is known by its name and summary until it is called.

    The verb `data` is the application `app` of the module `peak_trade.cli.data`; a hyphen is written as `_` there.
    """

    def __init__(self, name: str, summary: str) -> None:
        super().__init__(name, help=summary, short_help=summary, rich_markup_mode=None)

    def load(self) -> Any:
        """Import the module of the verb and return its command."""
        command = _command_of(import_module(f"peak_trade.cli.{str(self.name).replace('-', '_')}").app)
        if isinstance(command, TyperGroup):
            command.help = self.help
        return command

    def make_context(self, *arguments: Any, **extra: Any) -> Any:
        """Return a context of the verb's own command, which parses the arguments."""
        return self.load().make_context(*arguments, **extra)


@cache
def _command_of(app: typer.Typer) -> Any:
    return typer.main.get_command(app)
