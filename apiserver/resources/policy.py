"""The policy group: how many pods may be gone at once."""

from __future__ import annotations

from apiserver.resources import workload_columns as columns
from apiserver.resources.strategy import KindStrategy
from apiserver.resources.validation import policy as validation
from apiserver.types import Resource

RESOURCES = (
    Resource(
        "policy",
        "v1",
        "poddisruptionbudgets",
        "PodDisruptionBudget",
        "poddisruptionbudget",
        True,
        KindStrategy(
            status=True,
            zero_status=dict.fromkeys(("disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"), 0),
            checks=validation.check_disruption_budget,
            status_update=validation.check_disruption_budget_status,
        ),
        columns.DISRUPTION_BUDGET,
        ("pdb",),
        status=True,
        has_generation=True,
        unconditional_update=False,
    ),
)
