"""DefaultTolerationSeconds: a pod stays five minutes on a node that is not ready or not reachable, or as it says."""

from __future__ import annotations

from apiserver.admission.plugin import Mutates, concerns, new_object
from apiserver.types import AdmissionRequest, Object

TAINTS = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
SECONDS = 300


def missing_tolerations(tolerations: list[Object]) -> list[Object]:
    """What to add: a toleration for each of the two taints that none of the pod's own covers."""
    return [
        {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": SECONDS}
        for key in TAINTS
        if not any(t.get("key") in (key, "", None) and t.get("effect") in ("NoExecute", "", None) for t in tolerations)
    ]


class DefaultTolerationSeconds(Mutates):
    name = "DefaultTolerationSeconds"

    def handles(self, request: AdmissionRequest) -> bool:
        return concerns(request, "", "pods", ("CREATE", "UPDATE"))

    async def admit(self, request: AdmissionRequest) -> None:
        spec = new_object(request).setdefault("spec", {})
        tolerations = spec.get("tolerations") or []
        if added := missing_tolerations(tolerations):
            spec["tolerations"] = [*tolerations, *added]
