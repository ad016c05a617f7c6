"""RuntimeClass: a pod gets its class's overhead, node selector and tolerations. https://kubernetes.io/docs/concepts/containers/runtime-class/"""

from __future__ import annotations

from apiserver.admission.plugin import concerns, new_object, refuse
from apiserver.types import AdmissionRequest, Object, Registry
from common.api.status import NotFound


class RuntimeClass:
    name = "RuntimeClass"

    def __init__(self, registry: Registry) -> None:
        self._store = registry.store("node.k8s.io", "runtimeclasses")

    def handles(self, request: AdmissionRequest) -> bool:
        return concerns(request, "", "pods", ("CREATE",))

    async def admit(self, request: AdmissionRequest) -> None:
        spec = new_object(request).setdefault("spec", {})
        runtime_class = await self._class_of(request, spec)
        if runtime_class is None:
            return
        if overhead := (runtime_class.get("overhead") or {}).get("podFixed"):
            if spec.get("overhead") not in (None, {}, overhead):
                raise refuse(request, "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead")
            spec["overhead"] = dict(overhead)
        self._schedule(request, spec, runtime_class.get("scheduling") or {})

    async def validate(self, request: AdmissionRequest) -> None:
        spec = new_object(request).get("spec") or {}
        if spec.get("overhead") and not spec.get("runtimeClassName"):
            raise refuse(request, "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead")

    async def _class_of(self, request: AdmissionRequest, spec: Object) -> Object | None:
        name = spec.get("runtimeClassName")
        if not name:
            return None
        try:
            return self._store.cached("", name) or await self._store.get("", name)
        except NotFound:
            raise refuse(request, f'pod rejected: RuntimeClass "{name}" not found') from None

    @staticmethod
    def _schedule(request: AdmissionRequest, spec: Object, scheduling: Object) -> None:
        selector = dict(spec.get("nodeSelector") or {})
        for key, value in (scheduling.get("nodeSelector") or {}).items():
            if selector.setdefault(key, value) != value:
                text = "pod rejected: conflict: runtimeClass.scheduling.nodeSelector"
                raise refuse(request, f"{text}[{key}] = {value}; pod.spec.nodeSelector[{key}] = {selector[key]}")
        if selector:
            spec["nodeSelector"] = selector
        tolerations = list(spec.get("tolerations") or ())
        tolerations += [t for t in scheduling.get("tolerations") or () if t not in tolerations]
        if tolerations:
            spec["tolerations"] = tolerations
