"""StorageObjectInUseProtection: volumes and claims have a finalizer from the start, which the controllers of
protection take away when nothing uses them any more.

https://kubernetes.io/docs/concepts/storage/persistent-volumes/#storage-object-in-use-protection
"""

from __future__ import annotations

from apiserver.admission.plugin import Mutates, concerns, new_object
from apiserver.types import AdmissionRequest

FINALIZERS = {
    "persistentvolumeclaims": "kubernetes.io/pvc-protection",
    "persistentvolumes": "kubernetes.io/pv-protection",
}


class StorageObjectInUseProtection(Mutates):
    name = "StorageObjectInUseProtection"

    def handles(self, request: AdmissionRequest) -> bool:
        return any(concerns(request, "", plural, ("CREATE",)) for plural in FINALIZERS)

    async def admit(self, request: AdmissionRequest) -> None:
        metadata = new_object(request)["metadata"]
        finalizer, present = FINALIZERS[request.resource.plural], metadata.get("finalizers") or []
        if finalizer not in present:
            metadata["finalizers"] = [*present, finalizer]
