"""`peak-trade data`: import, fetch, list, check, resample, join, sample and remove bars."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from peak_trade.cli import extra_columns, options, output
from peak_trade.cli.verbs import verb_app
from peak_trade.core.errors import ConfigError, DataError, excerpt
from peak_trade.core.time import Timeframe, iso, parse_utc

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from peak_trade.data.fetching import FetchResult, Restated
    from peak_trade.data.importing import ImportResult
    from peak_trade.data.plausibility import Implausible
    from peak_trade.data.quality import Gap, QualityReport
    from peak_trade.data.reading import ReadOptions
    from peak_trade.data.resampling import ResampleResult
    from peak_trade.data.series import StoredSeries
    from peak_trade.data.store import JoinResult, SaveResult

MAX_ROWS = 20

Stamp = Literal["open", "close"]
app = verb_app()


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="File of bars.")],
    symbol: options.Symbol,
    timeframe: options.TimeframeText,
    exchange: Annotated[str, typer.Option(help="Exchange on which the bars were traded, for example binance.")],
    stamp: Annotated[
        Stamp | None,
        typer.Option(
            help="Meaning of the times in FILE. Not required when their column is named open_time or close_time."
        ),
    ] = None,
    column: options.ColumnNames = None,
    sep: options.Separator = None,
    time_format: options.TimeFormat = None,
    anchor: options.Anchor = None,
    skip_empty: options.SkipEmpty = False,
    no_volume: options.NoVolume = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Let bars of FILE replace stored bars that differ from them.")
    ] = False,
    as_json: options.AsJson = False,
) -> None:
    """Import a file of bars into the store.

    CSV, JSON, Parquet and Feather are read, also in a gzip or zip file. Columns and times are recognized, and one line
    states every decision. The whole file is imported or nothing; a bar that is still open is left out. Importing a
    file again changes nothing, and bars that overlap stored bars must equal them, unless --replace is given.

    \b
    Example:
        peak-trade data import btc.csv --symbol BTC/USDT --timeframe 1h --exchange binance --stamp open

    Exits 0 when the bars are stored, 2 on bad input, in which case nothing is written.
    """
    from peak_trade.data.importing import import_file

    reading = _read_options(column, sep, time_format, anchor, skip_empty, no_volume)
    done = import_file(file, symbol, Timeframe.parse(timeframe), exchange, stamp, reading, replace=replace)
    renewed = _renew(symbol, Timeframe.parse(timeframe), exchange)
    output.show(
        done,
        as_json,
        lambda done: (*_import_page(file, done), *map(_renewed_line, renewed)),
        lambda done: _import_content(file, done) | {"renewed": list(map(_saved_content, renewed))},
    )


@app.command()
def remove(
    symbol: options.Symbol,
    timeframe: options.TimeframeText,
    exchange: options.StoredExchange = None,
    as_json: options.AsJson = False,
) -> None:
    """Remove the bars of one symbol and bar length from the store.

    Recorded runs keep their results; they can not be computed again without the bars.

    \b
    Example:
        peak-trade data remove --symbol BTC/USDT --timeframe 1h --exchange binance

    Exits 0 when the bars are removed, 2 when the store does not have them.
    """
    from peak_trade.data.store import remove_bars

    removed = remove_bars(symbol, Timeframe.parse(timeframe), exchange)
    name = f"{removed.exchange} {removed.symbol} {removed.timeframe}"
    line = f"{name}: {output.count(removed.n_bars, 'bar')} removed, digest {removed.digest[:12]}."
    output.show(removed, as_json, lambda removed: [line], _held_content)


@app.command()
def fetch(
    symbol: options.Symbol,
    timeframe: options.TimeframeText,
    exchange: Annotated[str, typer.Option(help="Exchange to fetch from: binance or kraken.")],
    start: Annotated[
        str | None, typer.Option(help="First close time in UTC, inclusive: 2024-01-01 or 2024-01-01T12:00.")
    ] = None,
    days: Annotated[
        int | None, typer.Option(min=1, max=36_500, help="Days up to --end, or up to now. Instead of --start.")
    ] = None,
    end: options.End = None,
    base_url: Annotated[
        str | None, typer.Option(help="Scheme and host of another server with the API of the exchange.")
    ] = None,
    replace: Annotated[
        bool,
        typer.Option("--replace", help="Request the whole span, and let its bars replace stored bars that differ."),
    ] = False,
    as_json: options.AsJson = False,
) -> None:
    """Fetch public spot bars from an exchange into the store.

    No account is required. Only bars that the store lacks are requested, and the stored bars next to them for
    comparison. A stopped fetch continues where it stopped. If stored bars differ from those of the exchange now, they
    are reported and nothing more is stored. The bar that is still open is left out. Without --end, bars up to now are
    fetched. Kraken provides its latest 720 bars only.

    A request is repeated up to three times while the exchange does not answer, or its answer can not be used.

    \b
    Examples:
        peak-trade data fetch --symbol BTC/USDT --timeframe 1h --exchange binance --start 2024-01-01
        peak-trade data fetch --symbol BTC/USDT --timeframe 1h --exchange binance --days 30

    Exits 0 when the bars of the exchange are stored, 1 when stored bars differ now, 2 on bad input or when the exchange
    cannot be reached; bars fetched before the error are kept.
    """
    from peak_trade.data.fetching import connect, fetch_bars
    from peak_trade.wiring.exchanges import bar_source

    source = bar_source(exchange)
    step, first, after = Timeframe.parse(timeframe), _first_to_fetch(start, days), end and parse_utc(end, "end")
    name = f"{exchange} {symbol} {timeframe}"
    with connect(exchange, base_url) as client, output.progress(name) as on_page:
        done = fetch_bars(client, source, symbol, step, first, after or None, on_page, replace)
    series = {"exchange": exchange, "symbol": symbol, "timeframe": timeframe}
    renewed = _renew(symbol, step, exchange)
    output.show(
        done,
        as_json,
        lambda done: (*_fetch_page(name, done, replace), *map(_renewed_line, renewed)),
        lambda done: series | _fetch_content(done) | {"renewed": list(map(_saved_content, renewed))},
    )
    if done.restated is not None:
        raise typer.Exit(1)


def _first_to_fetch(start: str | None, days: int | None) -> datetime | timedelta:
    if start is not None and days is not None:
        raise ConfigError(f"--start was {start!r}, --days {days}: give one of them.")
    if start is not None:
        return parse_utc(start, "start")
    if days is None:
        raise ConfigError("neither --start nor --days is given. Give one of them, for example --days 30.")
    return timedelta(days=days)


@app.command()
def resample(
    symbol: options.Symbol,
    to: Annotated[
        str, typer.Option(help="Bar length to make, a whole multiple of --timeframe, for example 4h, or 1M for months.")
    ],
    timeframe: options.TimeframeText = "1h",
    exchange: options.StoredExchange = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Let the longer bars replace stored bars that differ from them.")
    ] = False,
    as_json: options.AsJson = False,
) -> None:
    """Make longer bars from shorter bars of the store.

    A longer bar is made once its last shorter bar is stored or the data is past its close time. Bars that were made
    although shorter bars are missing are listed, and so are the incomplete bars at both ends, which are left out. The
    longer bars are made again when an import, a fetch or a join changes the shorter ones.

    \b
    Example:
        peak-trade data resample --symbol BTC/USDT --timeframe 1h --to 4h --exchange binance

    Exits 0 when the longer bars are stored, 2 on bad input, for example a --to that is shorter than --timeframe.
    """
    from peak_trade.data.resampling import resample_stored

    done = resample_stored(symbol, Timeframe.parse(timeframe), Timeframe.parse(to), exchange, replace=replace)
    renewed = _renew(symbol, Timeframe.parse(to), done[1].series.exchange)
    output.show(
        done,
        as_json,
        lambda done: (*_resample_page(*done), *map(_renewed_line, renewed)),
        lambda done: _resample_content(*done) | {"renewed": list(map(_saved_content, renewed))},
    )


@app.command()
def join(
    symbol: options.Symbol,
    earlier: Annotated[str, typer.Option(help="Former symbol of the same asset, for example MATIC/USDT.")],
    ratio: Annotated[float, typer.Option(help="Units of --symbol for one unit of --earlier.")],
    timeframe: options.TimeframeText,
    exchange: options.StoredExchange = None,
    open_holdout: options.OpenHoldout = False,
    as_json: options.AsJson = False,
) -> None:
    """Join the bars of a former symbol to its successor.

    The bars of --earlier before the first bar of --symbol are stored as bars of --symbol: prices are divided by the
    ratio, volumes multiplied. The join is noted with the bars, in `data list`, and among the assumptions of every
    result. A ratio that does not fit the prices is refused: those of the bars that both symbols have, or else the
    last close and the first open.

    \b
    Example:
        peak-trade data join --symbol POL/USDT --earlier MATIC/USDT --ratio 1 --timeframe 1d --exchange binance

    Exits 0 when the bars are joined, 2 on bad input, in which case nothing is written.
    """
    from peak_trade.data.store import join_earlier

    done = join_earlier(symbol, earlier, ratio, Timeframe.parse(timeframe), exchange)
    renewed = _renew(symbol, Timeframe.parse(timeframe), done.saved.series.exchange)
    output.show(
        done,
        as_json,
        lambda done: (*_join_page(done), *map(_renewed_line, renewed)),
        lambda done: _join_content(done) | {"renewed": list(map(_saved_content, renewed))},
    )


@app.command("list")
def list_(as_json: options.AsJson = False) -> None:
    """List the bars of the store.

    First and last are close times in UTC. A damaged file, or one with other bars than its place says, is named on
    standard error; the others are listed.

    \b
    Example:
        peak-trade data list

    Exits 0, or 1 when a file is damaged or misplaced.
    """
    from peak_trade.data.store import bars_folder, damaged_parts, scan_store

    stored, refused = scan_store()
    errors = [*refused.values(), *damaged_parts(stored)]
    output.show(
        stored, as_json, lambda held: _list_page(held, bars_folder()), lambda held: list(map(_held_content, held))
    )
    for error in errors:
        output.note(str(error))
    if errors:
        raise typer.Exit(1)


@app.command()
def check(
    file: Annotated[
        Path | None,
        typer.Argument(metavar="FILE", help="File of bars. Without it, the bars of the store are checked."),
    ] = None,
    symbol: Annotated[str | None, typer.Option(help="Check only this symbol of the store.")] = None,
    timeframe: Annotated[
        str | None, typer.Option(help="Bar length. For a FILE, the default is the most frequent step of its times.")
    ] = None,
    exchange: Annotated[str | None, typer.Option(help="Check only this exchange of the store.")] = None,
    stamp: Annotated[Stamp | None, typer.Option(help="Meaning of the times in FILE.", show_default="open")] = None,
    column: options.ColumnNames = None,
    sep: options.Separator = None,
    time_format: options.TimeFormat = None,
    anchor: options.Anchor = None,
    skip_empty: options.SkipEmpty = False,
    no_volume: options.NoVolume = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit 1 when there are gaps or implausible bars.")] = False,
    open_holdout: options.OpenHoldout = False,
    as_json: options.AsJson = False,
) -> None:
    """Check bars for gaps, duplicates and other faults.

    The bars are those of a FILE before its import, or those of the store. Gaps, implausible bars (steps,
    redenominations and spikes of the price), stale prices and bars without volume occur in correct data (outages, thin
    markets): they are listed. With --strict, gaps and implausible bars fail the check. A damaged file of the store, or
    one with other bars than its place says, is a finding too; the others are checked. Bars of a sealed hold-out, and
    those after it, are left out.

    \b
    Examples:
        peak-trade data check btc.csv --timeframe 1h --stamp open
        peak-trade data check --symbol BTC/USDT --strict

    Exits 0 when all bars are valid, 1 when some are not (duplicate, out of order, off the time grid, not a number,
    price not above zero, negative volume, high or low that contradicts the other prices, close in the future), when a
    file of the store is damaged or misplaced, or, with --strict, when there are gaps or implausible bars, 2 on bad
    input.
    """
    from peak_trade.data import importing, quality

    step = None if timeframe is None else Timeframe.parse(timeframe)
    refused: Mapping[Path, DataError] = {}
    if file is not None:
        reading = _read_options(column, sep, time_format, anchor, skip_empty, no_volume)
        reports = [importing.check_file(file, step, stamp, symbol or "", reading)]
    else:
        reports, refused = quality.check_stored(symbol, step, exchange)
    output.show(
        reports,
        as_json,
        lambda reports: [*(block for report in reports for block in _report_page(report)), *map(str, refused.values())],
        lambda reports: [
            *(report.as_json() for report in reports),
            *({"where": str(path), "keeps_contract": False, "refused": str(why)} for path, why in refused.items()),
        ],
    )
    is_valid = all(report.keeps_contract and not (strict and (report.gaps or report.implausible)) for report in reports)
    if refused or not is_valid:
        raise typer.Exit(1)


@app.command()
def sample(
    seed: Annotated[
        int | None,
        typer.Option(help="Seed of the random prices. Another seed makes another market.", show_default="11", min=0),
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Store generated sample bars.

    They are two years of hourly BTC/USDT, ETH/USDT and SOL/USDT with known bull, sideways and bear regimes, under the
    exchange name `sample`. Running it again changes nothing.

    \b
    Example:
        peak-trade data sample

    Exits 0 when the bars are stored, 2 when the store has sample bars of another seed.
    """
    from peak_trade.data.sample import SEED, save_samples

    saved = save_samples(SEED if seed is None else seed)
    output.show(saved, as_json, lambda saved: map(_saved_line, saved), lambda saved: list(map(_saved_content, saved)))


