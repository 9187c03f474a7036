"""Hidden market states, detected causally."""
