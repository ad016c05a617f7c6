"""What every controller is given: the client, the shared caches, the event recorders, the settings."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from lightkube.resources.apps_v1 import Deployment, ReplicaSet
from lightkube.resources.core_v1 import Namespace, Node, Pod, Service

from common.client import Client
from common.controller import Controller, Reconcile
from common.events import EventRecorder
from common.informer import Informer, InformerFactory
from controller_manager.ownership import by_controller
from controller_manager.settings import Settings


def _node_of(pod: Pod) -> Iterable[str]:
    """An index of pods by node; pods without one are under the empty name."""
    yield (pod.spec and pod.spec.nodeName) or ""


@dataclass(frozen=True)
class Context:
    """The caches that several controllers read are shared: one watch and one copy of each object."""

    client: Client
    informers: InformerFactory
    settings: Settings
    recorders: dict[str, EventRecorder] = field(default_factory=dict)

    def loop(self, name: str, reconcile: Reconcile, *, workers: int) -> Controller:
        """A control loop."""
        return Controller(name, reconcile, workers=workers)

    def recorder(self, component: str) -> EventRecorder:
        """Events in the name of one controller: `kubectl describe` shows who said what."""
        return self.recorders.setdefault(component, EventRecorder(self.client, component))

    @property
    def pods(self) -> Informer[Pod]:
        """All pods, by controller and by node."""
        return self._shared(Pod, {"controller": by_controller, "node": _node_of})

    @property
    def replica_sets(self) -> Informer[ReplicaSet]:
        """All ReplicaSets, by controller."""
        return self._shared(ReplicaSet, {"controller": by_controller})

    @property
    def deployments(self) -> Informer[Deployment]:
        """All Deployments."""
        return self._shared(Deployment)

    @property
    def nodes(self) -> Informer[Node]:
        """All nodes."""
        return self._shared(Node)

    @property
    def namespaces(self) -> Informer[Namespace]:
        """All namespaces."""
        return self._shared(Namespace)

    @property
    def services(self) -> Informer[Service]:
        """All services."""
        return self._shared(Service)

    def _shared(self, kind: Any, indexers: dict[str, Callable[[Any], Iterable[str]]] | None = None) -> Informer[Any]:
        return self.informers.informer(kind, indexers=indexers)
