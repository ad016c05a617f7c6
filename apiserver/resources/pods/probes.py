"""Probes and lifecycle hooks (upstream: validateProbe, validateHandler)."""

from __future__ import annotations

from typing import Any

from apiserver.resources.checks import Errors, not_negative, port_or_name, texts
from common.api.names import is_http_header_name, is_valid_port_name, is_valid_port_num
from common.api.status import field_forbidden, invalid_value, not_supported, required

Spec = dict[str, Any]

PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
SCHEMES = ("HTTP", "HTTPS")
_PROBE_HANDLERS = ("exec", "httpGet", "tcpSocket", "grpc")
_HOOK_HANDLERS = ("exec", "httpGet", "tcpSocket", "sleep")
_COUNTS = ("initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold")


def check_lifecycle_and_probes(errors: Errors, container: Spec, grace: int | None, path: str) -> None:
    """``grace`` is the pod's termination grace period, which hooks may not outlast."""
    lifecycle = container.get("lifecycle")
    if lifecycle:
        for event in ("postStart", "preStop"):
            if (handler := lifecycle.get(event)) is not None:
                _check_handler(errors, handler, _HOOK_HANDLERS, grace, f"{path}.lifecycle.{event}")
    for kind in PROBES:
        if (probe := container.get(kind)) is not None:
            _check_probe(errors, probe, kind, f"{path}.{kind}")


def _check_probe(errors: Errors, probe: Spec, kind: str, path: str) -> None:
    _check_handler(errors, probe, _PROBE_HANDLERS, None, path)
    for field in _COUNTS:
        errors += not_negative(probe, field, path)
    grace = probe.get("terminationGracePeriodSeconds")
    if grace is not None and grace <= 0:
        errors.append(invalid_value(f"{path}.terminationGracePeriodSeconds", grace, "must be greater than 0"))
    if kind == "readinessProbe":
        if grace is not None:
            detail = "must not be set for readinessProbes"
            errors.append(invalid_value(f"{path}.terminationGracePeriodSeconds", grace, detail))
    elif probe.get("successThreshold", 0) != 1:
        errors.append(invalid_value(f"{path}.successThreshold", probe.get("successThreshold", 0), "must be 1"))


def _check_handler(errors: Errors, handler: Spec, kinds: tuple[str, ...], grace: int | None, path: str) -> None:
    found = False
    for kind in kinds:
        action = handler.get(kind)
        if action is None:
            continue
        at = f"{path}.{kind}"
        if found:
            errors.append(field_forbidden(at, "may not specify more than 1 handler type"))
        else:
            found = True
            _check_action(errors, kind, action, grace, at)
    if not found:
        errors.append(required(path, "must specify a handler type"))


def _check_action(errors: Errors, kind: str, action: Spec, grace: int | None, path: str) -> None:
    if kind == "exec":
        if not action.get("command"):
            errors.append(required(f"{path}.command"))
    elif kind == "httpGet":
        _check_http(errors, action, path)
    elif kind == "tcpSocket":
        errors += port_or_name(action.get("port", 0), f"{path}.port", is_valid_port_name)
    elif kind == "grpc":
        port = action.get("port", 0)
        errors += texts(f"{path}.port", port, is_valid_port_num(port))
    else:
        seconds = action.get("seconds", 0)
        if grace is not None and not 0 < seconds <= grace:
            detail = (
                f"must be greater than 0 and less than terminationGracePeriodSeconds ({grace}). "
                "Enable AllowPodLifecycleSleepActionZeroValue feature gate for zero sleep."
            )
            errors.append(invalid_value(path, seconds, detail))


def _check_http(errors: Errors, action: Spec, path: str) -> None:
    if not action.get("path"):
        errors.append(required(f"{path}.path"))
    errors += port_or_name(action.get("port", 0), f"{path}.port", is_valid_port_name)
    scheme = action.get("scheme", "")
    if scheme not in SCHEMES:
        errors.append(not_supported(f"{path}.scheme", scheme, SCHEMES))
    for header in action.get("httpHeaders") or ():
        name = header.get("name", "")
        errors += texts(f"{path}.httpHeaders", name, is_http_header_name(name))