app.command("import-columns")(extra_columns.import_columns)
app.command("list-columns")(extra_columns.list_columns)
app.command("remove-columns")(extra_columns.remove_columns)


def _read_options(
    column: list[str] | None,
    sep: str | None,
    time_format: str | None,
    anchor: str | None,
    skip_empty: bool,
    no_volume: bool,
) -> ReadOptions:
    from peak_trade.data.reading import ReadOptions

    columns = options.pairs(column, "--column", "time=Date")
    return ReadOptions(sep, columns, time_format, anchor, skip_empty, no_volume)


def _renew(symbol: str, timeframe: Timeframe, exchange: str) -> list[SaveResult]:
    from peak_trade.data.resampling import renew_resampled

    return renew_resampled(symbol, timeframe, exchange)


def _renewed_line(saved: SaveResult) -> str:
    return f"Renewed, because the bars that it is resampled from changed: {_saved_line(saved)}"


def _import_page(file: Path, done: ImportResult) -> output.Page:
    renamed = [
        f"{ours} = {excerpt(theirs)}"
        for ours, theirs in done.columns.items()
        if ours not in {"time", theirs} and not any(said.startswith(f"{ours} = ") for said in done.said)
    ]
    decided = "; ".join((*done.said, *renamed))
    yield f"{file}: {output.count(done.n_rows, 'bar')}; {decided}; times are the {done.stamp} of each bar."
    yield _saved_line(done.saved)
    if done.gaps:
        yield _gap_table(done.gaps)
    if done.implausible:
        yield _implausible_table(done.implausible)


