"""The strategy of pods (upstream: pkg/registry/core/pod/strategy.go)."""

from __future__ import annotations

from apiserver.resources.pods.defaults import default_pod
from apiserver.resources.pods.qos import qos_class
from apiserver.resources.pods.update import check_pod_update
from apiserver.resources.pods.validation import check_pod, check_pod_status
from apiserver.resources.strategy import KindStrategy
from apiserver.types import Object


def _prepare(pod: Object) -> None:
    pod["status"] = {"phase": "Pending", "qosClass": qos_class(pod.get("spec") or {})}


def _keep(pod: Object, old: Object, subresource: str) -> None:
    """The QoS class of a pod is decided once."""
    before = (old.get("status") or {}).get("qosClass")
    if subresource == "status" and before:
        pod.setdefault("status", {})["qosClass"] = before


POD = KindStrategy(
    status=True,
    defaults=default_pod,
    on_create=_prepare,
    on_update=_keep,
    checks=check_pod,
    update_checks=check_pod_update,
    status_checks=check_pod_status,
)
