"""The static site of reports."""
