"""Defaults of the other groups' kinds (upstream: pkg/apis/<group>/v1/defaults.go)."""

from __future__ import annotations

from typing import Any

from apiserver.resources.strategy import keep_metadata
from apiserver.types import Object
from common.api.time import now, to_rfc3339

RBAC_GROUP = "rbac.authorization.k8s.io"
_METRIC_STABILIZATION = 300


def default_binding(obj: Object) -> None:
    """RoleBinding and ClusterRoleBinding."""
    ref = obj.setdefault("roleRef", {})
    if not ref.get("apiGroup"):
        ref["apiGroup"] = RBAC_GROUP
    for subject in obj.get("subjects") or ():
        if not subject.get("apiGroup") and subject.get("kind") in ("User", "Group"):
            subject["apiGroup"] = RBAC_GROUP


def default_role(obj: Object) -> None:
    """Go writes a list that is not there as null."""
    obj.setdefault("rules", None)


def default_lease(obj: Object) -> None:
    obj.setdefault("spec", {})


def drop_lease_strategy(obj: Object, old: Object | None = None, subresource: str = "") -> None:
    """Coordinated leader election is off (alpha in v1.32): its fields are kept only where they are already."""
    before = (old or {}).get("spec") or {}
    for name in ("strategy", "preferredHolder"):
        if name not in before:
            (obj.get("spec") or {}).pop(name, None)


def default_endpoint_slice(obj: Object) -> None:
    for port in obj.get("ports") or ():
        port.setdefault("name", "")
        port.setdefault("protocol", "TCP")


