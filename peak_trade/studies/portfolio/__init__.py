"""Backtest several strategies and symbols from one cash account."""
