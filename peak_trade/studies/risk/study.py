"""Explain decisions, measure headroom, test VaR models and count the gates' false alarms."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from peak_trade.core.bars import Bars
from peak_trade.core.errors import ConfigError, DataError, SessionError, did_you_mean
from peak_trade.core.files import write_bytes
from peak_trade.core.history import ReturnHistory, daily_returns
from peak_trade.core.time import NS_PER_SECOND
from peak_trade.core.values import Denial
from peak_trade.data.workspace import workspace
from peak_trade.engine.result import BacktestResult
from peak_trade.journal.codec import chain_hash, complete_lines, encode_event, encode_line, read_line, split_line
from peak_trade.journal.events import DecisionEvent, Event, TradingStateEvent
from peak_trade.journal.inputs import read_inputs
from peak_trade.risk.gate import Reading
from peak_trade.risk.limits import RiskLimits, StressLimits, VarMethod
from peak_trade.risk.review import ApprovedOrder, review
from peak_trade.risk.scenarios import DATED, MODELLED, UNIFORM
from peak_trade.risk.stress import stress_losses
from peak_trade.risk.var import estimate
from peak_trade.risk.var_backtest import (
    N_BACKTEST_DAYS,
    christoffersen_conditional_coverage,
    christoffersen_independence,
    kupiec_pof,
    traffic_light,
)
from peak_trade.wiring.gates import gate_chain

DECISIONS = "decisions.jsonl"
VAR_METHODS: tuple[VarMethod, ...] = ("historical", "parametric", "cornish_fisher", "filtered_historical")
_NS_PER_DAY = 86_400 * NS_PER_SECOND


@dataclass(frozen=True, slots=True)
class Explanation:
    """One decision computed again from its record alone.

    `is_reproduced` says whether the same gates denied with the same numbers as the record has.
    """

    order_id: str
    ts_event: int
    is_approved: bool
    readings: tuple[Reading, ...]
    is_reproduced: bool


def explain(decision: DecisionEvent) -> Explanation:
    """Recompute a decision from its own record and read every gate.

    Raises
    ------
    SessionError, ConfigError
        If the record is damaged, or was made on pass-through limits and so holds no inputs.

    """
    text = decision.inputs if isinstance(decision.inputs, str) else decision.inputs.to_json()
    if not text:
        raise ConfigError(f"{decision.order_id} was decided on pass-through limits; there is nothing to explain.")
    order, account, market, values = read_inputs(text)
    limits = RiskLimits.parse(values, f"the limits of {decision.order_id}")
    row = gate_chain(limits)
    answer = review(order, account, market, row, limits)
    denials = () if isinstance(answer, ApprovedOrder) else answer
    return Explanation(
        decision.order_id,
        decision.ts_event,
        decision.is_approved,
        row.readings(order, account, market, limits),
        decision.is_approved is (not denials) and _as_numbers(denials) == _as_numbers(decision.denials),
    )


def keep_decisions(result: BacktestResult) -> Path | None:
    """Write a run's decisions to the workspace as the lines of a journal; None when it had no risk limits.

    Each line is bound to the one before it by a hash, the first to the run's id: one changed by hand is noticed.
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
    """Return the decision of an order: `RUN/ORDER` or `SESSION/ORDER`, or an order id of the newest run that has it.

    Raises
    ------
    ConfigError
        If no kept run or session has such a decision.
    SessionError
        If a line is damaged, or a decision was changed after it was written.

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
    held = ", ".join(sorted(file.parent.name for file in files))
    raise ConfigError(f"there is no decision {decision_id}. Those looked through are of {held}.")


def decisions_in(file: Path) -> Iterator[DecisionEvent]:
    """Yield the decisions of a kept run or of a session's journal, in order, each held against the line before it.

    Raises
    ------
    SessionError
        At a line that is damaged, or a decision that was changed after it was written.

    """
    previous = file.parent.name if file.name == DECISIONS else None
    for place, text in enumerate(complete_lines(file.read_bytes()), start=1):
        line, where = split_line(text), f"{file}:{place}"
        if line is None:
            raise SessionError(f"{where}: this is not a line of a journal: damaged, or kept by an older version.")
        if b'"kind":"decision"' in line.event:
            if previous is not None and line.hash_after(previous) != line.hash:
                raise SessionError(f"{where}: this record, or the one before, was changed after it was written.")
            event = read_line(text, where).event
            if isinstance(event, DecisionEvent):
                yield event
        previous = line.hash


def outcome(result: BacktestResult) -> dict[str, str]:
    """Return what the limits did to a run: orders asked, approved and denied, fills and the state at the end."""
    decisions = [event for event in result.events if isinstance(event, DecisionEvent)]
    states = [event for event in result.events if isinstance(event, TradingStateEvent)]
    n_approved = sum(decision.is_approved for decision in decisions)
    return {
        "orders": f"{len(decisions):,}",
        "approved": f"{n_approved:,}",
        "denied": f"{len(decisions) - n_approved:,}",
        "fills": f"{len(result.fill_list):,}",
        "trading state at the end": f"{states[-1].state} ({states[-1].reason})" if states else "active",
        "limits": "none" if result.limits is None else result.limits.digest()[:16],
        "why nothing traded": result.why or "something did",
    }


def daily_history(bars: Sequence[Bars]) -> ReturnHistory:
    """Return the daily returns from the first day on which every symbol has one; DataError when there is none."""
    history = daily_returns(bars, "daily", 1_000_000)
    is_known = np.isfinite(history.returns).all(axis=0)
    if not is_known.any():
        raise DataError("there is no day on which every symbol has a return; give longer bars.")
    return ReturnHistory(history.source, history.as_of, history.symbols, history.returns[:, is_known.argmax() :])


def headroom(events: Iterable[Event]) -> pd.DataFrame:
    """Return every gate's reading at every decision.

    Returns
    -------
    DataFrame of shape (n_decisions, n_gates, flattened): columns order_id, code, observed, limit, headroom, is_denied
        Indexed by the decision's time (UTC); `headroom` is the room left as a share of the limit, NaN where the limit
        is 0 or the input was unreadable.

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
    """Return one row a denial code: code, n_denials, share of all decisions; most frequent first."""
    decisions = [event for event in events if isinstance(event, DecisionEvent)]
    codes = [str(denial.code) for decision in decisions for denial in decision.denials]
    counts = pd.Series(codes, dtype=object).value_counts().sort_index(kind="stable").sort_values(ascending=False)
    frame = counts.rename_axis("code").reset_index(name="n_denials")
    frame["share_of_decisions"] = frame["n_denials"] / max(len(decisions), 1)
    return frame