def default_network_policy(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    spec.setdefault("podSelector", {})
    if not spec.get("policyTypes"):
        spec["policyTypes"] = ["Ingress", "Egress"] if spec.get("egress") else ["Ingress"]
    for rule in [*(spec.get("ingress") or ()), *(spec.get("egress") or ())]:
        for port in rule.get("ports") or ():
            port.setdefault("protocol", "TCP")


def default_ingress(obj: Object) -> None:
    obj.setdefault("status", {}).setdefault("loadBalancer", {})


def prepare_ingress(obj: Object) -> None:
    obj["status"] = {"loadBalancer": {}}


def default_ingress_class(obj: Object) -> None:
    parameters = (obj.get("spec") or {}).get("parameters")
    if parameters is not None:
        parameters.setdefault("scope", "Cluster")


def default_autoscaler(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    spec.setdefault("minReplicas", 1)
    if not spec.get("metrics"):
        target = {"type": "Utilization", "averageUtilization": 80}
        spec["metrics"] = [{"type": "Resource", "resource": {"name": "cpu", "target": target}}]
    behavior = spec.get("behavior")
    if behavior is not None:
        _default_scaling(behavior, "scaleUp", [("Pods", 4), ("Percent", 100)])
        _default_scaling(behavior, "scaleDown", [("Percent", 100)])


def _default_scaling(behavior: dict[str, Any], direction: str, policies: list[tuple[str, int]]) -> None:
    rules = behavior.setdefault(direction, {})
    if direction == "scaleUp":
        rules.setdefault("stabilizationWindowSeconds", 0)
    rules.setdefault("selectPolicy", "Max")
    if rules.get("policies") is None:
        rules["policies"] = [{"type": kind, "value": value, "periodSeconds": 15} for kind, value in policies]


def default_storage_class(obj: Object) -> None:
    if not obj.get("reclaimPolicy"):
        obj["reclaimPolicy"] = "Delete"
    if not obj.get("volumeBindingMode"):
        obj["volumeBindingMode"] = "Immediate"


def default_csi_driver(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    spec.setdefault("attachRequired", True)
    spec.setdefault("podInfoOnMount", False)
    spec.setdefault("storageCapacity", False)
    spec.setdefault("fsGroupPolicy", "ReadWriteOnceWithFSType")
    if not spec.get("volumeLifecycleModes"):
        spec["volumeLifecycleModes"] = ["Persistent"]
    spec.setdefault("requiresRepublish", False)
    spec.setdefault("seLinuxMount", False)


def raise_driver_generation(obj: Object, old: Object, subresource: str) -> None:
    """A CSIDriver counts the changes of these fields only."""
    spec, before = obj.get("spec") or {}, old.get("spec") or {}
    if any(spec.get(f) != before.get(f) for f in ("tokenRequests", "requiresRepublish", "seLinuxMount")):
        obj["metadata"]["generation"] = old["metadata"].get("generation", 0) + 1


def default_priority_class(obj: Object) -> None:
    obj.setdefault("value", 0)
    obj.setdefault("preemptionPolicy", "PreemptLowerPriority")


def prepare_priority_class(obj: Object) -> None:
    """Its generation stays 1: what is counted of other kinds cannot change."""
    obj["metadata"]["generation"] = 1


def raise_slice_generation(obj: Object, old: Object, subresource: str) -> None:
    """An EndpointSlice's generation counts changes of its labels too."""
    metadata, before = obj["metadata"], old["metadata"]
    if (metadata.get("labels") or {}) != (before.get("labels") or {}):
        metadata["generation"] = before.get("generation", 0) + 1


def default_webhooks(obj: Object) -> None:
    """Both webhook configurations."""
    for webhook in obj.get("webhooks") or ():
        webhook.setdefault("failurePolicy", "Fail")
        webhook.setdefault("matchPolicy", "Equivalent")
        webhook.setdefault("namespaceSelector", {})
        webhook.setdefault("objectSelector", {})
        webhook.setdefault("timeoutSeconds", 10)
        if obj.get("kind") == "MutatingWebhookConfiguration":
            webhook.setdefault("reinvocationPolicy", "Never")
        service = (webhook.get("clientConfig") or {}).get("service")
        if service is not None:
            service.setdefault("port", 443)
        for rule in webhook.get("rules") or ():
            rule.setdefault("scope", "*")


def default_admission_policy(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    spec.setdefault("failurePolicy", "Fail")
    if (constraints := spec.get("matchConstraints")) is not None:
        _default_match(constraints)


def default_admission_policy_binding(obj: Object) -> None:
    if (match := (obj.get("spec") or {}).get("matchResources")) is not None:
        _default_match(match)


def _default_match(match: dict[str, Any]) -> None:
    match.setdefault("matchPolicy", "Equivalent")
    match.setdefault("namespaceSelector", {})
    match.setdefault("objectSelector", {})
    for rule in [*(match.get("resourceRules") or ()), *(match.get("excludeResourceRules") or ())]:
        rule.setdefault("scope", "*")


def default_definition(obj: Object) -> None:
    """CustomResourceDefinition."""
    spec = obj.setdefault("spec", {})
    names = spec.setdefault("names", {})
    if not names.get("singular"):
        names["singular"] = str(names.get("kind", "")).lower()
    if not names.get("listKind") and names.get("kind"):
        names["listKind"] = f"{names['kind']}List"
    conversion = spec.setdefault("conversion", {"strategy": "None"})
    service = ((conversion.get("webhook") or {}).get("clientConfig") or {}).get("service")
    if service is not None:
        service.setdefault("port", 443)


def _storage_version(obj: Object) -> list[str]:
    return [v["name"] for v in obj["spec"].get("versions") or () if v.get("storage") and v.get("name")][:1]


def prepare_definition(obj: Object) -> None:
    names = {"plural": "", "kind": ""}
    obj["status"] = {"conditions": None, "acceptedNames": names, "storedVersions": _storage_version(obj)}


def keep_stored_version(obj: Object, old: Object, subresource: str) -> None:
    """A version that objects may be stored in stays known until somebody has migrated them."""
    keep_metadata(obj, old, subresource)
    status = obj.get("status") or {}
    stored = status.get("storedVersions") or []
    new = [version for version in _storage_version(obj) if version not in stored]
    if not subresource and new:
        obj["status"] = {**status, "storedVersions": [*stored, *new]}


def prepare_api_service(obj: Object) -> None:
    """What this server serves itself is available."""
    if (obj.get("spec") or {}).get("service") is None:
        condition = {"type": "Available", "status": "True", "reason": "Local"}
        condition |= {"message": "Local APIServices are always available", "lastTransitionTime": to_rfc3339(now())}
        obj["status"] = {"conditions": [condition]}


def default_api_service(obj: Object) -> None:
    service = (obj.get("spec") or {}).get("service")
    if service is not None:
        service.setdefault("port", 443)
