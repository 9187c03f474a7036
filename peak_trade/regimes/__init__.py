"""Detect hidden market states from past bars only."""
