"""What trading costs: fees, slippage, funding and borrow."""
