"""Trade regimes, and test what they add to a strategy."""
