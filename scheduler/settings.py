"""The scheduler's flags, under kube-scheduler's names:
https://kubernetes.io/docs/reference/command-line-tools-reference/kube-scheduler/
"""

from __future__ import annotations

from common.process import ProcessSettings


class SchedulerSettings(ProcessSettings):
    secure_port: int = 10259
    leader_elect: bool = True
    """Of several schedulers one works; without, this one works at once."""
    leader_elect_resource_name: str = "kube-scheduler"
    leader_elect_resource_namespace: str = "kube-system"
    scheduler_name: str = "default-scheduler"
    """Pods that ask for another scheduler (spec.schedulerName) are left alone."""
