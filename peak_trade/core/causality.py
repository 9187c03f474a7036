"""Outcome of the check for look-ahead that belongs to a run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class CausalityVerdict(StrEnum):
    """Verdicts on look-ahead, the worst one first."""

    LOOKS_AHEAD = "looks ahead"
    NOT_TESTED = "not tested"
    NOT_CHECKED = "not checked"
    ROUNDING = "rounding, not look-ahead"
    CAUSAL = "causal"


@dataclass(frozen=True, slots=True)
class CausalityOutcome:
    """Verdict on a strategy, with the sentence that a reader of a run sees.

    `NOT_TESTED` means that the check gave no verdict, `NOT_CHECKED` that it was switched off.
    """

    strategy: str
    verdict: CausalityVerdict
    sentence: str

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain values."""
        return asdict(self) | {"verdict": self.verdict.value}


def outcomes_of(manifest: Mapping[str, Any]) -> list[CausalityOutcome]:
    """Return the outcomes that a manifest records; malformed ones are left out."""
    known = set(CausalityVerdict)
    return [
        CausalityOutcome(str(each.get("strategy")), CausalityVerdict(each["verdict"]), str(each.get("sentence")))
        for each in manifest.get("causality", [])
        if isinstance(each, Mapping) and each.get("verdict") in known
    ]


def causality_note(outcomes: Iterable[CausalityOutcome]) -> str:
    """Return the sentences of several outcomes, the worst verdict first; empty without outcomes."""
    return " ".join(dict.fromkeys(each.sentence for each in sorted(outcomes, key=_rank)))


def worst_outcome(outcomes: Iterable[CausalityOutcome]) -> CausalityOutcome:
    """Return the outcome with the worst verdict."""
    return min(outcomes, key=_rank)


def _rank(outcome: CausalityOutcome) -> int:
    return list(CausalityVerdict).index(outcome.verdict)


def causality_tags(outcomes: Sequence[CausalityOutcome]) -> dict[str, str]:
    """Return the sentences and the worst verdict as the notes of a run; empty without outcomes."""
    if not outcomes:
        return {}
    return {"causality": causality_note(outcomes), "causality_verdict": worst_outcome(outcomes).verdict.value}