def denied_orders(events: Iterable[Event]) -> pd.DataFrame:
    """Return one row a denial: ts_event (UTC), order_id, side, price, code, observed and limit, in order of time.

    An order that several gates denied has several rows. `price` is the one it was decided at, quote currency; an
    observed value of NaN could not be read. Orders on pass-through limits have no record, and no row.
    """
    rows = []
    for decision in events:
        if not isinstance(decision, DecisionEvent) or not decision.denials or not decision.inputs:
            continue
        held = decision.inputs
        order = read_inputs(held)[0] if isinstance(held, str) else held.order
        told = decision.ts_event, decision.order_id, order.side.value, order.decision_price
        rows += [(*told, str(denial.code), denial.observed, denial.limit) for denial in decision.denials]
    frame = pd.DataFrame(rows, columns=["ts_event", "order_id", "side", "price", "code", "observed", "limit"])
    frame["ts_event"] = pd.to_datetime(frame["ts_event"].astype("int64"), unit="ns", utc=True)
    return frame.astype({"price": "float64", "observed": "float64", "limit": "float64"})


def var_walk(
    bars: Sequence[Bars],
    weights: Mapping[str, float],
    method: VarMethod,
    level: float = 0.95,
    window: int = N_BACKTEST_DAYS,
) -> pd.DataFrame:
    """Return each day's stated VaR and what was lost, each VaR from the `window` days before.

    Parameters
    ----------
    bars : sequence of Bars, one a symbol
    weights : mapping of symbol to signed exposure, fractions of equity, held constant
    method, level : the model
    window : int, days

    Returns
    -------
    DataFrame with columns value_at_risk, loss (fractions; positive is a loss) and is_exception, by day's end (UTC)

    """
    names = tuple(sorted(weights))
    chosen = [part for part in bars if part.symbol in weights]
    if sorted(part.symbol for part in chosen) != list(names):
        raise DataError(f"weights are for {', '.join(names)}; give the bars of just these symbols.")
    whole = daily_history(chosen)
    returns = whole.returns
    if returns.shape[1] <= window:
        raise DataError(f"{returns.shape[1]} days of returns are not more than the window of {window}.")
    share = np.array([weights[name] for name in names])
    rows, days = [], []
    for day in range(window, returns.shape[1]):
        as_of = whole.as_of - (returns.shape[1] - day) * _NS_PER_DAY
        past = ReturnHistory("daily", as_of, names, returns[:, day - window : day])
        try:
            stated = estimate(share, past, method, level)[0]
        except DataError:
            stated = math.nan
        rows.append((stated, -float((share * returns[:, day]).sum())))
        days.append(as_of + _NS_PER_DAY)
    frame = pd.DataFrame(rows, columns=["value_at_risk", "loss"], index=pd.DatetimeIndex(days, tz="UTC", name="day"))
    frame["is_exception"] = frame["loss"] > frame["value_at_risk"]
    return frame


