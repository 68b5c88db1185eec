"""Frozen features of a data set, and their cache."""

from sslzoo.features.cache import cached_features, weights_digest
from sslzoo.features.frozen import Features, extract

__all__ = ["Features", "cached_features", "extract", "weights_digest"]
