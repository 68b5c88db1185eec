"""For tests of sslzoo and of anyone's plugins: the conformance kit, and a Hub on this machine.

Importing this module imports nothing else; each name below loads what it needs when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__all__ = ["check_dataset", "check_evaluation", "check_method"]

if TYPE_CHECKING:
    from sslzoo.testing.conformance import check_dataset, check_evaluation, check_method


def __getattr__(name: str) -> Any:
    if name in __all__:
        from sslzoo.testing import conformance

        return getattr(conformance, name)
    raise AttributeError(f"module 'sslzoo.testing' has no attribute {name!r}")
