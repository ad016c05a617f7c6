"""PersistentVolumeClaimResize: a claim grows only when it is bound and its class allows that.

https://kubernetes.io/docs/concepts/storage/persistent-volumes/#expanding-persistent-volumes-claims
"""

from __future__ import annotations

from apiserver.admission.default_storage_class import BETA_CLASS
from apiserver.admission.plugin import Refuses, concerns, new_object, refuse
from apiserver.types import AdmissionRequest, Object, Registry
from common.api.quantity import parse_quantity


def storage_class(claim: Object) -> str:
    annotations = claim["metadata"].get("annotations") or {}
    return str(annotations.get(BETA_CLASS) or (claim.get("spec") or {}).get("storageClassName") or "")


def grows(claim: Object, old: Object) -> bool:
    """Amounts that are none are for validation to refuse."""
    new_size, size = (
        (((c.get("spec") or {}).get("resources") or {}).get("requests") or {}).get("storage", "0") for c in (claim, old)
    )
    return new_size != size and parse_quantity(new_size) > parse_quantity(size)


class PersistentVolumeClaimResize(Refuses):
    name = "PersistentVolumeClaimResize"

    def __init__(self, registry: Registry) -> None:
        self._store = registry.store("storage.k8s.io", "storageclasses")

    def handles(self, request: AdmissionRequest) -> bool:
        return concerns(request, "", "persistentvolumeclaims", ("UPDATE",))

    async def validate(self, request: AdmissionRequest) -> None:
        claim, old = new_object(request), request.old_object
        if old is None or not grows(claim, old):
            return
        if (old.get("status") or {}).get("phase") != "Bound":
            raise refuse(request, "Only bound persistent volume claims can be expanded")
        name = storage_class(claim)
        if not name or name != storage_class(old) or not self._expands(name):
            text = "only dynamically provisioned pvc can be resized and "
            raise refuse(request, text + "the storageclass that provisions the pvc must support resize")

    def _expands(self, name: str) -> bool:
        classes = self._store.cached_list()
        return any(c.get("allowVolumeExpansion") for c in classes if c["metadata"]["name"] == name)
