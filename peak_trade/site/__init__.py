"""The static site of reports, its explorer of runs and its read-only server."""
