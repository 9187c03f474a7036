"""The search for a size returns what halvings that ask at every step return."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from peak_trade.risk.sizing import halved

sizes = st.floats(1e-6, 1e6)
parts = st.floats(0.0, 0.999)


def plain(most, n_halvings, excess):
    low, high = 0.0, most
    for _ in range(n_halvings):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if excess(middle) <= 0.0 else (low, middle)
    return low


@given(sizes, parts, st.floats(-1.0, 1.0), st.integers(1, 3), st.booleans(), st.sampled_from([12, 40]))
def test_the_search_finds_the_size_of_plain_halvings(most, part, step, power, is_flat, n_halvings):
    """Limits that rise with the size: straight or curved, with a step at the limit, and flat at it below."""

    def excess(size):
        over = (size / most) ** power - part**power
        if over <= 0.0:
            return 0.0 if is_flat else over
        return over + max(step, 0.0)

    if excess(most) > 0.0:
        assert halved(most, n_halvings, excess) == plain(most, n_halvings, excess)


def test_a_limit_that_no_size_keeps_leaves_nothing():
    assert halved(8.0, 12, lambda size: 1.0) == 0.0
    assert halved(8.0, 12, lambda size: 1e9) == 0.0
