"""What an informer keeps of the objects it is told of."""

from __future__ import annotations

from lightkube.models.meta_v1 import ManagedFieldsEntry, ObjectMeta
from lightkube.resources.core_v1 import Pod

from common.informer import forget_managers


def test_managed_fields_are_not_kept() -> None:
    pod = Pod(metadata=ObjectMeta(name="a", managedFields=[ManagedFieldsEntry(manager="x")]))
    forget_managers(pod)
    assert pod.metadata is not None
    assert pod.metadata.managedFields is None
    obj = {"metadata": {"name": "a", "managedFields": [{"manager": "x"}]}}
    forget_managers(obj)
    assert obj == {"metadata": {"name": "a"}}
