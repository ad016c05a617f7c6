"""Printer columns of the other groups' kinds."""

from __future__ import annotations

from typing import Any

from apiserver.resources.columns import AGE, CREATED_AT, NAME, NONE, cell, dig, human_duration, selector_text, text
from apiserver.resources.core_columns import UNSET, count, load_balancer_text, shortened
from apiserver.types import Column, Object


def _hosts(ingress: Object) -> str:
    hosts = [r["host"] for r in dig(ingress, "spec", "rules") or () if r.get("host")]
    return shortened(hosts) if hosts else "*"


INGRESS = (
    NAME,
    text("Class", "spec", "ingressClassName", empty=NONE),
    cell("Hosts", _hosts),
    cell("Address", lambda o: load_balancer_text(dig(o, "status", "loadBalancer", "ingress"))),
    cell("Ports", lambda o: "80, 443" if dig(o, "spec", "tls") else "80"),
    AGE,
)


def _parameters(obj: Object) -> str:
    ref = dig(obj, "spec", "parameters")
    if not ref:
        return NONE
    group = f".{ref['apiGroup']}" if ref.get("apiGroup") else ""
    return f"{ref.get('kind')}{group}/{ref.get('name')}"


INGRESS_CLASS = (NAME, text("Controller", "spec", "controller"), cell("Parameters", _parameters), AGE)
NETWORK_POLICY = (NAME, cell("Pod-Selector", lambda o: selector_text(dig(o, "spec", "podSelector"))), AGE)


def _subjects(kind: str) -> Any:
    def shown(binding: Object) -> str:
        found = [s for s in binding.get("subjects") or () if s.get("kind") == kind]
        if kind == "ServiceAccount":
            return ", ".join(f"{s.get('namespace', '')}/{s.get('name')}" for s in found)
        return ", ".join(str(s.get("name")) for s in found)

    return shown


ROLE = (NAME, CREATED_AT)
ROLE_BINDING = (
    NAME,
    cell("Role", lambda o: f"{dig(o, 'roleRef', 'kind')}/{dig(o, 'roleRef', 'name')}"),
    AGE,
    cell("Users", _subjects("User"), priority=1),
    cell("Groups", _subjects("Group"), priority=1),
    cell("ServiceAccounts", _subjects("ServiceAccount"), priority=1),
)


def _class_name(storage_class: Object) -> str:
    annotations = dig(storage_class, "metadata", "annotations") or {}
    default = any(annotations.get(f"storageclass.{v}kubernetes.io/is-default-class") == "true" for v in ("", "beta."))
    return f"{dig(storage_class, 'metadata', 'name')}{' (default)' if default else ''}"


STORAGE_CLASS = (
    Column("Name", "string", _class_name, format="name"),
    text("Provisioner", "provisioner"),
    text("ReclaimPolicy", "reclaimPolicy", empty="Delete"),
    text("VolumeBindingMode", "volumeBindingMode", empty="Immediate"),
    cell("AllowVolumeExpansion", lambda o: bool(o.get("allowVolumeExpansion"))),
    AGE,
)
VOLUME_ATTACHMENT = (
    Column("Name", "string", lambda o: dig(o, "metadata", "name"), format="name"),
    Column("Attacher", "string", lambda o: dig(o, "spec", "attacher"), format="name"),
    text("PV", "spec", "source", "persistentVolumeName"),
    text("Node", "spec", "nodeName"),
    cell("Attached", lambda o: bool(dig(o, "status", "attached")), type="boolean"),
    AGE,
)


def _flag(name: str, field: str, default: bool = False) -> Column:
    def shown(obj: Object) -> bool:
        value = dig(obj, "spec", field)
        return default if value is None else bool(value)

    return cell(name, shown, type="boolean")


def _token_requests(driver: Object) -> str:
    requests = dig(driver, "spec", "tokenRequests")
    return ",".join(str(r.get("audience", "")) for r in requests) if requests else UNSET


