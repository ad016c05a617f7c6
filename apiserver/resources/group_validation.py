"""Validation of the other groups' kinds (upstream: pkg/apis/<group>/validation)."""

from __future__ import annotations

import json
from typing import Any

from apiserver.resources.checks import (
    IMMUTABLE,
    PROTOCOLS,
    Errors,
    filled,
    go_int_or_string,
    int_or_percent,
    label_selector,
    not_negative,
    one_of,
    texts,
)
from apiserver.types import Object
from common.api.names import (
    is_cidr,
    is_dns1035_label,
    is_dns1123_label,
    is_dns1123_subdomain,
    is_ip,
    is_qualified_name,
    is_valid_port_name,
    is_valid_port_num,
)
from common.api.status import GoSyntax, field_forbidden, invalid_value, not_supported, required

RBAC_GROUP = "rbac.authorization.k8s.io"
PATH_TYPES = ("Exact", "ImplementationSpecific", "Prefix")
ADDRESS_TYPES = ("FQDN", "IPv4", "IPv6")
MAX_PRIORITY = 1_000_000_000
MAX_ENDPOINTS = 1000


def check_role(obj: Object) -> Errors:
    """Role and ClusterRole."""
    errors: Errors = []
    namespaced = obj.get("kind") == "Role"
    for i, rule in enumerate(obj.get("rules") or ()):
        path = f"rules[{i}]"
        if not rule.get("verbs"):
            errors.append(required(f"{path}.verbs", "verbs must contain at least one value"))
        if rule.get("nonResourceURLs"):
            if namespaced:
                detail = "namespaced rules cannot apply to non-resource URLs"
                errors.append(invalid_value(f"{path}.nonResourceURLs", rule["nonResourceURLs"], detail))
            elif rule.get("apiGroups") or rule.get("resources") or rule.get("resourceNames"):
                detail = "rules cannot apply to both regular resources and non-resource URLs"
                errors.append(invalid_value(f"{path}.nonResourceURLs", rule["nonResourceURLs"], detail))
            continue
        if not rule.get("apiGroups"):
            errors.append(required(f"{path}.apiGroups", "resource rules must supply at least one api group"))
        if not rule.get("resources"):
            errors.append(required(f"{path}.resources", "resource rules must supply at least one resource"))
    return errors + _aggregation(obj.get("aggregationRule"))


def _aggregation(aggregation: dict[str, Any] | None) -> Errors:
    if aggregation is None:
        return []
    path, selectors = "aggregationRule.clusterRoleSelectors", aggregation.get("clusterRoleSelectors") or ()
    if not selectors:
        return [required(path, "at least one clusterRoleSelector required if aggregationRule is non-nil")]
    return [error for i, selector in enumerate(selectors) for error in label_selector(selector, f"{path}[{i}]")]


def check_binding(obj: Object) -> Errors:
    """RoleBinding and ClusterRoleBinding."""
    ref = obj.get("roleRef") or {}
    errors: Errors = []
    if ref.get("apiGroup", "") != RBAC_GROUP:
        errors.append(not_supported("roleRef.apiGroup", ref.get("apiGroup", ""), (RBAC_GROUP,)))
    kinds = ("ClusterRole", "Role") if obj.get("kind") == "RoleBinding" else ("ClusterRole",)
    if ref.get("kind", "") not in kinds:
        errors.append(not_supported("roleRef.kind", ref.get("kind", ""), kinds))
    if not ref.get("name"):
        errors.append(required("roleRef.name"))
    for i, subject in enumerate(obj.get("subjects") or ()):
        errors += _subject(subject, f"subjects[{i}]", obj.get("kind") == "RoleBinding")
    return errors


def _subject(subject: dict[str, Any], path: str, namespaced: bool) -> Errors:
    errors = filled(subject, path, "name")
    kind, group = subject.get("kind", ""), subject.get("apiGroup", "")
    if kind == "ServiceAccount":
        if group:
            errors.append(not_supported(f"{path}.apiGroup", group, ("",)))
        if not namespaced and not subject.get("namespace"):
            errors.append(required(f"{path}.namespace"))
    elif kind in ("User", "Group"):
        if group != RBAC_GROUP:
            errors.append(not_supported(f"{path}.apiGroup", group, (RBAC_GROUP,)))
    else:
        errors.append(not_supported(f"{path}.kind", kind, ("Group", "ServiceAccount", "User")))
    return errors


