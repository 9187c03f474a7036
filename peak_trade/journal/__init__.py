"""Journal: events, their canonical encoding, the hash-chained log and its readers."""
