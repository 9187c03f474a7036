"""`peak-trade audit`: verify, prove, export, import and tidy journals of sessions."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from peak_trade.cli import options, output
from peak_trade.cli.verbs import verb_app
from peak_trade.core.time import from_ns

if TYPE_CHECKING:
    from peak_trade.journal.formats.balances import PriceRange
    from peak_trade.journal.formats.external_log import ExternalLog
    from peak_trade.journal.telemetry import TidiedSession
    from peak_trade.sessions.audit import TrailExport, WorkspaceCheck
    from peak_trade.sessions.import_log import EquityCheck, ImportedSession

SHOWN_REFUSED = 20
SHOWN_EQUITIES = 31

app = verb_app()


@app.command()
def verify(
    session: Annotated[
        str | None,
        typer.Argument(
            metavar="[SESSION]",
            help="Session id, the unique beginning of one, or the folder of a session.",
            show_default="all sessions and their chain",
        ),
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(help="Public key of the workspace that wrote the journal.", show_default="key of this workspace"),
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Verify the chain, the signatures and the seal of a journal.

    The verdict is intact, unsealed (the session runs or was killed), edited, inserted, deleted, reordered, truncated,
    rewritten, forged (a checkpoint) or foreign (the folder was renamed). Without SESSION, every journal and the chain
    of sessions are verified: a session whose folder is gone is named, unless `peak-trade audit tidy` deleted it.

    \b
    Examples:
        peak-trade audit verify 20251221_220016
        peak-trade audit verify

    Exits 0 when every journal is intact or unsealed and the chain has no fault, 1 otherwise, 2 on bad input.
    """
    from peak_trade.sessions.audit import verify_session, verify_workspace

    if session is None:
        checked = verify_workspace(key)
        output.show(checked, as_json, _workspace_page, _workspace_content)
        if not checked.is_intact:
            raise typer.Exit(1)
        return
    name, verdict = verify_session(session, key)
    output.show(
        verdict,
        as_json,
        lambda verdict: [f"{name}: {verdict.finding}. {verdict.message}"],
        lambda verdict: asdict(verdict) | {"session_id": name, "is_intact": verdict.is_intact},
    )
    if not verdict.is_intact:
        raise typer.Exit(1)


