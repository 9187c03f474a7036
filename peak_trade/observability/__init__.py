"""Metrics of running sessions for Prometheus, computed from their journals alone."""
