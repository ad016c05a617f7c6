"""NodeMetrics and PodMetrics, lists and Tables of them. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from addons.metrics_server.storage import Usage
from common.api.quantity import format_quantity
from common.api.time import now_text, to_rfc3339

GROUP, VERSION = "metrics.k8s.io", "v1beta1"
API_VERSION = f"{GROUP}/{VERSION}"
Object = dict[str, Any]

_NAME = {"name": "Name", "type": "string", "format": "name", "description": "Name of the resource", "priority": 0}


def node_metrics(name: str, labels: Mapping[str, str], usage: Usage) -> Object:
    return {"metadata": _metadata(name, labels=labels), **_when(usage), "usage": _amounts(usage)}


def pod_metrics(namespace: str, name: str, labels: Mapping[str, str], containers: Mapping[str, Usage]) -> Object:
    """The time is that of the container that was looked at first."""
    first = min(containers.values(), key=lambda usage: usage.at)
    return {
        "metadata": _metadata(name, namespace, labels),
        **_when(first),
        "containers": [{"name": key, "usage": _amounts(usage)} for key, usage in sorted(containers.items())],
    }


def single(kind: str, obj: Object) -> Object:
    return {"kind": kind, "apiVersion": API_VERSION, **obj}


def listed(kind: str, items: Sequence[Object]) -> Object:
    return {"kind": f"{kind}List", "apiVersion": API_VERSION, "metadata": {}, "items": list(items)}


def table(kind: str, items: Sequence[Object], sums: Sequence[Usage], include: str, version: str) -> Object:
    """As ``kubectl get`` prints it. ``include``: what of each object its row carries (Metadata, Object or None)."""
    columns = [_NAME] if items else []
    for name in ("cpu", "memory", "Window") if items else ():
        format_ = "duration" if name == "Window" else "quantity"
        columns.append({"name": name, "type": "string", "format": format_, "description": "", "priority": 0})
    rows = []
    for item, usage in zip(items, sums, strict=True):
        amounts = _amounts(usage)
        row: Object = {"cells": [item["metadata"]["name"], amounts["cpu"], amounts["memory"], item["window"]]}
        if include == "Object":
            row["object"] = single(kind, item)
        elif include != "None":
            row["object"] = {
                "kind": "PartialObjectMetadata",
                "apiVersion": f"meta.k8s.io/{version}",
                "metadata": item["metadata"],
            }
        rows.append(row)
    return {
        "kind": "Table",
        "apiVersion": f"meta.k8s.io/{version}",
        "metadata": {},
        "columnDefinitions": columns,
        "rows": rows,
    }


def total(usages: Sequence[Usage]) -> Usage:
    return Usage(
        sum(usage.cpu for usage in usages), sum(usage.memory for usage in usages), usages[0].at, usages[0].window
    )


def _metadata(name: str, namespace: str = "", labels: Mapping[str, str] | None = None) -> Object:
    made: Object = {"name": name}
    if namespace:
        made["namespace"] = namespace
    made["creationTimestamp"] = now_text()
    if labels:
        made["labels"] = dict(labels)
    return made


def _when(usage: Usage) -> Object:
    return {"timestamp": to_rfc3339(datetime.fromtimestamp(usage.at, UTC)), "window": duration(usage.window)}


def _amounts(usage: Usage) -> dict[str, str]:
    return {
        "cpu": format_quantity(Decimal(usage.cpu).scaleb(-9)) if usage.cpu else "0",
        "memory": format_quantity(usage.memory, binary=True),
    }


def duration(seconds: float) -> str:
    """As Go writes a time.Duration: ``15.02s``, ``1m0.5s``."""
    milliseconds = round(seconds * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    text = f"{rest / 1000:.3f}".rstrip("0").rstrip(".") + "s"
    if hours:
        return f"{hours}h{minutes}m{text}"
    return f"{minutes}m{text}" if minutes else text


def api_versions() -> Object:
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group()]}


def api_group() -> Object:
    return {"kind": "APIGroup", "apiVersion": "v1", **_group()}


def _group() -> Object:
    version = {"groupVersion": API_VERSION, "version": VERSION}
    return {"name": GROUP, "versions": [version], "preferredVersion": version}


def resource_list() -> Object:
    resources = [
        {"name": name, "singularName": "", "namespaced": namespaced, "kind": kind, "verbs": ["get", "list"]}
        for name, namespaced, kind in (("nodes", False, "NodeMetrics"), ("pods", True, "PodMetrics"))
    ]
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": API_VERSION, "resources": resources}
