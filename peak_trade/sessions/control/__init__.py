"""Operator commands, trading state and the stop switch of a session."""
