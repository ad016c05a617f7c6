"""A kind -> its URL. lightkube's classes carry what is needed; discovery gives it for kinds without a class."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
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

    @staticmethod
    @lru_cache(maxsize=256)
    def of(kind: type[Any]) -> ResourceInfo:
        """Of a class of ``lightkube.resources``."""
        info = kind._api_info
        return ResourceInfo(
            info.resource.group,
            info.resource.version,
            info.plural,
            info.resource.kind,
            issubclass(kind, NamespacedResource),
            tuple(info.verbs),
        )
