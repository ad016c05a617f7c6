"""The batch group: work that ends."""

from __future__ import annotations

from apiserver.resources import workload_columns as columns
from apiserver.resources import workload_defaults as defaults
from apiserver.resources import workload_validation as validation
from apiserver.resources.columns import dig
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
        KindStrategy(status=True, defaults=defaults.default_cron_job, checks=validation.check_cron_job),
        columns.CRON_JOB,
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
        KindStrategy(
            status=True,
            defaults=defaults.default_job,
            on_create=defaults.prepare_job,
            checks=validation.check_job,
            update_checks=validation.check_job_update,
        ),
        columns.JOB,
        (),
        ("all",),
        status=True,
        has_generation=True,
        selectable_fields={"status.successful": lambda obj: str(dig(obj, "status", "succeeded") or 0)},
    ),
)
