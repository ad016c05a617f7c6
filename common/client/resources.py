"""A kind -> its URL. lightkube's classes carry what is needed; discovery gives it for kinds without a class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lightkube.core.resource import NamespacedResource


@dataclass(frozen=True)
class ResourceInfo:
    """What discovery says of one resource."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool
    verbs: tuple[str, ...] = ()

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str | None = None, name: str | None = None, subresource: str | None = None) -> str:
        """``/apis/apps/v1/namespaces/default/deployments/web/status``. No namespace: all of them."""
        parts = ["/apis", self.group, self.version] if self.group else ["/api", self.version]
        if namespace and self.namespaced:
            parts += ["namespaces", namespace]
        parts.append(self.plural)
        if name:
            parts.append(name)
        if subresource:
            parts.append(subresource)
        return "/".join(parts)

    @classmethod
    def of(cls, kind: type[Any]) -> ResourceInfo:
        """Of a class of ``lightkube.resources``."""
        known = _known.get(kind)
        if known is None:
            info = kind._api_info
            resource = info.resource
            namespaced = issubclass(kind, NamespacedResource)
            known = cls(resource.group, resource.version, info.plural, resource.kind, namespaced, tuple(info.verbs))
            _known[kind] = known
        return known


_known: dict[type[Any], ResourceInfo] = {}
"""Answers of ResourceInfo.of: as many as there are classes."""
