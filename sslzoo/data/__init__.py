"""Data sets: raw samples by position, their order, and the loaders that turn them into batches."""
