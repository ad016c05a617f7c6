"""The policy group: how many pods may be gone at once."""

from __future__ import annotations

from apiserver.resources.columns import NAME_AGE
from apiserver.resources.strategy import KindStrategy
from apiserver.types import Resource

RESOURCES = (
    Resource(
        "policy",
        "v1",
        "poddisruptionbudgets",
        "PodDisruptionBudget",
        "poddisruptionbudget",
        True,
        KindStrategy(status=True),
        NAME_AGE,
        ("pdb",),
        status=True,
        has_generation=True,
    ),
)
