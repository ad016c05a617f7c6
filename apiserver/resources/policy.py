"""The policy group: how many pods may be gone at once."""

from __future__ import annotations

from apiserver.resources import group_validation as validation
from apiserver.resources import workload_columns as columns
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
        KindStrategy(status=True, checks=validation.check_disruption_budget),
        columns.DISRUPTION_BUDGET,
        ("pdb",),
        status=True,
        has_generation=True,
    ),
)
