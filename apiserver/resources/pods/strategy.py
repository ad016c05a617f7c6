"""The strategy of pods (upstream: pkg/registry/core/pod/strategy.go)."""

from __future__ import annotations

from dataclasses import dataclass

from apiserver.resources.pods.defaults import default_pod
from apiserver.resources.pods.parts import EPHEMERAL, RESIZE, check_ephemeral, check_resize, keep_all_but
from apiserver.resources.pods.prepare import drop_disabled, prepare_pod
from apiserver.resources.pods.status import check_pod_status, keep_in_status
from apiserver.resources.pods.update import check_pod_update
from apiserver.resources.pods.validation import check_pod
from apiserver.resources.pods.warnings import pod_warnings
from apiserver.resources.strategy import KindStrategy
from apiserver.types import Object
from common.api.status import FieldError

_CHECKS = {EPHEMERAL: check_ephemeral, RESIZE: check_resize}


@dataclass(frozen=True)
class PodStrategy(KindStrategy):
    """Beside spec and status, pods are written by parts."""

    def prepare_for_update(self, obj: Object, old: Object, subresource: str) -> None:
        if subresource in _CHECKS:
            keep_all_but(obj, old, subresource)
        else:
            super().prepare_for_update(obj, old, subresource)

    def validate_update(self, obj: Object, old: Object, subresource: str) -> list[FieldError]:
        check = _CHECKS.get(subresource)
        return check(obj, old) if check is not None else super().validate_update(obj, old, subresource)

    def update_warnings(self, obj: Object, old: Object, subresource: str) -> list[str]:
        return []


def _prepare_update(pod: Object, old: Object, subresource: str) -> None:
    if subresource == "status":
        keep_in_status(pod, old)
    else:
        drop_disabled(pod.get("spec") or {}, old.get("spec") or {})


POD = PodStrategy(
    status=True,
    defaults=default_pod,
    on_create=prepare_pod,
    on_update=_prepare_update,
    checks=check_pod,
    update=check_pod_update,
    status_update=check_pod_status,
    warn=pod_warnings,
)
