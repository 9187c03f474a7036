"""Executed notebooks, their figures and tables, and the site that shows them."""