def check_binding_update(obj: Object, old: Object, subresource: str) -> Errors:
    ref = obj.get("roleRef") or {}
    if ref == old.get("roleRef"):
        return []
    group, kind, name = (json.dumps(ref.get(field, "")) for field in ("apiGroup", "kind", "name"))
    shown = GoSyntax(f"rbac.RoleRef{{APIGroup:{group}, Kind:{kind}, Name:{name}}}")
    return [invalid_value("roleRef", shown, "cannot change roleRef")]


def check_ingress(obj: Object) -> Errors:
    spec = obj.get("spec") or {}
    errors: Errors = []
    if not spec.get("rules") and spec.get("defaultBackend") is None:
        detail = "either `defaultBackend` or `rules` must be specified"
        errors.append(invalid_value("spec", spec if spec else GoSyntax("networking.IngressSpec{}"), detail))
    if (backend := spec.get("defaultBackend")) is not None:
        errors += _backend(backend, "spec.defaultBackend")
    for i, rule in enumerate(spec.get("rules") or ()):
        path = f"spec.rules[{i}]"
        if host := rule.get("host"):
            if not is_ip(host):
                errors.append(invalid_value(f"{path}.host", host, "must be a DNS name, not an IP address"))
            errors += texts(f"{path}.host", host, is_dns1123_subdomain(host.removeprefix("*.")))
        if (http := rule.get("http")) is not None:
            if not http.get("paths"):
                errors.append(required(f"{path}.http.paths"))
            for j, item in enumerate(http.get("paths") or ()):
                errors += _path(item, f"{path}.http.paths[{j}]")
    if name := spec.get("ingressClassName"):
        errors += texts("spec.ingressClassName", name, is_dns1123_subdomain(name))
    return errors


def _path(item: dict[str, Any], path: str) -> Errors:
    kind, value = item.get("pathType"), item.get("path", "")
    errors: Errors = []
    if not kind:
        errors.append(required(f"{path}.pathType", "pathType must be specified"))
    elif kind not in PATH_TYPES:
        errors.append(not_supported(f"{path}.pathType", kind, PATH_TYPES))
    elif (kind != "ImplementationSpecific" or value) and not value.startswith("/"):
        errors.append(invalid_value(f"{path}.path", value, "must be an absolute path"))
    return errors + _backend(item.get("backend") or {}, f"{path}.backend")


def _backend(backend: dict[str, Any], path: str) -> Errors:
    service, resource = backend.get("service"), backend.get("resource")
    if service is None and resource is None:
        return [required(path, "resource or service backend is required")]
    if service is not None and resource is not None:
        return [invalid_value(path, "", "cannot set both resource and service backends")]
    if service is None:
        return filled(resource or {}, f"{path}.resource", "kind", "name")
    name, port = service.get("name", ""), service.get("port") or {}
    at = f"{path}.service"
    errors = texts(f"{at}.name", name, is_dns1035_label(name)) if name else [required(f"{at}.name")]
    if port.get("name") and port.get("number"):
        errors.append(invalid_value(path, "", "cannot set both port name & port number"))
    elif port.get("name"):
        errors += texts(f"{at}.port.name", port["name"], is_valid_port_name(port["name"]))
    elif port.get("number"):
        errors += texts(f"{at}.port.number", port["number"], is_valid_port_num(port["number"]))
    else:
        errors.append(required(path, "port name or number is required"))
    return errors


