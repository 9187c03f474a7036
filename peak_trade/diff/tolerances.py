"""Default tolerances of a diff."""

TOLERANCE_BPS = 5.0
"""Average fill prices of an order that differ by no more are equal, basis points."""
TOLERANCE_MS = 1_000.0
"""Times that differ by no more are equal, milliseconds."""
UNEXPLAINED_LIMIT_BPS = 1.0
"""Unexplained PnL above this fraction of the initial cash fails a diff, basis points."""
LOG_TOLERANCE = 0.01
"""Smallest tolerance of the times of an external log, as a fraction of the timeframe."""
LOG_WINDOW = 3
"""Largest difference of the times of two matched orders if one is from an external log, in bars."""
