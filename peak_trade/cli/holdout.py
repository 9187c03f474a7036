"""`peak-trade holdout`: seal the hold-out of a data set, and show the hold-outs and their openings."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from peak_trade.cli import options, output
from peak_trade.cli.verbs import verb_app
from peak_trade.core.time import iso

if TYPE_CHECKING:
    from peak_trade.data.holdout import Holdout
    from peak_trade.studies.holdout import HoldoutState

app = verb_app()


@app.command("seal")
def seal(
    symbol: options.Symbol,
    timeframe: options.TimeframeText,
    start: Annotated[str, typer.Option(help="First close time of the hold-out in UTC, inclusive.")],
    end: Annotated[
        str | None,
        typer.Option(help="End of its close times in UTC, exclusive.", show_default="end of the stored bars"),
    ] = None,
    exchange: options.StoredExchange = None,
    as_json: options.AsJson = False,
) -> None:
    """Seal a window of stored bars as a hold-out.

    The window and the digest of its bars are committed to a log that only grows. From then on every verb refuses bars
    of the symbol and the exchange that share time with the window, at any bar length, unless --open-holdout is given.
    A seal can not be removed, and each opening is recorded for good. Seal before the first run on the bars: trials that
    had used them are counted.

    \b
    Example:
        peak-trade holdout seal --symbol BTC/USDT --timeframe 1h --start 2023-07-01

    Exits 0 when the window is sealed, 2 on bad input, in which case nothing is sealed.
    """
    from peak_trade.studies.holdout import seal_holdout

    made = seal_holdout(symbol, timeframe, start, end, exchange)
    output.show(made, as_json, lambda made: [made.sentence, _commitment(made)], _content)


@app.command("status")
def status(as_json: options.AsJson = False) -> None:
    """Show the sealed hold-outs and their openings.

    \b
    Example:
        peak-trade holdout status

    Exits 0 when the log is intact, 1 when recorded runs name a line that is gone from it, 2 when it is damaged.
    """
    from peak_trade.studies.holdout import holdout_state

    state = holdout_state()
    output.show(state, as_json, _page, lambda state: asdict(state) | {"holdouts": list(map(_content, state.holdouts))})
    if state.faults:
        raise typer.Exit(1)


def _page(state: HoldoutState) -> output.Page:
    yield from state.faults
    if not state.holdouts:
        yield "No hold-out is sealed. Seal one with `peak-trade holdout seal`."
    for each in state.holdouts:
        yield each.sentence
        yield _commitment(each)
        if each.openings:
            yield output.Table(
                ("opened", "by", "bar length", "first close", "last close", "sealed bars"),
                [
                    (iso(one.ts_recorded), one.what, one.timeframe, iso(one.first), iso(one.last), one.bars_were)
                    for one in each.openings
                ],
            )


def _commitment(holdout: Holdout) -> str:
    return f"{holdout.n_bars:,} bars of {holdout.timeframe}, commitment {holdout.commitment}."


def _content(holdout: Holdout) -> dict[str, Any]:
    times = {name: iso(getattr(holdout, name)) for name in ("first_close", "last_close", "ts_recorded")}
    openings = [
        asdict(each) | {name: iso(getattr(each, name)) for name in ("ts_recorded", "first", "last")}
        for each in holdout.openings
    ]
    return asdict(holdout) | times | {"openings": openings, "sentence": holdout.sentence}
