"""The event loop, its venue, and the two witnesses that check it."""
