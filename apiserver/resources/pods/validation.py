"""Whether a pod or a pod template makes sense (upstream: ValidatePodSpec in pkg/apis/core/validation).

Checks append to one list of errors and make the text of a path only for an error: nearly every pod is right, and most
of what a pod may say, it does not say.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from apiserver.resources.checks import Errors, annotation_keys, labels
from apiserver.resources.pods.annotations import check_annotations, check_profiles_match
from apiserver.resources.pods.containers import check_containers, check_image
from apiserver.resources.pods.dns import check_dns_config, check_host_aliases
from apiserver.resources.pods.names import (
    check_names,
    label_problems,
    label_value_problems,
    qualified_problems,
    subdomain_problems,
)
from apiserver.resources.pods.placement import check_affinity, check_spread, check_tolerations
from apiserver.resources.pods.resources import check_requirements
from apiserver.resources.pods.security import check_pod_context, check_shared_processes
from apiserver.resources.pods.volumes import check_volumes
from apiserver.resources.pods.windows import check_host_process, check_system
from apiserver.types import Object
from common.api.status import duplicate, field_forbidden, invalid_value, not_supported, required

Spec = dict[str, Any]

RESTART_POLICIES = ("Always", "OnFailure", "Never")
DNS_POLICIES = ("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None")
PREEMPTION_POLICIES = ("PreemptLowerPriority", "Never")
MAX_DEADLINE = 2**31 - 1
NO_VOLUMES: Mapping[str, Spec] = {}


def check_pod(pod: Object) -> Errors:
    """Of a new pod."""
    errors: Errors = []
    spec = pod.get("spec") or {}
    check_metadata_and_spec(errors, pod, spec)
    if spec.get("ephemeralContainers"):
        errors.append(field_forbidden("spec.ephemeralContainers", "cannot be set on create"))
    if spec.get("nodeName") and spec.get("schedulingGates"):
        detail = "cannot be set until all schedulingGates have been cleared"
        errors.append(field_forbidden("spec.nodeName", detail))
    if found := (pod.get("metadata") or {}).get("annotations"):
        check_profiles_match(errors, found, spec, "spec")
    return errors


def check_metadata_and_spec(errors: Errors, pod: Object, spec: Spec) -> None:
    """What is checked of new and changed pods alike, and of no template."""
    metadata = pod.get("metadata") or {}
    if found := metadata.get("annotations"):
        check_annotations(errors, found, spec, "metadata.annotations")
    check_pod_spec(errors, spec, "spec", pod=metadata.get("name", ""), is_pod=True)
    if volumes := spec.get("volumes"):
        _check_tokens(errors, spec, volumes)
    for kind in ("containers", "initContainers"):
        for i, container in enumerate(spec.get(kind) or ()):
            check_image(errors, container, f"spec.{kind}[{i}]")


def _check_tokens(errors: Errors, spec: Spec, volumes: list[Spec]) -> None:
    if spec.get("serviceAccountName"):
        return
    for i, volume in enumerate(volumes):
        for j, source in enumerate((volume.get("projected") or {}).get("sources") or ()):
            if source.get("serviceAccountToken") is not None:
                path = f"spec.volumes[{i}].projected.sources[{j}].serviceAccountToken"
                errors.append(field_forbidden(path, "must not be specified when serviceAccountName is not set"))


def check_template(template: Object, path: str) -> Errors:
    """Labels, annotations and spec of a pod template."""
    metadata, spec = template.get("metadata") or {}, template.get("spec") or {}
    errors = labels(metadata.get("labels"), f"{path}.labels")
    found = metadata.get("annotations")
    if found:
        errors += annotation_keys(found, f"{path}.annotations")
        check_annotations(errors, found, spec, f"{path}.annotations")
    check_pod_spec(errors, spec, f"{path}.spec")
    if found:
        check_profiles_match(errors, found, spec, f"{path}.spec")
    if spec.get("ephemeralContainers"):
        detail = "ephemeral containers not allowed in pod template"
        errors.append(field_forbidden(f"{path}.spec.ephemeralContainers", detail))
    return errors


def check_pod_spec(errors: Errors, spec: Spec, path: str, *, pod: str = "", is_pod: bool = False) -> None:
    """``pod`` is the pod's name, where it has one; ``is_pod`` tells a pod from a template."""
    get = spec.get
    if get("terminationGracePeriodSeconds") is None:
        errors.append(required(f"{path}.terminationGracePeriodSeconds"))
    volumes = get("volumes")
    usable = check_volumes(errors, volumes, f"{path}.volumes", pod) if volumes else NO_VOLUMES
    check_containers(errors, spec, usable, path)
    if get("hostNetwork"):
        _check_host_ports(errors, spec, path, is_pod)
    policy, dns = get("restartPolicy"), get("dnsPolicy")
    if policy not in RESTART_POLICIES:
        _check_choice(errors, policy, f"{path}.restartPolicy", RESTART_POLICIES)
    if dns not in DNS_POLICIES:
        _check_choice(errors, dns, f"{path}.dnsPolicy", DNS_POLICIES)
    if selector := get("nodeSelector"):
        _check_node_selector(errors, selector, f"{path}.nodeSelector")
    if get("shareProcessNamespace"):
        check_shared_processes(errors, spec, path)
    if context := get("securityContext"):
        check_pod_context(errors, spec, context, f"{path}.securityContext")
    if affinity := get("affinity"):
        check_affinity(errors, affinity, f"{path}.affinity")
    config = get("dnsConfig")
    if config is not None or dns == "None":
        check_dns_config(errors, config, dns or "", f"{path}.dnsConfig")
    if gates := get("readinessGates"):
        for i, gate in enumerate(gates):
            kind = gate.get("conditionType", "")
            check_names(errors, f"{path}.readinessGates[{i}].conditionType", kind, qualified_problems(kind))
    if gates := get("schedulingGates"):
        _check_scheduling_gates(errors, gates, f"{path}.schedulingGates")
    if constraints := get("topologySpreadConstraints"):
        check_spread(errors, constraints, f"{path}.topologySpreadConstraints")
    if context or _any_context(spec):
        check_host_process(errors, spec, path)
    _check_names(errors, spec, path)
    if get("os") is not None:
        check_system(errors, spec, path)


