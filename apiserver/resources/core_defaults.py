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
        client = (spec.get("sessionAffinityConfig") or {}).get("clientIP") or {}
        if client.get("timeoutSeconds") is None:
            spec["sessionAffinityConfig"] = {"clientIP": {"timeoutSeconds": AFFINITY_SECONDS}}
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


def prepare_service(obj: Object) -> None:
    obj["status"] = {"loadBalancer": {}}
    unite_cluster_ips(obj.setdefault("spec", {}), {})


def keep_service(obj: Object, old: Object, subresource: str) -> None:
    if subresource == "":
        unite_cluster_ips(obj.setdefault("spec", {}), old.get("spec") or {})


def unite_cluster_ips(spec: Object, before: Object) -> None:
    """clusterIP and clusterIPs[0] are one field: whichever the client changed, the other follows.

    Upstream: normalizeClusterIPs. A client that knows the older field alone clears or changes both by it.
    """
    ip, ips = spec.get("clusterIP") or "", spec.get("clusterIPs") or []
    if not before:
        if ip and not ips:
            spec["clusterIPs"] = [ip]
        return
    was, had = before.get("clusterIP") or "", before.get("clusterIPs") or []
    if was and not ip and ips[:1] == [was]:
        spec.pop("clusterIPs", None)
    elif (not was and ip and not ips) or (was and ip and was != ip and ips == had):
        spec["clusterIPs"] = [ip]


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
    """Finalizers of the spec change through /finalize alone, and that leaves the status."""
    if subresource == "finalize":
        obj["status"] = old.get("status") or {}
        return
    finalizers = (old.get("spec") or {}).get("finalizers")
    obj["spec"] = {"finalizers": finalizers} if finalizers else {}


def default_endpoints(obj: Object) -> None:
    for subset in obj.get("subsets") or ():
        for port in subset.get("ports") or ():
            if not port.get("protocol"):
                port["protocol"] = "TCP"
