"""Default tolerances of a diff."""

TOLERANCE_BPS = 5.0
"""Average fill prices of an order that differ by no more are equal, basis points."""
TOLERANCE_MS = 1_000.0
"""Times that differ by no more are equal, milliseconds."""
UNEXPLAINED_LIMIT_BPS = 1.0
"""Unexplained PnL above this fraction of the initial cash fails a diff, basis points."""
