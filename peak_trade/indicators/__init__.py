"""Indicators: pure functions from float64 arrays to float64 arrays, causal, NaN during the warm-up."""
