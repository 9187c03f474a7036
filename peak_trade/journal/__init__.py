"""Events: the closed set of things that can happen, and their canonical form."""
