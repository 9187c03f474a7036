"""One use case per verb, and the `pt.*` facade."""