def var_tests(walks: Mapping[str, pd.DataFrame], level: float = 0.95) -> pd.DataFrame:
    """Return one row a model: days, exceptions, p-values of the three tests, and the zone of its last 250 days.

    Days on which a model had no estimate are left out of its tests and counted in `n_without`.
    """
    rows = []
    for name, walk in walks.items():
        known = walk[walk["value_at_risk"].notna()]
        hits = known["is_exception"].to_numpy(dtype=bool)
        last = hits[-N_BACKTEST_DAYS:]
        if hits.size < 2:
            rows.append((name, hits.size, 0, len(walk) - hits.size, math.nan, math.nan, math.nan, "no estimate"))
            continue
        rows.append(
            (
                name,
                hits.size,
                int(hits.sum()),
                len(walk) - hits.size,
                kupiec_pof(hits, level).p_value,
                christoffersen_independence(hits).p_value,
                christoffersen_conditional_coverage(hits, level).p_value,
                traffic_light(int(last.sum()), last.size, level),
            )
        )
    columns = ["model", "n_days", "n_exceptions", "n_without", "kupiec_p", "independence_p", "coverage_p", "zone"]
    return pd.DataFrame(rows, columns=columns)


def stress_table(
    weights: Mapping[str, float], history: ReturnHistory, rules: StressLimits | None = None
) -> pd.DataFrame:
    """Return one row a scenario: scenario, loss (fraction of equity; positive is a loss), window, what happens."""
    names = tuple(sorted(weights))
    losses = stress_losses(np.array([weights[name] for name in names]), history.of(names), rules or StressLimits())
    told = {scenario.name: (scenario.window, scenario.source) for scenario in (*DATED, *UNIFORM)}
    told |= {name: ("hypothetical", meaning) for name, meaning in MODELLED.items()}
    return pd.DataFrame(
        [(name, loss, *told[name]) for name, loss in losses.items()], columns=["scenario", "loss", "window", "source"]
    )


def _as_numbers(denials: Sequence[Denial]) -> list[tuple[str, str, str]]:
    return [(str(denial.code), repr(float(denial.observed)), repr(float(denial.limit))) for denial in denials]


def _share(room: float, limit: float) -> float:
    return room / limit if limit else math.nan
