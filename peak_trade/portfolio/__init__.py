"""Sizing, allocation and rebalancing: how much of the account a target means."""
