"""Check that strategies do not look ahead: in full on request, in short for every run of a user's strategy."""
