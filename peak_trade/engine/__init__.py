"""The event loop and its venue, the array kernel, and the second opinion."""
