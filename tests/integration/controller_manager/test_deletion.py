"""Garbage collection and the deletion of namespaces."""

from __future__ import annotations

from typing import Any

from lightkube.resources.apps_v1 import Deployment, ReplicaSet
from lightkube.resources.core_v1 import ConfigMap, Namespace, ServiceAccount

from common.api.status import NotFound
from common.client import Client, PatchType
from tests.integration.controller_manager.conftest import Kubelets, eventually
from tests.integration.controller_manager.test_workloads import done, pods, web


async def is_gone(client: Client, kind: Any, name: str, namespace: str | None = None) -> bool:
    try:
        await client.get(kind, name, namespace)
    except NotFound:
        return True
    return False


async def counts(client: Client, namespace: str) -> tuple[int, int, int]:
    """Deployments, ReplicaSets, Pods."""
    sets = await client.list(ReplicaSet, namespace)
    return len((await client.list(Deployment, namespace)).items), len(sets.items), len(await pods(client, namespace))


async def delete_web(client: Client, namespace: str, policy: str) -> None:
    await client.create(web(namespace, 3))
    await eventually(lambda: done(client, namespace))
    await client.delete(Deployment, "web", namespace, propagation_policy=policy)


async def test_background(client: Client, namespace: str, kubelets: Kubelets) -> None:
    await delete_web(client, namespace, "Background")
    assert await is_gone(client, Deployment, "web", namespace)

    async def all_gone() -> bool:
        return await counts(client, namespace) == (0, 0, 0)

    await eventually(all_gone)


async def test_foreground(client: Client, namespace: str, kubelets: Kubelets) -> None:
    await delete_web(client, namespace, "Foreground")
    waiting = await client.get(Deployment, "web", namespace)
    assert waiting.metadata.finalizers == ["foregroundDeletion"]
    await eventually(lambda: is_gone(client, Deployment, "web", namespace))
    assert await counts(client, namespace) == (0, 0, 0)


async def test_orphan_and_adoption(client: Client, namespace: str, kubelets: Kubelets) -> None:
    await delete_web(client, namespace, "Orphan")
    await eventually(lambda: is_gone(client, Deployment, "web", namespace))
    sets = (await client.list(ReplicaSet, namespace)).items
    assert [each.metadata.ownerReferences for each in sets] == [None]
    before = {p.metadata.uid for p in await pods(client, namespace)}
    assert len(before) == 3
    await client.create(web(namespace, 3))

    async def adopted() -> bool:
        sets = (await client.list(ReplicaSet, namespace)).items
        return len(sets) == 1 and bool(sets[0].metadata.ownerReferences)

    await eventually(adopted)
    assert {p.metadata.uid for p in await pods(client, namespace)} == before


async def test_an_owner_that_never_was(client: Client, namespace: str) -> None:
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "ghost", "uid": "0000-ghost"}
    meta = {"name": "orphan", "namespace": namespace, "ownerReferences": [reference]}
    await client.create(ConfigMap.from_dict({"metadata": meta}))
    await eventually(lambda: is_gone(client, ConfigMap, "orphan", namespace))


async def test_one_owner_left_is_enough(client: Client, namespace: str) -> None:
    owners = [
        await client.create(ConfigMap.from_dict({"metadata": {"name": name, "namespace": namespace}}))
        for name in ("a", "b")
    ]
    references = [
        {"apiVersion": "v1", "kind": "ConfigMap", "name": o.metadata.name, "uid": o.metadata.uid} for o in owners
    ]
    meta = {"name": "child", "namespace": namespace, "ownerReferences": references}
    await client.create(ConfigMap.from_dict({"metadata": meta}))
    await client.delete(ConfigMap, "a", namespace)

    async def disowned() -> bool:
        child = await client.get(ConfigMap, "child", namespace)
        return [ref.name for ref in child.metadata.ownerReferences] == ["b"]

    await eventually(disowned)
    await client.delete(ConfigMap, "b", namespace)
    await eventually(lambda: is_gone(client, ConfigMap, "child", namespace))


async def test_every_namespace_has_its_account(client: Client, namespace: str) -> None:
    async def account() -> ServiceAccount:
        return await client.get(ServiceAccount, "default", namespace)

    first = await eventually(account)
    await client.delete(ServiceAccount, "default", namespace)

    async def another() -> bool:
        return bool((await account()).metadata.uid != first.metadata.uid)

    await eventually(another)


async def test_a_namespace_goes_with_all_that_is_in_it(client: Client, namespace: str, kubelets: Kubelets) -> None:
    await client.create(web(namespace, 3))
    await eventually(lambda: done(client, namespace))
    held = {"name": "held", "namespace": namespace, "finalizers": ["example.com/hold"]}
    await client.create(ConfigMap.from_dict({"metadata": held}))
    await client.delete(Namespace, namespace)

    async def told() -> bool:
        found = await client.get(Namespace, namespace)
        conditions = {c.type: (c.status, c.message) for c in (found.status and found.status.conditions) or ()}
        return conditions.get("NamespaceFinalizersRemaining") == (
            "True",
            "Some content in the namespace has finalizers remaining: example.com/hold in 1 resource instances",
        )

    await eventually(told)
    assert await counts(client, namespace) == (0, 0, 0)
    free = {"metadata": {"finalizers": None}}
    await client.patch(ConfigMap, "held", free, namespace, patch_type=PatchType.MERGE)
    await eventually(lambda: is_gone(client, Namespace, namespace))
