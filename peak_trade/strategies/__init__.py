"""Strategies: the exposure to hold after each close, from bars alone."""
