"""DefaultStorageClass: a claim that names no class gets the one marked as default, if there is one."""

from __future__ import annotations

from collections.abc import Iterable

from apiserver.admission.plugin import Mutates, concerns, new_object
from apiserver.types import AdmissionRequest, Object, Registry

IS_DEFAULT = ("storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class")
BETA_CLASS = "volume.beta.kubernetes.io/storage-class"


def default_storage_class(classes: Iterable[Object]) -> str | None:
    """The default's name; of several the newest, then the first by name."""

    def is_default(storage_class: Object) -> bool:
        annotations = storage_class["metadata"].get("annotations") or {}
        return any(annotations.get(key) == "true" for key in IS_DEFAULT)

    by_name = sorted((c["metadata"] for c in classes if is_default(c)), key=lambda m: str(m["name"]))
    newest = max(by_name, key=lambda m: str(m.get("creationTimestamp") or ""), default=None)
    return newest["name"] if newest else None


class DefaultStorageClass(Mutates):
    name = "DefaultStorageClass"

    def __init__(self, registry: Registry) -> None:
        self._store = registry.store("storage.k8s.io", "storageclasses")

    def handles(self, request: AdmissionRequest) -> bool:
        return concerns(request, "", "persistentvolumeclaims", ("CREATE",))

    async def admit(self, request: AdmissionRequest) -> None:
        claim = new_object(request)
        spec = claim.setdefault("spec", {})
        annotations = claim["metadata"].get("annotations") or {}
        if spec.get("storageClassName") is not None or BETA_CLASS in annotations:
            return
        if name := default_storage_class(self._store.cached_list()):
            spec["storageClassName"] = name
