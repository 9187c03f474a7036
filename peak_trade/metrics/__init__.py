"""Measures of returns, equity and trades: pure functions that state their n."""
