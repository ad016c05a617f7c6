"""LimitRanger: defaults for what containers leave open, and bounds for containers, pods and claims.

https://kubernetes.io/docs/concepts/policy/limit-range/
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any

from apiserver.admission.plugin import concerns, new_object, refuse
from apiserver.types import AdmissionRequest, Object, Registry
from common.api.quantity import parse_quantity

ANNOTATION = "kubernetes.io/limit-ranger"

Resources = Mapping[str, Any]


def items_of(limit_ranges: Iterable[Object], kind: str) -> Iterator[Object]:
    """The items of one type (Container, Pod, PersistentVolumeClaim)."""
    for limit_range in limit_ranges:
        for item in (limit_range.get("spec") or {}).get("limits") or ():
            if item.get("type") == kind:
                yield item


def defaults_of(item: Object) -> tuple[dict[str, Any], dict[str, Any]]:
    """Default limits and requests; a maximum is a default limit, a limit or a minimum a default request."""
    limits = {**(item.get("max") or {}), **(item.get("default") or {})}
    return limits, {**(item.get("min") or {}), **limits, **(item.get("defaultRequest") or {})}


def set_defaults(pod: Object, limit_ranges: Iterable[Object]) -> None:
    """Fills in requests and limits, and says so in an annotation."""
    said: list[str] = []
    items = [defaults_of(item) for item in items_of(limit_ranges, "Container")]
    for key, word in (("containers", "container"), ("initContainers", "init container")):
        for container in pod["spec"].get(key) or ():
            for limits, requests in items:
                said += _fill(container, "requests", requests, word)
                said += _fill(container, "limits", limits, word)
    if said:
        annotations = pod["metadata"].setdefault("annotations", {})
        annotations[ANNOTATION] = "LimitRanger plugin set: " + "; ".join(said)


def _fill(container: Object, field: str, defaults: Resources, word: str) -> list[str]:
    resources: Object = container.setdefault("resources", {})
    present: Object = resources.get(field) or {}
    added = {name: value for name, value in defaults.items() if name not in present}
    if not added:
        return []
    resources[field] = {**present, **added}
    return [f"{', '.join(sorted(added))} {field.removesuffix('s')} for {word} {container.get('name', '')}"]


def violations(item: Object, requests: Resources, limits: Resources) -> Iterator[str]:
    """What requests and limits have against one item, in upstream's words."""
    kind = item["type"]
    for name, bound in (item.get("min") or {}).items():
        text = f"minimum {name} usage per {kind} is {bound}"
        if name not in requests:
            yield f"{text}.  No request is specified"
        elif _amount(requests[name]) < _amount(bound):
            yield f"{text}, but request is {requests[name]}"
        elif name in limits and _amount(limits[name]) < _amount(bound):
            yield f"{text}, but limit is {limits[name]}"
    for name, bound in (item.get("max") or {}).items():
        text = f"maximum {name} usage per {kind} is {bound}"
        if kind != "PersistentVolumeClaim" and name not in limits:
            yield f"{text}.  No limit is specified"
        elif name in limits and _amount(limits[name]) > _amount(bound):
            yield f"{text}, but limit is {limits[name]}"
        elif name in requests and _amount(requests[name]) > _amount(bound):
            yield f"{text}, but request is {requests[name]}"
    for name, bound in (item.get("maxLimitRequestRatio") or {}).items():
        yield from _ratio(name, bound, kind, requests, limits)


def _ratio(name: str, bound: Any, kind: str, requests: Resources, limits: Resources) -> Iterator[str]:
    text = f"{name} max limit to request ratio per {kind} is {bound}"
    if not _amount(requests.get(name, 0)):
        yield f"{text}, but no request is specified or request is 0"
    elif not _amount(limits.get(name, 0)):
        yield f"{text}, but no limit is specified or limit is 0"
    else:
        ratio = _amount(limits[name]) / _amount(requests[name])
        if ratio > _amount(bound):
            yield f"{text}, but provided ratio is {float(ratio):f}"


def _amount(value: Any) -> Decimal:
    return parse_quantity(value).amount


def pod_total(spec: Object, field: str) -> dict[str, Any]:
    """Requests or limits of a whole pod: the containers' sum, or an init container's where that is more."""
    total: defaultdict[str, Decimal] = defaultdict(Decimal)
    for container in spec.get("containers") or ():
        for name, value in ((container.get("resources") or {}).get(field) or {}).items():
            total[name] += _amount(value)
    for container in spec.get("initContainers") or ():
        for name, value in ((container.get("resources") or {}).get(field) or {}).items():
            total[name] = max(total[name], _amount(value))
    return {name: _shown(amount, name) for name, amount in total.items()}


def _shown(amount: Decimal, name: str) -> str:
    if amount != amount.to_integral_value():
        return f"{int(amount * 1000)}m"
    whole = int(amount)
    if name in ("memory", "ephemeral-storage", "storage"):
        for suffix, unit in (("Gi", 1 << 30), ("Mi", 1 << 20), ("Ki", 1 << 10)):
            if whole and whole % unit == 0:
                return f"{whole // unit}{suffix}"
    return str(whole)


def pod_violations(spec: Object, limit_ranges: list[Object]) -> Iterator[str]:
    for item in items_of(limit_ranges, "Container"):
        for key in ("containers", "initContainers"):
            for container in spec.get(key) or ():
                resources = container.get("resources") or {}
                yield from violations(item, resources.get("requests") or {}, resources.get("limits") or {})
    for item in items_of(limit_ranges, "Pod"):
        yield from violations(item, pod_total(spec, "requests"), pod_total(spec, "limits"))


class LimitRanger:
    name = "LimitRanger"

    def __init__(self, registry: Registry) -> None:
        self._store = registry.store("", "limitranges")

    def handles(self, request: AdmissionRequest) -> bool:
        return (
            concerns(request, "", "pods", ("CREATE",))
            or concerns(request, "", "pods", ("UPDATE",), "resize")
            or concerns(request, "", "persistentvolumeclaims", ("CREATE", "UPDATE"))
        )

    async def admit(self, request: AdmissionRequest) -> None:
        if (
            request.resource.plural == "pods"
            and not request.subresource
            and (limit_ranges := self._in(request.namespace))
        ):
            set_defaults(new_object(request), limit_ranges)

    async def validate(self, request: AdmissionRequest) -> None:
        limit_ranges = self._in(request.namespace)
        spec = new_object(request).get("spec") or {}
        if request.resource.plural == "pods":
            errors = list(pod_violations(spec, limit_ranges))
        else:
            requests = (spec.get("resources") or {}).get("requests") or {}
            items = items_of(limit_ranges, "PersistentVolumeClaim")
            errors = [text for item in items for text in violations(item, requests, {})]
        errors = list(dict.fromkeys(errors))
        if errors:
            raise refuse(request, errors[0] if len(errors) == 1 else f"[{', '.join(errors)}]")

    def _in(self, namespace: str) -> list[Object]:
        return list(self._store.cached_list(namespace))
