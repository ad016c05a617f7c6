"""What an author is told of an object that is valid and yet not wise.

Upstream: WarningsOnCreate and WarningsOnUpdate of the strategies, pkg/api/{job,persistentvolume,…}/warnings.go.
"""

from __future__ import annotations

from typing import Any

from apiserver.types import Object
from common.api.names import is_dns1123_label

MANY_COMPLETIONS, MANY_PARALLEL = 100_000, 10_000


def _metadata(obj: Object) -> dict[str, Any]:
    metadata: dict[str, Any] = obj.get("metadata") or {}
    return metadata


def _pod_names(obj: Object) -> list[str]:
    """Names that pods and their hostnames are made of."""
    problems = is_dns1123_label(_metadata(obj).get("name") or "")
    if not problems:
        return []
    return [
        "metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; "
        f"a DNS label is recommended: [{' '.join(problems)}]"
    ]


def warn_deployment(obj: Object) -> list[str]:
    """Also of ReplicaSets."""
    return _pod_names(obj)


def _job_spec(spec: dict[str, Any], path: str) -> list[str]:
    found = []
    many = (spec.get("completions") or 0) > MANY_COMPLETIONS and (spec.get("parallelism") or 0) > MANY_PARALLEL
    if spec.get("completionMode") == "Indexed" and many:
        found.append(
            "In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, "
            "Kubernetes might not be able to track completedIndexes when a big number of indexes fail"
        )
    return found


def warn_job(obj: Object) -> list[str]:
    return _pod_names(obj) + _job_spec(obj.get("spec") or {}, "spec")


def warn_cron_job(obj: Object) -> list[str]:
    spec = obj.get("spec") or {}
    found = _pod_names(obj) + _job_spec((spec.get("jobTemplate") or {}).get("spec") or {}, "spec.jobTemplate.spec")
    if "TZ" in (spec.get("schedule") or ""):
        found.append(
            "CRON_TZ or TZ used in spec.schedule is not officially supported, "
            "see https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details"
        )
    return found


def warn_ingress(obj: Object) -> list[str]:
    if "kubernetes.io/ingress.class" in (_metadata(obj).get("annotations") or {}):
        return ["annotation \"kubernetes.io/ingress.class\" is deprecated, please use 'spec.ingressClassName' instead"]
    return []