def check_network_policy(obj: Object) -> Errors:
    spec = obj.get("spec") or {}
    errors = label_selector(spec.get("podSelector"), "spec.podSelector")
    for direction, peers in (("ingress", "from"), ("egress", "to")):
        for i, rule in enumerate(spec.get(direction) or ()):
            path = f"spec.{direction}[{i}]"
            for j, port in enumerate(rule.get("ports") or ()):
                errors += one_of(port, "protocol", f"{path}.ports[{j}]", PROTOCOLS)
                if isinstance(port.get("port"), int):
                    errors += texts(f"{path}.ports[{j}].port", port["port"], is_valid_port_num(port["port"]))
            for j, peer in enumerate(rule.get(peers) or ()):
                errors += _peer(peer, f"{path}.{peers}[{j}]")
    if len(spec.get("policyTypes") or ()) > 2:
        detail = "may not specify more than two policyTypes"
        return [*errors, invalid_value("spec.policyTypes", spec["policyTypes"], detail)]
    for i, kind in enumerate(spec.get("policyTypes") or ()):
        if kind not in ("Ingress", "Egress"):
            errors.append(not_supported(f"spec.policyTypes[{i}]", kind, ("Ingress", "Egress")))
    return errors


def _peer(peer: dict[str, Any], path: str) -> Errors:
    block = peer.get("ipBlock")
    errors = label_selector(peer.get("podSelector"), f"{path}.podSelector")
    errors += label_selector(peer.get("namespaceSelector"), f"{path}.namespaceSelector")
    if not peer:
        return [required(path, "must specify a peer")]
    if block is not None:
        if len(peer) > 1:
            errors.append(field_forbidden(path, "may not specify both ipBlock and another peer"))
        errors += texts(f"{path}.ipBlock.cidr", block.get("cidr", ""), is_cidr(block.get("cidr", "")))
        for i, cidr in enumerate(block.get("except") or ()):
            errors += texts(f"{path}.ipBlock.except[{i}]", cidr, is_cidr(cidr))
    return errors


def check_autoscaler(obj: Object) -> Errors:
    spec = obj.get("spec") or {}
    least, most = spec.get("minReplicas", 1), spec.get("maxReplicas", 0)
    errors: Errors = []
    if least < 1:
        errors.append(invalid_value("spec.minReplicas", least, "must be greater than or equal to 1"))
    if most < 1:
        errors.append(invalid_value("spec.maxReplicas", most, "must be greater than 0"))
    if most < least:
        errors.append(invalid_value("spec.maxReplicas", most, "must be greater than or equal to `minReplicas`"))
    ref = spec.get("scaleTargetRef") or {}
    return errors + filled(ref, "spec.scaleTargetRef", "kind", "name")


def check_disruption_budget(obj: Object) -> Errors:
    spec = obj.get("spec") or {}
    errors: Errors = []
    if spec.get("minAvailable") is not None and spec.get("maxUnavailable") is not None:
        shown = GoSyntax(
            f"policy.PodDisruptionBudgetSpec{{MinAvailable:{go_int_or_string(spec['minAvailable'])}, "
            f"MaxUnavailable:{go_int_or_string(spec['maxUnavailable'])}}}"
        )
        errors.append(invalid_value("spec", shown, "minAvailable and maxUnavailable cannot be both set"))
    for field in ("minAvailable", "maxUnavailable"):
        if spec.get(field) is not None:
            errors += int_or_percent(spec[field], f"spec.{field}")
    errors += one_of(spec, "unhealthyPodEvictionPolicy", "spec", ("AlwaysAllow", "IfHealthyBudget"))
    return errors + label_selector(spec.get("selector"), "spec.selector")


_CLASS_FIELDS = ("parameters", "provisioner", "reclaimPolicy", "volumeBindingMode")


def check_storage_class(obj: Object) -> Errors:
    errors = (
        [required("provisioner")]
        if not obj.get("provisioner")
        else texts("provisioner", obj["provisioner"], is_qualified_name(str(obj["provisioner"]).lower()))
    )
    if obj.get("reclaimPolicy") not in ("Delete", "Retain"):
        errors.append(not_supported("reclaimPolicy", obj.get("reclaimPolicy"), ("Delete", "Retain")))
    modes = ("Immediate", "WaitForFirstConsumer")
    if obj.get("volumeBindingMode") not in modes:
        errors.append(not_supported("volumeBindingMode", obj.get("volumeBindingMode"), modes))
    return errors


def check_storage_class_update(obj: Object, old: Object, subresource: str) -> Errors:
    texts_of = {
        "parameters": "updates to parameters are forbidden.",
        "provisioner": "updates to provisioner are forbidden.",
    }
    return [
        field_forbidden(field, texts_of[field])
        if field in texts_of
        else invalid_value(field, obj.get(field), IMMUTABLE)
        for field in _CLASS_FIELDS
        if (obj.get(field) or {}) != (old.get(field) or {})
    ]


