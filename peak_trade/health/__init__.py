"""Health of the test suite: repeated runs in other orders and with other seeds, and what they show."""
