"""The batch group: work that ends."""

from __future__ import annotations

from apiserver.resources import warnings
from apiserver.resources import workload_columns as columns
from apiserver.resources import workload_defaults as defaults
from apiserver.resources.columns import dig
from apiserver.resources.strategy import KindStrategy
from apiserver.resources.validation import cron_job, job, job_status, job_update
from apiserver.types import Resource

RESOURCES = (
    Resource(
        "batch",
        "v1",
        "cronjobs",
        "CronJob",
        "cronjob",
        True,
        KindStrategy(
            status=True,
            defaults=defaults.default_cron_job,
            checks=cron_job.check_cron_job,
            update=cron_job.check_cron_job_update,
            warn=warnings.warn_cron_job,
            warn_update=warnings.warn_cron_job_update,
        ),
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
            checks=job.check_job,
            update=job_update.check_job_update,
            status_update=job_status.check_job_status,
            warn=warnings.warn_job,
            warn_update=warnings.warn_template,
        ),
        columns.JOB,
        (),
        ("all",),
        status=True,
        orphans_dependents=True,
        has_generation=True,
        selectable_fields={"status.successful": lambda obj: str(dig(obj, "status", "succeeded") or 0)},
        unknown_field='field label "{}" not supported for batchv1.Job',
    ),
)