CSI_DRIVER = (
    NAME,
    _flag("AttachRequired", "attachRequired", True),
    _flag("PodInfoOnMount", "podInfoOnMount"),
    _flag("StorageCapacity", "storageCapacity"),
    cell("TokenRequests", _token_requests),
    _flag("RequiresRepublish", "requiresRepublish"),
    cell("Modes", lambda o: ",".join(dig(o, "spec", "volumeLifecycleModes") or ()) or NONE),
    AGE,
)
CSI_NODE = (NAME, cell("Drivers", lambda o: len(dig(o, "spec", "drivers") or ()), type="integer"), AGE)
CSI_STORAGE_CAPACITY = (NAME, text("StorageClassName", "storageClassName"), text("Capacity", "capacity"))


PRIORITY_CLASS = (
    NAME,
    cell("Value", lambda o: o.get("value", 0), type="integer"),
    cell("Global-Default", lambda o: bool(o.get("globalDefault")), type="boolean"),
    AGE,
    text("PreemptionPolicy", "preemptionPolicy"),
)
LEASE = (NAME, text("Holder", "spec", "holderIdentity"), AGE)
RUNTIME_CLASS = (NAME, text("Handler", "handler"), AGE)


def _slice_ports(obj: Object) -> str:
    ports = [str(p.get("name", "*") if p.get("port") is None else p["port"]) for p in obj.get("ports") or ()]
    return shortened(ports) if ports else UNSET


def _slice_endpoints(obj: Object) -> str:
    addresses = [a for e in obj.get("endpoints") or () for a in e.get("addresses") or ()]
    return shortened(addresses) if addresses else UNSET


ENDPOINT_SLICE = (
    NAME,
    text("AddressType", "addressType"),
    cell("Ports", _slice_ports),
    cell("Endpoints", _slice_endpoints),
    AGE,
)


def _request_condition(request: Object) -> str:
    conditions = dig(request, "status", "conditions") or ()
    kinds = {c.get("type") for c in conditions}
    words = [next((k for k in ("Denied", "Approved") if k in kinds), "Pending")]
    if "Failed" in kinds:
        words.append("Failed")
    if dig(request, "status", "certificate"):
        words.append("Issued")
    return ",".join(words)


def _requested_duration(request: Object) -> str:
    seconds = dig(request, "spec", "expirationSeconds")
    return NONE if seconds is None else human_duration(seconds)


SIGNING_REQUEST = (
    NAME,
    AGE,
    text("SignerName", "spec", "signerName", empty=NONE),
    text("Requestor", "spec", "username"),
    cell("RequestedDuration", _requested_duration),
    cell("Condition", _request_condition),
)

WEBHOOKS = (NAME, count("Webhooks", "webhooks", type="integer"), AGE)


def _param_kind(policy: Object) -> str:
    kind = dig(policy, "spec", "paramKind")
    return f"{kind.get('apiVersion')}/{kind.get('kind')}" if kind else UNSET


def _param_ref(binding: Object) -> str:
    ref = dig(binding, "spec", "paramRef")
    if not ref:
        return UNSET
    name = ref.get("name") or "*"
    return f"{ref['namespace']}/{name}" if ref.get("namespace") else str(name)


ADMISSION_POLICY = (
    NAME,
    cell("Validations", lambda o: len(dig(o, "spec", "validations") or ()), type="integer"),
    cell("ParamKind", _param_kind),
    AGE,
)
ADMISSION_POLICY_BINDING = (NAME, text("PolicyName", "spec", "policyName"), cell("ParamRef", _param_ref), AGE)
DEFINITION = (NAME, CREATED_AT)


def _service(api_service: Object) -> str:
    ref = dig(api_service, "spec", "service")
    return f"{ref.get('namespace')}/{ref.get('name')}" if ref else "Local"


def _available(api_service: Object) -> str:
    for condition in dig(api_service, "status", "conditions") or ():
        if condition.get("type") == "Available":
            status = str(condition.get("status"))
            return status if status == "True" else f"{status} ({condition.get('reason')})"
    return "Unknown"


API_SERVICE = (NAME, cell("Service", _service), cell("Available", _available), AGE)
