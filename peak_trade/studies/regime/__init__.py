"""Study regimes and strategies that depend on them."""
