"""Formats of external order logs: one module per program or exchange that writes them."""
