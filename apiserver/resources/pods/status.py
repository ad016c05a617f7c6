"""Writes to a pod's status (upstream: podStatusStrategy, ValidatePodStatusUpdate)."""

from __future__ import annotations

import ipaddress
from typing import Any

from apiserver.resources.checks import IMMUTABLE, Errors, texts
from apiserver.resources.pods.annotations import check_annotation_update
from apiserver.resources.pods.names import check_names, qualified_problems, subdomain_problems
from apiserver.resources.pods.security import check_id
from apiserver.types import Object
from common.api.names import is_ip, parse_ip
from common.api.status import GoSyntax, duplicate, field_forbidden, invalid_value

Status = dict[str, Any]

_SYSTEM_CONDITIONS = ("PodScheduled", "Ready", "Initialized")
_RESTART = "may not be transitioned to non-terminated state"


def keep_in_status(pod: Object, old: Object) -> None:
    """The QoS class of a pod is decided once; podIP and podIPs[0] are one field."""
    status = pod.setdefault("status", {})
    before = (old.get("status") or {}).get("qosClass")
    if before and not status.get("qosClass"):
        status["qosClass"] = before
    ip, ips = status.get("podIP"), status.get("podIPs")
    if ip and (not ips or ips[0].get("ip") != ip):
        status["podIPs"] = [{"ip": ip}]
    elif ips and not ip:
        status["podIP"] = ips[0].get("ip", "")
    for kind in ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"):
        for container in status.get(kind) or ():
            container.setdefault("state", {})
            container.setdefault("lastState", {})


def check_pod_status(pod: Object, old: Object) -> Errors:
    errors: Errors = []
    status, before = pod.get("status") or {}, old.get("status") or {}
    spec = old.get("spec") or {}
    new_annotations, old_annotations = ((o.get("metadata") or {}).get("annotations") or {} for o in (pod, old))
    if new_annotations or old_annotations:
        check_annotation_update(errors, new_annotations, old_annotations, spec, "metadata.annotations")
    for i, condition in enumerate(status.get("conditions") or ()):
        kind = condition.get("type", "")
        if kind not in _SYSTEM_CONDITIONS and (problems := qualified_problems(kind)):
            check_names(errors, f"metadata.conditions[{i}].Type", kind, problems)
    nominated = status.get("nominatedNodeName")
    if nominated and nominated != before.get("nominatedNodeName"):
        check_names(errors, "status.nominatedNodeName", nominated, subdomain_problems(nominated))
    if status.get("qosClass", "") != before.get("qosClass", ""):
        errors.append(invalid_value("status.qosClass", status.get("qosClass", ""), IMMUTABLE))
    _check_transitions(errors, status, before, spec)
    for field in ("podIPs", "hostIPs"):
        if addresses := status.get(field):
            _check_addresses(errors, status, addresses, field)
    for kind in ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"):
        for i, container in enumerate(status.get(kind) or ()):
            if user := container.get("user"):
                _check_user(errors, user, spec, f"status.{kind}[{i}].linux")
    return errors


def _check_transitions(errors: Errors, status: Status, before: Status, spec: Status) -> None:
    """A container that has ended for good stays so."""
    policy = spec.get("restartPolicy", "")
    sidecars = {c.get("name") for c in spec.get("initContainers") or () if c.get("restartPolicy") == "Always"}
    for kind, restarts, exempt in (
        ("containerStatuses", policy, frozenset()),
        ("initContainerStatuses", policy, sidecars),
        ("ephemeralContainerStatuses", "Never", frozenset()),
    ):
        if restarts == "Always":
            continue
        for i, was in enumerate(before.get(kind) or ()):
            ended = (was.get("state") or {}).get("terminated")
            if ended is None or (ended.get("exitCode") and restarts == "OnFailure") or was.get("name") in exempt:
                continue
            for new in status.get(kind) or ():
                if new.get("name") == was.get("name") and (new.get("state") or {}).get("terminated") is None:
                    errors.append(field_forbidden(f"status.{kind}[{i}].state", _RESTART))


def _check_addresses(errors: Errors, status: Status, addresses: list[Status], field: str) -> None:
    path = f"status.{field}"
    ips = [address.get("ip", "") for address in addresses]
    if field == "hostIPs" and status.get("hostIP", "") != ips[0]:
        errors.append(invalid_value(f"{path}[0].ip", ips[0], "must be equal to `hostIP`"))
    for i, ip in enumerate(ips):
        errors += texts(f"{path}[{i}]", ip, is_ip(ip))
    if len(ips) < 2:
        return
    families = {type(parse_ip(ip)) for ip in ips}
    if len(ips) > 2 or families != {ipaddress.IPv4Address, ipaddress.IPv6Address}:
        name = "PodIP" if field == "podIPs" else "HostIP"
        shown = ", ".join(f'core.{name}{{IP:"{ip}"}}' for ip in ips)
        detail = "may specify no more than one IP for each IP family"
        errors.append(invalid_value(path, GoSyntax(f"[]core.{name}{{{shown}}}"), detail))
    for i, ip in enumerate(ips):
        if ip in ips[:i]:
            name = "PodIP" if field == "podIPs" else "HostIP"
            errors.append(duplicate(f"{path}[{i}]", GoSyntax(f'core.{name}{{IP:"{ip}"}}')))


def _check_user(errors: Errors, user: Status, spec: Status, path: str) -> None:
    linux = user.get("linux")
    if linux is None:
        return
    if (spec.get("os") or {}).get("name") == "windows":
        errors.append(field_forbidden(path, "cannot be set for a windows pod"))
        return
    check_id(errors, linux.get("uid"), f"{path}.uid")
    check_id(errors, linux.get("gid"), f"{path}.gid")
    for i, group in enumerate(linux.get("supplementalGroups") or ()):
        check_id(errors, group, f"{path}.supplementalGroups[{i}]")