def check_priority_class(obj: Object) -> Errors:
    name = (obj.get("metadata") or {}).get("name", "")
    value = obj.get("value", 0)
    errors: Errors = []
    if value > MAX_PRIORITY and not name.startswith("system-"):
        detail = f"maximum allowed value of a user defined priority is {MAX_PRIORITY}"
        errors.append(field_forbidden("value", detail))
    return errors + one_of(obj, "preemptionPolicy", "", ("Never", "PreemptLowerPriority"))


def check_priority_class_update(obj: Object, old: Object, subresource: str) -> Errors:
    if obj.get("value") != old.get("value"):
        return [field_forbidden("value", "may not be changed in an update.")]
    if obj.get("preemptionPolicy") != old.get("preemptionPolicy"):
        return [invalid_value("preemptionPolicy", obj.get("preemptionPolicy"), IMMUTABLE)]
    return []


def check_lease(obj: Object) -> Errors:
    spec = obj.get("spec") or {}
    errors = not_negative(spec, "leaseTransitions", "spec")
    seconds = spec.get("leaseDurationSeconds")
    if seconds is not None and seconds <= 0:
        errors.append(invalid_value("spec.leaseDurationSeconds", seconds, "must be greater than 0"))
    return errors


def check_endpoint_slice(obj: Object) -> Errors:
    kind = obj.get("addressType", "")
    errors: Errors = []
    if not kind:
        errors.append(required("addressType"))
    elif kind not in ADDRESS_TYPES:
        errors.append(not_supported("addressType", kind, ADDRESS_TYPES))
    endpoints = obj.get("endpoints") or []
    if len(endpoints) > MAX_ENDPOINTS:
        errors.append(invalid_value("endpoints", len(endpoints), f"must have at most {MAX_ENDPOINTS} items"))
    for i, endpoint in enumerate(endpoints):
        addresses = endpoint.get("addresses") or []
        if not addresses:
            errors.append(required(f"endpoints[{i}].addresses", "must contain at least 1 address"))
        if kind in ("IPv4", "IPv6"):
            for j, address in enumerate(addresses):
                errors += texts(f"endpoints[{i}].addresses[{j}]", address, is_ip(address))
    for i, port in enumerate(obj.get("ports") or ()):
        if port.get("name"):
            errors += texts(f"ports[{i}].name", port["name"], is_dns1123_label(port["name"]))
        errors += one_of(port, "protocol", f"ports[{i}]", PROTOCOLS)
    return errors


def check_endpoint_slice_update(obj: Object, old: Object, subresource: str) -> Errors:
    if obj.get("addressType") == old.get("addressType"):
        return []
    return [invalid_value("addressType", obj.get("addressType"), IMMUTABLE)]


def check_signing_request_update(obj: Object, old: Object, subresource: str) -> Errors:
    """Who may sign (and so write the status) may not for that reason approve: /approval asks for a right of its own."""
    after, before = ({c.get("type") for c in (o.get("status") or {}).get("conditions") or ()} for o in (obj, old))
    return [
        field_forbidden("status.conditions", f'updates may not {verb} a condition of type "{kind}"')
        for kind in ("Approved", "Denied")
        for verb, changed in (("add", kind in after - before), ("remove", kind in before - after))
        if changed
    ]


def check_signing_request(obj: Object) -> Errors:
    spec = obj.get("spec") or {}
    errors = filled(spec, "spec", "request", "signerName")
    if spec.get("signerName") and "/" not in spec["signerName"]:
        detail = 'must be a fully qualified domain and path of the form "example.com/signer-name"'
        errors.append(invalid_value("spec.signerName", spec["signerName"], detail))
    seconds = spec.get("expirationSeconds")
    if seconds is not None and seconds < 600:
        detail = "may not specify a duration less than 600 seconds (10 minutes)"
        errors.append(invalid_value("spec.expirationSeconds", seconds, detail))
    return errors


def check_runtime_class(obj: Object) -> Errors:
    handler = obj.get("handler", "")
    return texts("handler", handler, is_dns1123_label(handler)) if handler else [required("handler")]
