"""peak_trade: research notebooks and a library for systematic crypto trading. Paper and sandboxes only."""

__version__ = "0.1.0"
