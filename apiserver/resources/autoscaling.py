"""The autoscaling group. v1 shares the storage of v2."""

from __future__ import annotations

from apiserver.resources.columns import NAME_AGE
from apiserver.resources.strategy import KindStrategy
from apiserver.types import Resource

RESOURCES = (
    Resource(
        "autoscaling",
        "v2",
        "horizontalpodautoscalers",
        "HorizontalPodAutoscaler",
        "horizontalpodautoscaler",
        True,
        KindStrategy(status=True),
        NAME_AGE,
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
        KindStrategy(status=True),
        NAME_AGE,
        ("hpa",),
        ("all",),
        status=True,
        stored_as=("autoscaling", "horizontalpodautoscalers"),
    ),
)