def _import_content(file: Path, done: ImportResult) -> dict[str, Any]:
    return {
        "file": str(file),
        "n_rows": done.n_rows,
        "columns": done.columns,
        "time_unit": done.time_unit,
        "stamp": done.stamp,
        "decisions": done.said,
        "open_bars": [iso(time) for time in done.open_bars],
        "n_skipped": done.n_skipped,
        "n_gaps": len(done.gaps),
        "n_missing": sum(gap.n_missing for gap in done.gaps),
        "gaps": [gap.as_json() for gap in done.gaps],
        "implausible": [each.as_json() for each in done.implausible],
        **_saved_content(done.saved),
    }


def _fetch_page(name: str, done: FetchResult, replace: bool) -> output.Page:
    replaced = f" and {done.n_replaced:,} replaced" if done.n_replaced else ""
    requests = output.count(done.n_requests, "request")
    yield f"{name}: {output.count(done.n_added, 'bar')} added{replaced} with {requests}."
    if done.n_missing:
        first = f" Its first bar closed at {iso(done.first_given)}." if done.first_given is not None else ""
        yield f"The exchange does not have {done.n_missing:,} bars of this span.{first} `data check` lists the gaps."
    if done.restated is not None:
        yield from _restated_lines(done.restated, replace)


def _restated_lines(restated: Restated, replace: bool) -> output.Page:
    least = "" if restated.is_all else "At least "
    bars = f"{restated.n_bars:,} held bar{' differs' if restated.n_bars == 1 else 's differ'} now"
    place = " outside the span" if replace else ""
    yield (
        f"{least}{bars}{place}: the exchange restated its history. The first is that of {iso(restated.time)}: its "
        f"{restated.column} was {restated.held!r}, it is {restated.received!r} now."
    )
    if replace:
        yield "No further bar was stored. Choose a span that covers these bars too."
    else:
        yield (
            "No further bar was stored. Pass --replace, with a span that covers every stored bar, to fetch it again "
            "and keep the bars as they are now."
        )


