"""Ingresses (upstream: pkg/apis/networking/validation)."""

from __future__ import annotations

from typing import Any

from apiserver.resources.checks import Errors, texts
from apiserver.resources.validation.formats import is_wildcard_subdomain
from apiserver.resources.validation.networking import typed_reference
from apiserver.types import Object
from common.api.names import (
    is_dns1035_label,
    is_dns1123_subdomain,
    is_ip,
    is_valid_port_name,
    is_valid_port_num,
)
from common.api.status import GoSyntax, invalid_value, not_supported, required

Spec = dict[str, Any]

CLASS_ANNOTATION = "kubernetes.io/ingress.class"
PATH_TYPES = ("Exact", "ImplementationSpecific", "Prefix")
_SEQUENCES = ("//", "/./", "/../", "%2f", "%2F")
_SUFFIXES = ("/..", "/.")
_NOT_A_NAME = "must be a DNS name, not an IP address"


def check_ingress(obj: Object) -> Errors:
    spec = obj.get("spec") or {}
    errors = _spec(spec, None)
    annotation, name = _class_annotation(obj), spec.get("ingressClassName")
    if annotation is not None and name is not None and annotation != name:
        detail = "must match `ingressClassName` when both are specified"
        errors.append(invalid_value(f"annotations.{CLASS_ANNOTATION}", annotation, detail))
    return errors


def _class_annotation(obj: Object) -> str | None:
    annotations = (obj.get("metadata") or {}).get("annotations") or {}
    value: str | None = annotations.get(CLASS_ANNOTATION)
    return value


def check_ingress_update(obj: Object, old: Object) -> Errors:
    return _spec(obj.get("spec") or {}, old.get("spec") or {})


def check_ingress_status(obj: Object, old: Object) -> Errors:
    errors: Errors = []
    ingresses = ((obj.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()
    for i, ingress in enumerate(ingresses):
        path = f"status.loadBalancer.ingress[{i}]"
        if ip := ingress.get("ip"):
            errors += texts(f"{path}.ip", ip, is_ip(ip))
        if hostname := ingress.get("hostname"):
            errors += texts(f"{path}.hostname", hostname, is_dns1123_subdomain(hostname))
            if not is_ip(hostname):
                errors.append(invalid_value(f"{path}.hostname", hostname, _NOT_A_NAME))
    return errors


def _spec(spec: Spec, before: Spec | None) -> Errors:
    backend, rules = spec.get("defaultBackend"), spec.get("rules") or ()
    errors: Errors = []
    if not rules and backend is None:
        shown = GoSyntax("[]networking.IngressRule" + ("(nil)" if spec.get("rules") is None else "{}"))
        errors.append(invalid_value("spec", shown, "either `defaultBackend` or `rules` must be specified"))
    if backend is not None:
        errors += _backend(backend, "spec.defaultBackend")
    lenient = before is not None and _has_bad_wildcard_rule(before)
    for i, rule in enumerate(rules):
        path, host = f"spec.rules[{i}]", rule.get("host") or ""
        errors += _host(host, f"{path}.host")
        if not (lenient and "*" in host):
            errors += _rule(rule, path)
    any_name = before is not None and _has_bad_secret(before)
    for i, tls in enumerate(spec.get("tls") or ()):
        errors += _tls(tls, f"spec.tls[{i}]", any_name)
    if (name := spec.get("ingressClassName")) is not None:
        errors += texts("spec.ingressClassName", name, is_dns1123_subdomain(name))
    return errors


def _has_bad_wildcard_rule(before: Spec) -> bool:
    return any("*" in (rule.get("host") or "") and _rule(rule, "") for rule in before.get("rules") or ())


def _has_bad_secret(before: Spec) -> bool:
    return any(tls.get("secretName") and is_dns1123_subdomain(tls["secretName"]) for tls in before.get("tls") or ())


def _host(host: str, path: str) -> Errors:
    if not host:
        return []
    errors: Errors = [] if is_ip(host) else [invalid_value(path, host, _NOT_A_NAME)]
    check = is_wildcard_subdomain if "*" in host else is_dns1123_subdomain
    return errors + texts(path, host, check(host))


def _tls(tls: Spec, path: str, any_name: bool) -> Errors:
    errors: Errors = []
    for i, host in enumerate(tls.get("hosts") or ()):
        check = is_wildcard_subdomain if "*" in host else is_dns1123_subdomain
        errors += texts(f"{path}.hosts[{i}]", host, check(host))
    name = tls.get("secretName")
    return errors if any_name or not name else errors + texts(f"{path}.secretName", name, is_dns1123_subdomain(name))


def _rule(rule: Spec, path: str) -> Errors:
    http = rule.get("http")
    if http is None:
        return []
    paths = http.get("paths") or ()
    errors: Errors = [] if paths else [required(f"{path}.http.paths")]
    for i, item in enumerate(paths):
        errors += _path(item, f"{path}.http.paths[{i}]")
    return errors


def _path(item: Spec, path: str) -> Errors:
    kind, value = item.get("pathType"), item.get("path") or ""
    if not kind:
        return [required(f"{path}.pathType", "pathType must be specified")]
    errors: Errors = []
    if kind in ("Exact", "Prefix"):
        problems = [] if value.startswith("/") else ["must be an absolute path"]
        problems += [f"must not contain '{part}'" for part in _SEQUENCES if part in value]
        problems += [f"cannot end with '{part}'" for part in _SUFFIXES if value.endswith(part)]
        errors += texts(f"{path}.path", value, problems)
    elif kind == "ImplementationSpecific":
        if value and not value.startswith("/"):
            errors.append(invalid_value(f"{path}.path", value, "must be an absolute path"))
    else:
        errors.append(not_supported(f"{path}.pathType", kind, PATH_TYPES))
    return errors + _backend(item.get("backend") or {}, f"{path}.backend")


def _backend(backend: Spec, path: str) -> Errors:
    service, resource = backend.get("service"), backend.get("resource")
    if service is not None and resource is not None:
        return [invalid_value(path, "", "cannot set both resource and service backends")]
    if resource is not None:
        return typed_reference(resource, f"{path}.resource")
    if service is None:
        return [invalid_value(path, "", "resource or service backend is required")]
    name, port = service.get("name") or "", service.get("port") or {}
    at = f"{path}.service"
    errors = texts(f"{at}.name", name, is_dns1035_label(name)) if name else [required(f"{at}.name")]
    port_name, number = port.get("name"), port.get("number")
    if port_name and number:
        errors.append(invalid_value(path, "", "cannot set both port name & port number"))
    elif port_name:
        errors += texts(f"{at}.port.name", port_name, is_valid_port_name(port_name))
    elif number:
        errors += texts(f"{at}.port.number", number, is_valid_port_num(number))
    else:
        errors.append(required(path, "port name or number is required"))
    return errors
