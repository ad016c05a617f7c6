"""Defaults of the kinds that make pods (upstream: pkg/apis/{apps,batch}/v1/defaults.go)."""

from __future__ import annotations

from typing import Any

from apiserver.resources.pods.defaults import default_template
from apiserver.types import Object

QUARTER = "25%"


def default_deployment(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    spec.setdefault("replicas", 1)
    strategy = spec.setdefault("strategy", {})
    if not strategy.get("type"):
        strategy["type"] = "RollingUpdate"
    if strategy["type"] == "RollingUpdate":
        rolling = strategy.setdefault("rollingUpdate", {})
        rolling.setdefault("maxUnavailable", QUARTER)
        rolling.setdefault("maxSurge", QUARTER)
    spec.setdefault("revisionHistoryLimit", 10)
    spec.setdefault("progressDeadlineSeconds", 600)
    default_template(spec.setdefault("template", {}))


def default_replica_set(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    spec.setdefault("replicas", 1)
    default_template(spec.setdefault("template", {}))


def default_daemon_set(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    strategy = spec.setdefault("updateStrategy", {})
    if not strategy.get("type"):
        strategy["type"] = "RollingUpdate"
    if strategy["type"] == "RollingUpdate":
        rolling = strategy.setdefault("rollingUpdate", {})
        rolling.setdefault("maxUnavailable", 1)
        rolling.setdefault("maxSurge", 0)
    spec.setdefault("revisionHistoryLimit", 10)
    default_template(spec.setdefault("template", {}))


def default_stateful_set(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    if not spec.get("podManagementPolicy"):
        spec["podManagementPolicy"] = "OrderedReady"
    strategy = spec.setdefault("updateStrategy", {})
    if not strategy.get("type"):
        strategy["type"] = "RollingUpdate"
        # Only a defaulted strategy gets a partition of its own (upstream's SetDefaults_StatefulSet).
        strategy.setdefault("rollingUpdate", {})
    if strategy["type"] == "RollingUpdate" and "rollingUpdate" in strategy:
        strategy["rollingUpdate"].setdefault("partition", 0)
    retention = spec.setdefault("persistentVolumeClaimRetentionPolicy", {})
    for when in ("whenDeleted", "whenScaled"):
        if not retention.get(when):
            retention[when] = "Retain"
    spec.setdefault("replicas", 1)
    spec.setdefault("revisionHistoryLimit", 10)
    default_template(spec.setdefault("template", {}))
    for claim in spec.get("volumeClaimTemplates") or ():
        claim.setdefault("apiVersion", "v1")
        claim.setdefault("kind", "PersistentVolumeClaim")
        default_claim(claim)


def default_claim(obj: Object) -> None:
    obj.setdefault("spec", {}).setdefault("volumeMode", "Filesystem")
    status = obj.setdefault("status", {})
    if not status.get("phase"):
        status["phase"] = "Pending"


def default_job(obj: Object) -> None:
    _default_job_spec(obj.setdefault("spec", {}))


def _default_job_spec(spec: dict[str, Any]) -> None:
    if spec.get("completions") is None and spec.get("parallelism") is None:
        spec["completions"] = spec["parallelism"] = 1
    spec.setdefault("parallelism", 1)
    if "backoffLimitPerIndex" in spec:
        spec.setdefault("backoffLimit", 2**31 - 1)
    spec.setdefault("backoffLimit", 6)
    spec.setdefault("completionMode", "NonIndexed")
    spec.setdefault("suspend", False)
    policy = spec.get("podFailurePolicy")
    if "podReplacementPolicy" not in spec:
        spec["podReplacementPolicy"] = "Failed" if policy is not None else "TerminatingOrFailed"
    for rule in (policy or {}).get("rules") or ():
        for pattern in rule.get("onPodConditions") or ():
            if not pattern.get("status"):
                pattern["status"] = "True"
    spec.setdefault("manualSelector", False)
    default_template(spec.setdefault("template", {}))


def default_cron_job(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    if not spec.get("concurrencyPolicy"):
        spec["concurrencyPolicy"] = "Allow"
    spec.setdefault("suspend", False)
    spec.setdefault("successfulJobsHistoryLimit", 3)
    spec.setdefault("failedJobsHistoryLimit", 1)
    job_spec = spec.setdefault("jobTemplate", {}).setdefault("spec", {})
    default_template(job_spec.setdefault("template", {}))


def prepare_job(obj: Object) -> None:
    """Gives a job its selector and its pods the labels it selects by (upstream: generateSelector).

    The uid is part of both, so the generic verbs must have set it before. Labels that are there already stay: when
    they say something else, validation refuses them.
    """
    spec, metadata = obj["spec"], obj["metadata"]
    template = spec["template"]
    if not spec.get("manualSelector"):
        uid, name = metadata.get("uid", ""), metadata.get("name", "")
        labels = template.setdefault("metadata", {}).setdefault("labels", {})
        for label, value in (("controller-uid", uid), ("job-name", name)):
            labels.setdefault(label, value)
            labels.setdefault(f"batch.kubernetes.io/{label}", value)
        selector = spec.setdefault("selector", {})
        selector.setdefault("matchLabels", {}).setdefault("batch.kubernetes.io/controller-uid", uid)
    # Upstream defaults them when it reads what it stored, so the generated ones are among them.
    labels = (template.get("metadata") or {}).get("labels")
    if labels and not metadata.get("labels"):
        metadata["labels"] = dict(labels)


TEMPLATE_GENERATION = "deprecated.daemonset.template.generation"
"""How apps/v1 says what extensions/v1beta1 had a field for: how often the template of a DaemonSet has changed."""


def prepare_daemon_set(obj: Object) -> None:
    annotations = obj["metadata"].setdefault("annotations", {})
    annotations[TEMPLATE_GENERATION] = str(max(_template_generation(obj), 1))


def keep_template_generation(obj: Object, old: Object, subresource: str) -> None:
    before = _template_generation(old)
    if not subresource and (obj.get("spec") or {}).get("template") != (old.get("spec") or {}).get("template"):
        before += 1
    metadata = obj["metadata"]
    metadata["annotations"] = (metadata.get("annotations") or {}) | {TEMPLATE_GENERATION: str(before)}


def _template_generation(obj: Object) -> int:
    text = (obj["metadata"].get("annotations") or {}).get(TEMPLATE_GENERATION, "")
    return int(text) if text.isdecimal() and len(text) < 19 else 0


def prepare_deployment_update(obj: Object, old: Object, subresource: str) -> None:
    """A Deployment's labels are not changed by way of its status. Its annotations are copied to its ReplicaSets, and
    so count for its generation."""
    metadata, labels = obj["metadata"], old["metadata"].get("labels")
    if subresource != "status":
        if (metadata.get("annotations") or {}) != (old["metadata"].get("annotations") or {}):
            metadata["generation"] = old["metadata"].get("generation", 0) + 1
        return
    metadata.pop("labels", None)
    if labels:
        metadata["labels"] = labels
