"""The `peak-trade` command: parse, call a study, print."""
