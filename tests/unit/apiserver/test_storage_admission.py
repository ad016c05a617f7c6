"""Admission of volumes and claims."""

from __future__ import annotations

import pytest

from apiserver.admission.claim_resize import PersistentVolumeClaimResize
from apiserver.admission.storage_object_in_use_protection import StorageObjectInUseProtection
from common.api.status import Forbidden
from tests.unit.apiserver.fakes import MemoryRegistry, review


@pytest.mark.parametrize(
    ("plural", "before", "after"),
    [
        ("persistentvolumes", [], ["kubernetes.io/pv-protection"]),
        ("persistentvolumeclaims", ["a/b"], ["a/b", "kubernetes.io/pvc-protection"]),
        ("persistentvolumeclaims", ["kubernetes.io/pvc-protection"], ["kubernetes.io/pvc-protection"]),
    ],
)
async def test_volumes_are_protected_from_the_start(plural: str, before: list[str], after: list[str]) -> None:
    obj = {"metadata": {"name": "x", "finalizers": before}}
    request = review("CREATE", "", plural, obj)
    plugin = StorageObjectInUseProtection()
    assert plugin.handles(request)
    await plugin.admit(request)
    assert obj["metadata"]["finalizers"] == after
    assert not plugin.handles(review("UPDATE", "", plural, obj, old=obj))


@pytest.mark.parametrize(
    ("phase", "storage_class", "size", "refusal"),
    [
        ("Bound", "grows", "2Gi", ""),
        ("Bound", "grows", "1Gi", ""),
        ("Pending", "grows", "1024Mi", ""),
        ("Pending", "grows", "2Gi", "Only bound persistent volume claims can be expanded"),
        ("Bound", "stays", "2Gi", "only dynamically provisioned pvc can be resized"),
        ("Bound", "", "2Gi", "only dynamically provisioned pvc can be resized"),
    ],
)
async def test_claims_grow_where_their_class_lets_them(phase: str, storage_class: str, size: str, refusal: str) -> None:
    registry = MemoryRegistry()
    registry.put("storage.k8s.io", "storageclasses", "grows", allowVolumeExpansion=True)
    registry.put("storage.k8s.io", "storageclasses", "stays")

    def claim(amount: str) -> dict[str, object]:
        spec = {"storageClassName": storage_class, "resources": {"requests": {"storage": amount}}}
        return {"metadata": {"name": "c"}, "spec": spec, "status": {"phase": phase}}

    plugin = PersistentVolumeClaimResize(registry)
    request = review("UPDATE", "", "persistentvolumeclaims", claim(size), old=claim("1Gi"))
    assert plugin.handles(request)
    if refusal:
        with pytest.raises(Forbidden, match=refusal):
            await plugin.validate(request)
    else:
        await plugin.validate(request)
