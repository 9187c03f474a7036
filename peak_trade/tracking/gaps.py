"""The state of the trial ledger: its age, its length and its gaps, read without the data of the trials."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from peak_trade.core.errors import ConfigError
from peak_trade.core.time import iso
from peak_trade.tracking.entries import local_notes
from peak_trade.tracking.ledger import EARLIER_LEDGER, TrialLedger, n_earlier_trials, trial_ledger
from peak_trade.tracking.registry import is_registry_in_workspace

LEDGER_NOTE = "ledger"
"""Name of the note in the record of a run that holds the length and the head of the ledger after it."""


def ledger_sentence() -> str:
    """Return the age, the number of all trials and the gaps of the ledger as a sentence, or why it cannot be read."""
    ledger = trial_ledger()
    try:
        ledger.refresh()
    except ConfigError as error:
        return f"The trial ledger cannot be read: {error}"
    return state_sentence(ledger.since, len(ledger.trials), tuple(ledger_gaps(ledger)), "")


def ledger_note() -> dict[str, str]:
    """Return the note of a run with the length, the head and the id of the ledger; empty without one to read."""
    ledger = trial_ledger()
    try:
        ledger.refresh()
    except ConfigError:
        return {}
    return {LEDGER_NOTE: f"{ledger.n_lines} {ledger.head} {ledger.file_id}"} if ledger.n_lines else {}


def ledger_gaps(ledger: TrialLedger) -> Iterator[str]:
    """Yield one sentence per break of the chain of a ledger, and per other sign that trials are missing."""
    yield from ledger.faults
    n_earlier = n_earlier_trials()
    if n_earlier != 0:
        held = "trials" if n_earlier is None else _count(n_earlier, "trial")
        yield f"{EARLIER_LEDGER} holds {held} of an earlier version, not counted because it names no bars"
    noted = [note.split(" ") for note in local_notes(LEDGER_NOTE)]
    if not is_registry_in_workspace():  # it has the runs of other workspaces too
        noted = [each for each in noted if each[-1] == ledger.file_id]
    lost = [each for each in noted if not ledger.heads.keys() & set(each[1:2])]
    if lost:
        verb = "holds" if len(lost) == 1 else "hold"
        yield f"{_count(len(lost), 'recorded run')} {verb} a line of the ledger that is not in it"


def state_sentence(since: int | None, n_trials: int, gaps: Sequence[str], what: str) -> str:
    """Return the age, a number of trials and the gaps of the ledger as a sentence; `what` is added to the number."""
    today = iso(time.time_ns())[:10]
    day = today if since is None else iso(since)[:10]
    n_gaps = f", {_count(len(gaps), 'gap')}" if gaps else ""
    return (
        f"Trial ledger since {'today' if day == today else day}, {_count(n_trials, 'trial')}{n_gaps}{what}."
        + "".join(f" Gap: {each}." for each in gaps)
    )


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
