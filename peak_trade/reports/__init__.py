"""Executed notebooks, figures, tables and the site that is built from them."""
