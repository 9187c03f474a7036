"""Relative tolerances with a name and a reason; never an absolute one, never "almost equal"."""

RTOL_SAME = 1e-12
"""One formula computed twice."""
RTOL_REFERENCE = 1e-8
"""Against another library or a published table."""
RTOL_FIT = 1e-3
"""EM and optimisers, on data with known truth."""
