"""Strategies decide how much to hold after each close; they know nothing of orders, costs or each other."""
