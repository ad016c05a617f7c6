"""TaintNodesByCondition: a new node takes no pods until its readiness is known."""

from __future__ import annotations

from apiserver.admission.plugin import Mutates, concerns, new_object
from apiserver.types import AdmissionRequest

NOT_READY = "node.kubernetes.io/not-ready"


class TaintNodesByCondition(Mutates):
    name = "TaintNodesByCondition"

    def handles(self, request: AdmissionRequest) -> bool:
        return concerns(request, "", "nodes", ("CREATE",))

    async def admit(self, request: AdmissionRequest) -> None:
        spec = new_object(request).setdefault("spec", {})
        taints = spec.get("taints") or []
        if not any(t.get("key") == NOT_READY and t.get("effect") == "NoSchedule" for t in taints):
            spec["taints"] = [*taints, {"key": NOT_READY, "effect": "NoSchedule"}]
