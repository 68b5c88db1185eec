"""Methods that learn from context: spatial, temporal and similarity."""