def _fetch_content(done: FetchResult) -> dict[str, Any]:
    restated = None
    if done.restated is not None:
        restated = dataclasses.asdict(done.restated) | {"time": iso(done.restated.time)}
    return {
        "n_requests": done.n_requests,
        "n_added": done.n_added,
        "n_replaced": done.n_replaced,
        "n_missing": done.n_missing,
        "first_given": None if done.first_given is None else iso(done.first_given),
        "restated": restated,
    }


def _resample_page(made: ResampleResult, saved: SaveResult) -> output.Page:
    yield _saved_line(saved)
    if made.partial:
        yield output.Table(
            ("close time", "fine bars"),
            [(iso(part.close_time), f"{part.n_fine} of {made.n_expected(part)}") for part in made.partial],
            f"{output.count(len(made.partial), 'bar')} made although fine bars are missing",
            right=("fine bars",),
            max_rows=MAX_ROWS,
        )
    for part in (made.unstarted, made.unfinished):
        if part is not None:
            yield f"Left out: {iso(part.close_time)}, with {part.n_fine} of {made.n_expected(part)} fine bars."


def _resample_content(made: ResampleResult, saved: SaveResult) -> dict[str, Any]:
    ends = [part for part in (made.unstarted, made.unfinished) if part is not None]
    return {
        **_saved_content(saved),
        "n_fine_per_bar": made.n_fine_per_bar,
        "partial": [{"close_time": iso(part.close_time), "n_fine": part.n_fine} for part in made.partial],
        "left_out": [{"close_time": iso(part.close_time), "n_fine": part.n_fine} for part in ends],
    }


