"""Nodes that join, fall silent and come back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from lightkube.models.coordination_v1 import LeaseSpec
from lightkube.models.core_v1 import Toleration
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.apps_v1 import Deployment
from lightkube.resources.coordination_v1 import Lease
from lightkube.resources.core_v1 import Endpoints, Node, Service

from common.api.time import now_micro
from common.client import Client, PatchType
from tests.integration.controller_manager.conftest import Kubelets, eventually
from tests.integration.controller_manager.test_workloads import done, pods, web

LEASES = "kube-node-lease"
NODES = ["hollow-a", "hollow-b", "hollow-c"]


class Heartbeats:
    """Nodes that renew their Lease until they are silenced."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.silent: set[str] = set()

    async def join(self, name: str) -> None:
        await self._client.create(Node(metadata=ObjectMeta(name=name)))
        ready = {
            "type": "Ready",
            "status": "True",
            "reason": "KubeletReady",
            "message": "kubelet is posting ready status",
        }
        await self.report(name, ready)
        await self._client.create(Lease(metadata=ObjectMeta(name=name, namespace=LEASES), spec=LeaseSpec()))

    async def report(self, name: str, ready: dict[str, str]) -> None:
        others = [{"type": t, "status": "False"} for t in ("MemoryPressure", "DiskPressure", "PIDPressure")]
        status = {"status": {"conditions": [ready, *others]}}
        await self._client.patch(Node, name, status, subresource="status")

    async def run(self) -> None:
        while True:
            for name in NODES:
                if name not in self.silent:
                    renewed = {"spec": {"renewTime": now_micro().isoformat().replace("+00:00", "Z")}}
                    await self._client.patch(Lease, name, renewed, LEASES, patch_type=PatchType.MERGE)
            await asyncio.sleep(0.3)


@pytest.fixture
async def heartbeats(client: Client, namespace: str) -> AsyncIterator[Heartbeats]:
    made = Heartbeats(client)
    for name in NODES:
        await made.join(name)
    task = asyncio.create_task(made.run())
    yield made
    task.cancel()
    await asyncio.wait({task})
    for name in NODES:
        await client.delete(Node, name)
        await client.delete(Lease, name, LEASES)


def taints(node: Node) -> set[tuple[str, str]]:
    return {(taint.key, taint.effect) for taint in node.spec.taints or ()}


async def test_every_node_gets_a_subnet_of_its_own(client: Client, heartbeats: Heartbeats) -> None:
    async def subnets() -> set[str] | None:
        found = {(await client.get(Node, name)).spec.podCIDR for name in NODES}
        return found if None not in found else None

    found = await eventually(subnets)
    assert len(found) == len(NODES)
    assert all(cidr.startswith("10.244.") and cidr.endswith(".0/24") for cidr in found)


async def test_a_silent_node_loses_its_pods_and_may_come_back(
    client: Client, namespace: str, kubelets: Kubelets, heartbeats: Heartbeats
) -> None:
    kubelets.nodes = list(NODES)
    tolerations = [
        Toleration(key=key, operator="Exists", effect="NoExecute", tolerationSeconds=2)
        for key in ("node.kubernetes.io/unreachable", "node.kubernetes.io/not-ready")
    ]
    wanted = web(namespace, 6)
    wanted.spec.template.spec.tolerations = tolerations
    ports = {"selector": {"app": "web"}, "ports": [{"port": 80}]}
    await client.create(Service.from_dict({"metadata": {"name": "web", "namespace": namespace}, "spec": ports}))
    await client.create(wanted)
    await eventually(lambda: done(client, namespace))
    victim = (await pods(client, namespace))[0].spec.nodeName
    doomed = {p.metadata.uid for p in await pods(client, namespace) if p.spec.nodeName == victim}
    heartbeats.silent.add(victim)
    kubelets.nodes.remove(victim)
    kubelets.may_be_ready = lambda pod: pod.spec.nodeName != victim

    async def unreachable() -> bool:
        node = await client.get(Node, victim)
        ready = next(c for c in node.status.conditions if c.type == "Ready")
        unknown = (ready.status, ready.reason) == ("Unknown", "NodeStatusUnknown")
        key = "node.kubernetes.io/unreachable"
        return unknown and {(key, "NoSchedule"), (key, "NoExecute")} <= taints(node)

    await eventually(unreachable)

    async def out_of_service() -> bool:
        endpoints = await client.get(Endpoints, "web", namespace)
        ready = {a.nodeName for s in endpoints.subsets or () for a in s.addresses or ()}
        return victim not in ready and bool(ready)

    await eventually(out_of_service)

    async def moved() -> bool:
        left = [
            p for p in await pods(client, namespace) if p.metadata.uid in doomed and not p.metadata.deletionTimestamp
        ]
        found = await client.get(Deployment, "web", namespace)
        return not left and found.status.availableReplicas == 6

    await eventually(moved)
    heartbeats.silent.discard(victim)
    await heartbeats.report(victim, {"type": "Ready", "status": "True", "reason": "KubeletReady"})

    async def clean() -> bool:
        return not taints(await client.get(Node, victim))

    await eventually(clean)


async def test_a_cordoned_node_is_tainted(client: Client, heartbeats: Heartbeats) -> None:
    taint = ("node.kubernetes.io/unschedulable", "NoSchedule")
    await client.patch(Node, NODES[0], {"spec": {"unschedulable": True}})

    async def tainted() -> bool:
        return taint in taints(await client.get(Node, NODES[0]))

    await eventually(tainted)
    await client.patch(Node, NODES[0], {"spec": {"unschedulable": None}})

    async def clean() -> bool:
        return taint not in taints(await client.get(Node, NODES[0]))

    await eventually(clean)
