"""The conformance kit: does a plugin keep what its contract promises?"""

from sslzoo.testing.conformance.kit import check_dataset, check_evaluation, check_method
from sslzoo.testing.conformance.outcome import Check, Conformance

__all__ = ["Check", "Conformance", "check_dataset", "check_evaluation", "check_method"]