def _join_page(done: JoinResult) -> output.Page:
    yield _saved_line(done.saved)
    yield done.note
    step = f"{done.first_open / done.last_close - 1.0:+.2%}"
    yield f"The last close before the join is {done.last_close:.6g}, the first open {done.first_open:.6g} ({step})."
    if done.n_shared:
        shared = output.count(done.n_shared, "bar")
        yield f"On {shared} of both, the earlier closes are {done.shared_ratio:.4f} times the later ones (median)."


def _join_content(done: JoinResult) -> dict[str, Any]:
    return {
        **_saved_content(done.saved),
        "last_close": done.last_close,
        "first_open": done.first_open,
        "n_shared": done.n_shared,
        "shared_ratio": done.shared_ratio,
    }


def _list_page(held: Sequence[StoredSeries], folder: Path) -> output.Page:
    from peak_trade.data.store import is_outdated

    if not held:
        yield (
            f"{folder} holds no bars. Import some with `peak-trade data import FILE`, or make sample bars with "
            "`peak-trade data sample`."
        )
        return
    yield output.Table(
        ("exchange", "symbol", "timeframe", "bars", "first close", "last close", "digest"),
        [
            (each.exchange, each.symbol, each.timeframe, each.n_bars, iso(each.first), iso(each.last), each.digest[:12])
            for each in held
        ],
        right=("bars",),
    )
    for each in held:
        name = f"{each.exchange} {each.symbol} {each.timeframe}"
        for note in each.notes:
            yield f"{name}: {note}"
        if each.origin is not None and is_outdated(each, held):
            yield f"{name}: resampled from {each.origin.timeframe} bars that have changed since. Resample them again."


