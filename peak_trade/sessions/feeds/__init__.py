"""Sources of closed bars for a session."""