def _any_context(spec: Spec) -> bool:
    for kind in ("containers", "initContainers", "ephemeralContainers"):
        for container in spec.get(kind) or ():
            if container.get("securityContext"):
                return True
    return False


def _check_choice(errors: Errors, value: str | None, path: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        errors.append(not_supported(path, value, allowed) if value else required(path))


def _check_host_ports(errors: Errors, spec: Spec, path: str, is_pod: bool) -> None:
    """With the host's network, a container's port is the host's. In a template it may still be missing."""
    for i, container in enumerate(spec.get("containers") or ()):
        for j, port in enumerate(container.get("ports") or ()):
            host = port.get("hostPort", 0)
            if (is_pod or host) and host != port.get("containerPort", 0):
                detail = "must match `containerPort` when `hostNetwork` is true"
                errors.append(invalid_value(f"{path}.containers[{i}].ports[{j}].hostPort", host, detail))


def _check_node_selector(errors: Errors, selector: Mapping[str, str], path: str) -> None:
    for key, value in selector.items():
        check_names(errors, path, key, qualified_problems(key))
        check_names(errors, path, value, label_value_problems(value))


def _check_scheduling_gates(errors: Errors, gates: list[Spec], path: str) -> None:
    seen: set[str] = set()
    for i, gate in enumerate(gates):
        name = gate.get("name", "")
        check_names(errors, f"{path}[{i}]", name, qualified_problems(name))
        if name in seen:
            errors.append(duplicate(f"{path}[{i}]", name))
        seen.add(name)


def _check_names(errors: Errors, spec: Spec, path: str) -> None:
    get = spec.get
    for field in ("serviceAccountName", "nodeName"):
        if (name := get(field)) and (problems := subdomain_problems(name)):
            check_names(errors, f"{path}.{field}", name, problems)
    deadline = get("activeDeadlineSeconds")
    if deadline is not None and not 1 <= deadline <= MAX_DEADLINE:
        detail = f"must be between 1 and {MAX_DEADLINE}, inclusive"
        errors.append(invalid_value(f"{path}.activeDeadlineSeconds", deadline, detail))
    for field in ("hostname", "subdomain"):
        if (name := get(field)) and (problems := label_problems(name)):
            check_names(errors, f"{path}.{field}", name, problems)
    if tolerations := get("tolerations"):
        check_tolerations(errors, tolerations, f"{path}.tolerations")
    if aliases := get("hostAliases"):
        check_host_aliases(errors, aliases, f"{path}.hostAliases")
    if (name := get("priorityClassName")) and (problems := subdomain_problems(name)):
        check_names(errors, f"{path}.priorityClassName", name, problems)
    if (name := get("runtimeClassName")) is not None:
        check_names(errors, f"{path}.runtimeClassName", name, subdomain_problems(name))
    if (policy := get("preemptionPolicy")) is not None:
        _check_choice(errors, policy, f"{path}.preemptionPolicy", PREEMPTION_POLICIES)
    if overhead := get("overhead"):
        check_requirements(errors, {"limits": overhead}, f"{path}.overhead")
