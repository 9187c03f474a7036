"""Costs of trading: fees, slippage, funding and borrow."""
