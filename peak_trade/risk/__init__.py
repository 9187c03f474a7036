"""Gates: pure questions about one proposed order. Only `review` makes the type that a venue accepts."""
