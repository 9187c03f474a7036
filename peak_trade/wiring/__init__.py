"""The visible tables of parts, and what builds a run from them."""
