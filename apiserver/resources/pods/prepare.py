"""What the server makes of a pod before it is checked (upstream: podStrategy.PrepareForCreate).

Fields of features that v1.32 has switched off are dropped silently, as upstream's DropDisabledPodFields does; a pod
that has them already keeps them.
"""

from __future__ import annotations

from typing import Any

from apiserver.resources.claims import prepare_claim_spec
from apiserver.resources.pods.annotations import APP_ARMOR, app_armor_profile, app_armor_text
from apiserver.resources.pods.qos import qos_class
from apiserver.resources.pods.windows import CONTAINER_KINDS, containers_of
from apiserver.types import Object
from common.api.time import now, to_rfc3339

Spec = dict[str, Any]

_DISABLED = frozenset({"resources", "hostUsers", "resourceClaims"})
"""PodLevelResources, UserNamespacesSupport, DynamicResourceAllocation."""
_DISABLED_IN_CONTEXT = ("supplementalGroupsPolicy", "seLinuxChangePolicy")
GATED = {
    "type": "PodScheduled",
    "status": "False",
    "reason": "SchedulingGated",
    "message": "Scheduling is blocked due to non-empty scheduling gates",
}


def prepare_pod(pod: Object) -> None:
    spec = pod.get("spec") or {}
    pod["status"] = {"phase": "Pending", "qosClass": qos_class(spec)}
    has_contexts = drop_disabled(spec)
    if spec.get("schedulingGates"):
        time = to_rfc3339(now())
        pod["status"]["conditions"] = [{**GATED, "lastProbeTime": None, "lastTransitionTime": time}]
    metadata = pod.setdefault("metadata", {})
    if affinity := spec.get("affinity"):
        labels = metadata.get("labels") or {}
        for kind in ("podAffinity", "podAntiAffinity"):
            for term in pod_terms(affinity.get(kind) or {}):
                _merge_label_keys(term, labels)
    if has_contexts or spec.get("securityContext") or metadata.get("annotations"):
        _unite_app_armor(metadata, spec)


def pod_terms(affinity: Spec) -> list[Spec]:
    preferred = affinity.get("preferredDuringSchedulingIgnoredDuringExecution") or ()
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or ()
    return [*(weighted.get("podAffinityTerm") or {} for weighted in preferred), *required]


def _merge_label_keys(term: Spec, labels: dict[str, str]) -> None:
    """matchLabelKeys of a term become expressions of its selector, with this pod's values (KEP-3633)."""
    selector = term.get("labelSelector")
    if selector is None:
        return
    for field, operator in (("matchLabelKeys", "In"), ("mismatchLabelKeys", "NotIn")):
        for key in term.get(field) or ():
            if key in labels:
                expression = {"key": key, "operator": operator, "values": [labels[key]]}
                selector["matchExpressions"] = [*(selector.get("matchExpressions") or ()), expression]


def drop_disabled(spec: Spec, old: Spec | None = None) -> bool:
    """Of a pod's or a template's spec. ``old`` is the spec that is replaced. Whether a container has a context."""
    has_contexts = False
    old = old or {}
    if not _DISABLED.isdisjoint(spec):
        for field in _DISABLED:
            if field in spec and old.get(field) is None:
                del spec[field]
    if context := spec.get("securityContext"):
        before = old.get("securityContext") or {}
        for field in _DISABLED_IN_CONTEXT:
            if field in context and before.get(field) is None:
                del context[field]
    for kind in CONTAINER_KINDS:
        for container in spec.get(kind) or ():
            if own := container.get("securityContext"):
                has_contexts = True
                if "procMount" in own and not _unmasks(old):
                    own["procMount"] = "Default"
            resources = container.get("resources")
            if resources and "claims" in resources and not old.get("resourceClaims"):
                del resources["claims"]
    if volumes := spec.get("volumes"):
        _drop_in_volumes(volumes, old.get("volumes") or ())
    return has_contexts


def _unmasks(spec: Spec) -> bool:
    return any((c.get("securityContext") or {}).get("procMount") == "Unmasked" for c, _ in containers_of(spec, ""))


def _drop_in_volumes(volumes: list[Spec], old: Any) -> None:
    keep_images = any(volume.get("image") is not None for volume in old)
    for volume in volumes:
        if "image" in volume and not keep_images:
            del volume["image"]
        for source in (volume.get("projected") or {}).get("sources") or ():
            source.pop("clusterTrustBundle", None)
        template = (volume.get("ephemeral") or {}).get("volumeClaimTemplate")
        if template is not None:
            prepare_claim_spec(template.setdefault("spec", {}))


def _unite_app_armor(metadata: Spec, spec: Spec) -> None:
    """The profile of a container is said in its field and in an annotation, for kubelets before v1.30 (KEP-24)."""
    annotations, context = metadata.get("annotations") or {}, spec.get("securityContext")
    if (spec.get("os") or {}).get("name") == "windows":
        return
    of_pod = (context or {}).get("appArmorProfile")
    for container, _ in containers_of(spec, ""):
        context = container.get("securityContext")
        own = context.get("appArmorProfile") if context else None
        if own is None and of_pod is None and not annotations:
            continue
        key = APP_ARMOR + container.get("name", "")
        text = annotations.get(key)
        if text is None:
            if shown := app_armor_text(own or of_pod or {}):
                annotations = metadata["annotations"] = {**annotations, key: shown}
        elif own is None and (profile := app_armor_profile(text)) is not None and profile != of_pod:
            container["securityContext"] = {**(context or {}), "appArmorProfile": profile}
