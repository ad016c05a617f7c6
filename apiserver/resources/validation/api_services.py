"""APIServices (upstream: kube-aggregator, pkg/apis/apiregistration/validation)."""

from __future__ import annotations

from typing import Any

from apiserver.resources.checks import Errors, texts
from apiserver.resources.validation.formats import path_segment
from apiserver.types import Object
from common.api.names import is_dns1035_label, is_dns1123_subdomain, is_valid_port_num
from common.api.status import invalid_value, not_supported, required

Spec = dict[str, Any]


def check_api_service(obj: Object) -> Errors:
    spec, name = obj.get("spec") or {}, (obj.get("metadata") or {}).get("name") or ""
    group, version = spec.get("group") or "", spec.get("version") or ""
    wanted = f"{version}.{group}"
    problems = path_segment(name)
    if not problems and name != wanted:
        problems = [f'must be `spec.version+"."+spec.group`: "{wanted}"']
    errors = texts("metadata.name", name, problems)
    if not group and version != "v1":
        errors.append(required("spec.group", "only v1 may have an empty group and it better be legacy kube"))
    if group:
        errors += texts("spec.group", group, is_dns1123_subdomain(group))
    errors += texts("spec.version", version, is_dns1035_label(version))
    for field, most in (("groupPriorityMinimum", 20000), ("versionPriority", 1000)):
        value = spec.get(field) or 0
        if not 0 < value <= most:
            errors.append(invalid_value(f"spec.{field}", value, f"must be positive and less than {most}"))
    return errors + _service(spec)


def _service(spec: Spec) -> Errors:
    service, bundle, insecure = spec.get("service"), spec.get("caBundle"), spec.get("insecureSkipTLSVerify")
    errors: Errors = []
    if service is None:
        if bundle:
            shown = f"{len(bundle) * 3 // 4 - bundle.count('=')} bytes"
            errors.append(invalid_value("spec.caBundle", shown, "local APIServices may not have a caBundle"))
        if insecure:
            detail = "local APIServices may not have insecureSkipTLSVerify"
            errors.append(invalid_value("spec.insecureSkipTLSVerify", True, detail))
        return errors
    errors += [required(f"spec.service.{field}") for field in ("namespace", "name") if not service.get(field)]
    port = service.get("port", 443)
    if problems := is_valid_port_num(port):
        errors.append(invalid_value("spec.service.port", port, f"port is not valid: {', '.join(problems)}"))
    if insecure and bundle:
        errors.append(invalid_value("spec.insecureSkipTLSVerify", True, "may not be true if caBundle is present"))
    return errors


def check_api_service_status(obj: Object, old: Object) -> Errors:
    allowed = ("True", "False", "Unknown")
    return [
        not_supported(f"status.conditions[{i}].status", condition.get("status") or "", allowed)
        for i, condition in enumerate((obj.get("status") or {}).get("conditions") or ())
        if condition.get("status") not in allowed
    ]
