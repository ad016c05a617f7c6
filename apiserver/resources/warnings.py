"""What an author is told of an object that is valid and yet not wise.

Upstream: WarningsOnCreate and WarningsOnUpdate of the strategies, pkg/api/{job,persistentvolume,…}/warnings.go.
"""

from __future__ import annotations

from typing import Any

from apiserver.resources.claims import claim_spec_warnings
from apiserver.resources.node_labels import deprecated_label
from apiserver.resources.pods.warnings import template_warnings
from apiserver.resources.validation.ingress import CLASS_ANNOTATION
from apiserver.types import Object
from common.api.names import is_dns1123_label

Spec = dict[str, Any]

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


_TEMPLATE = "spec.template"


def warn_template(obj: Object) -> list[str]:
    """What is said of the pods alone."""
    return template_warnings((obj.get("spec") or {}).get("template"), _TEMPLATE)


def warn_deployment(obj: Object) -> list[str]:
    """Also of ReplicaSets."""
    return _pod_names(obj) + warn_template(obj)


def warn_stateful_set(obj: Object) -> list[str]:
    spec = obj.get("spec") or {}
    found = warn_template(obj)
    for i, claim in enumerate(spec.get("volumeClaimTemplates") or ()):
        found += claim_spec_warnings(claim.get("spec") or {}, f"spec.volumeClaimTemplates[{i}]")
    if (spec.get("revisionHistoryLimit") or 0) < 0:
        found.append(
            "spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended"
        )
    return found


def warn_job(obj: Object) -> list[str]:
    return _pod_names(obj) + _many_indexes(obj.get("spec") or {}) + warn_template(obj)


def _many_indexes(spec: Spec) -> list[str]:
    many = (spec.get("completions") or 0) > MANY_COMPLETIONS and (spec.get("parallelism") or 0) > MANY_PARALLEL
    if spec.get("completionMode") != "Indexed" or not many:
        return []
    return [
        "In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, "
        "Kubernetes might not be able to track completedIndexes when a big number of indexes fail"
    ]


def warn_cron_job(obj: Object) -> list[str]:
    return _pod_names(obj) + warn_cron_job_update(obj)


def warn_cron_job_update(obj: Object) -> list[str]:
    spec = obj.get("spec") or {}
    job = (spec.get("jobTemplate") or {}).get("spec") or {}
    found = _many_indexes(job) + template_warnings(job.get("template"), "spec.jobTemplate.spec.template")
    if "TZ" in (spec.get("schedule") or ""):
        found.append(
            "CRON_TZ or TZ used in spec.schedule is not officially supported, "
            "see https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details"
        )
    return found


def warn_ingress(obj: Object) -> list[str]:
    annotations = _metadata(obj).get("annotations") or {}
    if CLASS_ANNOTATION not in annotations or (obj.get("spec") or {}).get("ingressClassName") is not None:
        return []
    return [f"annotation \"{CLASS_ANNOTATION}\" is deprecated, please use 'spec.ingressClassName' instead"]


def no_warnings(obj: Object) -> list[str]:
    return []


def warn_storage_class(obj: Object) -> list[str]:
    return [
        f"allowedTopologies[{i}].matchLabelExpressions[{j}].key: {text}"
        for i, term in enumerate(obj.get("allowedTopologies") or ())
        for j, expression in enumerate(term.get("matchLabelExpressions") or ())
        if (text := deprecated_label(expression.get("key") or ""))
    ]


def warn_runtime_class(obj: Object) -> list[str]:
    scheduling = obj.get("scheduling") or {}
    keys = [("scheduling.nodeSelector", key) for key in scheduling.get("nodeSelector") or ()]
    tolerations = enumerate(scheduling.get("tolerations") or ())
    keys += [(f"scheduling.tolerations[{i}]", t.get("key") or "") for i, t in tolerations]
    return [f"{path}: {text}" for path, key in keys if (text := deprecated_label(key))]
