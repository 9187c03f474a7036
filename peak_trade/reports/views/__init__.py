"""Tables and figures of each notebook."""
