"""What trading costs: fees, slippage, funding, borrow."""
