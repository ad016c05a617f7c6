"""Builders of nodes and pods, and a cluster of them without an API server."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from lightkube.resources.core_v1 import Node, PersistentVolumeClaim, Pod

from scheduler.cache import Cache
from scheduler.framework import FitError, find_feasible, select_node
from scheduler.plugins import default_profile
from scheduler.podinfo import PodInfo


def make_node(name: str, *, labels: dict[str, str] | None = None, taints: list[Any] | None = None, **spec: Any) -> Node:
    allocatable = {"cpu": "4", "memory": "8Gi", "pods": "110", "ephemeral-storage": "100Gi"}
    allocatable |= spec.pop("allocatable", {})
    return Node.from_dict(
        {
            "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name} | (labels or {})},
            "spec": {"taints": taints, **spec},
            "status": {"allocatable": allocatable},
        }
    )


def make_pod(name: str, *, requests: dict[str, str] | None = None, owner: str = "", **fields: Any) -> Pod:
    owners = [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": owner, "uid": owner, "controller": True}]
    metadata = {
        "name": name,
        "namespace": fields.pop("namespace", "default"),
        "uid": fields.pop("uid", f"uid-{name}"),
        "labels": fields.pop("labels", {}),
        "deletionTimestamp": fields.pop("deleted", None),
        "ownerReferences": owners if owner else None,
    }
    container = {"name": "a", "ports": fields.pop("ports", None), "resources": {"requests": requests or {}}}
    return Pod.from_dict({"metadata": metadata, "spec": {"containers": [container]} | fields})


class World:
    """A cache with the default plugins."""

    def __init__(self) -> None:
        self.cache = Cache()
        unused: Any = None
        self.claims: dict[str, PersistentVolumeClaim] = {}
        self.profile = default_profile(unused, self.claims.get)
        self.random = np.random.default_rng(1)

    def nodes(self, *nodes: Node) -> World:
        for node in nodes:
            self.cache.nodes.set_node(node)
        return self

    def run(self, node: str, *pods: Pod) -> World:
        for pod in pods:
            assert pod.spec is not None
            pod.spec.nodeName = node
            self.cache.set_pod(PodInfo.of(pod))
        return self

    def fits(self, pod: Pod) -> set[str]:
        info, nodes = PodInfo.of(pod, keep=True), self.cache.nodes
        return {nodes.names[row] for row in find_feasible(self.profile, info, nodes)}

    def why(self, pod: Pod) -> str:
        with pytest.raises(FitError) as caught:
            self.fits(pod)
        return str(caught.value)

    def place(self, pod: Pod) -> str:
        """Schedules the pod and assumes it on its node."""
        info, nodes = PodInfo.of(pod, keep=True), self.cache.nodes
        row = select_node(self.profile, info, nodes, find_feasible(self.profile, info, nodes), self.random)
        self.cache.assume(info, nodes.names[row])
        return nodes.names[row]


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def node() -> Any:
    return make_node


@pytest.fixture
def pod() -> Any:
    return make_pod
