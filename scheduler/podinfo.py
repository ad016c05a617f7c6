"""A Pod as the scheduler needs it, worked out once: what it requests, its ports, where it is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from lightkube.models.core_v1 import PodAffinityTerm, PodSpec
from lightkube.resources.core_v1 import Pod

from common.api.meta import controller_of, key_of
from common.api.pods import Amounts, requests
from common.api.selectors import NOTHING, Selector, label_selector_from

DEFAULT_MILLI_CPU_REQUEST = 100
DEFAULT_MEMORY_REQUEST = 200 * 1024 * 1024

HostPort = tuple[str, str, int]
"""Address, protocol, port."""


@dataclass(frozen=True, slots=True)
class AffinityTerm:
    """Pods of some description, in a domain. ``namespaces`` None: all of them."""

    topology_key: str
    selector: Selector
    namespaces: frozenset[str] | None
    own: tuple[tuple[str, str, bool], ...] = ()
    """Of matchLabelKeys and mismatchLabelKeys: key, this pod's value, whether it must be equal."""
    unknown_namespaces: bool = False

    def matches(self, pod: PodInfo) -> bool:
        if pod.deleting or (self.namespaces is not None and pod.namespace not in self.namespaces):
            return False
        labels = pod.labels
        return self.selector.matches(labels) and all((labels.get(k) == v) == equal for k, v, equal in self.own)


@dataclass(frozen=True, slots=True, eq=False)
class PodInfo:
    """``requests`` includes one of ``pods``; ``nonzero``: cpu and memory with upstream's defaults for what asks for
    nothing, so that many such pods do not pile up on one node."""

    key: str
    uid: str
    namespace: str
    name: str
    node_name: str
    priority: int
    labels: dict[str, str]
    owner: str
    """The uid of the controller that made it, or ""."""
    deleting: bool
    requests: Amounts
    nonzero: tuple[int, int]
    host_ports: tuple[HostPort, ...]
    affinity: tuple[AffinityTerm, ...]
    anti_affinity: tuple[AffinityTerm, ...]
    preferred_affinity: tuple[tuple[int, AffinityTerm], ...]
    """With their weights, negative for anti-affinity."""
    spec: PodSpec
    object: Pod | None = field(default=None, repr=False)
    """The whole pod while it waits; None once it has a node, where only the sums matter."""

    @classmethod
    def of(cls, pod: Pod, *, keep: bool = False) -> PodInfo:
        assert pod.metadata is not None and pod.spec is not None
        spec, owner = pod.spec, controller_of(pod)
        return cls(
            key=key_of(pod),
            uid=pod.metadata.uid or "",
            namespace=pod.metadata.namespace or "",
            name=pod.metadata.name or "",
            node_name=spec.nodeName or "",
            priority=spec.priority or 0,
            labels=pod.metadata.labels or {},
            owner=owner.uid if owner is not None else "",
            deleting=pod.metadata.deletionTimestamp is not None,
            requests=requests(spec),
            nonzero=_nonzero(spec),
            host_ports=_host_ports(spec),
            **_affinities(pod),
            spec=spec,
            object=pod if keep else None,
        )

    @property
    def waiting(self) -> Pod:
        """The API object of a pod that waits for a node."""
        assert self.object is not None
        return self.object

    @property
    def best_effort(self) -> bool:
        return not self.requests.get("cpu") and not self.requests.get("memory")


def _nonzero(spec: PodSpec) -> tuple[int, int]:
    defaults = {"cpu": DEFAULT_MILLI_CPU_REQUEST, "memory": DEFAULT_MEMORY_REQUEST}
    asked = requests(spec)
    unset: dict[str, int] = {"cpu": 0, "memory": 0}
    for container in spec.containers:
        resources = container.resources
        named: dict[str, Any] = {
            **((resources and resources.limits) or {}),
            **((resources and resources.requests) or {}),
        }
        for resource, default in defaults.items():
            if resource not in named:
                unset[resource] += default
    return asked.get("cpu", 0) + unset["cpu"], asked.get("memory", 0) + unset["memory"]


def _host_ports(spec: PodSpec) -> tuple[HostPort, ...]:
    return tuple(
        (port.hostIP or "0.0.0.0", port.protocol or "TCP", port.hostPort)
        for container in spec.containers
        for port in container.ports or ()
        if port.hostPort
    )


def _affinities(pod: Pod) -> dict[str, Any]:
    assert pod.spec is not None
    affinity = pod.spec.affinity
    near, away = (affinity.podAffinity, affinity.podAntiAffinity) if affinity else (None, None)

    def required(side: Any) -> tuple[AffinityTerm, ...]:
        return tuple(_term(pod, t) for t in (side and side.requiredDuringSchedulingIgnoredDuringExecution) or ())

    def preferred(side: Any, sign: int) -> list[tuple[int, AffinityTerm]]:
        terms = (side and side.preferredDuringSchedulingIgnoredDuringExecution) or ()
        return [(sign * t.weight, _term(pod, t.podAffinityTerm)) for t in terms]

    return {
        "affinity": required(near),
        "anti_affinity": required(away),
        "preferred_affinity": (*preferred(near, 1), *preferred(away, -1)),
    }


def _term(pod: Pod, term: PodAffinityTerm) -> AffinityTerm:
    """Without namespaces and namespaceSelector: the pod's own namespace; an empty selector: all namespaces."""
    assert pod.metadata is not None
    labels, selector = pod.metadata.labels or {}, term.namespaceSelector
    everywhere = selector is not None and not selector.matchLabels and not selector.matchExpressions
    named = frozenset(term.namespaces or (() if selector is not None else (pod.metadata.namespace or "",)))
    own = [(k, labels[k], True) for k in term.matchLabelKeys or () if k in labels]
    own += [(k, labels[k], False) for k in term.mismatchLabelKeys or () if k in labels]
    return AffinityTerm(
        topology_key=term.topologyKey,
        selector=label_selector_from(term.labelSelector) if term.labelSelector is not None else NOTHING,
        namespaces=None if everywhere else named,
        own=tuple(own),
        unknown_namespaces=selector is not None and not everywhere,
    )
