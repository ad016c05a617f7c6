"""The parts of a pod that have a subresource of their own: ephemeral containers (KEP-277) and resources (KEP-1287)."""

from __future__ import annotations

from typing import Any

from apiserver.resources.checks import Errors
from apiserver.resources.godiff import go_diff
from apiserver.resources.pods.annotations import MIRROR
from apiserver.resources.pods.qos import qos_class
from apiserver.resources.pods.update import check_annotations_of_update, put_back
from apiserver.resources.pods.validation import check_metadata_and_spec
from apiserver.types import Object
from common.api.status import field_forbidden, invalid_value

Spec = dict[str, Any]

EPHEMERAL, RESIZE = "ephemeralcontainers", "resize"
_METADATA = ("labels", "annotations", "finalizers", "ownerReferences")
_RESIZED = ("resources", "resizePolicy")


def keep_all_but(pod: Object, old: Object, part: str) -> None:
    """A write to a part changes nothing else."""
    spec, before = pod.get("spec") or {}, old.get("spec") or {}
    if part == EPHEMERAL:
        pod["spec"] = {k: v for k, v in before.items() if k != "ephemeralContainers"}
        if wanted := spec.get("ephemeralContainers"):
            pod["spec"]["ephemeralContainers"] = wanted
    elif _same_containers(spec, before):
        pod["spec"] = {**before, **{kind: _resized(spec, before, kind) for kind in _kinds(before)}}
    put_back(pod, old, "status")
    if part == RESIZE and _resources(pod) != _resources(old):
        pod["status"] = {**(pod.get("status") or {}), "resize": "Proposed"}
    put_back(pod["metadata"], old["metadata"], *_METADATA)


def _resources(pod: Object) -> list[Any]:
    spec = pod.get("spec") or {}
    return [container.get("resources") or {} for kind in _kinds(spec) for container in spec[kind]]


def _kinds(spec: Spec) -> list[str]:
    return [kind for kind in ("containers", "initContainers") if spec.get(kind)]


def _same_containers(spec: Spec, before: Spec) -> bool:
    """Containers that were added, removed or renamed are left for the checks to refuse."""
    return all(
        [c.get("name") for c in spec.get(kind) or ()] == [c.get("name") for c in before.get(kind) or ()]
        for kind in ("containers", "initContainers")
    )


def _resized(spec: Spec, before: Spec, kind: str) -> list[Spec]:
    taken = []
    for new, old in zip(spec[kind], before[kind], strict=True):
        container = dict(old)
        put_back(container, new, *_RESIZED)
        taken.append(container)
    return taken


def check_ephemeral(pod: Object, old: Object) -> Errors:
    """Ephemeral containers are added; none is changed or removed."""
    if MIRROR in (old["metadata"].get("annotations") or {}):
        return [field_forbidden("[]", "static pods do not support ephemeral containers")]
    errors: Errors = []
    spec = pod.get("spec") or {}
    check_metadata_and_spec(errors, pod, spec)
    check_annotations_of_update(errors, pod, old, spec)
    wanted = {c.get("name", ""): c for c in spec.get("ephemeralContainers") or ()}
    path = "spec.ephemeralContainers"
    for container in (old.get("spec") or {}).get("ephemeralContainers") or ():
        name = container["name"]
        if name not in wanted:
            errors.append(field_forbidden(path, f'existing ephemeral containers "{name}" may not be removed\n'))
        elif wanted[name] != container:
            shown = go_diff("core.v1.EphemeralContainer", container, wanted[name])
            errors.append(field_forbidden(path, f'existing ephemeral containers "{name}" may not be changed\n{shown}'))
    return errors


def check_resize(pod: Object, old: Object) -> Errors:
    if MIRROR in (old["metadata"].get("annotations") or {}):
        return [field_forbidden("[]", "static pods cannot be resized")]
    spec, before = pod.get("spec") or {}, old.get("spec") or {}
    if (before.get("os") or {}).get("name") == "windows":
        return [field_forbidden("[]", "windows pods cannot be resized")]
    errors: Errors = []
    check_metadata_and_spec(errors, pod, spec)
    status = old.get("status") or {}
    if (status.get("qosClass") or qos_class(before)) != qos_class(spec):
        detail = "Pod QOS Class may not change as a result of resizing"
        errors.append(invalid_value("spec", status.get("qosClass", ""), detail))
    if not _is_supported(status):
        errors.append(field_forbidden("spec", "Pod running on node without support for resize"))
    if not _same_containers(spec, before):
        return [*errors, field_forbidden("spec", "only cpu and memory resources are mutable")]
    for kind in ("initContainers", "containers"):
        for i, (new, was) in enumerate(zip(spec.get(kind) or (), before.get(kind) or (), strict=True)):
            if kind == "containers" or was.get("restartPolicy") == "Always":
                _check_removed(errors, new, was, f"spec.{kind}[{i}].resources")
    _check_mutable(errors, spec, before)
    return errors


def _is_supported(status: Spec) -> bool:
    """A node that can resize reports the resources of its running containers."""
    for container in status.get("containerStatuses") or ():
        if (container.get("state") or {}).get("running") is not None:
            return container.get("resources") is not None
    return True


def _check_removed(errors: Errors, new: Spec, old: Spec, path: str) -> None:
    for field in ("requests", "limits"):
        had, has = ((c.get("resources") or {}).get(field) or {} for c in (old, new))
        if had.keys() - has.keys():
            errors.append(field_forbidden(f"{path}.{field}", f"resource {field} cannot be removed"))


def _check_mutable(errors: Errors, spec: Spec, before: Spec) -> None:
    for new, old in zip(spec.get("containers") or (), before.get("containers") or (), strict=True):
        if _without_compute(new) != _without_compute(old):
            errors.append(field_forbidden("spec", "only cpu and memory resources are mutable"))
    for new, old in zip(spec.get("initContainers") or (), before.get("initContainers") or (), strict=True):
        if old.get("restartPolicy") == "Always":
            if _without_compute(new) != _without_compute(old):
                detail = "only cpu and memory resources for sidecar containers are mutable"
                errors.append(field_forbidden("spec", detail))
        elif new != old:
            detail = "resources for non-sidecar init containers are immutable"
            errors.append(field_forbidden("spec", detail))


def _without_compute(container: Spec) -> Spec:
    resources = {
        field: {name: amount for name, amount in amounts.items() if name not in ("cpu", "memory")}
        for field, amounts in (container.get("resources") or {}).items()
        if field in ("limits", "requests")
    }
    return {**container, "resources": {field: amounts for field, amounts in resources.items() if amounts}}
