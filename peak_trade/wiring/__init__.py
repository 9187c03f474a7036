"""Tables of parts by name, and the functions that build a run from them."""