def _report_page(report: QualityReport) -> output.Page:
    span = f"{iso(report.first)} to {iso(report.last)}"
    yield f"{report.where}: {output.count(report.n_bars, 'bar')} of {report.timeframe}, close times {span}"
    if report.faults:
        yield output.Table(
            ("row", "close time", "fault", "value"),
            [(str(fault.row), iso(fault.time), str(fault.kind), fault.was) for fault in report.faults],
            output.count(len(report.faults), "fault"),
            right=("row",),
            max_rows=MAX_ROWS,
        )
    else:
        yield "Every bar is valid."
    if report.gaps:
        yield _gap_table(report.gaps)
    else:
        yield "No gaps."
    if report.implausible:
        yield _implausible_table(report.implausible)
    if report.sealed_from is not None:
        yield f"Not checked: bars from {iso(report.sealed_from)} on, where a sealed hold-out begins."
    if report.runs:
        yield output.Table(
            ("kind", "first close time", "bars"),
            [(str(run.kind), iso(run.start), run.n_bars) for run in report.runs],
            f"{output.count(len(report.runs), 'run')} of stale prices or without volume",
            right=("bars",),
            max_rows=MAX_ROWS,
        )


def _gap_table(gaps: Sequence[Gap]) -> output.Table:
    n_missing = sum(gap.n_missing for gap in gaps)
    return output.Table(
        ("first missing", "last missing", "missing"),
        [(iso(gap.start), iso(gap.end), gap.n_missing) for gap in gaps],
        f"{output.count(len(gaps), 'gap')}, {output.count(n_missing, 'bar')} missing (close times, UTC)",
        right=("missing",),
        max_rows=MAX_ROWS,
    )


def _implausible_table(found: Sequence[Implausible]) -> output.Table:
    from peak_trade.data.plausibility import RULE

    return output.Table(
        ("close time", "kind", "fields", "factor"),
        [(iso(each.time), str(each.kind), each.fields, each.shown_factor) for each in found],
        f"{output.count(len(found), 'implausible bar')}. {RULE}",
        right=("factor",),
        max_rows=MAX_ROWS,
    )


def _saved_line(saved: SaveResult) -> str:
    held = saved.series
    replaced = f"{saved.n_replaced:,} replaced, " if saved.n_replaced else ""
    return (
        f"{held.exchange} {held.symbol} {held.timeframe}: {saved.n_added:,} bars added, {replaced}"
        f"{saved.n_known:,} already stored; the store holds {held.n_bars:,}, "
        f"{iso(held.first)} to {iso(held.last)}, digest {held.digest[:12]}."
    )


def _saved_content(saved: SaveResult) -> dict[str, Any]:
    content = _held_content(saved.series)
    counts = {"n_added": saved.n_added, "n_known": saved.n_known, "n_replaced": saved.n_replaced}
    return {**counts, "n_held": content.pop("n_bars"), **content}


def _held_content(held: StoredSeries) -> dict[str, Any]:
    return {
        "exchange": held.exchange,
        "symbol": held.symbol,
        "timeframe": str(held.timeframe),
        "n_bars": held.n_bars,
        "first": iso(held.first),
        "last": iso(held.last),
        "digest": held.digest,
        "notes": held.notes,
        "origin": held.origin and {"timeframe": str(held.origin.timeframe), "digest": held.origin.digest},
        "path": str(held.path),
    }
