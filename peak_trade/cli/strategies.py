"""`peak-trade strategies`: list strategies and show their parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING

from peak_trade.cli import options, output
from peak_trade.cli.verbs import verb_app

if TYPE_CHECKING:
    from collections.abc import Sequence

    from peak_trade.wiring.strategies import StrategyDescription

app = verb_app()


@app.command("list")
def list_(as_json: options.AsJson = False) -> None:
    """List the strategies of peak_trade with their parameters.

    Panel strategies see several symbols at once, and run in portfolios. A strategy of your own is named as
    package.module:Class.

    \b
    Example:
        peak-trade strategies list

    Exits 0.
    """
    from peak_trade.wiring.strategies import PANEL_STRATEGIES, STRATEGIES, describe_strategy

    output.show([describe_strategy(name) for name in (*STRATEGIES, *PANEL_STRATEGIES)], as_json, _list_page, list)


@app.command()
def show(name: options.StrategyArgument, as_json: options.AsJson = False) -> None:
    """Show the parameters of a strategy with defaults and meaning.

    The meaning of a strategy of your own is the docstring of its class, that of a parameter the docstring below its
    field.

    \b
    Examples:
        peak-trade strategies show ma_crossover
        peak-trade strategies show my_ideas.reversal:Reversal --json

    Exits 0, or 2 when there is no such strategy; the error names the most similar one.
    """
    from peak_trade.wiring.strategies import describe_strategy

    output.show(describe_strategy(name), as_json, _page, lambda described: described)


def _list_page(described: Sequence[StrategyDescription]) -> output.Page:
    rows = [
        (each.name, each.sees, each.meaning, ", ".join(part.name for part in each.parameters)) for each in described
    ]
    yield output.Table(("strategy", "sees", "meaning", "parameters"), rows)
    yield "`peak-trade strategies show NAME` shows values, defaults and meaning of the parameters."


def _page(described: StrategyDescription) -> output.Page:
    yield f"{described.name}: {described.meaning or 'no docstring.'}"
    warm_up = (
        "" if described.warm_up is None else f" Warm-up with the defaults: {output.count(described.warm_up, 'bar')}."
    )
    yield f"Class {described.class_path}. It sees {described.sees}.{warm_up}"
    if not described.parameters:
        yield "It has no parameters."
        return
    rows = [
        (part.name, part.values, "required" if part.is_required else _text(part.default), part.meaning)
        for part in described.parameters
    ]
    yield output.Table(("parameter", "values", "default", "meaning"), rows)


def _text(default: object) -> str:
    """Return a default as it is written after `-p key=`."""
    if isinstance(default, list):
        return ",".join(map(_text, default))
    return str(default).lower() if default is None or isinstance(default, bool) else str(default)
