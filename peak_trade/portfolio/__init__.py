"""Sizing, allocation and rebalancing: from target exposures to fractions of the account."""
