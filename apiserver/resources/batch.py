"""The batch group: work that ends."""

from __future__ import annotations

from apiserver.resources.columns import NAME_AGE
from apiserver.resources.strategy import KindStrategy
from apiserver.types import Resource

RESOURCES = (
    Resource(
        "batch",
        "v1",
        "cronjobs",
        "CronJob",
        "cronjob",
        True,
        KindStrategy(status=True),
        NAME_AGE,
        ("cj",),
        ("all",),
        status=True,
        has_generation=True,
    ),
    Resource(
        "batch",
        "v1",
        "jobs",
        "Job",
        "job",
        True,
        KindStrategy(status=True),
        NAME_AGE,
        (),
        ("all",),
        status=True,
        has_generation=True,
    ),
)
