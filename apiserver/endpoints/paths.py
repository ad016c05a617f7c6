"""What a URL means (upstream: RequestInfo).

https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-uris
"""

from __future__ import annotations

from dataclasses import dataclass

from common.remember import remembered

NAMESPACE_SUBRESOURCES = frozenset({"status", "finalize"})


@dataclass(frozen=True, slots=True)
class ResourcePath:
    """A path below a group version. ``resource`` is "" for the group version itself."""

    group: str
    version: str
    namespace: str = ""
    resource: str = ""
    name: str = ""
    subresource: str = ""
    rest: str = ""
    watch: bool = False
    """The old ``/api/v1/watch/…`` form."""


@remembered(4096)
def parse(path: str) -> ResourcePath | None:
    """None for what is not below ``/api/v1`` or ``/apis/<group>/<version>``."""
    parts = path.strip("/").split("/")
    if parts[0] == "api" and len(parts) >= 2:
        group, version, parts = "", parts[1], parts[2:]
    elif parts[0] == "apis" and len(parts) >= 3:
        group, version, parts = parts[1], parts[2], parts[3:]
    else:
        return None
    watch = len(parts) > 1 and parts[0] == "watch"
    if watch:
        parts = parts[1:]
    if not parts or "" in parts[:3]:
        return ResourcePath(group, version) if not parts else None
    namespace = ""
    if parts[0] == "namespaces" and len(parts) > 2 and parts[2] not in NAMESPACE_SUBRESOURCES:
        namespace, parts = parts[1], parts[2:]
    elif parts[0] == "namespaces" and len(parts) > 1 and group == "":
        namespace = parts[1]
    parts += [""] * (3 - len(parts))
    rest = "/".join(parts[3:])
    if rest and path.endswith("/"):
        rest += "/"  # to whom a request is passed on, it makes a difference
    return ResourcePath(group, version, namespace, parts[0], parts[1], parts[2], rest, watch)