@app.command()
def prove(
    session: options.SessionName,
    sequence: Annotated[
        int | None, typer.Argument(metavar="NUMBER", help="Number of the event in the audit trail.")
    ] = None,
    since: Annotated[
        int | None, typer.Option(metavar="N", help="Prove instead that the first N events did not change.")
    ] = None,
    output_file: Annotated[
        Path | None, typer.Option("--output", help="File for the proof.", show_default="standard output")
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Prove that an event is in a journal.

    With --since, prove that the first events of the journal did not change. The proof is JSON: a Merkle root over all
    lines (RFC 9162), and the path to it. It is checked without the session. Keep roots where the owner of the journal
    cannot write: a proof is only as trustworthy as its root.

    \b
    Example:
        peak-trade audit prove 20251221_220016 12 --output proof.json

    Exits 0 when the proof is written, 2 on bad input or when the journal does not verify.
    """
    from peak_trade.sessions.audit import prove_session, write_proof

    proof = prove_session(session, sequence, since)
    if output_file is not None:
        write_proof(proof, output_file)
    text = proof.model_dump_json(indent=1)
    line = text if output_file is None else f"{output_file}: {proof.claim()}."
    output.show(text, as_json, lambda text: [line], json.loads)


@app.command()
def check(
    proof: Annotated[Path, typer.Argument(metavar="PROOF", help="File that `peak-trade audit prove` wrote.")],
    root: Annotated[
        str | None, typer.Option(help="Root that was kept elsewhere, 64 hex digits. The proof must have the same.")
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Check a proof, without the session.

    \b
    Example:
        peak-trade audit check proof.json

    Exits 0 when the proof is valid, 1 when it is not, 2 on bad input.
    """
    from peak_trade.sessions.audit import check_proof

    found = check_proof(proof, root)
    verdict = "valid" if found.is_valid else "not valid"
    output.show(found, as_json, lambda found: [f"{proof}: {verdict}: {found.message}."], asdict)
    if not found.is_valid:
        raise typer.Exit(1)


@app.command()
def export(
    output_file: Annotated[Path, typer.Option("--output", help="File to write: .csv, .json or .parquet.")],
    session: Annotated[
        str | None, typer.Option(help="Session id or the beginning of one.", show_default="the latest session")
    ] = None,
    is_all: Annotated[bool, typer.Option("--all", help="Export all sessions.")] = False,
    kind: Annotated[
        list[str] | None, typer.Option(help="Kind of event to export, for example order.", show_default="all kinds")
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option(help="Columns to export, separated by commas, in this order.", show_default="all columns"),
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Export the audit trail as one table.

    The table has one row per event, with FIX names for the states of orders. The file is replaced once the table is
    complete; its folder must exist.

    \b
    Examples:
        peak-trade audit export --output trail.csv
        peak-trade audit export --all --kind order --columns session_id,time,order_id,event --output orders.parquet

    Exits 0 when the table is written, 2 on bad input.
    """
    from peak_trade.sessions.audit import export_trail

    output.show(
        export_trail(output_file, session, is_all=is_all, kinds=kind or (), columns=_names_in(columns)),
        as_json,
        lambda done: [f"{output_file}: {output.count(done.n_events, 'event')} of {_sessions_text(done)}."],
        lambda done: asdict(done) | {"output": output_file},
    )


@app.command("import")
def import_(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="Files of one log, such as trades and ledgers.")
    ],
    form: Annotated[
        str, typer.Option("--format", metavar="FORMAT", help="Name of the format, of those below.")
    ] = "auto",
    strategy: Annotated[
        str, typer.Option(help="Name of the strategy in the imported session.", show_default="that of the log")
    ] = "",
    column: Annotated[
        list[str] | None,
        typer.Option(metavar="OURS=THEIRS", help="Name of a column that the CSV calls otherwise. Repeat for several."),
    ] = None,
    fee_currency: Annotated[
        str, typer.Option(metavar="CURRENCY", help="Currency of the fees that the file does not name.")
    ] = "",
    fee_price: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CURRENCY=SYMBOL",
            help="Stored bars that convert the fees in a currency, like BNB=BNB/USDT or 'BNB=BNB/USDT 1h'. Repeat for "
            "several.",
        ),
    ] = None,
    time_format: Annotated[
        str,
        typer.Option(
            metavar="FORMAT",
            help="Format of the times: iso, s, ms, us or ns, or a pattern like '%d.%m.%Y %H:%M:%S'.",
            show_default="recognised",
        ),
    ] = "",
    as_json: options.AsJson = False,
) -> None:
    """Import an external order log as a session.

    The session is chained and signed as an import. With the format auto, the one format that fits every file is
    chosen; the command prints which one, and why. The formats are ccxt (JSON of fetch_my_trades and fetch_orders),
    freqtrade (the database of a bot), freqtrade-backtest, binance (web exports of spot trading), binance-api, kraken
    (trades.csv and ledgers.csv), hummingbot (trades and database), nautilus (fills and orders reports), jesse (log
    lines, live orders and closed trades) and orders-csv (any table of orders, with --column). docs/log-formats.md
    describes their files.

    A fill builds its order. Rows that are not about orders are counted by kind, and rows that are there twice once. A
    fee that is not stated is unknown. A fee in a third currency is kept in it, and converted only with --fee-price.
    Rows that cannot be read are left out; the first 20 are listed.

    \b
    Examples:
        peak-trade audit import tradesv3.sqlite
        peak-trade audit import trades.csv ledgers.csv
        peak-trade audit import orders.csv --column order_id=OrderNo --column symbol=Pair --fee-currency USDT

    Exits 0 when every row is read and the balances are equal, 1 when a row is left out or a balance is not equal (the
    session is made all the same), 2 on bad input.
    """
    from peak_trade.journal.formats.logged_orders import LogOptions
    from peak_trade.sessions.import_log import fee_prices, import_log

    columns = options.pairs(column, "--column", "order_id=OrderNo")
    series = options.pairs(fee_price, "--fee-price", "BNB=BNB/USDT")
    stated = LogOptions(strategy, fee_currency, time_format, columns=columns, fee_price=fee_prices(series))
    done = import_log(files, time.time_ns(), stated, form, series)
    output.show(done, as_json, _import_page, _import_content)
    if done.log.n_refused or not done.adds_up:
        raise typer.Exit(1)


@app.command()
def tidy(
    telemetry: options.Telemetry = None,
    as_json: options.AsJson = False,
) -> None:
    """Compress and delete old sealed sessions.

    The [retention] table of the telemetry file says when. Open and interrupted sessions are not touched.

    \b
    Example:
        peak-trade audit tidy

    Exits 0, or 2 on bad input.
    """
    from peak_trade.sessions.audit import tidy_sessions

    output.show(tidy_sessions(telemetry), as_json, _tidy_page, lambda done: [asdict(each) for each in done])


@app.command()
def spec() -> None:
    """Print the telemetry specification.

    It is generated from the event classes.

    \b
    Example:
        peak-trade audit spec > docs/execution/TELEMETRY_SPEC.md

    Exits 0.
    """
    from peak_trade.journal.spec import telemetry_spec

    output.write(telemetry_spec())


def _names_in(text: str | None) -> list[str]:
    return [] if text is None else [name.strip() for name in text.split(",")]


def _sessions_text(done: TrailExport) -> str:
    return done.session_ids[0] if done.n_sessions == 1 else output.count(done.n_sessions, "session")


def _workspace_page(checked: WorkspaceCheck) -> output.Page:
    for name, verdict in checked.verdicts.items():
        yield f"{name}: {verdict.finding}. {verdict.message}"
    yield from checked.chain.faults
    state = "is intact" if checked.chain.is_intact else "has faults"
    yield f"The chain of sessions {state}: {checked.chain.n_entries:,} lines, {len(checked.chain.missing):,} missing."


def _workspace_content(checked: WorkspaceCheck) -> dict[str, Any]:
    sessions = {name: asdict(each) | {"is_intact": each.is_intact} for name, each in checked.verdicts.items()}
    chain = asdict(checked.chain) | {"is_intact": checked.chain.is_intact}
    return {"sessions": sessions, "chain": chain, "is_intact": checked.is_intact}


def _import_page(done: ImportedSession) -> output.Page:
    log = done.log
    for name, layout, why in zip(done.files, done.recognised.layouts, done.recognised.reasons, strict=True):
        yield f"{name}: {done.recognised.name}, {layout.title}: {why}."
    yield f"{done.folder.name}: {log.n_orders:,} orders from {log.n_used:,} of {log.n_rows:,} rows."
    ends = ", ".join(f"{n:,} {end}" for end, n in sorted(log.outcomes.items())) or "none"
    yield f"Orders: {ends}. Fills: {log.n_fills:,}. Symbols: {', '.join(sorted(log.symbols))}."
    others = ", ".join(f"{n:,} {kind}" for kind, n in sorted(log.ignored.items())) or "none"
    yield f"Rows without an order: {others}. Rows that are there twice: {log.n_duplicates:,}."
    yield f"Times: {log.times}."
    yield f"Fees: unknown for {output.count(log.n_unknown_fees, 'fill')}{_other_fees(log)}."
    for balance in log.balances:
        apart = balance.observed - balance.expected
        verdict = "equal" if balance.is_equal else f"NOT EQUAL, apart by {apart:+.3g}"
        yield (
            f"Balance of {balance.asset}: {balance.expected:+.8g} expected, {balance.observed:+.8g} in the log: "
            f"{verdict} (tolerance {balance.tolerance:.2g})."
        )
    starts = ", ".join(f"{amount:,.10g} {name}" for name, amount in sorted(log.starting_balances.items()))
    yield f"Balances before the first order: {starts or 'not in the log; state the initial cash with diff --cash'}."
    yield from _equity_lines(done.equities)
    if len(log.accounts) > 1:
        yield (
            f"Accounts: {', '.join(sorted(log.accounts))}. Their orders are one log, and their positions and cash are "
            "summed up. To compare one of them, import its rows alone."
        )
    yield from (f"{output.count(n, 'time')}: {note}." for note, n in sorted(log.notes.items()))
    for row, reason in log.refused[:SHOWN_REFUSED]:
        yield f"Row {row} was left out: {reason}"
    if log.n_refused > SHOWN_REFUSED:
        yield f"{log.n_refused - SHOWN_REFUSED:,} more rows were left out."


def _equity_lines(equities: Sequence[EquityCheck]) -> Iterator[str]:
    """One line per stated equity; of many, those without a position that are equal to the cash are only counted."""
    shown = equities
    if len(equities) > SHOWN_EQUITIES:
        shown = [check for check in equities if check.stated.positions or not check.stated.is_possible]
    yield from map(_equity_line, shown[:SHOWN_EQUITIES])
    if len(equities) > len(shown[:SHOWN_EQUITIES]):
        yield f"{len(equities) - len(shown[:SHOWN_EQUITIES]):,} more equities are in --json."


def _equity_line(check: EquityCheck) -> str:
    stated, implied, held = check.stated, check.implied_prices, check.bar_prices
    start = f"Equity of {from_ns(stated.time):%Y-%m-%d %H:%M:%S}: {stated.equity:,.2f} {stated.asset} in the log, "
    if not stated.positions:
        verdict = "equal" if stated.is_possible else "NOT EQUAL"
        return f"{start}{stated.cash:,.2f} by the cash: {verdict} (tolerance {stated.tolerance:.2g})."
    parts = []
    for position in stated.positions:
        symbol = position.symbol
        text = f"{symbol} {position.quantity:+g} from {position.entry_price:,.8g}"
        if symbol in implied:
            inside = "inside of" if implied[symbol].meets(position.resting) else "OUTSIDE of"
            text += f", so that its mark price was {_range(implied[symbol])}, {inside} its resting orders"
        text += f" ({_range(position.resting)})"
        text += (
            f"; {_verdict(implied.get(symbol), held[symbol])} {_range(held[symbol])}"
            if symbol in held
            else "; no bars held"
        )
        parts.append(text)
    return (
        f"{start}cash {stated.cash:,.2f}, unrealised PnL {stated.unrealised:+,.2f} of {'. And of '.join(parts)}: "
        f"{'possible' if stated.is_possible else 'NOT POSSIBLE'}."
    )


def _range(prices: PriceRange) -> str:
    if math.isinf(prices.high):
        return f"above {prices.low:,.8g}"
    return f"{prices.low:,.8g} to {prices.high:,.8g}"


def _bounds(prices: PriceRange) -> dict[str, float | None]:
    return {"low": prices.low, "high": None if math.isinf(prices.high) else prices.high}


def _verdict(implied: PriceRange | None, bar: PriceRange) -> str:
    if implied is None:
        return "its bar has"
    return "that is inside of its bar," if implied.meets(bar) else "that is OUTSIDE of its bar,"


def _other_fees(log: ExternalLog) -> str:
    converted = "".join(
        f", {paid:g} {currency} (converted to {value:g} in quote currency)"
        for currency, (paid, value) in sorted(log.converted_fees.items())
    )
    others = "".join(f", {amount:g} {currency} (not converted)" for currency, amount in sorted(log.other_fees.items()))
    names = " and ".join(sorted(log.other_fees))
    return converted + others + (f". Fees in {names} are not included" if names else "")


def _import_content(done: ImportedSession) -> dict[str, Any]:
    log = done.log
    return {
        "session_id": done.folder.name,
        "format": done.recognised.name,
        "files": [
            {"name": name, "layout": layout.title, "why": why}
            for name, layout, why in zip(done.files, done.recognised.layouts, done.recognised.reasons, strict=True)
        ],
        "n_orders": log.n_orders,
        "n_open_orders": log.n_open_orders,
        "n_fills": log.n_fills,
        "orders": log.outcomes,
        "symbols": sorted(log.symbols),
        "n_rows": log.n_rows,
        "n_used": log.n_used,
        "n_duplicates": log.n_duplicates,
        "rows_without_order": log.ignored,
        "times": log.times,
        "n_unknown_fees": log.n_unknown_fees,
        "fees_not_converted": log.other_fees,
        "fees_converted": {
            currency: {"paid": paid, "value": value} for currency, (paid, value) in log.converted_fees.items()
        },
        "accounts": sorted(log.accounts),
        "notes": log.notes,
        "balances": [asdict(balance) | {"is_equal": balance.is_equal} for balance in log.balances],
        "starting_balances": log.starting_balances,
        "equities": [
            asdict(check.stated)
            | {
                "unrealised": check.stated.unrealised,
                "is_possible": check.stated.is_possible,
                "positions": [each._asdict() | {"resting": _bounds(each.resting)} for each in check.stated.positions],
                "implied_prices": {symbol: each._asdict() for symbol, each in check.implied_prices.items()},
                "bar_prices": {symbol: each._asdict() for symbol, each in check.bar_prices.items()},
            }
            for check in done.equities
        ],
        "adds_up": done.adds_up,
        "n_refused": log.n_refused,
        "refused": [{"row": row, "reason": reason} for row, reason in log.refused[:SHOWN_REFUSED]],
    }


def _tidy_page(done: Sequence[TidiedSession]) -> output.Page:
    for each in done:
        yield f"{each.session_id}: {each.action}, {each.n_bytes:,} bytes freed."
    if not done:
        yield "No session is old enough."
