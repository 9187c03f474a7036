"""Governance: the policy, signed approvals, decisions over evidence, and the log that holds them."""
