"""The autoscaling group. v1 shares the storage of v2."""

from __future__ import annotations

from apiserver.resources import group_defaults as defaults
from apiserver.resources import workload_columns as columns
from apiserver.resources.strategy import KindStrategy
from apiserver.resources.validation import autoscaling as validation
from apiserver.types import Resource

_STRATEGY = KindStrategy(
    status=True,
    zero_status={"desiredReplicas": 0, "currentMetrics": None},
    defaults=defaults.default_autoscaler,
    checks=validation.check_autoscaler,
    update=validation.check_autoscaler_update,
    status_update=validation.check_autoscaler_status,
)

RESOURCES = (
    Resource(
        "autoscaling",
        "v2",
        "horizontalpodautoscalers",
        "HorizontalPodAutoscaler",
        "horizontalpodautoscaler",
        True,
        _STRATEGY,
        columns.AUTOSCALER,
        ("hpa",),
        ("all",),
        status=True,
    ),
    Resource(
        "autoscaling",
        "v1",
        "horizontalpodautoscalers",
        "HorizontalPodAutoscaler",
        "horizontalpodautoscaler",
        True,
        _STRATEGY,
        columns.AUTOSCALER,
        ("hpa",),
        ("all",),
        status=True,
        stored_as=("autoscaling", "horizontalpodautoscalers"),
    ),
)
