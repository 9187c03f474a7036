"""Sessions: the event loop under a clock, a feed and a venue, with a journal on disk."""
