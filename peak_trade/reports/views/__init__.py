"""Figures and tables of each notebook."""
