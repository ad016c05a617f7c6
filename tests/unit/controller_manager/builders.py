"""Small objects for tests."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from lightkube.resources.apps_v1 import Deployment, ReplicaSet
from lightkube.resources.core_v1 import Node, Pod, Service

START = datetime(2026, 1, 1, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def metadata(name: str, **extra: Any) -> dict[str, Any]:
    base = {"name": name, "namespace": "default", "uid": f"uid-{name}", "creationTimestamp": "2026-01-01T00:00:00Z"}
    return {**base, **extra}


def pod(
    name: str,
    *,
    node: str | None = "n1",
    phase: str = "Running",
    ready: bool = True,
    ready_at: float = 0,
    created: float = 0,
    ip: str | None = None,
    restarts: int = 0,
    deleting: bool = False,
    tolerations: list[dict[str, Any]] | None = None,
    ports: list[dict[str, Any]] | None = None,
    labels: dict[str, str] | None = None,
    **extra: Any,
) -> Pod:
    meta = metadata(name, labels=labels or {"app": "web"}, **extra)
    meta["creationTimestamp"] = at(created).isoformat()
    if deleting:
        meta["deletionTimestamp"] = at(created).isoformat()
    return Pod.from_dict(
        {
            "metadata": meta,
            "spec": {
                "nodeName": node,
                "containers": [{"name": "c", "ports": ports}],
                "tolerations": tolerations,
            },
            "status": {
                "phase": phase,
                "podIP": ip,
                "podIPs": [{"ip": ip}] if ip else None,
                "conditions": [
                    {
                        "type": "Ready",
                        "status": "True" if ready else "False",
                        "lastTransitionTime": at(ready_at).isoformat(),
                    }
                ],
                "containerStatuses": [
                    {"name": "c", "restartCount": restarts, "image": "", "imageID": "", "ready": ready}
                ],
            },
        }
    )


def service(name: str = "web", **spec: Any) -> Service:
    return Service.from_dict(
        {
            "metadata": metadata(name, labels={"app": "web"}),
            "spec": {
                "selector": {"app": "web"},
                "clusterIP": "10.96.0.9",
                "ipFamilies": ["IPv4"],
                "ports": [{"port": 80, "targetPort": 8080, "protocol": "TCP"}],
                **spec,
            },
        }
    )


def template(image: str = "web:1") -> dict[str, Any]:
    return {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": image}]}}


def deployment(replicas: int = 3, image: str = "web:1", **spec: Any) -> Deployment:
    return Deployment.from_dict(
        {
            "metadata": metadata("web", generation=1, annotations=spec.pop("annotations", {})),
            "spec": {
                "replicas": replicas,
                "selector": {"matchLabels": {"app": "web"}},
                "template": template(image),
                "progressDeadlineSeconds": 600,
                **spec,
            },
            "status": {"observedGeneration": 1},
        }
    )


def replica_set(name: str, image: str = "web:1", replicas: int = 0, created: float = 0, **extra: Any) -> ReplicaSet:
    status = extra.pop("status", {"replicas": replicas, "observedGeneration": 1})
    meta = metadata(name, generation=1, **extra)
    meta["creationTimestamp"] = at(created).isoformat()
    return ReplicaSet.from_dict(
        {
            "metadata": meta,
            "spec": {
                "replicas": replicas,
                "selector": {"matchLabels": {"app": "web"}},
                "template": template(image),
            },
            "status": status,
        }
    )


def node(name: str = "n1", ready: str | None = "True", **spec: Any) -> Node:
    conditions = [] if ready is None else [{"type": "Ready", "status": ready, "lastHeartbeatTime": START.isoformat()}]
    return Node.from_dict({"metadata": metadata(name), "spec": spec, "status": {"conditions": conditions}})
