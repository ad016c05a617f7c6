"""Priority: a pod's priorityClassName becomes its number and preemption policy; one class at most is the default.

https://kubernetes.io/docs/concepts/scheduling-eviction/pod-priority-preemption/
"""

from __future__ import annotations

from collections.abc import Iterable

from apiserver.admission.plugin import concerns, new_object, refuse
from apiserver.types import AdmissionRequest, Object, Operation, Registry
from common.api.status import NotFound

GROUP = "scheduling.k8s.io"
LOWER = "PreemptLowerPriority"


def default_class(classes: Iterable[Object]) -> Object | None:
    """The class marked as default; of several the lowest, as upstream."""
    defaults = [c for c in classes if c.get("globalDefault")]
    return min(defaults, key=lambda c: int(c["value"]), default=None)


class Priority:
    name = "Priority"

    def __init__(self, registry: Registry) -> None:
        self._store = registry.store(GROUP, "priorityclasses")

    def handles(self, request: AdmissionRequest) -> bool:
        operations: tuple[Operation, ...] = ("CREATE", "UPDATE")
        return concerns(request, "", "pods", operations) or concerns(request, GROUP, "priorityclasses", operations)

    async def admit(self, request: AdmissionRequest) -> None:
        if request.resource.plural != "pods":
            return
        spec = new_object(request).setdefault("spec", {})
        if request.operation == "UPDATE":
            old = (request.old_object or {}).get("spec") or {}
            for field in ("priority", "preemptionPolicy"):
                if spec.get(field) is None and old.get(field) is not None:
                    spec[field] = old[field]
            return
        value, policy = await self._resolve(request, spec)
        if spec.get("priority") not in (None, value):
            raise refuse(
                request,
                f"the integer value of priority ({spec['priority']}) must not be provided in pod spec; "
                f"priority admission controller computed {value} from the given PriorityClass name",
            )
        if spec.get("preemptionPolicy") not in (None, policy):
            raise refuse(
                request,
                f"the string value of PreemptionPolicy ({spec['preemptionPolicy']}) must not be provided in pod spec; "
                f"priority admission controller computed {policy} from the given PriorityClass name",
            )
        spec["priority"], spec["preemptionPolicy"] = value, policy

    async def validate(self, request: AdmissionRequest) -> None:
        if request.resource.plural != "priorityclasses":
            return
        new = new_object(request)
        current = default_class(self._store.cached_list())
        if new.get("globalDefault") and current and current["metadata"]["name"] != new["metadata"].get("name"):
            name = current["metadata"]["name"]
            raise refuse(request, f"PriorityClass {name} is already marked as default. Only one default can exist")

    async def _resolve(self, request: AdmissionRequest, spec: Object) -> tuple[int, str]:
        name = spec.get("priorityClassName")
        if name:
            found = self._store.cached("", name) or await self._live(name)
            if found is None:
                raise refuse(request, f"no PriorityClass with name {name} was found")
        else:
            found = default_class(self._store.cached_list())
            if found is None:
                return 0, LOWER
            spec["priorityClassName"] = found["metadata"]["name"]
        return int(found["value"]), found.get("preemptionPolicy") or LOWER

    async def _live(self, name: str) -> Object | None:
        try:
            return await self._store.get("", name)
        except NotFound:
            return None
