"""Nodes: defaults, what a write keeps, validation (upstream: ValidateNode, ValidateNodeUpdate and nodeStrategy)."""

from __future__ import annotations

import ipaddress
from typing import Any

import orjson

from apiserver.resources.checks import Errors, texts
from apiserver.resources.pods.names import label_value_problems
from apiserver.resources.pods.placement import EFFECTS, check_label_name
from apiserver.resources.pods.resources import check_amount
from apiserver.schema.gojson import syntax_error
from apiserver.types import Object
from common.api.names import is_cidr, parse_ip
from common.api.status import FieldError, GoSyntax, duplicate, field_forbidden, invalid_value, not_supported, required

Spec = dict[str, Any]

_INFO = (
    "machineID", "systemUUID", "bootID", "kernelVersion", "osImage", "containerRuntimeVersion", "kubeletVersion",
    "kubeProxyVersion", "operatingSystem", "architecture",
)  # fmt: skip
_CIDR_TEXT = 'node updates may not change podCIDR except from "" to valid'
_PROVIDER_TEXT = 'node updates may not change providerID except from "" to valid'


AVOID_PODS = "scheduler.alpha.kubernetes.io/preferAvoidPods"


def default_node(obj: Object) -> None:
    """What Go always writes of a node's status; and podCIDR and podCIDRs[0] are one field."""
    spec = obj.setdefault("spec", {})
    one, all_ = spec.get("podCIDR"), spec.get("podCIDRs")
    if one and (not all_ or all_[0] != one):
        spec["podCIDRs"] = [one]
    elif all_ and not one:
        spec["podCIDR"] = all_[0]
    status = obj.setdefault("status", {})
    status.setdefault("daemonEndpoints", {}).setdefault("kubeletEndpoint", {}).setdefault("Port", 0)
    info = status.setdefault("nodeInfo", {})
    for field in _INFO:
        info.setdefault(field, "")
    if status.get("capacity") and not status.get("allocatable"):
        status["allocatable"] = dict(status["capacity"])


def prepare_node(obj: Object) -> None:
    """Dynamic kubelet configuration is gone."""
    obj.setdefault("spec", {}).pop("configSource", None)


def keep_node(obj: Object, old: Object, subresource: str) -> None:
    """A node's status belongs to its /status once it exists; at registration the kubelet sends it along."""
    if subresource == "":
        if "status" in old:
            obj["status"] = old["status"]
        else:
            obj.pop("status", None)
        if (old.get("spec") or {}).get("configSource") is None:
            (obj.get("spec") or {}).pop("configSource", None)


def check_node(obj: Object) -> Errors:
    errors: Errors = []
    spec = obj.get("spec") or {}
    if avoided := (obj["metadata"].get("annotations") or {}).get(AVOID_PODS):
        _check_avoided(errors, avoided)
    _check_taints(errors, spec.get("taints") or ())
    _check_resources(errors, obj)
    if cidrs := spec.get("podCIDRs"):
        _check_ranges(errors, cidrs)
    return errors


def _check_avoided(errors: Errors, text: str) -> None:
    """The annotation has been without effect for long, but is checked still (ValidateAvoidPodsInNodeAnnotations)."""
    try:
        entries = orjson.loads(text).get("preferAvoidPods") or ()
        controllers = [(entry.get("podSignature") or {}).get("podController") for entry in entries]
    except ValueError:
        errors.append(invalid_value("metadata.annotations.AvoidPods", AVOID_PODS, syntax_error(text.encode())))
        return
    except AttributeError:
        errors.append(invalid_value("metadata.annotations.AvoidPods", AVOID_PODS, "json: cannot unmarshal"))
        return
    for i, controller in enumerate(controllers):
        at = f"metadata.annotations.{AVOID_PODS}[{i}].PodSignature"
        if controller is None:
            errors.append(required(at))
        elif not controller.get("controller"):
            errors.append(invalid_value(f"{at}.PodController.Controller", False, "must point to a controller"))


def _check_taints(errors: Errors, taints: Any) -> None:
    """The path is upstream's, though taints are no metadata."""
    seen: set[tuple[str, str]] = set()
    for i, taint in enumerate(taints):
        path = f"metadata.taints[{i}]"
        key, value, effect = taint.get("key", ""), taint.get("value", ""), taint.get("effect", "")
        check_label_name(errors, key, f"{path}.key")
        if problems := label_value_problems(value):
            errors.append(invalid_value(f"{path}.value", value, ";".join(problems)))
        if not effect:
            errors.append(required(f"{path}.effect"))
        elif effect not in EFFECTS:
            errors.append(not_supported(f"{path}.effect", effect, EFFECTS))
        if (key, effect) in seen:
            shown = GoSyntax(f'core.Taint{{Key:"{key}", Value:"{value}", Effect:"{effect}", TimeAdded:<nil>}}')
            detail = "taints must be unique by key and effect pair"
            errors.append(FieldError("FieldValueDuplicate", path, detail, shown))
        seen.add((key, effect))


def _check_resources(errors: Errors, obj: Object) -> None:
    status = obj.get("status") or {}
    for field in ("capacity", "allocatable"):
        for name, amount in (status.get(field) or {}).items():
            check_amount(errors, name, amount, f"status.{field}.{name}")


def _check_ranges(errors: Errors, cidrs: list[str]) -> None:
    path = "spec.podCIDRs"
    for i, cidr in enumerate(cidrs):
        errors += texts(f"{path}[{i}]", cidr, is_cidr(cidr))
    if len(cidrs) < 2:
        return
    families = {type(parse_ip(cidr.partition("/")[0])) for cidr in cidrs}
    if len(cidrs) > 2 or families != {ipaddress.IPv4Address, ipaddress.IPv6Address}:
        errors.append(invalid_value(path, cidrs, "may specify no more than one CIDR for each IP family"))
    for i, cidr in enumerate(cidrs):
        if cidr in cidrs[:i]:
            errors.append(duplicate(f"{path}[{i}]", cidr))


def check_node_update(obj: Object, old: Object) -> Errors:
    errors: Errors = []
    spec, before = obj.get("spec") or {}, old.get("spec") or {}
    _check_resources(errors, obj)
    seen: list[Spec] = []
    for i, address in enumerate((obj.get("status") or {}).get("addresses") or ()):
        if address in seen:
            kind, value = address.get("type", ""), address.get("address", "")
            shown = GoSyntax(f'core.NodeAddress{{Type:"{kind}", Address:"{value}"}}')
            errors.append(duplicate(f"status.addresses[{i}]", shown))
        seen.append(address)
    had, has = before.get("podCIDRs") or [], spec.get("podCIDRs") or []
    if had and len(had) != len(has):
        errors.append(field_forbidden("spec.podCIDRs", _CIDR_TEXT))
    elif had:
        errors += [field_forbidden("spec.podCIDRs", _CIDR_TEXT) for a, b in zip(had, has, strict=True) if a != b]
    if before.get("providerID") and spec.get("providerID") != before["providerID"]:
        errors.append(field_forbidden("spec.providerID", _PROVIDER_TEXT))
    _check_taints(errors, spec.get("taints") or ())
    if spec.get("externalID", "") != before.get("externalID", ""):
        errors.append(field_forbidden("spec.externalID", "may not be updated"))
    return errors
