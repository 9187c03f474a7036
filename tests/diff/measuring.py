"""Measure recall and precision over planted faults, alone and in pairs: `python -m tests.diff.measuring [SEEDS]`."""

from __future__ import annotations

import random
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations

from peak_trade.diff.causes import Cause
from peak_trade.diff.recording import Recording
from peak_trade.diff.result import DiffResult, diff
from tests.diff.planting import (
    LOG_FAULTS,
    ORDER_FAULTS,
    PROTECTED,
    SIMULATED_FAULTS,
    Planted,
    bars_of,
    plant,
    run,
    simulate,
)

CONTRADICT = [
    {"other-fee", "other-fee-of-the-venue"},
    {"other-parameter", "other-code"},
    {"remove-a-bar", "remove-the-filling-bar"},
]
"""Pairs in which one fault reverts or repeats the other."""


@dataclass(slots=True)
class Count:
    """Number of diffs, of planted roots, of those that are found, of false roots, and of wrongly explained orders."""

    n_diffs: int = 0
    n_planted: int = 0
    n_found: int = 0
    n_false: int = 0
    n_wrongly_explained: int = 0

    def add(self, other: Count) -> None:
        """Add the numbers of another count."""
        for name in self.__dataclass_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    @property
    def is_perfect(self) -> bool:
        """Whether every planted root is found, and nothing else."""
        return self.n_found == self.n_planted and not self.n_false and not self.n_wrongly_explained


def planted_pair(faults: Iterable[str], seed: int) -> tuple[Recording, Recording, list[Planted], dict[str, str]]:
    """Return a clean run, a run with faults, the faults, and the shadow's order id of each live order before a log
    fault."""
    names = list(faults)
    rng = random.Random(f"{tuple(names)} {seed}")
    bars = bars_of(seed % 5)
    base = PROTECTED if any(name in ORDER_FAULTS for name in names) else {}
    clean = run(bars, base)
    live, planted = simulate(bars, [name for name in names if name in SIMULATED_FAULTS], rng, base)
    ids = {}
    if base:
        pairs = [pair.known for pair in diff(clean, live).matches if pair.is_matched]
        ids = {other.order_id: one.order_id for one, other in pairs}
    live, more = plant(live, [name for name in names if name not in SIMULATED_FAULTS], rng)
    return clean, live, [*planted, *more], ids


def wrongly_explained(result: DiffResult, planted: Iterable[Planted], ids: dict[str, str]) -> list[str]:
    """Return the ids of planted extra or missing orders that another root explains."""
    found = []
    for each in planted:
        shadow_id, live_id = ids.get(each.order_id, ""), each.order_id
        for difference in result.differences:
            is_extra = each.is_extra and difference.live_order == live_id and not difference.shadow_order
            is_missing = each.is_missing and shadow_id and difference.shadow_order == shadow_id
            if (is_extra or (is_missing and not difference.live_order)) and difference.cause is not Cause.UNEXPLAINED:
                found.append(live_id)
    return found


def measure(faults: tuple[str, ...], seed: int) -> Count:
    """Count the planted roots and what a diff makes of them."""
    clean, live, planted, ids = planted_pair(faults, seed)
    result = diff(clean, live)
    wanted = Counter((each.cause, each.kind) for each in planted)
    found = Counter((each.cause, each.kind) for each in result.roots)
    n_found = sum((wanted & found).values())
    n_wrong = len(wrongly_explained(result, planted, ids))
    return Count(1, sum(wanted.values()), n_found, sum(found.values()) - n_found, n_wrong)


def group_of(name: str) -> str:
    """Return the group of a fault: order, log or run."""
    return "order" if name in ORDER_FAULTS else "log" if name in LOG_FAULTS else "run"


def table(n_seeds: int) -> dict[str, Count]:
    """Return the counts by groups of faults."""
    counts: dict[str, Count] = {}
    lost: Counter[tuple[str, ...]] = Counter()
    for n_faults in (1, 2):
        for faults in combinations([*ORDER_FAULTS, *LOG_FAULTS, *SIMULATED_FAULTS], n_faults):
            if set(faults) in CONTRADICT:
                continue
            for seed in range(n_seeds if n_faults == 1 else max(1, n_seeds // 10)):
                count = measure(faults, seed)
                counts.setdefault("+".join(group_of(name) for name in faults), Count()).add(count)
                if not count.is_perfect:
                    lost[(*faults, f"{count.n_false} false", f"{count.n_wrongly_explained} wrong", f"seed {seed}")] += 1
    for faults, n_times in lost.most_common(120):
        print(n_times, " + ".join(faults))  # noqa: T201
    return counts


if __name__ == "__main__":
    for group, count in table(int(sys.argv[1]) if len(sys.argv) > 1 else 20).items():
        recall, precision = count.n_found / count.n_planted, count.n_found / max(1, count.n_found + count.n_false)
        print(f"{group}: {count}; recall {recall:.3f}, precision {precision:.3f}")  # noqa: T201
