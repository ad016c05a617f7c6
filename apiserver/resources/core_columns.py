"""Printer columns of the core group's kinds beside pods."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from apiserver.resources.columns import (
    AGE,
    NAME,
    NONE,
    UNKNOWN,
    cell,
    dig,
    map_text,
    name_of,
    since,
    text,
)
from apiserver.types import Column, Object

UNSET = "<unset>"
SHOWN = 3
_MODES = {"ReadWriteOnce": "RWO", "ReadOnlyMany": "ROX", "ReadWriteMany": "RWX", "ReadWriteOncePod": "RWOP"}
_ROLE_PREFIX = "node-role.kubernetes.io/"


def count(name: str, *fields: str, type: str = "string") -> Column:
    """How many entries some maps or lists have in all."""
    return cell(name, lambda o: sum(len(o.get(f) or ()) for f in fields), type=type)


def shortened(items: Sequence[str], limit: int = SHOWN, total: int | None = None) -> str:
    """The first few, and how many more there are."""
    more = (len(items) if total is None else total) - limit
    return ",".join(items[:limit]) + (f" + {more} more..." if more > 0 else "")


def _node_status(node: Object) -> str:
    ready = next((c for c in dig(node, "status", "conditions") or () if c.get("type") == "Ready"), None)
    words = ["Unknown" if ready is None else "Ready" if ready.get("status") == "True" else "NotReady"]
    if dig(node, "spec", "unschedulable"):
        words.append("SchedulingDisabled")
    return ",".join(words)


def _roles(node: Object) -> str:
    roles = set()
    for key, value in (dig(node, "metadata", "labels") or {}).items():
        if key.startswith(_ROLE_PREFIX) and key != _ROLE_PREFIX:
            roles.add(key.removeprefix(_ROLE_PREFIX))
        elif key == "kubernetes.io/role" and value:
            roles.add(value)
    return ",".join(sorted(roles)) or NONE


def _address(kind: str) -> Any:
    def shown(node: Object) -> str:
        addresses = dig(node, "status", "addresses") or ()
        return next((a.get("address") for a in addresses if a.get("type") == kind), NONE)

    return shown


_INFO = ("status", "nodeInfo")
NODE = (
    NAME,
    cell("Status", _node_status),
    cell("Roles", _roles),
    AGE,
    text("Version", *_INFO, "kubeletVersion"),
    cell("Internal-IP", _address("InternalIP"), priority=1),
    cell("External-IP", _address("ExternalIP"), priority=1),
    text("OS-Image", *_INFO, "osImage", priority=1, empty=UNKNOWN),
    text("Kernel-Version", *_INFO, "kernelVersion", priority=1, empty=UNKNOWN),
    text("Container-Runtime", *_INFO, "containerRuntimeVersion", priority=1, empty=UNKNOWN),
)


def load_balancer_text(ingress: Iterable[dict[str, Any]] | None) -> str:
    return ",".join(dict.fromkeys(sorted(i.get("ip") or i.get("hostname") or "" for i in ingress or ())))


def _external_ip(service: Object) -> str:
    spec = service.get("spec") or {}
    ips = ",".join(spec.get("externalIPs") or ())
    match spec.get("type"):
        case "ExternalName":
            return str(spec.get("externalName", ""))
        case "LoadBalancer":
            balanced = load_balancer_text(dig(service, "status", "loadBalancer", "ingress"))
            return ",".join(filter(None, (balanced, ips))) or "<pending>"
        case "ClusterIP" | "NodePort":
            return ips or NONE
    return UNKNOWN


def _ports(service: Object) -> str:
    parts = []
    for port in dig(service, "spec", "ports") or ():
        number = f"{port.get('port')}:{port['nodePort']}" if port.get("nodePort") else str(port.get("port"))
        parts.append(f"{number}/{port.get('protocol', 'TCP')}")
    return ",".join(parts) or NONE


def _cluster_ip(service: Object) -> str:
    ips = dig(service, "spec", "clusterIPs") or ()
    return (ips[0] if ips else dig(service, "spec", "clusterIP")) or NONE


SERVICE = (
    NAME,
    text("Type", "spec", "type"),
    cell("Cluster-IP", _cluster_ip),
    cell("External-IP", _external_ip),
    cell("Port(s)", _ports),
    AGE,
    cell("Selector", lambda o: map_text(dig(o, "spec", "selector")), priority=1),
)


def _endpoints(obj: Object) -> str:
    listed: list[str] = []
    for subset in obj.get("subsets") or ():
        addresses = [a.get("ip", "") for a in subset.get("addresses") or ()]
        ports = subset.get("ports") or ()
        if not ports:
            listed += addresses
        listed += [
            f"[{ip}]:{p.get('port')}" if ":" in ip else f"{ip}:{p.get('port')}" for p in ports for ip in addresses
        ]
    return shortened(listed) if obj.get("subsets") else NONE


ENDPOINTS = (NAME, cell("Endpoints", _endpoints), AGE)


def first_seen(event: Object) -> str:
    return since(event.get("firstTimestamp") or event.get("eventTime"))


def last_seen(event: Object) -> str:
    series = event.get("series")
    if series:
        return since(series.get("lastObservedTime"))
    last = event.get("lastTimestamp")
    return since(last) if last else first_seen(event)


def _event_count(event: Object) -> int:
    series = event.get("series")
    return int((series or {}).get("count", 0)) if series else int(event.get("count") or 1)


def _event_object(event: Object) -> str:
    about = event.get("involvedObject") or {}
    kind = str(about.get("kind", "")).lower()
    return f"{kind}/{about['name']}" if about.get("name") else kind


def _event_source(event: Object) -> str:
    source = event.get("source") or {}
    component = source.get("component") or event.get("reportingComponent") or ""
    host = source.get("host") or event.get("reportingInstance") or ""
    return f"{component}, {host}" if host else str(component)


EVENT = (
    cell("Last Seen", last_seen),
    text("Type", "type"),
    text("Reason", "reason"),
    cell("Object", _event_object),
    text("Subobject", "involvedObject", "fieldPath", priority=1),
    cell("Source", _event_source, priority=1),
    cell("Message", lambda e: (e.get("message") or "").strip()),
    cell("First Seen", first_seen, priority=1),
    cell("Count", _event_count, priority=1),
    Column("Name", "string", name_of, 1, format="name"),
)


def _modes(modes: Iterable[str] | None) -> str:
    return ",".join(_MODES[m] for m in _MODES if m in set(modes or ()))


def _phase(obj: Object) -> str:
    return "Terminating" if dig(obj, "metadata", "deletionTimestamp") else dig(obj, "status", "phase") or ""


def _claim(volume: Object) -> str:
    ref = dig(volume, "spec", "claimRef")
    return f"{ref.get('namespace', '')}/{ref.get('name', '')}" if ref else ""


def _class(obj: Object) -> str:
    beta = dig(obj, "metadata", "annotations", "volume.beta.kubernetes.io/storage-class")
    return str(beta if beta is not None else dig(obj, "spec", "storageClassName") or "")


_ATTRIBUTES = text("VolumeAttributesClass", "spec", "volumeAttributesClassName", empty=UNSET)
_VOLUME_MODE = text("VolumeMode", "spec", "volumeMode", priority=1, empty=UNSET)
PERSISTENT_VOLUME = (
    NAME,
    text("Capacity", "spec", "capacity", "storage"),
    cell("Access Modes", lambda o: _modes(dig(o, "spec", "accessModes"))),
    text("Reclaim Policy", "spec", "persistentVolumeReclaimPolicy"),
    cell("Status", _phase),
    cell("Claim", _claim),
    cell("StorageClass", _class),
    _ATTRIBUTES,
    text("Reason", "status", "reason"),
    AGE,
    _VOLUME_MODE,
)


def _if_bound(show: Any) -> Any:
    return lambda claim: show(claim) if dig(claim, "spec", "volumeName") else ""


PERSISTENT_VOLUME_CLAIM = (
    NAME,
    cell("Status", _phase),
    text("Volume", "spec", "volumeName"),
    cell("Capacity", _if_bound(lambda o: dig(o, "status", "capacity", "storage") or "")),
    cell("Access Modes", _if_bound(lambda o: _modes(dig(o, "status", "accessModes")))),
    cell("StorageClass", _class),
    _ATTRIBUTES,
    AGE,
    _VOLUME_MODE,
)


def _quota(limits: bool) -> Any:
    def shown(quota: Object) -> str:
        used = dig(quota, "status", "used") or {}
        hard = dig(quota, "status", "hard") or {}
        return ", ".join(
            f"{name}: {used.get(name, 0)}/{hard[name]}" for name in sorted(hard) if name.startswith("limits") is limits
        )

    return shown


RESOURCE_QUOTA = (NAME, cell("Request", _quota(False)), cell("Limit", _quota(True)), AGE)


def _healthy(key: str) -> Any:
    """Of a ComponentStatus: what its condition says."""

    def shown(status: Object) -> str:
        for condition in status.get("conditions") or ():
            if condition.get("type") == "Healthy":
                if key != "status":
                    return str(condition.get(key) or "")
                return {"True": "Healthy", "False": "Unhealthy"}.get(condition["status"], "Unknown")
        return "Unknown" if key == "status" else ""

    return shown


COMPONENT_STATUS = (
    NAME,
    cell("Status", _healthy("status")),
    cell("Message", _healthy("message")),
    cell("Error", _healthy("error")),
)
NAMESPACE = (NAME, text("Status", "status", "phase"), AGE)
CONFIG_MAP = (NAME, count("Data", "data", "binaryData"), AGE)
SECRET = (NAME, text("Type", "type"), count("Data", "data"), AGE)
SERVICE_ACCOUNT = (NAME, count("Secrets", "secrets"), AGE)
