"""Build the static report site."""
