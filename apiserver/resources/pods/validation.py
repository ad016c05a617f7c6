"""Whether a pod or a pod template makes sense (upstream: ValidatePodSpec in pkg/apis/core/validation)."""

from __future__ import annotations

from typing import Any

from apiserver.resources.checks import Errors, filled, labels, not_negative, one_of, texts
from apiserver.resources.pods.containers import check_containers
from apiserver.resources.pods.names import label_problems
from apiserver.resources.pods.placement import check_affinity, check_spread, check_tolerations
from apiserver.resources.pods.volumes import check_volumes
from apiserver.types import Object
from common.api.names import is_dns1123_subdomain
from common.api.status import field_forbidden, invalid_value, required

RESTART_POLICIES = ("Always", "Never", "OnFailure")
DNS_POLICIES = ("ClusterFirst", "ClusterFirstWithHostNet", "Default", "None")
MAX_DEADLINE = 2**31 - 1


def check_pod(pod: Object) -> Errors:
    spec = pod.get("spec") or {}
    errors = check_pod_spec(spec, "spec")
    if spec.get("ephemeralContainers") and not (pod.get("metadata") or {}).get("resourceVersion"):
        errors.append(field_forbidden("spec.ephemeralContainers", "cannot be set on create"))
    return errors


def check_pod_status(pod: Object) -> Errors:
    nominated = (pod.get("status") or {}).get("nominatedNodeName")
    return texts("status.nominatedNodeName", nominated, is_dns1123_subdomain(nominated)) if nominated else []


def check_template(template: Object, path: str) -> Errors:
    """Labels, annotations and spec of a pod template."""
    metadata = template.get("metadata") or {}
    errors = labels(metadata.get("labels"), f"{path}.labels")
    return errors + check_pod_spec(template.get("spec") or {}, f"{path}.spec")


def check_pod_spec(spec: dict[str, Any], path: str) -> Errors:
    volumes = spec.get("volumes")
    errors, names = check_volumes(volumes, f"{path}.volumes") if volumes else ([], frozenset())
    errors += check_containers(spec, path, names)
    errors += one_of(spec, "restartPolicy", path, RESTART_POLICIES)
    errors += one_of(spec, "dnsPolicy", path, DNS_POLICIES)
    errors += _dns_config(spec, path)
    for field in ("serviceAccountName", "nodeName"):
        if value := spec.get(field):
            errors += texts(f"{path}.{field}", value, is_dns1123_subdomain(value))
    for field in ("hostname", "subdomain"):
        if value := spec.get(field):
            errors += texts(f"{path}.{field}", value, label_problems(value))
    errors += not_negative(spec, "terminationGracePeriodSeconds", path)
    deadline = spec.get("activeDeadlineSeconds")
    if deadline is not None and not 1 <= deadline <= MAX_DEADLINE:
        detail = f"must be between 1 and {MAX_DEADLINE}, inclusive"
        errors.append(invalid_value(f"{path}.activeDeadlineSeconds", deadline, detail))
    if selector := spec.get("nodeSelector"):
        errors += labels(selector, f"{path}.nodeSelector")
    for i, secret in enumerate(spec.get("imagePullSecrets") or ()):
        errors += filled(secret, f"{path}.imagePullSecrets[{i}]", "name")
    if affinity := spec.get("affinity"):
        errors += check_affinity(affinity, f"{path}.affinity")
    if tolerations := spec.get("tolerations"):
        errors += check_tolerations(tolerations, f"{path}.tolerations")
    if constraints := spec.get("topologySpreadConstraints"):
        errors += check_spread(constraints, f"{path}.topologySpreadConstraints")
    return errors + _host_network(spec, path)


def _dns_config(spec: dict[str, Any], path: str) -> Errors:
    nameservers = (spec.get("dnsConfig") or {}).get("nameservers")
    if spec.get("dnsPolicy") == "None" and not nameservers:
        detail = "must provide at least one DNS nameserver when `dnsPolicy` is None"
        return [required(f"{path}.dnsConfig" + (".nameservers" if spec.get("dnsConfig") else ""), detail)]
    if nameservers and len(nameservers) > 3:
        detail = "must not have more than 3 nameservers"
        return [invalid_value(f"{path}.dnsConfig.nameservers", nameservers, detail)]
    return []


def _host_network(spec: dict[str, Any], path: str) -> Errors:
    """With the host's network, a container's port is the host's."""
    if not spec.get("hostNetwork"):
        return []
    return [
        invalid_value(
            f"{path}.containers[{i}].ports[{j}].hostPort",
            port["hostPort"],
            "must match `containerPort` when `hostNetwork` is true",
        )
        for i, container in enumerate(spec.get("containers") or ())
        for j, port in enumerate(container.get("ports") or ())
        if port.get("hostPort") and port["hostPort"] != port.get("containerPort")
    ]
