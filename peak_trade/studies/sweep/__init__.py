"""Sweeps: many parameter sets of one strategy on the same bars, and the best ones in the event loop."""
