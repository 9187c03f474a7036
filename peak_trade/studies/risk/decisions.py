"""The decisions of the gates: kept with a run, found by order id, recomputed, and tabulated."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from msgspec.structs import replace

from peak_trade.core.digest import canonical_json, digest_of
from peak_trade.core.errors import ConfigError, SessionError, did_you_mean
from peak_trade.core.files import read_bytes, write_bytes
from peak_trade.core.values import Denial
from peak_trade.data.workspace import workspace
from peak_trade.engine.result import BacktestResult
from peak_trade.journal.codec import chain_hash, complete_lines, encode_event, encode_line, read_line, split_line
from peak_trade.journal.events import DecisionEvent, Event, TradingStateEvent
from peak_trade.journal.files import MANIFEST, events_path, read_manifest, read_texts
from peak_trade.journal.inputs import read_inputs
from peak_trade.risk.codes import DenialCode
from peak_trade.risk.gate import GateChain, Reading
from peak_trade.risk.limits import RiskLimits
from peak_trade.risk.review import ApprovedOrder, review
from peak_trade.risk.sizing import SIZE_CODES
from peak_trade.wiring.gates import gate_chain

DECISIONS = "decisions.jsonl"
_VERSION = 3
"""Version of the files of decisions. 2 added the last line, and 3 the gate `max_leverage`."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """A decision recomputed from its journal record alone.

    `readings` has one entry per gate; `ts_event` is in ns UTC. `is_reproduced` is True when the same gates denied with
    the same numbers as recorded.
    """

    order_id: str
    ts_event: int
    is_approved: bool
    readings: tuple[Reading, ...]
    is_reproduced: bool


def explain(decision: DecisionEvent) -> Explanation:
    """Recompute a decision from its recorded inputs, with what each gate observed.

    An infinite leverage says that the decision was made without the gate `max_leverage`; see `decisions_in`.

    Raises
    ------
    ConfigError
        If the decision was made on pass-through limits and has no inputs, or its limits are not settings.
    SessionError
        If the inputs are damaged.

    """
    text = decision.inputs if isinstance(decision.inputs, str) else decision.inputs.to_json()
    if not text:
        raise ConfigError(f"{decision.order_id} was decided on pass-through limits; there is nothing to explain.")
    order, account, market, values = read_inputs(text)
    limits = RiskLimits.parse(values, f"the limits of {decision.order_id}")
    gates = gate_chain(limits)
    if math.isinf(market.instrument.max_leverage):
        gates = GateChain(gate for gate in gates if gate.code != DenialCode.MAX_LEVERAGE)
    answer = review(order, account, market, gates, limits)
    denials = () if isinstance(answer, ApprovedOrder) else answer
    return Explanation(
        decision.order_id,
        decision.ts_event,
        decision.is_approved,
        gates.readings(order, account, market, limits),
        decision.is_approved is (not denials) and _as_numbers(denials) == _as_numbers(decision.denials),
    )


def keep_decisions(result: BacktestResult) -> Path | None:
    """Write a run's decisions into the workspace as journal lines and return the file; None for a run without limits.

    The lines are hash-chained, starting from the run id, so that a later change of a line is detected. The last line
    holds the number of decisions and the last hash, so that a cut is detected.
    """
    decisions = [event for event in result.events if isinstance(event, DecisionEvent)]
    if result.limits is None:
        return None
    path = workspace() / "runs" / result.run_id / DECISIONS
    lines, previous = [], _start_of_chain(result.run_id, _VERSION)
    for place, decision in enumerate(decisions, start=1):
        event, now = encode_event(decision), decision.ts_event
        previous = chain_hash(previous, event, place, now)
        lines.append(encode_line(event, previous, place, now))
    write_bytes(path, b"".join(lines) + _end_of_file(len(lines), previous) + b"\n")
    return path


def find_decision(decision_id: str) -> DecisionEvent:
    """Return the decision of an order: `RUN/ORDER`, `SESSION/ORDER`, or an order id of the newest run that has it.

    Raises
    ------
    ConfigError
        If no run or session in the workspace has such a decision.
    SessionError
        If a line is damaged, or was changed after it was written.

    """
    owner, _, order_id = decision_id.rpartition("/")
    home = workspace()
    sessions = (events_path(manifest.parent) for manifest in home.glob(f"sessions/[!.]*/{MANIFEST}"))
    kept = [*home.glob(f"runs/*/{DECISIONS}"), *(file for file in sessions if file.exists())]
    files = [file for file in kept if file.parent.name.startswith(owner)]
    for file in sorted(files, key=lambda file: file.stat().st_mtime, reverse=True):
        found = [decision for decision in decisions_in(file) if decision.order_id == order_id]
        if found:
            return found[0]
    if not files:
        hint = did_you_mean(owner, sorted(file.parent.name for file in kept))
        raise ConfigError(f"there is no decision {decision_id}: no run or session of that name has any. {hint}")
    searched = ", ".join(sorted(file.parent.name for file in files))
    empty = [str(file) for file in files if file.name == DECISIONS and not file.stat().st_size]
    cut = f" {empty[0]} is empty: it was cut, or it is of version 1 and had no decision." if empty else ""
    raise ConfigError(f"there is no decision {decision_id} in {searched}. Check the order id.{cut}")


def decisions_in(file: Path) -> Iterator[DecisionEvent]:
    """Yield the decisions in a run's file or in a session's journal, in order; each line is checked against its hash.

    The inputs of decisions of versions that did not have the gate `max_leverage` get an infinite leverage.

    Raises
    ------
    SessionError
        At a line that is damaged, or was changed after it was written; before the first one of a file that was cut.

    """
    texts: Iterable[bytes]
    if file.name == DECISIONS:
        texts, previous, version = _checked_ends(file)
        has_leverage = version >= _VERSION
    else:
        texts, previous = (text[:-1] for text in read_texts(file) if text.endswith(b"\n")), None
        has_leverage = _has_leverage(read_manifest(file.parent))
    for place, text in enumerate(texts, start=1):
        line, where = split_line(text), f"{file}:{place}"
        if line is None:
            raise SessionError(f"{where}: this is not a line of a journal: it is damaged or from an older version.")
        if b'"kind":"decision"' in line.event:
            if previous is not None and line.hash_after(previous) != line.hash:
                raise SessionError(f"{where}: this line or the one before it was changed after it was written.")
            event = read_line(text, where).event
            if isinstance(event, DecisionEvent):
                yield event if has_leverage else _without_leverage(event)
        previous = line.hash


def _has_leverage(manifest: Mapping[str, Any]) -> bool:
    """Return whether the instruments of a session state their leverage."""
    symbols = manifest.get("config", {}).get("symbols")
    named = [each for each in symbols if isinstance(each, dict)] if isinstance(symbols, list) else []
    return any("max_leverage" in (each.get("instrument") or ()) for each in named)


def _without_leverage(decision: DecisionEvent) -> DecisionEvent:
    """Return a decision of an earlier version with an infinite leverage; one that states a leverage keeps it."""
    is_gated = DenialCode.MAX_LEVERAGE in {denial.code for denial in decision.denials}
    if is_gated or not isinstance(decision.inputs, str) or not decision.inputs:
        return decision
    try:
        content = json.loads(decision.inputs)
        content["market"]["instrument"].setdefault("max_leverage", {"float": "inf"})
    except (ValueError, KeyError, TypeError, AttributeError):
        return decision
    return replace(decision, inputs=canonical_json(content))


def _start_of_chain(run_id: str, version: int) -> str:
    return run_id if version == 1 else digest_of({"run_id": run_id, "version": version})


def _end_of_file(n_decisions: int, head: str) -> bytes:
    return canonical_json({"head": head, "n_decisions": n_decisions}).encode()


def _checked_ends(file: Path) -> tuple[list[bytes], str, int]:
    """Return the decisions of a run's file, the start of their chain and its version; SessionError if it was cut.

    Version 1 has no last line, so that a cut is not detected.
    """
    content = read_bytes(file)
    texts = list(complete_lines(content))
    starts = {version: _start_of_chain(file.parent.name, version) for version in range(1, _VERSION + 1)}
    first = split_line(texts[0]) if texts else None
    is_known = [version for version, start in starts.items() if first and first.hash_after(start) == first.hash]
    version = is_known[0] if is_known else _VERSION
    if version == 1:
        return texts, starts[1], 1
    last = split_line(texts[-2]) if len(texts) > 1 else None
    ends = [_end_of_file(len(texts) - 1, head) for head in ([last.hash] if last else starts.values())]
    if texts and texts[-1] in ends:
        return texts[:-1], starts[version], version
    if (is_known and all(split_line(text) for text in texts[:-1])) or (content and not texts):
        raise SessionError(f"{file}: decisions are missing: the file was cut.")
    return texts, starts[version], version


def outcome(result: BacktestResult) -> dict[str, str]:
    """Return by name, as text: orders reviewed, approved and denied, fills, the final trading state and the limits.

    The check for look-ahead, the remarks on the result and the reason why nothing traded follow, where there are any.
    """
    decisions = [event for event in result.events if isinstance(event, DecisionEvent)]
    states = [event for event in result.events if isinstance(event, TradingStateEvent)]
    n_approved = sum(decision.is_approved for decision in decisions)
    facts = {
        "orders": f"{len(decisions):,}",
        "approved": f"{n_approved:,}",
        "denied": f"{len(decisions) - n_approved:,}",
        "fills": f"{len(result.fill_list):,}",
        "trading state at the end": f"{states[-1].state} ({states[-1].reason})" if states else "active",
        "limits": "none" if result.limits is None else result.limits.digest()[:16],
    }
    facts |= {f"look-ahead of {each.strategy}": each.sentence for each in result.causality}
    said = {"remarks": " ".join(result.remarks), "no trade": result.no_trade_reason}
    return facts | {name: text for name, text in said.items() if text}


def headroom(events: Iterable[Event]) -> pd.DataFrame:
    """Return the headroom of every gate at every decision.

    Returns
    -------
    DataFrame of shape (n_decisions × n_gates, 5): order_id, code, observed, limit, headroom, is_denied
        Indexed by the time of the decision, UTC. `headroom` is (limit − observed) / limit, in the direction that the
        gate allows, a fraction; NaN where the limit is 0 or the input could not be read.

    """
    rows = [
        (decision.ts_event, decision.order_id, reading.code, reading.observed, reading.limit, reading)
        for decision in events
        if isinstance(decision, DecisionEvent)
        for reading in explain(decision).readings
    ]
    frame = pd.DataFrame(
        [
            (order_id, str(code), observed, limit, _share(reading.headroom, limit), reading.is_denied)
            for _, order_id, code, observed, limit, reading in rows
        ],
        columns=["order_id", "code", "observed", "limit", "headroom", "is_denied"],
    )
    frame.index = pd.DatetimeIndex([row[0] for row in rows], tz="UTC", name="ts_event")
    return frame


def binding_denial(decision: DecisionEvent, sizes_orders: bool = False) -> Denial:
    """Return the denial that decides on a denied order: the first one in the gate chain.

    With `sizes_orders`, orders are reduced to the size limits (`RiskLimits.size_to_limits`). Then it is the first one
    that no smaller order would pass: of a gate without a size limit, or of an input that could not be read.
    """
    for denial in decision.denials:
        if not sizes_orders or denial.code not in SIZE_CODES or not math.isfinite(denial.observed):
            return denial
    return decision.denials[0]


def denials_by_code(events: Iterable[Event], sizes_orders: bool = False) -> pd.DataFrame:
    """Return one row per denial code: code, n_first, n_denials, share_of_decisions; most often first at the top.

    An order is denied once, by the gate that binds first: `n_first` counts these and sums to the denied orders, and
    `share_of_decisions` is its fraction of all orders. `n_denials` counts each gate that denied the order. See
    `binding_denial` for `sizes_orders`.
    """
    decisions = [event for event in events if isinstance(event, DecisionEvent)]
    denied = [decision for decision in decisions if decision.denials]
    first = Counter(str(binding_denial(decision, sizes_orders).code) for decision in denied)
    every = Counter(str(denial.code) for decision in denied for denial in decision.denials)
    frame = pd.DataFrame(
        [(code, first[code], n) for code, n in sorted(every.items())], columns=["code", "n_first", "n_denials"]
    ).sort_values(["n_first", "n_denials"], ascending=False, kind="stable", ignore_index=True)
    frame["share_of_decisions"] = frame["n_first"] / max(len(decisions), 1)
    return frame


def denied_orders(events: Iterable[Event], sizes_orders: bool = False) -> pd.DataFrame:
    """Return one row per denial, in order of time: ts_event (UTC), order_id, side, price, code, observed, limit, binds.

    An order that several gates denied has several rows; `binds` is true in the row of the gate that binds first, see
    `binding_denial`. `price` is the decision price, in quote currency; `observed` is NaN where it could not be read.
    Orders on pass-through limits have no inputs and no row.
    """
    rows = []
    for decision in events:
        if not isinstance(decision, DecisionEvent) or not decision.denials or not decision.inputs:
            continue
        inputs, first = decision.inputs, binding_denial(decision, sizes_orders)
        order = read_inputs(inputs)[0] if isinstance(inputs, str) else inputs.order
        shared = decision.ts_event, decision.order_id, order.side.value, order.decision_price
        rows += [(*shared, str(each.code), each.observed, each.limit, each is first) for each in decision.denials]
    columns = ["ts_event", "order_id", "side", "price", "code", "observed", "limit", "binds"]
    frame = pd.DataFrame(rows, columns=columns)
    frame["ts_event"] = pd.to_datetime(frame["ts_event"].astype("int64"), unit="ns", utc=True)
    return frame.astype({"price": "float64", "observed": "float64", "limit": "float64", "binds": "bool"})


def trading_spans(result: BacktestResult) -> pd.DataFrame:
    """Return the spans in which a run could trade or could not: start, end (UTC), could_trade, n_orders, share.

    A span changes with the decisions: from a denied order on the run could not trade, until an order passes. The first
    decision holds from the first bar. `share` is the fraction of the time of the run.
    """
    decisions = [event for event in result.events if isinstance(event, DecisionEvent)]
    first, last = int(result.market.times[0]), int(result.market.times[-1])
    starts: list[tuple[int, bool, int]] = []
    for decision in decisions:
        if starts and starts[-1][1] is decision.is_approved:
            starts[-1] = (*starts[-1][:2], starts[-1][2] + 1)
        else:
            starts.append((decision.ts_event if starts else first, decision.is_approved, 1))
    ends = [start for start, *_ in starts[1:]] + [last] * bool(starts)
    whole = max(last - first, 1)
    rows = [(start, end, could, n, (end - start) / whole) for (start, could, n), end in zip(starts, ends, strict=True)]
    frame = pd.DataFrame(rows, columns=["start", "end", "could_trade", "n_orders", "share"])
    for name in ("start", "end"):
        frame[name] = pd.to_datetime(frame[name].astype("int64"), unit="ns", utc=True)
    return frame.astype({"could_trade": "bool", "share": "float64"})


def first_permitted(result: BacktestResult) -> pd.Timestamp | None:
    """Return the close at which the first order passed, UTC; None if none did."""
    passed = (event for event in result.events if isinstance(event, DecisionEvent) and event.is_approved)
    decision = next(passed, None)
    return None if decision is None else pd.Timestamp(decision.ts_event, tz="UTC")


def _as_numbers(denials: Sequence[Denial]) -> list[tuple[str, str, str]]:
    return [(str(denial.code), repr(float(denial.observed)), repr(float(denial.limit))) for denial in denials]


def _share(room: float, limit: float) -> float:
    return room / limit if limit else math.nan
