"""The decisions of the gates: kept with a run, found by order id, recomputed, and tabulated."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from peak_trade.core.errors import ConfigError, SessionError, did_you_mean
from peak_trade.core.files import write_bytes
from peak_trade.core.values import Denial
from peak_trade.data.workspace import workspace
from peak_trade.engine.result import BacktestResult
from peak_trade.journal.codec import chain_hash, complete_lines, encode_event, encode_line, read_line, split_line
from peak_trade.journal.events import DecisionEvent, Event, TradingStateEvent
from peak_trade.journal.inputs import read_inputs
from peak_trade.risk.gate import Reading
from peak_trade.risk.limits import RiskLimits
from peak_trade.risk.review import ApprovedOrder, review
from peak_trade.wiring.gates import gate_chain

DECISIONS = "decisions.jsonl"


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

    The lines are hash-chained, starting from the run id, so that a later change of a line is detected.
    """
    decisions = [event for event in result.events if isinstance(event, DecisionEvent)]
    if result.limits is None:
        return None
    path = workspace() / "runs" / result.run_id / DECISIONS
    lines, previous = [], result.run_id
    for place, decision in enumerate(decisions, start=1):
        event, now = encode_event(decision), decision.ts_event
        previous = chain_hash(previous, event, place, now)
        lines.append(encode_line(event, previous, place, now))
    write_bytes(path, b"".join(lines))
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
    kept = [*home.glob(f"runs/*/{DECISIONS}"), *home.glob("sessions/*/events.jsonl")]
    files = [file for file in kept if file.parent.name.startswith(owner)]
    for file in sorted(files, key=lambda file: file.stat().st_mtime, reverse=True):
        for decision in decisions_in(file):
            if decision.order_id == order_id:
                return decision
    if not files:
        hint = did_you_mean(owner, sorted(file.parent.name for file in kept))
        raise ConfigError(f"there is no decision {decision_id}: no run or session of that name has any. {hint}")
    searched = ", ".join(sorted(file.parent.name for file in files))
    raise ConfigError(f"there is no decision {decision_id} in {searched}. Check the order id.")


def decisions_in(file: Path) -> Iterator[DecisionEvent]:
    """Yield the decisions in a run's file or in a session's journal, in order; each line is checked against its hash.

    Raises
    ------
    SessionError
        At a line that is damaged, or was changed after it was written.

    """
    previous = file.parent.name if file.name == DECISIONS else None
    for place, text in enumerate(complete_lines(file.read_bytes()), start=1):
        line, where = split_line(text), f"{file}:{place}"
        if line is None:
            raise SessionError(f"{where}: this is not a line of a journal: it is damaged or from an older version.")
        if b'"kind":"decision"' in line.event:
            if previous is not None and line.hash_after(previous) != line.hash:
                raise SessionError(f"{where}: this line or the one before it was changed after it was written.")
            event = read_line(text, where).event
            if isinstance(event, DecisionEvent):
                yield event
        previous = line.hash


def outcome(result: BacktestResult) -> dict[str, str]:
    """Return by name, as text: orders reviewed, approved and denied, fills, the final trading state and the limits."""
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
    return facts | ({"no trade": result.no_trade_reason} if result.no_trade_reason else {})


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


def denials_by_code(events: Iterable[Event]) -> pd.DataFrame:
    """Return one row per denial code: code, n_denials, share_of_decisions (a fraction); most frequent first."""
    decisions = [event for event in events if isinstance(event, DecisionEvent)]
    codes = [str(denial.code) for decision in decisions for denial in decision.denials]
    counts = pd.Series(codes, dtype=object).value_counts().sort_index(kind="stable").sort_values(ascending=False)
    frame = counts.rename_axis("code").reset_index(name="n_denials")
    frame["share_of_decisions"] = frame["n_denials"] / max(len(decisions), 1)
    return frame


def denied_orders(events: Iterable[Event]) -> pd.DataFrame:
    """Return one row per denial, in order of time: ts_event (UTC), order_id, side, price, code, observed, limit.

    An order that several gates denied has several rows. `price` is the decision price, in quote currency; `observed` is
    NaN where it could not be read. Orders on pass-through limits have no inputs and no row.
    """
    rows = []
    for decision in events:
        if not isinstance(decision, DecisionEvent) or not decision.denials or not decision.inputs:
            continue
        inputs = decision.inputs
        order = read_inputs(inputs)[0] if isinstance(inputs, str) else inputs.order
        shared = decision.ts_event, decision.order_id, order.side.value, order.decision_price
        rows += [(*shared, str(denial.code), denial.observed, denial.limit) for denial in decision.denials]
    frame = pd.DataFrame(rows, columns=["ts_event", "order_id", "side", "price", "code", "observed", "limit"])
    frame["ts_event"] = pd.to_datetime(frame["ts_event"].astype("int64"), unit="ns", utc=True)
    return frame.astype({"price": "float64", "observed": "float64", "limit": "float64"})


def _as_numbers(denials: Sequence[Denial]) -> list[tuple[str, str, str]]:
    return [(str(denial.code), repr(float(denial.observed)), repr(float(denial.limit))) for denial in denials]


def _share(room: float, limit: float) -> float:
    return room / limit if limit else math.nan
