"""Compare two recorded runs: every difference, its cause and what it changed in PnL."""
