"""Defaults of the core group's kinds beside pods (upstream: pkg/apis/core/v1/defaults.go)."""

from __future__ import annotations

import base64

from apiserver.types import Object

AFFINITY_SECONDS = 10_800
NAME_LABEL = "kubernetes.io/metadata.name"


def default_service(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    if not spec.get("sessionAffinity"):
        spec["sessionAffinity"] = "None"
    if spec["sessionAffinity"] == "None":
        spec.pop("sessionAffinityConfig", None)
    elif spec["sessionAffinity"] == "ClientIP":
        config = spec.setdefault("sessionAffinityConfig", {}).setdefault("clientIP", {})
        config.setdefault("timeoutSeconds", AFFINITY_SECONDS)
    if not spec.get("type"):
        spec["type"] = "ClusterIP"
    for port in spec.get("ports") or ():
        if not port.get("protocol"):
            port["protocol"] = "TCP"
        if not port.get("targetPort") and "port" in port:
            port["targetPort"] = port["port"]
    _default_traffic(spec)
    obj.setdefault("status", {}).setdefault("loadBalancer", {})
    if spec["type"] == "LoadBalancer":
        for ingress in obj["status"]["loadBalancer"].get("ingress") or ():
            if ingress.get("ip"):
                ingress.setdefault("ipMode", "VIP")


def _default_traffic(spec: Object) -> None:
    kind = spec["type"]
    external = kind in ("NodePort", "LoadBalancer") or (kind == "ClusterIP" and spec.get("externalIPs"))
    if external and not spec.get("externalTrafficPolicy"):
        spec["externalTrafficPolicy"] = "Cluster"
    if kind in ("ClusterIP", "NodePort", "LoadBalancer"):
        spec.setdefault("internalTrafficPolicy", "Cluster")
    if kind == "LoadBalancer":
        spec.setdefault("allocateLoadBalancerNodePorts", True)


def default_secret(obj: Object) -> None:
    """stringData is write-only: it is merged into data and never stored."""
    if not obj.get("type"):
        obj["type"] = "Opaque"
    plain = obj.pop("stringData", None)
    if plain:
        encoded = {key: base64.b64encode(value.encode()).decode() for key, value in plain.items()}
        obj["data"] = {**(obj.get("data") or {}), **encoded}


def default_namespace(obj: Object) -> None:
    metadata = obj.setdefault("metadata", {})
    name = metadata.get("name")
    if name:
        metadata["labels"] = {**(metadata.get("labels") or {}), NAME_LABEL: name}
    status = obj.setdefault("status", {})
    if not status.get("phase"):
        status["phase"] = "Active"


def prepare_namespace(obj: Object) -> None:
    """A new namespace is active and its content belongs to the ``kubernetes`` finalizer."""
    obj["status"] = {"phase": "Active"}
    finalizers = obj.setdefault("spec", {}).setdefault("finalizers", [])
    if "kubernetes" not in finalizers:
        finalizers.append("kubernetes")


def keep_namespace(obj: Object, old: Object, subresource: str) -> None:
    """Finalizers of the spec change through /finalize alone."""
    finalizers = (old.get("spec") or {}).get("finalizers")
    if subresource in ("", "status"):
        obj["spec"] = {"finalizers": finalizers} if finalizers else {}


def default_node(obj: Object) -> None:
    obj.setdefault("spec", {})
    status = obj.get("status") or {}
    if status.get("capacity") and not status.get("allocatable"):
        status["allocatable"] = dict(status["capacity"])


def default_endpoints(obj: Object) -> None:
    for subset in obj.get("subsets") or ():
        for port in subset.get("ports") or ():
            if not port.get("protocol"):
                port["protocol"] = "TCP"


def default_volume(obj: Object) -> None:
    """PersistentVolume."""
    spec = obj.setdefault("spec", {})
    if not spec.get("persistentVolumeReclaimPolicy"):
        spec["persistentVolumeReclaimPolicy"] = "Retain"
    spec.setdefault("volumeMode", "Filesystem")
    if (host_path := spec.get("hostPath")) is not None:
        host_path.setdefault("type", "")
    status = obj.setdefault("status", {})
    if not status.get("phase"):
        status["phase"] = "Pending"


def default_limit_range(obj: Object) -> None:
    for item in (obj.get("spec") or {}).get("limits") or ():
        if item.get("type") != "Container":
            continue
        limits = {**(item.get("max") or {}), **(item.get("default") or {})}
        requests = {**(item.get("min") or {}), **limits, **(item.get("defaultRequest") or {})}
        if limits:
            item["default"] = limits
        if requests:
            item["defaultRequest"] = requests


def default_event(obj: Object) -> None:
    obj.setdefault("source", {})
    obj.setdefault("reportingComponent", "")
    obj.setdefault("reportingInstance", "")


def keep_node(obj: Object, old: Object, subresource: str) -> None:
    """A node's status belongs to its /status once it exists; at registration the kubelet sends it along."""
    if subresource == "":
        if "status" in old:
            obj["status"] = old["status"]
        else:
            obj.pop("status", None)
