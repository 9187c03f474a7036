"""Measure recall and precision over planted faults, alone and in pairs: `python -m tests.diff.measuring [SEEDS]`."""

from __future__ import annotations

import random
import sys
from collections import Counter
from itertools import combinations

from peak_trade.diff.result import diff
from tests.diff.planting import LOG_FAULTS, SIMULATED_FAULTS, bars_of, plant, run, simulate

CONTRADICT = [
    {"other-fee", "other-fee-of-the-venue"},
    {"other-parameter", "other-code"},
    {"remove-a-bar", "remove-the-filling-bar"},
]
"""Pairs in which one fault reverts or repeats the other."""


def measure(faults: tuple[str, ...], seed: int) -> tuple[int, int, int]:
    """Return the number of planted roots, of planted roots that are found, and of false roots."""
    rng = random.Random(f"{faults} {seed}")
    bars = bars_of(seed % 5)
    live, planted = simulate(bars, [name for name in faults if name in SIMULATED_FAULTS], rng)
    live, more = plant(live, [name for name in faults if name in LOG_FAULTS], rng)
    wanted = Counter((each.cause, each.kind) for each in [*planted, *more])
    found = Counter((each.cause, each.kind) for each in diff(run(bars), live).roots)
    n_found = sum((wanted & found).values())
    return sum(wanted.values()), n_found, sum(found.values()) - n_found


def table(n_seeds: int) -> dict[str, tuple[int, int, int, int]]:
    """Return by group the number of diffs, planted roots, found roots and false roots."""
    names = [*LOG_FAULTS, *SIMULATED_FAULTS]
    sums: dict[str, list[int]] = {}
    lost: Counter[tuple[str, ...]] = Counter()
    for n_faults in (1, 2):
        for faults in combinations(names, n_faults):
            if set(faults) in CONTRADICT:
                continue
            for seed in range(n_seeds if n_faults == 1 else max(1, n_seeds // 10)):
                n_planted, n_found, n_false = measure(faults, seed)
                kinds = "+".join("log" if name in LOG_FAULTS else "run" for name in faults)
                row = sums.setdefault(kinds, [0, 0, 0, 0])
                for place, amount in enumerate((1, n_planted, n_found, n_false)):
                    row[place] += amount
                if n_found < n_planted or n_false:
                    lost[faults] += 1
    for faults, n_times in lost.most_common(60):
        print(n_times, " + ".join(faults))  # noqa: T201
    return {kinds: (row[0], row[1], row[2], row[3]) for kinds, row in sums.items()}


if __name__ == "__main__":
    for group, (n_pairs, n_planted, n_found, n_false) in table(int(sys.argv[1]) if len(sys.argv) > 1 else 20).items():
        recall, precision = n_found / n_planted, n_found / max(1, n_found + n_false)
        print(f"{group}: {n_pairs} diffs, {n_planted} planted, {n_found} found, {n_false} false; "  # noqa: T201
              f"recall {recall:.3f}, precision {precision:.3f}")  # fmt: skip
