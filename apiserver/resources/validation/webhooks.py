"""Webhook configurations (upstream: pkg/apis/admissionregistration/validation, apiserver/pkg/util/webhook)."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from apiserver.resources.checks import Errors, go_strings, label_selector, texts
from apiserver.resources.validation.formats import fully_qualified_name, go_list
from apiserver.types import Object
from common.api.names import is_dns1035_label, is_dns1123_subdomain, is_qualified_name, is_valid_port_num
from common.api.status import duplicate, invalid_value, not_supported, required, too_many

Spec = dict[str, Any]

REVIEW_VERSIONS = ("v1", "v1beta1")
FAILURE_POLICIES = ("Fail", "Ignore")
MATCH_POLICIES = ("Equivalent", "Exact")
OPERATIONS = frozenset({"*", "CREATE", "UPDATE", "DELETE", "CONNECT"})
MAX_MATCH_CONDITIONS = 64
_NO_SIDE_EFFECTS = ("None", "NoneOnDryRun")
_SIDE_EFFECTS = ("None", "NoneOnDryRun", "Some", "Unknown")
_REINVOCATION = ("IfNeeded", "Never")
_SCOPES = ("*", "Cluster", "Namespaced")


def check_webhooks(obj: Object) -> Errors:
    """Both configurations."""
    return _check(obj, None)


def check_webhooks_update(obj: Object, old: Object) -> Errors:
    return _check(obj, old.get("webhooks") or ())


def _check(obj: Object, before: Any) -> Errors:
    """What the present webhooks do wrong is not held against the new ones."""
    strict_effects = before is None or all(h.get("sideEffects") in _NO_SIDE_EFFECTS for h in before)
    known = before is None or all(_knows_a_version(h) for h in before)
    unique = before is None or len({h.get("name") for h in before}) == len(before)
    errors: Errors = []
    names: set[str] = set()
    for i, hook in enumerate(obj.get("webhooks") or ()):
        path, name = f"webhooks[{i}]", hook.get("name") or ""
        errors += _webhook(hook, path, strict_effects)
        errors += _review_versions(hook.get("admissionReviewVersions") or (), f"{path}.admissionReviewVersions", known)
        if unique and name:
            if name in names:
                errors.append(duplicate(f"{path}.name", name))
            names.add(name)
    return errors


def _knows_a_version(hook: Spec) -> bool:
    versions = hook.get("admissionReviewVersions")
    return not versions or any(v in REVIEW_VERSIONS for v in versions)


def one_of(obj: Spec, field: str, path: str, allowed: tuple[str, ...]) -> Errors:
    value = obj.get(field)
    return [not_supported(f"{path}.{field}", value, allowed)] if value is not None and value not in allowed else []


def _webhook(hook: Spec, path: str, strict_effects: bool) -> Errors:
    errors = fully_qualified_name(hook.get("name") or "", f"{path}.name")
    for i, rule in enumerate(hook.get("rules") or ()):
        errors += check_rule(rule, f"{path}.rules[{i}]")
    errors += one_of(hook, "failurePolicy", path, FAILURE_POLICIES)
    errors += one_of(hook, "matchPolicy", path, MATCH_POLICIES)
    allowed = _NO_SIDE_EFFECTS if strict_effects else _SIDE_EFFECTS
    if not hook.get("sideEffects"):
        errors.append(required(f"{path}.sideEffects", f"must specify one of {', '.join(allowed)}"))
    else:
        errors += one_of(hook, "sideEffects", path, allowed)
    seconds = hook.get("timeoutSeconds")
    if seconds is not None and not 1 <= seconds <= 30:
        detail = "the timeout value must be between 1 and 30 seconds"
        errors.append(invalid_value(f"{path}.timeoutSeconds", seconds, detail))
    for field in ("namespaceSelector", "objectSelector"):
        errors += label_selector(hook.get(field), f"{path}.{field}")
    errors += one_of(hook, "reinvocationPolicy", path, _REINVOCATION)
    errors += client_config(hook.get("clientConfig") or {}, f"{path}.clientConfig")
    return errors + match_conditions(hook.get("matchConditions") or (), f"{path}.matchConditions")


def client_config(config: Spec, path: str) -> Errors:
    url, service = config.get("url"), config.get("service")
    if (url is None) == (service is None):
        return [required(path, "exactly one of url or service is required")]
    if url is not None:
        return _url(url, f"{path}.url")
    return service_reference(service or {}, f"{path}.service")


def _url(text: str, path: str) -> Errors:
    form = "; desired format: https://host[/path]"
    try:
        url = urlsplit(text)
    except ValueError as error:
        return [required(path, f"url must be a valid URL: {error}{form}")]
    user, at, host = url.netloc.rpartition("@")
    problems = (
        (url.scheme != "https", url.scheme, "'https' is the only allowed URL scheme" + form),
        (not host, host, "host must be provided" + form),
        (bool(at), user, "user information is not permitted in the URL"),
        (bool(url.fragment), url.fragment, "fragments are not permitted in the URL"),
        (bool(url.query), url.query, "query parameters are not permitted in the URL"),
    )
    return [invalid_value(path, value, detail) for wrong, value, detail in problems if wrong]


def service_reference(service: Spec, path: str) -> Errors:
    errors: Errors = []
    for field in ("name", "namespace"):
        if not service.get(field):
            errors.append(required(f"{path}.{field}", f"service {field} is required"))
    port, target = service.get("port", 443), service.get("path")
    if problems := is_valid_port_num(port):
        errors.append(invalid_value(f"{path}.port", port, f"port is not valid: {', '.join(problems)}"))
    return errors + (_service_path(target, f"{path}.path") if target not in (None, "", "/") else [])


def _service_path(target: str, path: str) -> Errors:
    if target == "//":
        return [invalid_value(path, target, "segment[0] may not be empty")]
    problems = [] if target.startswith("/") else ["must start with a '/'"]
    for i, step in enumerate(target[1:].removesuffix("/").split("/")):
        if not step:
            problems.append(f"segment[{i}] may not be empty")
        else:
            problems += [f"segment[{i}]: {text}" for text in is_dns1123_subdomain(step)]
    return texts(path, target, problems)


def _review_versions(versions: Any, path: str, must_know: bool) -> Errors:
    known = ", ".join(REVIEW_VERSIONS)
    if not versions:
        return [required(path, f"must specify one of {known}")]
    errors: Errors = []
    for i, version in enumerate(versions):
        if version in versions[:i]:
            errors.append(invalid_value(f"{path}[{i}]", version, "duplicate version"))
        else:
            errors += texts(f"{path}[{i}]", version, is_dns1035_label(version))
    if must_know and not any(v in REVIEW_VERSIONS for v in versions):
        errors.append(invalid_value(path, list(versions), f"must include at least one of {known}"))
    return errors


def check_rule(rule: Spec, path: str) -> Errors:
    """A RuleWithOperations."""
    operations = rule.get("operations") or ()
    errors: Errors = []
    if not operations:
        errors.append(required(f"{path}.operations"))
    if len(operations) > 1 and "*" in operations:
        shown = go_list("admissionregistration.OperationType", operations)
        detail = "if '*' is present, must not specify other operations"
        errors.append(invalid_value(f"{path}.operations", shown, detail))
    for i, operation in enumerate(operations):
        if operation not in OPERATIONS:
            errors.append(not_supported(f"{path}.operations[{i}]", operation, OPERATIONS))
    for field, what in (("apiGroups", "API groups"), ("apiVersions", "API versions")):
        values = rule.get(field) or ()
        if not values:
            errors.append(required(f"{path}.{field}"))
        if len(values) > 1 and "*" in values:
            detail = f"if '*' is present, must not specify other {what}"
            errors.append(invalid_value(f"{path}.{field}", go_strings(values), detail))
    errors += [required(f"{path}.apiVersions[{i}]") for i, v in enumerate(rule.get("apiVersions") or ()) if not v]
    return errors + _resources(rule.get("resources") or (), f"{path}.resources") + one_of(rule, "scope", path, _SCOPES)


def _resources(resources: Any, path: str) -> Errors:
    errors: Errors = [] if resources else [required(path)]
    whole: set[str] = set()
    of_all: set[str] = set()
    plain = False
    for i, text in enumerate(resources):
        if not text:
            errors.append(required(f"{path}[{i}]"))
            continue
        resource, slash, sub = text.partition("/")
        if not slash:
            plain = text != "*"  # as upstream: the last one decides
            continue
        if resource in whole:
            detail = f"if '{resource}/*' is present, must not specify {text}"
            errors.append(invalid_value(f"{path}[{i}]", text, detail))
        if sub in of_all:
            detail = f"if '*/{sub}' is present, must not specify {text}"
            errors.append(invalid_value(f"{path}[{i}]", text, detail))
        if sub == "*":
            whole.add(resource)
        if resource == "*":
            of_all.add(sub)
    shown = go_strings(resources)
    if len(resources) > 1 and "*/*" in resources:
        errors.append(invalid_value(path, shown, "if '*/*' is present, must not specify other resources"))
    if "*" in resources and plain:
        detail = "if '*' is present, must not specify other resources without subresources"
        errors.append(invalid_value(path, shown, detail))
    return errors


def match_conditions(conditions: Any, path: str) -> Errors:
    """Names and that there is an expression; whether it compiles is for the room that evaluates it."""
    errors: Errors = []
    if len(conditions) > MAX_MATCH_CONDITIONS:
        errors.append(too_many(path, len(conditions), MAX_MATCH_CONDITIONS))
    names: set[str] = set()
    for i, condition in enumerate(conditions):
        name = condition.get("name") or ""
        if not (condition.get("expression") or "").strip():
            errors.append(required(f"{path}[{i}].expression"))
        if not name:
            errors.append(required(f"{path}[{i}].name"))
            continue
        errors += texts(f"{path}[{i}].name", name, is_qualified_name(name))
        if name in names:
            errors.append(duplicate(f"{path}[{i}].name", name))
        names.add(name)
    return errors
