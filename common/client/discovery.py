"""What the server serves: https://kubernetes.io/docs/concepts/overview/kubernetes-api/#discovery-api"""

from __future__ import annotations

from typing import Any

import orjson

from common.client.resources import ResourceInfo
from common.client.typed import Client

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"


async def discover(client: Client) -> list[ResourceInfo]:
    """All resources (no subresources), each in its group's preferred version. Two requests."""
    found: list[ResourceInfo] = []
    for root in ("/api", "/apis"):
        document = orjson.loads(await client.dynamic.send("GET", root, accept=AGGREGATED))
        for group in document.get("items") or ():
            found += _preferred(group)
    return found


def _preferred(group: dict[str, Any]) -> list[ResourceInfo]:
    name = (group.get("metadata") or {}).get("name", "")
    seen: dict[str, ResourceInfo] = {}
    for version in group.get("versions") or ():  # in order of preference
        for resource in version.get("resources") or ():
            plural = resource["resource"]
            seen.setdefault(
                plural,
                ResourceInfo(
                    group=name,
                    version=version["version"],
                    plural=plural,
                    kind=resource["responseKind"]["kind"],
                    namespaced=resource["scope"] == "Namespaced",
                    verbs=tuple(resource["verbs"]),
                ),
            )
    return list(seen.values())
